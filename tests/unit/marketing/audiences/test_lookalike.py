"""Lookalikes: those who are like the seeds are found, and activity is told apart from likeness."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from marquee.data.table_config import TableConfig
from marquee.errors import DataError
from marquee.marketing.audiences.lookalike import auc_within, judge_lookalike, lookalike_scores
from marquee.marketing.config import AudienceConfig, CustomersConfig
from marquee.marketing.running import Previous, run_customers

RNG = np.random.default_rng(0)
N = 1000
TASTE = RNG.normal(0, 1, (N, 4))
ACTIVITY = np.exp(RNG.normal(0, 1, N))


def seeds(weight_of_taste: float) -> np.ndarray:
    """Returns who is a seed: by taste, by activity, or both."""
    logit = weight_of_taste * TASTE[:, 0] + np.log(ACTIVITY) - 2
    return np.asarray(RNG.random(N) < 1 / (1 + np.exp(-logit)))


def test_taste_shows_within_activity_and_activity_does_not() -> None:
    judged = judge_lookalike(np.column_stack([TASTE, np.log(ACTIVITY)]), ACTIVITY, seeds(1.5), 0)
    assert judged.auc_within > 0.75
    # The last tenth is the widest, so that some of it is left.
    assert judged.auc_activity_within < 0.6
    assert judged.auc_activity > judged.auc_activity_within + 0.1


def test_seeds_that_are_merely_active_are_said_to_be() -> None:
    judged = judge_lookalike(np.column_stack([TASTE, np.log(ACTIVITY)]), ACTIVITY, seeds(0.0), 0)
    assert judged.auc > 0.6
    assert judged.auc_within < 0.57


def test_auc_within_compares_only_the_equally_active() -> None:
    activity = np.repeat([1.0, 2.0], 5)
    is_member = np.array([False] * 5 + [True] * 4 + [False])
    # Of the first five none is a member: what is left is one tenth with four members.
    assert auc_within(np.linspace(0.9, 0.0, 10), is_member, activity) == 1.0


def test_too_few_seeds_are_refused() -> None:
    with pytest.raises(DataError, match="needs 20 known customers and some others, got 3"):
        lookalike_scores(TASTE, np.arange(N) < 3)


def test_a_list_of_seeds_becomes_an_audience_without_them(tmp_path: Path) -> None:
    table = pl.DataFrame({"user_id": [f"u{row}" for row in range(N)], "taste": TASTE[:, 0]})
    table.write_csv(tmp_path / "users.csv")
    chosen = seeds(3.0)
    listed = table.filter(pl.Series(chosen))["user_id"].to_list()
    (tmp_path / "seeds.txt").write_text("\n".join(listed))
    config = CustomersConfig(
        name="shop",
        root=str(tmp_path),
        users=TableConfig(path="users.csv"),
        audiences={"alike": AudienceConfig(seeds="seeds.txt")},
    )
    (audience,) = run_customers(config, Previous()).audiences
    assert audience.members.height == 100
    assert not audience.ids & set(listed)
    members = table.filter(pl.col("user_id").is_in(audience.members["user_id"].to_list()))
    assert members["taste"].mean() > table["taste"].mean() + 0.3  # type: ignore[operator] # of numbers
    assert audience.lookalike is not None
    assert audience.lookalike.auc > 0.7
