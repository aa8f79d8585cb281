"""Fits one feature to training rows: its values, its scale, its range."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from marquee.errors import DataError
from marquee.features.codecs import FeatureState
from marquee.features.config import FeatureConfig, FeatureType
from marquee.features.text import split_words
from marquee.features.values import read_category, read_list, read_number, read_time, read_vector

# Relative to the mean: float64 keeps about 16 digits.
_SMALLEST_STD = 1e-12


def fit_state(name: str, config: FeatureConfig, column: Sequence[object]) -> FeatureState:
    """Returns the state of a feature, fitted to a column of training values.

    Args:
        name: Of the feature, for messages.
        config: Its declaration.
        column: One value per row.

    Raises:
        DataError: If the column has values, and not one of them can be read as the declared type.
    """
    match config.type:
        case FeatureType.categorical | FeatureType.multi:
            counts = _count_categories(config, column)
            # Before `min_count`: a rare value is readable, and no sign of a wrong type.
            _validate_usable(name, config, column, len(counts))
            return FeatureState(values=tuple(sorted(v for v, n in counts.items() if n >= config.min_count)))
        case FeatureType.numeric:
            numbers = np.array([n for n in map(read_number, column) if n is not None])
            _validate_usable(name, config, column, len(numbers))
            return _fit_numbers(config, numbers)
        case FeatureType.timestamp:
            years = [moment.year for moment in map(read_time, column) if moment is not None]
            _validate_usable(name, config, column, len(years))
            return FeatureState(first_year=min(years), last_year=max(years)) if years else FeatureState()
        case FeatureType.text:
            _validate_usable(name, config, column, sum(bool(split_words(_text(value))) for value in column))
        case FeatureType.vector:
            vectors = [value for value in column if read_vector(value, config.dim)]
            _validate_usable(name, config, column, len(vectors))
    return FeatureState()


def _count_categories(config: FeatureConfig, column: Sequence[object]) -> Counter[str]:
    """Returns in how many rows each category stands."""
    counts: Counter[str] = Counter()
    is_list = config.type is FeatureType.multi
    for value in column:
        entries = read_list(value) if is_list else (value,)
        # A set: a value that stands twice in one list is in one row all the same.
        counts.update({name for name in map(read_category, entries) if name is not None})
    return counts


def _text(value: object) -> str:
    """Returns the text of a value, empty if there is none."""
    return read_category(value) or ""


def _fit_numbers(
    config: FeatureConfig, numbers: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> FeatureState:
    """Returns the scale of a number, or the quantiles between its buckets."""
    if numbers.size == 0:
        return FeatureState()
    if config.buckets:
        inner = np.arange(1, config.buckets) / config.buckets  # (buckets - 1,)
        # An edge is a value that occurs: between two values there would be buckets that training never fills.
        edges = np.unique(np.quantile(numbers, inner, method="higher"))
        # An edge at the minimum would leave the first bucket empty.
        return FeatureState(edges=tuple(edges[edges > numbers.min()].tolist()))
    mean, std = float(numbers.mean()), float(numbers.std())
    # A constant column has a std of rounding noise, which would blow that noise up to ±1.
    return FeatureState(mean=mean, std=std if std > _SMALLEST_STD * max(1.0, abs(mean)) else 1.0)


def _validate_usable(name: str, config: FeatureConfig, column: Sequence[object], n_usable: int) -> None:
    """Raises DataError if there are values and none is usable: a wrong type would go unnoticed."""
    if n_usable:
        return
    given = next((value for value in column if not _is_missing(value)), None)
    if given is not None:
        raise DataError(
            f"feature {name!r} (column {config.column or name!r}) is declared {config.type}, and none of its "
            f"{len(column)} values can be read as that, for example {given!r}; correct its type "
            "(config data.features)"
        )


def _is_missing(value: object) -> bool:
    """Returns whether a table holds nothing there: null, NaN, an empty text or list."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, (str, list)) and not value)
