"""The campaigns in a folder: a SQLite file that all workers of a machine share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw

from marquee.store.campaigns.campaign_store import CampaignRow, CampaignStore, RowAfter
from marquee.store.log.sqlite_file import Durability, SqliteFile

CAMPAIGNS_FILE = "campaigns.db"

# The triggers are for whoever opens the file beside the service: the audit is what its rows say.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS campaign_changes(
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, campaign_id TEXT NOT NULL, version INTEGER NOT NULL,
    time_ms INTEGER NOT NULL, changed_by TEXT NOT NULL, change TEXT NOT NULL, body TEXT NOT NULL,
    UNIQUE(campaign_id, version)
) STRICT;
CREATE TRIGGER IF NOT EXISTS campaign_changes_stay BEFORE UPDATE ON campaign_changes
    BEGIN SELECT RAISE(ABORT, 'the audit of campaigns only grows'); END;
CREATE TRIGGER IF NOT EXISTS campaign_changes_remain BEFORE DELETE ON campaign_changes
    BEGIN SELECT RAISE(ABORT, 'the audit of campaigns only grows'); END;
"""
_ROWS = "SELECT sequence, campaign_id, version, time_ms, changed_by, change, body FROM campaign_changes"
_ROWS_OF = f"{_ROWS} WHERE campaign_id = ? AND version <= ? ORDER BY version DESC LIMIT ?"
_LATEST = f"""{_ROWS} AS one WHERE sequence > ? AND NOT EXISTS (
    SELECT 1 FROM campaign_changes AS later
    WHERE later.campaign_id = one.campaign_id AND later.version > one.version
) ORDER BY sequence"""
_INSERT = """INSERT INTO campaign_changes(campaign_id, version, time_ms, changed_by, change, body)
    VALUES (?, ?, ?, ?, ?, ?) RETURNING sequence"""


class SqliteCampaignStore(CampaignStore):
    """A `CampaignStore` in a file.

    Args:
        folder: Where the file is, that of the event log.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._file = SqliteFile(folder / CAMPAIGNS_FILE, _SCHEMA, Durability.full)

    def close(self) -> None:
        """Closes the file; see `CampaignStore`."""
        self._file.close()

    def _newest(self) -> int:
        """Returns the highest sequence; see `CampaignStore`."""
        return int(self._file.read("SELECT ifnull(max(sequence), 0) FROM campaign_changes")[0][0])

    def _latest_rows(self, after: int) -> Sequence[CampaignRow]:
        """Returns the latest row of each changed campaign; see `CampaignStore`."""
        return [CampaignRow(*row) for row in self._file.read(_LATEST, (after,))]

    def _rows_of(self, campaign_id: str, up_to: int, limit: int) -> Sequence[CampaignRow]:
        """Returns the last rows of a campaign; see `CampaignStore`."""
        return [CampaignRow(*row) for row in self._file.read(_ROWS_OF, (campaign_id, up_to, limit))]

    def _append(self, campaign_id: str, row_after: RowAfter) -> CampaignRow:
        """Adds a row; see `CampaignStore`."""

        def add(connection: apsw.Connection) -> CampaignRow:
            held: Sequence[Sequence[Any]] = connection.execute(_ROWS_OF, (campaign_id, 2**62, 1)).fetchall()
            row = row_after(CampaignRow(*held[0]) if held else None)
            number: Sequence[Sequence[Any]] = connection.execute(_INSERT, row[1:]).fetchall()
            return row._replace(sequence=number[0][0])

        return self._file.write(add)
