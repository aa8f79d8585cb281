"""Chooses the store of receipts by where the event log is; loads no driver but the one that is needed."""

from pathlib import Path

from marquee.store.log.opening import POSTGRES_SCHEMES
from marquee.store.people.erasing.receipts import Receipts


def open_receipts(where: str) -> Receipts:
    """Opens, and makes if need be, the receipts beside the event log at an address or in a folder.

    Raises:
        ConfigError: If the library of the store is missing or too old.
        EventLogError: If the store cannot be made or reached.
    """
    if where.startswith(POSTGRES_SCHEMES):
        # Imported here: a machine without psycopg can still keep its receipts in a folder.
        from marquee.store.people.erasing.postgres import PostgresReceipts

        return PostgresReceipts(where)
    from marquee.store.people.erasing.sqlite import SqliteReceipts

    return SqliteReceipts(Path(where))
