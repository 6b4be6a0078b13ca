"Fits: kept apart in the cache, blind to test rows, and the same in every batch."
import inspect
import numpy as np, pandas as pd, pytest, torch
from torch.nn import functional
from transformers import set_seed

from ser_study.models import datasets, training
from ser_study.models.datasets import Samples, pack
from ser_study.models.networks import bilstm, blocks, cltnet, mat, mcsan, registry, speechtext
from ser_study.models.networks.registry import NETWORKS
from ser_study.models.training import Recipe, fit, predict, soft_label_loss
from ser_study.protocol import class_weights, mixup, pdds
from ser_study.protocol.splits import Split
from ser_study.settings import load_settings
from ser_study.study import fits, network_fits
from ser_study.study.fits import code_fingerprint, task_key
from ser_study.study.network_fits import fit_network, fit_networks


@pytest.fixture(autouse=True)
def one_thread():
    "As in a worker of a study: with more threads sums round differently."
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)

SMALL = {"BiLSTM": dict(hidden=8),
         "MAT": dict(width=16, layers=1),
         "MCSAN": dict(width=16, heads=2, layers=1)}
COMMON = dict(network="BiLSTM", options=dict(hidden=8), balance="none", balance_options={}, weights="none",
              recipe=dict(epochs=4, batch_size=16, learning_rate=.02), standardise=["audio"], device="cpu",
              seed=1)


def toy(counts=(30, 20, 10), apart=1.5, seed=0) -> Samples:
    "Noise of two modalities and many lengths; each class has a mean of its own."
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    def sequence(label, longest, d):
        frames = rng.normal(size=(rng.integers(2, longest), d)) + apart * np.eye(len(counts), d)[label]
        return frames.astype(np.float32)
    audio, text = ([sequence(label, longest, d) for label in labels] for longest, d in ((14, 4), (7, 5)))
    return Samples(dict(audio=audio, text=text), np.eye(len(counts))[labels])


def packed(found: Samples, *names: str) -> dict:
    arrays = {}
    for name in names:
        arrays[name], arrays[f"{name}_lengths"] = pack(found.sequences[name])
    return arrays


def fit_toy(found: Samples, train, validation, test, **changed) -> tuple[pd.DataFrame, dict]:
    "A fit of the sound alone: its predictions and its facts."
    rows = np.array(train), np.array(validation, dtype=int), np.array(test)
    return fit_network(found.targets, *rows, **{**COMMON, **changed}, **packed(found, "audio"))


def build(name: str, classes: int = 3, seed: int = 0):
    set_seed(seed)
    sizes = {m: dict(audio=4, text=5)[m] for m in NETWORKS[name].modalities}
    return NETWORKS[name].build(sizes, classes, **SMALL.get(name, {}))


def select(found: Samples, name: str) -> Samples:
    "The samples in the modalities that a network takes."
    return Samples({m: found.sequences[m] for m in NETWORKS[name].modalities}, found.targets)


def inputs(batch: dict) -> dict:
    "A batch without its labels."
    return {key: value for key, value in batch.items() if key != "labels"}


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
    loss = soft_label_loss(logits, soft, weights)
    torch.testing.assert_close(loss, (divergence * weights).sum() / (soft * weights).sum())
    tripled = soft_label_loss(logits, soft, 3 * weights)
    torch.testing.assert_close(tripled, loss, msg="only the proportions of the weights count")


# Kept apart

class Asked(Exception): "The tasks that a study would compute."

def key_of(monkeypatch, found: Samples, split: Split, configuration: dict, seed: int = 1,
           device: str = "cpu") -> str:
    "The key of the one task that `fit_networks` computes."
    def stop(function, tasks, *rest): raise Asked(function, list(tasks.values()))
    monkeypatch.setattr(network_fits, "predict_all", stop)
    with pytest.raises(Asked) as asked:
        fit_networks(found.sequences, found.targets, {"name": configuration}, [split], [seed],
                     load_settings(fit_device=device))
    function, (task,) = asked.value.args
    assert function is fit_network
    return task_key("code", task)

def test_two_configurations_never_share_a_fit(monkeypatch):
    found, split = toy(), Split("a", np.arange(30), np.arange(30, 40), np.arange(40, 60))
    base = dict(network="CLTNet", options=dict(d=50), recipe=dict(epochs=3))
    def key(found=found, split=split, seed=1, **changed):
        return key_of(monkeypatch, found, split, {**base, **changed}, seed)
    assert key() == key() == key(found=toy(), recipe=dict(epochs=3)), "the same again"
    renamed = Split("b", split.train, split.validation, split.test)
    assert key() == key(split=renamed), "a name changes nothing"

    values = dict(batch_size=32, learning_rate=.1, weight_decay=0, patience=3, plateau=.5,
                  group_by_length=False, monitor="weighted F1", updates=3)
    recipes = [dict(epochs=4), *(dict(epochs=3, **{field: value}) for field, value in values.items())]
    assert {field for recipe in recipes for field in recipe} == set(Recipe.__dataclass_fields__)
    others = [key(recipe=recipe) for recipe in recipes]

    louder, longer = toy(), toy()
    louder.sequences["text"][7][0, 0] += 1e-6
    cut, lengths = pack(longer.sequences["audio"])
    lengths[:2] += (-1, 1)   # the same frames, cut elsewhere
    longer.sequences["audio"] = list(datasets.unpack(cut, lengths))
    softer = Samples(found.sequences, found.targets * .9 + .1 / 3)
    others += [key(seed=2), key(found=louder), key(found=longer), key(found=softer)]

    for side, rows in split.sides.items():
        others.append(key(split=Split("a", **{**split.sides, side: rows[1:]})))
    others.append(key(split=Split("a", split.train, split.test, split.validation)))
    others += [key(network="MCSAN"), key(options=dict(d=51)), key(options={}), key(weights="banded")]
    others += [key(balance="PDDS"), key(balance="uniform"), key(balance="PDDS", balance_options=dict(p=.5))]
    others.append(key(standardise=[]))
    assert len({key(), *others}) == 1 + len(others)

