"""Intervals: against scipy and statsmodels, by hand, and on simulated studies whose truth is known."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp, ttest_rel
from statsmodels.stats.multitest import multipletests
from ser_study.evaluation.classification import macro_f1, unweighted_accuracy, weighted_accuracy
from ser_study.evaluation.intervals import (
    FEW,
    adjust,
    difference_interval,
    placebo_interval,
    refit_interval,
    score_interval,
    score_intervals,
    student_interval,
    write_interval,
    write_p,
)
from ser_study.evaluation.simulation import Design, simulate_study


def right_of_ten(right: np.ndarray) -> np.ndarray:
    "(S, K) right answers of ten -> counts (S, K, 2, 2) of one class."
    counts = np.zeros((*right.shape, 2, 2), dtype=int)
    counts[..., 0, 0], counts[..., 0, 1] = right, 10 - right
    return counts


def test_one_training_repeated_is_the_paired_t_test_over_speakers():
    rng = np.random.default_rng(0)
    first, second = rng.integers(3, 9, size=(2, 12))
    found = difference_interval(
        right_of_ten(np.tile(first, (4, 1))), right_of_ten(np.tile(second, (4, 1))), weighted_accuracy
    )
    expected = ttest_rel(first / 10, second / 10)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval()))


def test_few_speakers_leave_the_t_test_over_trainings():
    rng = np.random.default_rng(1)
    first, second = (right_of_ten(rng.integers(3, 9, size=(8, FEW - 1))) for _ in range(2))
    found = difference_interval(first, second, weighted_accuracy)
    by_seed = [weighted_accuracy(counts.sum(axis=1)) for counts in (first, second)]
    assert found.p == pytest.approx(ttest_1samp(by_seed[0] - by_seed[1], 0).pvalue)
    assert not found.population and found.units == FEW - 1


def test_f1_is_the_mean_over_seeds_not_that_of_pooled_counts():
    counts = np.array([[[[8, 2], [5, 5]]] * 7, [[[2, 8], [0, 10]]] * 7])
    found = score_interval(counts, macro_f1)
    assert found.value == pytest.approx(np.mean([macro_f1(counts[s, 0]) for s in (0, 1)]))
    assert found.value != pytest.approx(float(macro_f1(counts.sum(axis=(0, 1)))))


def test_one_repetition_has_a_value_and_no_bounds():
    found = score_interval(right_of_ten(np.full((1, 20), 7)), weighted_accuracy)
    assert found.value == 0.7 and np.isnan([found.low, found.high, found.p, found.detectable]).all()
    table = score_intervals(right_of_ten(np.full((1, 20), 7)))
    assert table.low.isna().all() and table.value[0] == 0.7


def test_what_does_not_vary_is_exact():
    same = right_of_ten(np.full((5, 9), 6))
    found = difference_interval(same, same, weighted_accuracy)
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_the_interval_widens_with_fewer_speakers_and_with_fewer_trainings():
    rng = np.random.default_rng(2)

    def width(repetitions: int, speakers: int) -> float:
        studies = [simulate_study(Design(repetitions, speakers, shift=3.9), rng) for _ in range(12)]
        found = [difference_interval(*study, unweighted_accuracy) for study in studies]
        return float(np.mean([one.high - one.low for one in found]))

    assert width(10, 40) < width(10, 10) and width(20, 10) < width(5, 10)


@pytest.mark.parametrize("metric", [weighted_accuracy, macro_f1])
def test_alike_systems_rarely_differ(metric):
    "Of 200 simulated pairs of equal systems, about 10 may be told apart; 18 is 2.6 standard errors more."
    rng = np.random.default_rng(3)
    studies = [simulate_study(Design(5, 10, shift=3.9), rng) for _ in range(200)]
    p = np.array([difference_interval(*study, metric).p for study in studies])
    assert (p < 0.05).sum() <= 18


def test_a_system_against_itself_is_rarely_found():
    rng = np.random.default_rng(4)
    studies = [simulate_study(Design(10, 20, shift=3.9), rng)[0] for _ in range(150)]
    p = np.array([placebo_interval(counts, unweighted_accuracy).p for counts in studies])
    assert (p < 0.05).mean() <= 0.1


def test_pairs_must_fit():
    with pytest.raises(ValueError, match="not paired"):
        difference_interval(np.ones((2, 7, 2, 2)), np.ones((2, 8, 2, 2)), weighted_accuracy)


def test_the_interval_of_a_mean_is_that_of_its_t_test():
    sample = 0.2 + 0.1 * np.sqrt(6 / 1.2) * np.array([-1, 1, -1, 1, -1, 1])  # standard error .1
    expected, found = ttest_1samp(sample, 0), student_interval(0.2, 0.1, 5, 6, 6)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval()))


def test_refits_of_odd_numbers_of_speakers():
    "Half of seven is three: the variance is 3/4 of that between the halves."
    assert refit_interval(0.5, np.array([0.4, 0.6]), 7).error == pytest.approx(
        np.sqrt(3 / 4) * np.std([0.4, 0.6], ddof=1)
    )


def test_holm_is_statsmodels_in_each_family():
    rng = np.random.default_rng(5)
    rows = [student_interval(rng.normal(), 1.0, 9, 10, 20)._asdict() for _ in range(9)]
    table = pd.DataFrame(rows).assign(family=["a", "b", "a"] * 3)
    table.loc[4, "p"] = np.nan
    found = adjust(table, "family")
    for _, part in found.dropna(subset="p").groupby("family"):
        assert np.allclose(part.p_holm, multipletests(part.p, method="holm")[1])
        assert ((part.p_holm < 0.05) == ((part.low_holm > 0) | (part.high_holm < 0))).all()
    assert found.loc[4, ["p_holm", "low_holm"]].isna().all() and found.index.equals(table.index)


def test_words():
    assert write_p(0.0) == write_p(5e-224) == "< 0.001" and write_p(0.001) == "0.001"
    assert write_interval(0.1, np.nan, np.nan, 2) == "+0.10 [no interval]"
