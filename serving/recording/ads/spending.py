"""The money of one worker: leases of budgets, caps, and a thread that books what the log tells.

Every worker follows the log; what one has booked, the others pass over. So no worker is the only one that
charges, and one that is killed leaves nothing undone.
"""

import logging
import os
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from marquee.ads.selling import Buy, NotSold, limits_now, sell
from marquee.ads.wallet import Moment, Wallet, WalletConfig
from marquee.errors import EventLogError, EventLogGoneError
from marquee.store.campaigns.campaign import HeldCampaign
from marquee.store.campaigns.checks import LONGEST_WINDOW_S
from marquee.store.campaigns.opening import open_campaign_store
from marquee.store.ledger.ledger import Ledger
from marquee.store.ledger.opening import open_ledger
from marquee.store.ledger.rows import Account, CapClaim, Lease, LeaseRequest, Returned, Shown
from marquee.store.ledger.traffic import HourCount, counted_until
from marquee.store.log.sales import Sale
from serving.recording.ads.asking import Asker
from serving.recording.ads.campaigns import BUDGET_S, Campaigns
from serving.recording.ads.metrics import CampaignMetrics
from serving.recording.opening import Opened, OpenedLog
from serving.telemetry.background import Background, ThreadMetrics
from serving.telemetry.metrics import Metrics

Result = TypeVar("Result")

logger = logging.getLogger(__name__)

FOLLOW_EVERY_S = 1.0
"""A click is charged about so long after it came."""

EXPIRE_EVERY_S = 3600.0

MOST_PREPARED = 500
"""Campaigns that hold money before they win; of more each takes some as it first wins."""

_MS_PER_S = 1000


