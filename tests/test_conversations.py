"""Conversations: windows of shuffled rows, padding that changes nothing, histories that are drawn, and fits
that use the past and nothing that they may not."""
import inspect
import numpy as np, pandas as pd, pytest, torch
from transformers import set_seed

from ser_study.models import conversation_datasets, training
from ser_study.models.conversation_datasets import ConversationSamples, stretches
from ser_study.models.networks import blocks, conversation
from ser_study.models.networks.conversation import EMBEDDERS, FUSIONS, ConversationNetwork
from ser_study.models.training import Recipe, fit, predict
from ser_study.protocol import dialogues as protocol_dialogues
from ser_study.protocol.dialogues import HISTORIES, history_shares, replaced_history, windows
from ser_study.protocol.splits import Split
from ser_study.settings import StudyError, load_settings
from ser_study.study import fits as study_fits
from ser_study.study.conversations import fits as conversation_fits
from ser_study.study.conversations.fits import CONVERSATION, fit_conversation, fit_conversations
from ser_study.study.fits import code_fingerprint, task_key

torch.set_num_threads(1)   # as in a worker of a study: with more threads sums round differently

SMALL = {"tokens": dict(embedding=6, hidden=5, layers=2, width=8),
         "frames": dict(channels=[4, 4, 6, 6, 8, 8], hidden=5, width=8), "vector": dict(width=8)}
SIZES = {"tokens": 40, "frames": 3, "vector": 5}
UNIMODAL = [(kind,) for kind in EMBEDDERS]
BIMODAL = [(text, audio) for text in ("tokens", "vector") for audio in ("frames", "vector")]
NETWORKS = [(kinds, "add") for kinds in UNIMODAL]
NETWORKS += [(kinds, fusion) for kinds in BIMODAL for fusion in FUSIONS]


def build(kinds: tuple, fusion: str, seed: int = 0, **options) -> ConversationNetwork:
    set_seed(seed)
    names = ("text", "audio") if len(kinds) > 1 else ("text" if kinds == ("tokens",) else "audio",)
    embedders = {name: EMBEDDERS[kind](SIZES[kind], **SMALL[kind]) for name, kind in zip(names, kinds)}
    network = ConversationNetwork(embedders, 3, fusion, heads=2, hidden=6, **options).eval()
    with torch.no_grad():
        for parameter in network.parameters():   # as drawn, six convolutions give all nearly one embedding
            parameter *= 2
    return network

def utterances(kind: str, n: int, rng) -> list[np.ndarray]:
    if kind == "tokens": return [rng.integers(40, size=rng.integers(1, 12)) for _ in range(n)]
    return [rng.normal(size=(1 if kind == "vector" else rng.integers(1, 40), SIZES[kind])).astype(np.float32)
            for _ in range(n)]

def talk(kinds: tuple, length: int, seed: int = 0, future: int = 0) -> ConversationSamples:
    "Seven dialogues of one to thirteen turns, rows shuffled."
    rng = np.random.default_rng(seed)
    dialogues = rng.permutation(np.repeat(np.arange(7), [1, 13, 2, 5, 9, 1, 4]))
    turns = pd.Series(dialogues).groupby(dialogues).cumcount().to_numpy()
    names = ("text", "audio") if len(kinds) > 1 else ("text" if kinds == ("tokens",) else "audio",)
    features = {name: utterances(kind, 35, rng) for name, kind in zip(names, kinds)}
    targets = np.eye(3)[rng.integers(3, size=35)]
    return ConversationSamples(features, windows(dialogues, turns, length, future), targets,
                               stretches(dialogues, turns), np.arange(35))


# Windows

TABLE = pd.DataFrame([("b", 1, "b1"), ("a", 5, "a5"), ("c", 0, "c0"), ("a", 2, "a2"), (None, None, "x"),
                      ("b", 0, "b0"), ("a", 9, "a9"), (None, None, "y"), ("a", 3, "a3")],
                     columns=["dialogue", "turn", "name"])
PAST = {"a2": ["", ""], "a3": ["", "a2"], "a5": ["a2", "a3"], "a9": ["a3", "a5"], "b0": ["", ""],
        "b1": ["", "b0"], "c0": ["", ""], "x": ["", ""], "y": ["", ""]}   # written by hand
NEXT = {"a2": "a3", "a3": "a5", "a5": "a9", "b0": "b1"}

