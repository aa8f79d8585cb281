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
        before: Of an earlier set, which it must succeed.
    """

    def __init__(self, campaigns: CampaignSet, before: "CampaignColumns | None" = None) -> None:
        self.campaigns = campaigns
        self.eligible: EligibleCampaigns = EligibleCampaigns(campaigns, before.eligible if before else None)
        changed = self.eligible.changed
        said = [self.eligible.held[number].campaign for number in changed.numbers]
        names = [one.campaign_id for one in said]
        self.numbers: dict[str, int] = {
            **(before.numbers if before else {}),
            **dict(zip(names, changed.numbers, strict=True)),
        }
        filled = changed.column
        self.bid: Float64Array = filled(
            before.bid if before else None, [one.price_limit for one in said], np.float64
        )
        bid_types = [BID_TYPES[one.bid_type] for one in said]
        self.bid_type: IndexArray = filled(before.bid_type if before else None, bid_types, np.int64)
        self.tier: IndexArray = filled(
            before.tier if before else None, [TIERS[one.priority] for one in said], np.int64
        )
        self._codes: dict[str, int] = dict(before._codes) if before else {}
        codes = [self._codes.setdefault(one.advertiser, len(self._codes)) for one in said]
        self.advertiser: IndexArray = filled(before.advertiser if before else None, codes, np.int64)
        is_capped = [bool(one.frequency_caps) for one in said]
        self.is_capped: BoolArray = filled(before.is_capped if before else None, is_capped, np.bool_)
        choosy = [is_choosy(one.exclusions) for one in said]
        self.is_choosy: BoolArray = filled(before.is_choosy if before else None, choosy, np.bool_)
        self.multipliers: Float64Array = np.zeros(changed.n)


def is_choosy(exclusions: Exclusions) -> bool:
    """Returns whether a campaign may not stand beside something; where it is shown is asked before."""
    return exclusions is not _NEITHER and bool(exclusions.advertisers or exclusions.categories)