def steady_s() -> float:
    """Returns seconds that only go forward, and go on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Spending:
    """The money of one process. Every method may be called from several threads.

    Args:
        where: That of the event log.
        log: Tells what was spent.
        metrics: What counts.
        config: How leases are taken.
        open_store: Opens the ledger.
        clock: Returns the time, seconds since 1970 UTC.
        steady: Returns seconds that only go forward.
        make_wallet: Makes what holds the leases.

    Attributes:
        campaigns: The campaigns whose money it is.
    """

    def __init__(
        self,
        where: str,
        log: OpenedLog,
        metrics: Metrics,
        config: WalletConfig | None = None,
        open_store: Callable[[str], Ledger] = open_ledger,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = steady_s,
        make_wallet: Callable[..., Wallet] = Wallet,
    ) -> None:
        self.campaigns = Campaigns(where, metrics, clock=clock)
        self._log = log
        self._ledger = Opened(where, open_store)
        self._metrics = metrics.family(CampaignMetrics)
        self._threads = metrics.family(ThreadMetrics)
        self._clock = clock
        self._steady = steady
        self._wallet = make_wallet(self._leases, f"{os.uname().nodename}:{os.getpid()}", config, self._wake)
        # Apart: whoever wants money may wait for a page that is being booked, and caps never do.
        self._lease_asker, self._cap_asker = Asker("leases", BUDGET_S), Asker("caps", BUDGET_S)
        self._thread: Background | None = None
        self._leasing: Background | None = None
        self._expire_at = 0.0
        # A store of caps that was lost is counted again by the first look at the log; see `open`.
        self._is_counted = True
        self._counted_until = 0

    @property
    def is_cut_off(self) -> bool:
        """Whether the ledger refused when it was asked last: the worker spends only what it holds."""
        return self._wallet.is_cut_off

    def now(self) -> Moment:
        """Returns now by both clocks."""
        return Moment(self._steady(), int(self._clock() * _MS_PER_S))

    def sell(self, buys: Sequence[Buy], user_id: str | None, now: Moment) -> list[Sale | NotSold]:
        """Returns the sale of each ad, or why it is not sold; see `marquee.ads.selling.sell`.

        Args:
            buys: In the order of the places.
            user_id: Pseudonym by which ads may be counted; None where nobody may.
            now: The moment, at the time that the decision has on record: by that its ads are found again
                where the store of caps was lost.
        """
        return sell(buys, user_id, self.campaigns.current(), self._wallet, self._admit, now)

    def shown(self, user_id: str, now: Moment) -> Shown | None:
        """Returns the ads that a user was shown within the longest window; None if that cannot be asked."""
        since_ms = now.time_ms - LONGEST_WINDOW_S * _MS_PER_S
        try:
            return self._asked(self._cap_asker, lambda ledger: ledger.shown(user_id, since_ms))
        except EventLogError:
            return None

    def prepare(self, held: HeldCampaign, amount: int) -> None:
        """Wishes for money of a campaign that may win soon, where there are not too many of them.

        Args:
            held: The campaign.
            amount: What one ad of it is expected to reserve, millionths, above 0.
        """
        if len(self.campaigns.current().held) <= MOST_PREPARED:
            now = self.now()
            self._wallet.expect(limits_now(held, now), amount, now)

    def refill(self) -> None:
        """Asks the ledger for the leases that answers have wished for."""
        self._wallet.refill(self.now())

    def accounts(self, campaign_id: str) -> Sequence[Account]:
        """Returns the accounts of a campaign; raises EventLogError."""
        return self._ledger.get(patience_s=BUDGET_S).accounts(campaign_id)

    def traffic(self) -> tuple[int, list[HourCount]]:
        """Returns the first hour that is not counted, and the counts before; raises EventLogError."""
        ledger = self._ledger.get(patience_s=BUDGET_S)
        return ledger.traffic_until(), ledger.traffic()

    def count_traffic(self) -> None:
        """Counts the decisions of the hours that are over; raises EventLogError."""
        now_ms = self.now().time_ms
        # The store is asked once an hour: until then there is nothing to count.
        if counted_until(now_ms) > self._counted_until:
            ledger = self._ledger.get(patience_s=BUDGET_S)
            ledger.count_traffic(self._log.get(patience_s=BUDGET_S), now_ms)
            self._counted_until = counted_until(now_ms)

    def lose(self, decision_id: str, item_id: str) -> bool:
        """Gives back the money of a lost bid, and returns whether that was news; raises EventLogError."""
        return self._ledger.get(patience_s=BUDGET_S).lose(decision_id, item_id, self.now().time_ms)

    def forget(self, user_id: str, decision_ids: Sequence[str]) -> None:
        """Deletes what leads to a user, once what the log tells of them is booked; raises EventLogError."""
        self.follow()
        self._ledger.get(patience_s=BUDGET_S).forget(user_id, decision_ids)

    def follow(self) -> None:
        """Books what the log tells, and gives back leases that lie idle; raises EventLogError."""
        now = self.now()
        ledger = self._ledger.get(patience_s=BUDGET_S)
        done = ledger.follow(self._log.get(patience_s=BUDGET_S), self.campaigns.current(), now.time_ms)
        self._is_counted = True
        self._metrics.count_followed(done)
        if done.unbilled:
            reasons = {reason.value: number for reason, number in done.unbilled.items()}
            logger.warning("billable events were not charged", extra={"facts": reasons})
        self._wallet.tidy(now)
        self._metrics.show_cut_off(is_cut_off=self._wallet.is_cut_off)
        if now.steady_s >= self._expire_at:
            self._expire_at = now.steady_s + EXPIRE_EVERY_S
            ledger.expire(now.time_ms, now.time_ms - LONGEST_WINDOW_S * _MS_PER_S)

    def open(self, interval_s: float = FOLLOW_EVERY_S) -> None:
        """Reads the campaigns, and begins to follow these and the log in threads of their own.

        Raises:
            EventLogError: If the store of campaigns cannot be made or reached.
            ConfigError: If it never can.
        """
        self.campaigns.open()
        self._is_counted = False
        self._turn()
        self.campaigns.watch()
        self._thread = Background("ledger", self._turn, interval_s, self._threads, self._clock)
        self._thread.start()
        # Apart: booking reads pages of the log, and an answer that has no lease waits for nothing else.
        self._leasing = Background("leases", self.refill, interval_s, self._threads, self._clock)
        self._leasing.start()

    def close(self) -> None:
        """Ends the threads, gives back what is held, and gives up the ledger."""
        for thread in (self._thread, self._leasing):
            if thread is not None:
                thread.close()
        try:
            self._wallet.tidy(self.now(), everything=True)
        except EventLogError as error:
            logger.warning("leases are not given back and end by their time: %s", error)
        for asker in (self._lease_asker, self._cap_asker):
            asker.close()
        if self._lease_asker.is_idle and self._cap_asker.is_idle:
            self._ledger.close()
        self.campaigns.close()

    def _turn(self) -> None:
        """Follows the log once; a store that is gone is a state, not a fault."""
        try:
            self.follow()
            self.count_traffic()
        except EventLogError as error:
            self._metrics.show_cut_off(is_cut_off=True)
            logger.warning("the ledger cannot follow the log: %s", error)

    def _wake(self) -> None:
        """Has leases taken that an answer has wished for."""
        if self._leasing is not None:
            self._leasing.wake()

    def _leases(
        self, requests: Sequence[LeaseRequest], now_ms: int, returned: Sequence[Returned], known: int
    ) -> Sequence[Lease | None]:
        """Takes and gives back leases; see `Ledger.leases`."""
        return self._asked(self._lease_asker, lambda ledger: ledger.leases(requests, now_ms, returned, known))

    def _admit(self, user_id: str, claims: Sequence[CapClaim], now_ms: int) -> Sequence[bool]:
        """Checks and counts caps; see `Ledger.admit`."""
        if not self._is_counted:
            raise EventLogGoneError(
                f"caps must be counted from the log first, got {len(claims)} ads before; they are asked for "
                "again in a moment"
            )
        return self._asked(self._cap_asker, lambda ledger: ledger.admit(user_id, claims, now_ms))

    def _asked(self, asker: Asker, work: Callable[[Ledger], Result]) -> Result:
        """Returns the result of work on the ledger, within the budget where that takes a network."""
        ledger = self._ledger.get()
        return asker.ask(lambda: work(ledger)) if ledger.is_remote else work(ledger)


def validate_campaigns(where: str) -> None:
    """Raises ConfigError or EventLogError if campaigns or their money cannot be kept; makes the stores."""
    if where:
        open_campaign_store(where).close()
        open_ledger(where).close()
