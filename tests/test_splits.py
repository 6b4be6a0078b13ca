"""Splits: what every split must keep, over random tables, and scikit-learn as the oracle"""
from collections import Counter
from itertools import permutations
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.stats import chi2_contingency
from sklearn.model_selection import GroupKFold, LeaveOneGroupOut, StratifiedShuffleSplit
from ser_study import load_corpora, load_settings
from ser_study.settings import StudyError
from ser_study.protocol.splits import (Split, count_ways, describe_draws, describe_splits, draw_folds,
                                       grouped_folds, grouped_split, leave_one_out, measure_imbalance,
                                       named_split, set_aside, split_within, stratified_folds,
                                       stratified_split, thin_split)


@st.composite
def tables(draw, fewest_groups=3):
    "Labels of 3 classes and groups of uneven size."
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sizes = rng.integers(4, 25, size=draw(st.integers(fewest_groups, 12)))
    groups = rng.permutation(np.repeat([f"g{i}" for i in range(len(sizes))], sizes))
    return np.resize(["a", "b", "c"], len(groups))[rng.permutation(len(groups))], groups

def assert_whole(split, rows):
    "Every row stands on one side."
    assert np.array_equal(np.sort(np.concatenate(list(split.sides.values()))), np.arange(rows))

def assert_apart(split, groups):
    "No group stands on two sides."
    assert sum(len(np.unique(groups[rows])) for rows in split.sides.values()) == len(np.unique(groups))

def assert_tested_once(splits, rows):
    assert np.array_equal(np.sort(np.concatenate([split.test for split in splits])), np.arange(rows))


@given(tables(), st.integers(0, 99), st.sampled_from([(.8, .1, .1), (.6, .2, .2), (.75, 0, .25)]))
@settings(max_examples=60, deadline=None)
def test_grouped_split_keeps_groups_whole(table, seed, shares):
    labels, groups = table
    split, = grouped_split(labels, groups, seed, shares)
    assert_whole(split, len(labels))
    assert_apart(split, groups)
    assert set(split.sides) == ({"train", "validation", "test"} if shares[1] else {"train", "test"})

