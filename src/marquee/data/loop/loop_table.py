"""The training table of the event log: exposures with what came of them, and events on their own.

```
<to>/events/day=2026-11-30.parquet                events: columns of `EVENTS`, decision_id as request_id
<to>/events/day=2026-11-30.shown-00001.parquet    exposures, in the same columns and what came of them
<to>/open/day=2026-12-01.shown-00001.parquet      exposures whose click window is open: no negatives
<to>/dataset.json                                 cutoff, last sequence, windows and counts
```

Made day by day, so that memory follows the longest window and not the log. Only rows that were received
before the cutoff are read: the same log and cutoff give the same bytes, also when the log has grown since.
Written aside and renamed as a whole.
"""

import io
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import polars as pl

from marquee.core.event_kinds import EventKind
from marquee.data.loop.attribution import (
    SECONDS_PER_DAY,
    AttributionConfig,
    attribute,
    exposures_of,
    with_outcomes,
)
from marquee.data.loop.log_source import DaySource
from marquee.errors import DataError
from marquee.store.files import announce_step, sync_folder, write_file
from marquee.store.log.closed_days import EVENT_SCHEMA

ROWS_PER_GROUP = 100_000
CHUNK_DECISIONS = 5_000
"""Exposures are attributed and written so many answers at a time: a busy day takes no more memory."""

FACTS_FILE = "dataset.json"
_PSEUDONYMS = "pseudonyms"

_NAMING = ("sequence", "kind", "decision_id", "item_id", "timestamp", "value")
_COLUMNS: Mapping[str, pl.DataType] = {
    "event_id": pl.String(),
    "user_id": pl.String(),
    "item_id": pl.String(),
    "timestamp": pl.Int64(),
    "kind": pl.String(),
    "value": pl.Float64(),
    "request_id": pl.String(),
    "surface": pl.String(),
    "position": pl.Int64(),
    "policy": pl.String(),
    "propensity": pl.Float64(),
    "creative": pl.String(),
    "campaign_id": pl.String(),
    "experiments": pl.String(),
    "asked_id": pl.String(),
    "failed_release": pl.String(),
    "is_confirmed": pl.Boolean(),
    "clicked_at": pl.Int64(),
    "converted_at": pl.Int64(),
    "conversion_value": pl.Float64(),
    "revenue": pl.Float64(),
    "conversion_is_open": pl.Boolean(),
}


@dataclass(slots=True)
class TableCounts:
    """The counts of the rows of the log by fate; every event is one of those on their own.

    Attributes:
        exposures: Places of answers before the cutoff whose windows are closed, for somebody known by name.
        confirmed: Of these, those that were reported to be on screen.
        clicked: Of these, those that were clicked.
        converted: Of these, those that led to a conversion.
        open: Exposures whose click window is open at the cutoff.
        without_user: Exposures and events of nobody known; they are in no file.
        events: Events on their own, confirmations left out.
        attributed: Events inside the window of an exposure, confirmations included.
        repeated: Of these, those after the first of their kind.
        late: Events that name an exposure but come after its window, or too far before it.
        orphans: Events that name an answer, or an item of it, that the log does not hold.
    """

    exposures: int = 0
    confirmed: int = 0
    clicked: int = 0
    converted: int = 0
    open: int = 0
    without_user: int = 0
    events: int = 0
    attributed: int = 0
    repeated: int = 0
    late: int = 0
    orphans: int = 0


def write_loop_table(
    source: DaySource,
    cutoff: int,
    to: Path,
    config: AttributionConfig,
    known: int | None = None,
    *,
    has_pseudonyms: bool = False,
) -> TableCounts:
    """Writes the training table and returns its counts.

    Args:
        source: The log by day.
        cutoff: First second that is not read, since 1970 UTC, neither by time nor by receipt.
        to: Folder of the table; it must not be there yet.
        config: The attribution windows.
        known: Sequence of the last event that is read, see `last_known`; None for all before the cutoff. A
            bundle that was trained on the table knows the log up to there, and profiles begin behind it.
        has_pseudonyms: Whether the log keeps its users under pseudonyms.

    Raises:
        DataError: If the folder is there, or nothing happened before the cutoff.
    """
    # Found now: the rename onto it would fail after all the work.
    if to.exists():
        raise DataError(f"the training table must get a new folder, got {to}, which is there; name another")
    # Beside the target, as a rename is atomic only within one file system.
    aside = to.with_name(f".{to.name}.new")
    # What a killed run has left.
    shutil.rmtree(aside, ignore_errors=True)
    for part in ("events", "open"):
        (aside / part).mkdir(parents=True)
    table = _Table(source, cutoff, aside, config, known)
    counts = table.write()
    if not counts.exposures + counts.open + counts.events + counts.without_user:
        raise DataError(
            f"the log must hold rows before the cutoff, got none before {cutoff}; name a later one"
        )
    said = {
        "cutoff": cutoff,
        "known": known,
        "users": _PSEUDONYMS if has_pseudonyms else "ids",
        "attribution": asdict(config),
        "counts": asdict(counts),
    }
    content = msgspec.json.format(msgspec.json.encode(said), indent=2)
    write_file(aside / FACTS_FILE, lambda file: file.write(content))
    # After a power cut the rename may be on the disk and the names of the files not, unless synced.
    for folder in (aside / "events", aside / "open", aside):
        sync_folder(folder)
    announce_step(f"rename {to.name}")
    aside.rename(to)
    # The rename itself is an entry of the parent.
    sync_folder(to.parent)
    return counts


