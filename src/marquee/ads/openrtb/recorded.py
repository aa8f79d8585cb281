"""The part of a decision's record that tells of bids at an exchange."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

SOURCE = "openrtb"
"""The word by which the log tells answers to an exchange from all others."""

_BIDS = "bids"


class RecordedBid(NamedTuple):
    """A bid. Money is millionths.

    Attributes:
        item_id: The creative.
        imp_id: Of the impression.
        deal_id: On whose terms; None on the open market.
        floor: What a thousand impressions had to be worth.
        price: What was said for them.
        advertiser: On whose behalf.
        payer: Who pays.
    """

    item_id: str
    imp_id: str
    deal_id: str | None
    floor: int
    price: int
    advertiser: str
    payer: str


def record_of(bids: Sequence[RecordedBid], lost: Mapping[str, int]) -> dict[str, Any]:
    """Returns bids as JSON can hold them, and the number of creatives that did not bid, by reason."""
    return {_BIDS: [list(one) for one in bids], "lost": dict(lost)}


def bids_of(record: Mapping[str, Any]) -> list[RecordedBid]:
    """Returns the bids of a record; none of one that holds no such."""
    return [RecordedBid(*one) for one in record.get(_BIDS, ())]
