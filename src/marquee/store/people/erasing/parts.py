"""Takes rows out of the Parquet files of closed days, for all erasures of a pass at once.

A file that holds such rows is written anew beside itself, in bounded memory, forced to disk and renamed; then
the log lists the new one in place of the old one, in one transaction with the counts, and the old one is
deleted. Killed before the transaction, the old file stands and the next pass begins with it again; killed
after it, nobody reads the old file any more, and the next pass deletes it (`delete_unlisted`).

The new file has a name of its own: somebody who reads the old one reads it to its end.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import polars as pl

from marquee.store.files import announce_step, sync_folder
from marquee.store.log.closed_days import ROWS_PER_GROUP, read_file
from marquee.store.log.event_log import ClosedPart, EventLog
from marquee.store.log.log_rows import DECISION

# The file of a closed day, or the beginning of one that was never finished.
_OURS = re.compile(r"\.?day=\d{4}-\d{2}-\d{2}\..+\.parquet(\.new)?")
_VERSION = re.compile(r"(?:\.r(\d+))?\.parquet$")


@dataclass(frozen=True, slots=True)
class Leaving:
    """The users whose rows are taken out.

    Attributes:
        erasure_of: The erasure of each user, by the name that the log has for them.
        owner_of: The user of each of their decisions: events that name such a one and nobody are theirs.
    """

    erasure_of: Mapping[str, str]
    owner_of: dict[str, str] = field(default_factory=dict)

    def rows(self, kind: str) -> pl.Expr:
        """Returns which rows of a kind are theirs."""
        own = pl.col("user_id").is_in(list(self.erasure_of)).fill_null(False)
        if kind == DECISION or not self.owner_of:
            return own
        named = pl.col("decision_id").is_in(list(self.owner_of)).fill_null(False)
        return own | (pl.col("user_id").is_null() & named)

    def count(self, rows: pl.DataFrame) -> dict[str, int]:
        """Returns how many of some rows of theirs go with each erasure."""
        counts: dict[str, int] = {}
        for user_id, decision_id in rows.select("user_id", "decision_id").iter_rows():
            erasure_id = self.erasure_of[user_id or self.owner_of[decision_id]]
            counts[erasure_id] = counts.get(erasure_id, 0) + 1
        return counts


def note_owners(log: EventLog, folder: Path, leaving: Leaving) -> None:
    """Notes the decisions of users in files and store.

    Raises:
        EventLogError: If the store refuses.
        OSError: If a file cannot be read.
    """
    for part in log.closed_parts():
        if part.kind == DECISION:
            # Whoever tells what is held may meet a pass that puts another file in its place.
            found = read_file(log, folder, part, partial(_theirs, kind=part.kind, leaving=leaving))
            if found is not None:
                leaving.owner_of.update(found.select("decision_id", "user_id").iter_rows())
    note_owners_in_store(log, leaving)


def note_owners_in_store(log: EventLog, leaving: Leaving) -> None:
    """Notes the decisions of users in the store; raises EventLogError if that refuses."""
    for user_id in leaving.erasure_of:
        after = 0
        while decisions := log.read_decisions_of(user_id, after, ROWS_PER_GROUP):
            leaving.owner_of.update((one.decision.decision_id, user_id) for one in decisions)
            after = decisions[-1].sequence


def erase_from_parts(
    log: EventLog, folder: Path, leaving: Leaving, rest: Callable[[], None] = lambda: None
) -> None:
    """Takes the rows of users out of all files; those of events first.

    Killed between, the files of decisions still say which events of nobody are theirs.

    Args:
        log: Where the files are listed.
        folder: Of the files.
        leaving: Whose rows go.
        rest: Called between two files.

    Raises:
        EventLogError: If the store refuses.
        OSError: If the disk does.
    """
    for part in sorted(log.closed_parts(), key=lambda part: part.kind == DECISION):
        announce_step(f"look into {part.file}")
        rows = _theirs(folder / part.file, part.kind, leaving)
        if len(rows):
            _replace(log, folder, part, leaving, rows)
        rest()


def expire_parts(log: EventLog, folder: Path, events_before: int, decisions_before: int) -> int:
    """Deletes the files of days that are too old whole; returns how many rows they held.

    Args:
        log: Where the files are listed.
        folder: Of the files.
        events_before: First day of events that stays, days since 1970 UTC.
        decisions_before: The same for decisions.
    """
    n_rows = 0
    for part in log.closed_parts():
        if part.day < (decisions_before if part.kind == DECISION else events_before):
            announce_step(f"expire {part.file}")
            log.removal.replace_part(part, None, {})
            announce_step(f"delete {part.file}")
            (folder / part.file).unlink(missing_ok=True)
            n_rows += part.n_rows
    return n_rows


def delete_unlisted(log: EventLog, folder: Path) -> int:
    """Deletes files that a killed process has left and nobody reads; returns how many.

    Only while nobody closes days: whoever does lists a file a moment after it is there.
    """
    listed = {part.file for part in log.closed_parts()}
    left = [path for path in _files(folder) if str(path.relative_to(folder)) not in listed]
    for path in left:
        announce_step(f"delete {path.name}")
        path.unlink()
    return len(left)


def read_part(path: Path, kind: str, theirs: Leaving) -> pl.DataFrame:
    """Returns the rows of users in a file of a kind, in its order."""
    # Row groups without them are read by the columns alone that tell whose they are.
    return pl.scan_parquet(path).filter(theirs.rows(kind)).collect(engine="streaming")


def _theirs(path: Path, kind: str, leaving: Leaving) -> pl.DataFrame:
    """Returns user and decision of the rows of a file that go."""
    columns = pl.scan_parquet(path).select("user_id", "decision_id")
    return columns.filter(leaving.rows(kind)).collect(engine="streaming")


def _replace(log: EventLog, folder: Path, part: ClosedPart, leaving: Leaving, rows: pl.DataFrame) -> None:
    """Puts a file without some rows in the place of another."""
    old, counts, n_left = folder / part.file, leaving.count(rows), part.n_rows - len(rows)
    new = None
    if n_left:
        path = _next_version(old)
        _write_without(old, path, leaving.rows(part.kind))
        new = replace(part, file=str(path.relative_to(folder)), n_rows=n_left)
    announce_step(f"list without {part.file}")
    log.removal.replace_part(part, new, counts)
    announce_step(f"delete {part.file}")
    old.unlink(missing_ok=True)
    sync_folder(old.parent)


def _write_without(old: Path, new: Path, leaving: pl.Expr) -> None:
    """Writes the rows of a file but some into another, which is whole or not there."""
    aside = new.with_name(f".{new.name}.new")
    announce_step(f"write {new.name}")
    kept = pl.scan_parquet(old).filter(~leaving)
    # Row group by row group, in the order of the file: readers rely on it.
    kept.sink_parquet(
        aside, compression="zstd", row_group_size=ROWS_PER_GROUP, maintain_order=True, engine="streaming"
    )
    announce_step(f"sync {new.name}")
    with aside.open("rb") as file:
        os.fsync(file.fileno())
    announce_step(f"rename {new.name}")
    aside.rename(new)
    sync_folder(new.parent)


def _next_version(path: Path) -> Path:
    """Returns the name of the file that follows one: `….r1.parquet` the first time."""
    found = _VERSION.search(path.name)
    assert found is not None, f"a file of a closed day must end in .parquet, got {path.name}"
    version = int(found[1] or 0) + 1
    return path.with_name(f"{path.name[: found.start()]}.r{version}.parquet")


def _files(folder: Path) -> Iterator[Path]:
    """Yields the files of closed days in a folder, unfinished ones too; nothing that is not ours."""
    for path in folder.glob("kind=*/*"):
        if _OURS.fullmatch(path.name):
            yield path
