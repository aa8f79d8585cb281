"""Booking of the ledger: what the log says becomes reservations, charges and releases.

```
open        an ad was shown, and money is held for it
charged     its event came, and was paid for
released    its time is over, and the money is free again
lost        an exchange has sold the place to somebody else, and the money is free again
fenced      its lease had been given back before the log told of it: nothing is held
unbilled    its event came, and was not paid for
forgotten   its user was erased
```
"""

from collections.abc import Collection, Sequence

from marquee.core.event_kinds import EventKind
from marquee.store.campaigns.campaign import BidType, CampaignSet
from marquee.store.ledger import fading
from marquee.store.ledger.accounts import hold, limits_of, open_accounts, read_accounts
from marquee.store.ledger.leasing import accept_lost, highest_number, is_lost
from marquee.store.ledger.rows import FLIGHT, Books, Followed, Limits, Unbilled
from marquee.store.log.event_log import Decision, Event
from marquee.store.log.event_rows import SETTLED_PREFIX
from marquee.store.log.sales import Sale

BILLED_BY = {
    EventKind.exposure.value: BidType.cpm.value,
    EventKind.click.value: BidType.cpc.value,
    EventKind.conversion.value: BidType.cpa.value,
}
"""Kind of event → the bids that it is charged for."""

RELEASE_AFTER_MS = 10_000
"""An event that was received in time may take so long to come to the log."""

KEPT_MS = 45 * 86_400_000
"""A reservation is kept so long after its time, to tell a late or repeated event by."""

LOSS = "loss"
"""Kind of an early notice of an exchange that a place was sold to somebody else."""

_MILLION = 1_000_000

LOST_MS = 600_000
"""A lease that the ledger has lost counts so long after the first decision that tells of it."""

