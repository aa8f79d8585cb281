"""The quality report: rows read, kept, excluded and rejected, and the columns of the kept tables."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain

import polars as pl

from marquee.core.moments import day_text
from marquee.core.schema import EVENTS, TimeMeaning
from marquee.data.reading.feature_values import FeatureQuality
from marquee.data.reading.notes import event_notes


@dataclass(frozen=True)
class RejectCount:
    """The rows that were rejected for one reason in one column.

    Attributes:
        reason: One of `marquee.core.reasons.Reason`.
        column: The column of the file, several with commas between; the table's own column if it is made
            of none; empty if the row as a whole is at fault.
        count: Rows.
        example_file: File of the first such row.
        example_row: Its number, counted from 1 without the header.
        example: What the column holds there.
        key: Key of the config that the column was read by, with its expression; empty if there is none.
        advice: What to do about such rows.
    """

    reason: str
    column: str
    count: int
    example_file: str
    example_row: int
    example: str
    key: str = ""
    advice: str = ""

    def __str__(self) -> str:
        where = f" in {self.column}" if self.column else ""
        return f"{self.count:,} {self.reason}{where} (e.g. row {self.example_row}: {self.example})"


@dataclass(frozen=True)
class ColumnQuality:
    """One column of a kept table; `distinct` counts values without null, None for lists."""

    name: str
    type: str
    nulls: int
    distinct: int | None


@dataclass(frozen=True)
class TableQuality:
    """One table: `rows_in` is always `kept` + rejected + excluded.

    Attributes:
        name: `events`, `items` or `users`.
        files: What was read.
        rows_in: Rows of all files.
        kept: Rows of the validated table.
        excluded: Rows by reason that the user, or an option, declares not to be rows of the table.
        rejects: Rows that are wrong, by reason and column, in the order in which rules are looked at.
        columns: The kept columns.
        rejects_file: Where every rejected row stands; None if there is none, or no folder was given.
        features: The values of the features that are read from it.
        notes: What looks odd in its files.
    """

    name: str
    files: tuple[str, ...]
    rows_in: int
    kept: int
    excluded: dict[str, int]
    rejects: tuple[RejectCount, ...]
    columns: tuple[ColumnQuality, ...]
    rejects_file: str | None
    features: tuple[FeatureQuality, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def n_rejected(self) -> int:
        """Rows that are wrong."""
        return sum(reject.count for reject in self.rejects)

    @property
    def n_excluded(self) -> int:
        """Rows that are not meant to be rows of the table."""
        return sum(self.excluded.values())

    @property
    def rejected_fraction(self) -> float:
        """Rejected rows among those that are meant to be rows of the table."""
        # All rows may be excluded.
        return self.n_rejected / max(self.rows_in - self.n_excluded, 1)

    def summary_lines(self) -> Iterator[str]:
        """Yields the table in words."""
        yield (
            f"{self.name}: {self.rows_in:,} rows in = {self.kept:,} kept + {self.n_rejected:,} rejected + "
            f"{self.n_excluded:,} excluded ({', '.join(self.files)})"
        )
        for reject in self.rejects:
            yield f"  rejected {reject}"
        if self.rejects_file:
            yield f"  every rejected row: {self.rejects_file}"
        for reason, count in self.excluded.items():
            yield f"  excluded {count:,} {reason}"
        empty = [column.name for column in self.columns if column.nulls == self.kept]
        if empty:
            yield f"  nothing in {', '.join(empty)}"
        for column in self.columns:
            if column.name in empty:
                continue
            distinct = "" if column.distinct is None else f", {column.distinct:,} distinct"
            yield f"  {column.name}: {column.type}, {column.nulls:,} null{distinct}"
        for feature in self.features:
            if feature.n_unreadable:
                yield f"  {feature}"


@dataclass(frozen=True)
class QualityReport:
    """All tables of a data set.

    Attributes:
        name: Name of the data set.
        events: The events.
        items: The items, None if there is no such table.
        users: The users, None if there is no such table.
        time: What timestamps say.
        kinds: Events by kind, most frequent first.
        n_users: Distinct users of the events.
        n_items: Distinct items of the events.
        first_timestamp: Earliest event.
        last_timestamp: Latest event.
        users_without_row: Users of the events that the users table lacks, None without such a table.
        items_without_row: Items of the events that the items table lacks, None without such a table.
        items_without_event: Items of the items table that no event names, None without such a table.
        notes: What looks odd without being wrong.
    """

    name: str
    events: TableQuality
    items: TableQuality | None
    users: TableQuality | None
    time: TimeMeaning
    kinds: dict[str, int]
    n_users: int
    n_items: int
    first_timestamp: int
    last_timestamp: int
    users_without_row: int | None
    items_without_row: int | None
    items_without_event: int | None
    notes: tuple[str, ...]

    @property
    def tables(self) -> tuple[TableQuality, ...]:
        """The tables that there are."""
        return tuple(table for table in (self.events, self.items, self.users) if table is not None)

    def to_json_dict(self) -> dict[str, object]:
        """Returns all fields, and the counts made of them, as JSON holds them."""
        fields = asdict(self)
        for table in self.tables:
            # `asdict` leaves out properties, which a reader of the file would have to compute.
            fields[table.name] |= {"rejected": table.n_rejected, "rejected_fraction": table.rejected_fraction}
            fields[table.name]["excluded_total"] = table.n_excluded
        return fields | {"time": self.time.value, "notes": list(self.notes)}

    def summary_lines(self) -> list[str]:
        """Returns the report in words, one line each."""
        lines = [
            f"{self.name}: {self.events.kept:,} events of {self.n_users:,} users and {self.n_items:,} items"
            f"{self._period()}",
            "kinds: " + ", ".join(f"{kind} {count:,}" for kind, count in self.kinds.items()),
        ]
        for table in self.tables:
            lines += table.summary_lines()
        for what, count in (
            ("users of the events that the users table lacks", self.users_without_row),
            ("items of the events that the items table lacks", self.items_without_row),
            ("items of the items table without an event", self.items_without_event),
        ):
            if count:
                lines.append(f"{count:,} {what}")
        return lines + [f"note: {note}" for note in self.notes]

    def _period(self) -> str:
        """Returns the time range in words, empty where timestamps are no moments."""
        if self.time is not TimeMeaning.absolute:
            return f", time is {self.time.value}"
        return f", {day_text(self.first_timestamp)} to {day_text(self.last_timestamp)}"


def measure_columns(rows: pl.DataFrame, key: str) -> tuple[ColumnQuality, ...]:
    """Returns nulls and distinct values of every column; the key is known to be distinct."""
    measured = []
    for column in rows:
        nulls = column.null_count()
        if column.name == key:
            # The rule on duplicates has shown it: the column need not be counted.
            distinct: int | None = rows.height
        elif column.dtype.is_nested():
            distinct = None
        else:
            # `n_unique` counts null as one value.
            distinct = column.n_unique() - bool(nulls)
        measured.append(ColumnQuality(column.name, str(column.dtype), nulls, distinct))
    return tuple(measured)


def measure_events(
    name: str,
    time: TimeMeaning,
    qualities: dict[str, TableQuality],
    frames: dict[str, pl.DataFrame],
) -> QualityReport:
    """Returns the report of a data set.

    Args:
        name: Name of the data set.
        time: What timestamps say.
        qualities: By table name; `events` must be there.
        frames: The kept tables, by name, in any order of rows.
    """
    events = frames[EVENTS.name]
    timestamps = events["timestamp"]
    first, last = timestamps.min(), timestamps.max()
    assert isinstance(first, int), f"an events table is never empty, got {events.height} rows"
    assert isinstance(last, int), f"an events table is never empty, got {events.height} rows"
    kinds = events["kind"].value_counts(sort=True)
    n_distinct = {column.name: column.distinct for column in qualities[EVENTS.name].columns}
    users, items = frames.get("users"), frames.get("items")
    return QualityReport(
        name=name,
        events=qualities["events"],
        items=qualities.get("items"),
        users=qualities.get("users"),
        time=time,
        kinds=dict(zip(kinds["kind"].to_list(), kinds["count"].to_list(), strict=True)),
        n_users=n_distinct["user_id"] or 0,
        n_items=n_distinct["item_id"] or 0,
        first_timestamp=first,
        last_timestamp=last,
        users_without_row=None if users is None else _n_outside(events["user_id"], users["user_id"]),
        items_without_row=None if items is None else _n_outside(events["item_id"], items["item_id"]),
        items_without_event=None if items is None else _n_outside(items["item_id"], events["item_id"]),
        notes=(*chain.from_iterable(table.notes for table in qualities.values()), *event_notes(events, time)),
    )


def _n_outside(ids: pl.Series, table: pl.Series) -> int:
    """Returns how many distinct ids are not in another column."""
    # Ids of events repeat: each is looked up once.
    distinct = ids.unique().to_frame("id")
    return distinct.join(table.to_frame("id"), on="id", how="anti").height
