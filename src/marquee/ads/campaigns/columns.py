"""All that offers follow from of ten thousand campaigns, as columns by number.

Made beside the answers whenever a campaign has changed. The multipliers alone change in between: whoever
paces writes them, and answers read them as they are.
"""

import numpy as np

from marquee.ads.campaigns.eligible import EligibleCampaigns
from marquee.ads.filling import TIERS
from marquee.core.arrays import BoolArray, Float64Array, IndexArray
from marquee.store.campaigns.campaign import BidType, CampaignSet, Exclusions

BID_TYPES = {bid_type: code for code, bid_type in enumerate(BidType)}
_NEITHER = Exclusions()


class CampaignColumns:
    """The campaigns of a set as columns, (n_campaigns,) each. Several threads may ask, one may pace.

    Attributes:
        campaigns: The set; another one needs another object.
        eligible: Says which may be shown; `eligible.held` has the campaigns by number.
        numbers: Number of each campaign, by id.
        bid: The most that one billable event may cost, millionths; 0 where nothing is paid.
        bid_type: Code of what is paid for, by `BID_TYPES`.
        tier: Code of the priority, by `TIERS`.
        advertiser: Code of the advertiser.
        is_capped: Whether it caps how often it is shown.
        is_choosy: Whether it may not stand beside some advertisers or categories.
        multipliers: Of the bid, in [0, 1]; 0 for a campaign that offers nothing now.

    Args:
        campaigns: The set.
    """

    def __init__(self, campaigns: CampaignSet) -> None:
        said = campaigns.campaigns
        self.campaigns = campaigns
        self.eligible = EligibleCampaigns(campaigns)
        self.numbers = {one.campaign_id: number for number, one in enumerate(said)}
        self.bid: Float64Array = np.array([one.price_limit for one in said], dtype=np.float64)
        self.bid_type = _codes([BID_TYPES[one.bid_type] for one in said])
        self.tier = _codes([TIERS[one.priority] for one in said])
        codes: dict[str, int] = {}
        self.advertiser = _codes([codes.setdefault(one.advertiser, len(codes)) for one in said])
        self.is_capped = _flags([bool(one.frequency_caps) for one in said])
        self.is_choosy = _flags([is_choosy(one.exclusions) for one in said])
        self.multipliers: Float64Array = np.zeros(len(said))


def is_choosy(exclusions: Exclusions) -> bool:
    """Returns whether a campaign may not stand beside something; where it is shown is asked before."""
    return exclusions is not _NEITHER and bool(exclusions.advertisers or exclusions.categories)


def _codes(said: list[int]) -> IndexArray:
    """Returns a column of codes."""
    return np.array(said, dtype=np.int64)


def _flags(said: list[bool]) -> BoolArray:
    """Returns a column of flags."""
    return np.array(said, dtype=bool)