@pytest.mark.parametrize("seed", range(4))
def test_windows_of_shuffled_rows(seed):
    table = TABLE.sample(frac=1, random_state=seed, ignore_index=True).astype(dict(turn="Int64"))
    named = lambda rows: ["" if row < 0 else table.name[row] for row in rows]
    found = windows(table.dialogue.to_numpy(), table.turn.array, 3, future=1)
    expected = {name: [*past, name, NEXT.get(name, "")] for name, past in PAST.items()}
    assert {name: named(window) for name, window in zip(table.name, found)} == expected
    assert np.array_equal(windows(table.dialogue.to_numpy(), table.turn.array, 3), found[:, :3])
    assert windows(table.dialogue.to_numpy(), table.turn.array, 1).tolist() == [[row] for row in range(9)]
    nine = windows(table.dialogue.to_numpy(), table.turn.array, 9)
    assert (nine[:, :5] == -1).all(), "no dialogue has more than four"

@pytest.mark.parametrize("dialogues, turns, length, said", [
    (["a", "b", "a"], [1, 1, 1], 2, "Dialogue a: turn 1 is there twice"),
    (["a", "b"], [1, None], 2, "Dialogue b: an utterance has no turn"),
    (["a"], [0], 0, "at least the utterance itself")])
def test_windows_that_cannot_be(dialogues, turns, length, said):
    with pytest.raises(StudyError, match=said):
        windows(np.array(dialogues), pd.array(turns, dtype="Int64"), length)

@pytest.mark.parametrize("how", HISTORIES[1:])
def test_replaced_histories(how):
    rng = np.random.default_rng(1)
    dialogues, turns = np.repeat(np.arange(40), 10), np.tile(np.arange(10), 40)
    real, side = windows(dialogues, turns, 4), rng.permutation(300)   # dialogues 0-29, all of them
    found = replaced_history(real, dialogues, turns, how, 5, side)
    assert np.array_equal(found, replaced_history(real, dialogues, turns, how, 5, side))
    assert not np.array_equal(found, replaced_history(real, dialogues, turns, how, 6, side))
    assert np.array_equal(found[:, -1], np.arange(400)) and np.array_equal(found < 0, real < 0)
    assert np.array_equal(found[300:], real[300:])
    for row in range(300):
        past = found[row, :-1][found[row, :-1] >= 0]
        assert row not in past and (past < 300).all()
        assert ((dialogues[past] == dialogues[row]) == (how == "random past turns")).all()
        if how == "other dialogues": assert len(set(past)) == len(past)

@pytest.mark.parametrize("length", [2, 3, 4])
def test_random_past_turns_never_look_ahead_and_avoid_the_real_history(length):
    "Against a second way to say it: each row's turns before it, and its real history, as sets."
    rng = np.random.default_rng(2)
    dialogues = rng.permutation(np.repeat(np.arange(30), rng.integers(1, 15, size=30)))
    turns = pd.Series(dialogues).groupby(dialogues).cumcount().to_numpy()
    rows, real = np.arange(len(dialogues)), windows(dialogues, turns, length)
    found = replaced_history(real, dialogues, turns, "random past turns", 1, rows)
    for row in rows:
        before = set(rows[(dialogues == dialogues[row]) & (turns < turns[row])])
        history, drawn = set(real[row, :-1]) - {-1}, found[row, :-1][real[row, :-1] >= 0]
        others = before - history
        assert set(drawn) <= before
        if others: assert set(drawn) <= others, "none of the real history where more was said"
        else: assert sorted(drawn) == sorted(history), "all that there is, in some order"
        if len(others) >= len(history): assert len(set(drawn)) == len(drawn)
    shares = history_shares(real, found, dialogues, turns, rows)
    short = turns < length   # all that was said before is the real history
    expected = (real[short, :-1] >= 0).sum() / (real[:, :-1] >= 0).sum()
    assert shares["ahead"] == shares["other dialogues"] == 0 and np.isclose(shares["real history"], expected)

def test_every_earlier_turn_can_be_drawn():
    dialogues, turns = np.zeros(9, int), np.arange(9)
    real = windows(dialogues, turns, 3)
    drawn = {int(row) for seed in range(200)
             for row in replaced_history(real, dialogues, turns, "random past turns", seed, turns)[8, :2]}
    assert drawn == set(range(6)), "0 to 5: 6 and 7 are the history of 8"


# The network

