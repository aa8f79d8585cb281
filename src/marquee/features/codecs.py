"""Codecs: one fitted feature turns one value into tokens of the shared table, or into numbers.

A token codec gives exactly `n_columns` table rows per value, 0 for padding; a number codec exactly
`n_numeric` finite numbers. A token codec owns the table rows from `first_row` on, and under
`UnknownPolicy.own_row` the first of them is the **unknown row**: one for every value that says nothing,
be it missing, of the wrong type, or never seen in training. One row, not two: what is missing in some
training rows gives the row a meaning, while a row kept for unseen values alone would never be trained.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from marquee.core.ids import PADDING_INDEX
from marquee.features.config import (
    DEFAULT_TEXT_BUCKETS,
    FeatureConfig,
    FeatureType,
    TimestampPart,
    UnknownPolicy,
)
from marquee.features.text import text_rows
from marquee.features.values import read_category, read_list, read_number, read_time, read_vector

# A price in another currency must not outweigh every other input of a tower.
LARGEST_STANDARDISED = 10.0
_PART_SIZES = {TimestampPart.hour: 24, TimestampPart.weekday: 7, TimestampPart.month: 12}


@dataclass(frozen=True)
class FeatureState:
    """The fitted state of one feature; only the fields of its type are used.

    Attributes:
        values: Known categories, sorted.
        mean: Of the numbers that are not missing.
        std: Their standard deviation, never 0.
        edges: Quantiles between buckets, ascending.
        first_year: Earliest year with a row.
        last_year: Latest year with a row; before `first_year` if there is none.
    """

    values: tuple[str, ...] = ()
    mean: float = 0.0
    std: float = 1.0
    edges: tuple[float, ...] = ()
    first_year: int = 1
    last_year: int = 0


@dataclass(frozen=True, slots=True)
class CategoryCodec:
    """One token per value."""

    row_of: Mapping[str | None, int]
    unknown_row: int
    n_rows: int
    n_columns: int = 1

    def tokens(self, value: object) -> Sequence[int]:
        """Returns the value's row."""
        return (self.row_of.get(read_category(value), self.unknown_row),)


@dataclass(frozen=True, slots=True)
class MultiCodec:
    """One token per distinct value of a list, the first ones; the unknown row once, after the known."""

    row_of: Mapping[str | None, int]
    unknown_row: int
    n_rows: int
    n_columns: int

    def tokens(self, value: object) -> Sequence[int]:
        """Returns the rows of a list's values; an empty list says nothing."""
        # An empty list is a missing value, which has a row of its own.
        entries = read_list(value) or (None,)
        # A dict, which keeps the order of the list: the first values are those that are kept.
        found = dict.fromkeys(self.row_of.get(read_category(entry), PADDING_INDEX) for entry in entries)
        rows = [row for row in found if row != PADDING_INDEX]
        # Last, so that known values count where room is short.
        if PADDING_INDEX in found and self.unknown_row:
            rows.append(self.unknown_row)
        return _padded(rows, self.n_columns)


@dataclass(frozen=True, slots=True)
class BucketCodec:
    """One token per number: bucket i holds the numbers in [edges[i - 1], edges[i])."""

    edges: tuple[float, ...]
    first_bucket: int
    unknown_row: int
    n_rows: int
    n_columns: int = 1

    def tokens(self, value: object) -> Sequence[int]:
        """Returns the row of the number's bucket."""
        number = read_number(value)
        if number is None:
            return (self.unknown_row,)
        # Right, as the left edge of a bucket belongs to it.
        return (self.first_bucket + bisect_right(self.edges, number),)


@dataclass(frozen=True, slots=True)
class TextCodec:
    """The hashed words and character n-grams of a text."""

    sizes: tuple[int, ...]
    n_buckets: int
    first_bucket: int
    unknown_row: int
    n_rows: int
    n_columns: int

    def tokens(self, value: object) -> Sequence[int]:
        """Returns the rows of the text's words and n-grams; a text without a word says nothing."""
        text = read_category(value)
        rows = text_rows(text, self.sizes, self.n_buckets, self.n_columns) if text else []
        if not rows:
            return _padded([self.unknown_row], self.n_columns)
        return _padded([self.first_bucket + row for row in rows], self.n_columns)


@dataclass(frozen=True, slots=True)
class TimestampCodec:
    """One token per part of a moment in UTC."""

    parts: tuple[TimestampPart, ...]
    first_rows: tuple[int, ...]
    first_year: int
    last_year: int
    unknown_row: int
    n_rows: int
    n_columns: int

    def tokens(self, value: object) -> Sequence[int]:
        """Returns the rows of the parts, in the declared order."""
        moment = read_time(value)
        if moment is None:
            return _padded([self.unknown_row], self.n_columns)
        rows = []
        for part, first_row in zip(self.parts, self.first_rows, strict=True):
            if part is TimestampPart.hour:
                rows.append(first_row + moment.hour)
            elif part is TimestampPart.weekday:
                rows.append(first_row + moment.weekday())
            elif part is TimestampPart.month:
                rows.append(first_row + moment.month - 1)
            # Only the years of training have rows: requests of the year after take the unknown row.
            elif self.first_year <= moment.year <= self.last_year:
                rows.append(first_row + moment.year - self.first_year)
            else:
                rows.append(self.unknown_row)
        return rows


