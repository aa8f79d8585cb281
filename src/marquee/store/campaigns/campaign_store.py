"""The store of campaigns: what each says now, and everything that each ever said.

```
campaign_changes   sequence, campaign, its version, when, whose key, the word for the change, the whole
```

One table is both the campaigns and their audit: a campaign is its row of the highest version, a change adds a
row, and no statement of ours changes or deletes one; triggers refuse it as well. A campaign is a row of its
own, not part of one set as rules are: there may be ten thousand, and two people change two of them at once.

Reads no clock. A worker asks for the highest sequence before each answer, and reads only what came since.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from threading import Lock
from typing import NamedTuple

import msgspec

from marquee.errors import CampaignChangedError
from marquee.store.campaigns.campaign import NO_CAMPAIGNS, Campaign, CampaignSet, HeldCampaign
from marquee.store.campaigns.plain import campaign_of, plain_campaign


class CampaignRow(NamedTuple):
    """A row of the table, in the order of its columns."""

    sequence: int
    campaign_id: str
    version: int
    time_ms: int
    changed_by: str
    change: str
    body: str


RowAfter = Callable[[CampaignRow | None], CampaignRow]
"""Makes the next row of a campaign, without its sequence, from the latest one; None for none yet."""


class CampaignStore(ABC):
    """The campaigns, as a process sees them. Every method may be called from several threads at once.

    All raise EventLogFullError where the disk is full and EventLogGoneError where the store cannot be
    reached; a later call tries anew.

    Attributes:
        is_remote: Whether asking takes a network, which may hang.
    """

    is_remote = False

    def __init__(self) -> None:
        self._known = NO_CAMPAIGNS
        self._reading = Lock()

    def current(self) -> CampaignSet:
        """Returns all campaigns as they are now; the same object until one changes."""
        if self._newest() == self._known.sequence:
            return self._known
        # One at a time: ten thousand campaigns are read once, not by every thread that found them new.
        with self._reading:
            known = self._known
            newest = self._newest()
            if newest < known.sequence:
                known = NO_CAMPAIGNS  # the store went back to an older copy: what it says now holds
            if newest != known.sequence:
                known = known.with_changes(map(_held_of, self._latest_rows(known.sequence)))
            self._known = known
            return known

    def find(self, campaign_id: str) -> HeldCampaign | None:
        """Returns a campaign as it is now, None if there is none of that name."""
        rows = self._rows_of(campaign_id, 2**62, 1)
        return _held_of(rows[0]) if rows else None

    def history(self, campaign_id: str, up_to: int, limit: int) -> list[HeldCampaign]:
        """Returns the last `limit` versions of a campaign up to one, the latest first."""
        return [_held_of(row) for row in self._rows_of(campaign_id, up_to, limit)]

    def put(
        self, campaign: Campaign, expected: int, change: str, changed_by: str, time_ms: int
    ) -> HeldCampaign:
        """Keeps a campaign as it is from now on, and returns it once it is forced to disk.

        Args:
            campaign: All of it.
            expected: Version of what it replaces; 0 for a new one.
            change: The word for the change.
            changed_by: Name of the key.
            time_ms: Now, milliseconds since 1970 UTC.

        Raises:
            CampaignChangedError: If it is of another version; nothing was changed.
        """
        body = msgspec.json.encode(plain_campaign(campaign)).decode()

        def row_after(held: CampaignRow | None) -> CampaignRow:
            """Returns the row that follows the one that holds; called under the lock of the writers."""
            version = held.version if held else 0
            if version != expected:
                raise CampaignChangedError(
                    f"the campaign {campaign.campaign_id!r} is of version {version}, got a change of version "
                    f"{expected}; read it, make the change anew and send its version",
                    version=version,
                )
            return CampaignRow(0, campaign.campaign_id, version + 1, time_ms, changed_by, change, body)

        return _held_of(self._append(campaign.campaign_id, row_after))

    @abstractmethod
    def close(self) -> None:
        """Gives up all connections."""

    @abstractmethod
    def _newest(self) -> int:
        """Returns the highest sequence, 0 if there is none."""

    @abstractmethod
    def _latest_rows(self, after: int) -> Sequence[CampaignRow]:
        """Returns the latest row of each campaign that changed after a sequence, ascending."""

    @abstractmethod
    def _rows_of(self, campaign_id: str, up_to: int, limit: int) -> Sequence[CampaignRow]:
        """Returns the last `limit` rows of a campaign whose version is at most `up_to`, the latest first."""

    @abstractmethod
    def _append(self, campaign_id: str, row_after: RowAfter) -> CampaignRow:
        """Adds the row that `row_after` makes of a campaign's latest one, while nobody else adds any."""


def _held_of(row: CampaignRow) -> HeldCampaign:
    """Returns the campaign of a row."""
    campaign = campaign_of(msgspec.json.decode(row.body))
    return HeldCampaign(campaign, row.version, row.time_ms, row.changed_by, row.change, row.sequence)
