"""Reserves that fade: the longer the event of an ad has not come, the less is held for it.

```
held        what was reserved · S(age)
S(age)      share of the campaign's charged events that came later than so long after their decision
```

A reserve is what an ad is expected to cost. Without this it would be held whole to the end of its window,
long after most of the events that come have come: of a budget that is paced by what is free, that part would
be missing to the last days. What is charged does not depend on it: an event that comes after all is charged
as long as there is money.
"""

import math

from marquee.store.ledger.accounts import hold
from marquee.store.ledger.rows import Books
from marquee.store.log.sales import Sale

N_STEPS = 8
"""A reserve fades at the window divided by 2^8, 2^7, … and by 2."""

LEAST_KNOWN = 30
"""Nothing fades before so many events of a campaign have told how long they take."""

_PER_OCTAVE = 2
# Between two steps the age doubles: a reserve is what it should be in the middle.
_MIDDLE = math.sqrt(2.0)
_ROWS = 2_000

_OF = "decision_id = ? AND item_id = ?"


def begin(books: Books, decision_id: str, sale: Sale, made_ms: int) -> None:
    """Notes a reservation that is open and will fade."""
    window_ms = sale.until_ms - made_ms
    if sale.reserve > 0 and window_ms > 0:
        first_ms = _step_ms(made_ms, window_ms, 0)
        row = (decision_id, sale.item_id, made_ms, window_ms, sale.reserve, first_ms, 0)
        books.run("INSERT INTO ledger_fading VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", row)


def end(books: Books, decision_id: str, item_id: str) -> int | None:
    """Forgets a reservation that is settled; returns when its decision was made, None if it was not noted."""
    found = books.run(f"DELETE FROM ledger_fading WHERE {_OF} RETURNING made_ms", (decision_id, item_id))
    return int(found[0][0]) if found else None


def learn(books: Books, campaign_id: str, delay_ms: int) -> None:
    """Counts how long a charged event took."""
    books.run(
        """INSERT INTO ledger_delays AS delay VALUES (?, ?, 1)
        ON CONFLICT(campaign_id, bucket) DO UPDATE SET n = delay.n + 1""",
        (campaign_id, bucket_of(delay_ms)),
    )


def fade(books: Books, now_ms: int) -> None:
    """Gives back the part of open reserves that nobody expects to be charged any more."""
    due = books.run(
        f"""SELECT fading.decision_id, fading.item_id, made_ms, window_ms, fading.reserve, step, campaign_id,
        day, held.reserve, state FROM ledger_fading AS fading JOIN ledger_reservations AS held
        ON held.decision_id = fading.decision_id AND held.item_id = fading.item_id
        WHERE next_ms <= ? LIMIT {_ROWS}""",
        (now_ms,),
    )
    known: dict[str, dict[int, int]] = {}
    for decision_id, item_id, made_ms, window_ms, whole, step, campaign_id, day, reserve, state in due:
        if campaign_id not in known:
            known[campaign_id] = _delays(books, campaign_id)
        left = math.ceil(whole * share_to_come(known[campaign_id], int((now_ms - made_ms) * _MIDDLE)))
        if state == "open" and left < reserve:
            books.run(f"UPDATE ledger_reservations SET reserve = ? WHERE {_OF}", (left, decision_id, item_id))
            hold(books, campaign_id, day, left - reserve)
        # Steps that were missed are not made up for.
        next_ms, after = _next_step(made_ms, window_ms, step, now_ms)
        books.run(
            f"UPDATE ledger_fading SET next_ms = ?, step = ? WHERE {_OF}",
            (next_ms, after, decision_id, item_id),
        )


def bucket_of(delay_ms: int) -> int:
    """Returns the number of the half octave of seconds that a delay lies in.

    Example:
        >>> [bucket_of(delay_ms) for delay_ms in (0, 1_000, 1_500, 2_000, 3_600_000)]
        [0, 0, 1, 2, 23]
    """
    return int(_PER_OCTAVE * math.log2(max(1_000, delay_ms) / 1_000))


def share_to_come(delays: dict[int, int], age_ms: int) -> float:
    """Returns S(age): the share of events that come later than so long; 1 where too little is known.

    Args:
        delays: Number of events by `bucket_of` their delay.
        age_ms: So long.
    """
    n_known = sum(delays.values())
    if n_known < LEAST_KNOWN:
        return 1.0
    place = _PER_OCTAVE * math.log2(max(1_000, age_ms) / 1_000)
    bucket = int(place)
    later = sum(n for one, n in delays.items() if one > bucket)
    # One more, which has not come: what was never seen so late may be.
    return (later + delays.get(bucket, 0) * (1.0 - (place - bucket)) + 1.0) / (n_known + 1.0)


def _delays(books: Books, campaign_id: str) -> dict[int, int]:
    """Returns the delays of a campaign's charged events."""
    return dict(books.run("SELECT bucket, n FROM ledger_delays WHERE campaign_id = ?", (campaign_id,)))


def _next_step(made_ms: int, window_ms: int, step: int, now_ms: int) -> tuple[int, int]:
    """Returns the time and the number of the first step that is still to come."""
    while step < N_STEPS and _step_ms(made_ms, window_ms, step) <= now_ms:
        step += 1
    return _step_ms(made_ms, window_ms, step), step


def _step_ms(made_ms: int, window_ms: int, step: int) -> int:
    """Returns when a reserve takes a step: after the last one never, for its window ends before."""
    return made_ms + (window_ms >> (N_STEPS - step) if step < N_STEPS else 2 * window_ms)
