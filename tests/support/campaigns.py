"""Campaigns for tests: one that may be shown, changed in some fields."""

from marquee.store.campaigns.campaign import BidType, Campaign, CampaignSet, Creative, HeldCampaign
from tests.support.event_stores import DAY, NOW

EURO = 1_000_000


def campaign(campaign_id: str = "spring", **changes: object) -> Campaign:
    """Returns a campaign of a week that pays 40 cents a click, changed in some fields."""
    fields: dict[str, object] = {
        "advertiser": "acme",
        "payer": "Acme GmbH",
        "starts": NOW - DAY,
        "ends": NOW + 6 * DAY,
        "total_budget": 100 * EURO,
        "bid_type": BidType.cpc,
        "bid": 400_000,
        "creatives": (Creative(item_id="ad-1"), Creative(item_id="ad-2")),
    }
    return Campaign(campaign_id=campaign_id, **{**fields, **changes})  # type: ignore[arg-type]


def held(campaign: Campaign, version: int = 1, sequence: int = 1) -> HeldCampaign:
    """Returns a campaign as a store would have it."""
    return HeldCampaign(campaign, version, NOW * 1000, "anna", "created", sequence)


def set_of(*campaigns: Campaign) -> CampaignSet:
    """Returns a set of campaigns, each as it was made."""
    return CampaignSet().with_changes(held(one, 1, number) for number, one in enumerate(campaigns, 1))
