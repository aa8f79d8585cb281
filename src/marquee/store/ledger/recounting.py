"""Counts again what users were shown, from the log, where the store of that was lost or is an older copy.

A database that ends as if killed loses the last moments of what it had counted, and one that was restored
goes back further: either way every connection to it is lost. So a process that has opened another one trusts
no count before it has read the log again.

Whoever sells an ad counts it before anybody sees it, at the time that its decision has on record. So each
ad of the log that matters to a cap has a row of its time; those that have none are put there. That is done
by user and in one step, so that several may do it at once.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from marquee.store.campaigns.campaign import CampaignSet
from marquee.store.campaigns.checks import LONGEST_WINDOW_S
from marquee.store.ledger.caps import claim_of
from marquee.store.ledger.rows import Books
from marquee.store.log.event_log import Decision, EventLog

SOLD_ROWS = 5_000
"""Rows of the log that are looked at once where ads must be counted again."""

SETTLED_MS = 2_000
"""From a new connection on, until decisions that workers held meanwhile are in the log."""

_SHOWN = "SELECT key, time_ms FROM ledger_shown WHERE user_id = ? AND time_ms >= ? AND time_ms <= ?"
_INSERT = "INSERT INTO ledger_shown(user_id, key, time_ms) VALUES (?, ?, ?)"


def shown_by_user(
    decisions: Iterable[Decision], campaigns: CampaignSet, since_ms: int
) -> dict[str, dict[str, list[int]]]:
    """Returns when users were shown what is counted now: user → key → milliseconds since 1970 UTC.

    Args:
        decisions: Those that sold ads.
        campaigns: Their caps say what is counted.
        since_ms: Decisions of before are left out.
    """
    found: dict[str, dict[str, list[int]]] = {}
    for decision in decisions:
        if decision.user_id is None or decision.time_ms < since_ms:
            continue
        for sale in decision.sales:
            held = campaigns.held.get(sale.campaign_id)
            for key in claim_of(held.campaign, sale.item_id, campaigns).counted if held else ():
                found.setdefault(decision.user_id, {}).setdefault(key, []).append(decision.time_ms)
    return found


def count_again(books: Books, user_id: str, shown: Mapping[str, Sequence[int]]) -> int:
    """Counts the ads of a user that have no row, and returns how many these are.

    Args:
        books: The tables, while nobody else counts for this user.
        user_id: Pseudonym of the user.
        shown: By key when they were shown, milliseconds since 1970 UTC.
    """
    times = [time for some in shown.values() for time in some]
    counted = Counter(books.run(_SHOWN, (user_id, min(times), max(times))))
    wanted = Counter([(key, time) for key, some in shown.items() for time in some])
    missing = [(user_id, *row) for row in (wanted - counted).elements()]
    books.run_many(_INSERT, missing)
    return len(missing)


class Recount:
    """How far a store holds all that users were shown, as one process sees it.

    Args:
        caps: Runs work on what is shown; see `Ledger`.
        read: Returns the rows of a query of it.
        opened: Returns how often a connection to it was opened.
    """

    def __init__(
        self,
        caps: Callable[[str, Callable[[Books], Any]], Any],
        read: Callable[[str, Sequence[Any]], list[tuple[Any, ...]]],
        opened: Callable[[], int],
    ) -> None:
        self._caps = caps
        self._read = read
        self._opened = opened
        self._counted: int | None = None
        # The first connection is that of a process that starts, whose caller follows the log before it sells.
        self._trusted = 1
        self._renewed = (0, 0)

    @property
    def is_behind(self) -> bool:
        """Whether the store may lack ads that were counted: a connection was opened since they last were."""
        return self._opened() > self._trusted

    def follow(self, log: EventLog, campaigns: CampaignSet, end: int, now_ms: int) -> None:
        """Counts ads of the log that the store has lost, if it has.

        Where this process has seen all of them counted, and the store has not gone back since, whoever sold
        the others has counted them: only the mark moves.

        Args:
            log: Tells which ads were sold.
            campaigns: Their caps say what is counted.
            end: Sequence up to which decisions are booked.
            now_ms: Now, milliseconds since 1970 UTC.
        """
        stored = self._mark()
        # A step of its own: a connection that was lost is opened here, if no answer has done it.
        self._caps("", lambda _: None)
        opened = self._opened()
        if opened > self._trusted and opened != self._renewed[0]:
            self._renewed = (opened, now_ms)
        if stored == end == self._counted and opened <= self._trusted:
            return
        is_whole = self._counted is not None and self._counted <= stored <= end and opened <= self._trusted
        if campaigns.has_caps and not is_whole:
            self._count(log, campaigns, stored if stored <= end else 0, end, now_ms)
        self._caps("", partial(_set_mark, value=end))
        self._counted = end
        if opened > self._trusted and now_ms - self._renewed[1] >= SETTLED_MS and self._opened() == opened:
            self._trusted = opened

    def _count(self, log: EventLog, campaigns: CampaignSet, after: int, end: int, now_ms: int) -> None:
        """Counts the ads of a part of the log that have no row."""
        since_ms = now_ms - LONGEST_WINDOW_S * 1000
        while after < end:
            last, sold = log.read_sold(after, SOLD_ROWS)
            if last == after:
                return
            after = last
            counted = shown_by_user([one.decision for one in sold], campaigns, since_ms)
            for user_id, shown in counted.items():
                self._caps(user_id, partial(count_again, user_id=user_id, shown=shown))

    def _mark(self) -> int:
        """Returns up to where the log holds no ad that is not counted."""
        found = self._read("SELECT value FROM ledger_shown_marks WHERE name = 'decisions'", ())
        return int(found[0][0]) if found else 0


def _set_mark(books: Books, value: int) -> None:
    """Moves the mark of what is shown."""
    books.run(
        """INSERT INTO ledger_shown_marks VALUES ('decisions', ?)
        ON CONFLICT(name) DO UPDATE SET value = excluded.value""",
        (value,),
    )
