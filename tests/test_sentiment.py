"""Paper 05: splits do not leak, ways to split compare, the MLP is scikit-learn's, a bad clip is listed."""
from types import SimpleNamespace
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from ser_study.features.extraction import extract_clips
from ser_study.features.store import FeatureStore
from ser_study.models.mlp import fit_mlp
from ser_study.protocol.audit import audit_leakage
from ser_study.protocol.class_weights import inverse_frequency
from ser_study.settings import StudyError
from ser_study.study.fits import Task, task_key
from ser_study.study.sentiment import segments as segments_module
from ser_study.study.fits import Predictions
from ser_study.study.sentiment.fits import MLP, Fitted, compare_models, count_answers
from ser_study.study.sentiment.questions import GAIN, KINDS, LEAKAGE, compare_ways
from ser_study.study.sentiment.recordings import CLASSES
from ser_study.study.sentiment.segments import Segments, add_encoders, balance_clips
from ser_study.study.sentiment.splits import (PROTOCOLS, WAYS, count_siblings, keep_segments,
                                              split_by_protocol, split_by_way, way_folds)
from ser_study.study.sentiment.tables import name_scores


def made_segments(seed: int, voices: int, alone: bool) -> Segments:
    "Voices of 14 to 21 clips with 1 to 4 segments each; one clip is there twice under two names."
    rng, rows = np.random.default_rng(seed), []
    for voice in range(voices):
        for clip in range(rng.integers(14, 22)):
            name, key = f"{voice}/{clip}", f"{voice}/{max(clip, 1)}"
            sentiment = CLASSES[clip % 3 if clip else 1]
            row = dict(utterance=name, audio_key=key, speaker=f"voice {voice}", sentiment=sentiment)
            rows += [row] * rng.integers(1, 5)
    table = pd.DataFrame(rows)
    table.insert(0, "clip", table.groupby("utterance", sort=False).ngroup())
    return Segments(table, {}, alone)

@given(st.integers(0, 2**32 - 1), st.sampled_from([(1, True), (2, True), (7, False), (3, False)]))
@settings(max_examples=10, deadline=None)
def test_the_corrected_protocol_shares_no_clip_and_the_papers_does(seed, case):
    voices, alone = case
    segments = made_segments(seed, voices, alone)
    splits = {protocol: split_by_protocol(segments, protocol, seed % 7, folds=3) for protocol in PROTOCOLS}
    shared = {protocol: set(audit_leakage(segments.table, found).table.what)
              for protocol, found in splits.items()}
    assert "clip" in shared["paper"]
    by_voice = {"speaker"} if alone or voices < 6 else set()
    assert shared["corrected"] == by_voice, "not even the clip that is there twice"
    assert len(splits["corrected"]) == 3 * (voices if alone else 1)
    tested = np.sort(np.concatenate([split.test for split in splits["corrected"]]))
    assert np.array_equal(tested, np.arange(len(segments.table))), "every clip of every voice once"

@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 3, 7]), st.booleans())
@settings(max_examples=10, deadline=None)
def test_every_way_tests_what_is_kept_once_with_as_much_to_learn_from(seed, voices, alone):
    segments = made_segments(seed, voices, alone)
    found, kept = split_by_way(segments, alone, seed % 5, folds=3), keep_segments(segments, seed % 5)
    assert list(found) == list(WAYS if not alone and voices > 1 else WAYS[:2])
    parts = voices if alone else 1
    for part in range(parts):
        splits = [split for way in found.values() for split in np.array_split(way, parts)[part]]
        assert len({len(split.train) for split in splits}) == 1
        assert len({len(set(segments.clips[split.train])) for split in splits}) == 1
    for way, splits in found.items():
        assert np.array_equal(np.sort(np.concatenate([split.test for split in splits])), kept)
        leaks = audit_leakage(segments.table, splits).table
        if way == "whole clips": assert "clip" not in set(leaks.what)
        if way == "held-out voices":
            with_test = leaks[leaks.sides.isin(["train / test", "validation / test"])]
            assert not with_test.what.isin(["speaker", "clip"]).any()

