"""Ads in the rows of a page: each row sells the slots of its own surface, and the page is one answer.

No campaign, advertiser or item stands on a page twice, what any of its surfaces keeps apart is kept apart
over all rows, and no campaign stands on a page with content that it excludes. Rows are sold from the top, and
what one shows counts for the caps of the next.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from marquee.ads.campaigns.columns import CampaignColumns
from marquee.ads.filling import Entry, Loss, collide
from marquee.core.arrays import BoolArray
from marquee.decision.ads.bidding import Known, Pairs
from marquee.decision.pages.rows import AnsweredRow
from marquee.decision.requests import AdCandidates
from serving.releases.surfaces import Surface


@dataclass
class PageAds:
    """A page around the ads of one of its rows.

    Attributes:
        apart: Attributes by which no two ads of the page may be equal.
        item_ids: Content of all rows.
        entries: Ads of the rows above.
    """

    apart: tuple[str, ...]
    item_ids: frozenset[str]
    entries: list[Entry] = field(default_factory=list)

    @classmethod
    def of(cls, surfaces: Sequence[Surface], rows: Sequence[AnsweredRow]) -> "PageAds":
        """Returns a page of content without ads.

        Args:
            surfaces: Of the rows.
            rows: As they were composed.
        """
        named = [name for surface in surfaces if surface.slots for name in surface.slots.apart]
        item_ids = frozenset(item.item_id for row in rows for item in row.answer.items)
        return cls(tuple(dict.fromkeys(named)), item_ids)


def beside_page(
    pairs: Pairs, found: AdCandidates, known: Known, columns: CampaignColumns, page: PageAds
) -> tuple[Pairs, Counter[Loss]]:
    """Returns the pairs that may stand on a page, and the number of the others by reason.

    Args:
        pairs: Which candidates may be shown for which campaigns.
        found: The candidates.
        known: By which some may not stand together.
        columns: The campaigns.
        page: What stands there.
    """
    lost: Counter[Loss] = Counter()
    passes: BoolArray = np.ones(len(pairs.campaigns), dtype=bool)
    standing = {one.campaign_id for one in page.entries}
    for row, (candidate, number) in enumerate(zip(*(one.tolist() for one in pairs), strict=True)):
        campaign, item_id = columns.eligible.held[number].campaign, found.item_ids[candidate]
        if campaign.campaign_id in standing:
            reason = Loss.same_campaign
        elif item_id in page.item_ids or any(
            collide(
                Entry(
                    None,
                    item_id,
                    campaign.campaign_id,
                    campaign.advertiser,
                    values=known.values[candidate] if known.values else (),
                    exclusions=campaign.exclusions,
                    categories=known.categories[candidate] if known.categories else frozenset(),
                ),
                one,
            )
            for one in page.entries
        ):
            reason = Loss.not_apart
        else:
            continue
        passes[row] = False
        lost[reason] += 1
    return Pairs(pairs.candidates[passes], pairs.campaigns[passes]), lost
