"""Which campaigns can be: each field possible by itself, and no two at odds.

Leaves to others whether items, attributes, segments and surfaces exist: the release that answers has these.
"""

from collections.abc import Callable, Sequence
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from marquee.errors import CampaignError
from marquee.store.campaigns.campaign import Campaign, HourRange, Priority

LONGEST_WINDOW_S = 90 * 86_400
"""Of a frequency cap: what was shown to a user is remembered so long."""

MOST_CREATIVES = 1_000


def validate_campaign(campaign: Campaign) -> None:
    """Raises CampaignError that names the first field which cannot be."""
    for check in _CHECKS:
        check(campaign)


def _flight(campaign: Campaign) -> None:
    """Validates flight and zone."""
    if campaign.ends <= campaign.starts:
        raise CampaignError(
            f"ends must be after starts ({campaign.starts}), got {campaign.ends}; swap or correct the two",
            "ends",
        )
    try:
        ZoneInfo(campaign.timezone)
    # ValueError: a name that would lead out of the folder of the zones.
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise CampaignError(
            f"timezone must be a name of the IANA list, got {campaign.timezone!r:.64}; say one such as "
            "Europe/Berlin",
            "timezone",
        ) from None


def _money(campaign: Campaign) -> None:
    """Validates bid and budgets."""
    is_house = campaign.priority is Priority.house
    for name in ("bid", "target_cost"):
        if is_house and getattr(campaign, name):
            raise CampaignError(
                f"{name} must be left out of a house campaign, whose price is 0, got "
                f"{getattr(campaign, name)} millionths; leave it out or choose another priority",
                name,
            )
    if is_house:
        return
    if (campaign.bid is None) == (campaign.target_cost is None):
        given = "neither" if campaign.bid is None else "both"
        raise CampaignError(f"bid or target_cost must be given, got {given}; keep one of them", "bid")
    if not campaign.price_limit:
        name = "target_cost" if campaign.bid is None else "bid"
        raise CampaignError(f"{name} must be above 0, got 0; say one, or make it a house campaign", name)
    if not campaign.total_budget:
        raise CampaignError("total_budget must be above 0, got 0; say what may be spent", "total_budget")


def _daily(campaign: Campaign) -> None:
    """Validates the budget of a day."""
    daily = campaign.daily_budget
    if daily is None:
        return
    if not daily:
        raise CampaignError(
            "daily_budget must be above 0, got 0; leave it out for no bound, or pause the campaign",
            "daily_budget",
        )
    if campaign.total_budget and daily > campaign.total_budget:
        raise CampaignError(
            f"daily_budget must be at most total_budget ({campaign.total_budget} millionths), got {daily}; "
            "lower it, or raise the total",
            "daily_budget",
        )


def _creatives(campaign: Campaign) -> None:
    """Validates the ads."""
    n_creatives = len(campaign.creatives)
    if not 1 <= n_creatives <= MOST_CREATIVES:
        raise CampaignError(
            f"creatives must name 1 to {MOST_CREATIVES} items, got {n_creatives}; name what is to be shown",
            "creatives",
        )
    seen: set[str] = set()
    for number, creative in enumerate(campaign.creatives):
        if creative.item_id in seen:
            field = f"creatives[{number}].item_id"
            raise CampaignError(
                f"{field} must be named once, got {creative.item_id!r:.64} twice; name it once", field
            )
        seen.add(creative.item_id)
        _hours(creative.hours, f"creatives[{number}].hours")


def _caps(campaign: Campaign) -> None:
    """Validates frequency caps."""
    for number, cap in enumerate(campaign.frequency_caps):
        field = f"frequency_caps[{number}]"
        if cap.limit < 1:
            raise CampaignError(
                f"{field}.limit must be at least 1, got {cap.limit}; pause the campaign to show it to nobody",
                f"{field}.limit",
            )
        if not 1 <= cap.window_s <= LONGEST_WINDOW_S:
            raise CampaignError(
                f"{field}.window_s must be 1 to {LONGEST_WINDOW_S} seconds, got {cap.window_s}; say how long "
                "the window is",
                f"{field}.window_s",
            )


def _targeted_hours(campaign: Campaign) -> None:
    """Validates the hours of the campaign."""
    _hours(campaign.targeting.hours, "targeting.hours")


def _hours(ranges: Sequence[HourRange], field: str) -> None:
    """Validates ranges of hours."""
    for number, one in enumerate(ranges):
        if not 0 <= one.from_hour < one.until_hour <= 24:
            where = f"{field}[{number}].until_hour"
            raise CampaignError(
                f"{where} must be after from_hour ({one.from_hour}) and at most 24, got {one.until_hour}; "
                "say two ranges for hours over midnight",
                where,
            )


def _names(campaign: Campaign) -> None:
    """Validates that nobody pays under no name."""
    for name in ("campaign_id", "advertiser", "payer"):
        if not getattr(campaign, name).strip():
            raise CampaignError(f"{name} must not be empty, got {getattr(campaign, name)!r}; say it", name)


_CHECKS: tuple[Callable[[Campaign], None], ...] = (
    _names,
    _flight,
    _money,
    _daily,
    _creatives,
    _caps,
    _targeted_hours,
)
