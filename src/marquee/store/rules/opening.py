"""Chooses the store of rules by where the event log is; loads no driver but the one that is needed."""

from pathlib import Path

from marquee.store.log.opening import POSTGRES_SCHEMES
from marquee.store.rules.rule_store import RuleStore


def open_rule_store(where: str) -> RuleStore:
    """Opens, and makes if need be, the rules beside the event log at an address or in a folder.

    Args:
        where: As for `open_event_log`, which says what is wrong with it.

    Raises:
        ConfigError: If the library of the store is missing or too old.
        EventLogError: If the store cannot be made or reached.
    """
    if where.startswith(POSTGRES_SCHEMES):
        # Imported here: a machine without psycopg can still keep its rules in a folder.
        from marquee.store.rules.postgres import PostgresRuleStore

        return PostgresRuleStore(where)
    from marquee.store.rules.sqlite import SqliteRuleStore

    return SqliteRuleStore(Path(where))