@given(tables(), st.integers(0, 99), st.sampled_from([0., .25]))
@settings(max_examples=60, deadline=None)
def test_grouped_folds_test_every_row_once(table, seed, validation):
    labels, groups = table
    splits = grouped_folds(labels, groups, 3, seed, validation)
    assert_tested_once(splits, len(labels))
    for split in splits:
        assert_whole(split, len(labels))
        assert_apart(split, groups)
        others = len(np.unique(groups)) - len(np.unique(groups[split.test]))
        validated = len(np.unique(groups[split.validation]))
        parts = min(round(1 / validation), others) if validation else 0
        assert validated in ({others // parts, -(-others // parts)} if validation else {0})

@given(tables(), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_leave_one_out_as_scikit_learn(table, seed):
    labels, groups = table
    for split, (rest, tested) in zip(leave_one_out(groups), LeaveOneGroupOut().split(labels, groups=groups),
                                     strict=True):
        assert np.array_equal(split.train, rest) and np.array_equal(split.test, tested)
        assert not len(split.validation)
    with_validation = leave_one_out(groups, .3, seed)
    assert_tested_once(with_validation, len(labels))
    for split in with_validation:
        assert_whole(split, len(labels))
        assert_apart(split, groups)

@given(tables(), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_random_rows_keep_the_shares_of_the_classes(table, seed):
    labels, _ = table
    share = (labels == "a").mean()
    for split in (*stratified_split(labels, seed, (.6, .2, .2)), *stratified_folds(labels, 3, seed, .25)):
        assert_whole(split, len(labels))
        for rows in split.sides.values(): assert abs((labels[rows] == "a").sum() - share * len(rows)) <= 1.5
    assert_tested_once(stratified_folds(labels, 3, seed, .25), len(labels))

def test_stratified_split_as_scikit_learn():
    labels = np.resize(["a", "b", "b"], 300)
    split, = stratified_split(labels, 5)
    rest, tested = next(StratifiedShuffleSplit(1, test_size=.1, random_state=5).split(labels, labels))
    assert np.array_equal(np.sort(tested), split.test)
    assert np.array_equal(np.sort(rest), np.sort(np.r_[split.train, split.validation]))

def test_grouped_folds_are_stratified():
    """Clips of one class each. scikit-learn's GroupKFold ignores labels; scipy's chi-square of folds and
    classes is on average less than half as large for ours, and the folds have equal size."""
    clips = np.repeat(np.arange(90), 3)
    labels = clips // 30
    def unevenness(tests) -> float:
        return chi2_contingency([np.bincount(labels[rows], minlength=3) for rows in tests]).statistic
    ours, theirs = [], []
    for seed in range(40):
        tests = [split.test for split in grouped_folds(labels, clips, 5, seed)]
        assert {len(rows) for rows in tests} == {54}
        ours.append(unevenness(tests))
        plain = GroupKFold(5, shuffle=True, random_state=seed).split(clips, groups=clips)
        theirs.append(unevenness([rows for _, rows in plain]))
    assert np.mean(ours) < np.mean(theirs) / 2

def test_the_measure_is_pearsons_chi_square():
    found = np.random.default_rng(0).integers(1, 30, (4, 6))
    oracle = chi2_contingency(found)
    assert measure_imbalance(found, oracle.expected_freq) == pytest.approx(oracle.statistic)

@pytest.mark.parametrize("sizes", [[1, 4], [2, 3], [2, 2, 2], [1, 1, 3], [1, 2, 2], [1, 1, 1]])
def test_ways_to_deal_are_counted(sizes):
    "All orders of the sides' numbers, as sets of sets of places."
    dealt = set(permutations(np.repeat(np.arange(len(sizes)), sizes).tolist()))
    unnamed = {frozenset(frozenset(np.flatnonzero(np.equal(way, side)).tolist()) for side in set(way))
               for way in dealt}
    assert count_ways(sizes) == len(unnamed)

@pytest.mark.parametrize("count, n_splits, ways", [(6, 3, 15), (6, 2, 10), (8, 4, 105), (9, 3, 280)])
def test_no_way_to_deal_is_drawn_too_often(count, n_splits, ways):
    """15 and 10 ways: one draw, all equally probable. 105 and 280 ways: 3 and 8 draws, and no way has a
    probability above draws / ways."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(count), rng.integers(5, 20, count))
    labels, first = rng.integers(0, 4, len(groups)), np.unique(groups, return_index=True)[1]
    drawn, seeds = Counter(), 1500
    for seed in range(seeds):
        fold = draw_folds(labels, groups, n_splits, np.random.default_rng(seed))[first]
        drawn[frozenset(frozenset(np.flatnonzero(fold == number).tolist()) for number in set(fold))] += 1
    draws = max(1, ways // 32)
    most = seeds * draws / ways
    assert max(drawn.values()) <= most + 4 * np.sqrt(most)
    if draws == 1: assert len(drawn) == ways and min(drawn.values()) >= most - 4 * np.sqrt(most)

@pytest.mark.parametrize("shares", [(.8, .1, .1), (.8, 0, .2), (.5, .25, .25)])
def test_every_group_is_held_out_equally_often(shares):
    "Also one that has many rows of one class. The folds of 23 groups have unequal numbers of them."
    groups = np.repeat(np.arange(23), [60] + [12] * 22)
    labels = np.where(groups == 0, 0, np.arange(len(groups)) % 4)
    tested, validated, seeds = np.zeros(23), np.zeros(23), 1000
    for seed in range(seeds):
        split, = grouped_split(labels, groups, seed, shares)
        tested[np.unique(groups[split.test])] += 1
        validated[np.unique(groups[split.validation])] += 1
    for found, share in ((tested, shares[2]), (validated, shares[1])):
        assert np.abs(found - seeds * share).max() <= 4 * np.sqrt(seeds * share)

@given(tables(), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_the_order_of_rows_is_nothing_to_the_draw(table, seed):
    labels, groups = table
    order = np.random.default_rng(seed).permutation(len(labels))
    for split, other in zip(grouped_folds(labels, groups, 3, seed, .25),
                            grouped_folds(labels[order], groups[order], 3, seed, .25), strict=True):
        for side, rows in split.sides.items():
            assert set(groups[rows]) == set(groups[order][other.sides[side]])

def test_two_groups():
    groups = np.repeat(["x", "y"], 6)
    labels = np.arange(12) % 3
    assert {tuple(groups[split.test]) for split in grouped_folds(labels, groups, 2, 0)} == {
        ("x",) * 6, ("y",) * 6}
    tested = {groups[grouped_split(labels, groups, seed, (.9, 0, .1))[0].test][0] for seed in range(20)}
    assert tested == {"x", "y"}
    with pytest.raises(StudyError, match="none can be set aside"): grouped_folds(labels, groups, 2, 0, .2)

SESSIONS = [137, 135, 153, 151, 162]   # a tenth of the utterances of six emotions in IEMOCAP's sessions

def test_seeds_draw_sessions():
    """Five sessions in five folds are forced, and the seed draws the validation session of each fold. In one
    split of sessions, each of the 20 pairs of validation and test session is drawn."""
    sessions = np.repeat(np.arange(1, 6), SESSIONS)
    labels = np.random.default_rng(0).integers(0, 6, len(sessions))
    folds, alone = set(), Counter()
    for seed in range(200):
        for split in grouped_folds(labels, sessions, 5, seed, .25):
            folds.add((sessions[split.test][0], sessions[split.validation][0]))
        split, = grouped_split(labels, sessions, seed, (.6, .2, .2))
        assert [len(set(sessions[rows])) for rows in split.sides.values()] == [3, 1, 1]
        alone[sessions[split.test][0], sessions[split.validation][0]] += 1
    assert len(folds) == len(alone) == 20
    assert max(alone.values()) < 25, "ten are expected"

def test_draws_are_described():
    "One class, two groups of three rows and of one; the second is tested in seeds 1 and 2."
    labels, groups = np.array(list("aabb")), np.array(list("xxxy"))
    def make(seed):
        x, y = np.arange(3), np.array([3])
        return [Split("x", *((y, np.array([], int), x) if seed == 0 else (x, np.array([], int), y)))]
    found = describe_draws(make, labels, groups, seeds=3)
    assert [found[key] for key in ("splits", "test sides", "validation sides", "fewest tests", "most tests")
            ] == [3, 2, 0, 1, 2]
    assert found["deviation"] == pytest.approx((1 / 6 + .5 + .5) / 3)

@pytest.mark.parametrize("folder, corpus, column, n_splits, fewest", [
    ("RAVDESS", "ravdess", "speaker", 5, 90), ("CREMA-D", "crema_d", "speaker", 5, 90),
    ("MELD", "meld", "dialogue", 5, 100), ("nEMO", "nemo", "sentence", 5, 100),
    ("nEMO", "nemo", "speaker", 2, 2)])
def test_seeds_draw_splits_of_real_corpora(corpora_root, folder, corpus, column, n_splits, fewest):
    "Twenty seeds: at least `fewest` different test sides in folds; every group is tested once a seed."
    if not (corpora_root / folder).is_dir(): pytest.skip(f"not among the real corpora: {folder}")
    table = load_corpora(corpus, load_settings()).utterances
    labels, groups = table.emotion.to_numpy(str), table[column].to_numpy(str)
    folds = describe_draws(lambda seed: grouped_folds(labels, groups, n_splits, seed), labels, groups, 20)
    assert folds["fewest tests"] == folds["most tests"] == 20
    assert folds["test sides"] >= fewest
    alone = describe_draws(lambda seed: grouped_split(labels, groups, seed, (.8, 0, .2)), labels, groups, 20)
    assert alone["test sides"] >= min(18, fewest)

def test_named_sides():
    sessions = np.array(list("abcabcab"))
    split, = named_split(sessions, ["b"], ["c"])
    assert split.train.tolist() == [0, 3, 6] and split.validation.tolist() == [1, 4, 7]
    assert split.test.tolist() == [2, 5]
    with pytest.raises(StudyError, match="No row has 'z'; there are a, b, c"):
        named_split(sessions, [], ["z"])
    with pytest.raises(StudyError, match="no rows are left"): named_split(sessions, [], ["a", "b", "c"])

def test_same_seed_same_split_other_seed_other_split():
    labels, clips = np.arange(120) // 40, np.arange(120) // 4
    for make in (lambda seed: stratified_split(labels, seed), lambda seed: stratified_folds(labels, 4, seed),
                 lambda seed: grouped_split(labels, clips, seed),
                 lambda seed: grouped_folds(labels, clips, 4, seed)):
        assert all(np.array_equal(a.test, b.test) for a, b in zip(make(3), make(3)))
        assert not all(np.array_equal(a.test, b.test) for a, b in zip(make(3), make(4)))

@pytest.mark.parametrize("make, sentence", [
    (lambda: leave_one_out(np.zeros(9)), "needs at least 2 groups; there is 1"),
    (lambda: grouped_folds(np.arange(9) % 3, np.arange(9) // 3, 5, 0),
     "needs at least 5 groups; there are 3"),
    (lambda: grouped_split(np.arange(8) % 2, np.arange(8) // 4, 0), "needs at least 3 groups; there are 2"),
    (lambda: stratified_split(np.array(["a"] * 9 + ["b"]), 0), "cannot be split"),
    (lambda: stratified_folds(np.array(["a", "b"] * 3), 5, 0), "do not make 5 folds"),
    (lambda: grouped_folds(np.arange(9) % 3, np.array([1, 2, np.nan] * 3), 2, 0), "row 2 has no group"),
    (lambda: Split("x", np.array([1]), np.array([1]), np.array([2])),
     "row 1 stands in train and in validation"),
])
def test_what_cannot_be_done_is_said_in_a_sentence(make, sentence):
    with pytest.raises(StudyError, match=sentence): make()

def test_an_absent_class_is_reported():
    labels, speakers = np.array(["a", "b", "a", "a", "b", "b"]), np.array(["x", "x", "y", "y", "z", "z"])
    described = describe_splits(leave_one_out(speakers), labels, speakers).query("side == 'test'")
    assert described.absent.tolist() == ["", "b", "a"] and described.groups.tolist() == [1, 1, 1]
    assert described.rows.tolist() == [2, 2, 2]

@given(tables(fewest_groups=4), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_validation_may_have_other_groups_than_the_test(table, seed):
    labels, speakers = table
    clips = np.arange(len(labels)) // 2
    for split in leave_one_out(speakers):
        whole = set_aside(split, clips, .25, seed)
        assert np.array_equal(whole.test, split.test)
        assert np.array_equal(np.sort(np.r_[whole.train, whole.validation]), split.train)
        assert not set(clips[whole.train]) & set(clips[whole.validation])

@given(tables(), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_thinned_rows_are_training_rows_in_the_same_shares(table, seed):
    labels, groups = table
    split = grouped_folds(labels, groups, 3, seed)[0]
    size = max(3, len(split.train) // 2)
    small = thin_split(split, labels, size, seed)
    assert len(small.train) == size == len(np.unique(small.train)) and set(small.train) <= set(split.train)
    for name in "abc":
        assert abs((labels[small.train] == name).sum() - size * (labels[split.train] == name).mean()) <= 1.5

def test_splits_within_parts_are_those_of_the_parts():
    labels, part = np.arange(60) % 3, np.repeat(["x", "y"], 30)
    rows = {name: np.flatnonzero(part == name) for name in "yx"}
    splits = split_within(rows, lambda rows: stratified_folds(labels[rows], 5, 0))
    alone = stratified_folds(labels[:30], 5, 0)
    assert [split.name[0] for split in splits] == list("yyyyyxxxxx")
    assert all(np.array_equal(split.test, one.test + 30) for split, one in zip(splits[:5], alone))
    assert all(np.array_equal(split.test, one.test) for split, one in zip(splits[5:], alone))
