"""Scores rows that came after a run, by the fitted traits that it wrote. No scikit-learn is needed."""

from collections.abc import Sequence

import polars as pl

from marquee.bundle.traits.columns import CategoryColumn, NumberColumn, encode
from marquee.bundle.traits.models import probabilities
from marquee.bundle.traits.trait import FittedTrait, reasons
from marquee.errors import MissingColumnError
from marquee.marketing.config import Kind
from marquee.marketing.reading.kinds import type_columns
from marquee.marketing.scoring.encoding import column_values

USER_ID = "user_id"


def score_new_rows(rows: pl.DataFrame, traits: Sequence[FittedTrait]) -> pl.DataFrame:
    """Returns `user_id` and of every trait its probability and reasons, in the order of the rows.

    Args:
        rows: `user_id` and the columns that the traits were learned from, as read.
        traits: As a run wrote them.

    Raises:
        MissingColumnError: If a column is missing.
        DataError: If a number is none; the message names value and row.
    """
    found = rows.select(USER_ID)
    for trait in traits:
        lacking = [column.name for column in trait.columns if column.name not in rows.columns]
        if lacking:
            raise MissingColumnError(
                f"trait {trait.name} was learned from the columns {lacking}, which the table lacks; it has "
                f"{rows.columns}; add them, or map them in users.columns of the run's config"
            )
        kinds = {column.name: _kind(column) for column in trait.columns}
        typed = type_columns(rows.select(list(kinds)), kinds, trait.as_of)
        frame = pl.DataFrame(list(typed.columns.values()))
        design = encode(trait.columns, column_values(frame, list(kinds)))
        why = reasons(trait.columns, trait.model.contributions(design, trait.columns))
        found = found.with_columns(
            pl.Series(trait.name, probabilities(trait.model.logits(design))),
            pl.Series(f"{trait.name}_reasons", [", ".join(one) for one in why], dtype=pl.String),
        )
    return found


def _kind(column: NumberColumn | CategoryColumn) -> Kind:
    """Returns the kind that a column was learned as: the new table must not be guessed anew."""
    if isinstance(column, CategoryColumn):
        return Kind.category
    return Kind.number if column.as_of is None else Kind.date
