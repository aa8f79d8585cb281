"""Campaigns as JSON has them: on the wire and in the store alike. What says nothing is left out.

Money is said in units of the currency there, and in whole millionths within; conditions on attributes have
the form that filters of a request have. All else is the fields of `Campaign` as they are.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from marquee.core.filters import NO_FILTERS, Clause, Filters
from marquee.core.plain import from_plain
from marquee.core.targeting.targeting import Targeting
from marquee.errors import CampaignError, DataError, FilterError
from marquee.store.campaigns.campaign import Campaign
from marquee.store.campaigns.money import millionths_of, plain_money

MONEY = ("total_budget", "daily_budget", "bid", "target_cost")
"""The fields that hold money."""

_CONDITIONS = ("any_of", "all_of", "none_of", "min", "max")
_ATTRIBUTES, _USERS = "targeting.attributes", "targeting.users"


def plain_campaign(campaign: Campaign) -> dict[str, Any]:  # Any: JSON
    """Returns a campaign as JSON has it."""
    targeting = campaign.targeting
    # These two hold what they were read to as well, and are said by hand.
    rest = replace(targeting, attributes=NO_FILTERS, users=None)
    plain = msgspec.to_builtins(replace(campaign, targeting=rest))
    for name in MONEY:
        if plain[name] is not None:
            plain[name] = plain_money(plain[name])
    plain["targeting"]["attributes"] = {
        one.attribute: _plain_clause(one) for one in targeting.attributes.clauses
    }
    if (users := targeting.users) is not None:
        plain["targeting"]["users"] = {"where": users.where, "audiences": list(users.audiences)}
    return _stated(plain)


def campaign_of(plain: Mapping[str, Any]) -> Campaign:
    """Returns the campaign that JSON says.

    Raises:
        CampaignError: If a field is missing, unknown or of another type.
        MoneyError: If an amount is none.
    """
    said = dict(plain)
    for name in MONEY:
        if said.get(name) is not None:
            said[name] = millionths_of(said[name], name)
    targeting = dict(said.get("targeting") or {})
    attributes, users = targeting.pop("attributes", None), targeting.pop("users", None)
    said["targeting"] = targeting
    try:
        campaign = from_plain(said, Campaign)
    except ValueError as error:
        raise CampaignError(f"a campaign must be said by its fields: {error}; correct it", "") from None
    whole = replace(campaign.targeting, attributes=_filters(attributes or {}), users=_users(users))
    return replace(campaign, targeting=whole)


def _filters(plain: Mapping[str, Any]) -> Filters:
    """Returns the conditions on attributes that JSON says; raises CampaignError."""
    try:
        return Filters.of(plain)
    except FilterError as error:
        field = error.field.replace("filters", _ATTRIBUTES, 1)
        raise CampaignError(str(error).replace("filters", _ATTRIBUTES, 1), field) from None


def _users(plain: Mapping[str, Any] | None) -> Targeting | None:
    """Returns the users that JSON says, None for everybody; raises CampaignError."""
    if plain is None:
        return None
    if unknown := sorted(plain.keys() - {"where", "audiences"}):
        raise CampaignError(
            f"{_USERS} must hold where and audiences, got {unknown[0]!r:.64}; leave it out", _USERS
        )
    try:
        return Targeting(plain.get("where", ""), tuple(plain.get("audiences", ())))
    except DataError as error:
        raise CampaignError(f"{_USERS}: {error}", _USERS) from None


def _plain_clause(clause: Clause) -> dict[str, Any]:
    """Returns the conditions of one attribute that are said."""
    said = {name: getattr(clause, name) for name in _CONDITIONS}
    return {name: list(one) if isinstance(one, tuple) else one for name, one in said.items()}


def _stated(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Returns JSON without what says nothing: empty texts, lists and mappings, and null."""
    stated = {name: _stated_value(value) for name, value in plain.items()}
    return {name: value for name, value in stated.items() if value is not None and value not in ("", [], {})}


def _stated_value(value: object) -> object:
    """Returns a value of JSON, its mappings without what says nothing."""
    if isinstance(value, Mapping):
        return _stated(value)
    return [_stated_value(one) for one in value] if isinstance(value, list | tuple) else value
