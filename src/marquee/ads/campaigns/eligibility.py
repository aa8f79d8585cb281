"""Whether a campaign may be shown to a viewer now: by its state, its flight, its hours and its targeting.

Decides one campaign at a time, and says why not; what answers requests with many campaigns must say the same.
Leaves to others what depends on more: budgets and caps (see `marquee.store.ledger`), whom an audience holds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from marquee.ads.campaigns.calendar import hour_of_week, hours_of
from marquee.core.filters import Clause, Value
from marquee.core.targeting.customer import Customer
from marquee.store.campaigns.campaign import Campaign, Creative, Exclusions, State, Targeting
from marquee.store.people.consent import Tier


class WhyNot(StrEnum):
    """The reasons for which a campaign is not shown, in the order in which they are looked at."""

    paused = "paused"
    ended = "ended"
    not_begun = "not_begun"
    is_over = "is_over"
    surface = "surface"
    hours = "hours"
    attributes = "attributes"
    segments = "segments"
    geography = "geography"
    devices = "devices"
    users = "users"
    cap_needs_user = "cap_needs_user"


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """One request, as far as targeting asks.

    Attributes:
        surface: Where it is answered.
        timestamp: When, seconds since 1970 UTC.
        tier: How much of a person may be used.
        attributes: Of user and request; a value, or several.
        segment: Of the user, '' for none.
        geography: `DE` or `DE-BE`, '' for unknown.
        device: '' for unknown.
        customer: The user as a run of customers knows them; None where nothing is known or may be used.
    """

    surface: str
    timestamp: int
    tier: Tier = Tier.personal
    attributes: Mapping[str, Value | Sequence[Value]] = field(default_factory=dict)
    segment: str = ""
    geography: str = ""
    device: str = ""
    customer: Customer | None = None


def why_not(campaign: Campaign, viewer: Viewer) -> WhyNot | None:
    """Returns why a campaign may not be shown to a viewer now, None if it may.

    A campaign with hours of its creatives goes on as long as one of them may be shown (see `showable`).
    """
    return _by_time(campaign, viewer) or _by_targeting(campaign, viewer) or _by_consent(campaign, viewer)


def showable(campaign: Campaign, timestamp: int) -> tuple[Creative, ...]:
    """Returns the creatives that their own hours let through now."""
    hour = hour_of_week(campaign.timezone, timestamp)
    return tuple([one for one in campaign.creatives if hour in hours_of(one.hours)])


def _by_time(campaign: Campaign, viewer: Viewer) -> WhyNot | None:
    """Returns a reason of state, flight, surface or hours."""
    if campaign.state is not State.active:
        return WhyNot.paused if campaign.state is State.paused else WhyNot.ended
    if viewer.timestamp < campaign.starts:
        return WhyNot.not_begun
    if viewer.timestamp >= campaign.ends:
        return WhyNot.is_over
    is_elsewhere = campaign.surfaces and viewer.surface not in campaign.surfaces
    if is_elsewhere or viewer.surface in campaign.exclusions.surfaces:
        return WhyNot.surface
    hour = hour_of_week(campaign.timezone, viewer.timestamp)
    if hour not in hours_of(campaign.targeting.hours) or not showable(campaign, viewer.timestamp):
        return WhyNot.hours
    return None


def _by_targeting(campaign: Campaign, viewer: Viewer) -> WhyNot | None:
    """Returns a reason of targeting or exclusions."""
    asked, excluded = campaign.targeting, campaign.exclusions
    checks = (
        (WhyNot.attributes, all(_holds(clause, viewer) for clause in asked.attributes.clauses)),
        (WhyNot.segments, _is_in(viewer.segment, asked.segments) and viewer.segment not in excluded.segments),
        (WhyNot.geography, _lies_in(viewer.geography, asked.geography)),
        (WhyNot.devices, _is_in(viewer.device, asked.devices)),
        (WhyNot.users, _users_hold(asked, excluded, viewer.customer)),
    )
    return next((reason for reason, passes in checks if not passes), None)


def _by_consent(campaign: Campaign, viewer: Viewer) -> WhyNot | None:
    """Returns a reason of consent: without a user nobody can count, and a cap that nobody counts is none."""
    is_capped = bool(campaign.frequency_caps)
    return WhyNot.cap_needs_user if is_capped and viewer.tier is not Tier.personal else None


def _is_in(value: str, named: Sequence[str]) -> bool:
    """Returns whether a value is one of those named, or none is."""
    return not named or value in named


def _lies_in(place: str, named: Sequence[str]) -> bool:
    """Returns whether a place lies in one of those named, as `DE-BE` in `DE`; any does if none is named."""
    return not named or any(place == one or place.startswith(f"{one}-") for one in named)


def _users_hold(asked: Targeting, excluded: Exclusions, customer: Customer | None) -> bool:
    """Returns whether the user is one of those that are meant, and in no audience that is excluded."""
    if customer is not None and not customer.audiences.isdisjoint(excluded.audiences):
        return False
    return asked.users is None or asked.users.matches(customer)


def _holds(clause: Clause, viewer: Viewer) -> bool:
    """Returns whether a condition holds of the attributes of user and request."""
    found = viewer.attributes.get(clause.attribute, ())
    # With the type: True equals 1, but asks for something else.
    values = set(map(_typed, (found,) if isinstance(found, bool | int | float | str) else found))
    if clause.any_of and not values.intersection(map(_typed, clause.any_of)):
        return False
    if not values.issuperset(map(_typed, clause.all_of)) or values.intersection(map(_typed, clause.none_of)):
        return False
    return not clause.has_range or any(_within(clause, value) for _, value in values)


def _typed(value: Value) -> tuple[bool, Value]:
    """Returns a value that differs from a flag of the same number."""
    return isinstance(value, bool), value


def _within(clause: Clause, value: Value) -> bool:
    """Returns whether a number lies within the bounds of a condition."""
    if isinstance(value, bool | str):
        return False
    return (clause.min is None or value >= clause.min) and (clause.max is None or value <= clause.max)