def known_of(table: Path) -> int | None:
    """Returns the sequence up to which a training table knows its log; None for a folder that is none.

    Raises:
        DataError: If the file beside the table is not what was written.
    """
    return _facts(table).known


def has_pseudonyms(table: Path) -> bool:
    """Returns whether the users of a training table are pseudonyms; False for a folder that is none.

    Raises:
        DataError: If the file beside the table is not what was written.
    """
    return _facts(table).users == _PSEUDONYMS


def _facts(table: Path) -> "_Facts":
    """Returns the facts of a training table, nothing of a folder that is none."""
    path = table / FACTS_FILE
    if not path.is_file():
        return _Facts()
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Facts)
    except msgspec.MsgspecError as error:
        raise DataError(
            f"{path} must hold the facts of a training table, got {error}; make it again"
        ) from error


class _Facts(msgspec.Struct):
    """Those of the facts of a table that are read again."""

    known: int | None = None
    users: str = "ids"


@dataclass
class _Table:
    """A table that is being written.

    `naming` holds the events that name an answer, by day, as long as a later day's exposures may need them;
    `matched` those that were found to belong to an exposure, until their own day is written.
    """

    source: DaySource
    cutoff: int
    folder: Path
    config: AttributionConfig
    known: int | None = None
    counts: TableCounts = field(default_factory=TableCounts)
    naming: dict[int, pl.DataFrame] = field(default_factory=dict)
    matched: dict[int, list[pl.DataFrame]] = field(default_factory=dict)

    def write(self) -> TableCounts:
        """Writes every day."""
        days = [day for day in self.source.days() if day * SECONDS_PER_DAY < self.cutoff]
        known = set(days)
        written: set[int] = set()
        for day in days:
            # From the day before, by the tolerance of clocks, to the last that a window may reach.
            near = range(day - 1, day + self.config.n_days_after + 2)
            # Made anew: days that no later exposure needs leave the memory.
            self.naming = {other: self._naming_of(other) for other in near if other in known}
            self._write_exposures(day, pl.concat(self.naming.values()))
            # An event may lie on the day before its exposure, by the tolerance of clocks: it is written last.
            self._write_events_before(day, days, written)
        self._write_events_before(None, days, written)
        return self.counts

    def _write_exposures(self, day: int, events: pl.DataFrame) -> None:
        """Writes the exposures of a day with outcomes, and keeps which of the events belong to them."""
        chunks = (
            chunk for frame in self.source.decisions(day) for chunk in frame.iter_slices(CHUNK_DECISIONS)
        )
        for number, decisions in enumerate(chunks, start=1):
            exposures = exposures_of(decisions.filter(pl.col("time_ms") < self.cutoff * 1000))
            attributed = attribute(exposures, events, self.config)
            by_day = attributed.with_columns(day=pl.col("event_time") // SECONDS_PER_DAY)
            for (event_day,), rows in by_day.partition_by("day", as_dict=True).items():
                self.matched.setdefault(int(event_day), []).append(rows)
            outcomes = with_outcomes(exposures, attributed, self.cutoff, self.config)
            self._write_chunk(day, f"shown-{number:05d}", outcomes)

    def _naming_of(self, day: int) -> pl.DataFrame:
        """Returns the events of a day that name an answer."""
        if day not in self.naming:
            rows = [
                frame.filter(pl.col("decision_id").is_not_null()).select(_NAMING)
                for frame in self._events(day)
            ]
            empty = pl.DataFrame(schema={name: EVENT_SCHEMA[name] for name in _NAMING})
            self.naming[day] = pl.concat([empty, *rows])
        return self.naming[day]

    def _events(self, day: int) -> Iterator[pl.DataFrame]:
        """Yields the events of a day that are known at the cutoff."""
        # By receipt too: the same cutoff must give the same bytes after late events have come in.
        is_known = (pl.col("timestamp") < self.cutoff) & (pl.col("received") < self.cutoff)
        if self.known is not None:
            # What is not read is in profiles: each event is in one of both.
            is_known &= pl.col("sequence") <= self.known
        for frame in self.source.events(day):
            yield frame.filter(is_known)

    def _write_chunk(self, day: int, name: str, exposures: pl.DataFrame) -> None:
        """Counts exposures and writes them to files of a day."""
        # A row of nobody has no history and trains nothing: it is counted, and in no file.
        named = exposures.filter(pl.col("user_id").is_not_null())
        self.counts.without_user += len(exposures) - len(named)
        is_open = named["click_is_open"]
        closed, still_open = named.filter(~is_open), named.filter(is_open)
        self.counts.exposures += len(closed)
        self.counts.open += len(still_open)
        self.counts.confirmed += int(closed["is_confirmed"].sum())
        self.counts.clicked += closed["clicked_at"].count()
        self.counts.converted += closed["converted_at"].count()
        self._write("events", day, f".{name}", _exposure_rows(closed))
        self._write("open", day, f".{name}", _exposure_rows(still_open))

    def _write_events_before(self, day: int | None, days: Sequence[int], written: set[int]) -> None:
        """Writes the events of all days before one whose exposures are attributed; of all if None."""
        for other in days:
            if other not in written and (day is None or other < day):
                written.add(other)
                self._write_events(other)

    def _write_events(self, day: int) -> None:
        """Adds the events of a day to its files and counts them."""
        events = pl.concat([pl.DataFrame(schema=EVENT_SCHEMA), *self._events(day)])
        # Taken out, so that memory follows the longest window and not the log.
        matched = self.matched.pop(day, [])
        joined = _with_matches(events, matched)
        is_matched = joined["is_inside"].is_not_null()
        is_inside = joined["is_inside"].fill_null(False)
        names_answer = joined["decision_id"].is_not_null()
        self.counts.attributed += int(is_inside.sum())
        is_repeated = is_inside & ~joined["is_first"].fill_null(False)
        self.counts.repeated += int(is_repeated.sum())
        # Such an answer's exposures were attributed without this day; its id says when it was given.
        is_too_old = joined.select(_made_on("decision_id") < day - self.config.n_days_after).to_series()
        is_late = is_matched & ~is_inside | ~is_matched & is_too_old.fill_null(False)
        self.counts.late += int(is_late.sum())
        self.counts.orphans += int((names_answer & ~is_matched & ~is_late).sum())
        # A confirmation is no event on its own: its exposure has it as `is_confirmed`.
        own = joined.filter(pl.col("kind") != EventKind.exposure)
        named = own.filter(pl.col("user_id").is_not_null())
        self.counts.without_user += len(own) - len(named)
        self.counts.events += len(named)
        self._write("events", day, "", _event_rows(named))

    def _write(self, part: str, day: int, suffix: str, rows: pl.DataFrame) -> None:
        """Writes rows to the file of a day, if there are any."""
        if rows.is_empty():
            return
        name = f"day={datetime.fromtimestamp(day * SECONDS_PER_DAY, UTC):%Y-%m-%d}{suffix}.parquet"
        buffer = io.BytesIO()
        rows.write_parquet(buffer, compression="zstd", row_group_size=ROWS_PER_GROUP)
        write_file(self.folder / part / name, lambda file: file.write(buffer.getvalue()))


def _made_on(name: str) -> pl.Expr:
    """Returns on which day an id was made, days since 1970 UTC, null if it is no UUID of version 7."""
    digits = pl.col(name).str.replace_all("-", "", literal=True)
    # RFC 9562: the first 48 bits are milliseconds, and digit 13 is the version.
    made_ms = digits.str.slice(0, 12).str.to_integer(base=16, strict=False)
    return pl.when(digits.str.slice(12, 1) == "7").then(made_ms // (SECONDS_PER_DAY * 1000))


def _with_matches(events: pl.DataFrame, matched: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Returns events with their user, and `is_inside` and `is_first`, null where they match no exposure."""
    if not matched:
        return events.with_columns(pl.lit(None, pl.Boolean).alias(name) for name in ("is_inside", "is_first"))
    found = pl.concat(matched).select("sequence", "is_inside", "is_first", shown_to="user_id")
    joined = events.join(found, on="sequence", how="left", maintain_order="left")
    # An event may come without user; its exposure knows who was shown the item.
    return joined.with_columns(pl.coalesce("user_id", "shown_to").alias("user_id"))


def _exposure_rows(exposures: pl.DataFrame) -> pl.DataFrame:
    """Returns exposures in the columns of the table."""
    return exposures.select(
        # Made of what the row holds and not drawn: the same log gives the same bytes.
        pl.format("{}:{}", "decision_id", "position").alias("event_id"),
        "user_id",
        "item_id",
        "timestamp",
        pl.lit(EventKind.exposure.value).alias("kind"),
        pl.lit(None, pl.Float64).alias("value"),
        pl.col("decision_id").alias("request_id"),
        *list(_COLUMNS)[7:],
    )


def _event_rows(events: pl.DataFrame) -> pl.DataFrame:
    """Returns events in the columns of the table; only what came of an exposure names its answer."""
    own = events.select(
        *list(_COLUMNS)[:6],
        # A late click that named its answer would be paired with the exposure by training after all.
        pl.when(pl.col("is_inside")).then("decision_id").alias("request_id"),
    )
    return own.with_columns(
        [pl.lit(None, dtype).alias(name) for name, dtype in _COLUMNS.items() if name not in own.columns]
    )
