"""The rules in a database, for services on several machines."""

from typing import LiteralString

from marquee.store.log.postgres_database import RULES_LOCK, PostgresDatabase
from marquee.store.rules.rule_store import RowAfter, RowOfSet, RuleStore, row_of_set

_FORMAT = 1

# The triggers are for whoever opens the database beside the service: the audit is what its rows say.
_SCHEMA: LiteralString = """
CREATE SCHEMA IF NOT EXISTS marquee;
CREATE TABLE IF NOT EXISTS marquee.rules_format(version integer NOT NULL);
CREATE TABLE IF NOT EXISTS marquee.rule_sets(
    version bigint PRIMARY KEY, time_ms bigint NOT NULL, changed_by text NOT NULL,
    changes text NOT NULL, rules text NOT NULL
);
CREATE OR REPLACE FUNCTION marquee.keep_rule_sets() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'the audit of rules only grows'; END $$;
CREATE OR REPLACE TRIGGER rule_sets_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON marquee.rule_sets
    FOR EACH STATEMENT EXECUTE FUNCTION marquee.keep_rule_sets();
"""
_ROWS: LiteralString = "SELECT version, time_ms, changed_by, changes, rules FROM marquee.rule_sets"


class PostgresRuleStore(RuleStore):
    """A `RuleStore` in a database.

    Args:
        url: `postgresql://…`, as libpq reads it.
    """

    is_remote = True

    def __init__(self, url: str) -> None:
        super().__init__()
        self._database = PostgresDatabase(url, (RULES_LOCK,))
        self._database.make_tables(_SCHEMA, "marquee.rules_format", _FORMAT)

    def close(self) -> None:
        """Gives up all connections; see `RuleStore`."""
        self._database.close()

    def _newest(self) -> int:
        """Returns the highest version; see `RuleStore`."""
        return int(self._database.read("SELECT coalesce(max(version), 0) FROM marquee.rule_sets")[0][0])

    def _rows(self, up_to: int, limit: int) -> list[RowOfSet]:
        """Returns the last rows up to a version; see `RuleStore`."""
        statement: LiteralString = f"{_ROWS} WHERE version <= %s ORDER BY version DESC LIMIT %s"
        return [row_of_set(*row) for row in self._database.read(statement, (up_to, limit))]

    def _append(self, row_after: RowAfter) -> RowOfSet:
        """Adds a row; see `RuleStore`."""
        with self._database.turn(RULES_LOCK) as connection:
            held = connection.execute(f"{_ROWS} ORDER BY version DESC LIMIT 1").fetchall()
            row = row_after(row_of_set(*held[0]) if held else None)
            connection.execute("INSERT INTO marquee.rule_sets VALUES (%s, %s, %s, %s, %s)", row)
            return row
