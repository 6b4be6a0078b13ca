"""PDDS as a sampler: imbalanced-learn's own checks, counts against an independent convolution, odd inputs"""

import re
import warnings
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from imblearn.utils.estimator_checks import parametrize_with_checks
from scipy import sparse
from scipy.ndimage import convolve1d
from ser_study import load_corpora, load_settings
from ser_study.labels import NONE, major_minor
from ser_study.protocol.mixup import mix_labels
from ser_study.protocol.pdds import PDDS, RaiseRarest, UniformBalancing, ambiguous_share
from ser_study.protocol.pdds import count_pairs, raise_scarce, smooth_counts
from ser_study.study.balancing.data import label_clips

SAMPLERS = [PDDS(random_state=0), RaiseRarest(random_state=0), UniformBalancing(quantity=30, random_state=0)]


# All of imbalanced-learn's checks of samplers hold. Those for over- and undersamplers (equal classes in the
# end) ask nothing of a sampler that bypasses that; those for text, missing values and sample indices are for
# samplers with other tags.


@parametrize_with_checks(SAMPLERS)
def test_imbalanced_learns_checks(estimator, check):
    check(estimator)


# The counts


@given(st.lists(st.integers(0, 500), min_size=4, max_size=4), st.floats(0.1, 5))
@settings(max_examples=200, deadline=None)
def test_one_pair_is_the_papers_convolution(four, sigma):
    i, i_j, j_i, j = four
    kernel = np.exp(-np.array([1, 0, 1]) / (2 * sigma**2))
    theirs = convolve1d(np.array(four, dtype=float), kernel, mode="constant")
    smooth = smooth_counts(np.array([[i, i_j], [j_i, j]]), sigma)
    assert np.allclose([smooth[0, 1], smooth[1, 0]], theirs[1:3])
    assert (smooth[0, 0], smooth[1, 1]) == (i, j), "clear counts are not smoothed"


@given(st.lists(st.integers(0, 300), min_size=2, max_size=6))
@settings(max_examples=200, deadline=None)
def test_scarce_clear_counts_reach_the_others(clear):
    raised = np.diag(raise_scarce(np.diag(clear)))
    for emotion, count in enumerate(clear):
        others = [other for place, other in enumerate(clear) if place != emotion and other]
        assert np.isclose(raised[emotion], max([count] + ([np.mean(others)] if others else [])))


def draw_votes(seed: int, raters: int = 10, emotions: int = 4, n: int = 90) -> np.ndarray:
    "Shares of votes with ties, undecided samples and clear ones."
    rng = np.random.default_rng(seed)
    chances = np.vstack([0.9 * np.eye(emotions) + 0.1 / emotions, rng.dirichlet(np.ones(emotions), 4)])
    return np.stack([rng.multinomial(raters, chances[row % len(chances)]) for row in range(n)]) / raters


@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 0.8, 0.67]), st.sampled_from([0.55, 0.8, 0.95]))
@settings(max_examples=60, deadline=None)
@pytest.mark.filterwarnings("ignore:PDDS could not make")
def test_what_is_wanted_is_made(seed, clear, p):
    shares = draw_votes(seed)
    sampler = PDDS(p=ambiguous_share(p, clear), clear=clear, random_state=seed)
    X, labels = sampler.fit_resample(np.arange(90.0)[:, None], shares)
    made, (before, wanted, achieved) = labels[90:], sampler.counts_
    major, minor = major_minor(shares, clear)
    assert (minor[[*sampler.mix_.alpha, *sampler.mix_.beta]] == NONE).all(), "only clear samples are mixed"
    assert np.array_equal(labels[:90], shares) and np.allclose(made.sum(axis=1), 1)
    assert ((made > 0).sum(axis=1) <= 2).all(), "a made sample is of two emotions, or of one"
    made_clear = major_minor(made, clear)[1] == NONE
    assert np.allclose(made[made_clear].max(axis=1), 1), "what counts as clear was made of one emotion"
    assert np.allclose(count_pairs(labels, clear), achieved) and (achieved >= before - 1e-9).all()
    there = np.diag(before) > 0
    possible = np.outer(there, there)
    assert np.abs(achieved - wanted)[possible].max(initial=0) <= 0.5 + 1e-9
    assert np.allclose(achieved[~possible], before[~possible])


def test_equal_minor_emotions_do_not_hang_on_the_alphabet():
    shares = draw_votes(3)
    turned = np.array([2, 3, 0, 1])
    assert np.allclose(count_pairs(shares[:, turned], 0.7), count_pairs(shares, 0.7)[np.ix_(turned, turned)])
    assert count_pairs(np.array([[0.4, 0.2, 0.2, 0.2]])).tolist()[0] == pytest.approx(
        [0, 1 / 3, 1 / 3, 1 / 3]
    )