@pytest.mark.parametrize("kinds, fusion", NETWORKS)
@pytest.mark.parametrize("future", [0, 1])
def test_a_window_is_what_it_is_alone(kinds, fusion, future):
    "A batch that embeds each utterance once, with padding, gives what each window gives alone, without."
    found, network = talk(kinds, 4, future=future), build(kinds, fusion, future=future)
    batch = found.collate([found[sample] for sample in range(35)])
    assert len(batch[next(iter(found.features))]) == 35, "each once, though windows hold more"
    together = network(**{name: value for name, value in batch.items() if name != "labels"})
    for row, window in enumerate(found.windows):
        real = window[window >= 0]
        alone = {name: embed_each(network.embedders[name], [s[r] for r in real])
                 for name, s in found.features.items()}
        fused = next(iter(alone.values()))
        if network.fusion: fused = fuse(network, alone, [found.features["audio"][r] for r in real])
        current = (window[:4] >= 0).sum() - 1
        by_hand = network.classify(fused[:, current] + network.lstm(fused)[1][0][0])
        torch.testing.assert_close(together[row:row + 1], by_hand, atol=2e-6, rtol=1e-4)
    assert together.std(dim=0).min() > 1e-3, "the windows differ"

def embed_each(embedder, sequences: list[np.ndarray]) -> torch.Tensor:   # (1, turns, width)
    return torch.cat([embedder(torch.tensor(s)[None], torch.tensor([len(s)])) for s in sequences])[None]

def fuse(network, alone: dict[str, torch.Tensor], sounds: list[np.ndarray]) -> torch.Tensor:
    "Turn by turn where words attend to frames, which are embedded one sound at a time."
    if network.fusion.how != "frame attention":
        return network.fusion(alone["text"], alone["audio"], torch.tensor([len(sounds)]))
    turns = []
    for text, sound in zip(alone["text"][0], sounds):
        frames = network.embedders["audio"].frames(torch.tensor(sound)[None], torch.tensor([len(sound)]))
        turns.append(network.fusion(text[None, None], *frames))
    return torch.cat(turns, dim=1)

@pytest.mark.parametrize("kinds, fusion", NETWORKS)
def test_padding_is_not_heard(kinds, fusion):
    found, network = talk(kinds, 3), build(kinds, fusion)
    batch = found.collate([found[sample] for sample in range(35)])
    del batch["labels"]
    expected = network(**batch)
    for name, s in found.features.items():
        padding = torch.arange(batch[name].shape[1]) >= batch[f"{name}_lengths"][:, None]
        if batch[name].ndim == 3: padding = padding[..., None]
        batch[name] = torch.where(padding, torch.tensor(7, dtype=batch[name].dtype), batch[name])
    torch.testing.assert_close(network(**batch), expected, atol=2e-6, rtol=1e-5)

@pytest.mark.parametrize("kinds, fusion", [(("tokens",), "add"), (("tokens", "frames"), "add"),
                                           (("tokens", "frames"), "cross-attention"),
                                           (("tokens", "frames"), "frame attention"),
                                           (("vector", "vector"), "concat")])
def test_predictions_do_not_depend_on_batch_mates(kinds, fusion):
    found, network = talk(kinds, 3), build(kinds, fusion)
    alone = predict(network, found, batch_size=1)
    np.testing.assert_allclose(predict(network, found, batch_size=35), alone, atol=2e-6)
    np.testing.assert_allclose(predict(network, found, batch_size=4), alone, atol=2e-6)

def test_cross_attention_hears_text_only_where_there_is_a_choice():
    found, network = talk(("tokens", "vector"), 2), build(("tokens", "vector"), "cross-attention")
    exchanged = {**found.features, "text": found.features["text"][::-1]}
    other = ConversationSamples(exchanged, found.windows, found.targets, found.stretches, found.rows)
    here, there = predict(network, found), predict(network, other)
    first = (found.windows >= 0).sum(axis=1) == 1
    assert np.array_equal(here[first], there[first])
    assert (np.abs(here - there).max(axis=1) > 1e-6)[~first].all()

def test_widths_must_agree():
    unequal = {name: EMBEDDERS["vector"](5, width=width) for name, width in (("text", 8), ("audio", 9))}
    with pytest.raises(StudyError, match="8 and 9"): ConversationNetwork(unequal, 3)
    with pytest.raises(StudyError, match="fusion 'sum'"): build(("tokens", "frames"), "sum")
    with pytest.raises(StudyError, match="activation"): EMBEDDERS["vector"](5, activation="gelu")


# Fits

def answers(n: int = 60, follows: bool = True) -> dict:
    "Dialogues of five turns with random texts: a turn's label is the word of the turn before it, or its own."
    rng = np.random.default_rng(3)
    words = np.array(["yes", "no", "maybe"])
    said = rng.integers(3, size=(n, 5))
    label = np.roll(said, 1, axis=1) if follows else said
    targets = np.eye(3)[label.reshape(-1)]
    if follows: targets[::5] = np.nan   # the first turn follows nothing: it is heard and has no label
    return dict(text=words[said.reshape(-1)], targets=targets, dialogues=np.repeat(np.arange(n), 5),
                turns=np.tile(np.arange(5), n))

