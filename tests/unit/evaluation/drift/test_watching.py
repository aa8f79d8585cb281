"""Two tables compared: alarms, labels, hours, and what is broken."""

import numpy as np
import polars as pl
import pytest

from marquee.errors import ConfigError, DataError, ShapeError
from marquee.evaluation.drift.config import DriftConfig
from marquee.evaluation.drift.hours import HOURS_OF_WEEK, SECONDS_PER_HOUR, odd_hours
from marquee.evaluation.drift.labels import compare_labels, measure_labels
from marquee.evaluation.drift.watching import Drift, compare_tables

DAY = 86_400
START = 1_750_000_000 // DAY * DAY


def table(n: int, seed: int, shift: float = 0.0, start: int = START) -> pl.DataFrame:
    """Returns rows whose probability is right while there is no shift."""
    rng = np.random.default_rng(seed)
    age = rng.normal(40 + 20 * shift, 10, n)
    probability = 1 / (1 + np.exp(-(age - 50) / 10))
    return pl.DataFrame(
        {
            "age": age,
            "job": rng.choice(["cook", "smith"], n, p=[0.5 + 0.4 * shift, 0.5 - 0.4 * shift]),
            "score": probability,
            "label": (rng.random(n) < np.clip(probability * (1 + 3 * shift), 0, 1)).astype(float),
            "at": start + np.sort(rng.integers(0, 5 * DAY, n)),
        }
    )


def compared(current: pl.DataFrame, reference: pl.DataFrame | None = None, **others: object) -> Drift:
    """Returns the changes since a reference of 4,000 rows."""
    given: dict[str, object] = {"score": "score", "label": "label", "time": "at", **others}
    config = DriftConfig(reference="before", current="now", **given)  # type: ignore[arg-type] # of a test
    return compare_tables(config, table(4000, 0) if reference is None else reference, current)


def test_stable_tables_are_quiet() -> None:
    drift = compared(table(1500, 1, start=START + 6 * DAY))
    assert drift.alarms == ()
    assert [column.name for column in drift.columns] == ["age", "job", "score"]
    assert drift.notes == ()
    assert drift.labels is not None
    ratio = drift.labels.current.calibration_ratio
    assert ratio.low < 1 < ratio.high


def test_shifted_columns_and_wrong_probabilities_raise_alarms() -> None:
    alarms = compared(table(1500, 1, shift=0.5, start=START + 6 * DAY)).alarms
    assert [alarm.split()[0] for alarm in alarms] == ["age", "job", "score", "calibration:"]


def test_a_broken_column_stops_no_other() -> None:
    current = table(1500, 1, start=START + 6 * DAY).drop("job").with_columns(pl.lit("?").alias("age"))
    drift = compared(current)
    assert set(drift.broken) == {"age", "job"}
    assert [column.name for column in drift.columns] == ["score"]
    assert "age is broken: column 'age' was numbers in the reference, now 1,500 of 1,500" in drift.alarms[0]


def test_an_empty_column_of_the_reference_is_no_alarm() -> None:
    reference = table(900, 0).with_columns(pl.lit(None, pl.Float64).alias("age"))
    drift = compared(table(900, 1, start=START + 6 * DAY), reference, features=["age", "job", "shoe"])
    assert set(drift.unjudged) == {"age", "shoe"}
    assert drift.alarms == ()


@pytest.mark.parametrize(
    ("label", "said"),
    [
        (pl.lit(2.0), "1,500 labels are neither 0 nor 1, such as 2"),
        (pl.when(pl.int_range(pl.len()) < 20).then(1.0), "20 labels have matured, 50 are needed"),
    ],
)
def test_labels_that_say_nothing_are_no_alarm(label: pl.Expr, said: str) -> None:
    drift = compared(table(1500, 1, start=START + 6 * DAY).with_columns(label.alias("label")))
    assert drift.labels is None
    assert drift.unjudged["labels"].startswith(said)
    assert drift.alarms == ()


