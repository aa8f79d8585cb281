"""Every measure of probabilities against a slow version of its own, and against scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import roc_auc_score

from marquee.core.arrays import BoolArray, Float64Array
from marquee.evaluation.probabilities.calibration import IsotonicHead, LogisticHead, logit
from marquee.evaluation.probabilities.metrics import (
    auc,
    calibration_error,
    calibration_error_by_chance,
    equal_bins,
    log_loss,
    normalised_entropy,
    reliability_curve,
)

SOME = settings(max_examples=60, deadline=None)
Drawn = tuple[Float64Array, BoolArray, Float64Array]


@st.composite
def judged(draw: st.DrawFn) -> Drawn:
    """Probabilities, many of them tied, outcomes and weights, some of them 0."""
    n = draw(st.integers(2, 60))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    probability = generator.random(n)
    if draw(st.booleans()):
        probability = np.round(probability, 1)  # with ties, and with 0 and 1
    outcome = generator.random(n) < draw(st.sampled_from([0.05, 0.5, 0.9]))
    weight = generator.integers(0, 4, n).astype(np.float64)
    weight[generator.integers(n)] = 1.0
    return probability, outcome, weight


def _has_both(outcome: BoolArray, weight: Float64Array) -> bool:
    return bool(weight[outcome].sum() > 0 and weight[~outcome].sum() > 0)


@SOME
@given(judged())
def test_log_loss_is_that_of_scikit_learn(drawn: Drawn) -> None:
    probability, outcome, weight = drawn
    expected = sklearn_log_loss(outcome, probability, sample_weight=weight, labels=[False, True])
    assert log_loss(probability, outcome, weight) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@SOME
@given(judged())
def test_auc_counts_pairs_and_is_that_of_scikit_learn(drawn: Drawn) -> None:
    probability, outcome, weight = drawn
    assume(_has_both(outcome, weight))
    won = pairs = 0.0
    for p, w in zip(probability[outcome], weight[outcome], strict=True):
        for q, v in zip(probability[~outcome], weight[~outcome], strict=True):
            pairs += w * v
            won += w * v * (1.0 if p > q else 0.5 if p == q else 0.0)
    assert auc(probability, outcome, weight) == pytest.approx(won / pairs)
    expected = roc_auc_score(outcome, probability, sample_weight=weight)
    assert auc(probability, outcome, weight) == pytest.approx(expected)


@SOME
@given(judged())
def test_normalised_entropy_is_one_for_the_mean_rate(drawn: Drawn) -> None:
    probability, outcome, weight = drawn
    assume(_has_both(outcome, weight))
    rate = float(outcome @ weight / weight.sum())
    assert normalised_entropy(np.full(len(outcome), rate), outcome, weight) == pytest.approx(1.0)
    base = -rate * math.log(rate) - (1 - rate) * math.log(1 - rate)
    expected = log_loss(probability, outcome, weight) / base
    assert normalised_entropy(probability, outcome, weight) == pytest.approx(expected)


@SOME
@given(judged(), st.integers(1, 12))
def test_calibration_error_agrees_with_bins_made_one_event_at_a_time(drawn: Drawn, n_bins: int) -> None:
    probability, outcome, weight = drawn
    total, before = weight.sum(), 0.0
    bins: dict[int, list[int]] = {}
    for value in sorted(set(probability[weight > 0])):
        rows = [row for row in range(len(outcome)) if probability[row] == value]
        mass = sum(weight[row] for row in rows)
        bins.setdefault(min(int(n_bins * (before + mass / 2) / total), n_bins - 1), []).extend(rows)
        before += mass
    error = 0.0
    for rows in bins.values():
        gap = sum(weight[row] * (probability[row] - outcome[row]) for row in rows)
        error += abs(gap) / total
    assert calibration_error(probability, outcome, weight, n_bins) == pytest.approx(error)
    assert len(reliability_curve(probability, outcome, weight, n_bins).weight) == len(bins)


@SOME
@given(st.integers(0, 2**32), st.integers(1, 8), st.integers(3, 20))
def test_the_reliability_curve_without_ties_is_that_of_scikit_learn(
    seed: int, n_bins: int, per_bin: int
) -> None:
    generator = np.random.default_rng(seed)
    probability = generator.random(n_bins * per_bin)
    outcome = generator.random(len(probability)) < probability
    curve = reliability_curve(probability, outcome, n_bins=n_bins)
    rate, mean = calibration_curve(outcome, probability, n_bins=n_bins, strategy="quantile")
    np.testing.assert_allclose(curve.rate, rate)
    np.testing.assert_allclose(curve.probability, mean)


@SOME
@given(judged(), st.integers(0, 2**32))
def test_neither_the_order_of_events_nor_counting_them_twice_has_an_influence(
    drawn: Drawn, seed: int
) -> None:
    probability, outcome, weight = drawn
    order = np.random.default_rng(seed).permutation(len(outcome))
    times = weight.astype(np.int64)
    for measure in (log_loss, normalised_entropy, auc, calibration_error):
        value = measure(probability, outcome, weight)
        shuffled = measure(probability[order], outcome[order], weight[order])
        repeated = measure(np.repeat(probability, times), np.repeat(outcome, times), None)
        assert shuffled == pytest.approx(value, nan_ok=True)
        assert repeated == pytest.approx(value, nan_ok=True)


@SOME
@given(judged())
def test_values_stay_within_their_bounds(drawn: Drawn) -> None:
    probability, outcome, weight = drawn
    assert log_loss(probability, outcome, weight) >= 0
    assert 0 <= calibration_error(probability, outcome, weight) <= 1
    assert 0 <= calibration_error_by_chance(probability, weight) <= 1
    if _has_both(outcome, weight):
        assert 0 <= auc(probability, outcome, weight) <= 1


@SOME
@given(judged())
def test_an_increasing_function_keeps_auc_and_the_truth_has_the_best_of_all(drawn: Drawn) -> None:
    probability, outcome, weight = drawn
    assume(_has_both(outcome, weight))
    assert auc(probability / 2, outcome, weight) == pytest.approx(auc(probability, outcome, weight))
    certain = outcome.astype(np.float64)
    assert auc(certain, outcome, weight) == 1.0
    assert log_loss(certain, outcome, weight) <= log_loss(probability, outcome, weight) + 1e-12
    assert calibration_error(certain, outcome, weight) == 0.0


@SOME
@given(judged(), st.floats(0.01, 0.3))
def test_moving_what_was_said_towards_what_came_never_raises_the_log_loss(drawn: Drawn, step: float) -> None:
    probability, outcome, weight = drawn
    nearer = probability + step * (outcome - probability)
    assert log_loss(nearer, outcome, weight) <= log_loss(probability, outcome, weight) + 1e-12


def test_bins_are_of_about_equal_weight_and_hold_ties_together() -> None:
    probability = np.round(np.random.default_rng(0).random(1000), 2)
    bins = equal_bins(probability, n_bins=10)
    assert np.bincount(bins).min() > 80
    for value in np.unique(probability):
        assert len(set(bins[probability == value])) == 1


def test_the_calibration_error_by_chance_is_that_of_simulated_outcomes() -> None:
    generator = np.random.default_rng(0)
    probability = generator.beta(1, 6, 2000)
    simulated = [calibration_error(probability, generator.random(2000) < probability) for _ in range(300)]
    assert calibration_error_by_chance(probability) == pytest.approx(np.mean(simulated), rel=0.05)


@SOME
@given(st.integers(0, 2**32), st.integers(8, 80), st.booleans())
def test_the_isotonic_head_is_that_of_scikit_learn(seed: int, n: int, has_ties: bool) -> None:
    generator = np.random.default_rng(seed)
    score = generator.normal(size=n).round(1 if has_ties else 9)
    outcome = generator.random(n) < 1 / (1 + np.exp(-score))
    assume(0 < outcome.sum() < n)
    expected = IsotonicRegression(y_min=0.5 / n, y_max=1 - 0.5 / n).fit(score, outcome).predict(score)
    np.testing.assert_allclose(IsotonicHead.fit(score, outcome).probabilities(score), expected, atol=1e-9)


@SOME
@given(st.integers(0, 2**32))
def test_a_head_fitted_where_it_is_judged_leaves_no_gap_between_the_means(seed: int) -> None:
    generator = np.random.default_rng(seed)
    score = generator.normal(size=200)
    outcome = generator.random(200) < 1 / (1 + np.exp(1 - 2 * score))
    logistic = LogisticHead.fit(score[:, None], outcome).probabilities(score[:, None])
    assert logistic.mean() == pytest.approx(outcome.mean())
    assert (np.argsort(logistic) == np.argsort(score)).all()
    isotonic = IsotonicHead.fit(score, outcome).probabilities(score)
    assert log_loss(isotonic, outcome) <= log_loss(logistic, outcome) + 0.02
    assert logit(logistic) == pytest.approx(np.polyval(np.polyfit(score, logit(logistic), 1), score))
