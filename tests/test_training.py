"Fits: killed and resumed, kept apart in the cache, blind to what they may not see, and the same whoever shares a batch."
import inspect, os, subprocess, sys
from pathlib import Path
import numpy as np, pandas as pd, pytest, torch
from torch.nn import functional
from transformers import set_seed

from ser_study.study import fits as cells
from ser_study.protocol import class_weights
from ser_study.protocol import mixup
from ser_study.models import networks
from ser_study.protocol import pdds
from ser_study.models import datasets as samples
from ser_study.study import network_fits as supervised
from ser_study.models import training
from ser_study.study.fits import cell_key, code_fingerprint
from ser_study.networks import bilstm, blocks, cltnet, mat, mcsan, registry, speechtext
from ser_study.models.networks.registry import NETWORKS
from ser_study.models.datasets import Samples, pack
from ser_study.settings import load_settings
from ser_study.protocol.splits import Split
from ser_study.study.network_fits import fit_cell, run_fits
from ser_study.models.training import Recipe, fit, predict, soft_label_loss

torch.set_num_threads(1)   # as in a worker of a study: with more threads sums round differently

SMALL = {"BiLSTM": dict(hidden=8), "MAT": dict(width=16, layers=1), "MCSAN": dict(width=16, heads=2, layers=1)}
COMMON = dict(network="BiLSTM", options=dict(hidden=8), balance="none", balance_options={}, weights="none", recipe=dict(epochs=4, batch_size=16, learning_rate=.02),
              standardise=["audio"], device="cpu", seed=1)


def toy(counts=(30, 20, 10), apart=1.5, seed=0) -> Samples:
    "Noise of two modalities and many lengths; each class has a mean of its own."
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    sequence = lambda label, longest, d: (rng.normal(size=(rng.integers(2, longest), d)) + apart * np.eye(len(counts), d)[label]).astype(np.float32)
    return Samples(dict(audio=[sequence(label, 14, 4) for label in labels], text=[sequence(label, 7, 5) for label in labels]), np.eye(len(counts))[labels])


def packed(found: Samples, *names: str) -> dict:
    arrays = {}
    for name in names: arrays[name], arrays[f"{name}_lengths"] = pack(found.sequences[name])
    return arrays


def fitted(found: Samples, train, validation, test, **changed) -> pd.DataFrame:
    return fit_cell(found.targets, np.array(train), np.array(validation, dtype=int), np.array(test), **{**COMMON, **changed}, **packed(found, "audio"))


def build(name: str, classes: int = 3, seed: int = 0):
    set_seed(seed)
    return NETWORKS[name].build({m: {"audio": 4, "text": 5}[m] for m in NETWORKS[name].modalities}, classes, **SMALL.get(name, {}))


def heard(found: Samples, name: str) -> Samples: return Samples({m: found.sequences[m] for m in NETWORKS[name].modalities}, found.targets)


# The loss

@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_is_torchs(weighted):
    torch.manual_seed(0)
    logits, hard = torch.randn(40, 5, requires_grad=True), torch.randint(5, (40,))
    soft = torch.distributions.Dirichlet(torch.full((5,), .3)).sample((40,))
    weights = torch.tensor([.5, 1, 2, 4, 1.5]) if weighted else torch.ones(5)
    ours, = torch.autograd.grad(soft_label_loss(logits, functional.one_hot(hard, 5).float(), weights), logits)
    theirs, = torch.autograd.grad(functional.cross_entropy(logits, hard, weights), logits)
    torch.testing.assert_close(ours, theirs)
    divergence = functional.kl_div(logits.log_softmax(-1), soft, reduction="none")
    torch.testing.assert_close(soft_label_loss(logits, soft, weights), (divergence * weights).sum() / (soft * weights).sum())
    torch.testing.assert_close(soft_label_loss(logits, soft, 3 * weights), soft_label_loss(logits, soft, weights), msg="only the proportions of the weights count")


# Killed and resumed

KINDS = {"validated": ("MCSAN", Recipe(epochs=8, batch_size=16, learning_rate=.01, plateau=.5), 3),     # network, recipe, the epoch it is killed after
         "paper": ("MCSAN", Recipe(epochs=8, batch_size=16, learning_rate=.01, group_by_length=False), 5),
         "patient": ("BiLSTM", Recipe(epochs=12, batch_size=64, learning_rate=0, patience=6), 4)}     # its loss never falls: it ends after epoch 7

