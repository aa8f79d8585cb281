"""Counters of bid requests and notices."""

from collections.abc import Mapping
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter

from marquee.ads.openrtb.choosing import NoBidder
from marquee.ads.openrtb.creatives import Unfit
from marquee.ads.openrtb.notices import NoticeKind
from marquee.ads.openrtb.privacy import Barrier


class Answered(StrEnum):
    """The outcomes of a bid request."""

    bid = "bid"
    no_bid = "no_bid"
    capped = "capped"  # only a user's cap was in the way
    too_late = "too_late"  # its time would not have been enough
    malformed = "malformed"
    not_recorded = "not_recorded"  # what is not on record is not sold
    failed = "failed"  # by a fault of ours, which the log tells
    busy = "busy"  # too many waited


class NoticeOutcome(StrEnum):
    """The outcomes of a notice."""

    taken = "taken"
    repeated = "repeated"  # it was there already, and counts once
    test = "test"  # of a bid that nobody pays for
    forged = "forged"
    lapsed = "lapsed"
    impossible_price = "impossible_price"  # above the bid, below the floor, or no number


class ExchangeMetrics:
    """Counts bid requests and notices.

    Args:
        registry: Where the counters are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "marquee_openrtb_requests", "Bid requests, by outcome.", ["outcome"], registry=registry
        )
        self._bids = Counter("marquee_openrtb_bids", "Bids that were sent.", registry=registry).inc
        self._silent = Counter(
            "marquee_openrtb_silent",
            "Creatives of eligible campaigns that did not bid, by reason.",
            ["reason"],
            registry=registry,
        )
        self._barred = Counter(
            "marquee_openrtb_barred",
            "Bid requests in which nothing of the user was used, by what barred it.",
            ["barrier"],
            registry=registry,
        )
        self._notices = Counter(
            "marquee_openrtb_notices",
            "Notices, by kind and outcome.",
            ["kind", "outcome"],
            registry=registry,
        )
        # A series that first appears with its first failure has no increase: it must stand at 0 before.
        for answered in Answered:
            self._requests.labels(answered.value)
        for reason in (*Unfit, *NoBidder):
            self._silent.labels(reason.value)
        for barrier in Barrier:
            self._barred.labels(barrier.value)
        for kind in NoticeKind:
            for outcome in NoticeOutcome:
                self._notices.labels(kind.value, outcome.value)

    def count_request(self, outcome: Answered, n_bids: int = 0) -> None:
        """Counts a bid request."""
        self._requests.labels(outcome.value).inc()
        self._bids(n_bids)

    def count_silent(self, silent: Mapping[Unfit | NoBidder, int]) -> None:
        """Counts the creatives that did not bid."""
        for reason, number in silent.items():
            self._silent.labels(reason.value).inc(number)

    def count_barred(self, barriers: tuple[Barrier, ...]) -> None:
        """Counts what barred the use of what is known of a user."""
        for barrier in barriers:
            self._barred.labels(barrier.value).inc()

    def count_notice(self, kind: NoticeKind, outcome: NoticeOutcome) -> None:
        """Counts a notice."""
        self._notices.labels(kind.value, outcome.value).inc()
