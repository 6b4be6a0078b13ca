"""Scores from confusion counts against scikit-learn, by hand, and with empty classes"""

import numpy as np
import pytest
import sklearn.metrics as theirs
from hypothesis import given, settings, strategies as st
from ser_study.evaluation.classification import (
    confusion_counts,
    f1,
    macro_f1,
    precision,
    recall,
    unweighted_accuracy,
    weighted_accuracy,
    weighted_f1,
)

answers = st.integers(1, 80).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(0, 4), min_size=n, max_size=n)] * 2)
)  # the last class is never there


@given(answers, st.integers(0, 2**32 - 1))
@settings(max_examples=150, deadline=None)
@pytest.mark.filterwarnings("ignore")
def test_as_scikit_learn(pair, seed):
    true, predicted = map(np.array, pair)
    groups = np.random.default_rng(seed).integers(7, size=len(true))
    counts = confusion_counts(true, predicted, 6, groups, np.zeros(len(true))).sum(axis=(0, 1))
    assert np.array_equal(counts, theirs.confusion_matrix(true, predicted, labels=range(6)))
    p, r, f, support = theirs.precision_recall_fscore_support(
        true, predicted, labels=range(6), zero_division=np.nan
    )
    there, seen = counts.sum(axis=1) > 0, counts.sum(axis=0) > 0
    np.testing.assert_allclose(recall(counts), r)
    np.testing.assert_allclose(precision(counts), np.where(there & ~seen, 0, p))
    np.testing.assert_allclose(f1(counts)[there | seen], f[there | seen])
    assert np.isnan(f1(counts)[~there & ~seen]).all()
    assert weighted_accuracy(counts) == pytest.approx(theirs.accuracy_score(true, predicted))
    assert unweighted_accuracy(counts) == pytest.approx(
        theirs.recall_score(true, predicted, average="macro", labels=np.unique(true))
    )
    assert macro_f1(counts) == pytest.approx(
        theirs.f1_score(true, predicted, average="macro", zero_division=0)
    )
    assert weighted_f1(counts) == pytest.approx(
        theirs.f1_score(true, predicted, average="weighted", zero_division=0)
    )


def test_by_hand():
    counts = np.array([[8, 2, 0], [4, 4, 0], [1, 1, 0]])  # the third class is never predicted
    assert recall(counts).tolist() == [0.8, 0.5, 0]
    assert precision(counts) == pytest.approx([8 / 13, 4 / 7, 0])
    assert f1(counts) == pytest.approx([16 / 23, 8 / 15, 0])
    assert weighted_accuracy(counts) == 12 / 20 and unweighted_accuracy(counts) == pytest.approx(1.3 / 3)
    assert weighted_f1(counts) == pytest.approx((10 * 16 / 23 + 8 * 8 / 15) / 20)


def test_an_empty_class_is_left_out_of_the_means():
    counts = np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]])
    assert np.isnan(recall(counts)[2]) and np.isnan(precision(counts)[2]) and np.isnan(f1(counts)[2])
    assert unweighted_accuracy(counts) == (3 / 4 + 1) / 2 and macro_f1(counts) == pytest.approx(
        (6 / 7 + 8 / 9) / 2
    )
    assert np.isnan(weighted_accuracy(np.zeros((3, 3)))) and np.isnan(unweighted_accuracy(np.zeros((3, 3))))


def test_a_class_only_predicted_counts_as_a_mistake():
    counts = np.array([[3, 1], [0, 0]])
    assert unweighted_accuracy(counts) == 3 / 4 and macro_f1(counts) == pytest.approx((6 / 7 + 0) / 2)


def test_seeds_and_units_keep_their_rows():
    true, groups = np.array([0, 1, 0, 1, 1] * 2), np.array(list("abcde" * 2))
    predicted, seeds = np.array([0, 1, 0, 1, 1, 1, 1, 0, 0, 1]), np.repeat([42, 7], 5)
    counts = confusion_counts(true, predicted, 2, groups, seeds)
    assert counts.shape == (2, 5, 2, 2) and counts.sum() == 10
    assert counts[:, 0].tolist() == [[[0, 1], [0, 0]], [[1, 0], [0, 0]]], "a: seed 7, then 42"
    assert counts[:, 3].tolist() == [[[0, 0], [1, 0]], [[0, 0], [0, 1]]]


def test_the_order_of_rows_does_not_matter():
    rng = np.random.default_rng(0)
    rows = [rng.integers(k, size=200) for k in (3, 3, 5, 4)]
    true, predicted, units, seeds = rows
    backwards = [column[::-1] for column in rows]
    assert np.array_equal(
        confusion_counts(true, predicted, 3, units, seeds),
        confusion_counts(backwards[0], backwards[1], 3, backwards[2], backwards[3]),
    )


def test_many_matrices_as_one_by_one():
    counts = np.random.default_rng(0).integers(0, 9, size=(4, 5, 3, 3))
    for score in (weighted_accuracy, unweighted_accuracy, macro_f1, weighted_f1, precision, recall, f1):
        np.testing.assert_allclose(score(counts), [[score(one) for one in row] for row in counts])