@pytest.mark.parametrize("clear", [0.6, 0.7, 1])
@pytest.mark.parametrize("p", [0.51, 0.65, 0.8, 0.99])
def test_a_made_ambiguous_sample_is_ambiguous(p, clear):
    share = ambiguous_share(p, clear)
    assert major_minor(np.array([[share, 1 - share]]), clear)[1].tolist() == [1]
    assert ambiguous_share(p, 1) == pytest.approx(p), "the paper's own p where all votes make a sample clear"


@pytest.mark.parametrize("p", [0.6, 0.8])
def test_p_is_the_major_share_of_one_hot_parents(p):
    shares = np.repeat([[0.9, 0.1], [0, 1]], [30, 10], axis=0)
    _, labels = PDDS(p=p, clear=0.85, random_state=0).fit_resample(np.zeros((40, 1)), shares)
    assert set(labels[40:].max(axis=1).round(6)) <= {p, 1.0}


# What cannot be made is said


def test_no_clear_sample_at_all_makes_nothing():
    soft = np.array([[2, 1], [1, 2]]) / 3
    with pytest.warns(UserWarning, match="1 of emotion 0 with some emotion 1, 1 of emotion 1 with"):
        X, y = PDDS().fit_resample(np.eye(2), soft)
    assert np.array_equal(X, np.eye(2)) and np.array_equal(y, soft)


def test_an_emotion_without_samples_is_named_and_changes_nothing_else():
    three = np.eye(3)[np.repeat([0, 1, 2], [40, 12, 20])]
    X = np.random.default_rng(0).normal(size=(72, 2))
    four = pd.DataFrame(np.pad(three, ((0, 0), (0, 1))), columns=["anger", "fear", "joy", "calm"])
    sampler = PDDS(random_state=0)
    with pytest.warns(UserWarning, match="24 of anger with some calm, .*24 of clear calm"):
        sampler.fit_resample(X, four)
    alone = PDDS(random_state=0)
    alone.fit_resample(X, three)
    assert np.array_equal(sampler.counts_.achieved[:3, :3], alone.counts_.achieved)
    assert sampler.counts_.achieved[3].sum() == 0 and not alone.counts_.missing.any()


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: type(sampler).__name__)
def test_every_sampler_counts_what_it_achieved(sampler):
    shares = draw_votes(1, raters=3)
    _, labels = sampler.fit_resample(np.zeros((90, 1)), shares)
    table = sampler.counts_.table(["anger", "fear", "joy", "calm"])
    assert list(table) == ["major", "minor", "before", "wanted", "achieved"] and len(table) == 16
    assert np.allclose(table.achieved, count_pairs(labels).ravel())
    assert (np.abs(table.achieved - table.wanted) <= 0.5).all()


# Odd inputs: each is right, or refused in one sentence

RNG = np.random.default_rng(0)
NUMBERS = RNG.integers(0, 3, 40)
VECTORS, SHARES = RNG.standard_normal((40, 3)), np.eye(3)[NUMBERS]
SEQUENCES = [RNG.standard_normal((2 + row % 3, 3)).astype(np.float32) for row in range(40)]
FRAME = pd.DataFrame(VECTORS, columns=list("uvw"))
NAMED = pd.DataFrame(SHARES, columns=["anger", "fear", "joy"])
INTEGERS = RNG.integers(-9, 9, (40, 3))


def resample(X, y, **options):
    return PDDS(random_state=0, **options).fit_resample(X, y)


def as_array(X) -> np.ndarray:
    if sparse.issparse(X):
        return X.toarray()
    return X.to_numpy() if isinstance(X, pd.DataFrame) else np.asarray(X)


RIGHT = {
    "a frame and labels": (FRAME, NUMBERS),
    "a frame and shares": (FRAME, SHARES),
    "two frames": (FRAME, NAMED),
    "shares as a frame": (VECTORS, NAMED),
    "a frame with numbered columns": (pd.DataFrame(VECTORS), SHARES),
    "sparse and labels": (sparse.csr_matrix(VECTORS), NUMBERS),
    "sparse and shares": (sparse.csc_matrix(VECTORS), SHARES),
    "named labels": (VECTORS, np.array(["anger", "fear", "joy"])[NUMBERS]),
    "one of several columns": (VECTORS, SHARES.astype(int)),
    "lists": (VECTORS.tolist(), SHARES.tolist()),
    "a column of labels": (VECTORS, pd.DataFrame(dict(emotion=NUMBERS))),
}


