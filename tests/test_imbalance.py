"""PDDS as a sampler: imbalanced-learn's own checks, and counts against an independent convolution"""
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from imblearn.utils.estimator_checks import parametrize_with_checks
from ser_study.labels import NONE, major_minor
from ser_study.protocol.pdds import PDDS, RaiseRarest, UniformBalancing
from ser_study.protocol.pdds import count_pairs, plan_missing, raise_rarest, smooth_counts


@parametrize_with_checks([PDDS(random_state=0), RaiseRarest(random_state=0),
                          UniformBalancing(quantity=30, random_state=0)])
def test_imbalanced_learns_checks(estimator, check):
    check(estimator)


@given(st.lists(st.integers(0, 500), min_size=4, max_size=4), st.floats(.1, 5))
@settings(max_examples=200, deadline=None)
def test_one_pair_is_the_papers_convolution(four, sigma):
    i, i_j, j_i, j = four
    side = np.exp(-1 / (2 * sigma**2))
    smooth = smooth_counts(np.array([[i, i_j], [j_i, j]]), sigma)
    assert smooth[0, 1] == np.rint(side * i + i_j + side * j_i)
    assert smooth[1, 0] == np.rint(side * i_j + j_i + side * j)
    assert (smooth[0, 0], smooth[1, 1]) == (i, j)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, .8, .67]))
@settings(max_examples=50, deadline=None)
def test_what_is_wanted_is_made(seed, clear):
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(5, rng.dirichlet(np.ones(4)), size=80) / 5
    before = count_pairs(counts, clear)
    plan = plan_missing(counts, smooth_counts(raise_rarest(before)), .9, clear, 0)
    major, minor = major_minor(counts, clear)
    assert (minor[[*plan.alpha, *plan.beta]] == NONE).all(), "only clear samples are mixed"
    made = np.zeros_like(before)
    np.add.at(made, (major[plan.alpha], major[plan.beta]), 1)
    possible = np.diag(before) > 0
    missing = (smooth_counts(raise_rarest(before)) - before) * np.outer(possible, possible)
    assert np.array_equal(made, missing)


def test_no_clear_sample_at_all_makes_nothing():
    soft = np.array([[2, 1], [1, 2]]) / 3
    X, y = PDDS().fit_resample(np.eye(2), soft)
    assert np.array_equal(X, np.eye(2)) and np.array_equal(y, soft)


def test_modalities_share_their_parents():
    soft = np.repeat(np.eye(3), [20, 10, 3], axis=0)
    audio = [np.full((2 + row % 3, 1), float(row)) for row in range(33)]
    text = [np.full((1, 1), float(row)) for row in range(33)]
    heard, _ = PDDS(p=.8, random_state=5).fit_resample(audio, soft)
    read, _ = PDDS(p=.8, random_state=5).fit_resample(text, soft)
    assert len(heard) == len(read) > 33
    for a, t in zip(heard[33:], read[33:]):
        assert np.isclose(a[0, 0], t[0, 0])


@pytest.mark.parametrize("p", [.6, .8, 1.0])
def test_p_is_the_major_share(p):
    soft = np.repeat(np.eye(2), [30, 10], axis=0)
    _, labels = PDDS(p=p, random_state=0).fit_resample(np.zeros((40, 1)), soft)
    assert set(labels[40:].max(axis=1).round(6)) <= {round(p, 6), .5, 1.0}
