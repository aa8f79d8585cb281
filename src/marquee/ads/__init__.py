"""Who may pay for a place, what it costs, and how a budget lasts: auction, pacing, allocation."""

from typing import TYPE_CHECKING

from marquee.core.faces import lazy

if TYPE_CHECKING:
    from marquee.ads.allocation import Prospect, Share, allocate
    from marquee.ads.auction import Offer, Outcome, PriceRule, run_auction
    from marquee.ads.pacing import PacedBid, Pacer, PacingConfig
    from marquee.ads.prices import PriceCurve
    from marquee.store.campaigns.campaign import BidType

__all__ = [
    "BidType",
    "Offer",
    "Outcome",
    "PacedBid",
    "Pacer",
    "PacingConfig",
    "PriceCurve",
    "PriceRule",
    "Prospect",
    "Share",
    "allocate",
    "run_auction",
]

__getattr__ = lazy(
    __name__,
    {
        "BidType": "auction",
        "Offer": "auction",
        "Outcome": "auction",
        "PacedBid": "pacing",
        "Pacer": "pacing",
        "PacingConfig": "pacing",
        "PriceCurve": "prices",
        "PriceRule": "auction",
        "Prospect": "allocation",
        "Share": "allocation",
        "allocate": "allocation",
        "run_auction": "auction",
    },
)
