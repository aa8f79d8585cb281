"""How lists and probabilities do by group of people, and what is shown of each group of items.

For each protected column: the headline metric, the exposure of ads and of what is popular anyway, and the
calibration of click probabilities, from a head that does not know the column and from one that does: leaving
a column out can be what makes its groups badly calibrated. Composes `fairness`; decides not who is asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from marquee.core.arrays import BoolArray, Float64Array, IndexArray
from marquee.evaluation.analyses.fairness import (
    NO_GROUP,
    GroupGaps,
    measure_gaps,
)
from marquee.evaluation.analyses.supply import SupplyShare, popularity_fifths, supply_shares
from marquee.evaluation.intervals import json_fields
from marquee.evaluation.probabilities.calibration import LogisticHead
from marquee.evaluation.probabilities.click_heads import ScoredExposures, place_indicators

POPULAR = "fifth 1"
MAX_GROUPS = 20
"""Groups of a column that a head may know: of more, each is known from a handful of exposures."""


@dataclass(frozen=True)
class GroupFairness:
    """Gaps between people, and exposure beside merit of items.

    Attributes:
        gaps: By protected column and metric.
        supply: What items are grouped by → each group's share of the exposure beside its share of what people
            then turned to.
        absent: Why a part is missing, one sentence each.
    """

    gaps: tuple[GroupGaps, ...] = ()
    supply: Mapping[str, tuple[SupplyShare, ...]] = field(default_factory=dict)
    absent: tuple[str, ...] = ()

    def to_json_dict(self) -> dict[str, object]:
        """Returns everything, ready for `json.dumps`."""
        return json_fields(self)


@dataclass(frozen=True)
class JudgedClicks:
    """Exposures with clicks, to fit heads on and to judge them by, and whose they are.

    Attributes:
        fitted: Exposures of before.
        judged: Exposures that are judged.
        fitted_users: User of each fitted one.
        judged_users: User of each judged one.
    """

    fitted: ScoredExposures
    judged: ScoredExposures
    fitted_users: Sequence[str]
    judged_users: Sequence[str]


def list_gaps(
    attribute: str,
    groups: Sequence[object],
    metrics: Mapping[str, Float64Array],
    lists: IndexArray,
    counts: IndexArray,
    is_ad: BoolArray,
) -> list[GroupGaps]:
    """Returns gaps of lists by a protected column.

    Args:
        attribute: The column.
        groups: Of each judged user.
        metrics: Metric → its value of each user.
        lists: Items of each user, (n, k), 0 where a list is shorter.
        counts: Training events of each item, (n_items + 1,).
        is_ad: (n_items + 1,) bool.
    """
    popular = np.array([fifth == POPULAR for fifth in popularity_fifths(counts)])
    measured = dict(metrics)
    measured["exposure of the most popular fifth"] = _exposure(lists, popular)
    if is_ad.any():
        measured["exposure of ads"] = _exposure(lists, is_ad)
        # Whether anything was sold to them at all, however low it stood.
        measured["selection rate of ads"] = np.asarray(is_ad[lists].any(axis=1), dtype=np.float64)
    return [measure_gaps(attribute, name, values, groups) for name, values in measured.items()]


def _exposure(lists: IndexArray, is_in: BoolArray) -> Float64Array:
    """Returns the share of each list's exposure that some items have, (n,); NaN for an empty list."""
    weight = np.broadcast_to(1 / np.log2(np.arange(lists.shape[1]) + 2), lists.shape) * (lists > 0)
    total = weight.sum(axis=1)
    shares = np.full(len(lists), np.nan)
    np.divide((weight * is_in[lists]).sum(axis=1), total, out=shares, where=total > 0)
    return shares


def click_gaps(attribute: str, group_of: Mapping[str, object], clicks: JudgedClicks) -> list[GroupGaps]:
    """Returns the calibration ratio of clicks by a protected column, by a head without it and by one with it.

    Args:
        attribute: The column.
        group_of: User → group; who is missing has none.
        clicks: The exposures.
    """
    fitted, judged = (
        np.array([_name(group_of.get(user)) for user in users])
        for users in (clicks.fitted_users, clicks.judged_users)
    )
    known = np.unique(fitted)[:MAX_GROUPS]
    plain = _columns(clicks.fitted, clicks.judged)
    groups = tuple((names[:, None] == known).astype(np.float64) for names in (fitted, judged))
    gaps = []
    for what, more in (("without", None), ("with", groups)):
        before, now = plain
        if more is not None:
            before, now = np.hstack([before, more[0]]), np.hstack([now, more[1]])
        head = LogisticHead.fit(before, clicks.fitted.is_clicked)
        users, number = np.unique(np.array(clicks.judged_users), return_inverse=True)
        # Sums of each user: exposures of one user are not independent.
        said = np.bincount(number, head.probabilities(now), minlength=len(users)).astype(np.float64)
        came = np.bincount(number, clicks.judged.is_clicked, minlength=len(users)).astype(np.float64)
        own = [_plain(group_of.get(user)) for user in users.tolist()]
        gaps.append(measure_gaps(attribute, f"calibration of clicks, {what} the column", said, own, came))
    return gaps


def _columns(fitted: ScoredExposures, judged: ScoredExposures) -> tuple[Float64Array, Float64Array]:
    """Returns score and place of exposures, as the heads of the report read them."""
    places = place_indicators(fitted.place, judged.place)
    sides = []
    for exposures, place in zip((fitted, judged), places, strict=True):
        score = exposures.score[:, None]
        sides.append(score if place is None else np.hstack([score, place]))
    return sides[0], sides[1]


def _plain(group: object) -> object:
    """Returns a group, None where there is none."""
    return None if group in (None, "") else group


def _name(group: object) -> str:
    """Returns a group as text; those without one are one group."""
    return NO_GROUP if group in (None, "") else str(group)


def supply_sides(
    lists: IndexArray,
    targets: IndexArray,
    target_rows: IndexArray,
    counts: IndexArray,
    suppliers: Mapping[str, Sequence[str]],
) -> dict[str, tuple[SupplyShare, ...]]:
    """Returns exposure beside merit by fifth of popularity, and by each way to group items.

    Args:
        lists: Items of each user, (n, k), 0 where a list is shorter.
        targets: Items that people turned to in the judged part, any order, repeated as often as they did.
        target_rows: Whose each is, as rows of `lists`.
        counts: Training events of each item, (n_items + 1,).
        suppliers: Name of a column → group of each item, n_items + 1 with one for padding.
    """
    grouped: dict[str, Sequence[str]] = {"popularity": popularity_fifths(counts), **suppliers}
    return {name: supply_shares(lists, targets, target_rows, groups) for name, groups in grouped.items()}
