"""Leases of the ledger: how much of a budget one worker may hold, and how it goes back."""

from collections.abc import Sequence

from marquee.store.ledger.accounts import hold, open_accounts, read_accounts
from marquee.store.ledger.rows import Books, Lease, LeaseRequest, Returned

_SHARE = 4
"""A lease takes at most this part of what is free, so that no worker waits for money that another holds."""

_LEASE = "lease"
_INSERT = "INSERT INTO ledger_leases VALUES (?, ?, ?, ?, ?, 0, ?, 1)"
_INSERT_LOST = "INSERT INTO ledger_leases VALUES (?, 'lost', '', '', 0, 0, ?, 2)"


def highest_number(books: Books) -> int:
    """Returns the highest number of a lease that was ever given or seen in the log."""
    found = books.run("SELECT value FROM ledger_marks WHERE name = ?", (_LEASE,))
    return int(found[0][0]) if found else 0


def note_number(books: Books, number: int) -> None:
    """Notes a number, if it is the highest."""
    books.run(
        """INSERT INTO ledger_marks AS mark VALUES (?, ?) ON CONFLICT(name)
        DO UPDATE SET value = excluded.value WHERE mark.value < excluded.value""",
        (_LEASE, number),
    )


def accept_lost(books: Books, number: int, until_ms: int) -> None:
    """Takes leases up to a number for given, which the ledger forgot as it was restored from an older copy.

    How much they held is not known: what decisions say of them is accepted, until a moment.
    """
    lost = range(highest_number(books) + 1, number + 1)
    books.run_many(_INSERT_LOST, [(one, until_ms) for one in lost])
    note_number(books, number)


def is_lost(books: Books, number: int) -> bool:
    """Returns whether a lease is one that the ledger forgot."""
    return bool(books.run("SELECT 1 FROM ledger_leases WHERE number = ? AND is_open = 2", (number,)))


def give_back(books: Books, returned: Sequence[Returned], now_ms: int) -> None:
    """Gives back what their holders did not spend of some leases, which then wait for the log."""
    for number, spent in returned:
        found = books.run(
            "SELECT campaign_id, day, amount, used FROM ledger_leases WHERE number = ? AND is_open = 1",
            (number,),
        )
        if not found:
            continue  # it ended by its time, and the log tells what was spent of it
        campaign_id, day, amount, used = found[0]
        kept = max(used, min(spent, amount))
        books.run(
            "UPDATE ledger_leases SET amount = ?, is_open = 0, ends_ms = ? WHERE number = ?",
            (kept, now_ms, number),
        )
        hold(books, campaign_id, day, kept - amount)


def grant(books: Books, request: LeaseRequest, now_ms: int) -> Lease | None:
    """Returns a new lease, None if less is free than what is of use."""
    limits = request.limits
    open_accounts(books, limits)
    accounts = read_accounts(books, limits.campaign_id, limits.day)
    free = min([one.free for one in accounts if one.free is not None], default=request.wanted * _SHARE)
    if free < request.least:
        return None
    amount = max(request.least, min(request.wanted, free // _SHARE))
    number = highest_number(books) + 1
    note_number(books, number)
    ends_ms = now_ms + request.duration_ms
    row = (number, request.holder, limits.campaign_id, limits.day, amount, ends_ms)
    books.run(_INSERT, row)
    hold(books, limits.campaign_id, limits.day, amount)
    return Lease(number, amount)
