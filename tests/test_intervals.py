"""Intervals and paired tests: against scipy's permutation test, Holm by hand, and on simulated speakers."""

import numpy as np
import pytest
from scipy.stats import permutation_test
from ser_study.evaluation.classification import confusion_counts, macro_f1, weighted_accuracy
from ser_study.evaluation.intervals import EXACT, holm, paired_difference


def mean_of(sums: np.ndarray) -> np.ndarray:
    "A mean as a function of sums: (..., 2) of values and their number."
    return sums[..., 0] / sums[..., 1]


def with_ones(values: np.ndarray) -> np.ndarray:
    return np.stack([values, np.ones_like(values)], axis=1)


def scipys(a: np.ndarray, b: np.ndarray, resamples: int) -> float:
    statistic = lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis)
    return permutation_test(
        (a, b),
        statistic,
        permutation_type="samples",
        n_resamples=resamples,
        vectorized=True,
        rng=np.random.default_rng(0),
    ).pvalue


@pytest.mark.parametrize("seed", range(4))
def test_exact_p_is_scipys(seed):
    a, b = np.random.default_rng(seed).normal(size=(2, 9)) + [[0.6], [0]]
    assert paired_difference(with_ones(a), with_ones(b), mean_of).p == pytest.approx(scipys(a, b, 10**5))


@pytest.mark.parametrize("shift", [0.0, 0.3, 0.6])
def test_random_p_is_scipys(shift):
    a, b = np.random.default_rng(7).normal(size=(2, 40)) + [[shift], [0]]
    assert len(a) > EXACT
    assert paired_difference(with_ones(a), with_ones(b), mean_of, 20000).p == pytest.approx(
        scipys(a, b, 20000), abs=0.015
    )


def test_many_units_never_give_p_zero():
    a, b = np.random.default_rng(0).normal(size=(2, 50)) + [[50], [0]]
    assert paired_difference(with_ones(a), with_ones(b), mean_of, 999).p == 1 / 1000


def speakers_answers(rng, speakers: int, clips: int, shares) -> list[np.ndarray]:
    "Counts of systems that are right with a speaker's own chance, plus an advantage of the system."
    who = np.repeat(np.arange(speakers), clips)
    true = rng.integers(3, size=len(who))
    ease = rng.uniform(0.3, 0.6, size=speakers)[who]
    return [
        confusion_counts(
            true, np.where(rng.random(len(who)) < ease + share, true, rng.integers(3, size=len(who))), 3, who
        )
        for share in shares
    ]


@pytest.mark.parametrize("metric", [weighted_accuracy, macro_f1])
def test_alike_systems_rarely_differ(metric):
    "Of 300 pairs of equal systems about 15 have p <= 0.05; 5 to 28 lie within 3 standard errors."
    rng = np.random.default_rng(1)
    p = np.array(
        [paired_difference(*speakers_answers(rng, 10, 20, (0, 0)), metric, 200).p for _ in range(300)]
    )
    assert 5 <= (p <= 0.05).sum() <= 28 and abs(np.median(p) - 0.5) < 0.1


def test_the_interval_covers_the_true_difference():
    "An advantage of 0.2 over a chance answer that is right in 1 of 3 is worth 0.2 * 2 / 3."
    rng = np.random.default_rng(2)
    found = [
        paired_difference(*speakers_answers(rng, 30, 12, (0.2, 0)), weighted_accuracy, 400)
        for _ in range(200)
    ]
    covered = np.mean([one.low <= 0.2 * 2 / 3 <= one.high for one in found])
    assert 0.89 <= covered <= 0.99
    assert np.mean([one.difference for one in found]) == pytest.approx(0.2 * 2 / 3, abs=0.01)
    assert np.mean([one.p < 0.05 for one in found]) > 0.9, "such a difference is seen"


def test_pairing_helps_where_speakers_differ():
    "Speakers differ much, systems little: swaps within a speaker see what an unpaired comparison cannot."
    rng = np.random.default_rng(3)
    ease = rng.normal(size=20) * 5
    a, b = ease + 1 + rng.normal(size=20) * 0.1, ease + rng.normal(size=20) * 0.1
    assert paired_difference(with_ones(a), with_ones(b), mean_of).p < 0.01
    assert paired_difference(with_ones(a), with_ones(rng.permutation(b)), mean_of).p > 0.05


def test_pairs_must_fit():
    with pytest.raises(ValueError, match="not paired"):
        paired_difference(np.ones((4, 2)), np.ones((5, 2)), mean_of)


def test_holm_by_hand():
    assert holm([0.04, 0.001, 0.02, 0.5]) == pytest.approx(
        [0.08, 0.004, 0.06, 0.5]
    )  # sorted: 4 x .001, 3 x .02, 2 x .04, 1 x .5
    assert holm([0.02, 0.03]) == pytest.approx([0.04, 0.04]), "never below an earlier one"
    assert holm([0.9, 0.8]) == pytest.approx([1, 1]), "never above 1"
