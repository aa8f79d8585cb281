"""Uplift in the report: the effect on all, Qini of each order, uplift among the first, and whom to target."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any  # of JSON

from marquee.marketing.traits import TraitResult
from marquee.marketing.uplift.trait import JudgedOrder, JudgedUplift
from marquee.reports.customers.figures import lines_figure
from marquee.reports.customers.parts import Part
from marquee.reports.evidence.page import Finding, Grid, Section, estimated, number, share


def uplift_part(trait: TraitResult) -> Part:
    """Returns the part of an uplift."""
    judged: JudgedUplift = trait.judged
    own, response = judged.orders[0], judged.orders[-1]
    works = judged.effect.low > 0
    text = (
        f"The treatment changes the rate of {judged.outcome} by {judged.effect.mean:+.4f} "
        f"({judged.effect.low:+.4f} to {judged.effect.high:+.4f}). Qini {estimated(own.qini)} by uplift, "
        f"{estimated(response.qini)} by response."
    )
    tone = "better" if works and judged.gain.low > 0 else "undecided" if works else "worse"
    return Part(
        Finding(f"{trait.name}: {judged.verdict}", text, tone),
        (_orders_section(trait.name, judged),),
        _facts(judged),
    )


def _orders_section(name: str, judged: JudgedUplift) -> Section:
    """Returns every order of the customers, beside a draw by lot."""
    shares = list(judged.orders[0].uplift)
    columns = ("order", "Qini", *(f"uplift in the first {one:.0%}" for one in shares))
    rows = tuple(
        (order.name, estimated(order.qini), *(estimated(order.uplift[one]) for one in shares))
        for order in judged.orders
    )
    texts = (
        f"{judged.n_treated:,} treated, {share(judged.rates[0])} with the outcome; {judged.n_control:,} not "
        f"treated, {share(judged.rates[1])}. Attributes tell the arm with AUC {judged.arm_auc:.3f}; 0.5 is a "
        "draw by lot.",
        "Qini is the area between an order's curve and that of a draw by lot, over that of perfect "
        "knowledge; "
        "0 is the draw by lot, below 0 is worse than it.",
        f"Uplift over response: {number(judged.gain.mean)} ({number(judged.gain.low)} to "
        f"{number(judged.gain.high)}). {judged.verdict.capitalize()}.",
    )
    figure = lines_figure(
        f"{name}: outcomes added",
        "share of customers reached",
        {one.name: one.curve for one in _shown(judged.orders)},
    )
    return Section(f"{name}: whom it changes", texts, (Grid("Orders", columns, rows),), (figure,))


def _shown(orders: Sequence[JudgedOrder]) -> list[JudgedOrder]:
    """Returns the orders of the figure: the chosen learner and response."""
    return [orders[0], orders[-1]]


def _facts(judged: JudgedUplift) -> dict[str, Any]:
    """Returns everything as numbers."""
    return {
        "outcome": judged.outcome,
        "n_treated": judged.n_treated,
        "n_control": judged.n_control,
        "rates": list(judged.rates),
        "effect": asdict(judged.effect),
        "arm_auc": judged.arm_auc,
        "orders": [
            {
                "name": order.name,
                "qini": asdict(order.qini),
                "uplift": {f"{one:g}": asdict(value) for one, value in order.uplift.items()},
            }
            for order in judged.orders
        ],
        "gain": asdict(judged.gain),
        "verdict": judged.verdict,
    }
