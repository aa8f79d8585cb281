"""Our pacer with its defaults, which were chosen on the training streams, on both kinds of streams."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.ads.streams import (
    TRAINING_STREAMS,
    Bought,
    Campaign,
    Stream,
    campaign,
    play,
    test_stream,
    training_stream,
)
from benchmarks.rows import Measured, Row
from marquee.ads import Pacer, PriceCurve

CAMPAIGN = 2997
FRACTIONS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2)
SMALL = FRACTIONS[0]
PROTOTYPE_ALL = "prototype 80, 118, 178, 261, 389; dual update 78, 111, 170, 262, 389"
MIN_CLICKS, MIN_CLICKS_ALL, MIN_USED = 72, 1_005, 0.98
MIN_TRAINING_CLICKS = 322
MAX_LOSS, MIN_USED_WRONG = 0.04, 0.97


def rows(root: Path) -> Iterator[Row]:
    """Yields the rows."""
    yield Row(
        "pacing: test of 2997, five budgets",
        PROTOTYPE_ALL,
        f"be >= {MIN_CLICKS} at 1/32 (a total there is +- 16), >= {MIN_CLICKS_ALL} in all, "
        f">= {MIN_USED:.0%} used, none above",
        lambda: measure_test(root),
    )
    yield Row(
        "pacing: training streams, 1/32",
        "prototype 329; dual 316; value function 276; fixed multiplier 193",
        f"be >= {MIN_TRAINING_CLICKS}, >= {MIN_USED:.0%} used, none above",
        lambda: measure_training(root),
    )
    wrongs = (
        ("prices of the next campaign", 1, 1.0, "330"),
        ("auctions left x 0.7", 0, 0.7, "0 %"),
        ("auctions left x 1.3", 0, 1.3, "-2 %"),
    )
    for name, shift, factor, reference in wrongs:
        yield Row(
            f"pacing: {name}",
            reference,
            f"lose <= {MAX_LOSS:.0%} of the clicks, >= {MIN_USED_WRONG:.0%} used, none above",
            lambda shift=shift, factor=factor: measure_wrong(root, shift, factor),  # type: ignore[misc]
        )


def measure_test(root: Path) -> Measured:
    """Plays the test stream with each budget."""
    known, stream = campaign(root, CAMPAIGN), test_stream(root)
    bought = [paced(known, stream, known.curve(), fraction) for fraction in FRACTIONS]
    clicks = [one.n_clicks for one in bought]
    used = min(one.used for one in bought)
    n_above = sum(one.n_above for one in bought)
    is_within = clicks[0] >= MIN_CLICKS and sum(clicks) >= MIN_CLICKS_ALL and used >= MIN_USED and not n_above
    listed = ", ".join(map(str, clicks))
    return Measured(f"{listed}: {sum(clicks)} clicks, >= {used:.1%} used, {n_above} above", is_within)


def measure_training(root: Path) -> Measured:
    """Plays the training streams."""
    bought = on_training(root)
    n_clicks, used, n_above = _total(bought)
    listed = " ".join(str(one.n_clicks) for one in bought)
    is_within = n_clicks >= MIN_TRAINING_CLICKS and used >= MIN_USED and not n_above
    return Measured(f"{n_clicks} clicks ({listed}), >= {used:.1%} used, {n_above} above", is_within)


def measure_wrong(root: Path, shift: int, factor: float) -> Measured:
    """Plays the training streams with another campaign's prices, or a wrong forecast of the auctions left."""
    right, _, _ = _total(on_training(root))
    n_clicks, used, n_above = _total(on_training(root, shift, factor))
    loss = 1 - n_clicks / right
    is_within = loss <= MAX_LOSS and used >= MIN_USED_WRONG and not n_above
    return Measured(f"{n_clicks} clicks ({-loss:+.1%}), >= {used:.1%} used, {n_above} above", is_within)


@cache
def on_training(root: Path, shift: int = 0, factor: float = 1.0) -> tuple[Bought, ...]:
    """Plays each training stream with the prices of the campaign `shift` places further on."""
    found = []
    for place, number in enumerate(TRAINING_STREAMS):
        priced = TRAINING_STREAMS[(place + shift) % len(TRAINING_STREAMS)]
        stream = training_stream(root, number)
        curve = campaign(root, priced).curve()
        found.append(paced(campaign(root, number), stream, curve, SMALL, factor))
    return tuple(found)


def paced(known: Campaign, stream: Stream, curve: PriceCurve, fraction: float, factor: float = 1.0) -> Bought:
    """Plays a stream with our pacer.

    Args:
        known: The campaign.
        stream: Its auctions.
        curve: The prices that the pacer believes in.
        fraction: Of what the auctions cost in the training period.
        factor: The forecast of the auctions left, beside the truth.
    """
    budget = known.budget(fraction)
    pacer = Pacer(curve, planned=budget / 1_000)
    ratios = (stream.probabilities / known.click_rate).tolist()

    def bid(number: int, left: int, n_left: int) -> int:
        return pacer.bid(ratios[number], left, n_left * factor).amount

    return play(stream, budget, bid, pacer.settle)


def _total(bought: tuple[Bought, ...]) -> tuple[int, float, int]:
    """Returns all clicks, the least share used, and the episodes above their budget."""
    used = float(np.min([one.used for one in bought]))
    return sum(one.n_clicks for one in bought), used, sum(one.n_above for one in bought)