@pytest.mark.parametrize("X, y", RIGHT.values(), ids=RIGHT.keys())
def test_forms_that_are_alike_give_the_same(X, y):
    made, labels = resample(X, y)
    plain, shares = resample(VECTORS, SHARES)
    assert np.allclose(as_array(made), plain)
    assert type(made) is type(X) or sparse.issparse(made) or isinstance(made, np.ndarray)
    assert isinstance(made, pd.DataFrame) == isinstance(X, pd.DataFrame)
    if isinstance(made, pd.DataFrame):
        assert list(made) == list(X) and made.index.is_unique
    if isinstance(y, pd.DataFrame):
        assert list(labels) == list(y)
    if np.shape(labels) == shares.shape and as_array(labels).dtype.kind == "f":
        assert np.allclose(as_array(labels), shares)
    else:
        assert len(labels) == len(shares) and len(np.unique(as_array(labels), axis=0)) == 3


@pytest.mark.parametrize("y", [SHARES, NUMBERS], ids=["shares", "labels"])
def test_sequences_of_unequal_and_of_equal_length(y):
    made, labels = resample(SEQUENCES, y)
    assert len(made) == len(labels) > 40 and all(
        a is b or np.array_equal(a, b) for a, b in zip(made, SEQUENCES)
    )
    assert {sequence.shape[1] for sequence in made} == {3} and made[-1].dtype == np.float32
    equal = np.stack([VECTORS, VECTORS], axis=1)
    cube, _ = resample(equal, y)
    assert cube.shape[1:] == (2, 3) and np.allclose(cube[:, 1], resample(VECTORS, y)[0])
    loose = np.empty(40, dtype=object)
    loose[:] = SEQUENCES
    assert all(np.array_equal(a, b) for a, b in zip(resample(loose, y)[0], made))


@pytest.mark.parametrize("y", [SHARES, NUMBERS], ids=["shares", "labels"])
@pytest.mark.parametrize(
    "X",
    [
        INTEGERS,
        pd.DataFrame(INTEGERS),
        sparse.csr_matrix(INTEGERS),
        [row[None].astype("int16") for row in INTEGERS],
    ],
    ids=["array", "frame", "sparse", "sequences"],
)
def test_between_integers_lie_fractions(X, y):
    expected, _ = resample(INTEGERS.astype(float), y)
    made, _ = resample(X, y)
    made = np.concatenate(made) if isinstance(made, list) else as_array(made)
    assert np.allclose(made, expected, atol=1e-5) and (made % 1 != 0).any()


LOST, NEGATIVE, UNEVEN = VECTORS.copy(), SHARES.copy(), list(SEQUENCES)
LOST[3, 1] = np.nan
NEGATIVE[5] = [1.5, -0.5, 0]
UNEVEN[7] = np.ones((2, 4))
MISSING = SHARES.copy()
MISSING[2] = np.nan
REFUSED = {
    "counts of votes": (VECTORS, 3 * SHARES, {}, "Row 0 of y sums to 3 and not to 1"),
    "whole counts of votes": (VECTORS, 3 * SHARES.astype(int), {}, "Row 0 of y sums to 3 and not to 1"),
    "no votes": (VECTORS, np.zeros((40, 3)), {}, "Row 0 of y sums to 0 and not to 1"),
    "a negative share": (VECTORS, NEGATIVE, {}, "Row 5 of y has a negative share"),
    "a missing share": (VECTORS, MISSING, {}, "y holds missing labels"),
    "a missing label": (SEQUENCES, np.where(np.arange(40) == 3, np.nan, NUMBERS), {}, "missing labels"),
    "labels that are measurements": (SEQUENCES, VECTORS[:, 0], {}, "Unknown label type: continuous"),
    "a missing feature": (LOST, SHARES, {}, "X holds missing or infinite values"),
    "a missing feature, labels": (LOST, NUMBERS, {}, "X holds missing or infinite values"),
    "an infinite feature": (np.full((40, 3), np.inf), SHARES, {}, "X holds missing or infinite values"),
    "a missing frame": ([*SEQUENCES[:-1], LOST[:4]], SHARES, {}, "Sequence 39 of X holds missing"),
    "words for features": (FRAME.assign(v="so"), SHARES, {}, "X holds values that are no numbers"),
    "unequal lengths": (VECTORS[:-1], SHARES, {}, "X has 39 samples and y 40"),
    "unequal lengths of sequences": (SEQUENCES[:-1], NUMBERS, {}, "X has 39 samples and y 40"),
    "sequences of unequal width": (UNEVEN, SHARES, {}, r"Sequence 7 of X has the shape (2, 4)"),
    "an empty sequence": ([np.ones((0, 3)), *SEQUENCES[1:]], SHARES, {}, "Sequence 0 of X has the shape"),
    "rows of unequal length": ([[1, 2], [3]], [[1.0, 0], [0, 1]], {}, "rows of X are not equally long"),
    "four dimensions": (np.zeros((40, 2, 2, 2)), SHARES, {}, "X has the shape (40, 2, 2, 2)"),
    "one number for each": (VECTORS[:, 0], SHARES, {}, "X has the shape (40,)"),
    "labels in three dimensions": (VECTORS, SHARES[..., None], {}, "y has the shape (40, 3, 1)"),
    "sparse labels": (VECTORS, sparse.csr_matrix(SHARES), {}, "y is a sparse matrix"),
    "one class": (VECTORS, np.zeros(40, int), {}, "more than 1 class"),
    "one class of sequences": (SEQUENCES, ["joy"] * 40, {}, "y holds one class, joy"),
    "p of no major emotion": (VECTORS, SHARES, dict(p=0.5), "'p' parameter of PDDS must be"),
    "p above 1": (VECTORS, NUMBERS, dict(p=1.2), "'p' parameter of PDDS must be"),
    "p below 0": (VECTORS, SHARES, dict(p=-0.1), "'p' parameter of PDDS must be"),
    "p of clear samples": (VECTORS, SHARES, dict(clear=0.7), "p = 0.8 makes clear samples of ambiguous ones"),
    "clear by less than half": (VECTORS, SHARES, dict(clear=0.4), "'clear' parameter of PDDS must be"),
    "sigma 0": (VECTORS, SHARES, dict(sigma=0), "'sigma' parameter of PDDS must be"),
    "sigma missing": (VECTORS, NUMBERS, dict(sigma=np.nan), "'sigma' parameter of PDDS must be"),
    "a random state of text": (VECTORS, SHARES, dict(random_state="so"), "'random_state' parameter of PDDS"),
}


