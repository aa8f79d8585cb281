"""Chooses the ledger by where the event log is; loads no driver but the one that is needed."""

from pathlib import Path

from marquee.store.ledger.ledger import Ledger
from marquee.store.log.opening import POSTGRES_SCHEMES


def open_ledger(where: str) -> Ledger:
    """Opens, and makes if need be, the ledger beside the event log at an address or in a folder.

    Args:
        where: As for `open_event_log`, which says what is wrong with it.

    Raises:
        ConfigError: If the library of the store is missing or too old.
        EventLogError: If the store cannot be made or reached.
    """
    if where.startswith(POSTGRES_SCHEMES):
        # Imported here: a machine without psycopg can still keep its ledger in a folder.
        from marquee.store.ledger.postgres import PostgresLedger

        return PostgresLedger(where)
    from marquee.store.ledger.sqlite import SqliteLedger

    return SqliteLedger(Path(where))
