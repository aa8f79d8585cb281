"""Rows to learn a probability from, and rows to say it of: what is known of each, and what came.

Of a rule over transactions the features come from before a cutoff and the outcome from behind it; of a
condition the columns that it reads are no features.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from marquee.bundle.traits.columns import SECONDS_PER_DAY, Values
from marquee.core.arrays import BoolArray, IndexArray
from marquee.errors import ConfigError, DataError
from marquee.marketing.conditions import evaluate, simple_equality
from marquee.marketing.config import Kind
from marquee.marketing.probability.config import LabelRule, ProbabilityConfig
from marquee.marketing.reading.customers import TIMESTAMP, USER_ID, Customers
from marquee.marketing.reading.transactions import behaviour, behaviour_features
from marquee.marketing.scoring.encoding import Ages, column_values

MIN_OF_EACH = 30


@dataclass(frozen=True)
class Examples:
    """Rows with an outcome, and rows to be scored.

    Attributes:
        learned: Column → values of the rows that are learned from.
        ids: Of these rows.
        outcome: Of these rows, (n,) bool.
        scored: Column → values of the rows to say something of.
        scored_ids: Of those rows.
        same: Whether rows to be scored that stand among the learned ones are the same rows.
        ages: Columns that are ages.
        slices: Columns that the report is sliced by, of the learned rows.
        notes: One sentence each.
        to_score: Rows whose outcome is not known.
        order: The learned rows by the time at which they were made, or as in the file, (n,).
    """

    learned: dict[str, Values]
    ids: pl.Series
    outcome: BoolArray
    scored: dict[str, Values]
    scored_ids: pl.Series
    same: bool
    ages: Ages
    slices: pl.DataFrame
    notes: tuple[str, ...]
    to_score: int
    order: IndexArray


def make_examples(name: str, config: ProbabilityConfig, customers: Customers) -> Examples:
    """Returns the examples of a probability.

    Raises:
        DataError: If the outcome cannot teach: one class, none known, too few.
        ConfigError: If the rule needs a table that is not there.
    """
    rule = config.rule
    found = (
        _by_condition(name, config, customers) if rule is None else _by_rule(name, config, rule, customers)
    )
    _require_both(name, config.outcome, found)
    return found


def _by_condition(name: str, config: ProbabilityConfig, customers: Customers) -> Examples:
    """Returns examples whose outcome is a condition on their own columns."""
    key = f"customers.traits.{name}.outcome"
    rows, may = customers.rows, customers.may_be_scored
    condition = evaluate(config.outcome, rows, key)
    notes = []
    if simple_equality(config.outcome):
        _require_two_values(rows, condition.columns, key)
    features = [column for column in customers.kinds if column not in condition.columns]
    if not features:
        raise DataError(
            f"{key} leaves no column to learn from, left out are {customers.left_out}; correct columns"
        )
    rows, holds = rows.filter(may), condition.holds.filter(may)
    is_known = holds.is_not_null()
    learned = rows.filter(is_known)
    n_unknown = rows.height - learned.height
    if n_unknown:
        notes.append(f"{n_unknown:,} customers have no outcome yet: they are scored and not learned from")
    return Examples(
        learned=column_values(learned, features),
        ids=learned[USER_ID],
        outcome=holds.filter(is_known).to_numpy().astype(np.bool_),
        scored=column_values(rows, features),
        scored_ids=rows[USER_ID],
        same=True,
        ages=_ages(customers),
        slices=learned.select(customers.protected),
        notes=tuple(notes),
        to_score=n_unknown,
        order=_order(learned),
    )


def _by_rule(name: str, config: ProbabilityConfig, rule: LabelRule, customers: Customers) -> Examples:
    """Returns examples whose outcome is what they did behind a cutoff."""
    transactions = customers.transactions
    if transactions is None:
        raise ConfigError(
            f"customers.traits.{name}.outcome is a rule over transactions, got {config.outcome!r} and no "
            "table of them; add transactions: {path: …}, or write an SQL condition"
        )
    as_of = transactions.as_of
    cutoff = as_of - rule.days * SECONDS_PER_DAY
    allowed = set(customers.ids.filter(customers.may_be_scored).to_list())
    rows = transactions.rows.filter(pl.col(USER_ID).is_in(list(allowed)))
    before = behaviour_features(behaviour(rows, cutoff, transactions.has_values))
    if before.is_empty():
        raise DataError(
            f"customers.traits.{name}: no purchase lies before the cutoff, {rule.days} days before as_of; "
            "shorten the window"
        )
    # From the cutoff on, and up to the present: nothing of it is a feature.
    came = set(rows.filter(pl.col("timestamp") >= cutoff)[USER_ID].to_list())
    bought = before[USER_ID].is_in(list(came)).to_numpy()
    now = behaviour_features(behaviour(rows, as_of, transactions.has_values))
    features = [column for column in now.columns if column != USER_ID]
    attributes = _steady(customers)
    if attributes is not None:
        before = before.join(attributes, on=USER_ID, how="left", maintain_order="left")
        now = now.join(attributes, on=USER_ID, how="left", maintain_order="left")
        features += [column for column in attributes.columns if column != USER_ID]
    slices = before.select(USER_ID).join(
        customers.rows.select(USER_ID, *customers.protected), on=USER_ID, how="left", maintain_order="left"
    )
    return Examples(
        learned=column_values(before, features),
        ids=before[USER_ID],
        outcome=bought if rule.happens else ~bought,
        scored=column_values(now, features),
        scored_ids=now[USER_ID],
        same=False,
        ages=_ages(customers),
        slices=slices.drop(USER_ID),
        notes=(
            f"Learned from {before.height:,} customers as they stood {rule.days} days before as_of, and from "
            "what they did since.",
        ),
        to_score=now.height,
        order=np.arange(before.height),
    )


def _order(rows: pl.DataFrame) -> IndexArray:
    """Returns the rows by time where the table says it, else as they are, (n,)."""
    if TIMESTAMP not in rows.columns:
        return np.arange(rows.height)
    # Stable, so that rows of one moment stay as in the file; rows without one come first.
    return np.argsort(rows[TIMESTAMP].fill_null(0).to_numpy(), kind="stable").astype(np.int64)


def _steady(customers: Customers) -> pl.DataFrame | None:
    """Returns attributes that are no behaviour; None if there are none."""
    behaved = ("recency_days", "orders", "tenure_days", "mean_value", "total_value")
    names = [name for name in customers.kinds if name not in behaved]
    return customers.rows.select(USER_ID, *names) if names else None


def _ages(customers: Customers) -> Ages:
    """Returns which columns are ages."""
    dates = frozenset(name for name, kind in customers.kinds.items() if kind is Kind.date)
    return Ages(dates, customers.as_of or 0.0)


def _require_two_values(rows: pl.DataFrame, columns: tuple[str, ...], key: str) -> None:
    """Raises DataError if a column that is compared with one value has more than two."""
    for column in columns:
        counts = (
            rows[column].drop_nulls().value_counts(sort=True).sort("count", column, descending=[True, False])
        )
        if counts.height > 2:
            shown = {str(value): n for value, n in counts.head(5).iter_rows()}
            odd = counts[column][-1]
            row = int((rows[column] == odd).arg_max() or 0) + 1
            raise DataError(
                f"{key} asks for one value of {column}, which has {counts.height} values, {shown}; the "
                f"rarest, {odd!r}, stands first in row {row:,}. If they all mean no, write {column} IN (…); "
                f"if one means that nothing is known yet, write CASE {column} WHEN … THEN true WHEN … THEN "
                "false END"
            )


def _require_both(name: str, outcome: str, examples: Examples) -> None:
    """Raises DataError unless both outcomes occur often enough to learn from."""
    n, n_true = len(examples.outcome), int(examples.outcome.sum())
    where = f"customers.traits.{name}: the outcome {outcome!r}"
    if n == 0:
        raise DataError(
            f"{where} is empty in all {len(examples.scored_ids):,} rows; there is nothing to learn "
            "from: fill it for customers whose outcome is known"
        )
    if n_true in (0, n):
        raise DataError(
            f"{where} is {'true' if n_true else 'false'} in all {n:,} rows; both are needed to learn: "
            "look at its spelling, and at which customers the table holds"
        )
    if min(n_true, n - n_true) < MIN_OF_EACH:
        raise DataError(
            f"{where} is true in {n_true:,} of {n:,} rows; {MIN_OF_EACH} rows of each are needed to learn "
            "and to judge: wait for more, or choose an outcome that is less rare"
        )
