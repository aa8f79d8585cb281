"""Which items an attribute lets through: any of some values, all of them, none of them, within a range.

Decides what a filter means and which attributes can be filtered by. Leaves to others: kind and
availability (see `catalog`), exclusions (see `recommender`), how a mask enters the search (see `index`).

An item has no, one or several values of an attribute. `any_of` asks for at least one of those named,
`all_of` for every one, `none_of` for not a single one, and so lets an item without a value through; a
range asks for a number. All that a request says must hold.
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import polars as pl

from marquee.core.ids import PADDING_INDEX
from marquee.errors import FilterError

_Flags = npt.NDArray[np.bool_]
Value = bool | int | float | str

MOMENT_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2})?)?$"
"""How a range says a moment: an ISO 8601 date, or date and time, of UTC where no offset stands."""

# Bounds are whole seconds and included: not the first second of the next day.
_LAST_SECOND_OF_DAY = timedelta(days=1) - timedelta(seconds=1)
# A catalog may have many attributes, and the message goes back to whoever sent the filter.
_NAMES_IN_MESSAGE = 20
# First number beyond int64, in which whole numbers of a catalog are compared.
_NUMBERS_END = 2**63


class AttributeType(StrEnum):
    """Type of an attribute that can be filtered by."""

    text = "text"
    texts = "texts"
    number = "number"
    numbers = "numbers"
    flag = "flag"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """Conditions on one attribute: all that are given must hold; without any, every item passes.

    Attributes:
        attribute: Its name in the catalog.
        any_of: The item has at least one of these values; empty, here and below, if that is not asked.
        all_of: The item has each of these values.
        none_of: The item has none of these values.
        min: The item's number is this or more.
        max: The item's number is this or less.

    Raises:
        FilterError: If a bound is no finite number.
    """

    attribute: str
    any_of: tuple[Value, ...] = ()
    all_of: tuple[Value, ...] = ()
    none_of: tuple[Value, ...] = ()
    min: int | float | None = None
    max: int | float | None = None

    def __post_init__(self) -> None:
        for name in ("any_of", "all_of", "none_of"):
            # True equals 1, but asks for something else: the type is part of what is said.
            distinct = {(type(value).__name__, value): value for value in getattr(self, name)}
            object.__setattr__(self, name, tuple(distinct[key] for key in sorted(distinct)))
        for name in ("min", "max"):
            bound = getattr(self, name)
            if bound is not None and not math.isfinite(bound):
                raise self.error(f"must be bounded by finite numbers, got {name}={bound}; leave it out")

    @property
    def values(self) -> tuple[Value, ...]:
        """Every value named."""
        return self.any_of + self.all_of + self.none_of

    @property
    def has_range(self) -> bool:
        """True if a bound is given."""
        return self.min is not None or self.max is not None

    def error(self, problem: str) -> FilterError:
        """Returns the error that tells what is wrong with this clause."""
        place = f"filters.{self.attribute}"
        return FilterError(f"{place} {problem}", field=place)


_CONDITIONS = tuple(condition.name for condition in fields(Clause) if condition.name != "attribute")


@dataclass(frozen=True, slots=True)
class Filters:
    """Clauses that must all hold. Equal if they ask for the same, in whatever order it is said.

    Attributes:
        clauses: One or more per attribute, in a fixed order.

    Example:
        >>> filters = Filters.of({"genres": {"any_of": ["Comedy", "Drama"]}, "year": {"min": 1990}})
        >>> filters == Filters.of({"year": {"min": 1990}, "genres": {"any_of": ["Drama", "Comedy"]}})
        True
    """

    # Compared by `_key` and not by clauses: 1 equals True in Python, but is another filter.
    clauses: tuple[Clause, ...] = field(default=(), compare=False)
    _key: str = field(default="", init=False, repr=False)

    def __post_init__(self) -> None:
        if self.clauses:
            # `repr` tells 1 from True, and texts can be sorted where values of different types cannot.
            by_text = {repr(clause): clause for clause in self.clauses}
            object.__setattr__(self, "clauses", tuple(by_text[text] for text in sorted(by_text)))
            object.__setattr__(self, "_key", "\n".join(sorted(by_text)))

    @classmethod
    def of(cls, declared: Mapping[str, Mapping[str, object]]) -> "Filters":
        """Returns the filters of a plain mapping, such as YAML or JSON holds.

        Args:
            declared: Attribute → condition → value: lists for `any_of`, `all_of` and `none_of`; for `min`
                and `max` a number, or a moment as `MOMENT_PATTERN` has it or as a date.

        Raises:
            FilterError: If a condition is unknown, or its value not of its form.
        """
        return cls(tuple(_clause(attribute, conditions) for attribute, conditions in declared.items()))

    def __and__(self, other: "Filters") -> "Filters":
        """Returns filters that ask for what both ask for."""
        # Not merged by attribute: uniting two `any_of` would let through what only one of them allows.
        return Filters(self.clauses + other.clauses) if other.clauses else self

    def __bool__(self) -> bool:
        return bool(self.clauses)


NO_FILTERS = Filters()


def to_bound(bound: object, condition: str) -> int | float:
    """Returns a bound as a number: itself, or the seconds since 1970 UTC of a moment.

    A date means the whole day: its first second as `min`, its last as `max`.

    Raises:
        ValueError: If it is neither.
    """
    if isinstance(bound, date):  # of which datetime is a kind
        bound = bound.isoformat()
    if isinstance(bound, str):
        if not re.match(MOMENT_PATTERN, bound):
            raise ValueError(f"{bound[:100]!r} is neither a number nor an ISO 8601 date or time")
        moment = datetime.fromisoformat(bound)
        # Otherwise `max: 2024-12-31` would lose all of that day but its first second.
        if len(bound) == len("2000-01-01") and condition == "max":
            moment += _LAST_SECOND_OF_DAY
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    # bool is an int in Python: `min: true` would mean 1.
    if isinstance(bound, bool) or not isinstance(bound, int | float):
        raise ValueError(f"{bound!r} is neither a number nor an ISO 8601 date or time")
    return bound


def _clause(attribute: str, conditions: object) -> Clause:
    """Returns one clause of a plain mapping."""
    place = f"filters.{attribute}"
    if not isinstance(conditions, Mapping) or not conditions.keys() <= set(_CONDITIONS):
        raise FilterError(
            f"{place} must be a mapping with keys of {list(_CONDITIONS)}, got {conditions!r}; correct it",
            field=place,
        )
    given: dict[str, object] = {}
    for name, value in conditions.items():
        if name in ("min", "max"):
            try:
                given[name] = to_bound(value, name)
            except ValueError as error:
                raise FilterError(f"{place}.{name}: {error}; correct it", field=f"{place}.{name}") from error
        elif isinstance(value, list | tuple) and value and all(isinstance(one, Value) for one in value):
            given[name] = tuple(value)
        else:
            raise FilterError(
                f"{place}.{name} must be a list of at least one text, number or flag, got {value!r}; "
                "correct it",
                field=f"{place}.{name}",
            )
    return Clause(attribute=attribute, **given)  # type: ignore[arg-type]  # each value was tested above


class AttributeColumns:
    """The attributes of a catalog, each in a form that a filter can ask quickly, made when first asked.

    What is kept of an attribute is about as large as the attribute itself.

    Args:
        attributes: n_items rows in the order of item_index.

    Attributes:
        types: The attributes that can be filtered by.
    """

    def __init__(self, attributes: pl.DataFrame) -> None:
        self._attributes = attributes
        self._columns: dict[str, _NumberColumn | _PostingColumn] = {}
        types = {name: _type_of(dtype) for name, dtype in attributes.schema.items()}
        self.types: Mapping[str, AttributeType] = {name: kind for name, kind in types.items() if kind}

    def with_attributes(self, attributes: pl.DataFrame, changed: Collection[str]) -> "AttributeColumns":
        """Returns the forms of a table in which only some columns differ.

        Those that were asked before are made at once: else the next request would wait for them.
        """
        other = AttributeColumns(attributes)
        asked = dict(self._columns)
        other._columns = {name: column for name, column in asked.items() if name not in changed}
        for name in asked:
            other._column(name)
        return other

    def validate(self, filters: Filters) -> None:
        """Raises FilterError if an attribute cannot be filtered by, or not as a clause has it."""
        for clause in filters.clauses:
            kind = self.types.get(clause.attribute)
            if kind is None:
                raise clause.error(self._why_not(clause.attribute))
            if clause.has_range and kind is not AttributeType.number:
                raise clause.error(f"holds {kind}, got a range; ask for any_of, all_of or none_of")
            for value in clause.values:
                if not _is_of(value, kind):
                    raise clause.error(f"holds {kind}, got {value!r}; send values of that type")

    def flags(self, filters: Filters) -> _Flags:
        """Returns which items pass all clauses, which must be valid: (n_items + 1,) bool, row 0 False."""
        flags = np.ones(len(self._attributes) + 1, dtype=np.bool_)
        # First of all: `none_of` lets a row without values through, and padding is such a row.
        flags[PADDING_INDEX] = False
        for clause in filters.clauses:
            column = self._column(clause.attribute)
            if clause.any_of:
                flags &= column.has_any(clause.any_of)
            # One by one: `has_any` unites the items of several values.
            for value in clause.all_of:
                flags &= column.has_any((value,))
            if clause.none_of:
                flags &= ~column.has_any(clause.none_of)
            if clause.has_range:
                assert isinstance(column, _NumberColumn), f"{clause} passed `validate`"
                flags &= column.is_within(clause.min, clause.max)
        return flags

    def unknown_values(self, filters: Filters) -> tuple[str, ...]:
        """Returns the values named that no item has, as `attribute=value`, in a fixed order."""
        return tuple(
            f"{clause.attribute}={value}"
            for clause in filters.clauses
            for value in self._column(clause.attribute).unknown(clause.values)
        )

    def _column(self, attribute: str) -> "_NumberColumn | _PostingColumn":
        """Returns the form of an attribute that answers."""
        column = self._columns.get(attribute)
        if column is None:
            values = self._attributes[attribute]
            is_number = self.types[attribute] is AttributeType.number
            column = _NumberColumn(values) if is_number else _PostingColumn(values)
            # Without a lock: two threads may both make it, the two are equal, and one assignment is atomic.
            self._columns[attribute] = column
        return column

    def _why_not(self, attribute: str) -> str:
        """Returns why the catalog does not filter by an attribute."""
        names = sorted(self.types)
        more = f" and {len(names) - _NAMES_IN_MESSAGE} more" if len(names) > _NAMES_IN_MESSAGE else ""
        known = f"{names[:_NAMES_IN_MESSAGE]}{more}"
        if attribute in self._attributes.columns:
            dtype = self._attributes.schema[attribute]
            return f"holds {dtype}, which nothing can be filtered by; use one of {known}"
        return f"is no attribute of this catalog; use one of {known}"


class _NumberColumn:
    """The numbers of all items, compared one by one: a range may keep most of them."""

    def __init__(self, values: pl.Series) -> None:
        # int64 where it fits: float64 would take whole numbers beyond 2**53 for their neighbours.
        is_whole = values.dtype.is_integer() and values.dtype not in (pl.UInt64, pl.Int128, pl.UInt128)
        self._numbers = np.zeros(len(values) + 1, dtype=np.int64 if is_whole else np.float64)
        # A filler: `_is_known` keeps a null from passing as the number 0.
        self._numbers[1:] = values.fill_null(0).to_numpy()
        self._is_known = np.append(False, values.is_not_null().to_numpy())

    def has_any(self, values: Sequence[Value]) -> _Flags:
        """Returns which items have one of the numbers, (n_items + 1,) bool."""
        is_whole = self._numbers.dtype == np.int64
        # 2.5 would be cut to 2 in an array of whole numbers, and would match it.
        possible = [value for value in values if not is_whole or value == int(value)]
        wanted = np.array(possible, dtype=self._numbers.dtype)
        return np.asarray(np.isin(self._numbers, wanted) & self._is_known)

    def is_within(self, lowest: float | None, highest: float | None) -> _Flags:
        """Returns which items have a number between two bounds, both included; None for no bound."""
        # Copied: it is changed in place below, and the column answers later requests.
        flags = self._is_known.copy()
        if lowest is not None:
            flags &= self._numbers >= lowest
        if highest is not None:
            flags &= self._numbers <= highest
        return flags

    def unknown(self, values: Sequence[Value]) -> list[Value]:
        """Returns those of `values` that no item has."""
        if not values:
            return []
        present = set(self._numbers[self.has_any(values)].tolist())
        return [value for value in values if value not in present]


class _PostingColumn:
    """For each value the items that have it: what is asked for costs, not what there is."""

    def __init__(self, values: pl.Series) -> None:
        self._n_rows = len(values) + 1
        frame = pl.DataFrame({"item": np.arange(1, self._n_rows, dtype=np.int32), "value": values})
        if isinstance(values.dtype, pl.List):
            # A list may name a value twice; its item counts once.
            frame = frame.explode("value").unique()
        if frame.schema["value"] != pl.String:
            # Flags become 0 and 1: one sorted column then serves flags and lists of numbers alike.
            frame = frame.with_columns(pl.col("value").cast(pl.Int64))
        groups = frame.drop_nulls().group_by("value").agg("item").sort("value")
        self._values = groups["value"]
        # One flat array with ends: a list for each value would be an object for each value.
        self._items = groups["item"].explode().to_numpy()
        self._ends = np.append(0, np.cumsum(groups["item"].list.len().to_numpy(), dtype=np.int64))

    def has_any(self, values: Sequence[Value]) -> _Flags:
        """Returns which items have at least one of `values`, (n_items + 1,) bool."""
        flags = np.zeros(self._n_rows, dtype=np.bool_)
        for place in self._places(values):
            if place >= 0:
                flags[self._items[self._ends[place] : self._ends[place + 1]]] = True
        return flags

    def unknown(self, values: Sequence[Value]) -> list[Value]:
        """Returns those of `values` that no item has."""
        return [value for value, place in zip(values, self._places(values), strict=True) if place < 0]

    def _places(self, values: Sequence[Value]) -> list[int]:
        """Returns where the items of each value stand, -1 for a value that no item has."""
        if not values or not len(self._values):
            return [-1] * len(values)
        is_text = self._values.dtype == pl.String
        wanted = pl.Series(list(values) if is_text else [int(value) for value in values])
        places = self._values.search_sorted(wanted).to_numpy()
        # A value above all others has its place one past the end.
        found = self._values.gather(np.minimum(places, len(self._values) - 1))
        where: list[int] = np.where((found == wanted).to_numpy(), places.astype(np.int64), -1).tolist()
        return where


def _type_of(dtype: pl.DataType) -> AttributeType | None:
    """Returns the type of an attribute; None if it cannot be filtered by."""
    if dtype == pl.String:
        return AttributeType.text
    if dtype == pl.Boolean:
        return AttributeType.flag
    if dtype.is_integer() or dtype.is_float():
        return AttributeType.number
    if isinstance(dtype, pl.List) and dtype.inner == pl.String:
        return AttributeType.texts
    # Lists of fractions are vectors, which nobody filters by equal entries.
    return AttributeType.numbers if isinstance(dtype, pl.List) and dtype.inner == pl.Int64 else None


def _is_of(value: Value, kind: AttributeType) -> bool:
    """Returns True if an attribute of a type can have a value."""
    if kind is AttributeType.flag:
        return isinstance(value, bool)
    if kind in (AttributeType.text, AttributeType.texts):
        return isinstance(value, str)
    is_number = not isinstance(value, bool | str) and abs(value) < _NUMBERS_END  # False for NaN too
    return is_number and (kind is AttributeType.number or value == int(value))
