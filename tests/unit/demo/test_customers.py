"""The customers of the market in the demo: tables without the truth, and the truth beside what is said."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from demo.customers import LAG_DAYS, Held, hold, write_tables, wrong_customers
from marquee.world import World, WorldConfig, simulate

HELD = Held(n=500, said=0.14, true=0.13, groups=((0.1, 0.1), (0.2, 0.19)), correlation=0.4)
BUYERS = pl.DataFrame({"user_id": ["u1", "u2"], "group": ["champions", None]})


@pytest.fixture(scope="module")
def market() -> World:
    return simulate(WorldConfig(seed=3, n_users=400, n_content=200, n_ads=60, n_campaigns=20, n_days=40))


def test_tables_hold_every_click_once_and_no_truth(market: World, tmp_path: Path) -> None:
    truth = write_tables(market, tmp_path)
    leads = pl.read_parquet(tmp_path / "leads.parquet")
    end = market.config.start + (market.config.n_days - LAG_DAYS) * 86_400
    clicks = market.events.filter((pl.col("kind") == "click") & (pl.col("timestamp") < end))
    assert leads["lead_id"].to_list() == clicks["event_id"].to_list() == truth["lead_id"].to_list()
    assert "probability" not in leads.columns
    assert leads.null_count().sum_horizontal().item() == 0
    # Each click has the truth of its own exposure: bought as often as that says, also among the likely ones.
    bought = (leads["bought"] == "yes").to_numpy()
    probability = truth["probability"].to_numpy()
    for rows in (slice(None), probability > np.median(probability)):
        spread = np.sqrt((probability[rows] * (1 - probability[rows])).sum())
        assert abs(bought[rows].sum() - probability[rows].sum()) < 4 * spread


def test_customers_are_those_who_bought(market: World, tmp_path: Path) -> None:
    write_tables(market, tmp_path)
    customers = pl.read_parquet(tmp_path / "customers.parquet")
    purchases = pl.read_parquet(tmp_path / "purchases.parquet")
    assert set(customers["user_id"]) == set(purchases["user_id"])
    assert customers["user_id"].is_unique().all()
    assert customers["likes"].null_count() == 0


def test_probability_is_held_by_fifths_of_what_is_said() -> None:
    n = 100
    said = np.linspace(0.01, 0.99, n)
    traits = pl.DataFrame({"user_id": [f"l{row}" for row in range(n)], "buys": said}).sample(
        fraction=1.0, seed=0, shuffle=True
    )
    truth = pl.DataFrame({"lead_id": [f"l{row}" for row in range(n)], "probability": said**2})
    found = hold(traits, truth)
    assert (found.n, len(found.groups)) == (n, 5)
    assert found.correlation == pytest.approx(1.0)
    assert found.groups[0] == pytest.approx((said[:20].mean(), (said[:20] ** 2).mean()))


def test_customers_that_make_no_sense_are_told(tmp_path: Path) -> None:
    contacts = tmp_path / "first.csv"
    contacts.write_text("user_id\nu1\n", encoding="utf8")
    assert wrong_customers(HELD, BUYERS, contacts) == []
    (level,) = wrong_customers(replace(HELD, said=0.2), BUYERS, contacts)
    assert "0.200 of the clicks, the truth is 0.130" in level
    (order,) = wrong_customers(replace(HELD, groups=((0.1, 0.3), (0.2, 0.1))), BUYERS, contacts)
    assert "less likely" in order
    (segment,) = wrong_customers(HELD, BUYERS.with_columns(group=pl.lit(None, pl.String)), contacts)
    assert segment == "no customer has a segment"
    (audience,) = wrong_customers(HELD, BUYERS, tmp_path / "other.csv")
    assert "no audience" in audience
