"""Popularity by context, as training counted it: on a surface, on a device, at an hour, in a segment.

For requests that say nothing of a user. Decides which contexts have a table and how a small one leans on the
whole; leaves to `recommender` which of the items are allowed. Counts are kept of those items only that were
seen in a context: for all others their share follows from their share of everything.

```
share of item i in c  =  (events of i in c  +  prior_events * share of i) / (events in c + prior_events)
```
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from marquee.core.arrays import BoolArray, FloatArray, IndexArray
from marquee.core.ids import PADDING_INDEX, IdMap
from marquee.core.schema import ITEM_ID, TIMESTAMP
from marquee.errors import ConfigError, DataError
from marquee.features.values import read_category

GAIN_K = 20
"""How long the lists are whose gain is measured."""

HOUR = "hour"
"""Stands for the hour of the day, UTC, of an event and of a request; no column needs to hold it."""

_SECONDS_PER_HOUR = 3600
# The last tenth: lists are judged by events that came after those they were made of.
_HELD_OUT = 10
_FIRST_LOOK = 8
_WIDENING_FACTOR = 8
_SCALARS = (pl.String, pl.Boolean, pl.Categorical, pl.Enum)


@dataclass(kw_only=True)
class PopularityConfig:
    """Which contexts have a table of their own.

    Attributes:
        by: Columns of events or users, and `hour`; of those that a request states the first with a table
            counts. Empty for those of the surface, the declared categories of moment and user, and `hour`
            whose lists hold more of the latest events than one list of everything, by more than chance
            would (two standard errors), the most telling first.
        min_events: A value with fewer events has no table.
        prior_events: How many events of the whole stand beside those of a context: the more, the nearer
            a small context stays to what is popular everywhere.
        max_values: Tables of one column, those with the most events; 0 for none at all.
    """

    by: list[str] = field(default_factory=list)
    min_events: int = 200
    prior_events: float = 200.0
    max_values: int = 100

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError that names the key whose value is impossible."""
        for key, least in (("min_events", 1), ("prior_events", 0), ("max_values", 0)):
            # False for NaN too.
            if not least <= getattr(self, key) < np.inf:
                raise ConfigError(
                    f"{key} must be {least} or more, got {getattr(self, key)} (config popularity.{key})"
                )


@dataclass(frozen=True, slots=True)
class Context:
    """The popular items of one context.

    Attributes:
        name: Column and value, as an answer states it.
        items: item_index of the items seen in it, the most popular first, (n_listed,) int32.
        shares: Their shares, (n_listed,) float32.
        rest: The share of any other item is this times its share of everything.
    """

    name: str
    items: npt.NDArray[np.int32]
    shares: FloatArray
    rest: float


