"""Digests of the state of live items: whether what could be in an answer then could be in it now."""

import hashlib
from collections.abc import Mapping

from marquee.store.live_items import LiveItem

_DIGEST_BYTES = 8

Digests = Mapping[str, tuple[LiveItem, int]]
"""The state of each item with a number for it, by id."""


def digests_of(items: Mapping[str, LiveItem], known: Digests) -> Digests:
    """Returns a number for the state of each item, which two states share by chance alone.

    Args:
        items: By id.
        known: Of earlier states; only what has changed since is read.
    """
    # By identity: who follows the file keeps the objects of what has not changed.
    return {
        item_id: before
        if (before := known.get(item_id)) is not None and before[0] is item
        else (item, _digest_of(item))
        for item_id, item in items.items()
    }


def digest_of_all(digests: Digests) -> str:
    """Returns a digest of the states of all items, in whatever order they came; '' for no item."""
    if not digests:
        return ""
    # A sum: workers may have come to know the items in another order.
    return f"{sum(number for _, number in digests.values()) % 2 ** (8 * _DIGEST_BYTES):016x}"


def _digest_of(item: LiveItem) -> int:
    """Returns a number for the state of an item."""
    return int.from_bytes(hashlib.blake2b(item.to_line(), digest_size=_DIGEST_BYTES).digest())
