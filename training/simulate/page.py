"""The page of flights: what was delivered and charged, pace against plan, the forecast, and losers."""

from collections.abc import Mapping, Sequence
from typing import Any  # of JSON

from marquee.ads.allocation import Share
from marquee.core.moments import moment_text
from marquee.reports.customers.figures import lines_figure
from marquee.reports.evidence.page import Finding, Grid, Page, Section, number, share
from marquee.store.campaigns.money import PER_UNIT, plain_money
from training.simulate.flying import Flown

_PER_MILLE = 1_000
_USED_WELL = 0.98
_REASONS = {
    "outbid": "others were worth more than its whole bid",
    "paced": "its plan left it no offer that high",
    "capped": "the user had seen it often enough",
    "cap_needs_user": "nobody could be counted",
    "no_money": "the budget was spent or held",
    "no_auction": "the answer sold no place",
    "not_available": "none of its ads could be shown then",
}


def flights_page(flown: Sequence[Flown], shares: Mapping[str, Share], currency: str = "units") -> Page:
    """Returns the page.

    Args:
        flown: The flights.
        shares: Of one budget, by campaign; empty where each had its own.
        currency: The word for the unit of money.
    """
    sections = [section for one in flown for section in _sections(one)]
    if shares:
        sections.insert(0, _division(shares))
    return Page(
        "Flights" if len(flown) > 1 else f"Flight of {flown[0].campaign.campaign_id}",
        flown[0].note if flown else "",
        tuple([_finding(one, currency) for one in flown]),
        tuple(sections),
        {
            "flights": [_facts(one) for one in flown],
            "shares": {name: _share_facts(one) for name, one in shares.items()},
        },
        tuple([warning for one in flown for warning in _warnings(one)]),
    )


def _finding(one: Flown, currency: str) -> Finding:
    """Returns the upshot of a flight."""
    budget = one.campaign.total_budget
    used = one.charged / budget if budget else 0.0
    text = (
        f"{one.n_shown:,} ads shown in {one.n_auctions:,} auctions; {one.n_billed:,} charged, "
        f"{_money(one.charged)} of {_money(budget)} {currency} ({share(used)}), {one.n_unbilled:,} unbilled "
        f"({_money(one.unbilled)}). Expected before: {_money(one.expected.total)}{_ends(one)}."
    )
    return Finding(one.campaign.campaign_id, text, "better" if used >= _USED_WELL else "undecided")


def _sections(one: Flown) -> list[Section]:
    """Returns the parts of one flight."""
    name = one.campaign.campaign_id
    curves = {"charged": [(hour.hour + 1, hour.charged / PER_UNIT) for hour in one.hours]}
    planned = [(hour.hour + 1, (hour.planned or 0) / PER_UNIT) for hour in one.hours]
    if any(hour.planned is not None for hour in one.hours):
        curves["plan"] = planned
    reasons = tuple(
        (
            reason,
            f"{count:,}",
            share(count / max(1, one.n_auctions)),
            _REASONS.get(reason, "of its targeting"),
        )
        for reason, count in one.reasons.most_common()
    )
    days = tuple(
        (
            moment_text(one.campaign.starts + hour.hour * 3600),
            number(hour.charged / PER_UNIT),
            number(None if hour.planned is None else hour.planned / PER_UNIT),
        )
        for hour in one.hours[:: max(1, len(one.hours) // 28)]
    )
    return [
        Section(
            f"{name}: pace against plan",
            (one.note, f"Traffic was expected by what came before: {one.traffic.verdict}"),
            (Grid("Charged until then", ("hour from (UTC)", "charged", "plan"), days),),
            (lines_figure(f"{name}: charged, and the plan", "hours of the flight", curves),),
        ),
        Section(
            f"{name}: auctions that did not show it",
            (),
            (Grid("By reason", ("reason", "auctions", "of all", "is"), reasons),),
        ),
    ]


def _division(shares: Mapping[str, Share]) -> Section:
    """Returns how one budget was divided."""
    rows = tuple(
        (
            name,
            number(one.spend / PER_UNIT),
            number(one.results),
            number(one.bid / PER_UNIT),
            share(one.mixed),
        )
        for name, one in shares.items()
    )
    return Section(
        "One budget, divided",
        (
            "By equal marginal value: the last unit of money is expected to bring each campaign the "
            "same. Where a "
            "campaign takes a part of the places at its highest price, it mixes two neighbouring bids.",
        ),
        (
            Grid(
                "Shares",
                ("campaign", "gets", "expected results", "bid per thousand", "bids that in"),
                rows,
            ),
        ),
    )


def _warnings(one: Flown) -> list[str]:
    """Returns warnings to whoever would believe a flight."""
    if one.expected.low is None:
        return [
            f"{one.campaign.campaign_id}: too little was before the flight for an interval of the "
            "forecast; it needs "
            "twelve days"
        ]
    return []


def _ends(one: Flown) -> str:
    """Returns the interval of a forecast in words."""
    low, high = one.expected.low, one.expected.high
    return "" if low is None or high is None else f" (80 %: {_money(low)} to {_money(high)})"


def _money(millionths: int) -> str:
    """Returns an amount in units."""
    return f"{millionths / PER_UNIT:,.2f}"


def _facts(one: Flown) -> dict[str, Any]:
    """Returns everything of a flight as numbers."""
    expected = one.expected
    return {
        "campaign_id": one.campaign.campaign_id,
        "starts": one.campaign.starts,
        "ends": one.campaign.ends,
        "budget": plain_money(one.campaign.total_budget),
        "auctions": one.n_auctions,
        "shown": one.n_shown,
        "billed": one.n_billed,
        "charged": plain_money(one.charged),
        "unbilled_events": one.n_unbilled,
        "unbilled": plain_money(one.unbilled),
        "expected": plain_money(expected.total),
        "low": None if expected.low is None else plain_money(expected.low),
        "high": None if expected.high is None else plain_money(expected.high),
        "not_shown": dict(one.reasons.most_common()),
        "hours": [
            {
                "hour": hour.hour,
                "charged": plain_money(hour.charged),
                "planned": None if hour.planned is None else plain_money(hour.planned),
            }
            for hour in one.hours
        ],
    }


def _share_facts(one: Share) -> dict[str, float]:
    """Returns a share as numbers, money in units."""
    return {
        "spend": one.spend / PER_UNIT,
        "results": one.results,
        "bid_per_thousand": one.bid / PER_UNIT,
        "mixed": one.mixed,
    }