def test_a_fit_knows_its_device(monkeypatch):
    monkeypatch.setattr(network_fits, "choose_device", str)
    split = Split("a", np.arange(30), np.arange(30, 40), np.arange(40, 60))
    network = dict(network="BiLSTM")
    keys = {key_of(monkeypatch, toy(), split, network, device=device) for device in ("cpu", "cuda")}
    assert len(keys) == 2

NOT_OF_A_FIT = {"pack", "ambiguous_share", "Network"}   # before a fit; values that are looked at one by one
MODULES = (bilstm, blocks, cltnet, mat, mcsan, speechtext, registry, datasets, training, class_weights, mixup,
           pdds)

def own_code(module) -> list:
    "The classes and functions that a module defines and a fit uses."
    things = [thing for thing in vars(module).values() if inspect.isclass(thing) or inspect.isfunction(thing)]
    own = [thing for thing in things if thing.__module__ == module.__name__]
    return [thing for thing in own if thing.__name__ not in NOT_OF_A_FIT]

CODE = {thing.__qualname__ for module in MODULES for thing in own_code(module)}

@pytest.fixture(scope="module")
def unchanged() -> str: return code_fingerprint(fit_network)

CHANGED = [cltnet.AudioBranch, blocks.AttentionPooling, Recipe, class_weights.banded, fit_network]

@pytest.mark.parametrize("thing", CHANGED, ids=lambda thing: thing.__name__)
def test_a_change_of_code_is_a_change_of_the_fit(thing, unchanged, monkeypatch):
    source = inspect.getsource
    monkeypatch.setattr(fits.inspect, "getsource",
                        lambda asked: source(asked) + ("\n    forgotten = 1\n" if asked is thing else ""))
    assert code_fingerprint(fit_network) != unchanged

def test_all_code_of_a_fit_is_read(monkeypatch):
    source, read = inspect.getsource, []
    monkeypatch.setattr(fits.inspect, "getsource", lambda asked: (read.append(asked), source(asked))[1])
    code_fingerprint(fit_network)
    assert len(CODE) > 30 and not CODE - {thing.__qualname__ for thing in read}

def test_a_comment_is_no_change(unchanged, monkeypatch):
    source = inspect.getsource
    monkeypatch.setattr(fits.inspect, "getsource", lambda asked: source(asked) + "\n# said better\n")
    assert code_fingerprint(fit_network) == unchanged


# Blind to what they may not see

def distorted(found: Samples, rows, labels: bool) -> Samples:
    "Other values, other lengths and, if asked, other labels in some rows."
    rng, audio, targets = np.random.default_rng(9), list(found.sequences["audio"]), found.targets.copy()
    for row in rows:
        audio[row] = (1e4 * rng.normal(size=(rng.integers(2, 40), 4)) - 3e3).astype(np.float32)
        if labels: targets[row] = np.roll(targets[row], 1)
    return Samples({**found.sequences, "audio": audio}, targets)

TRAIN, VALIDATION, TEST = range(36), range(36, 44), range(44, 60)

BALANCES = {"plain": {},
            "PDDS": dict(balance="PDDS", weights="inverse frequency"),
            "uniform": dict(balance="uniform", balance_options=dict(quantity=20), weights="banded")}

@pytest.mark.parametrize("changed", BALANCES.values(), ids=BALANCES)
def test_test_rows_teach_nothing(changed):
    found = toy()
    plain, facts = fit_toy(found, TRAIN, VALIDATION, TEST, **changed)
    odd, odd_facts = fit_toy(distorted(found, TEST[8:], True), TRAIN, VALIDATION, TEST, **changed)
    assert odd_facts == facts, "the same curve, of training and of validation, and as many made samples"
    np.testing.assert_allclose(odd.filter(like="p_")[:8], plain.filter(like="p_")[:8], atol=1e-6)
    same = np.allclose(odd.filter(like="p_")[8:], plain.filter(like="p_")[8:], atol=1e-3)
    assert not same, "the distorted rows are predicted otherwise"
    _, taught = fit_toy(distorted(found, TRAIN[:1], False), TRAIN, VALIDATION, TEST, **changed)
    assert taught["curve"] != facts["curve"], "this comparison can fail"

