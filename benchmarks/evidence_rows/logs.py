"""Rows on values from logs: a bandit with exact truth, a log that cannot speak, the logging policy itself."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from benchmarks.rows import Measured, Row
from marquee.core.arrays import Float64Array, IndexArray
from marquee.evaluation.off_policy.estimators import Estimator, LoggedDecisions, estimate_value

N_RUNS, N_ACTIONS, N_FOLDS = 20, 10, 3
BEHAVIOUR, CANDIDATE = 0.4, 0.9


def rows(root: Path) -> Iterator[Row]:
    """Yields the rows."""
    yield Row(
        "digits as bandit, 20 runs",
        "relative error DM 0.122, IPS 0.036, SNIPS 0.021, DR 0.022; covers 0, 19, 18, 19",
        "have SNIPS, DR at or below 0.03, DR covering 17 or more",
        _digits,
    )
    yield Row("logging policy on its own log", "the mean", "be exactly the mean", _own_log)
    yield Row(
        "open-bandit women, Thompson to random",
        "effective sample 2; estimate 0.0074, truth 0.0046",
        'say "not identifiable"',
        lambda: _women(root / "open-bandit"),
    )


def _policy(scores: Float64Array, alpha: float) -> Float64Array:
    """Returns a policy that takes the best class with probability alpha, and else any, (n, n_actions)."""
    chosen = scores.argmax(axis=1)
    probabilities = np.full(scores.shape, (1 - alpha) / N_ACTIONS)
    probabilities[np.arange(len(scores)), chosen] += alpha
    return probabilities


def _reward_model(
    features: Float64Array, action: IndexArray, reward: Float64Array, user: IndexArray
) -> Float64Array:
    """Returns the reward of every action that a model predicts, fitted on other users, (n, n_actions).

    One model per action: a single one of features beside actions knows no interaction of the two, and that is
    all that the reward is here. Its direct estimate was wrong by half.
    """
    predicted = np.zeros((len(reward), N_ACTIONS))
    for fit, judged in GroupKFold(N_FOLDS).split(features, groups=user):
        for other in range(N_ACTIONS):
            rows = fit[action[fit] == other]
            # An action whose rewards are all alike has no classes to part.
            if len(np.unique(reward[rows])) < 2:
                predicted[judged, other] = reward[rows].mean() if len(rows) else reward[fit].mean()
                continue
            model = LogisticRegression(max_iter=200).fit(features[rows], reward[rows])
            predicted[judged, other] = model.predict_proba(features[judged])[:, 1]
    return predicted


def _digits() -> Measured:
    features, label = load_digits(return_X_y=True)
    features = features / 16.0
    errors: dict[Estimator, list[float]] = {name: [] for name in Estimator}
    covered = dict.fromkeys(Estimator, 0)
    for run in range(N_RUNS):
        rng = np.random.default_rng(run)
        order = rng.permutation(len(label))
        learn, log = order[: len(order) // 2], order[len(order) // 2 :]
        # Two classifiers of different halves of the learning part, as two releases would be.
        base = LogisticRegression(max_iter=200).fit(features[learn[::2]], label[learn[::2]])
        new = LogisticRegression(max_iter=200).fit(features[learn[1::2]], label[learn[1::2]])
        behaviour = _policy(base.predict_proba(features[log]), BEHAVIOUR)
        candidate = _policy(new.predict_proba(features[log]), CANDIDATE)
        action = np.array([rng.choice(N_ACTIONS, p=row) for row in behaviour])
        here = np.arange(len(log))
        reward = (action == label[log]).astype(float)
        truth = float(candidate[here, label[log]].mean())
        predicted = _reward_model(features[log], action, reward, here)
        value = estimate_value(
            LoggedDecisions(
                reward,
                behaviour[here, action],
                candidate[here, action],
                here,
                predicted=predicted[here, action],
                expected=(candidate * predicted).sum(axis=1),
            )
        )
        for name, estimate in value.estimates.items():
            errors[name].append(abs(estimate.mean - truth) / truth)
            covered[name] += estimate.low <= truth <= estimate.high
    mean = {name: float(np.mean(found)) for name, found in errors.items()}
    order_of = (
        Estimator.direct,
        Estimator.inverse_propensity,
        Estimator.self_normalised,
        Estimator.doubly_robust,
    )
    text = ", ".join(f"{name} {mean[name]:.3f} ({covered[name]} of {N_RUNS})" for name in order_of)
    is_within = (
        mean[Estimator.self_normalised] <= 0.03
        and mean[Estimator.doubly_robust] <= 0.03
        and covered[Estimator.doubly_robust] >= 17
    )
    return Measured(text, is_within)


def _own_log() -> Measured:
    rng = np.random.default_rng(0)
    n = 10_000
    propensity = rng.uniform(0.01, 0.9, n)
    reward = (rng.random(n) < 0.1).astype(float)
    value = estimate_value(LoggedDecisions(reward, propensity, propensity, rng.integers(0, 500, n)))
    off = [abs(found.mean - reward.mean()) for found in value.estimates.values()]
    return Measured(f"off by {max(off):.1e}", max(off) < 1e-12)


def _women(root: Path) -> Measured:
    path, other = root / "bts/women/women.csv", root / "random/women/women.csv"
    if not (path.is_file() and other.is_file()):
        return Measured(f"{path} is not there", False)
    columns = ["item_id", "click", "propensity_score"]
    log = pl.read_csv(path, columns=columns)
    n_items = log["item_id"].n_unique()
    truth = float(pl.read_csv(other, columns=columns)["click"].to_numpy().mean())
    value = estimate_value(
        LoggedDecisions(
            log["click"].to_numpy().astype(float),
            log["propensity_score"].to_numpy().astype(float),
            np.full(len(log), 1 / n_items),
            np.arange(len(log)),
        )
    )
    found = value.estimates[Estimator.inverse_propensity]
    verdict = "identifiable" if value.support.is_identifiable else "not identifiable"
    return Measured(
        f"effective sample {value.support.effective:.0f}; estimate {found.mean:.4f}, truth {truth:.4f}: "
        f"{verdict}",
        not value.support.is_identifiable,
    )
