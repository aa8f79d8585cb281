import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from marquee.errors import DataError, ShapeError
from marquee.evaluation.probabilities.calibration import IsotonicHead, LogisticHead
from marquee.evaluation.probabilities.intervals import MIN_OUTCOMES, JudgedProbabilities, judge_probabilities
from marquee.evaluation.probabilities.metrics import (
    auc,
    calibration_error,
    log_loss,
    normalised_entropy,
    reliability_curve,
)

TRUE, FALSE = np.ones(4, dtype=np.bool_), np.zeros(4, dtype=np.bool_)


@pytest.mark.parametrize("outcome", [TRUE, FALSE], ids=["all true", "none true"])
def test_one_outcome_alone_has_a_log_loss_and_no_order(outcome: np.ndarray) -> None:
    probability = np.array([0.2, 0.4, 0.6, 0.8])
    assert np.isnan(auc(probability, outcome))
    assert np.isnan(normalised_entropy(probability, outcome))
    assert log_loss(probability, outcome) == pytest.approx(-np.log([0.2, 0.4, 0.6, 0.8]).mean())


def test_equal_scores_tell_nothing_and_make_one_bin() -> None:
    same, outcome = np.full(6, 0.25), np.arange(6) < 3
    assert auc(same, outcome) == 0.5
    assert calibration_error(same, outcome) == 0.25
    assert len(reliability_curve(same, outcome).weight) == 1


def test_a_certainty_that_fails_costs_much_and_not_everything() -> None:
    assert 30 < log_loss(np.array([0.0]), np.array([True])) < 40


