"""The page of a candidate's value by a log: first whether the log can speak at all."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any  # of JSON

from marquee.evaluation.off_policy.estimators import Estimator, Value
from marquee.evaluation.off_policy.policy import EstimatedPolicy
from marquee.evaluation.off_policy.slates import PlaceValue
from marquee.evaluation.off_policy.table import EstimatedCandidate
from marquee.evaluation.off_policy.weights import MAX_UNSUPPORTED, MIN_EFFECTIVE, Support
from marquee.reports.evidence.page import (
    Finding,
    Grid,
    Page,
    Section,
    estimated,
    interval,
    number,
    share,
)

OFF_POLICY_FORMAT = 1

_WORDS: Mapping[Estimator, str] = {
    Estimator.direct: "direct (as wrong as its model)",
    Estimator.inverse_propensity: "inverse propensity",
    Estimator.self_normalised: "self-normalised",
    Estimator.doubly_robust: "doubly robust",
}


def off_policy_page(found: EstimatedCandidate, name: str) -> Page:
    """Returns the page of a candidate; no estimate stands on it where the log cannot speak.

    Args:
        found: The estimates.
        name: Of the table, for people.
    """
    support = found.value.support
    sections = [_support_section(support)]
    if support.is_identifiable:
        sections.append(_values_section(found.value, "decision"))
    return Page(
        title="Value of a candidate",
        note=(
            f"{name}: {support.n_decisions:,} decisions, {found.n_users:,} users, "
            f"{found.n_actions:,} actions."
        ),
        findings=(value_finding(found.value, "decision"),),
        sections=tuple(sections),
        facts=_facts(found.value, found.notes) | {"n_users": found.n_users, "n_actions": found.n_actions},
        warnings=found.notes,
    )


def policy_page(found: EstimatedPolicy, name: str) -> Page:
    """Returns the page of a policy by a log of lists; no estimate stands on it where the log cannot speak.

    Args:
        found: The estimates.
        name: Of the log, for people.
    """
    value, places = found.found.value, found.found.places
    sections = [_support_section(value.support), _places_section(places, value.support.is_identifiable)]
    if value.support.is_identifiable:
        sections.append(_values_section(value, "list"))
    said = [_place_facts(place, is_shown=value.support.is_identifiable) for place in places]
    return Page(
        title=f"Value of policy {found.name}",
        note=(
            f"{name}: {max(place.support.n_decisions for place in places):,} lists, {found.n_users:,} users."
        ),
        findings=(value_finding(value, "list"),),
        sections=tuple(sections),
        facts=_facts(value, found.notes)
        | {"n_users": found.n_users, "policy": found.name, "places": said, "logged_by": found.policies},
        warnings=found.notes,
    )


def _facts(value: Value, notes: tuple[str, ...]) -> dict[str, Any]:
    """Returns everything as numbers; values are left out where the log cannot speak."""
    support = value.support
    is_shown = support.is_identifiable
    return {
        "off_policy_format": OFF_POLICY_FORMAT,
        "verdict": "identifiable" if is_shown else "not identifiable",
        "reason": support.reason,
        "support": asdict(support),
        "logged": asdict(value.logged),
        # A number in the file would be used, whatever verdict stands beside it.
        "estimates": {str(name): asdict(one) for name, one in value.estimates.items()} if is_shown else None,
        "gains": {str(name): asdict(one) for name, one in value.gains.items()} if is_shown else None,
        "notes": list(notes),
    }


def _place_facts(place: PlaceValue, *, is_shown: bool) -> dict[str, Any]:
    """Returns a place as numbers; its value is left out where the log cannot speak."""
    return {
        "place": place.place,
        "support": asdict(place.support),
        "value": place.value if is_shown else None,
        "logged": place.logged,
    }


def value_finding(value: Value, unit: str) -> Finding:
    """Returns the verdict, by the doubly robust estimate where there is one.

    Args:
        value: The estimates.
        unit: Of which the value is one of each: `decision` or `list`.
    """
    name = value.headline
    if name is None:
        reason = value.support.reason or "the log never did what the candidate would"
        return Finding("Not identifiable", f"{reason}.", "undecided")
    gain = value.gains[name]
    tone = "better" if gain.low > 0 else "worse" if gain.high < 0 else "undecided"
    words = {"better": "Earns more", "worse": "Earns less", "undecided": "Cannot tell"}
    return Finding(
        words[tone],
        f"the candidate would have earned {estimated(value.estimates[name])} per {unit}, the log earned "
        f"{estimated(value.logged)}: a difference of {number(gain.mean)} ({interval(gain.low, gain.high)}).",
        tone,
    )


def _support_section(support: Support) -> Section:
    """Returns how far the log speaks, beside what is needed."""
    rows = (
        ("effective decisions", number(support.effective), f"{MIN_EFFECTIVE:.0f} or more"),
        ("largest weight", number(support.largest), ""),
        ("choices without support", share(support.unsupported), f"{MAX_UNSUPPORTED:.0%} or less"),
        ("taken away by clipping", share(support.clipped), ""),
    )
    return Section("Support", (), (Grid("How far the log speaks", ("what", "is", "needs"), rows),))


def _places_section(places: tuple[PlaceValue, ...], is_shown: bool) -> Section:
    """Returns the support of each place; its value only where the log can speak of all of them."""
    rows = tuple(
        (
            str(place.place),
            f"{place.support.n_decisions:,}",
            number(place.support.effective),
            number(place.support.largest),
            share(place.support.unsupported),
            number(place.logged),
            number(place.value if is_shown else None),
        )
        for place in places
    )
    columns = ("place", "lists", "effective", "largest weight", "without support", "log", "candidate")
    texts: tuple[str, ...] = ()
    n_enough = next((n for n, place in enumerate(places) if not place.support.is_identifiable), len(places))
    if 0 < n_enough < len(places):
        texts = (
            f"The log speaks of the first {n_enough} of {len(places)} places: ope.places={n_enough} judges "
            "these alone.",
        )
    return Section("Places", texts, (Grid("Place by place", columns, rows),))


def _values_section(value: Value, unit: str) -> Section:
    """Returns all estimates beside what was logged."""
    rows = tuple(
        (_WORDS[name], estimated(one), interval(value.gains[name].low, value.gains[name].high))
        for name, one in value.estimates.items()
    )
    logged = ("the log itself", estimated(value.logged), "")
    grid = Grid(
        f"Reward per {unit}, 95 % over users", ("by", "value", "less what the log earned"), (*rows, logged)
    )
    return Section("Values", (), (grid,))
