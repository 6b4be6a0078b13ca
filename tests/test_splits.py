"""Splits: what every split must keep, over random tables, and scikit-learn as the oracle"""
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.model_selection import GroupKFold, LeaveOneGroupOut, StratifiedShuffleSplit
from ser_study.settings import StudyError
from ser_study.protocol.splits import (Split, describe_splits, grouped_folds, grouped_split, leave_one_out,
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
        assert len(np.unique(groups[split.validation])) == int(np.ceil(validation * others))

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
    "Clips of one class each. scikit-learn's GroupKFold ignores labels and has uneven folds; ours are even."
    clips = np.repeat(np.arange(90), 3)
    labels = clips // 30
    counts = np.array([np.bincount(labels[split.test], minlength=3)
                       for split in grouped_folds(labels, clips, 5, 0)])
    theirs = np.array([np.bincount(labels[test], minlength=3)
                       for _, test in GroupKFold(5, shuffle=True, random_state=0).split(clips, groups=clips)])
    assert (counts == 18).all() and theirs.std() > 2

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
