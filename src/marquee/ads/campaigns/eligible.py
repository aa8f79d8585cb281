"""Which of ten thousand campaigns may be shown to a viewer, in one go.

Says the same as `why_not` says of each. Every condition is asked once for all campaigns that have it, and the
answer is kept for the next viewer of whom the same is known.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock

import numpy as np

from marquee.ads.campaigns.calendar import HOURS_PER_WEEK, hour_of_week, hours_of
from marquee.ads.campaigns.eligibility import SURFACE, TARGETING, Check, Viewer, attribute_check
from marquee.core.arrays import BoolArray
from marquee.store.campaigns.campaign import Campaign, CampaignSet, State

# Of 10,000 campaigns a mask takes 10 kB: all of one set stay below 30 MB.
_KEPT_MASKS = 256


class _Masks:
    """The latest masks by what they follow from. Several threads may ask."""

    def __init__(self, make: Callable[[Hashable], BoolArray]) -> None:
        self._make = make
        self._kept: OrderedDict[Hashable, BoolArray] = OrderedDict()
        self._lock = Lock()

    def of(self, key: Hashable) -> BoolArray:
        """Returns the mask of a key, which must not be written to."""
        with self._lock:
            mask = self._kept.get(key)
            if mask is not None:
                self._kept.move_to_end(key)
                return mask
        mask = self._make(key)
        with self._lock:
            self._kept[key] = mask
            if len(self._kept) > _KEPT_MASKS:
                self._kept.popitem(last=False)
        return mask


class EligibleCampaigns:
    """All campaigns of a set by number, as columns. Several threads may ask.

    Attributes:
        held: The campaigns, by number.

    Args:
        campaigns: The set; another one needs another object.
    """

    def __init__(self, campaigns: CampaignSet) -> None:
        self.held = tuple(campaigns.held.values())
        said = campaigns.campaigns
        # One that is paused or ended has no second in which it could be shown.
        is_active = np.array([one.state is State.active for one in said], dtype=bool)
        self._starts = np.array([one.starts for one in said], dtype=np.int64)
        self._ends = np.where(is_active, np.array([one.ends for one in said], dtype=np.int64), np.int64(0))
        self._zones = tuple(dict.fromkeys(one.timezone for one in said))
        names = {clause.attribute for one in said for clause in one.targeting.attributes.clauses}
        checks = (SURFACE, *map(attribute_check, sorted(names)), *TARGETING)
        self._asked = [(check.known, _Masks(_asked_of(check, said))) for check in checks]
        self._by_hour = _Masks(_hours_of(said, self._zones))

    def to(self, viewer: Viewer) -> BoolArray:
        """Returns which campaigns may be shown to a viewer now, (n_campaigns,) bool, to be written to."""
        passes: BoolArray = (self._starts <= viewer.timestamp) & (viewer.timestamp < self._ends)
        passes &= self._by_hour.of(tuple([hour_of_week(zone, viewer.timestamp) for zone in self._zones]))
        for known, masks in self._asked:
            passes &= masks.of(known(viewer))
        return passes


def _asked_of(check: Check, said: tuple[Campaign, ...]) -> Callable[[Hashable], BoolArray]:
    """Returns a function that asks one question for all campaigns, once for those that ask the same."""
    asked = [check.asked(one) for one in said]
    distinct = {part: number for number, part in enumerate(dict.fromkeys(asked))}
    numbers = np.array([distinct[part] for part in asked], dtype=np.int64)

    def make(known: Hashable) -> BoolArray:
        met = np.array([check.holds(part, known) for part in distinct], dtype=bool)
        mask: BoolArray = met[numbers] if len(met) else np.zeros(0, dtype=bool)
        return mask

    return make


def _hours_of(said: tuple[Campaign, ...], zones: tuple[str, ...]) -> Callable[[Hashable], BoolArray]:
    """Returns a function that says which campaigns may be shown in an hour of the week of each zone."""
    hours = np.zeros((HOURS_PER_WEEK, len(said)), dtype=bool)
    for number, one in enumerate(said):
        # As long as one creative may be shown, the campaign goes on.
        of_creatives = set[int]().union(*(hours_of(creative.hours) for creative in one.creatives))
        hours[sorted(hours_of(one.targeting.hours) & of_creatives), number] = True
    zone_numbers = {zone: number for number, zone in enumerate(zones)}
    zone_of = np.array([zone_numbers[one.timezone] for one in said], dtype=np.int64)

    def make(hours_by_zone: Hashable) -> BoolArray:
        now = np.array(hours_by_zone, dtype=np.int64)
        mask: BoolArray = hours[now[zone_of], np.arange(len(said))]
        return mask

    return make