def follow(kind: str, folder: Path, first: int) -> tuple[list, np.ndarray]:
    "One fit whose first weights are drawn from `first`: its curve, and its predictions of held-out samples."
    name, recipe, _ = KINDS[kind]
    found, network = heard(toy(), name), build(name, seed=first)
    training_rows = np.zeros(40, dtype=int) if kind == "patient" else np.arange(40)
    curve = fit(network, found.subset(training_rows), found.subset(np.arange(40, 50)) if kind == "validated" else None, recipe, np.ones(3), 5, folder=folder)
    return curve, predict(network, found.subset(np.arange(50, 60)))

KILLED = """
import os, sys
from pathlib import Path
from transformers import TrainerCallback
here, folder = map(Path, sys.argv[1:])
sys.path.insert(0, str(here))
from test_training import KINDS, follow, training

class Kill(TrainerCallback):
    def __init__(self, epoch): self.epoch = epoch
    def on_save(self, args, state, control, **rest):
        if round(state.epoch) == self.epoch: os._exit(9)   # as SIGKILL: nothing is closed, nothing is tidied up

plain = training.SoftLabelTrainer.__init__
for kind, (_, _, epoch) in KINDS.items():
    def with_kill(self, *args, **settings):
        plain(self, *args, **settings)
        self.add_callback(Kill(epoch))
    training.SoftLabelTrainer.__init__ = with_kill
    if os.fork() == 0: follow(kind, folder / kind, first=1); os._exit(0)   # a process for each kind, packages loaded once
    print(os.waitstatus_to_exitcode(os.wait()[1]))
"""

