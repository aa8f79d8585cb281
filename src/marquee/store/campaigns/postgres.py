"""The campaigns in a database, for services on several machines."""

from collections.abc import Sequence
from typing import LiteralString

from marquee.store.campaigns.campaign_store import CampaignRow, CampaignStore, RowAfter
from marquee.store.log.postgres_database import CAMPAIGNS_LOCK, PostgresDatabase

_FORMAT = 1

# The triggers are for whoever opens the database beside the service: the audit is what its rows say.
_SCHEMA: LiteralString = """
CREATE SCHEMA IF NOT EXISTS marquee;
CREATE TABLE IF NOT EXISTS marquee.campaigns_format(version integer NOT NULL);
CREATE TABLE IF NOT EXISTS marquee.campaign_changes(
    sequence bigint PRIMARY KEY, campaign_id text NOT NULL, version bigint NOT NULL, time_ms bigint NOT NULL,
    changed_by text NOT NULL, change text NOT NULL, body text NOT NULL, UNIQUE(campaign_id, version)
);
CREATE OR REPLACE FUNCTION marquee.keep_campaigns() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'the audit of campaigns only grows'; END $$;
CREATE OR REPLACE TRIGGER campaign_changes_stay BEFORE UPDATE OR DELETE OR TRUNCATE
    ON marquee.campaign_changes FOR EACH STATEMENT EXECUTE FUNCTION marquee.keep_campaigns();
"""
_ROWS: LiteralString = """SELECT sequence, campaign_id, version, time_ms, changed_by, change, body
    FROM marquee.campaign_changes"""
_ROWS_OF: LiteralString = f"{_ROWS} WHERE campaign_id = %s AND version <= %s ORDER BY version DESC LIMIT %s"
_LATEST: LiteralString = f"""{_ROWS} AS one WHERE sequence > %s AND NOT EXISTS (
    SELECT 1 FROM marquee.campaign_changes AS later
    WHERE later.campaign_id = one.campaign_id AND later.version > one.version
) ORDER BY sequence"""
_NEWEST: LiteralString = "SELECT coalesce(max(sequence), 0) FROM marquee.campaign_changes"
# Numbered under the lock: a sequence of the database is given before its commit, and a follower that saw a
# later one would miss it.
_INSERT: LiteralString = f"""INSERT INTO marquee.campaign_changes
    VALUES (({_NEWEST}) + 1, %s, %s, %s, %s, %s, %s) RETURNING sequence"""


class PostgresCampaignStore(CampaignStore):
    """A `CampaignStore` in a database.

    Args:
        url: `postgresql://…`, as libpq reads it.
    """

    is_remote = True

    def __init__(self, url: str) -> None:
        super().__init__()
        self._database = PostgresDatabase(url, (CAMPAIGNS_LOCK,))
        self._database.make_tables(_SCHEMA, "marquee.campaigns_format", _FORMAT)

    def close(self) -> None:
        """Gives up all connections; see `CampaignStore`."""
        self._database.close()

    def _newest(self) -> int:
        """Returns the highest sequence; see `CampaignStore`."""
        return int(self._database.read(_NEWEST)[0][0])

    def _latest_rows(self, after: int) -> Sequence[CampaignRow]:
        """Returns the latest row of each changed campaign; see `CampaignStore`."""
        return [CampaignRow(*row) for row in self._database.read(_LATEST, (after,))]

    def _rows_of(self, campaign_id: str, up_to: int, limit: int) -> Sequence[CampaignRow]:
        """Returns the last rows of a campaign; see `CampaignStore`."""
        return [CampaignRow(*row) for row in self._database.read(_ROWS_OF, (campaign_id, up_to, limit))]

    def _append(self, campaign_id: str, row_after: RowAfter) -> CampaignRow:
        """Adds a row; see `CampaignStore`."""
        with self._database.turn(CAMPAIGNS_LOCK) as connection:
            held = connection.execute(_ROWS_OF, (campaign_id, 2**62, 1)).fetchall()
            row = row_after(CampaignRow(*held[0]) if held else None)
            number = connection.execute(_INSERT, row[1:]).fetchall()
            return row._replace(sequence=int(number[0][0]))