@dataclass(frozen=True, slots=True)
class StandardCodec:
    """A number less its mean over its standard deviation, kept within ±`LARGEST_STANDARDISED`.

    Under `own_row` a second number flags what is missing; the first is then 0, the mean.
    """

    mean: float
    std: float
    has_flag: bool

    @property
    def n_numeric(self) -> int:
        """Numbers per value."""
        return 1 + self.has_flag

    def numbers(self, value: object) -> Sequence[float]:
        """Returns the standardised number, and the flag if there is one."""
        number = read_number(value)
        if number is None:
            # The mean says least, and the flag tells it from a number that is the mean.
            return (0.0, 1.0) if self.has_flag else (0.0,)
        standardised = (number - self.mean) / self.std
        standardised = max(-LARGEST_STANDARDISED, min(LARGEST_STANDARDISED, standardised))
        return (standardised, 0.0) if self.has_flag else (standardised,)


@dataclass(frozen=True, slots=True)
class VectorCodec:
    """A ready-made vector as it is; zeros if it is missing or has another length."""

    n_numeric: int

    def numbers(self, value: object) -> Sequence[float]:
        """Returns the vector's entries."""
        # Zeros leave a linear layer at its bias.
        return read_vector(value, self.n_numeric) or [0.0] * self.n_numeric


TokenCodec = CategoryCodec | MultiCodec | BucketCodec | TextCodec | TimestampCodec
NumberCodec = StandardCodec | VectorCodec


def build_codec(config: FeatureConfig, state: FeatureState, first_row: int) -> TokenCodec | NumberCodec:
    """Returns the codec of a fitted feature whose table rows, if it has any, begin at `first_row`."""
    has_own_row = config.unknown is UnknownPolicy.own_row
    if config.type is FeatureType.vector:
        return VectorCodec(config.dim)
    if config.type is FeatureType.numeric and not config.buckets:
        return StandardCodec(state.mean, state.std, has_own_row)
    return _build_token_codec(
        config, state, first_row + has_own_row, first_row if has_own_row else PADDING_INDEX
    )


def _build_token_codec(
    config: FeatureConfig, state: FeatureState, first_known: int, unknown_row: int
) -> TokenCodec:
    """Returns the codec of a feature whose known values own the table rows from `first_known` on."""
    n_own_rows = int(unknown_row != PADDING_INDEX)
    if config.type is FeatureType.timestamp:
        return _build_timestamp_codec(config, state, first_known, unknown_row)
    if config.type is FeatureType.text:
        n_buckets = config.buckets or DEFAULT_TEXT_BUCKETS
        return TextCodec(
            sizes=tuple(config.char_ngrams),
            n_buckets=n_buckets,
            first_bucket=first_known,
            unknown_row=unknown_row,
            n_rows=n_own_rows + n_buckets,
            n_columns=config.max_tokens,
        )
    if config.type is FeatureType.numeric:
        return BucketCodec(state.edges, first_known, unknown_row, n_own_rows + len(state.edges) + 1)
    row_of: dict[str | None, int] = {name: first_known + i for i, name in enumerate(state.values)}
    if config.type is FeatureType.multi:
        return MultiCodec(row_of, unknown_row, n_own_rows + len(row_of), config.max_values)
    return CategoryCodec(row_of, unknown_row, n_own_rows + len(row_of))


def _build_timestamp_codec(
    config: FeatureConfig, state: FeatureState, first_known: int, unknown_row: int
) -> TimestampCodec:
    """Returns the codec of a timestamp, each part with a range of rows of its own."""
    # 0 where no training row had a year.
    n_years = state.last_year - state.first_year + 1
    sizes = [_PART_SIZES.get(part, n_years) for part in config.parts]
    # A range for each part: hour 3 and weekday 3 are not the same token.
    first_rows = tuple(first_known + sum(sizes[:i]) for i in range(len(sizes)))
    return TimestampCodec(
        parts=tuple(config.parts),
        first_rows=first_rows,
        first_year=state.first_year,
        last_year=state.last_year,
        unknown_row=unknown_row,
        n_rows=sum(sizes) + (unknown_row != PADDING_INDEX),
        n_columns=len(sizes),
    )


def _padded(rows: list[int], n_columns: int) -> list[int]:
    """Returns the first `n_columns` rows, with padding after the last."""
    return rows[:n_columns] + [PADDING_INDEX] * (n_columns - len(rows))
