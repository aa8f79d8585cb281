"""Fitted traits: numpy alone says what the library that fitted them says, also after a way through a file."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from marquee.bundle.traits.columns import (
    CategoryColumn,
    Column,
    NumberColumn,
    encode,
    read_values,
    spline_terms,
)
from marquee.bundle.traits.models import probabilities
from marquee.bundle.traits.trait import FittedTrait, read_trait, reasons, write_trait
from marquee.errors import BundleError, BundleVersionError, DataError
from marquee.marketing.scoring.encoding import Ages, column_values, fit_columns
from marquee.marketing.scoring.models import (
    LEARNING_RATE,
    MIN_LEAF,
    N_LEAVES,
    N_TREES,
    fit_logistic,
    fit_trees,
    straight_terms,
)
from tests.support.customers import customer_table

TABLE = customer_table(1500).with_columns(
    pl.when(pl.int_range(1500) % 9 > 0).then("fee").alias("fee"),
    pl.when(pl.int_range(1500) % 3 > 0).then("months").otherwise(0).alias("months"),
)
VALUES = column_values(TABLE, ["months", "fee", "plan"])
OUTCOME = (TABLE["left"] == "yes").to_numpy()
COLUMNS = fit_columns(VALUES, Ages())
DESIGN = encode(COLUMNS, VALUES)


def trait(kind: str) -> FittedTrait:
    """Returns a fitted trait with one of the two models."""
    model = fit_trees(DESIGN, OUTCOME, COLUMNS, 0) if kind == "trees" else fit_logistic(DESIGN, OUTCOME)
    return FittedTrait("leaves", "v1", "left = 'yes'", 0.3, None, COLUMNS, model)


def test_logistic_is_that_of_the_library() -> None:
    standard = (DESIGN - DESIGN.mean(axis=0)) / DESIGN.std(axis=0)
    theirs = LogisticRegression(C=1.0, tol=1e-12, max_iter=1000, solver="newton-cholesky").fit(
        standard, OUTCOME
    )
    ours = probabilities(fit_logistic(DESIGN, OUTCOME).logits(DESIGN))
    assert np.abs(ours - theirs.predict_proba(standard)[:, 1]).max() < 1e-6


def test_trees_are_those_of_the_library() -> None:
    straight = DESIGN[:, straight_terms(COLUMNS)]
    theirs = HistGradientBoostingClassifier(
        learning_rate=LEARNING_RATE,
        max_iter=N_TREES,
        max_leaf_nodes=N_LEAVES,
        min_samples_leaf=MIN_LEAF,
        early_stopping=False,
        random_state=0,
    ).fit(straight, OUTCOME)
    ours = probabilities(fit_trees(DESIGN, OUTCOME, COLUMNS, 0).logits(DESIGN))
    assert np.abs(ours - theirs.predict_proba(straight)[:, 1]).max() < 1e-6


@pytest.mark.parametrize("kind", ["logistic", "trees"])
def test_contributions_add_up_to_the_move_from_the_mean(kind: str) -> None:
    model = trait(kind).model
    moved = model.contributions(DESIGN, COLUMNS).sum(axis=1)
    logits = model.logits(DESIGN)
    # One constant for all rows: the logit of the mean, or of the roots.
    assert np.ptp(logits - moved) < 1e-9


@pytest.mark.parametrize("kind", ["logistic", "trees"])
def test_one_row_from_the_wire_is_scored_as_in_the_table(kind: str, tmp_path: Path) -> None:
    write_trait(trait(kind), tmp_path / "leaves.json")
    fitted = read_trait(tmp_path / "leaves.json")
    together = fitted.score(VALUES)
    rows = TABLE.select("months", "fee", "plan").head(40).to_dicts()
    alone = [fitted.score_rows([row]).probability[0] for row in rows]
    assert np.abs(together[:40] - alone).max() < 1e-12
    assert fitted.score_rows(rows).reasons[0] == fitted.score_rows(rows[:1]).reasons[0]


def test_a_number_that_is_common_has_a_term_of_its_own() -> None:
    months = next(column for column in COLUMNS if column.name == "months")
    assert isinstance(months, NumberColumn)
    assert months.spike == 0.0
    assert months.labels[-1] == "= 0"


def test_a_spline_is_straight_beyond_its_knots_and_smooth_between() -> None:
    knots = [1.0, 2.0, 4.0, 7.0, 9.0]
    at = np.linspace(-5, 15, 4001)
    for term in spline_terms(at, knots):
        bend = np.diff(term, 2)
        outside = (at[1:-1] < 1.0) | (at[1:-1] > 9.01)
        assert np.abs(bend[outside]).max() < 1e-10
        # No jump of the bend: each step of 0.005 changes it by little.
        assert np.abs(np.diff(bend)).max() < 1e-5
        assert term[at <= 1.0].tolist() == [0.0] * int((at <= 1.0).sum())


def test_unknown_missing_and_rare_values_are_encoded() -> None:
    columns: list[Column] = [
        CategoryColumn("town", ["rome", "(other)", "(missing)"]),
        NumberColumn("age", 40.0, [], None, True),
    ]
    rows: list[dict[str, object]] = [
        {"town": "rome", "age": 20},
        {"town": "atlantis", "age": None},
        {"town": None, "age": "30"},
    ]
    assert encode(columns, read_values(columns, rows)).tolist() == [
        [1, 0, 0, 20, 0],
        [0, 1, 0, 40, 1],
        [0, 0, 1, 30, 0],
    ]


def test_dates_are_ages_at_the_moment_of_the_fit() -> None:
    columns: list[Column] = [NumberColumn("since", 0.0, [], None, False, as_of=10 * 86_400.0)]
    assert encode(columns, read_values(columns, [{"since": "1970-01-03"}])).tolist() == [[8.0]]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"age": 3}, "town is missing from 1 of 1 rows"),
        ({"town": "a", "age": "old"}, "age must be a number or null, got 'old'"),
        ({"town": "a", "age": True}, "age must be a number or null, got True"),
        ({"town": "a", "age": "1_000"}, "age must be a number or null, got '1_000'"),
        ({"town": ["a"], "age": 3}, "town must be a text, a number or null, got a list"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(row: dict[str, object], said: str) -> None:
    columns: list[Column] = [CategoryColumn("town", ["a"]), NumberColumn("age", 4.0, [], None, False)]
    with pytest.raises(DataError, match=said):
        read_values(columns, [row])


def test_reasons_name_the_strongest_with_their_sign() -> None:
    columns: list[Column] = [CategoryColumn(name, ["a", "b"]) for name in ("x", "y", "z")]
    assert reasons(columns, np.array([[0.1, -2.0, 0.0]])) == (("-y", "+x"),)


def test_a_file_that_is_none_or_too_new_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text('{"format": 99}')
    with pytest.raises(BundleVersionError, match="has format 99, this release reads 1"):
        read_trait(path)
    path.write_text("{}")
    with pytest.raises(BundleError, match="is no trait"):
        read_trait(path)
