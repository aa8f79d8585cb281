"""Reads prepared data: a bucket as it lies in its files, or all of them as the arrays of one table."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from marquee.core.arrays import IndexArray, TokenArray
from marquee.core.event_kinds import EventKinds
from marquee.core.histories import Interactions
from marquee.core.ids import PADDING_INDEX, IdMap
from marquee.core.schema import EVENTS
from marquee.data.prepared.layout import (
    BUCKETS,
    CATALOG,
    ID,
    INDICES,
    ITEMS,
    KINDS,
    LATER,
    OUTSIDE,
    SOURCE,
    SPLITS,
    TABLES,
    TRAINED,
    UNCOUNTED,
    USERS,
    has_array,
    numbered,
    read_array,
    read_frame,
)
from marquee.data.prepared.manifest import Manifest
from marquee.data.prepared.quality import read_report
from marquee.data.prepared.sorted_ids import SortedIds
from marquee.data.prepared.splitting import PARTS
from marquee.data.reading.files.columns import ROW
from marquee.data.reading.table_reader import HELD_ONCE
from marquee.data.reading.tables import Tables
from marquee.data.splits import PART, Cutoffs, Split

_PART = "__part"


@dataclass(frozen=True)
class Bucket:
    """The events of some users, mapped into memory: by user, oldest first.

    Attributes:
        user_index: Of each user, (n_users,) int32.
        offsets: Where the events of each user begin, and the end of the last, (n_users + 1,) int64.
        item_index: Of each event, (n,) int32; 0 for an item outside the catalog.
        named_item: The same, where items outside the catalog have indices behind it, (n,) int32.
        kind: Place in `EventKind` of each event, (n,) uint8.
        timestamp: Of each event, (n,) int64.
        value: Of each event, NaN for none, (n,) float64; None where no event has one.
        part: Place in `splitting.PARTS` of each event, (n,) uint8.
        place: Number of the file and of the row, (2, n) uint32.
        extra: Its other columns; None where there are none.
    """

    user_index: TokenArray
    offsets: IndexArray
    item_index: TokenArray
    named_item: TokenArray
    kind: npt.NDArray[np.uint8]
    timestamp: IndexArray
    value: npt.NDArray[np.float64] | None
    part: npt.NDArray[np.uint8]
    place: npt.NDArray[np.uint32]
    extra: pl.DataFrame | None

    def __len__(self) -> int:
        return len(self.kind)

    def counts(self, rows: IndexArray) -> IndexArray:
        """Returns how many of some of its events each user has, (n_users,) int64."""
        user = np.repeat(np.arange(len(self.user_index)), np.diff(self.offsets))
        return np.bincount(user[rows], minlength=len(self.user_index))

    def kinds_and_weights(self, kinds: EventKinds) -> tuple[IndexArray, npt.NDArray[np.float32]]:
        """Returns row and training weight of each event, (n,) each."""
        values = np.full(len(self), np.nan) if self.value is None else self.value
        return kinds.encode_columns(self.kind_names(), pl.Series(values, nan_to_null=True))

    def kind_names(self) -> pl.Series:
        """Returns the kind of each event as text."""
        return pl.Series(KINDS.categories).gather(self.kind)


class PreparedFolder:
    """A folder that `training.prepare` has written.

    Args:
        path: The folder.
        is_read: Compare the checksum of every file first, and not its size alone.

    Raises:
        DataError: If it holds no prepared data, or a file is damaged.
    """

    def __init__(self, path: Path, *, is_read: bool = True) -> None:
        self.path = path
        self.manifest = Manifest.read(path)
        self.manifest.require_whole(path, is_read=is_read)

    @property
    def n_buckets(self) -> int:
        """Buckets of users."""
        return self.manifest.n_buckets

    @property
    def n_users(self) -> int:
        """Users of the training part."""
        return self.manifest.n_users[TRAINED]

    @property
    def n_items(self) -> int:
        """Items of the catalog: those of training, then those of the items table."""
        return sum(self.manifest.n_items[: CATALOG + 1])

    def user_ids(self, *groups: int) -> SortedIds:
        """Returns the users of some groups, those of training by default, in the order of their indices."""
        return SortedIds([self._names(USERS, group) for group in groups or (TRAINED,)])

    def _names(self, folder: str, group: int) -> list[pl.Series]:
        """Returns the names of a group, range by range."""
        n_ranges = self.manifest.n_ranges[(USERS, ITEMS).index(folder)]
        ranges = [self.path / numbered(folder, number) for number in range(n_ranges)]
        return [read_frame(path / f"{group}.arrow")[ID] for path in ranges]

    def item_names(self) -> pl.Series:
        """Returns all items, in the order of their indices; those outside the catalog come last."""
        groups = [self._names(ITEMS, group) for group in (TRAINED, CATALOG, OUTSIDE)]
        return pl.concat([names for group in groups for names in group])

    def item_ids(self) -> IdMap:
        """Returns the items of the catalog."""
        return IdMap(tuple(self.item_names().head(self.n_items).to_list()))

    def table(self, name: str) -> pl.DataFrame | None:
        """Returns the validated items or users table, None where there is none."""
        path = self.path / TABLES / name / "table.arrow"
        return read_frame(path) if path.is_file() else None

    def bucket(self, number: int) -> Bucket:
        """Returns the events of a bucket."""
        folder, indices = self.path / numbered(BUCKETS, number), self.path / numbered(INDICES, number)
        named = read_array(indices, "item_index")
        # No copy where there is no item outside the catalog, which is most often.
        has_outside = sum(self.manifest.n_items) > self.n_items
        extra = folder / "extra.arrow"
        return Bucket(
            user_index=read_array(indices, "user_index"),
            offsets=read_array(folder, "offsets"),
            item_index=np.where(named > self.n_items, PADDING_INDEX, named) if has_outside else named,
            named_item=named,
            kind=read_array(folder, "kind"),
            timestamp=read_array(folder, "timestamp"),
            value=read_array(folder, "value") if has_array(folder, "value") else None,
            part=read_array(self.path / numbered(SPLITS, number), "part"),
            place=np.stack([read_array(folder, "source"), read_array(folder, "row")]),
            extra=read_frame(extra) if extra.is_file() else None,
        )

    def interactions(self, kinds: EventKinds, parts: Iterable[str], n_users: int) -> Interactions:
        """Returns the interactions of some parts, grouped by the index of the user, oldest first.

        Args:
            kinds: Those that count.
            parts: Of `splitting.PARTS`.
            n_users: Users with a row: those of training, or with the later ones.
        """
        wanted = [PARTS.index(part) for part in parts]
        sizes = np.zeros(n_users + 1, dtype=np.int64)
        for bucket, rows in self._wanted(kinds, wanted, n_users):
            counts = bucket.counts(rows)
            sizes[bucket.user_index[counts > 0]] = counts[counts > 0]
        offsets = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
        n = int(offsets[-1])
        item, kind = (np.empty(n, dtype=np.int32) for _ in range(2))
        time = np.empty(n, dtype=np.int64)
        weight = np.empty(n, dtype=np.float32)
        for bucket, rows in self._wanted(kinds, wanted, n_users):
            counts = bucket.counts(rows)
            kind_index, weights = bucket.kinds_and_weights(kinds)
            # Events of a user follow each other here and there: each keeps its distance from the first.
            first = np.where(counts > 0, offsets[np.minimum(bucket.user_index, n_users)], 0)
            to = np.repeat(first - (np.cumsum(counts) - counts), counts) + np.arange(len(rows))
            item[to], kind[to] = bucket.item_index[rows], kind_index[rows]
            time[to], weight[to] = bucket.timestamp[rows], weights[rows]
        return Interactions(offsets, item, kind, time, weight)

    def _wanted(
        self, kinds: EventKinds, parts: list[int], n_users: int
    ) -> Iterator[tuple[Bucket, IndexArray]]:
        """Yields each bucket with the places of events of some parts that count, of users up to the last."""
        numbers = [KINDS.categories.to_list().index(kind) for kind in kinds.configs]
        for number in range(self.n_buckets):
            bucket = self.bucket(number)
            is_wanted = np.isin(bucket.part, parts) & np.isin(bucket.kind, numbers)
            # Users beyond are of other groups, whose indices come behind.
            is_wanted &= np.repeat(bucket.user_index <= n_users, np.diff(bucket.offsets))
            yield bucket, np.flatnonzero(is_wanted)

    def tables(self) -> Tables:
        """Returns the validated tables, as `read_tables` gives them.

        They are larger than the arrays by far: for what no array says, of data that fit into memory.
        """
        events = self._events().drop(_PART)
        return Tables(events, self.table("items"), self.table("users"), read_report(self.path))

    def split(self) -> Split:
        """Returns the events in parts as `split_events` does: tables of texts, by time.

        They are larger than the arrays by far: for what no array says, of data that fit into memory.
        """
        events = self._events()
        parts = {
            name: events.filter(pl.col(_PART) == number).drop(_PART) for number, name in enumerate(PARTS)
        }
        has_asked = any(len(parts[name]) for name in PARTS[3:])
        return Split(
            parts["train"],
            parts["validation"],
            parts["test"],
            self.manifest.description,
            Cutoffs(*self.manifest.cutoffs) if self.manifest.cutoffs else None,
            parts["asked_validation"] if has_asked else None,
            parts["asked_test"] if has_asked else None,
        )

    def _events(self) -> pl.DataFrame:
        """Returns all events as `read_tables` gives them, each with its part."""
        users, items = self.user_ids(TRAINED, LATER, UNCOUNTED).column(), self.item_names()
        frames = [_frame(self.bucket(number), users, items) for number in range(self.n_buckets)]
        # In the order of the files first: there they are numbered.
        together = pl.concat(frames, how="diagonal_relaxed").sort(SOURCE, ROW).drop(SOURCE, ROW)
        together = together.with_columns(pl.int_range(pl.len(), dtype=pl.UInt32).alias("event_id"))
        ordered = together.sort("timestamp", maintain_order=True)
        held_once = [name for name in HELD_ONCE if name in ordered.columns]
        ordered = ordered.with_columns(pl.col(held_once).cast(pl.Categorical))
        own = [name for name in EVENTS.by_name if name in ordered.columns]
        rest = [name for name in ordered.columns if name not in own and name != PART]
        # Behind all others, where reading a table puts it.
        return ordered.select(*own, *rest, *[name for name in (PART,) if name in ordered.columns])


def _frame(bucket: Bucket, users: pl.Series, items: pl.Series) -> pl.DataFrame:
    """Returns the events of a bucket with names for indices."""
    value = pl.Series(np.full(len(bucket), np.nan) if bucket.value is None else bucket.value)
    frame = pl.DataFrame(
        {
            SOURCE: bucket.place[0],
            ROW: bucket.place[1],
            "user_id": users.gather(np.repeat(bucket.user_index, np.diff(bucket.offsets)) - 1),
            "item_id": items.gather(bucket.named_item - 1),
            "timestamp": pl.Series(bucket.timestamp),
            "kind": bucket.kind_names(),
            "value": value.fill_nan(None),
            _PART: pl.Series(bucket.part),
        }
    )
    return frame if bucket.extra is None else frame.hstack(bucket.extra)
