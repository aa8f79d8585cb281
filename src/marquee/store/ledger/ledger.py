"""The ledger: what each campaign may spend, which worker holds how much of it, and what was charged.

```
accounts       campaign and day ('' for the whole flight): budget, charged, held, unbilled
leases         slices of a budget that a worker may spend by itself for a while, numbered for ever
reservations   one row per ad of a decision: its price, and what became of it
early          billable events whose decision was not in the log yet
fading         reservations of which ever less is held, and how long the events of a campaign take
settled        prices at which an exchange has settled impressions
traffic        decisions of each surface by the hour, whoever was shown what (see `traffic`)
marks          up to where the log was read, and the highest number of a lease
shown          one row per ad that a user was shown and a cap counts
shown_marks    up to where the log holds no ad that is not counted there
```

Money moves one way. `lease` takes free money of an account to a lease, and a worker spends it from memory.
The decision is recorded with the number of the lease; `follow` reads the log and moves the money from the
lease to a reservation, and from there to what was charged, once, or back when its time is over. So the log
tells all that was spent: a ledger that is behind, empty or restored from an older copy reads what it lacks.

    budget - charged - held = free        held = rest of leases + open reservations

A lease is fenced by its number: once its rest was given back to the account, decisions that come with it
hold nothing, and their events are unbilled. It is given back only after the log was read to an end that is
`DRAIN_MS` younger than the end of the lease. Nothing is ever charged above the budget.

Reads no clock. Two stores keep the contract, and one test asks both; `opening` chooses.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, TypeVar

from marquee.errors import LedgerBehindError
from marquee.store.campaigns.campaign import CampaignSet
from marquee.store.ledger import booking, leasing, traffic
from marquee.store.ledger.accounts import COLUMNS
from marquee.store.ledger.recounting import Recount
from marquee.store.ledger.rows import (
    Account,
    Books,
    CapClaim,
    Charge,
    Followed,
    Lease,
    LeaseRequest,
    Returned,
    Shown,
    is_capped,
)
from marquee.store.log.event_log import EventLog

DRAIN_MS = 60_000
"""Longer than any worker holds a decision before it is in the log."""

PAGE_ROWS = 500
"""Rows of the log that one transaction books: others who want money wait for it."""

_SHOWN = "SELECT key, time_ms FROM ledger_shown WHERE user_id = ? AND time_ms > ?"
_CHARGES = """SELECT decision_id, item_id, campaign_id, bid_type, price, state FROM ledger_reservations
WHERE decision_id IN"""
_ACCOUNTS = f"SELECT {COLUMNS} FROM ledger_accounts WHERE campaign_id = ? ORDER BY day"

Result = TypeVar("Result")


class Ledger(ABC):
    """The ledger, as a process sees it. Every method may be called from several threads at once.

    All raise EventLogFullError where the disk is full and EventLogGoneError where the store cannot be
    reached; nothing is then changed, and a later call tries anew.

    Args:
        drain_ms: How long after its end a lease waits for decisions that were made with it.

    Attributes:
        is_remote: Whether asking takes a network, which may hang.
    """

    is_remote = False

    def __init__(self, drain_ms: int = DRAIN_MS) -> None:
        self._drain_ms = drain_ms
        self._recount = Recount(self._caps, self._read_shown, self._opened)

    def lease(
        self, request: LeaseRequest | None, now_ms: int, returned: Sequence[Returned] = (), known: int = 0
    ) -> Lease | None:
        """Takes money of one campaign, or gives back only; see `leases`."""
        wanted = [] if request is None else [request]
        return next(iter(self.leases(wanted, now_ms, returned, known)), None)

    def leases(
        self,
        requests: Sequence[LeaseRequest],
        now_ms: int,
        returned: Sequence[Returned] = (),
        known: int = 0,
    ) -> list[Lease | None]:
        """Takes money of campaigns, and gives back what is not needed any more, in one step.

        Args:
            requests: What is wanted; none to give back only.
            now_ms: Now, milliseconds since 1970 UTC, where the store has no clock of its own.
            returned: Leases that their holder gives up.
            known: The highest number of a lease that the caller has seen.

        Returns:
            A lease for each request; None if there is not even the least that is of use.

        Raises:
            LedgerBehindError: If the ledger has lost leases that the caller knows: it was restored from an
                older copy, and must read the log before it gives anything away.
        """

        def work(books: Books) -> list[Lease | None]:
            """Returns the leases; called within a transaction."""
            now = self._now_ms(books, now_ms)
            highest = leasing.highest_number(books)
            if highest < known:
                raise LedgerBehindError(
                    f"the ledger knows leases up to {highest}, got a caller who knows {known}: it is older "
                    "than what was spent; it catches up by the log, or restore a newer copy and restart"
                )
            leasing.give_back(books, returned, now)
            # In one order everywhere, or two who open accounts would wait for each other.
            order = sorted(range(len(requests)), key=lambda number: requests[number].limits[:2])
            granted = {number: leasing.grant(books, requests[number], now) for number in order}
            return [granted[number] for number in range(len(requests))]

        return self._money(work)

    def lose(self, decision_id: str, item_id: str, now_ms: int) -> bool:
        """Gives back the money of an ad that an exchange did not show; returns whether that was news.

        Args:
            decision_id: Of the answer that bid.
            item_id: The creative.
            now_ms: Now, milliseconds since 1970 UTC.
        """
        return self._money(lambda books: booking.lose(books, decision_id, item_id, now_ms))

    def follow(self, log: EventLog, campaigns: CampaignSet, now_ms: int) -> Followed:
        """Reads the log to its end, and moves the money that it tells of.

        Several may call it at once: what one has booked, the other passes over.

        Args:
            log: Where decisions and events are.
            campaigns: Their budgets, for accounts that are not there yet.
            now_ms: As for `lease`, from before the call.
        """
        if not campaigns.held and self._pass_over(log):
            return Followed()
        now = self._money(lambda books: self._now_ms(books, now_ms))
        done = Followed()
        # Before the decisions: an event up to here can only be of a decision that is read now, or of one
        # that its worker still holds.
        last_event = log.last_sequence()
        while (step := self._book_decisions(log, campaigns)) is not None:
            done += step
        # Only now: the log is read to here at least, and others may be further by the moment.
        self._recount.follow(log, campaigns, self._mark("decisions"), now)
        while (step := self._book_events(log, last_event)) is not None:
            done += step
        return done + self._money(lambda books: booking.end(books, now, now - self._drain_ms))

    def admit(self, user_id: str, claims: Sequence[CapClaim], now_ms: int) -> list[bool]:
        """Counts each ad that no cap forbids to a user, in their order and in one step; returns which.

        Args:
            user_id: Pseudonym of the user.
            claims: The ads that are to be shown.
            now_ms: Now, milliseconds since 1970 UTC.

        Raises:
            LedgerBehindError: If the store may have lost what it had counted: `follow` counts it again.
        """

        def work(books: Books) -> list[bool] | None:
            """Counts; called while nobody else counts for this user."""
            # Here: a connection that was opened for this very step is of a store that may have gone back.
            if self._recount.is_behind:
                return None
            shown = _by_key(books.run(_SHOWN, (user_id, _since(claims, now_ms))))
            admitted, counted = [], []
            for claim in claims:
                passes = not is_capped(claim, shown, now_ms)
                admitted.append(passes)
                for key in claim.counted if passes else ():
                    # Also for the next ad of this answer: two of one advertiser count as two.
                    shown.setdefault(key, []).append(now_ms)
                    counted.append((user_id, key, now_ms))
            if counted:
                books.run_many("INSERT INTO ledger_shown(user_id, key, time_ms) VALUES (?, ?, ?)", counted)
            return admitted

        found = self._caps(user_id, work)
        if found is None:
            raise LedgerBehindError(
                "what users were shown must be counted again after the connection was lost, got "
                f"{len(claims)} ads before; they are admitted again in a moment"
            )
        return found

    def shown(self, user_id: str, since_ms: int) -> Shown:
        """Returns when a user was shown what is counted, later than a moment; counts nothing."""
        return _by_key(self._read_shown(_SHOWN, (user_id, since_ms)))

    def charges(self, decision_ids: Sequence[str]) -> list[Charge]:
        """Returns the outcome of each ad of some decisions, as far as the log is booked."""
        found: list[Charge] = []
        for first in range(0, len(decision_ids), PAGE_ROWS):
            some = decision_ids[first : first + PAGE_ROWS]
            rows = self._read_money(f"{_CHARGES} ({', '.join('?' * len(some))}) ORDER BY 1, 2", some)
            found += [Charge(*row) for row in rows]
        return found

    def accounts(self, campaign_id: str) -> list[Account]:
        """Returns the accounts of a campaign: of the flight, then of each day."""
        return [Account(*row) for row in self._read_money(_ACCOUNTS, (campaign_id,))]

    def count_traffic(self, log: EventLog, now_ms: int) -> int:
        """Counts the decisions of the hours that are over and not counted yet; returns how many hours.

        Several may call it at once: the hours that one has counted, the other passes over.
        """
        before = self._mark(traffic.MARK)
        after = traffic.counted_until(now_ms)
        if after <= before:
            return 0
        counts = traffic.count(log, before, after)
        return self._money(partial(traffic.keep, before=before, after=after, counts=counts))

    def traffic(self) -> list[traffic.HourCount]:
        """Returns decisions by surface and hour; hours without any are missing."""
        return [traffic.HourCount(*row) for row in self._read_money(traffic.ALL, ())]

    def traffic_until(self) -> int:
        """Returns the first hour that is not counted, since 1970 UTC; 0 before any was."""
        return self._mark(traffic.MARK)

    @abstractmethod
    def close(self) -> None:
        """Gives up all connections."""

    def forget(self, user_id: str, decision_ids: Collection[str]) -> None:
        """Deletes what leads to a user: what was shown to them, and which decisions were theirs.

        What was charged stays charged; what is still held for them is given back.

        Args:
            user_id: Pseudonym of the user.
            decision_ids: Decisions of theirs.
        """
        self._caps(user_id, lambda books: _delete_shown(books, user_id))
        self._money(lambda books: booking.unlink(books, decision_ids))

    @abstractmethod
    def wipe(self) -> bool:
        """Overwrites what deleted rows have left in the store; False where readers were in the way."""

    def expire(self, now_ms: int, shown_before_ms: int) -> None:
        """Deletes what nothing asks for any more.

        Args:
            now_ms: Now, milliseconds since 1970 UTC.
            shown_before_ms: Shown ads of before no window reaches.
        """
        delete = "DELETE FROM ledger_shown WHERE time_ms < ?"
        self._caps("", lambda books: books.run(delete, (shown_before_ms,)))
        self._money(lambda books: booking.expire(books, now_ms))
        self._money(lambda books: traffic.expire(books, now_ms))

    def _pass_over(self, log: EventLog) -> bool:
        """Moves the marks to the end of a log without ads; False where there was a campaign once.

        Decisions are not read for it: of a service without campaigns nobody pays for any.
        """
        latest = log.read_last_decisions(1)
        ends = {"events": log.last_sequence(), "decisions": latest[0].sequence if latest else 0}
        # Only now: whoever leases after this look records what it sells behind these ends.
        if self._read_money("SELECT 1 FROM ledger_accounts LIMIT 1", ()):
            return False
        for name, after in ends.items():
            if after > (before := self._mark(name)):
                self._money(partial(booking.set_mark, name=name, before=before, after=after))
        return True

    def _book_decisions(self, log: EventLog, campaigns: CampaignSet) -> Followed | None:
        """Books one page of decisions; None at the end of the log."""
        after = self._mark("decisions")
        last, sold = log.read_sold(after, PAGE_ROWS)
        if last == after:
            latest = log.read_last_decisions(1) if after else []
            # A log that was restored gives its numbers anew: what was booked is known by its ids.
            if latest and latest[0].sequence < after:
                self._money(lambda books: booking.set_mark(books, "decisions", after, 0))
                return Followed()
            return None

        def work(books: Books) -> Followed:
            """Books the page; called within a transaction."""
            if not booking.set_mark(books, "decisions", after, last):
                return Followed()  # somebody else has booked it meanwhile
            return booking.book_decisions(books, [one.decision for one in sold], campaigns)

        return self._money(work)

    def _book_events(self, log: EventLog, last_event: int) -> Followed | None:
        """Books one page of events up to a sequence; None when that is reached."""
        after = self._mark("events")
        if last_event < after:
            self._money(lambda books: booking.set_mark(books, "events", after, 0))
            return Followed()
        page = [one for one in log.read(after, PAGE_ROWS) if one.sequence <= last_event]
        if not page:
            return None
        events = [one.event for one in page]
        named = {one.decision_id for one in events if one.decision_id is not None}
        present = log.users_of(named).keys() if named else set()

        def work(books: Books) -> Followed:
            """Books the page; called within a transaction."""
            if not booking.set_mark(books, "events", after, page[-1].sequence):
                return Followed()
            return booking.book_events(books, events, present)

        return self._money(work)

    def _mark(self, name: str) -> int:
        """Returns up to where a part of the log was read."""
        found = self._read_money("SELECT value FROM ledger_marks WHERE name = ?", (name,))
        return int(found[0][0]) if found else 0

    def _now_ms(self, _books: Books, now_ms: int) -> int:
        """Returns the time by which leases end: the store's own where it has one."""
        return now_ms

    def _opened(self) -> int:
        """Returns how often a connection to what is shown was opened; 0 for a store that needs none."""
        return 0

    @abstractmethod
    def _money(self, work: Callable[[Books], Result]) -> Result:
        """Runs work on accounts, leases and reservations in a transaction, while nobody else does."""

    @abstractmethod
    def _read_money(self, statement: str, bindings: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Returns the rows of a query of accounts; waits for nobody."""

    @abstractmethod
    def _read_shown(self, statement: str, bindings: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Returns the rows of a query of what is shown; waits for nobody."""

    @abstractmethod
    def _caps(self, user_id: str, work: Callable[[Books], Result]) -> Result:
        """Runs work on what is shown in a transaction, while nobody else does for this user."""


def _since(claims: Sequence[CapClaim], now_ms: int) -> int:
    """Returns from when on shown ads matter to any of some claims."""
    return now_ms - max([cap.window_ms for claim in claims for cap in claim.caps], default=0)


def _by_key(rows: Sequence[Sequence[Any]]) -> dict[str, list[int]]:
    """Returns rows of key and time by key."""
    shown: dict[str, list[int]] = {}
    for key, time_ms in rows:
        shown.setdefault(key, []).append(time_ms)
    return shown


def _delete_shown(books: Books, user_id: str) -> None:
    """Deletes what a user was shown."""
    books.run("DELETE FROM ledger_shown WHERE user_id = ?", (user_id,))