SETTING = {**CONVERSATION,
           "embedders": dict(text=dict(kind="tokens", embedding=16, hidden=16, layers=1, width=16)),
           "tokenizer": dict(vocabulary=280, longest=8), "device": "cpu", "seed": 1,
           "recipe": dict(epochs=10, learning_rate=.01, batch_size=16)}
LABELLED = np.flatnonzero(np.arange(300) % 5)
SIDES = dict(train=LABELLED[:160], validation=LABELLED[160:200], test=LABELLED[200:])

def fitted(found: dict, length: int, **changed) -> tuple[pd.DataFrame, dict]:
    return fit_conversation(**found, **{**SETTING, **SIDES, **changed}, conv_length=length)

def accuracy(table: pd.DataFrame, found: dict) -> float:
    return (table.filter(like="p_").to_numpy().argmax(1) == found["targets"][table.row].argmax(1)).mean()

@pytest.fixture(scope="module")
def learned() -> dict: return {length: fitted(answers(), length) for length in (1, 2)}

def test_what_only_the_past_says_needs_the_past(learned):
    assert accuracy(learned[2][0], answers()) > .95 and accuracy(learned[1][0], answers()) < .55
    later = lambda table: table[table.row % 5 > 1]   # the first answer has no other past
    for how in HISTORIES[1:]:
        replaced, _ = fitted(answers(), 2, history=how)
        assert accuracy(later(replaced), answers()) < .6, how

def test_the_same_seed_gives_the_same_predictions(learned):
    table, facts = fitted(answers(), 1)
    assert table.equals(learned[1][0]) and facts == learned[1][1]
    other, _ = fitted(answers(), 1, seed=2)
    assert not np.array_equal(other.filter(like="p_"), table.filter(like="p_"))

def test_utterances_without_a_label_are_heard_and_cost_nothing(learned):
    "Their labels are NaN: one of them in a loss, a weight or a score, and nothing is finite any more."
    table, facts = fitted(answers(), 2, weights="inverse frequency")
    assert np.isfinite(table.filter(like="p_")).all(axis=None) and facts["trained_on"] == 160
    assert all(np.isfinite(list(epoch.values())).all() for epoch in facts["curve"])
    other = answers()
    other["targets"][::5] = [0, 0, 1]
    assert fitted(other, 2)[0].equals(learned[2][0])

def test_test_rows_teach_nothing(learned):
    found = answers()
    found["targets"][SIDES["test"]] = np.roll(found["targets"][SIDES["test"]], 1, axis=1)
    found["text"] = np.where(np.arange(300) >= 290, "xylophone quartz", found["text"])
    (odd, facts), (plain, expected) = fitted(found, 2), learned[2]
    assert facts == expected and (odd.row[:32] < 290).all()
    np.testing.assert_allclose(odd.filter(like="p_")[:32], plain.filter(like="p_")[:32], atol=1e-6)
    assert not np.allclose(odd.filter(like="p_")[32:], plain.filter(like="p_")[32:], atol=.01)

def test_weights_are_of_training_targets(monkeypatch):
    seen = []
    def no_fit(network, training, validation, recipe, weights, *rest):
        seen.append((weights, recipe))
        return []
    monkeypatch.setattr(conversation_fits, "fit", no_fit)
    found = answers(follows=False)
    fitted(found, 1, weights="inverse frequency", recipe={})
    counts = found["targets"][SIDES["train"]].sum(axis=0)
    np.testing.assert_allclose(seen[0][0], 160 / (3 * counts))
    assert seen[0][1] == Recipe(epochs=100, batch_size=32, learning_rate=1e-3, weight_decay=0, patience=10,
                                plateau=.4, monitor="weighted F1")

