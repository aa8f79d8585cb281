"""The wallet of a worker: leases of budgets that it spends from memory, and never asks for within an answer.

```
reserve     takes from a lease that is held, or wishes for one and takes nothing
refill      asks the ledger for all that was wished for, and gives back what is not needed; beside the answers
```

A lease ends here by a clock that only goes forward, counted from before it was asked for, and earlier than
the ledger gives it away: whoever was stopped for a while finds it ended. A worker that cannot reach the
ledger spends what it holds, and then nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from threading import Lock
from typing import NamedTuple

from marquee.errors import EventLogError
from marquee.store.ledger.rows import Lease, LeaseRequest, Limits, Returned

TakeLeases = Callable[[Sequence[LeaseRequest], int, Sequence[Returned], int], Sequence[Lease | None]]
"""`Ledger.leases`, or what asks it in a thread of its own and waits for it only so long."""

MOST_AT_ONCE = 100
"""Leases of one transaction: others who want money wait for it."""

# A lease is renewed once it has no more than so much of its money, or of its time.
_LOW = 0.25
# A lease that is spent before its time is followed by one of so many times what was spent of it.
_GROWTH = 3
# A campaign holds a lease for so many times as long as between two of its ads.
_GAPS = 3.0


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
        longest_s: The most of both for a campaign whose ads come seldom: three times as long as between two.
        retry_s: A campaign without money, and a ledger that refuses, are asked again after so long.
        n_ads: A first lease is for so many ads.
    """

    duration_s: float = 30.0
    spend_s: float = 25.0
    idle_s: float = 5.0
    longest_s: float = 600.0
    retry_s: float = 0.5
    n_ads: int = 8


class Lack(StrEnum):
    """The reasons for which there is no money at hand."""

    no_lease = "no_lease"  # it was wished for and comes soon
    no_money = "no_money"  # the ledger has said that there is none
    cut_off = "cut_off"  # the ledger cannot be asked


@dataclass(slots=True)
class _Held:
    """A lease as its holder spends it."""

    number: int
    left: int
    ends_s: float
    is_scarce: bool
    amount: int
    spent: int = 0

    def has(self, amount: int, now_s: float) -> bool:
        """Returns whether an amount may still be spent of it."""
        return self.left >= amount and now_s < self.ends_s


@dataclass(slots=True)
class _Slot:
    """The leases that the worker holds of one campaign on one day: one, or two while it is renewed."""

    limits: Limits
    lock: Lock = field(default_factory=Lock)
    held: list[_Held] = field(default_factory=list)
    least: int = 0
    spent_of_last: int = 0
    spent_s: float | None = None
    used_s: float = 0.0
    gap_s: float = 0.0
    retry_s: float = 0.0
    is_denied: bool = False

    def usable(self, amount: int, now_s: float) -> list[_Held]:
        """Returns the leases that an amount may be taken from, the oldest first."""
        return [one for one in self.held if one.has(amount, now_s)]

    def note_use(self, now_s: float) -> None:
        """Notes that an ad of the campaign was to be paid for."""
        if self.spent_s is not None:
            # Forgotten slowly: one short gap says little of the next.
            self.gap_s = max(now_s - self.spent_s, self.gap_s * 0.9)
        self.spent_s = self.used_s = now_s