@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_a_third_of_the_clips_keeps_one_segment_and_the_others_all(seed):
    segments = made_segments(seed, voices=2, alone=True)
    kept = keep_segments(segments, seed % 1000)
    before, after = (pd.Series(segments.clips[rows]).value_counts() for rows in (slice(None), kept))
    several = before[before > 1]
    assert set(before.index) == set(after.index), "no clip is lost"
    assert ((after == 1) | (after == before.reindex(after.index))).all()
    assert 1 / 3 <= (after[several.index] == 1).mean() < .6, "a third, rounded up in every voice and class"

def test_thinning_takes_no_sibling_of_a_tested_segment():
    "Clips of two: fewer clips are left to train on, but those with a tested segment are all among them."
    table = pd.DataFrame(dict(clip=np.repeat(range(300), 2), speaker="one"))
    table = table.assign(utterance=table["clip"].astype(str), audio_key=table["clip"].astype(str),
                         sentiment=np.array(CLASSES)[table["clip"] % 3])
    segments, kept = Segments(table, {}, True), keep_segments(Segments(table, {}, True), 1)
    random, whole = split_by_way(segments, True, seed=1, folds=5).values()
    before = way_folds(segments, WAYS[0], kept, seed=1, folds=5)
    for split, unthinned in zip(random, before):
        assert len(split.train) < len(unthinned.train) and np.array_equal(split.test, kept[unthinned.test])
        had = np.isin(segments.clips[split.test], segments.clips[kept[unthinned.train]])
        has = np.isin(segments.clips[split.test], segments.clips[split.train])
        assert np.array_equal(had, has) and had.any()
    assert all(count_siblings(segments, split) == 0 for split in whole)

@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_very_few_clips_still_leave_something_to_train_on(seed):
    "Twelve clips, of which a split may have none of one kind in a class."
    rng = np.random.default_rng(seed)
    clip = np.repeat(np.arange(12), rng.integers(1, 4, 12))
    table = pd.DataFrame(dict(clip=clip, utterance=clip.astype(str), audio_key=clip.astype(str),
                              speaker="one", sentiment=np.array(CLASSES)[clip % 3]))
    segments = Segments(table, {}, True)
    for splits in split_by_way(segments, True, seed % 1000, folds=2).values():
        assert all(len(split.train) >= 1 for split in splits)

def answers_of(segments: Segments, way: str, rows: np.ndarray, wrong) -> Fitted:
    "Four repetitions of answers, of which some are wrong: `wrong(repetition) -> (rows,)`."
    tables = []
    for seed in range(4):
        guesses = (segments.labels[rows] + wrong(seed)) % 3
        part = pd.DataFrame(np.eye(3)[guesses], columns=["p_0", "p_1", "p_2"])
        tables.append(part.assign(row=rows, configuration="MLP", split="s", seed=seed))
    return Fitted(f"question 1, each voice alone, {way}", segments, {"MLP": {}},
                  Predictions(pd.concat(tables, ignore_index=True), []))