@pytest.mark.parametrize("X, y, options, said", REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_right_is_refused_in_a_sentence(X, y, options, said):
    with pytest.raises(ValueError, match=re.escape(said)) as refused:
        PDDS(**{"random_state": 0, **options}).fit_resample(X, y)
    assert "\n" not in str(refused.value)


def test_a_quantity_below_one_is_refused():
    with pytest.raises(ValueError, match="'quantity' parameter of UniformBalancing must be"):
        UniformBalancing(quantity=0).fit_resample(VECTORS, SHARES)


@pytest.mark.parametrize("y", [SHARES, NUMBERS, NAMED], ids=["shares", "labels", "frame"])
def test_what_is_given_is_left_alone(y):
    given_x, given_y = FRAME.copy(), y.copy()
    resample(FRAME, y)
    assert FRAME.equals(given_x) and np.array_equal(y, given_y)


def test_a_sampler_keeps_its_options_and_repeats_itself():
    sampler = PDDS(p=0.7, random_state=4)
    first, second = sampler.fit_resample(VECTORS, SHARES), sampler.fit_resample(VECTORS, SHARES)
    assert np.array_equal(first[0], second[0]) and sampler.get_params() == dict(
        p=0.7, clear=1.0, sigma=1.0, random_state=4
    )


def test_modalities_share_their_parents():
    soft = np.repeat(np.eye(3), [20, 10, 3], axis=0)
    audio = [np.full((2 + row % 3, 1), float(row)) for row in range(33)]
    text = [np.full((1, 1), float(row)) for row in range(33)]
    heard, _ = PDDS(p=0.8, random_state=5).fit_resample(audio, soft)
    read, _ = PDDS(p=0.8, random_state=5).fit_resample(text, soft)
    assert len(heard) == len(read) > 33
    for a, t in zip(heard[33:], read[33:]):
        assert np.isclose(a[0, 0], t[0, 0])


# CREMA-D


def test_crema_ds_counts_reach_what_is_wanted(corpora_root):
    material = label_clips(load_corpora("crema_d", load_settings()).utterances)
    sampler = PDDS(p=ambiguous_share(0.8, material.clear), clear=material.clear, random_state=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is missing
        plan = sampler.plan(material.distributions, material.emotions)
    before, wanted, achieved = sampler.counts_
    labels = np.vstack([material.distributions, mix_labels(material.distributions, plan)])
    assert np.allclose(count_pairs(labels, material.clear), achieved)
    assert np.abs(achieved - wanted).max() <= 0.5
    leads = [counts.sum(axis=1) / counts.sum() for counts in (before, achieved)]
    neutral = material.emotions.index("neutral")
    assert leads[0][neutral] > 0.5 and leads[1][neutral] < 0.4, "the rare emotions gain"
    clear = np.diag(achieved)
    assert clear.min() > 3 * np.diag(before).min() and clear.max() / clear.min() < 4