class Wallet:
    """The leases of one process. Every method may be called from several threads.

    Args:
        take: Takes and gives back leases.
        holder: Names this process, for people who look into the tables.
        config: How leases are taken.
        wake: Called when something was wished for; must return at once.
    """

    def __init__(
        self,
        take: TakeLeases,
        holder: str,
        config: WalletConfig | None = None,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self._take = take
        self._holder = holder
        self._config = config or WalletConfig()
        self._wake = wake
        self._slots: dict[tuple[str, str], _Slot] = {}
        self._making, self._filling = Lock(), Lock()
        self._wishes: set[tuple[str, str]] = set()
        self._retired: list[Returned] = []
        self._known = 0
        self._is_cut_off = False

    @property
    def is_cut_off(self) -> bool:
        """Whether the ledger refused when it was asked last."""
        return self._is_cut_off

    def reserve(self, limits: Limits, amount: int, now: Moment) -> int | None:
        """Takes an amount from what is held, and returns the number of the lease; None if there is none.

        Asks nobody: a lease that is low, or missing, is wished for, and comes with `refill`.

        Args:
            limits: Whose money, and how much there may be.
            amount: Above 0.
            now: The moment.
        """
        slot = self._slot(limits)
        with slot.lock:
            slot.note_use(now.steady_s)
            usable = slot.usable(amount, now.steady_s)
            if not usable:
                self._wish(slot, limits, amount, now)
                return None
            lease = usable[0]
            lease.left -= amount
            lease.spent += amount
            # Only leases that were spent from: of others no decision tells a ledger that was restored.
            self._known = max(self._known, lease.number)
            if len(usable) == 1 and self._is_low(slot, lease, now):
                self._wish(slot, limits, amount, now)
            return lease.number

    def expect(self, limits: Limits, amount: int, now: Moment) -> None:
        """Wishes for a lease where none is held: an ad for so much may have to be paid for soon."""
        slot = self._slot(limits)
        with slot.lock:
            slot.used_s = now.steady_s
            if not slot.usable(amount, now.steady_s):
                self._wish(slot, limits, amount, now)

    def lack(self, limits: Limits) -> Lack:
        """Returns why nothing could be reserved of a budget a moment ago."""
        if self._is_cut_off:
            return Lack.cut_off
        return Lack.no_money if self._slot(limits).is_denied else Lack.no_lease

    def cancel(self, limits: Limits, number: int, amount: int) -> None:
        """Puts back what was reserved and of which no decision will tell."""
        slot = self._slot(limits)
        with slot.lock:
            # A lease that was given back since counts it as spent, until the log shows that it was not.
            for lease in slot.held:
                if lease.number == number:
                    lease.left += amount
                    lease.spent -= amount

    def refill(self, now: Moment) -> None:
        """Asks the ledger for what was wished for; where it refuses, what is held goes on (`is_cut_off`)."""
        with self._filling:
            while self._wishes:
                names = [self._wishes.pop() for _ in range(min(MOST_AT_ONCE, len(self._wishes)))]
                # One may have been wished for again while it was taken.
                slots = [slot for name in names if (slot := self._slots.get(name)) and slot.least]
                try:
                    self._exchange(slots, now)
                except EventLogError:
                    return

    def tidy(self, now: Moment, *, everything: bool = False) -> None:
        """Gives back leases that have ended or lie idle; all of them as the process ends.

        Raises:
            EventLogError: If the ledger refuses: they end by their time.
        """
        with self._filling:
            for key, slot in list(self._slots.items()):
                with slot.lock:
                    self._retire(
                        slot, [one for one in slot.held if everything or self._is_over(slot, one, now)]
                    )
                    is_forgotten = now.steady_s - slot.used_s >= self._config.longest_s
                    if not slot.held and (everything or is_forgotten):
                        self._slots.pop(key, None)
            if self._retired:
                self._exchange([], now)

    def _slot(self, limits: Limits) -> _Slot:
        """Returns the slot of a campaign and a day."""
        key = (limits.campaign_id, limits.day)
        slot = self._slots.get(key)
        if slot is None:
            with self._making:
                slot = self._slots.setdefault(key, _Slot(limits))
        return slot

    def _wish(self, slot: _Slot, limits: Limits, amount: int, now: Moment) -> None:
        """Wishes for a lease that holds an amount, unless the ledger was asked a moment ago."""
        if now.steady_s < slot.retry_s:
            return
        slot.limits, slot.least = limits, max(slot.least, amount)
        self._wishes.add((limits.campaign_id, limits.day))
        self._wake()

    def _is_low(self, slot: _Slot, lease: _Held, now: Moment) -> bool:
        """Returns whether a lease is to be renewed; of a budget that is nearly spent none is in advance."""
        # Or it would end before the next ad comes.
        needed_s = max(self._config.spend_s * _LOW, _GAPS / 2 * slot.gap_s)
        is_ending = lease.ends_s - now.steady_s <= needed_s
        return (is_ending or lease.left <= lease.amount * _LOW) and not lease.is_scarce

    def _is_over(self, slot: _Slot, lease: _Held, now: Moment) -> bool:
        """Returns whether a lease has ended, or was not spent from for so long that others may need it."""
        if now.steady_s >= lease.ends_s:
            return True
        if lease.is_scarce:
            return now.steady_s - (slot.spent_s or 0.0) >= self._config.idle_s
        idle_s = min(max(self._config.idle_s, _GAPS * slot.gap_s), self._config.longest_s)
        return now.steady_s - slot.used_s >= idle_s

    def _retire(self, slot: _Slot, leases: Sequence[_Held]) -> None:
        """Takes leases out of use, to be given back with the next question to the ledger."""
        for lease in leases:
            slot.held.remove(lease)
            slot.spent_of_last = lease.spent
            self._retired.append(Returned(lease.number, lease.spent))

    def _exchange(self, slots: Sequence[_Slot], now: Moment) -> None:
        """Takes a lease for each of some slots, and gives back all that is out of use, in one step."""
        requests = [self._request(slot, now) for slot in slots]
        returned, self._retired = self._retired, []
        try:
            leases = self._take(requests, now.time_ms, returned, self._known)
        except EventLogError:
            # The exchange has not happened, or is undone when the leases end.
            self._is_cut_off = True
            self._retired += returned
            for slot in slots:
                slot.retry_s = now.steady_s + self._config.retry_s
            raise
        self._is_cut_off = False
        for slot, request, lease in zip(slots, requests, leases, strict=True):
            with slot.lock:
                self._keep(slot, request, lease, now)

    def _request(self, slot: _Slot, now: Moment) -> LeaseRequest:
        """Returns the wish of a slot, whose leases that do not hold it go back."""
        with slot.lock:
            least = slot.least
            is_renewed = any(now.steady_s < one.ends_s for one in slot.held)
            self._retire(slot, [one for one in slot.held if not one.has(least, now.steady_s)])
            spent = max([slot.spent_of_last, *(one.spent for one in slot.held)])
            # So that the ledger is asked a few times in `spend_s`, however busy the campaign is.
            wanted = max(least * self._config.n_ads, spent * (_GROWTH if is_renewed else 1))
            longest = max(self._config.duration_s, min(_GAPS * slot.gap_s, self._config.longest_s))
            slot.least = 0
            return LeaseRequest(self._holder, slot.limits, least, wanted, int(longest * 1000))

    def _keep(self, slot: _Slot, request: LeaseRequest, lease: Lease | None, now: Moment) -> None:
        """Keeps a lease that was taken, or that there is none."""
        slot.is_denied = lease is None
        if lease is None:
            slot.retry_s = now.steady_s + self._config.retry_s
            return
        spend_s = request.duration_ms / 1000 * self._config.spend_s / self._config.duration_s
        # From before the lease was asked for: the ledger began to count later.
        ends_s = now.steady_s + spend_s
        is_scarce = lease.amount < request.wanted
        slot.held.append(_Held(lease.number, lease.amount, ends_s, is_scarce, lease.amount))