def test_leakage_by_hand():
    "Siblings save all errors of clips of two segments; the control gains half of its errors."
    clip = np.repeat(np.arange(144), 2)
    table = pd.DataFrame(dict(utterance=clip.astype(str), audio_key=clip.astype(str), segment=0,
                              speaker=(clip % 8).astype(str), sentiment=np.array(CLASSES)[clip // 8 % 3]))
    segments, control = Segments(table, {}, True), clip // 24 % 2 == 0
    rows = np.flatnonzero(~control | (np.arange(288) % 2 == 0))
    turn = clip[rows] // 48 % 3       # of the clips of each voice and class, a third is 0
    random = answers_of(segments, WAYS[0], rows, lambda seed: control[rows] & (turn == 0))
    whole = answers_of(segments, WAYS[1], rows, lambda seed: np.where(control[rows], turn < 2, turn == 0))
    found = compare_ways([random, whole]).set_index("what")
    gains = [f"gain of clips of {kind}" for kind in KINDS]
    np.testing.assert_allclose(found.value[[*gains, LEAKAGE]], [1 / 3, 1 / 3, 0], atol=1e-12)
    np.testing.assert_allclose(found.value[GAIN], 1 / 3)
    assert set(found.units) == {8} and set(found.repetitions) == {4}

@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_balanced_clips_are_as_many_of_each_sentiment_in_every_voice(seed):
    rng = np.random.default_rng(seed)
    sentiments = rng.choice(CLASSES, 60, p=[.6, .2, .2])
    clips = pd.DataFrame(dict(speaker=rng.choice(["Ada", "Ben"], 60), sentiment=sentiments))
    counts = pd.crosstab(clips.speaker, clips.sentiment).reindex(columns=CLASSES, fill_value=0)
    drawn = balance_clips(clips, seed % 1000)
    left = pd.crosstab(drawn.speaker, drawn.sentiment).reindex(counts.index, columns=CLASSES, fill_value=0)
    assert (left.to_numpy() == counts.min(axis=1).to_numpy()[:, None]).all()
    assert (clips.sentiment.to_numpy()[drawn["clip"]] == drawn.sentiment).all(), "clip is its number"

def clouds(n: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, size=n, p=[.5, .3, .2])
    return rng.normal(size=(n, 6)) + 1.5 * np.eye(3, 6)[labels], labels

@pytest.mark.filterwarnings("ignore:Stochastic")
@pytest.mark.parametrize("weights", ["none", "inverse frequency"])
def test_epochs_are_those_of_scikit_learn(weights):
    "With all rows in one batch their order does not matter: twenty epochs are `fit` with twenty iterations."
    X, labels = clouds(180)
    train, test = np.arange(150), np.arange(150, 180)
    configuration = {**MLP, "epochs": 20, "weights": weights}
    ours, _ = fit_mlp(X, labels, train, train[:0], test, classes=3, **configuration, seed=3)
    scaler, sample_weight = StandardScaler().fit(X[train]), np.ones(150)
    if weights != "none": sample_weight = inverse_frequency(np.bincount(labels[train]))[labels[train]]
    theirs = MLPClassifier(128, max_iter=20, random_state=np.random.RandomState(3))
    theirs.fit(scaler.transform(X[train]), labels[train], sample_weight)
    expected = theirs.predict_proba(scaler.transform(X[test]))
    np.testing.assert_allclose(ours.filter(like="p_"), expected, rtol=1e-6)

def test_an_absent_class_keeps_its_column():
    X, labels = clouds(200)
    train = np.flatnonzero(labels[:150] < 2)
    configuration = {**MLP, "epochs": 30, "weights": "inverse frequency"}
    table, _ = fit_mlp(X, labels, train, train[:0], np.arange(150, 200), classes=3, **configuration, seed=1)
    assert list(table) == ["row", "p_0", "p_1", "p_2"] and table.p_2.mean() < .2

def test_other_configurations_have_other_fits():
    arrays, base = dict(X=np.zeros((3, 2))), {**MLP, "classes": 3, "seed": 1}
    changes = [{}, dict(seed=2), dict(standardise=False), dict(weights="inverse frequency"), dict(epochs=4),
               dict(hidden=64), dict(patience=9)]
    assert len({task_key("code", Task({**base, **change}, arrays)) for change in changes}) == len(changes)

def test_counts_and_scores_of_two_seeds_by_hand():
    sentiments = ["negative", "negative", "neutral", "positive", "positive", "neutral"]
    table = pd.DataFrame(dict(clip=[0, 0, 1, 2, 3, 4], audio_key=list("aabcde"), speaker="one",
                              sentiment=sentiments))
    answers = [(0, 0), (1, 1), (2, 1), (3, 2), (4, 2), (5, 1), (0, 0), (2, 2)]     # row, guessed class
    predictions = pd.DataFrame(np.eye(3)[[guess for _, guess in answers]], columns=["p_0", "p_1", "p_2"])
    predictions["row"] = [row for row, _ in answers]
    predictions["seed"] = [1] * 6 + [2] * 2
    counts = count_answers(Segments(table, {}, True), predictions)
    assert counts.shape == (2, 1, 3, 3), "two repetitions of one voice"
    assert counts[0, 0].tolist() == [[1, 1, 0], [0, 2, 0], [0, 0, 2]]
    scores = name_scores(counts).value
    assert scores["accuracy test"] == (5 / 6 + 1 / 2) / 2, "a mean of repetitions, not of pooled answers"
    assert scores["precision neutral"] == (2 / 3 + 0) / 2, "the second never answers neutral"
    assert scores["UA test"] == pytest.approx(((1 / 2 + 1 + 1) / 3 + 1 / 2) / 2)

class MadeEncoder:
    "Means of seven layers; cannot measure `short`, and cuts `long` into one segment too many."
    identity = dict(extractor="made")
    def compute(self, paths):
        for number, path in enumerate(paths):
            value = np.full((3 if path == "long" else 2, 7, 4), number, np.float32)
            yield number, StudyError("short: too short") if path == "short" else value

class MadeStudy:
    "A study that measures without a run."
    settings = SimpleNamespace(checkpoints={})
    def __init__(self, folder): self.store, self.defects = FeatureStore(folder), []
    def add_defects(self, defects): self.defects += defects.values.tolist()
    def extract(self, clips, extractors):
        found = extract_clips(self.store, clips, extractors)
        self.add_defects(found.defects)
        return found

def test_a_clip_that_cannot_be_encoded_costs_itself_and_is_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(segments_module, "build_encoder", lambda *given: MadeEncoder())
    names = ["good", "short", "long", "fine"]
    table = pd.DataFrame(dict(clip=np.repeat(range(4), 2), segment=[0, 1] * 4, utterance=np.repeat(names, 2),
                              audio_key=np.repeat(names, 2), speaker="one", sentiment="neutral"))
    clips = pd.DataFrame(dict(clip=range(4), utterance=names, audio_key=names, path=names))
    study = MadeStudy(tmp_path)
    encoders = {"whisper-untrained": "untrained Whisper"}
    encoded = add_encoders(study, Segments(table, {}, True), clips, encoders)
    assert encoded.table.utterance.tolist() == ["good", "good", "fine", "fine"]
    assert [row[:2] for row in study.defects] == [["short", "no features"], ["long", "segments differ"]]
    layers = [f"untrained Whisper, layer {number}" for number in range(7)]
    assert list(encoded.features) == layers
    assert [vector.tolist() for vector in encoded.features[layers[6]]] == [[0] * 4] * 2 + [[3] * 4] * 2
    again = add_encoders(study, encoded, clips, encoders)
    assert again.table.equals(encoded.table), "a clip that was left out is not asked for again"

def test_a_model_with_fewer_repetitions_is_paired_in_those_that_both_have():
    table = pd.DataFrame(dict(clip=range(6), audio_key=list("abcdef"), speaker="one", sentiment=CLASSES * 2))
    parts = []
    for name, seeds in (("MLP", 4), ("BiLSTM", 2)):
        for seed in range(seeds):
            right = np.eye(3)[[0, 1, 2] * 2] if name == "MLP" and seed < 2 else np.eye(3)[[0] * 6]
            part = pd.DataFrame(right, columns=["p_0", "p_1", "p_2"])
            parts.append(part.assign(row=range(6), configuration=name, split="s", seed=seed))
    answers = Predictions(pd.concat(parts, ignore_index=True), [])
    fitted = Fitted("paper", Segments(table, {}, True), dict.fromkeys(("MLP", "BiLSTM"), {}), answers)
    found = compare_models(fitted, "MLP", "BiLSTM")
    assert (found["value"], found["repetitions"]) == (pytest.approx(2 / 3), 2)
    assert (found["collapsed"], found["fits"]) == (2, 2), "every BiLSTM gives one answer to everything"
