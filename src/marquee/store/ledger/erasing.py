"""Erases users from the ledger: what they were shown, and which decisions were theirs; the money stays."""

from collections.abc import Collection, Sequence

from marquee.store.campaigns.campaign_store import CampaignStore
from marquee.store.campaigns.opening import open_campaign_store
from marquee.store.ledger.ledger import Ledger
from marquee.store.ledger.opening import open_ledger
from marquee.store.ledger.rows import Charge, Shown
from marquee.store.log.event_log import EventLog

PAGE_ROWS = 1_000


class LedgerErasure:
    """The ledger of one service, as far as erasures go. All methods raise EventLogError.

    Args:
        ledger: The ledger.
        campaigns: What may be spent.
    """

    def __init__(self, ledger: Ledger, campaigns: CampaignStore) -> None:
        self._ledger = ledger
        self._campaigns = campaigns

    def forget(self, log: EventLog, user_id: str, decision_ids: Collection[str], now: int) -> None:
        """Deletes what leads to a user, whose rows must still be in the log.

        Args:
            log: The log.
            user_id: Who, as the log names them.
            decision_ids: Decisions of theirs that have left the store for files.
            now: Seconds since 1970 UTC.
        """
        # First: a click that is not booked yet is erased with the log, and its money would be lost.
        self._ledger.follow(log, self._campaigns.current(), now * 1000)
        found, after = set(decision_ids), 0
        while page := log.read_decisions_of(user_id, after, PAGE_ROWS):
            found.update(one.decision.decision_id for one in page)
            after = page[-1].sequence
        self._ledger.forget(user_id, found)

    def shown(self, user_id: str) -> Shown:
        """Returns when a user was shown what caps count."""
        return self._ledger.shown(user_id, 0)

    def charges(self, decision_ids: Sequence[str]) -> Sequence[Charge]:
        """Returns the outcome of each ad of some decisions."""
        return self._ledger.charges(decision_ids)

    def wipe(self) -> bool:
        """Overwrites what deleted rows have left; returns False where readers were in the way."""
        return self._ledger.wipe()

    def close(self) -> None:
        """Gives up all connections."""
        self._ledger.close()
        self._campaigns.close()


def open_ledger_erasure(where: str) -> LedgerErasure:
    """Opens the ledger beside a log for erasures; raises as `open_ledger`."""
    return LedgerErasure(open_ledger(where), open_campaign_store(where))