_INSERT = "INSERT INTO ledger_reservations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_FOUND = """SELECT campaign_id, day, bid_type, price, reserve, until_ms, state FROM ledger_reservations
    WHERE decision_id = ? AND item_id = ?"""
_STATE = "UPDATE ledger_reservations SET state = ? WHERE decision_id = ? AND item_id = ? "
_RELEASE_ROWS = 1_000


def mark(books: Books, name: str) -> int:
    """Returns up to where a part of the log was read."""
    found = books.run("SELECT value FROM ledger_marks WHERE name = ?", (name,))
    return int(found[0][0]) if found else 0


def set_mark(books: Books, name: str, before: int, after: int) -> bool:
    """Moves a mark from one place to another; False if it is not there any more."""
    if mark(books, name) != before:
        return False
    books.run(
        """INSERT INTO ledger_marks VALUES (?, ?)
        ON CONFLICT(name) DO UPDATE SET value = excluded.value""",
        (name, after),
    )
    return True


def book_decisions(books: Books, decisions: Sequence[Decision], campaigns: CampaignSet) -> Followed:
    """Reserves what the ads of some decisions cost, from the leases that they name."""
    done = Followed(n_decisions=len(decisions))
    opened: set[Limits] = set()
    for decision in decisions:
        for sale in decision.sales:
            if books.run(_FOUND, (decision.decision_id, sale.item_id)):
                continue  # a log that went back and was read anew
            limits = limits_of(campaigns.held.get(sale.campaign_id), sale.campaign_id, sale.day)
            if limits not in opened:
                open_accounts(books, limits)
                opened.add(limits)
            state = _reserve(books, sale, decision.time_ms + LOST_MS)
            row = (*sale[1:2], sale.day, sale.bid_type, sale.price, sale.reserve, sale.until_ms, state)
            books.run(_INSERT, (decision.decision_id, sale.item_id, *row))
            if state == "open":
                fading.begin(books, decision.decision_id, sale, decision.time_ms)
            _count(books, sale.campaign_id, sale.day, n_sold=1)
            for kind, received_ms in books.run(
                "DELETE FROM ledger_early WHERE decision_id = ? AND item_id = ? RETURNING kind, received_ms",
                (decision.decision_id, sale.item_id),
            ):
                if kind == LOSS:
                    _lose(books, decision.decision_id, sale.item_id)
                else:
                    done += _bill(books, decision.decision_id, sale.item_id, kind, received_ms)
    return done


def book_events(books: Books, events: Sequence[Event], present: Collection[str]) -> Followed:
    """Charges for events.

    Args:
        books: The tables.
        events: In the order of the log.
        present: Decisions of theirs that the log holds.
    """
    done = Followed(n_events=len(events))
    for event in events:
        if event.decision_id is None or event.kind not in BILLED_BY:
            continue
        received_ms = event.received * 1000
        _note_settled(books, event, received_ms)
        if books.run(_FOUND, (event.decision_id, event.item_id)):
            done += _bill(books, event.decision_id, event.item_id, event.kind, received_ms)
        elif event.decision_id not in present:
            # Its decision may still be in the hands of a worker whose store refused for a while.
            books.run(
                "INSERT INTO ledger_early VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (event.decision_id, event.item_id, event.kind, received_ms),
            )
    return done


def lose(books: Books, decision_id: str, item_id: str, now_ms: int) -> bool:
    """Gives back the money of an ad that an exchange did not show; False if that was told before.

    An impression that is billed all the same is charged: in which order both are told does not matter.
    """
    if books.run(_FOUND, (decision_id, item_id)):
        return _lose(books, decision_id, item_id)
    # Its decision is not booked yet.
    return bool(
        books.run(
            "INSERT INTO ledger_early VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING kind",
            (decision_id, item_id, LOSS, now_ms),
        )
    )


def end(books: Books, now_ms: int, drained_ms: int) -> Followed:
    """Gives back the money of reservations whose time is over, and of leases that nobody can use any more.

    Args:
        books: The tables.
        now_ms: When the log was begun to be read, which came to its end since.
        drained_ms: No decision of before is still on its way into the log.
    """
    done = Followed()
    fading.fade(books, now_ms)
    over = books.run(
        """SELECT decision_id, item_id, campaign_id, day, reserve FROM ledger_reservations
        WHERE state = 'open' AND until_ms < ? LIMIT ?""",
        (now_ms - RELEASE_AFTER_MS, _RELEASE_ROWS),
    )
    for decision_id, item_id, campaign_id, day, reserve in over:
        books.run(_STATE, ("released", decision_id, item_id))
        fading.end(books, decision_id, item_id)
        hold(books, campaign_id, day, -reserve)
        done += Followed(n_released=1)
    for number, campaign_id, day, amount, used in books.run(
        "DELETE FROM ledger_leases WHERE ends_ms <= ? RETURNING number, campaign_id, day, amount, used",
        (drained_ms,),
    ):
        assert amount >= used, f"a lease must hold what was used of it, got {amount} < {used} of {number}"
        hold(books, campaign_id, day, used - amount)
    return done


def unlink(books: Books, decision_ids: Collection[str]) -> None:
    """Forgets which decisions some reservations were of, and gives back what is still held for them."""
    for decision_id in decision_ids:
        for campaign_id, day, reserve, state in books.run(
            """DELETE FROM ledger_reservations WHERE decision_id = ?
            RETURNING campaign_id, day, reserve, state""",
            (decision_id,),
        ):
            if state == "open":
                hold(books, campaign_id, day, -reserve)
        books.run("DELETE FROM ledger_early WHERE decision_id = ?", (decision_id,))
        books.run("DELETE FROM ledger_settled WHERE decision_id = ?", (decision_id,))
        books.run("DELETE FROM ledger_fading WHERE decision_id = ?", (decision_id,))


def expire(books: Books, now_ms: int) -> None:
    """Deletes reservations and events that are too old to matter."""
    before = now_ms - KEPT_MS
    books.run("DELETE FROM ledger_reservations WHERE until_ms < ? AND state <> 'open'", (before,))
    books.run("DELETE FROM ledger_early WHERE received_ms < ?", (before,))
    books.run("DELETE FROM ledger_settled WHERE received_ms < ?", (before,))


def _reserve(books: Books, sale: Sale, lost_until_ms: int) -> str:
    """Takes the reserve of an ad from its lease, and returns the state that its reservation begins with."""
    if not sale.lease:
        return "open"
    if sale.lease > highest_number(books):
        accept_lost(books, sale.lease, lost_until_ms)
    taken = books.run(
        """UPDATE ledger_leases SET used = used + ?
        WHERE number = ? AND campaign_id = ? AND used + ? <= amount RETURNING number""",
        (sale.reserve, sale.lease, sale.campaign_id, sale.reserve),
    )
    if not taken and is_lost(books, sale.lease):
        hold(books, sale.campaign_id, sale.day, sale.reserve)
        return "open"
    return "open" if taken else "fenced"


def _lose(books: Books, decision_id: str, item_id: str) -> bool:
    """Frees the money of a reservation that is still open."""
    campaign_id, day, _, _, reserve, _, state = books.run(_FOUND, (decision_id, item_id))[0]
    if state != "open":
        return False
    books.run(_STATE, ("lost", decision_id, item_id))
    fading.end(books, decision_id, item_id)
    hold(books, campaign_id, day, -reserve)
    return True


def _note_settled(books: Books, event: Event, received_ms: int) -> None:
    """Notes the price at which an exchange has settled an impression; the first that came stays."""
    if event.value is not None and event.event_id.startswith(SETTLED_PREFIX):
        books.run(
            "INSERT INTO ledger_settled VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (event.decision_id, event.item_id, round(event.value * _MILLION), received_ms),
        )


def _settled(books: Books, decision_id: str, item_id: str, price: int) -> int:
    """Returns the price of an impression: as an exchange settled it, and never above what was bid."""
    found = books.run(
        "SELECT price FROM ledger_settled WHERE decision_id = ? AND item_id = ?", (decision_id, item_id)
    )
    return min(price, int(found[0][0])) if found else price


def _bill(books: Books, decision_id: str, item_id: str, kind: str, received_ms: int) -> Followed:
    """Charges for an event of an ad, or tells why not; an ad is charged once."""
    campaign_id, day, bid_type, price, reserve, until_ms, state = books.run(_FOUND, (decision_id, item_id))[0]
    if BILLED_BY[kind] != bid_type or state in ("charged", "unbilled"):
        return Followed()
    if state == "open":
        hold(books, campaign_id, day, -reserve)
    if bid_type == BidType.cpm.value:
        price = _settled(books, decision_id, item_id, price)
    made_ms = fading.end(books, decision_id, item_id)
    why = _why_unbilled(books, campaign_id, day, price) if state != "fenced" else Unbilled.fenced
    if state == "released" or received_ms > until_ms:
        why = Unbilled.late
    books.run(_STATE, ("charged" if why is None else "unbilled", decision_id, item_id))
    if why is not None:
        _count(books, campaign_id, day, n_unbilled=1, unbilled=price)
        return Followed(unbilled={why: 1})
    if made_ms is not None:
        fading.learn(books, campaign_id, received_ms - made_ms)
    _count(books, campaign_id, day, n_charged=1, charged=price)
    return Followed(n_charged=1, charged=price)


def _why_unbilled(books: Books, campaign_id: str, day: str, price: int) -> Unbilled | None:
    """Returns the reason for which a price cannot be charged, None if it can."""
    accounts = read_accounts(books, campaign_id, day)
    is_spent = any(one.budget is not None and one.charged + price > one.budget for one in accounts)
    return Unbilled.no_money if is_spent else None


def _count(books: Books, campaign_id: str, day: str, **more: int) -> None:
    """Adds to columns of the accounts of a flight and a day."""
    assert day != FLIGHT, f"a sale must name its day, got {day!r} of {campaign_id!r}"
    columns = ", ".join(f"{name} = {name} + ?" for name in more)
    books.run(
        f"UPDATE ledger_accounts SET {columns} WHERE campaign_id = ? AND day IN ('', ?)",
        (*more.values(), campaign_id, day),
    )
