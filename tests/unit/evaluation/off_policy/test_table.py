"""Logged decisions from a table, and a candidate's value by them."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from marquee.data.table_config import TableConfig
from marquee.errors import ConfigError, DataError, RejectedRowsError
from marquee.evaluation.off_policy.estimators import Estimator
from marquee.evaluation.off_policy.reward_model import predict_rewards
from marquee.evaluation.off_policy.table import EstimatedCandidate, OffPolicyConfig, estimate_candidate

RATES = np.array([0.1, 0.3, 0.6])
LOGGING = np.array([0.5, 0.3, 0.2])


def logged(n: int = 4000) -> pl.DataFrame:
    """Returns decisions of a policy that explores three banners, a user making four each."""
    rng = np.random.default_rng(0)
    action = rng.choice(3, n, p=LOGGING)
    return pl.DataFrame(
        {
            "action": [f"banner {number}" for number in action],
            "propensity": LOGGING[action],
            "reward": (rng.random(n) < RATES[action]).astype(float),
            "who": [f"u{row // 4}" for row in range(n)],
            "p_new": np.array([0.1, 0.1, 0.8])[action],
        }
    )


def estimated(folder: Path, rows: pl.DataFrame, **others: object) -> EstimatedCandidate:
    """Returns the value of a candidate over these rows."""
    rows.write_parquet(folder / "log.parquet")
    config = OffPolicyConfig(table=TableConfig(path="log.parquet"), root=str(folder), **others)  # type: ignore[arg-type] # of a test
    return estimate_candidate(config)


@pytest.mark.parametrize(
    "others",
    [{"target": "p_new"}, {"candidate": {"banner 0": 0.1, "banner 1": 0.1, "banner 2": 0.8}}],
    ids=["column", "declared"],
)
def test_candidate_is_worth_its_rates(tmp_path: Path, others: dict[str, object]) -> None:
    found = estimated(tmp_path, logged(), user="who", **others)
    truth = float(np.array([0.1, 0.1, 0.8]) @ RATES)
    assert found.value.support.is_identifiable
    assert (found.n_users, found.n_actions) == (1000, 3)
    for name, value in found.value.estimates.items():
        # The direct estimate is as wrong as its shrunken means, and its interval does not know.
        slack = 0.04 if name is Estimator.direct else 0.0
        assert value.low - slack < truth < value.high + slack, name
    assert (Estimator.doubly_robust in found.value.estimates) is ("candidate" in others)


def test_logging_policy_earns_what_it_earned(tmp_path: Path) -> None:
    rows = logged()
    found = estimated(tmp_path, rows, target="propensity")
    mean = float(rows["reward"].to_numpy().mean())
    assert found.value.estimates[Estimator.self_normalised].mean == pytest.approx(mean, abs=1e-12)


def test_new_actions_count_as_without_support(tmp_path: Path) -> None:
    candidate = {"banner 0": 0.4, "banner 9": 0.6}
    support = estimated(tmp_path, logged(), candidate=candidate).value.support
    assert support.unsupported == pytest.approx(0.6)
    assert not support.is_identifiable
    assert "60.0% of what the candidate would do was never possible" in support.reason


def test_star_is_uniform_over_the_actions_of_the_log(tmp_path: Path) -> None:
    found = estimated(tmp_path, logged(), candidate={"*": 1.0})
    assert found.value.estimates[Estimator.self_normalised].mean == pytest.approx(RATES.mean(), abs=0.04)


@pytest.mark.parametrize(
    ("propensity", "said"),
    [
        (
            pl.when(pl.int_range(pl.len()) > 5).then("propensity"),
            "6 of 4,000 logged actions have no propensity",
        ),
        (pl.when(pl.int_range(pl.len()) > 5).then("propensity").otherwise(-0.5), "6 have one outside"),
        (pl.lit(1.0), "a policy that never explores says nothing"),
    ],
)
def test_propensities_that_cannot_be_used_are_refused_by_count(
    tmp_path: Path, propensity: pl.Expr, said: str
) -> None:
    with pytest.raises(DataError, match=said):
        estimated(tmp_path, logged().with_columns(propensity.alias("propensity")), target="p_new")


def test_rewards_that_are_open_or_infinite_are_refused(tmp_path: Path) -> None:
    is_first = pl.int_range(pl.len()) == 0
    is_open = logged().with_columns(pl.when(~is_first).then("reward").alias("reward"))
    with pytest.raises(DataError, match="1 of 4,000 decisions have no reward"):
        estimated(tmp_path, is_open, target="p_new")
    infinite = logged(8).with_columns(pl.lit(float("inf")).alias("reward"))
    with pytest.raises(RejectedRowsError, match="non_finite_value"):
        estimated(tmp_path, infinite, target="p_new")


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ({}, "give either target, a column, or candidate"),
        ({"target": "t", "candidate": {"*": 1.0}}, "give either target"),
        ({"candidate": {"a": 0.5}}, "must be 0 or more and sum to 1"),
        ({"target": "t", "clip": 0.0}, "clip must be above 0"),
    ],
)
def test_candidate_that_means_nothing_is_refused(others: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        OffPolicyConfig(table=TableConfig(path="x.csv"), **others)  # type: ignore[arg-type] # of a test


def test_reward_of_a_user_is_predicted_by_others() -> None:
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(50), 20)
    action = rng.integers(0, 2, 1000)
    reward = np.zeros(1000)
    reward[user == 7] = 100.0
    predicted = predict_rewards(action, reward, user, 2, rng)
    assert np.all(predicted[user == 7] == 0.0), "no fold that holds the user was fitted on"
    assert predicted[user != 7].max() > 1.0
    alone = predict_rewards(action[:20], reward[140:160], user[140:160], 2, rng)
    assert np.all(alone == 100.0)
