"""Which of ten thousand campaigns may be shown to a viewer, in one go.

Says the same as `why_not` says of each. Every condition is asked once for all campaigns that have it, and the
answer is kept for the next viewer of whom the same is known.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock

import numpy as np

from marquee.ads.campaigns.calendar import HOURS_PER_WEEK, hour_of_week, shown_hours
from marquee.ads.campaigns.changed import Changed
from marquee.ads.campaigns.eligibility import SURFACE, TARGETING, Check, Viewer, WhyNot, attribute_check
from marquee.core.arrays import BoolArray, IndexArray
from marquee.store.campaigns.campaign import Campaign, CampaignSet, State

# Of 10,000 campaigns a mask takes 10 kB: all of one set stay below 30 MB.
_KEPT_MASKS = 256
# Parts of campaigns that no campaign says any more: beyond so many they are left out.
_MOST_UNUSED = 64
# Beside the reasons, by which the other questions are named.
_OF_ATTRIBUTE = "attribute "


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
        changed: Those that are not what they were in `before`.

    Args:
        campaigns: The set; another one needs another object.
        before: Of an earlier set, which it must succeed.
    """

    def __init__(self, campaigns: CampaignSet, before: "EligibleCampaigns | None" = None) -> None:
        self.held = tuple(campaigns.held.values())
        self.changed = Changed.since(before.held if before else (), self.held)
        said = [self.held[number].campaign for number in self.changed.numbers]
        filled = self.changed.column
        self._starts: IndexArray = filled(
            before._starts if before else None, [one.starts for one in said], np.int64
        )
        # One that is paused or ended has no second in which it could be shown.
        ends = [one.ends if one.state is State.active else 0 for one in said]
        self._ends: IndexArray = filled(before._ends if before else None, ends, np.int64)
        known = before._questions if before else {}
        names = {clause.attribute for one in said for clause in one.targeting.attributes.clauses}
        # Those of before first: their campaigns still ask.
        checks = {str(check.reason): check for check in (SURFACE, *TARGETING)}
        checks |= {name: one.check for name, one in known.items()}
        checks |= {_OF_ATTRIBUTE + name: attribute_check(name) for name in sorted(names)}
        self._questions: dict[str, _Question] = {
            name: _Question(check, self.changed, said, known.get(name)) for name, check in checks.items()
        }
        self._hours: _Hours = _Hours(self.changed, said, before._hours if before else None)

    @property
    def n_parts(self) -> int:
        """How many different answers of campaigns to one question are looked at, at most."""
        return max(one.n_parts for one in self._questions.values())

    def to(self, viewer: Viewer) -> BoolArray:
        """Returns which campaigns may be shown to a viewer now, (n_campaigns,) bool, to be written to."""
        passes: BoolArray = (self._starts <= viewer.timestamp) & (viewer.timestamp < self._ends)
        passes &= self._hours.at(viewer.timestamp)
        for one in self._questions.values():
            passes &= one.masks.of(one.check.known(viewer))
        return passes


class _Question:
    """One question of targeting to all campaigns, asked once of those that say the same.

    Attributes:
        check: The question.
        n_parts: How many different parts of campaigns it is asked of.
        masks: Which campaigns may be shown, by the part of a viewer.

    Args:
        check: The question.
        changed: The campaigns that are new, or others than before.
        said: The same.
        before: The question to the earlier set; None where nobody asked it.
    """

    def __init__(
        self, check: Check, changed: Changed, said: list[Campaign], before: "_Question | None"
    ) -> None:
        self.check = check
        # An attribute that nobody asked for before: campaigns that did not change have no clause of it.
        nothing: dict[Hashable, int] = {(): 0} if check.reason is WhyNot.attributes else {}
        self._parts: dict[Hashable, int] = nothing if before is None else dict(before._parts)
        codes = [self._parts.setdefault(check.asked(one), len(self._parts)) for one in said]
        self._codes: IndexArray = changed.column(before._codes if before else None, codes, np.int64)
        if len(self._parts) > _MOST_UNUSED + 2 * len(used := np.unique(self._codes)):
            parts = list(self._parts)
            self._parts = {parts[code]: number for number, code in enumerate(used.tolist())}
            self._codes = np.searchsorted(used, self._codes)
        self.n_parts = len(self._parts)
        self.masks = _Masks(self._mask)

    def _mask(self, known: Hashable) -> BoolArray:
        """Returns which campaigns may be shown to whoever is known so, (n_campaigns,)."""
        met = np.array([self.check.holds(part, known) for part in self._parts], dtype=bool)
        mask: BoolArray = met[self._codes]
        return mask


class _Hours:
    """The hours of the week in which each campaign may be shown with one creative at least.

    Args:
        changed: The campaigns that are new, or others than before.
        said: The same.
        before: Of the earlier set.
    """

    def __init__(self, changed: Changed, said: list[Campaign], before: "_Hours | None") -> None:
        self._zones: dict[str, int] = dict(before._zones) if before else {}
        zones = [self._zones.setdefault(one.timezone, len(self._zones)) for one in said]
        self._zone_of: IndexArray = changed.column(before._zone_of if before else None, zones, np.int64)
        self._hours = np.zeros((HOURS_PER_WEEK, changed.n), dtype=bool)
        if before:
            self._hours[:, : before._hours.shape[1]] = before._hours
        self._hours[:, changed.numbers] = False
        by_hours: dict[frozenset[int], list[int]] = {}
        for number, one in zip(changed.numbers, said, strict=True):
            by_hours.setdefault(shown_hours(one), []).append(number)
        for shown, numbers in by_hours.items():
            self._hours[np.ix_(sorted(shown), numbers)] = True
        self._masks = _Masks(self._mask)

    def at(self, timestamp: int) -> BoolArray:
        """Returns which campaigns may be shown at a moment, (n_campaigns,), which must not be written to."""
        return self._masks.of(tuple([hour_of_week(zone, timestamp) for zone in self._zones]))

    def _mask(self, hours_by_zone: Hashable) -> BoolArray:
        """Returns which campaigns may be shown in an hour of the week of each zone."""
        now = np.array(hours_by_zone, dtype=np.int64)
        mask: BoolArray = self._hours[now[self._zone_of], np.arange(len(self._zone_of))]
        return mask
