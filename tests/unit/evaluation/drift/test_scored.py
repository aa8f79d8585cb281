"""The score of a reference: it travels, it is held against that of a log, or says why it is missing."""

import numpy as np
import polars as pl
import pytest

from marquee.evaluation.drift.config import DriftConfig
from marquee.evaluation.drift.reference import Reference
from marquee.evaluation.drift.scored import LABEL, SCORE, scored_rows, with_score
from marquee.evaluation.drift.watching import Drift, compare

PLAIN = Reference.fit(pl.DataFrame({"device": ["phone", "desktop"] * 500}), ["device"])
CONFIG = DriftConfig(reference="bundle", current="log", score=SCORE, label=LABEL)


def rows(n: int = 4000, said_over_true: float = 1.0, seed: int = 0) -> pl.DataFrame:
    """Returns exposures whose clicks have a known chance, and what is said of them."""
    rng = np.random.default_rng(seed)
    chance = rng.beta(2, 18, n)
    said = np.clip(said_over_true * chance, 0, 1)
    return scored_rows(said, rng.random(n) < chance, pl.Series("timestamp", range(n)))


def held(scored: pl.DataFrame, reference: pl.DataFrame | str | None = None) -> Drift:
    """Returns a log beside a reference that has gone through its file."""
    before = rows() if reference is None else reference
    fitted = with_score(PLAIN, before, np.random.default_rng(0))
    table = pl.DataFrame({"device": ["phone", "desktop"] * 300})
    return compare(CONFIG, Reference.from_json(fitted.to_json()), table, {}, scored=scored)


def test_score_of_a_stable_log_is_quiet_and_stands_beside_the_reference() -> None:
    drift = held(rows(seed=1))
    assert drift.alarms == ()
    assert [column.name for column in drift.columns] == ["device", SCORE]
    assert drift.labels is not None
    assert drift.labels.reference is not None
    assert drift.labels.reference.n == 4000
    assert drift.labels.current.calibration_ratio.low < 1 < drift.labels.current.calibration_ratio.high


def test_score_that_says_too_much_raises_both_alarms() -> None:
    shifted, calibration = held(rows(said_over_true=2.0, seed=1)).alarms
    assert shifted.startswith(f"{SCORE} has shifted")
    assert calibration.startswith("calibration: 2.")


def test_order_that_is_lost_raises_an_alarm() -> None:
    mixed = rows(seed=1).with_columns(pl.col(SCORE).reverse())
    (alarm,) = held(mixed).alarms
    assert alarm.startswith("AUC fell from 0.")


def test_clicks_that_are_lost_raise_an_alarm_and_few_that_never_came_do_not() -> None:
    (alarm,) = held(rows(seed=1).with_columns(pl.lit(0.0).alias(LABEL))).alarms
    assert alarm.startswith("labels is broken: all 4,000 matured labels are 0 where 40")
    few = rows(60, 0.1, seed=1).with_columns(pl.lit(0.0).alias(LABEL))
    assert "a calibration ratio needs outcomes that came" in held(few).unjudged["labels"]


def test_rows_that_nobody_scored_are_missing_and_no_label() -> None:
    scored = scored_rows(np.array([0.1, np.nan]), np.array([True, False]), pl.Series([1, 2]))
    assert scored[SCORE].to_list() == [0.1, None]


@pytest.mark.parametrize(
    ("before", "what", "why"),
    [
        ("the bundle has no click head", SCORE, "no click head"),
        (rows(40), "labels of the reference", "40 labels have matured, 50 are needed"),
        (rows(60).with_columns(pl.lit(None, pl.Float64).alias(SCORE)), SCORE, "has no value at all"),
    ],
    ids=["no head", "few labels", "no score"],
)
def test_reference_says_why_it_has_no_score(before: pl.DataFrame | str, what: str, why: str) -> None:
    drift = held(rows(seed=1), before)
    assert why in drift.unjudged[what]
    assert (SCORE in [column.name for column in drift.columns]) is (what != SCORE)
