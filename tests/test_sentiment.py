"""Paper 05's splits and its MLP: what may not leak does not, ways are comparable, scikit-learn's own fit as the oracle"""
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from ser_study.protocol.audit import audit_leakage
from ser_study.study.fits import Cell, cell_key
from ser_study.protocol.class_weights import inverse_frequency
from ser_study.models.mlp import mlp_cell
from ser_study.study.sentiment.fits import CLASSES, MLP, WAYS, Segments, counts_of, named_scores, protocol_splits, ways


def made_segments(seed: int, voices: int, alone: bool) -> Segments:
    "Voices of 14 to 21 clips with 1 to 4 segments each; one clip is there twice under two names."
    rng, rows = np.random.default_rng(seed), []
    for voice in range(voices):
        for clip in range(rng.integers(14, 22)):
            rows += [dict(utterance=f"{voice}/{clip}", audio_key=f"{voice}/{max(clip, 1)}", speaker=f"voice {voice}", sentiment=CLASSES[clip % 3 if clip else 1])] * rng.integers(1, 5)
    table = pd.DataFrame(rows)
    table.insert(0, "clip", table.groupby("utterance", sort=False).ngroup())
    return Segments(table, {}, alone, None)

@given(st.integers(0, 2**32 - 1), st.sampled_from([(1, True), (2, True), (7, False), (3, False)]))
@settings(max_examples=10, deadline=None)
def test_the_corrected_protocol_shares_no_clip_and_the_papers_does(seed, case):
    voices, alone = case
    study = made_segments(seed, voices, alone)
    found = {protocol: audit_leakage(study.table, protocol_splits(study, protocol, seed % 7)) for protocol in ("paper", "corrected")}
    assert "clip" in set(found["paper"].what)
    assert set(found["corrected"].what) == ({"speaker"} if alone or voices < 5 else set()), "not even the clip that is there twice"
    tested = [split.test for split in protocol_splits(study, "corrected", seed % 7)]
    assert len(tested) == (voices if alone else 1)

@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 3, 7]), st.booleans())
@settings(max_examples=10, deadline=None)
def test_every_way_tests_every_segment_once_with_as_many_to_learn_from(seed, voices, alone):
    study = made_segments(seed, voices, alone)
    found = ways(study, alone, seed % 5)
    assert list(found) == list(WAYS if not alone and voices > 1 else WAYS[:2])
    assert len({len(split.train) for splits in found.values() for split in splits}) == 1
    for way, splits in found.items():
        assert np.array_equal(np.sort(np.concatenate([split.test for split in splits])), np.arange(len(study.table)))
        shared = set(audit_leakage(study.table, splits).what)
        if way == "whole clips": assert "clip" not in shared
        if way == "held-out voices":
            leaks = audit_leakage(study.table, splits)
            assert not leaks[leaks.sides.isin(["train / test", "validation / test"])].what.isin(["speaker", "clip"]).any()

def clouds(n: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, size=n, p=[.5, .3, .2])
    return rng.normal(size=(n, 6)) + 1.5 * np.eye(3, 6)[labels], labels

@pytest.mark.filterwarnings("ignore:Stochastic")
@pytest.mark.parametrize("weights", ["none", "inverse frequency"])
def test_epochs_are_those_of_scikit_learn(weights):
    "With all rows in one batch the order of rows is nothing, and twenty epochs are `fit` with twenty iterations."
    X, labels = clouds(180)
    train, test = np.arange(150), np.arange(150, 180)
    ours = mlp_cell(X, labels, train, train[:0], test, classes=3, **{**MLP, "epochs": 20, "weights": weights}, seed=3)
    scaler, sample_weight = StandardScaler().fit(X[train]), np.ones(150) if weights == "none" else inverse_frequency(np.bincount(labels[train]))[labels[train]]
    theirs = MLPClassifier(128, max_iter=20, random_state=np.random.RandomState(3)).fit(scaler.transform(X[train]), labels[train], sample_weight)
    np.testing.assert_allclose(ours.filter(like="p_"), theirs.predict_proba(scaler.transform(X[test])), rtol=1e-6)

def test_an_absent_class_keeps_its_column():
    X, labels = clouds(200)
    train = np.flatnonzero(labels[:150] < 2)
    table = mlp_cell(X, labels, train, train[:0], np.arange(150, 200), classes=3, **{**MLP, "epochs": 30, "weights": "inverse frequency"}, seed=1)
    assert list(table) == ["row", "p_0", "p_1", "p_2"] and table.p_2.mean() < .2

def test_other_configurations_have_other_cells():
    arrays, base = dict(X=np.zeros((3, 2))), {**MLP, "classes": 3, "seed": 1}
    changed = [base, {**base, "seed": 2}, {**base, "standardise": False}, {**base, "weights": "inverse frequency"}, {**base, "epochs": 4}, {**base, "hidden": 64}, {**base, "patience": 9}]
    assert len({cell_key("code", Cell(configuration, arrays)) for configuration in changed}) == len(changed)

def test_counts_and_scores_of_two_seeds_by_hand():
    study = Segments(pd.DataFrame(dict(clip=[0, 0, 1, 2, 3, 4], audio_key=list("aabcde"), speaker="one", sentiment=["negative", "negative", "neutral", "positive", "positive", "neutral"])), {}, True, None)
    sure = np.eye(3)
    predictions = pd.DataFrame([dict(row=row, **dict(zip(("p_0", "p_1", "p_2"), sure[guess]))) for row, guess in [(0, 0), (1, 1), (2, 1), (3, 2), (4, 2), (5, 1), (0, 0), (2, 2)]])
    counts = counts_of(study, predictions)
    assert len(counts) == 5 and counts.sum(axis=0).tolist() == [[2, 1, 0], [0, 2, 1], [0, 0, 2]]
    scores = named_scores(counts, 100, 0).set_index("column").value
    assert scores["accuracy test"] == 6 / 8 and scores["precision neutral"] == 2 / 3 and scores["recall positive"] == 1 and scores["UA test"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
