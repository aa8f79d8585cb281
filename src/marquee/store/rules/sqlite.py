"""The rules in a folder: a SQLite file that all workers of a machine share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw

from marquee.store.log.sqlite_file import Durability, SqliteFile, translated
from marquee.store.people.marks import Marks
from marquee.store.rules.rule_store import RowAfter, RowOfSet, RuleStore, row_of_set

RULES_FILE = "rules.db"
MARKS_FILE = "rules.marks"

# One set holds for all: the file has one number.
_THE_SET = bytes(8)

# The triggers are for whoever opens the file beside the service: the audit is what its rows say.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS rule_sets(
    version INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, changed_by TEXT NOT NULL,
    changes TEXT NOT NULL, rules TEXT NOT NULL
) STRICT;
CREATE TRIGGER IF NOT EXISTS rule_sets_stay BEFORE UPDATE ON rule_sets
    BEGIN SELECT RAISE(ABORT, 'the audit of rules only grows'); END;
CREATE TRIGGER IF NOT EXISTS rule_sets_remain BEFORE DELETE ON rule_sets
    BEGIN SELECT RAISE(ABORT, 'the audit of rules only grows'); END;
"""
_ROWS = "SELECT version, time_ms, changed_by, changes, rules FROM rule_sets"
_LATEST = f"{_ROWS} ORDER BY version DESC LIMIT 1"


class SqliteRuleStore(RuleStore):
    """A `RuleStore` in a file.

    Args:
        folder: Where the file is, that of the event log.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._file = SqliteFile(folder / RULES_FILE, _SCHEMA, Durability.full)
        with translated(MARKS_FILE):
            self._marks = Marks(folder / MARKS_FILE, n_slots=1)
        if self._mark() is None:
            # A writer was killed before it could say that it had ended: until somebody does, all read.
            self._file.write(lambda _connection: None, self._end)

    def close(self) -> None:
        """Closes the file; see `RuleStore`."""
        self._file.close()
        self._marks.close()

    def _mark(self) -> int | None:
        """Returns a number that changes with the set; see `RuleStore`."""
        return self._marks.of(_THE_SET)

    def _end(self, _connection: apsw.Connection) -> None:
        """Tells that another set holds; after a commit, before anybody else can write."""
        self._marks.end([_THE_SET])

    def _newest(self) -> int:
        """Returns the highest version; see `RuleStore`."""
        return int(self._file.read("SELECT ifnull(max(version), 0) FROM rule_sets")[0][0])

    def _rows(self, up_to: int, limit: int) -> list[RowOfSet]:
        """Returns the last rows up to a version; see `RuleStore`."""
        statement = f"{_ROWS} WHERE version <= ? ORDER BY version DESC LIMIT ?"
        return [row_of_set(*row) for row in self._file.read(statement, (up_to, limit))]

    def _append(self, row_after: RowAfter) -> RowOfSet:
        """Adds a row; see `RuleStore`."""

        def add(connection: apsw.Connection) -> RowOfSet:
            held: Sequence[Sequence[Any]] = connection.execute(_LATEST).fetchall()
            row = row_after(row_of_set(*held[0]) if held else None)
            # Behind what refuses a set that lost its race: nothing changes then.
            self._marks.begin([_THE_SET])
            connection.execute("INSERT INTO rule_sets VALUES (?, ?, ?, ?, ?)", row).fetchall()
            return row

        return self._file.write(add, self._end)
