"""Uplift: Qini against a slow opinion, effects that are there, arms that were not drawn by lot."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from marquee.core.arrays import BoolArray, Float64Array
from marquee.data.table_config import TableConfig
from marquee.errors import DataError
from marquee.marketing.config import CustomersConfig
from marquee.marketing.running import Previous, run_customers
from marquee.marketing.traits import TraitResult
from marquee.marketing.uplift.qini import qini, uplift_at
from marquee.reports.customers.uplift import uplift_part


def slow_area(score: Float64Array, outcome: BoolArray, treated: BoolArray) -> float:
    """Returns the area above the straight line, customer by customer."""
    xs, ys = [0.0], [0.0]
    order = sorted(range(len(score)), key=lambda row: -score[row])
    for place, row in enumerate(order):
        if place + 1 < len(order) and score[order[place + 1]] == score[row]:
            continue
        first = order[: place + 1]
        n_treated = sum(bool(treated[one]) for one in first)
        n_control = len(first) - n_treated
        won = sum(bool(outcome[one] and treated[one]) for one in first)
        anyway = sum(bool(outcome[one] and not treated[one]) for one in first)
        xs.append(float(len(first)))
        ys.append(won - (anyway * n_treated / n_control if n_control else 0.0))
    area = sum((xs[i] - xs[i - 1]) * (ys[i] + ys[i - 1]) / 2 for i in range(1, len(xs)))
    return area - xs[-1] * ys[-1] / 2


def test_qini_is_that_of_a_slow_opinion() -> None:
    rng = np.random.default_rng(0)
    outcome, treated = rng.random(200) < 0.3, rng.random(200) < 0.5
    score = rng.integers(0, 30, 200).astype(float)  # with ties
    perfect = np.where(treated, 1.0, -1.0) * outcome.astype(np.float64)
    wanted = slow_area(score, outcome, treated) / slow_area(perfect, outcome, treated)
    assert qini(score, outcome, treated) == pytest.approx(wanted, abs=1e-12)


def test_qini_is_one_for_perfect_knowledge_and_zero_for_none() -> None:
    rng = np.random.default_rng(1)
    outcome, treated = rng.random(500) < 0.3, rng.random(500) < 0.5
    assert qini(np.where(treated, 1.0, -1.0) * outcome.astype(np.float64), outcome, treated) == 1.0
    assert qini(np.zeros(500), outcome, treated) == 0.0


def test_a_weight_of_two_is_a_customer_who_comes_twice() -> None:
    rng = np.random.default_rng(2)
    outcome, treated, score = rng.random(50) < 0.4, rng.random(50) < 0.5, rng.random(50)
    weight = rng.integers(0, 3, 50)
    again = np.repeat(np.arange(50), weight)
    found = qini(score, outcome, treated, weight.astype(float))
    assert found == pytest.approx(qini(score[again], outcome[again], treated[again]), abs=1e-12)


def test_uplift_at_a_share_is_the_difference_of_rates_there() -> None:
    outcome = np.array([True, True, False, False, True, False])
    treated = np.array([True, False, True, False, True, False])
    # First half: treated 1 of 2, control 1 of 1.
    assert uplift_at(np.arange(6.0)[::-1], outcome, treated, 0.5) == -0.5


def test_one_arm_alone_is_refused() -> None:
    with pytest.raises(DataError, match="both arms"):
        qini(np.zeros(3), np.ones(3, dtype=bool), np.ones(3, dtype=bool))


def experiment(n: int = 3000, by_lot: bool = True) -> pl.DataFrame:
    """Returns a mail that changes the young alone."""
    rng = np.random.default_rng(0)
    age, old_customer = rng.integers(18, 80, n), rng.random(n) < 0.5
    chance = 1 / (1 + np.exp((age - 45) / 5.0))
    mailed = rng.random(n) < (0.5 if by_lot else chance)
    visit = rng.random(n) < 0.1 + 0.2 * old_customer + 0.25 * mailed * (age < 40)
    return pl.DataFrame(
        {
            "age": age,
            "known": old_customer.astype(int),
            "arm": np.where(mailed, "mail", "none"),
            "visit": visit.astype(int),
        }
    )


def run(folder: Path, table: pl.DataFrame) -> TraitResult:
    """Returns the uplift of a table."""
    table.write_csv(folder / "mail.csv")
    trait = {"type": "uplift", "outcome": "visit = 1", "treated": "arm = 'mail'", "n_resamples": 50}
    config = CustomersConfig(
        name="mail", root=str(folder), users=TableConfig(path="mail.csv"), traits={"lift": trait}
    )
    return run_customers(config, Previous()).traits[0]


def test_those_whom_the_mail_changes_are_found_before_those_who_respond(tmp_path: Path) -> None:
    table = experiment()
    trait = run(tmp_path, table)
    judged = trait.judged
    assert judged.effect.mean == pytest.approx(0.25 * (table["age"] < 40).mean(), abs=0.04)  # type: ignore[operator] # a share
    assert judged.orders[0].qini.low > 0
    assert judged.verdict == "target by uplift"
    assert trait.values is not None
    changed = trait.values["lift"].to_numpy()
    is_young = (table["age"] < 40).to_numpy()
    assert changed[is_young].mean() > changed[~is_young].mean() + 0.1
    part = uplift_part(trait)
    assert part.finding.title == "lift: target by uplift"
    assert part.facts["arm_auc"] == pytest.approx(0.5, abs=0.05)


def test_an_arm_that_attributes_tell_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"attributes tell who was treated with AUC 0\.9"):
        run(tmp_path, experiment(by_lot=False))


def test_an_arm_without_outcomes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the arm of the control has"):
        run(tmp_path, experiment().with_columns(pl.col("visit") * (pl.col("arm") == "mail").cast(pl.Int64)))
