"""Frequency caps of campaigns as the ledger counts them."""

from marquee.store.campaigns.campaign import Campaign, CampaignSet, CapScope
from marquee.store.ledger.rows import Cap, CapClaim

_MS = 1000

SEPARATOR = "\x1f"
"""Between the parts of a key: no name may hold it."""


def key_of(campaign: Campaign, item_id: str, scope: CapScope) -> str:
    """Returns the name under which an ad of a campaign is counted."""
    named = {
        CapScope.ad: f"{campaign.campaign_id}{SEPARATOR}{item_id}",
        CapScope.campaign: campaign.campaign_id,
        CapScope.advertiser: campaign.advertiser,
    }
    return f"{scope.value}{SEPARATOR}{named[scope]}"


def claim_of(campaign: Campaign, item_id: str, campaigns: CampaignSet) -> CapClaim:
    """Returns the keys under which an ad counts once it is shown, and the caps that must hold for it.

    An ad counts for its advertiser also where only another campaign of the advertiser caps that.
    """
    scopes = {cap.per for cap in campaign.frequency_caps}
    if campaign.advertiser in campaigns.capped_advertisers:
        scopes.add(CapScope.advertiser)
    counted = tuple([key_of(campaign, item_id, scope) for scope in CapScope if scope in scopes])
    caps = [
        Cap(key_of(campaign, item_id, cap.per), cap.limit, cap.window_s * _MS)
        for cap in campaign.frequency_caps
    ]
    return CapClaim(counted, tuple(caps))