@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> Path:
    "The folders of fits that were killed."
    folder = tmp_path_factory.mktemp("killed")
    (folder / "killed.py").write_text(KILLED)
    process = subprocess.run([sys.executable, str(folder / "killed.py"), str(Path(__file__).parent), str(folder)], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert process.stdout.split() == ["9"] * len(KINDS), process.stderr
    return folder

@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_fit_resumes_as_if_nothing_had_been(kind, killed, tmp_path):
    curve, probabilities = follow(kind, tmp_path, first=1)
    assert any((killed / kind).glob("checkpoint-*")) and len(curve) == (7 if kind == "patient" else 8)
    resumed_curve, resumed = follow(kind, killed / kind, first=2)   # other first weights: the kept ones must replace them
    assert resumed_curve == curve and np.array_equal(resumed, probabilities)


# Kept apart

class Asked(Exception): "The cells that a study would compute."

def keys_of(monkeypatch, found: Samples, split: Split, configuration: dict, seed: int = 1, device: str = "cpu") -> str:
    "The key of the one cell that `run_fits` asks for."
    def stop(function, cells, *rest): raise Asked(function, list(cells.values()))
    monkeypatch.setattr(supervised, "run_named", stop)
    with pytest.raises(Asked) as asked: run_fits(found.sequences, found.targets, {"name": configuration}, [split], [seed], load_settings(device=device))
    function, (cell,) = asked.value.args
    assert function is fit_cell
    return cell_key("code", cell)

def test_two_configurations_never_share_a_cell(monkeypatch):
    found, split, base = toy(), Split("a", np.arange(30), np.arange(30, 40), np.arange(40, 60)), dict(network="CLTNet", options=dict(d=50), recipe=dict(epochs=3))
    key = lambda found=found, split=split, seed=1, **changed: keys_of(monkeypatch, found, split, {**base, **changed}, seed)
    assert key() == key() == key(found=toy(), recipe=dict(epochs=3)), "the same again"
    assert key() == key(split=Split("b", split.train, split.validation, split.test)), "a name changes nothing"
    recipes = [dict(epochs=3, **{field: value}) for field, value in dict(batch_size=32, learning_rate=.1, weight_decay=0, patience=3, plateau=.5, group_by_length=False, monitor="weighted F1").items()] + [dict(epochs=4)]
    assert {field for recipe in recipes for field in recipe} == set(Recipe.__dataclass_fields__)
    louder, longer = toy(), toy()
    louder.sequences["text"][7][0, 0] += 1e-6
    cut, lengths = pack(longer.sequences["audio"]); lengths[0] -= 1; lengths[1] += 1   # the same frames, cut elsewhere
    longer.sequences["audio"] = list(samples.unpack(cut, lengths))
    others = [key(recipe=recipe) for recipe in recipes] + [key(seed=2), key(found=louder), key(found=longer), key(found=Samples(found.sequences, found.targets * .9 + .1 / 3))]
    others += [key(split=Split("a", **{**split.sides, side: rows[1:]})) for side, rows in split.sides.items()] + [key(split=Split("a", split.train, split.test, split.validation))]
    others += [key(network="MCSAN"), key(options=dict(d=51)), key(options={}), key(weights="banded"), key(balance="PDDS"), key(balance="uniform"), key(balance="PDDS", balance_options=dict(p=.5)), key(standardise=[])]
    assert len({key(), *others}) == 1 + len(others)

def test_a_cell_knows_its_device(monkeypatch):
    monkeypatch.setattr(supervised, "choose_device", str)
    split = Split("a", np.arange(30), np.arange(30, 40), np.arange(40, 60))
    assert keys_of(monkeypatch, toy(), split, dict(network="BiLSTM"), device="cpu") != keys_of(monkeypatch, toy(), split, dict(network="BiLSTM"), device="cuda")

NOT_OF_A_FIT = {"pack", "Network"}   # made before a fit; a pair of values, which are looked at one by one
CODE = sorted({(thing.__module__, thing.__name__): thing for module in (bilstm, blocks, cltnet, mat, mcsan, speechtext, registry, samples, training, class_weights, mixup, pdds)
               for thing in vars(module).values() if inspect.isclass(thing) or inspect.isfunction(thing) if thing.__module__ == module.__name__ and thing.__name__ not in NOT_OF_A_FIT}.values(), key=lambda t: t.__qualname__)

@pytest.fixture(scope="module")
def unchanged() -> str: return code_fingerprint(fit_cell)

@pytest.mark.parametrize("thing", [cltnet.AudioBranch, blocks.AttentionPooling, Recipe, class_weights.banded, fit_cell], ids=lambda thing: thing.__name__)
def test_a_change_of_code_is_a_change_of_the_cell(thing, unchanged, monkeypatch):
    source = inspect.getsource
    monkeypatch.setattr(cells.inspect, "getsource", lambda asked: source(asked) + ("\n    forgotten = 1\n" if asked is thing else ""))
    assert code_fingerprint(fit_cell) != unchanged

def test_all_code_of_a_fit_is_read(monkeypatch):
    source, read = inspect.getsource, []
    monkeypatch.setattr(cells.inspect, "getsource", lambda asked: (read.append(asked), source(asked))[1])
    code_fingerprint(fit_cell)
    assert len(CODE) > 30 and not {thing.__qualname__ for thing in CODE} - {thing.__qualname__ for thing in read}

def test_a_comment_is_no_change(unchanged, monkeypatch):
    source = inspect.getsource
    monkeypatch.setattr(cells.inspect, "getsource", lambda asked: source(asked) + "\n# said better\n")
    assert code_fingerprint(fit_cell) == unchanged


# Blind to what they may not see

def distorted(found: Samples, rows, labels: bool) -> Samples:
    "Other values, other lengths and, if asked, other labels in some rows."
    rng, audio, targets = np.random.default_rng(9), list(found.sequences["audio"]), found.targets.copy()
    for row in rows:
        audio[row] = (1e4 * rng.normal(size=(rng.integers(2, 40), 4)) - 3e3).astype(np.float32)
        if labels: targets[row] = np.roll(targets[row], 1)
    return Samples({**found.sequences, "audio": audio}, targets)

TRAIN, VALIDATION, TEST = range(36), range(36, 44), range(44, 60)

@pytest.mark.parametrize("changed", [{}, dict(balance="PDDS", weights="inverse frequency"), dict(balance="uniform", balance_options=dict(quantity=20), weights="banded")], ids=["plain", "PDDS", "uniform"])
def test_test_rows_teach_nothing(changed):
    found = toy()
    plain, odd = fitted(found, TRAIN, VALIDATION, TEST, **changed), fitted(distorted(found, TEST[8:], True), TRAIN, VALIDATION, TEST, **changed)
    assert odd.attrs == plain.attrs, "the same curve, of training and of validation, and as many made samples"
    np.testing.assert_allclose(odd.filter(like="p_")[:8], plain.filter(like="p_")[:8], atol=1e-6)
    assert not np.allclose(odd.filter(like="p_")[8:], plain.filter(like="p_")[8:], atol=1e-3), "what is predicted of them is another matter"
    taught = fitted(distorted(found, TRAIN[:1], False), TRAIN, VALIDATION, TEST, **changed)
    assert taught.attrs["curve"] != plain.attrs["curve"], "this comparison can fail"

def test_validation_rows_choose_and_teach_nothing():
    found = toy()
    plain, odd = (fitted(f, TRAIN, VALIDATION, TEST, balance="PDDS", weights="inverse frequency").attrs for f in (found, distorted(found, VALIDATION, True)))
    assert [epoch["loss"] for epoch in odd["curve"]] == [epoch["loss"] for epoch in plain["curve"]] and odd["trained_on"] == plain["trained_on"] > len(TRAIN)
    assert [epoch["validation_loss"] for epoch in odd["curve"]] != [epoch["validation_loss"] for epoch in plain["curve"]]

def test_made_samples_are_mixed_of_training_rows():
    found = toy()
    for row in (*VALIDATION, *TEST): found.sequences["audio"][row][:] = np.nan   # one of them in a mean or a mix, and nothing is finite any more
    table = fitted(found, TRAIN, [], [0, 1, 2], balance="PDDS")
    assert np.isfinite(table.filter(like="p_")).all(axis=None) and table.attrs["trained_on"] > len(TRAIN)


# Whoever shares a batch

@pytest.mark.parametrize("name", NETWORKS)
def test_a_prediction_does_not_depend_on_batch_mates(name):
    found, network = heard(toy((9, 9, 9)), name), build(name)
    alone = predict(network, found, batch_size=1)
    assert alone.std(axis=0).min() > 1e-4, "the samples differ"
    np.testing.assert_allclose(predict(network, found, batch_size=27), alone, atol=2e-6)
    np.testing.assert_allclose(predict(network, found, batch_size=4), alone, atol=2e-6)
    rows = np.array([20, 3, 11])
    np.testing.assert_allclose(predict(network, found.subset(rows)), alone[rows], atol=2e-6)

@pytest.mark.parametrize("name", NETWORKS)
def test_padding_is_not_heard(name):
    "Whatever stands where a sequence has ended: the logits are the same. (What is shorter than a convolution's kernel is followed by silence instead.)"
    found, network = heard(toy((3, 3, 3)), name), build(name).eval()
    found.sequences = {m: [np.concatenate([s] * 3) for s in sequences] for m, sequences in found.sequences.items()}
    batch = samples.collate([found[row] for row in range(9)])
    expected = network(**{key: value for key, value in batch.items() if key != "labels"})
    for m in NETWORKS[name].modalities:
        padding = torch.arange(batch[m].shape[1]) >= batch[f"{m}_lengths"][:, None]
        assert padding.any()
        batch[m] = torch.where(padding[..., None], 7.0, batch[m])
    torch.testing.assert_close(network(**{key: value for key, value in batch.items() if key != "labels"}), expected, atol=1e-5, rtol=1e-5)


# What weights and stopping do

def test_weights_raise_the_rare_classs_recall():
    found = toy((150, 150, 30), apart=.25, seed=3)
    labels, rows = found.targets.argmax(1), np.arange(330)
    recall = {}
    for weights in ("none", "inverse frequency", "banded"):
        table = fitted(found, rows[:220], [], rows[220:], weights=weights, recipe=dict(epochs=12, batch_size=32, learning_rate=.01))
        predicted = table.filter(like="p_").to_numpy().argmax(1)
        recall[weights] = (predicted[labels[220:] == 2] == 2).mean()
    assert recall["inverse frequency"] > recall["none"] + .2 and recall["banded"] > recall["none"], recall

def test_papers_protocol_stops_on_the_training_loss():
    same = toy().subset(np.zeros(20, dtype=int))
    still = fit(build("BiLSTM"), heard(same, "BiLSTM"), None, Recipe(epochs=20, batch_size=20, learning_rate=0, patience=3), np.ones(3), 1)
    assert [set(epoch) for epoch in still] == [{"epoch", "loss"}] * 4, "the first epoch's loss is the best, three more are waited for"
    assert len(fit(build("BiLSTM"), heard(toy(), "BiLSTM"), None, Recipe(epochs=7, batch_size=20, learning_rate=.01, patience=2), np.ones(3), 1)) == 7, "a falling loss stops nothing"

def test_with_a_validation_set_its_loss_decides():
    found = heard(toy(), "BiLSTM")
    wrong = Samples(found.sequences, np.roll(found.targets, 1, axis=1)).subset(np.arange(40, 60))   # the better the training rows are learned, the worse this becomes
    network = build("BiLSTM")
    curve = fit(network, found.subset(np.arange(40)), wrong, Recipe(epochs=20, batch_size=20, learning_rate=.02, patience=3), np.ones(3), 1)
    losses = [epoch["validation_loss"] for epoch in curve]
    assert len(curve) == int(np.argmin(losses)) + 1 + 3 < 20 and curve[-1]["loss"] < curve[0]["loss"]
    kept = -(wrong.targets * np.log(predict(network, wrong))).sum(axis=1).mean()
    assert abs(kept - min(losses)) < 1e-5 < losses[-1] - min(losses), "the weights are the best epoch's"
