"Calibration and the two weighted F1s, against scikit-learn, closed forms and simulated forecasts."
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import f1_score, log_loss

from ser_study.evaluation.calibration import (calibration_gaps, choose_threshold,
                                              expected_calibration_error, fit_temperature, name_rare,
                                              reliability_curve, temper, threshold_costs)
from ser_study.evaluation.classification import printed_weighted_f1, weighted_f1
from ser_study.settings import StudyError


def forecasts(n: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    "Probabilities and classes drawn from them: a forecast that is right as often as it says."
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(classes, .7), size=n)
    return probabilities, np.array([rng.choice(classes, p=p) for p in probabilities])


# Reliability

@pytest.mark.parametrize("bins", [4, 10])
def test_the_curve_is_scikit_learns(bins):
    probabilities, true = forecasts(800, 3, 1)
    curve = reliability_curve(probabilities, true, bins)
    right = probabilities.argmax(1) == true
    accuracy, confidence = calibration_curve(right, probabilities.max(1), n_bins=bins)
    np.testing.assert_allclose(curve.accuracy, accuracy)
    np.testing.assert_allclose(curve.confidence, confidence)
    assert curve.rows.sum() == 800
    assert ((curve.low < curve.confidence) & (curve.confidence <= curve.high)).all()

def test_bins_hold_their_upper_edges_and_both_ends():
    curve = reliability_curve(np.array([[.5, .5], [.7, .3], [1., 0.]]), np.array([0, 0, 0]), bins=2)
    assert curve.rows.tolist() == [1, 2] and curve.high.tolist() == [.5, 1]
    nothing = reliability_curve(np.zeros((1, 3)), np.array([0]))
    assert nothing.rows.tolist() == [1], "a confidence of 0 has a bin"

def test_an_error_without_some_rows_is_a_subtraction():
    probabilities, true = forecasts(120, 3, 4)
    gaps = calibration_gaps(probabilities, true)
    assert ((gaps != 0).sum(axis=1) <= 1).all(), "each row is in one bin"
    for left_out in (slice(0, 1), slice(30, 70)):
        rest = np.delete(np.arange(120), left_out)
        subtracted = abs(gaps.sum(axis=0) - gaps[left_out].sum(axis=0)).sum() / len(rest)
        assert np.isclose(subtracted, expected_calibration_error(probabilities[rest], true[rest]))

@settings(max_examples=25, deadline=None)
@given(st.integers(2, 6), st.integers(0, 10**6))
def test_honest_forecasts_are_calibrated_and_boastful_ones_are_not(classes, seed):
    probabilities, true = forecasts(1500, classes, seed)
    boastful = temper(probabilities, .25)
    error = expected_calibration_error(probabilities, true)
    assert error < 3.2 / np.sqrt(1500), "the noise of counting ten bins"
    assert expected_calibration_error(boastful, true) > error
    assert 0 <= error <= 1

@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.permutations(range(4)))
def test_the_order_of_rows_and_classes_changes_nothing(seed, order):
    probabilities, true = forecasts(60, 4, seed)
    error = expected_calibration_error(probabilities, true)
    rows = np.random.default_rng(seed).permutation(60)
    assert np.isclose(expected_calibration_error(probabilities[rows], true[rows]), error)
    assert np.isclose(expected_calibration_error(probabilities[:, order], np.argsort(order)[true]), error)


# Temperature

@pytest.mark.parametrize("temperature", [.3, 1., 4.])
def test_a_known_temperature_is_found(temperature):
    probabilities, true = forecasts(6000, 4, 2)
    found = fit_temperature(temper(probabilities, 1 / temperature), true)
    assert abs(found / temperature - 1) < .08

def test_the_temperature_is_the_likeliest():
    probabilities, true = forecasts(300, 3, 3)
    sharp = temper(probabilities, .5)
    best = log_loss(true, temper(sharp, fit_temperature(sharp, true)), labels=range(3))
    tried = [log_loss(true, temper(sharp, T), labels=range(3)) for T in np.geomspace(.05, 20, 60)]
    assert all(best <= loss + 1e-9 for loss in tried)

def test_certain_and_wrong_stays_finite():
    sure = np.array([[1., 0.], [1., 0.], [0., 1.]])
    temperature = fit_temperature(sure, np.array([0, 1, 1]))
    assert np.isfinite(temperature) and temperature > 10, "a third of what it was certain of is wrong"
    np.testing.assert_allclose(temper(sure, temperature).sum(axis=1), 1)
    assert fit_temperature(sure, np.array([0, 0, 1])) < 1


# Threshold

@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([.05, .2, .2, .5, .8]), st.booleans()), min_size=1, max_size=14),
       st.sampled_from([.5, 1., 3., 10.]))
def test_no_threshold_costs_less(rows, cost):
    rare = np.array([p for p, _ in rows])
    is_rare = np.array([found for _, found in rows])

    def price(threshold):
        return cost * (is_rare & (rare < threshold)).sum() + (~is_rare & (rare >= threshold)).sum()

    table = threshold_costs(rare, is_rare, cost)
    assert table.cost.tolist() == [price(threshold) for threshold in table.threshold]
    if not is_rare.any():
        with pytest.raises(StudyError, match="none"): choose_threshold(rare, is_rare, cost)
        return
    chosen, every = choose_threshold(rare, is_rare, cost), [*np.unique(rare), np.inf, 0, .1, .3, .6]
    assert price(chosen) == min(map(price, every))

def test_a_threshold_only_moves_rows_to_and_from_the_rare_class():
    probabilities, _ = forecasts(400, 4, 4)
    plain, low = probabilities.argmax(1), name_rare(probabilities, 2, .15)
    changed = plain != low
    assert changed.any() and (low[changed] == 2).all()
    none = name_rare(probabilities, 2, np.inf)
    assert (none != 2).all() and (none[plain != 2] == plain[plain != 2]).all()
    assert probabilities.min() >= 0, "what is given is not changed"


# Weighted F1

@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_both_weighted_f1s_are_sums_of_scikit_learns(rows):
    true, predicted = np.array(rows).T
    counts = np.zeros((4, 4), dtype=int)
    np.add.at(counts, (true, predicted), 1)
    each = f1_score(true, predicted, labels=range(4), average=None, zero_division=0)
    support = np.bincount(true, minlength=4)
    assert np.isclose(weighted_f1(counts), f1_score(true, predicted, average="weighted", zero_division=0))
    assert np.isclose(printed_weighted_f1(counts), sum(len(true) / n * f for n, f in zip(support, each) if n))