def test_labels_younger_than_their_maturity_do_not_count() -> None:
    current = table(1500, 1, start=START + 6 * DAY)
    late = pl.col("at") > pl.col("at").max() - 2 * DAY
    immature = current.with_columns(pl.when(late).then(0.0).otherwise("label").alias("label"))
    assert compared(immature).alarms
    assert not compared(immature, maturity_days=2.0).alarms


def test_tables_that_overlap_or_lie_far_apart_are_named() -> None:
    (overlap,) = compared(table(500, 1)).notes
    assert "they overlap, which hides drift" in overlap
    (apart,) = compared(table(500, 1, start=START + 400 * DAY)).notes
    assert "it may be too old" in apart


def test_an_hour_is_held_against_the_same_hour_of_earlier_weeks() -> None:
    rng = np.random.default_rng(0)
    hours = START + SECONDS_PER_HOUR * np.arange(6 * HOURS_OF_WEEK)
    rate = 0.1 + 0.05 * np.sin(hours / DAY * 2 * np.pi) + rng.normal(0, 0.002, len(hours))
    before, now = slice(0, 5 * HOURS_OF_WEEK), slice(5 * HOURS_OF_WEEK, None)
    quiet, n_unjudged = odd_hours(hours[before], rate[before], hours[now], rate[now])
    assert quiet == ()
    assert n_unjudged == 0
    rate[-3] = 0.1 + 0.05 * np.sin(hours[-3] / DAY * 2 * np.pi) + 0.03
    (found,), _ = odd_hours(hours[before], rate[before], hours[now], rate[now])
    assert found.timestamp == hours[-3]
    assert found.z > 5
    _, unjudged = odd_hours(hours[: 2 * HOURS_OF_WEEK], rate[: 2 * HOURS_OF_WEEK], hours[now], rate[now])
    assert unjudged == HOURS_OF_WEEK
    with pytest.raises(ShapeError, match="each hour needs one value"):
        odd_hours(hours, rate[1:], hours, rate)


def test_odd_hours_of_a_table_raise_an_alarm() -> None:
    hours = START + SECONDS_PER_HOUR * np.arange(5 * HOURS_OF_WEEK)
    price = pl.DataFrame({"at": hours, "price": 1.0 + 0.01 * (np.arange(len(hours)) % 7)})
    split = 4 * HOURS_OF_WEEK
    now = price[split:].with_columns(
        pl.when(pl.int_range(pl.len()) == 5).then(9.0).otherwise("price").alias("price")
    )
    config = DriftConfig(reference="a", current="b", time="at", measures=["price"], features=["price"])
    drift = compare_tables(config, price[:split], now)
    (measure,) = drift.measures
    assert len(measure.odd) == 1
    assert any(alarm.startswith("price is odd in 1 hours, worst 9") for alarm in drift.alarms)


def test_order_that_got_worse_is_told_from_chance() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random(2000)
    good = measure_labels(probability, rng.random(2000) < probability, rng)
    flat = measure_labels(np.full(2000, 0.5) + 1e-6 * probability, rng.random(2000) < 0.5, rng)
    assert compare_labels(good, flat, 1.2).is_worse_ordered
    assert not compare_labels(good, good, 1.2).is_worse_ordered
    assert not compare_labels(None, flat, 1.2).is_worse_ordered
    with pytest.raises(DataError, match=r"1 of 2,000 scores are no probabilities"):
        measure_labels(np.append(probability[1:], 2.0), rng.random(2000) < 0.5, rng)
    assert measure_labels(probability, np.ones(2000, dtype=np.bool_), rng).auc is None


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ({"tolerance": 0.5}, "tolerance 1 or more"),
        ({"label": "y"}, "label 'y' needs a score"),
        ({"measures": ["price"]}, r"\['measures'\] need the moment of each row"),
    ],
)
def test_a_declaration_that_means_nothing_is_refused(others: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        DriftConfig(reference="a", current="b", **others)  # type: ignore[arg-type] # of a test