@dataclass(frozen=True)
class ContextPopularity:
    """The tables of all contexts, one behind the other.

    Attributes:
        columns: In the order in which they count.
        values: Column and value of each context.
        rests: `Context.rest` of each.
        offsets: The items of context c are `offsets[c]:offsets[c + 1]`, (n_contexts + 1,) int64.
        items: As in `Context`, int32.
        shares: As in `Context`, float32.

    Raises:
        DataError: If the arrays do not fit together.
    """

    columns: tuple[str, ...] = ()
    values: tuple[tuple[str, str], ...] = ()
    rests: tuple[float, ...] = ()
    offsets: IndexArray = field(default_factory=lambda: np.zeros(1, dtype=np.int64))
    items: npt.NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    shares: FloatArray = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    _rows: dict[tuple[str, str], int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        lengths = (len(self.values), len(self.rests), len(self.offsets) - 1)
        ends = (int(self.offsets[0]), int(self.offsets[-1]), len(self.shares))
        if len(set(lengths)) > 1 or ends != (0, len(self.items), len(self.items)):
            raise DataError(
                f"the tables of popularity must fit together, got {lengths} contexts that end at {ends} of "
                f"{len(self.items)} items; export the bundle again"
            )
        if (np.diff(self.offsets) < 0).any() or {column for column, _ in self.values} - set(self.columns):
            raise DataError(f"the tables of popularity are out of order for {self.columns}; export again")
        object.__setattr__(self, "_rows", {value: row for row, value in enumerate(self.values)})

    @classmethod
    def fit(
        cls, events: pl.DataFrame, item_ids: IdMap, popularity: FloatArray, config: PopularityConfig
    ) -> "ContextPopularity":
        """Returns the tables of all contexts with enough events.

        Args:
            events: Those that count: item_id, timestamp if `hour` is among the columns, and the columns.
            item_ids: The catalog; events of other items are left out.
            popularity: Each item's share of all interactions, (n_items + 1,) float32.
            config: Which contexts; `by` must name the columns.

        Raises:
            ConfigError: If a column is not there, or holds lists.
        """
        item_index = pl.Series("item", item_ids.encode(events[ITEM_ID]), dtype=pl.Int32)
        tables: list[tuple[tuple[str, str], float, pl.DataFrame]] = []
        for column in config.by if config.max_values else ():
            frame = pl.DataFrame({"item": item_index, "value": _names(events, column)})
            # Events outside the catalog or outside any context belong to no list.
            frame = frame.filter(pl.col("item") != PADDING_INDEX).drop_nulls()
            tables += [
                ((column, value), rest, table) for value, rest, table in _tables_of(frame, popularity, config)
            ]
        lengths = [len(table) for _, _, table in tables]
        return cls(
            columns=tuple(dict.fromkeys(config.by)),
            values=tuple(value for value, _, _ in tables),
            rests=tuple(rest for _, rest, _ in tables),
            offsets=np.cumsum([0, *lengths], dtype=np.int64),  # (n_contexts + 1,)
            items=np.concatenate(
                # Begins with an empty one: np.concatenate refuses to join none.
                [np.zeros(0, np.int32), *(table["item"].to_numpy() for _, _, table in tables)]
            ),
            shares=np.concatenate(
                [np.zeros(0, np.float32), *(table["share"].to_numpy() for _, _, table in tables)]
            ),
        )

    def find(self, stated: Mapping[str, object], timestamp: int) -> Context | None:
        """Returns the first context with a table that a request is in, None if there is none.

        Args:
            stated: What the request says, by column.
            timestamp: Its time, seconds since 1970 UTC.
        """
        for column in self.columns:
            if column in stated:
                value = read_category(stated[column])
            else:
                value = str(timestamp // _SECONDS_PER_HOUR % 24) if column == HOUR else None
            row = self._rows.get((column, value or ""))
            if row is not None:
                start, end = self.offsets[row : row + 2].tolist()
                return Context(
                    f"{column}={value}", self.items[start:end], self.shares[start:end], self.rests[row]
                )
        return None

    def to_json(self) -> str:
        """Returns the fields that are no arrays as text."""
        # Not msgspec's own codec: a value may hold half a surrogate pair, which UTF-8 cannot.
        return json.dumps(msgspec.to_builtins(_Contexts(self.columns, self.values, self.rests)))

    @classmethod
    def from_json(
        cls, text: str, offsets: IndexArray, items: npt.NDArray[np.int32], shares: FloatArray
    ) -> "ContextPopularity":
        """Returns the tables from the text that `to_json` wrote and their arrays.

        Raises:
            DataError: If they do not fit.
            ValueError: If the text is anything else.
        """
        known = msgspec.convert(json.loads(text), _Contexts)
        return cls(
            columns=known.columns,
            values=known.values,
            rests=known.rests,
            offsets=offsets,
            items=items,
            shares=shares,
        )


class _Contexts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The fields of `ContextPopularity` that are no arrays."""

    columns: tuple[str, ...]
    values: tuple[tuple[str, str], ...]
    rests: tuple[float, ...]


def measure_gain(
    events: pl.DataFrame, item_ids: IdMap, column: str, config: PopularityConfig
) -> tuple[float, float]:
    """Returns how many more of the latest events stand in their contexts' lists than in one list for all.

    The lists are made of all events but the last tenth, which are then looked for in them.

    Args:
        events: As in `ContextPopularity.fit`, oldest first.
        item_ids: The catalog.
        column: Of `events`, or `hour`.
        config: How the tables are made.

    Returns:
        The mean difference of the hit rates in the first `GAIN_K` places, and its standard error.

    Raises:
        ConfigError: As in `ContextPopularity.fit`.
    """
    item_index = pl.Series("item", item_ids.encode(events[ITEM_ID]), dtype=pl.Int32)
    frame = pl.DataFrame({"item": item_index, "value": _names(events, column)})
    # By time and not at random: a service is asked about what comes next.
    latest = frame.tail(len(frame) // _HELD_OUT)
    known = frame.head(len(frame) - len(latest)).filter(pl.col("item") != PADDING_INDEX)
    counts = np.bincount(known["item"].to_numpy(), minlength=len(item_ids) + 1)
    popularity: FloatArray = (counts / max(counts.sum(), 1)).astype(np.float32)
    items = PopularItems(popularity)
    everything = np.arange(len(popularity)) > PADDING_INDEX
    in_general, _ = items.rank(everything.copy(), GAIN_K, None)
    # Events outside every context gain nothing; without their zeros a rare context would look telling.
    differences = [0.0] * len(latest)
    position = 0
    for value, rest, table in _tables_of(known, popularity, config):
        context = Context(value, table["item"].to_numpy(), table["share"].to_numpy(), rest)
        in_context, _ = items.rank(everything.copy(), GAIN_K, context)
        had = latest.filter(pl.col("value") == value)["item"].to_numpy()
        gains = np.isin(had, in_context).astype(float) - np.isin(had, in_general)
        differences[position : position + len(had)] = gains.tolist()
        position += len(had)
    # One event has no spread that could tell a gain from chance.
    if len(latest) < 2:
        return 0.0, 0.0
    return float(np.mean(differences)), float(np.std(differences, ddof=1) / np.sqrt(len(latest)))


class PopularItems:
    """Ranks items by their share of the interactions, of all or of those in a context.

    Args:
        popularity: Each item's share of all interactions, (n_items + 1,) float32.
    """

    def __init__(self, popularity: FloatArray) -> None:
        self._popularity = popularity
        self._order: IndexArray = np.argsort(-popularity[1:], kind="stable") + 1

    def rank(self, flags: BoolArray, k: int, context: Context | None) -> tuple[IndexArray, FloatArray]:
        """Returns the allowed items with the largest shares, and those; equal ones by ascending item_index.

        Args:
            flags: True = allowed, (n_items + m + 1,) bool, changed; the last m are items that nobody has
                had yet, whose share is 0.
            k: How many are wanted.
            context: Whose shares count; None for all interactions.
        """
        if context is None:
            items = self._most_popular(flags, k)
            return items, self._shares(items)
        listed = context.items[flags[context.items]].astype(np.int64)[:k]
        shares = context.shares[flags[context.items]][:k]
        # They have come from the context's own table: the rest must not bring them twice.
        flags[context.items] = False
        others = self._most_popular(flags, k)
        items = np.concatenate((listed, others))
        shares = np.concatenate((shares, np.float32(context.rest) * self._shares(others)))
        # lexsort goes by its last key first: by share, equal ones by item_index.
        order = np.lexsort((items, -shares))[:k]
        return items[order], shares[order]

    def _most_popular(self, flags: BoolArray, k: int) -> IndexArray:
        """Returns the k allowed items with the largest share of all interactions."""
        n_looked = _FIRST_LOOK * k
        items = self._order[:n_looked][flags[self._order[:n_looked]]]
        while len(items) < k and n_looked < len(self._order):
            # A narrow filter leaves few of the popular ones: look further, in few steps.
            n_looked *= _WIDENING_FACTOR
            items = self._order[:n_looked][flags[self._order[:n_looked]]]
        if len(items) < k and len(flags) > len(self._popularity):
            beyond = len(self._popularity) + np.flatnonzero(flags[len(self._popularity) :])
            items = np.concatenate((items, beyond))
        return items[:k]

    def _shares(self, items: IndexArray) -> FloatArray:
        """Returns the share of all interactions of some items, (n,) float32."""
        is_known = items < len(self._popularity)
        # np.where reads both sides: 0 stands in for the index of a live item.
        shares: FloatArray = np.where(is_known, self._popularity[np.where(is_known, items, 0)], np.float32(0))
        return shares


def _names(events: pl.DataFrame, column: str) -> pl.Series:
    """Returns the values of a column as a request's values are read; null where there is none."""
    if column == HOUR and column not in events.columns and TIMESTAMP in events.columns:
        return (events[TIMESTAMP] // _SECONDS_PER_HOUR % 24).cast(pl.String).alias("value")
    if column not in events.columns:
        raise ConfigError(
            f"popularity.by must name columns of events or users, or {HOUR}, got {column!r}; name some "
            f"of {sorted(events.columns)}"
        )
    values = events[column]
    if not (values.dtype.is_numeric() or values.dtype in _SCALARS or values.dtype == pl.Null):
        raise ConfigError(
            f"popularity.by must name columns of single values, got {column!r} of {values.dtype}; "
            "leave it out"
        )
    # Read once per distinct value: a column repeats them in all its rows.
    distinct = values.unique()
    names = [read_category(value) for value in distinct]
    return values.replace_strict(distinct, pl.Series(names, dtype=pl.String), return_dtype=pl.String)


def _tables_of(
    frame: pl.DataFrame, popularity: FloatArray, config: PopularityConfig
) -> Iterator[tuple[str, float, pl.DataFrame]]:
    """Yields value, rest and table (item, share; best first) of each context of one column."""
    sizes = frame.group_by("value").len().filter(pl.col("len") >= config.min_events)
    # Equal sizes by name: the same events must give the same tables.
    largest = sizes.drop_nulls().sort(["len", "value"], descending=[True, False]).head(config.max_values)
    counts = frame.join(largest.select("value"), on="value", how="semi").group_by("value", "item").len()
    shares = pl.DataFrame({"item": np.arange(len(popularity), dtype=np.int32), "prior": popularity})
    counts = counts.join(shares, on="item", how="left")
    for value, n_events in largest.sort("value").iter_rows():
        total = n_events + config.prior_events
        table = counts.filter(pl.col("value") == value).select(
            "item", share=((pl.col("len") + config.prior_events * pl.col("prior")) / total).cast(pl.Float32)
        )
        yield value, config.prior_events / total, table.sort(["share", "item"], descending=[True, False])
