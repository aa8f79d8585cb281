"""Counters of slots that were sold, and of those who got none."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter

from marquee.ads.filling import Loss
from marquee.ads.selling import NotSold
from marquee.decision.ads.bidding import NoOffer


class AuctionMetrics:
    """Counts slots and offers.

    Args:
        registry: Where the counters are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._slots = Counter(
            "marquee_ads_slots",
            "Slots of answers, by surface and whether an ad or content stands there.",
            ["surface", "filled"],
            registry=registry,
        )
        self._lost = Counter(
            "marquee_ads_lost", "Ads that were found and not shown, by reason.", ["reason"], registry=registry
        )
        # A series that first appears with its first failure has no increase: it must stand at 0 before.
        for reason in (*NoOffer, *Loss, *NotSold):
            self._lost.labels(reason.value)

    def count_auction(self, surface: str, n_slots: int, n_sold: int, lost: Mapping[str, int]) -> None:
        """Counts the slots of one answer, and who got none of them."""
        self._slots.labels(surface, "ad").inc(n_sold)
        self._slots.labels(surface, "content").inc(n_slots - n_sold)
        for reason, number in lost.items():
            self._lost.labels(reason).inc(number)