def test_validation_rows_choose_and_teach_nothing():
    found, changed = toy(), dict(balance="PDDS", weights="inverse frequency")
    _, plain = fit_toy(found, TRAIN, VALIDATION, TEST, **changed)
    _, odd = fit_toy(distorted(found, VALIDATION, True), TRAIN, VALIDATION, TEST, **changed)
    losses, odd_losses = (pd.DataFrame(facts["curve"]) for facts in (plain, odd))
    assert odd_losses.loss.tolist() == losses.loss.tolist()
    assert odd["trained_on"] == plain["trained_on"] > len(TRAIN)
    assert odd_losses.validation_loss.tolist() != losses.validation_loss.tolist()

def test_made_samples_are_mixed_of_training_rows():
    found = toy()
    for row in (*VALIDATION, *TEST):
        found.sequences["audio"][row][:] = np.nan   # one of them in a mean or a mix makes all of it NaN
    table, facts = fit_toy(found, TRAIN, [], [0, 1, 2], balance="PDDS")
    assert np.isfinite(table.filter(like="p_")).all(axis=None) and facts["trained_on"] > len(TRAIN)


# The same in every batch

@pytest.mark.parametrize("name", NETWORKS)
def test_a_prediction_does_not_depend_on_batch_mates(name):
    found, network = select(toy((9, 9, 9)), name), build(name)
    alone = predict(network, found, batch_size=1)
    assert alone.std(axis=0).min() > 1e-4, "the samples differ"
    np.testing.assert_allclose(predict(network, found, batch_size=27), alone, atol=2e-6)
    np.testing.assert_allclose(predict(network, found, batch_size=4), alone, atol=2e-6)
    rows = np.array([20, 3, 11])
    np.testing.assert_allclose(predict(network, found.subset(rows)), alone[rows], atol=2e-6)

@pytest.mark.parametrize("name", NETWORKS)
def test_padding_changes_nothing(name):
    "Logits do not depend on values after a sequence's end. (Sequences here are longer than every kernel.)"
    found, network = select(toy((3, 3, 3)), name), build(name).eval()
    for m, sequences in found.sequences.items():
        found.sequences[m] = [np.concatenate([s] * 3) for s in sequences]
    batch = datasets.collate([found[row] for row in range(9)])
    expected = network(**inputs(batch))
    for m in NETWORKS[name].modalities:
        padding = torch.arange(batch[m].shape[1]) >= batch[f"{m}_lengths"][:, None]
        assert padding.any()
        batch[m] = torch.where(padding[..., None], 7.0, batch[m])
    torch.testing.assert_close(network(**inputs(batch)), expected, atol=1e-5, rtol=1e-5)


# What weights and stopping do

def test_weights_raise_the_rare_classs_recall():
    found = toy((150, 150, 30), apart=.25, seed=3)
    labels, rows = found.targets.argmax(1), np.arange(330)
    recall, recipe = {}, dict(epochs=12, batch_size=32, learning_rate=.01)
    for weights in ("none", "inverse frequency", "banded"):
        table, _ = fit_toy(found, rows[:220], [], rows[220:], weights=weights, recipe=recipe)
        predicted = table.filter(like="p_").to_numpy().argmax(1)
        recall[weights] = (predicted[labels[220:] == 2] == 2).mean()
    assert recall["inverse frequency"] > recall["none"] + .2 and recall["banded"] > recall["none"], recall

def test_papers_protocol_stops_on_the_training_loss():
    same = select(toy().subset(np.zeros(20, dtype=int)), "BiLSTM")
    patient = Recipe(epochs=20, batch_size=20, learning_rate=0, patience=3)
    still = fit(build("BiLSTM"), same, None, patient, np.ones(3), 1)
    assert [set(epoch) for epoch in still] == [{"epoch", "loss"}] * 4, "after the best epoch come three more"
    learning = Recipe(epochs=7, batch_size=20, learning_rate=.01, patience=2)
    curve = fit(build("BiLSTM"), select(toy(), "BiLSTM"), None, learning, np.ones(3), 1)
    assert len(curve) == 7, "a falling loss stops nothing"

def test_with_a_validation_set_its_loss_decides():
    found, network = select(toy(), "BiLSTM"), build("BiLSTM")
    wrong = Samples(found.sequences, np.roll(found.targets, 1, axis=1))   # what is taught is wrong here
    wrong = wrong.subset(np.arange(40, 60))
    recipe = Recipe(epochs=20, batch_size=20, learning_rate=.02, patience=3)
    curve = fit(network, found.subset(np.arange(40)), wrong, recipe, np.ones(3), 1)
    losses = [epoch["validation_loss"] for epoch in curve]
    assert len(curve) == int(np.argmin(losses)) + 1 + 3 < 20 and curve[-1]["loss"] < curve[0]["loss"]
    kept = -(wrong.targets * np.log(predict(network, wrong))).sum(axis=1).mean()
    assert abs(kept - min(losses)) < 1e-5 < losses[-1] - min(losses), "the weights are the best epoch's"
