"""Which campaigns fit the releases that answer: items, categories, segments and others that there are."""

from collections.abc import Collection, Iterator, Mapping, Sequence

from marquee.core.ids import PADDING_INDEX
from marquee.core.targeting.targeting import CustomerFacts
from marquee.decision.ads.creatives import CATEGORY
from marquee.decision.recommender import Recommender
from marquee.errors import CampaignError, DataError
from marquee.store.campaigns.campaign import Campaign

_SHOWN = 20
"""Names that a message holds."""

Answering = Mapping[str, Collection[Recommender]]
"""By surface who answers there, candidates included."""


def validate_on(campaign: Campaign, answering: Answering, facts: CustomerFacts) -> None:
    """Raises CampaignError that names the first field which no release can follow.

    Args:
        campaign: A campaign that is possible by itself.
        answering: Who answers where.
        facts: Of the run of customers that is served.

    Raises:
        CampaignError: If it names a surface, an item, an attribute, a category, a trait, an audience or a
            segment that there is not.
    """
    for field, surface in _surfaces(campaign):
        if surface not in answering:
            raise CampaignError(
                f"{field} must be one of {list(answering)[:_SHOWN]}, got {surface!r:.64}; correct it", field
            )
    where = campaign.surfaces or tuple(answering)
    there = [one for surface in where for one in answering[surface]]
    for number, creative in enumerate(campaign.creatives):
        if not any(one.item_pool.table.index(creative.item_id) != PADDING_INDEX for one in there):
            field = f"creatives[{number}].item_id"
            raise CampaignError(
                f"{field} must be an item of a release that answers on {list(where)[:_SHOWN]}, or a live "
                f"one, got {creative.item_id!r:.64}; correct it, or post the item first",
                field,
            )
    _validate_attributes(campaign, {column for one in there for column in one.bundle.columns})
    _validate_categories(campaign, there)
    _validate_users(campaign, facts)
    _validate_segments(campaign, facts)


def _surfaces(campaign: Campaign) -> Iterator[tuple[str, str]]:
    """Yields the surfaces that a campaign names, each with its field."""
    for place, named in (
        ("surfaces", campaign.surfaces),
        ("exclusions.surfaces", campaign.exclusions.surfaces),
    ):
        for number, surface in enumerate(named):
            yield f"{place}[{number}]", surface


def _validate_attributes(campaign: Campaign, known: Collection[str]) -> None:
    """Raises CampaignError if targeting asks for an attribute that no release reads of users or requests."""
    for clause in campaign.targeting.attributes.clauses:
        if clause.attribute not in known:
            field = f"targeting.attributes.{clause.attribute}"
            raise CampaignError(
                f"{field} must be an attribute of users or requests that a release reads, one of "
                f"{sorted(known)[:_SHOWN]}; correct the name",
                field,
            )


def _validate_categories(campaign: Campaign, there: Sequence[Recommender]) -> None:
    """Raises CampaignError if a campaign excludes a category that no item of a release is of."""
    if not campaign.exclusions.categories:
        return
    known = frozenset[str]().union(*(one.item_pool.table.distinct(CATEGORY) for one in there))
    for number, category in enumerate(campaign.exclusions.categories):
        _validate_known(f"exclusions.categories[{number}]", category, known, "a category of items")


def _validate_segments(campaign: Campaign, facts: CustomerFacts) -> None:
    """Raises CampaignError if nobody in the run of customers is of a segment that a campaign names."""
    for place, named in (
        ("targeting.segments", campaign.targeting.segments),
        ("exclusions.segments", campaign.exclusions.segments),
    ):
        for number, segment in enumerate(named):
            _validate_known(f"{place}[{number}]", segment, facts.segments, "a segment of customers")


def _validate_known(field: str, name: str, known: Collection[str], what: str) -> None:
    """Raises CampaignError if a name is not one of those that there are."""
    if name not in known:
        expected = f"one of {sorted(known)[:_SHOWN]}" if known else "and there is none"
        raise CampaignError(f"{field} must be {what}, {expected}, got {name!r:.64}; correct it", field)


def _validate_users(campaign: Campaign, facts: CustomerFacts) -> None:
    """Raises CampaignError if the run of customers cannot tell whom a campaign is for, or not for."""
    users, field = campaign.targeting.users, "targeting.users"
    try:
        if users is not None:
            users.validate(facts)
    except DataError as error:
        raise CampaignError(f"{field}: {error}", field) from None
    for number, audience in enumerate(campaign.exclusions.audiences):
        _validate_known(
            f"exclusions.audiences[{number}]", audience, facts.audiences, "an audience whose members are told"
        )
