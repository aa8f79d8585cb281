"""Both ledgers for tests, beside the log of the same store, driven by a clock of the test."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from marquee.ads.wallet import Moment
from marquee.store.campaigns.campaign import CampaignSet
from marquee.store.ledger.ledger import DRAIN_MS, Ledger
from marquee.store.ledger.opening import open_ledger
from marquee.store.ledger.rows import Account, Followed, LeaseRequest
from marquee.store.ledger.sqlite import SqliteLedger
from marquee.store.log.event_log import EventLog
from marquee.store.log.opening import POSTGRES_SCHEMES, open_event_log
from marquee.store.log.sales import Sale
from tests.support.campaigns import campaign, set_of
from tests.support.event_stores import NOW, decision, event

LEASE_MS = 30_000
HOUR_MS = 3_600_000
DAY_OF_NOW = "2023-11-14"


def open_test_ledger(where: str) -> Ledger:
    """Returns a ledger by whose clock the test decides."""
    if where.startswith(POSTGRES_SCHEMES):
        from marquee.store.ledger.postgres import PostgresLedger

        return PostgresLedger(where, by_own_clock=False)
    return SqliteLedger(Path(where))


@dataclass
class Shop:
    """A ledger with its log, as one worker has them, and a clock.

    Attributes:
        log: The event log.
        ledger: The ledger.
        campaigns: What may be spent.
        now_ms: Milliseconds since 1970 UTC.
    """

    log: EventLog
    ledger: Ledger
    campaigns: CampaignSet = field(default_factory=lambda: set_of(campaign()))
    now_ms: int = NOW * 1000

    def request(self, least: int, wanted: int, campaign_id: str = "spring") -> LeaseRequest:
        """Returns a wish for money of a campaign today."""
        from marquee.store.ledger.accounts import limits_of

        limits = limits_of(self.campaigns.held[campaign_id], campaign_id, DAY_OF_NOW)
        return LeaseRequest("worker", limits, least, wanted, LEASE_MS)

    def moment(self) -> Moment:
        """Returns now by both clocks, which agree."""
        return Moment(self.now_ms / 1000, self.now_ms)

    def sell(self, decision_id: str, lease: int, price: int, campaign_id: str = "spring") -> None:
        """Records a decision with one ad, whose click has an hour."""
        until_ms = self.now_ms + HOUR_MS
        sale = Sale("ad-1", campaign_id, "cpc", price, price, lease, DAY_OF_NOW, until_ms)
        self.log.append_decisions([decision(decision_id, time_ms=self.now_ms, sales=(sale,))])

    def click(self, decision_id: str, name: str = "", item_id: str = "ad-1", kind: str = "click") -> None:
        """Receives an event of an ad now."""
        seconds = self.now_ms // 1000
        event_id = name or f"{kind} {decision_id}"
        changes = {"timestamp": seconds, "received": seconds, "decision_id": decision_id, "kind": kind}
        self.log.append([event(event_id, item_id=item_id, **changes)])

    def follow(self) -> Followed:
        """Reads the log."""
        return self.ledger.follow(self.log, self.campaigns, self.now_ms)

    def account(self, campaign_id: str = "spring") -> Account:
        """Returns the account of the flight."""
        return self.ledger.accounts(campaign_id)[0]

    def end_leases(self) -> None:
        """Lets so much time pass that every lease is over and the log drained."""
        self.now_ms += LEASE_MS + DRAIN_MS + 1
        self.follow()

    def close(self) -> None:
        """Closes both."""
        self.log.close()
        self.ledger.close()


@contextmanager
def shop(where: str) -> Iterator[Shop]:
    """Opens a ledger and its log; closes them at the end."""
    opened = Shop(open_event_log(where), open_test_ledger(where))
    try:
        yield opened
    finally:
        opened.close()


__all__ = ["DAY_OF_NOW", "HOUR_MS", "LEASE_MS", "Shop", "open_ledger", "open_test_ledger", "shop"]
