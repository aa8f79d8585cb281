"""Scores rows that came after a run, by the forms that it wrote. No scikit-learn is needed."""

from collections.abc import Sequence

import polars as pl

from marquee.bundle.traits.columns import CategoryColumn, NumberColumn
from marquee.bundle.traits.forms.form import Form
from marquee.bundle.traits.trait import signed
from marquee.errors import MissingColumnError
from marquee.marketing.config import Kind
from marquee.marketing.reading.kinds import type_columns
from marquee.marketing.scoring.encoding import column_values

USER_ID = "user_id"


def score_new_rows(rows: pl.DataFrame, forms: Sequence[Form]) -> pl.DataFrame:
    """Returns `user_id` and of every trait its score, in the order of the rows.

    Beside a probability stand its reasons, beside others their parts: `<trait>_reasons`, `<trait>_purchases`.

    Args:
        rows: `user_id` and the columns that the traits read, as read.
        forms: What scores them, as a run wrote it.

    Raises:
        MissingColumnError: If a column is missing.
        DataError: If a number is none; the message names value and row.
    """
    found = rows.select(USER_ID)
    for form in forms:
        lacking = [column.name for column in form.fields if column.name not in rows.columns]
        if lacking:
            raise MissingColumnError(
                f"trait {form.name} was learned from the columns {lacking}, which the table lacks; it has "
                f"{rows.columns}; add them, or map them in users.columns of the run's config"
            )
        kinds = {column.name: _kind(column) for column in form.fields}
        typed = type_columns(rows.select(list(kinds)), kinds, form.as_of)
        frame = pl.DataFrame(list(typed.columns.values()))
        scores = form.score_forms(column_values(frame, list(kinds)))
        found = found.with_columns(
            pl.Series(form.name, scores.value),
            *[pl.Series(f"{form.name}_{part}", numbers) for part, numbers in scores.parts.items()],
        )
        if scores.strongest:
            why = [", ".join(signed(one)) for one in scores.strongest]
            found = found.with_columns(pl.Series(f"{form.name}_reasons", why, dtype=pl.String))
    return found


def _kind(column: NumberColumn | CategoryColumn) -> Kind:
    """Returns the kind that a column was learned as: the new table must not be guessed anew."""
    if isinstance(column, CategoryColumn):
        return Kind.category
    return Kind.number if column.as_of is None else Kind.date
