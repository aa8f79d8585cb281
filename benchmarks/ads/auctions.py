"""Random auctions: what must hold of every one."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.rows import Measured, Row
from marquee.ads import BidType, Offer, Outcome, PriceRule, run_auction

N_CASES = 10_000
CENT = 10_000


def rows(root: Path) -> Iterator[Row]:
    """Yields a row per property."""
    del root  # nothing is read
    properties = (
        ("floor <= price <= bid, per event too", prices_hold),
        ("a higher bid never gets a lower place", is_monotone),
        ("one place: nobody gains by another bid", is_truthful),
    )
    for name, holds in properties:
        yield Row(
            f"auction: {name}",
            "by definition",
            f"hold in {N_CASES:,} of {N_CASES:,} random cases",
            lambda holds=holds: measure(holds),  # type: ignore[misc]
        )


def measure(holds: Callable[[np.random.Generator], bool], n_cases: int = N_CASES) -> Measured:
    """Tries a property on random auctions."""
    rng = np.random.default_rng(0)
    n_held = sum(holds(rng) for _ in range(n_cases))
    return Measured(f"{n_held:,} of {n_cases:,}", n_held == n_cases)


def random_offers(rng: np.random.Generator, n_most: int = 12) -> list[Offer]:
    """Returns offers of different campaigns, ties among them."""
    offers = []
    for number in range(int(rng.integers(1, n_most + 1))):
        bid_type = list(BidType)[int(rng.integers(3))]
        bid = int(rng.integers(1, 40)) * (CENT * 20 if bid_type is BidType.cpm else CENT)
        chance = 1.0 if bid_type is BidType.cpm else float(rng.choice([0.01, 0.02, rng.uniform(1e-4, 0.3)]))
        multiplier = float(rng.choice([1.0, rng.uniform(0.01, 1.0)]))
        offers.append(Offer(f"ad-{number}", f"campaign-{number}", bid_type, bid, chance, multiplier))
    return offers


def prices_hold(rng: np.random.Generator) -> bool:
    """Whether each price lies between floor and bid, per thousand impressions and per billable event."""
    floor = int(rng.integers(0, 3_000_000)) * int(rng.integers(2))
    rule = PriceRule.second if rng.random() < 0.5 else PriceRule.first
    outcome = run_auction(random_offers(rng), int(rng.integers(0, 6)), floor, rule)
    return all(
        floor <= sold.price <= sold.offer.value
        and sold.charge <= sold.offer.bid
        # What the events of a thousand impressions bring is at least the price that was asked for them.
        and sold.charge * sold.offer.events_per_thousand >= sold.price * (1 - 1e-12)
        for sold in outcome.sold
    )


def is_monotone(rng: np.random.Generator) -> bool:
    """Whether an offer that bids more stands as high as before, or higher."""
    offers, n_places = random_offers(rng), int(rng.integers(1, 5))
    raised = int(rng.integers(len(offers)))
    before = run_auction(offers, n_places)
    offers[raised] = replace(offers[raised], bid=offers[raised].bid + int(rng.integers(1, 10)) * CENT)
    return place_of(run_auction(offers, n_places), raised) <= place_of(before, raised)


def is_truthful(rng: np.random.Generator) -> bool:
    """Whether, with one place, no other bid than its worth gains an offer anything."""
    offers, floor = random_offers(rng), int(rng.integers(0, 3_000_000)) * int(rng.integers(2))
    own = int(rng.integers(len(offers)))
    # The pacer's multiplier is a part of the bid; the worth of an impression is not.
    offers[own] = replace(offers[own], multiplier=1.0)
    honest = gain(offers, own, floor, offers[own].value)
    other = replace(offers[own], bid=max(1, int(offers[own].bid * rng.uniform(0.2, 3.0))))
    return gain([*offers[:own], other, *offers[own + 1 :]], own, floor, offers[own].value) <= honest


def gain(offers: list[Offer], own: int, floor: int, worth: int) -> int:
    """Returns the gain of an offer by a thousand impressions: their worth to it less their price."""
    sold = [one for one in run_auction(offers, 1, floor).sold if one.offer.item_id == offers[own].item_id]
    return worth - sold[0].price if sold else 0


def place_of(outcome: Outcome, number: int) -> int:
    """Returns the place of an offer, a large one if it has none."""
    places = [place for place, sold in enumerate(outcome.sold) if sold.offer.item_id == f"ad-{number}"]
    return places[0] if places else 10_000
