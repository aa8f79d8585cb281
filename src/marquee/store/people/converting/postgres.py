"""The rows of a log in PostgreSQL by the names of their users."""

from collections.abc import Mapping
from typing import LiteralString

from marquee.store.log.postgres_database import CONVERSION_LOCK, PostgresDatabase
from marquee.store.people.converting.renaming import digest_under

_NAMES: LiteralString = """SELECT DISTINCT user_id COLLATE "C" FROM (
    SELECT user_id FROM marquee.events UNION ALL SELECT user_id FROM marquee.decisions
) AS rows WHERE user_id COLLATE "C" > %s ORDER BY 1 LIMIT %s"""
_EVENTS: LiteralString = """SELECT sequence, event_id, kind, item_id, timestamp, sent_timestamp, received,
    user_id, decision_id, value, text, digest FROM marquee.events WHERE user_id = ANY(%s)"""
_RENAME: LiteralString = """UPDATE marquee.events SET user_id = new.user_id, digest = new.digest
    FROM unnest(%s::bigint[], %s::text[], %s::bytea[]) AS new(sequence, user_id, digest)
    WHERE events.sequence = new.sequence"""
_RENAME_DECISIONS: LiteralString = """UPDATE marquee.decisions SET user_id = new.name
    FROM unnest(%s::text[], %s::text[]) AS new(old, name) WHERE user_id = new.old"""


class PostgresNamedRows:
    """`NamedRows` of a database.

    Args:
        url: Of the log, whose tables must be there.
    """

    def __init__(self, url: str) -> None:
        self._database = PostgresDatabase(url, (CONVERSION_LOCK,))

    def names(self, after: str, limit: int) -> list[str]:
        """Returns the first names of users above one; see `NamedRows`."""
        return [name for (name,) in self._database.read(_NAMES, (after, limit))]

    def rename(self, names: Mapping[str, str]) -> int:
        """Exchanges names of users; see `NamedRows`."""
        with self._database.turn(CONVERSION_LOCK) as connection:
            rows = connection.execute(_EVENTS, (list(names),)).fetchall()
            new = [names[row[7]] for row in rows]
            digests = [digest_under(name, row) for name, row in zip(new, rows, strict=True)]
            connection.execute(_RENAME, ([row[0] for row in rows], new, digests))
            decisions = connection.execute(_RENAME_DECISIONS, (list(names), list(names.values())))
            return len(rows) + decisions.rowcount

    def close(self) -> None:
        """Gives up all connections; see `NamedRows`."""
        self._database.close()
