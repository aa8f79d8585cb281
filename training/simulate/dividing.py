"""One budget over several flights, divided so that the last unit of money brings each of them the same."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from marquee.ads.allocation import Prospect, Share, allocate
from marquee.ads.traffic import time_of
from marquee.errors import DataError
from marquee.marketing.forecast.series import SECONDS_PER_HOUR
from training.simulate.auctions import Source
from training.simulate.flying import traffic_before

_PER_MILLE = 1_000


def divide(sources: Sequence[Source], budget: int) -> tuple[list[Source], dict[str, Share]]:
    """Returns the flights with their shares of a budget, and the shares by campaign; millionths.

    Results are the events that campaigns pay for, and the places are those that the past lets expect.

    Args:
        sources: Of campaigns that pay for one kind of event.
        budget: Of all of them.

    Raises:
        DataError: If they pay for different events, or two have one name.
    """
    kinds = {one.campaign.bid_type.value for one in sources}
    names = [one.campaign.campaign_id for one in sources]
    if len(kinds) > 1 or len(set(names)) < len(names):
        raise DataError(
            "one budget is divided over campaigns of different names that pay for one kind of event, "
            f"got {names} "
            f"that pay by {sorted(kinds)}; change bid_type or campaign_id, or fly them apart"
        )
    # Prices are of a thousand impressions, and so is the budget beside them.
    shares = allocate(
        {name: prospect(one) for name, one in zip(names, sources, strict=True)}, budget * _PER_MILLE
    )
    told = {name: replace(one, spend=one.spend / _PER_MILLE) for name, one in shares.items()}
    flights = [_with_budget(one, int(told[one.campaign.campaign_id].spend)) for one in sources]
    return [one for one in flights if one.campaign.total_budget], told


def prospect(source: Source) -> Prospect:
    """Returns the places that a flight can buy, as what was before it lets expect."""
    before, campaign = source.before, source.campaign
    rows = before.may_buy
    distinct, counts = np.unique(before.price[rows], return_counts=True)
    traffic = traffic_before(source)
    weighed = time_of(campaign, traffic.weights)
    n_to_come = weighed.seconds(campaign.starts, campaign.ends) / SECONDS_PER_HOUR * traffic.per_hour
    per_row = n_to_come / max(1, len(before))
    value = float(before.probability[rows].mean()) if rows.any() else 0.0
    return Prospect(distinct.tolist(), (counts * per_row).tolist(), value)


def _with_budget(source: Source, budget: int) -> Source:
    """Returns a flight with another budget, and no more a day."""
    daily = source.campaign.daily_budget
    return replace(
        source,
        campaign=replace(
            source.campaign,
            total_budget=budget,
            daily_budget=None if daily is None else max(1, min(daily, budget)),
        ),
    )
