"""Converts an event log that was begun with ids into one with pseudonyms: the command.

`python -m serving.convert_users events=… key=… [closed=…]`, while no service uses the log. Killed at any
moment, the same command goes on.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from marquee.errors import ConfigError, MarqueeError
from marquee.store.log.opening import POSTGRES_SCHEMES, folder_of_closed_days, open_event_log
from marquee.store.people.converting.conversion import Converted, NamedRows, convert
from marquee.store.people.opening import open_users
from marquee.store.people.user_key import UserKey

USAGE = (
    "usage: python -m serving.convert_users events=<MARQUEE_EVENTS> key=<MARQUEE_USER_KEY> [closed=<folder>]"
)


def main(arguments: Sequence[str]) -> int:
    """Converts a log and says what was converted; returns the exit status."""
    given = dict(argument.partition("=")[::2] for argument in arguments)
    if not {"events", "key"} <= given.keys() <= {"events", "key", "closed"}:
        print(f"events and key must be given, got {sorted(given)}\n{USAGE}", file=sys.stderr)
        return 2
    try:
        done = convert_log(given["events"], UserKey.read(given["key"]), given.get("closed", ""))
    except (MarqueeError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    left = "" if done.is_wiped else "; readers kept the bytes of before from being overwritten, run it again"
    print(f"{done.users:,} users, {done.rows:,} rows and {done.files:,} files are converted{left}")
    return 0 if done.is_wiped else 1


def convert_log(where: str, key: UserKey, closed: str) -> Converted:
    """Converts the log at an address or in a folder; see `convert`.

    Raises:
        ConfigError: If there is no such log, or its closed days are not named.
    """
    folder = folder_of_closed_days(where, closed)
    if folder is None:
        raise ConfigError(
            f"closed must name the folder of the closed days of a log in PostgreSQL, got {closed!r}; any "
            "empty folder if no day was closed"
        )
    if not where.startswith(POSTGRES_SCHEMES) and not Path(where).is_dir():
        raise ConfigError(f"events must name the folder of a log, got {where!r}, which is none; correct it")
    log, users = open_event_log(where), open_users(where)
    rows = _named_rows(where)
    try:
        return convert(log, rows, users, key, folder, os.urandom)
    finally:
        log.close()
        users.close()
        rows.close()


def _named_rows(where: str) -> NamedRows:
    """Returns the rows of a log by the names of their users; loads no driver but the one that is needed."""
    if where.startswith(POSTGRES_SCHEMES):
        from marquee.store.people.converting.postgres import PostgresNamedRows

        return PostgresNamedRows(where)
    from marquee.store.people.converting.sqlite import SqliteNamedRows

    return SqliteNamedRows(Path(where))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
