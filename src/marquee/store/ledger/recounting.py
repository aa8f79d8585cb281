"""Counts again what users were shown, from the log, where the store of that was lost or is an older copy.

Whoever sells an ad counts it before anybody sees it, at the time that its decision has on record. So each
ad of the log that matters to a cap has a row of its time; those that have none are put there. That is done
by user and in one step, so that several may do it at once.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from marquee.store.campaigns.campaign import CampaignSet
from marquee.store.ledger.caps import claim_of
from marquee.store.ledger.rows import Books
from marquee.store.log.event_log import Decision

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