@pytest.mark.parametrize(
    ("probability", "outcome", "weight", "error", "message"),
    [
        (np.array([0.5, 1.5]), TRUE[:2], None, DataError, r"between 0 and 1, got 1.5 in row 1; a score"),
        (np.array([np.nan]), TRUE[:1], None, DataError, "between 0 and 1, got nan in row 0"),
        (np.array([0.5]), TRUE[:2], None, ShapeError, r"must be \(n,\), got \(1,\), \(2,\) and \(1,\)"),
        (np.array([0.5]), np.array([1]), None, DataError, "outcome must be bool, got int64"),
        (np.array([0.5]), TRUE[:1], np.zeros(1), DataError, "not all 0, got 1 with the sum 0.0"),
        (np.array([0.5]), TRUE[:1], -np.ones(1), DataError, "weights must be 0 or more"),
        (np.zeros(0), TRUE[:0], None, DataError, "got 0 with the sum 0.0"),
    ],
)
def test_what_is_no_probability_is_refused(
    probability: np.ndarray,
    outcome: np.ndarray,
    weight: np.ndarray | None,
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        log_loss(probability, outcome, weight)


def _events(seed: int = 0, n_users: int = 150, per_user: int = 8) -> tuple[np.ndarray, ...]:
    """Calibrated probabilities of users who differ, with their outcomes."""
    generator = np.random.default_rng(seed)
    user = np.repeat(np.arange(n_users), per_user)
    logits = -1.5 + generator.normal(0, 1, n_users)[user] + generator.normal(0, 0.5, len(user))
    probability = 1 / (1 + np.exp(-logits))
    return probability, generator.random(len(user)) < probability, user


def test_intervals_equal_those_of_users_drawn_one_resample_at_a_time() -> None:
    probability, outcome, user = _events()
    found = judge_probabilities(
        "p", probability, outcome, np.random.default_rng(3), cluster=user, n_resamples=40
    )
    rows = [np.flatnonzero(user == one) for one in range(150)]
    slow: dict[str, list[float]] = {"auc": [], "log_loss": [], "normalised_entropy": []}
    for drawn in np.random.default_rng(3).integers(0, 150, size=(40, 150)):
        events = np.concatenate([rows[one] for one in drawn])
        for name, measure in (
            ("auc", auc),
            ("log_loss", log_loss),
            ("normalised_entropy", normalised_entropy),
        ):
            slow[name].append(measure(probability[events], outcome[events]))
    for name, values in slow.items():
        low, high = np.quantile(values, [0.025, 0.975])
        assert (found.metrics[name].low, found.metrics[name].high) == pytest.approx((low, high)), name
    assert (found.n, found.n_clusters, found.n_true) == (1200, 150, outcome.sum())


def test_users_that_differ_make_a_wider_interval_than_as_many_events_of_nobody() -> None:
    generator = np.random.default_rng(0)
    user = np.repeat(np.arange(40), 30)
    outcome = np.random.default_rng(1).random(1200) < np.random.default_rng(2).beta(0.5, 2, 40)[user]
    same = np.full(1200, 0.2)
    of_users = judge_probabilities("p", same, outcome, generator, cluster=user).metrics["calibration_ratio"]
    of_events = judge_probabilities("p", same, outcome, generator).metrics["calibration_ratio"]
    assert of_users.high - of_users.low > 1.5 * (of_events.high - of_events.low)


def test_blocks_of_resamples_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    probability, outcome, user = _events()

    def judged() -> JudgedProbabilities:
        generator = np.random.default_rng(0)
        return judge_probabilities("p", probability, outcome, generator, cluster=user, n_resamples=20)

    at_once = judged()
    monkeypatch.setattr("marquee.evaluation.probabilities.intervals.ROWS_MEMORY_MB", 0)
    assert judged() == at_once


def test_very_many_events_are_drawn_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    probability, outcome, user = _events()

    def judged(n_resamples: int) -> JudgedProbabilities:
        generator = np.random.default_rng(0)
        return judge_probabilities(
            "p", probability, outcome, generator, cluster=user, n_resamples=n_resamples
        )

    few = judged(20)
    monkeypatch.setattr("marquee.evaluation.probabilities.intervals.MAX_DRAWN", 20 * len(outcome))
    monkeypatch.setattr("marquee.evaluation.probabilities.intervals.MIN_RESAMPLES", 5)
    assert judged(1000) == few


def test_every_bin_has_its_interval_and_json_knows_no_nan() -> None:
    probability, outcome, user = _events()
    found = judge_probabilities("p", probability, outcome, np.random.default_rng(0), cluster=user)
    assert sum(point.n for point in found.curve) == found.n
    for point in found.curve:
        assert point.rate.low <= point.rate.mean <= point.rate.high
    error = found.metrics["calibration_error"]
    assert 0 <= error.low <= error.mean <= error.high
    few = judge_probabilities("p", probability[:9], outcome[:9], np.random.default_rng(0))
    assert np.isnan(few.metrics["log_loss"].low)
    written = json.loads(json.dumps(few.to_json_dict(), allow_nan=False))
    assert written["metrics"]["log_loss"]["low"] is None


def test_too_few_of_one_outcome_have_no_interval() -> None:
    probability = np.linspace(0.1, 0.9, 200)
    for n_true, is_known in ((MIN_OUTCOMES - 1, False), (MIN_OUTCOMES, True)):
        found = judge_probabilities("p", probability, np.arange(200) < n_true, np.random.default_rng(0))
        assert np.isnan(found.metrics["auc"].low) != is_known


@pytest.mark.slow
def test_intervals_cover_the_truth_about_95_times_in_100() -> None:
    probability, _, _ = _events(9, 20_000, 10)
    generator = np.random.default_rng(5)
    everybody = generator.random(len(probability)) < probability
    truth = {"auc": auc(probability, everybody), "log_loss": log_loss(probability, everybody)}
    covered = dict.fromkeys(truth, 0)
    for world in range(200):
        said, outcome, user = _events(100 + world, 120, 10)
        found = judge_probabilities("p", said, outcome, generator, cluster=user, n_resamples=200)
        for name, value in truth.items():
            covered[name] += found.metrics[name].low <= value <= found.metrics[name].high
    assert {name: 0.90 <= n / 200 <= 0.99 for name, n in covered.items()} == dict.fromkeys(truth, True)


def test_the_logistic_head_is_that_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(800, 3)) * [1, 20, 0.1] + [0, 5, 1]
    outcome = generator.random(800) < 1 / (1 + np.exp(2 - features[:, 0] - features[:, 1] / 20))
    found = LogisticHead.fit(features, outcome).probabilities(features)
    expected = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(features, outcome)
    np.testing.assert_allclose(found, expected.predict_proba(features)[:, 1], atol=1e-4)


def test_a_head_of_what_is_separable_or_constant_is_finite() -> None:
    score = np.linspace(-1, 1, 50)[:, None]
    features = np.concatenate([score, np.ones((50, 1))], axis=1)
    head = LogisticHead.fit(features, score[:, 0] > 0)
    assert np.isfinite(head.coefficients).all()
    assert auc(head.probabilities(features), score[:, 0] > 0) == 1.0


def test_a_score_below_all_that_was_fitted_has_the_lowest_rate() -> None:
    head = IsotonicHead.fit(np.array([1.0, 2.0, 3.0, 4.0]), np.array([False, True, False, True]))
    assert head.probabilities(np.array([-9.0, 2.5, 99.0])).tolist() == [0.125, 0.5, 0.875]


@pytest.mark.parametrize("outcome", [TRUE, FALSE], ids=["all true", "none true"])
def test_a_head_needs_both_outcomes(outcome: np.ndarray) -> None:
    with pytest.raises(DataError, match=rf"got {outcome.sum()} true of 4; fit it on more events"):
        LogisticHead.fit(np.zeros((4, 1)), outcome)
    with pytest.raises(ShapeError, match=r"got \(3, 1\) and \(4,\)"):
        IsotonicHead.fit(np.zeros(3), outcome)
