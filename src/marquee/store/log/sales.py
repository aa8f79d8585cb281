"""The sale of one place of an answer to a campaign, as the record of the decision has it."""

from typing import NamedTuple


class Sale(NamedTuple):
    """One ad of an answer, and the money that stands behind it. Money is millionths.

    Attributes:
        item_id: The creative that was shown.
        campaign_id: Who pays for it.
        bid_type: `cpm`, `cpc` or `cpa`: which event it is paid for.
        price: What that event costs; for `cpm` one impression, not a thousand.
        reserve: What is held for it until it comes or its time is over.
        lease: Number of the lease that the reserve was taken from; 0 for what costs nothing.
        day: Day of the decision in the campaign's zone, as `2026-03-29`.
        until_ms: An event that is received later is not paid for, milliseconds since 1970 UTC.
    """

    item_id: str
    campaign_id: str
    bid_type: str
    price: int
    reserve: int
    lease: int
    day: str
    until_ms: int