def test_weighted_f1_chooses_the_epoch_and_lowers_the_rate():
    "With a rate of 0 nothing rises, so training stops when patience ends. The rate falls on the way."
    found = talk(("vector",), 2)
    recipe = Recipe(epochs=20, batch_size=8, learning_rate=0, patience=4, plateau=.4, monitor="weighted F1")
    still = fit(build(("vector",), "add"), found, found, recipe, np.ones(3), 1)
    assert len(still) == 5 and len({epoch["validation_weighted_f1"] for epoch in still}) == 1
    rates = []
    class Optimizer(torch.optim.Adam):
        def step(self, closure=None):
            rates.append(self.param_groups[0]["lr"])
            return super().step(closure)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.torch.optim, "Adam", Optimizer)
        wrong = ConversationSamples(found.features, found.windows, np.roll(found.targets, 1, axis=1),
                                    found.stretches, found.rows)   # what is learned makes its score worse
        recipe = Recipe(epochs=40, batch_size=8, learning_rate=.01, patience=8, plateau=.4,
                        monitor="weighted F1")
        curve = fit(build(("vector",), "add"), found, wrong, recipe, np.ones(3), 1)
    best = int(np.argmax([epoch["validation_weighted_f1"] for epoch in curve]))
    assert len(curve) == best + 1 + 8 and rates[0] == .01
    assert np.isclose(rates[-1], .01 * .4**2), "twice after three epochs without a higher one"


# Kept apart

class Asked(Exception): "The tasks that a study would compute."

def keys_of(monkeypatch, found: dict, configuration: dict, length: int, seed: int, sides: dict) -> str:
    "The key of the one task that `fit_conversations` makes."
    def stop(function, tasks, *rest): raise Asked(function, tasks)
    monkeypatch.setattr(conversation_fits, "predict_all", stop)
    features = dict(words=found["text"], other=np.roll(found["text"], 1),
                    vectors=[np.ones((1, 2), np.float32)] * 300)
    with pytest.raises(Asked) as asked:
        fit_conversations(features, found["targets"], found["dialogues"], found["turns"],
                          {"name": configuration}, [length], [Split("a", **sides)], [seed],
                          load_settings(device="cpu"))
    function, named = asked.value.args
    assert function is fit_conversation
    task, = named.values()
    return task_key("code", task)

def test_two_configurations_never_share_a_fit(monkeypatch):
    words = dict(kind="tokens", features="words", hidden=16)
    def key(length=2, seed=1, found=answers(), sides=SIDES, **changed):
        return keys_of(monkeypatch, found, {"embedders": dict(text=words), **changed}, length, seed, sides)
    assert key() == key() == key(found=answers(), recipe={}, fusion="add")
    later = answers()
    later["turns"] = later["turns"] * 2 + 7
    assert key() == key(found=later), "only the order of turns counts"
    moved, louder = answers(), answers()
    moved["turns"][:2] = 1, 0
    louder["text"] = np.where(np.arange(300) == 5, "no", louder["text"])
    both = lambda **audio: dict(text=words, audio=dict(kind="vector", features="vectors") | audio)
    others = [key(length=3), key(seed=2), key(found=moved), key(found=louder),
              key(found=answers(follows=False)),
              key(sides={**SIDES, "train": SIDES["train"][1:]}), key(future=1),
              key(history="random past turns"),
              key(history="other dialogues"), key(weights="inverse frequency"), key(recipe=dict(patience=3)),
              key(tokenizer=dict(vocabulary=300, longest=8)), key(standardise=["audio"]),
              key(embedders=dict(text=words | dict(hidden=17))),
              key(embedders=dict(text=words | dict(features="other"))), key(embedders=both()),
              key(embedders=both(), fusion="concat"), key(embedders=both(width=9)),
              key(embedders=dict(audio=dict(kind="vector", features="vectors"))),
              key(embedders=dict(audio=dict(kind="frames", features="vectors")))]
    assert len({key(), *others}) == 1 + len(others)

NOT_OF_A_FIT = {"fragment", "min_max_scaled", "history_shares", "embedder_arrays", "_check_embedder",
                "_check_labels", "_task", "fit_conversations", "collate", "pack"}   # before or around a fit
NOT_OF_THIS_NETWORK = {"AttentionPooling", "ConvBlock", "max_pool"}
MODULES = (conversation, blocks, conversation_datasets, protocol_dialogues, conversation_fits, training)
CODE = {thing for module in MODULES for thing in vars(module).values()
        if (inspect.isclass(thing) or inspect.isfunction(thing)) and thing.__module__ == module.__name__
        and thing.__name__ not in NOT_OF_A_FIT | NOT_OF_THIS_NETWORK}

def test_all_code_of_a_fit_is_read(monkeypatch):
    source, read = inspect.getsource, []
    monkeypatch.setattr(study_fits.inspect, "getsource", lambda asked: (read.append(asked), source(asked))[1])
    code_fingerprint(fit_conversation)
    missed = {thing.__qualname__ for thing in CODE} - {thing.__qualname__ for thing in read}
    assert len(CODE) > 20 and not missed
