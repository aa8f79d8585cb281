"""The wallet of a worker: leases of budgets that it spends from memory, without asking the ledger each time.

A lease ends here by a clock that only goes forward, counted from before it was asked for, and earlier than
the ledger gives it away: whoever was stopped for a while finds it ended. A worker that cannot reach the
ledger spends what it holds, and then nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple

from marquee.errors import EventLogError
from marquee.store.ledger.rows import Lease, LeaseRequest, Limits, Returned

TakeLease = Callable[[LeaseRequest | None, int, Sequence[Returned], int], Lease | None]
"""`Ledger.lease`, or what asks it in a thread of its own and waits for it only so long."""


class Moment(NamedTuple):
    """Now, by both clocks.

    Attributes:
        steady_s: Seconds that only go forward, also while the machine sleeps.
        time_ms: Milliseconds since 1970 UTC.
    """

    steady_s: float
    time_ms: int


@dataclass(frozen=True, kw_only=True)
class WalletConfig:
    """How a worker takes leases.

    Attributes:
        duration_s: How long the ledger keeps a lease for its holder.
        spend_s: How long the holder spends from it; shorter by more than clocks drift.
        idle_s: A lease of which nothing was spent for so long is given back.
        retry_s: A campaign without money, and a ledger that refuses, are asked again after so long.
        n_ads: A first lease is for so many ads.
    """

    duration_s: float = 30.0
    spend_s: float = 25.0
    idle_s: float = 5.0
    retry_s: float = 0.5
    n_ads: int = 8


@dataclass(slots=True)
class _Slot:
    """The lease that the worker holds of one campaign on one day, if any."""

    lock: Lock
    number: int = 0
    left: int = 0
    spent: int = 0
    ends_s: float = 0.0
    used_s: float = 0.0
    wanted: int = 0
    retry_s: float = 0.0


class Wallet:
    """The leases of one process. Every method may be called from several threads.

    Args:
        take: Takes and gives back leases.
        holder: Names this process, for people who look into the tables.
        config: How leases are taken.
    """

    def __init__(self, take: TakeLease, holder: str, config: WalletConfig | None = None) -> None:
        self._take = take
        self._holder = holder
        self._config = config or WalletConfig()
        self._slots: dict[tuple[str, str], _Slot] = {}
        self._making = Lock()
        self._known = 0
        self._is_cut_off = False

    @property
    def is_cut_off(self) -> bool:
        """Whether the ledger refused when it was asked last."""
        return self._is_cut_off

    def reserve(self, limits: Limits, amount: int, now: Moment) -> int | None:
        """Takes an amount from what is held, and returns the number of the lease; None if there is none.

        Args:
            limits: Whose money, and how much there may be.
            amount: Above 0.
            now: The moment.
        """
        slot = self._slot(limits)
        with slot.lock:
            if not self._has(slot, amount, now) and not self._refill(slot, limits, amount, now):
                return None
            slot.left -= amount
            slot.spent += amount
            slot.used_s = now.steady_s
            # Only leases that were spent from: of others no decision tells a ledger that was restored.
            self._known = max(self._known, slot.number)
            return slot.number

    def cancel(self, limits: Limits, number: int, amount: int) -> None:
        """Puts back what was reserved and of which no decision will tell."""
        slot = self._slot(limits)
        with slot.lock:
            # A lease that was given back since counts it as spent, until the log shows that it was not.
            if slot.number == number:
                slot.left += amount
                slot.spent -= amount

    def tidy(self, now: Moment, *, everything: bool = False) -> None:
        """Gives back leases that have ended or lie idle; all of them as the process ends.

        Raises:
            EventLogError: If the ledger refuses: they end by their time.
        """
        for key, slot in list(self._slots.items()):
            with slot.lock:
                is_idle = now.steady_s - slot.used_s >= self._config.idle_s
                if slot.number and (everything or is_idle or now.steady_s >= slot.ends_s):
                    returned = (Returned(slot.number, slot.spent),)
                    slot.number, slot.left = 0, 0
                    self._take(None, now.time_ms, returned, 0)
                elif not slot.number and is_idle:
                    self._slots.pop(key, None)

    def _slot(self, limits: Limits) -> _Slot:
        """Returns the slot of a campaign and a day."""
        key = (limits.campaign_id, limits.day)
        slot = self._slots.get(key)
        if slot is None:
            with self._making:
                slot = self._slots.setdefault(key, _Slot(Lock()))
        return slot

    def _has(self, slot: _Slot, amount: int, now: Moment) -> bool:
        """Returns whether a slot holds an amount that may still be spent."""
        return slot.number > 0 and slot.left >= amount and now.steady_s < slot.ends_s

    def _refill(self, slot: _Slot, limits: Limits, amount: int, now: Moment) -> bool:
        """Exchanges the lease of a slot for one that holds an amount; False if there is none."""
        if now.steady_s < slot.retry_s:
            return False
        returned = (Returned(slot.number, slot.spent),) if slot.number else ()
        has_ended = now.steady_s >= slot.ends_s
        # Spent before its time: a larger one next, so that the ledger is asked a few times in `spend_s`.
        slot.wanted = max(amount * self._config.n_ads, slot.spent * (1 if has_ended else 2))
        duration_ms = int(self._config.duration_s * 1000)
        request = LeaseRequest(self._holder, limits, amount, slot.wanted, duration_ms)
        lease = None
        try:
            lease = self._take(request, now.time_ms, returned, self._known)
            self._is_cut_off = False
        except EventLogError:
            # What is held is kept: the exchange has not happened, or is undone when the lease ends.
            self._is_cut_off = True
            slot.retry_s = now.steady_s + self._config.retry_s
            return False
        if lease is None:
            slot.number, slot.left, slot.spent = 0, 0, 0
            slot.retry_s = now.steady_s + self._config.retry_s
            return False
        slot.number, slot.left, slot.spent = lease.number, lease.amount, 0
        # From before the lease was asked for: the ledger began to count later.
        slot.ends_s = now.steady_s + self._config.spend_s
        return True
