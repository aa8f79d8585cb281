"""The rows of a log in a folder by the names of their users."""

from collections.abc import Mapping
from pathlib import Path

import apsw

from marquee.store.log.log_rows import EVENT_COLUMNS
from marquee.store.log.sqlite import DECISIONS_FILE, EVENTS_FILE, LATEST_FILE
from marquee.store.log.sqlite_file import Durability, SqliteFile
from marquee.store.people.converting.renaming import digest_under

_NAMES = "SELECT DISTINCT user_id FROM {table} WHERE user_id > ? ORDER BY user_id LIMIT ?"
_EVENTS = f"SELECT sequence, {', '.join(EVENT_COLUMNS)} FROM events WHERE user_id = ?"


class SqliteNamedRows:
    """`NamedRows` of a folder.

    Args:
        folder: Of the log, which must be there.

    Raises:
        EventLogError: If it cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Without tables of its own: the log has made them.
        self._events = SqliteFile(folder / EVENTS_FILE, "", Durability.full)
        self._decisions = SqliteFile(folder / DECISIONS_FILE, "", Durability.full)

    def names(self, after: str, limit: int) -> list[str]:
        """Returns the first names of users above one; see `NamedRows`."""
        found = [
            name
            for file, table in ((self._events, "events"), (self._decisions, "decisions"))
            for (name,) in file.read(_NAMES.format(table=table), (after, limit))
        ]
        return sorted(set(found))[:limit]

    def rename(self, names: Mapping[str, str]) -> int:
        """Exchanges names of users; see `NamedRows`."""
        n_events = self._events.write(lambda connection: _rename_events(connection, names))
        n_decisions = self._decisions.write(lambda connection: _rename_decisions(connection, names))
        return n_events + n_decisions

    def close(self) -> None:
        """Gives up all connections; see `NamedRows`."""
        self._events.close()
        self._decisions.close()
        # It tells users apart by their names: who opens the log next makes it anew.
        (self._folder / LATEST_FILE).unlink(missing_ok=True)


def _rename_events(connection: apsw.Connection, names: Mapping[str, str]) -> int:
    """Exchanges the names of users in their events."""
    changed = [
        (new, digest_under(new, row), row[0])
        for old, new in names.items()
        for row in connection.execute(_EVENTS, (old,)).fetchall()
    ]
    connection.executemany("UPDATE events SET user_id = ?, digest = ? WHERE sequence = ?", changed)
    return len(changed)


def _rename_decisions(connection: apsw.Connection, names: Mapping[str, str]) -> int:
    """Exchanges the names of users in their decisions."""
    n_before = connection.total_changes()
    statement = "UPDATE decisions SET user_id = ? WHERE user_id = ?"
    connection.executemany(statement, [(new, old) for old, new in names.items()])
    return int(connection.total_changes() - n_before)
