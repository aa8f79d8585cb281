"""The changes since the last time: who was added and who was removed, each with a delivery id.

A delivery id follows from the audience, the customer, and the change since which state: who is told of the
same change twice can see that it is the same one, and do nothing.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping

from marquee.bundle.traits.run import MemberChange

ADDED, REMOVED = "added", "removed"


def find_changes(
    audience: str, before: Mapping[str, str], now: Mapping[str, str], erased: Iterable[str] = ()
) -> list[MemberChange]:
    """Returns the changes of an audience, removed ones first, each in the order of ids.

    Args:
        audience: Its name.
        before: Members of the last time → group.
        now: Members → group.
        erased: Ids that are to be removed wherever they were, also if they were told of as removed before.
    """
    state = state_of(before)
    gone = (set(before) - set(now)) | (set(before) & set(erased))
    removed = [_change(audience, state, REMOVED, one, "") for one in sorted(gone)]
    added = [_change(audience, state, ADDED, one, now[one]) for one in sorted(set(now) - set(before))]
    return removed + added


def state_of(members: Mapping[str, str]) -> str:
    """Returns the token of a membership: equal for equal members."""
    lines = "\n".join(f"{one}\t{members[one]}" for one in sorted(members))
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def apply_changes(members: Iterable[str], changes: Iterable[MemberChange], seen: set[str]) -> set[str]:
    """Returns the members after changes, as whoever receives them would keep them.

    Args:
        members: Before.
        changes: In order.
        seen: Delivery ids that were applied already; those applied now are added to it.
    """
    kept = set(members)
    for change in changes:
        if change.delivery_id in seen:
            continue
        seen.add(change.delivery_id)
        if change.change == ADDED:
            kept.add(change.user_id)
        else:
            kept.discard(change.user_id)
    return kept


def to_lines(changes: Iterable[MemberChange]) -> str:
    """Returns changes as lines of JSON."""
    return "".join(
        json.dumps(
            {
                "delivery_id": one.delivery_id,
                "change": one.change,
                "user_id": one.user_id,
                "audience": one.audience,
                **({"group": one.group} if one.group else {}),
            },
            ensure_ascii=False,
        )
        + "\n"
        for one in changes
    )


def _change(audience: str, state: str, change: str, user_id: str, group: str) -> MemberChange:
    """Returns one change with its delivery id."""
    text = "\0".join((audience, state, change, user_id))
    return MemberChange(hashlib.sha256(text.encode()).hexdigest()[:32], change, user_id, audience, group)
