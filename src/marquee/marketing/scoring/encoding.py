"""Decides how each column of customers becomes terms of a design: knots, levels, what is pooled.

Uses no outcome, so that it may be fitted on rows whose outcome is to be said.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from marquee.bundle.traits.columns import MISSING, OTHER, CategoryColumn, Column, NumberColumn, Values
from marquee.core.arrays import Float64Array

# Of the values beside the spike; Harrell's choice for five knots.
KNOT_QUANTILES = (0.05, 0.275, 0.5, 0.725, 0.95)
# Fewer distinct values are steps of a scale, and a curve through them would only follow noise.
MIN_DISTINCT = 8
SPIKE_SHARE = 0.2
MIN_LEVEL_ROWS = 20
MIN_LEVEL_SHARE = 0.001
MAX_LEVELS = 50


@dataclass(frozen=True)
class Ages:
    """Which columns are ages of dates, and when they are taken.

    Attributes:
        names: Of the columns.
        as_of: Moment, seconds since 1970.
    """

    names: frozenset[str] = frozenset()
    as_of: float = 0.0


def column_values(rows: pl.DataFrame, names: Sequence[str]) -> dict[str, Values]:
    """Returns the values of columns as the design reads them: numbers with NaN, or texts with None."""
    found: dict[str, Values] = {}
    for name in names:
        series = rows[name]
        if series.dtype == pl.String:
            found[name] = np.array([*series.to_list(), None], dtype=object)[:-1]
        else:
            found[name] = series.cast(pl.Float64).fill_null(float("nan")).to_numpy().astype(np.float64)
    return found


def take_rows(values: Mapping[str, Values], chosen: npt.NDArray[np.generic]) -> dict[str, Values]:
    """Returns some rows of all columns.

    Args:
        values: Column → values.
        chosen: Mask or numbers of rows.
    """
    return {name: column[chosen] for name, column in values.items()}


def fit_columns(values: Mapping[str, Values], ages: Ages) -> list[Column]:
    """Returns how each column is encoded; a column that says nothing here is left out.

    Args:
        values: Column → values, (n,).
        ages: Which of them are ages.
    """
    columns: list[Column] = []
    for name, column in values.items():
        if column.dtype == np.float64:
            number = _number(name, column.astype(np.float64), ages.as_of if name in ages.names else None)
            columns += [] if number is None else [number]
        else:
            category = _category(name, column)
            columns += [category] if len(category.levels) > 1 else []
    return columns


def _number(name: str, values: Float64Array, as_of: float | None) -> NumberColumn | None:
    """Returns how a number is encoded; None if all rows have the same one."""
    is_missing = np.isnan(values)
    known = values[~is_missing]
    distinct, counts = np.unique(known, return_counts=True)
    if len(distinct) < 2 and not (len(distinct) and is_missing.any()):
        return None
    spike, rest = None, known
    # Of few values each is a step; one that stands out among many, such as 0 or 999, means something else.
    if len(distinct) > MIN_DISTINCT and counts.max() >= SPIKE_SHARE * len(known):
        spike = float(distinct[counts.argmax()])
        rest = known[known != spike]
    knots = np.unique(np.quantile(rest, KNOT_QUANTILES)) if len(distinct) >= MIN_DISTINCT else np.zeros(0)
    return NumberColumn(
        name=name,
        typical=float(np.median(known)),
        knots=knots.tolist() if len(knots) >= 3 else [],
        spike=spike,
        has_missing=bool(is_missing.any()),
        as_of=as_of,
    )


def _category(name: str, values: Values) -> CategoryColumn:
    """Returns how a category is encoded: common levels by themselves, the others together."""
    counts: dict[str, int] = {}
    for value in values.tolist():
        level = MISSING if value is None else str(value)
        counts[level] = counts.get(level, 0) + 1
    enough = max(MIN_LEVEL_ROWS, MIN_LEVEL_SHARE * len(values))
    # By count, then by name: equal counts must not follow the order of the rows.
    common = sorted(
        (level for level, n in counts.items() if n >= enough), key=lambda one: (-counts[one], one)
    )
    levels = common[:MAX_LEVELS]
    return CategoryColumn(name, levels if len(levels) == len(counts) else [*levels, OTHER])
