"""Whether a campaign may be shown to a viewer now: by its state, its flight, its hours and its targeting.

Decides one campaign at a time, and says why not; what answers requests with many campaigns must say the same.
Leaves to others what depends on more: budgets and caps (see `marquee.store.ledger`), whom an audience holds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from marquee.ads.campaigns.calendar import hour_of_week, hours_of
from marquee.core.filters import Clause, Value
from marquee.core.targeting.customer import Customer, TraitValue
from marquee.core.targeting.targeting import Targeting as UserTargeting
from marquee.store.campaigns.campaign import Campaign, Creative, State
from marquee.store.people.consent import Tier

_Typed = tuple[bool, Value]
_CustomerKey = tuple[tuple[tuple[str, TraitValue], ...], frozenset[str]]


GEOGRAPHY, DEVICE = "country", "device"
"""Columns of a request's context that say where and by what it came."""


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


class Check(NamedTuple):
    """One question of targeting: a part of a campaign against a part of a viewer, both hashable.

    Attributes:
        reason: For which a campaign is not shown where the answer is no.
        asked: Returns the part of a campaign.
        known: Returns the part of a viewer.
        holds: Whether the one is met by the other.
    """

    reason: WhyNot
    asked: Callable[[Campaign], Any]
    known: Callable[[Viewer], Any]
    holds: Callable[[Any, Any], bool]


def attribute_check(attribute: str) -> Check:
    """Returns the question for one attribute of user and request."""
    return Check(
        WhyNot.attributes,
        lambda one: tuple([c for c in one.targeting.attributes.clauses if c.attribute == attribute]),
        lambda viewer: _values_of(viewer, attribute),
        lambda clauses, values: all(_holds(clause, values) for clause in clauses),
    )


SURFACE = Check(
    WhyNot.surface,
    lambda one: (one.surfaces, one.exclusions.surfaces),
    lambda viewer: viewer.surface,
    lambda asked, surface: _is_in(surface, asked[0]) and surface not in asked[1],
)
TARGETING = (
    Check(
        WhyNot.segments,
        lambda one: (one.targeting.segments, one.exclusions.segments),
        lambda viewer: viewer.segment,
        lambda asked, segment: _is_in(segment, asked[0]) and segment not in asked[1],
    ),
    Check(
        WhyNot.geography,
        lambda one: one.targeting.geography,
        lambda viewer: viewer.geography,
        lambda named, place: _lies_in(place, named),
    ),
    Check(
        WhyNot.devices,
        lambda one: one.targeting.devices,
        lambda viewer: viewer.device,
        lambda named, device: _is_in(device, named),
    ),
    Check(
        WhyNot.users,
        lambda one: (one.targeting.users, one.exclusions.audiences),
        lambda viewer: _key_of(viewer.customer),
        lambda asked, key: _users_hold(asked[0], asked[1], key),
    ),
    # Without a user nobody can count, and a cap that nobody counts is none.
    Check(
        WhyNot.cap_needs_user,
        lambda one: bool(one.frequency_caps),
        lambda viewer: viewer.tier,
        lambda is_capped, tier: not is_capped or tier is Tier.personal,
    ),
)
"""The questions to a viewer, in the order of the reasons, but for attributes, which come first."""


def why_not(campaign: Campaign, viewer: Viewer) -> WhyNot | None:
    """Returns why a campaign may not be shown to a viewer now, None if it may.

    A campaign with hours of its creatives goes on as long as one of them may be shown (see `showable`).
    """
    return _by_time(campaign, viewer) or _by_targeting(campaign, viewer)


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
    if not SURFACE.holds(SURFACE.asked(campaign), SURFACE.known(viewer)):
        return WhyNot.surface
    hour = hour_of_week(campaign.timezone, viewer.timestamp)
    if hour not in hours_of(campaign.targeting.hours) or not showable(campaign, viewer.timestamp):
        return WhyNot.hours
    return None


def _by_targeting(campaign: Campaign, viewer: Viewer) -> WhyNot | None:
    """Returns a reason of targeting, exclusions or consent."""
    named = {clause.attribute for clause in campaign.targeting.attributes.clauses}
    checks = (*map(attribute_check, named), *TARGETING)
    unmet = (check.reason for check in checks if not check.holds(check.asked(campaign), check.known(viewer)))
    return next(unmet, None)


def _values_of(viewer: Viewer, attribute: str) -> frozenset[_Typed]:
    """Returns the values of an attribute of user and request."""
    found = viewer.attributes.get(attribute, ())
    return frozenset(map(_typed, (found,) if isinstance(found, bool | int | float | str) else found))


def _is_in(value: str, named: Sequence[str]) -> bool:
    """Returns whether a value is one of those named, or none is."""
    return not named or value in named


def _lies_in(place: str, named: Sequence[str]) -> bool:
    """Returns whether a place lies in one of those named, as `DE-BE` in `DE`; any does if none is named."""
    return not named or any(place == one or place.startswith(f"{one}-") for one in named)


def _key_of(customer: Customer | None) -> _CustomerKey | None:
    """Returns a customer as a value that can be hashed."""
    return None if customer is None else (tuple(sorted(customer.traits.items())), customer.audiences)


def _users_hold(asked: UserTargeting | None, excluded: Sequence[str], key: _CustomerKey | None) -> bool:
    """Returns whether the user is one of those that are meant, and in no audience that is excluded."""
    customer = None if key is None else Customer(dict(key[0]), key[1])
    if customer is not None and not customer.audiences.isdisjoint(excluded):
        return False
    return asked is None or asked.matches(customer)


def _holds(clause: Clause, values: frozenset[_Typed]) -> bool:
    """Returns whether a condition holds of the values of its attribute."""
    if clause.any_of and not values.intersection(map(_typed, clause.any_of)):
        return False
    if not values.issuperset(map(_typed, clause.all_of)) or values.intersection(map(_typed, clause.none_of)):
        return False
    return not clause.has_range or any(_within(clause, value) for _, value in values)


def _typed(value: Value) -> _Typed:
    """Returns a value that differs from a flag of the same number: True equals 1, but asks for another."""
    return isinstance(value, bool), value


def _within(clause: Clause, value: Value) -> bool:
    """Returns whether a number lies within the bounds of a condition."""
    if isinstance(value, bool | str):
        return False
    return (clause.min is None or value >= clause.min) and (clause.max is None or value <= clause.max)
