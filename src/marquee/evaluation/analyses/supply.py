"""The supply side: how much of what is shown each group of items has, beside its share of merit.

Both are shares over users, so both have intervals over users; so has their difference, for both are of the
same people.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from marquee.core.arrays import BoolArray, Float64Array, IndexArray
from marquee.errors import ShapeError
from marquee.evaluation.analyses.fairness import share_at
from marquee.evaluation.experiments.units import ArmUnits
from marquee.evaluation.intervals import Estimate, widening

_QUANTILE = 1.959963984540054  # of the normal distribution, 95 % two-sided


@dataclass(frozen=True, slots=True)
class SupplyShare:
    """One group of items: its share of what is shown beside its share of merit.

    Attributes:
        name: Of the group.
        n_items: Its items.
        exposure: Its share of the exposure.
        merit: Its share of what people turned to.
        exposure_interval: Of the exposure, over users; None with fewer than two.
        merit_interval: Of the merit, likewise.
        difference: Exposure less merit, widened for having looked at all groups; likewise.
    """

    name: str
    n_items: int
    exposure: float
    merit: float
    exposure_interval: Estimate | None = None
    merit_interval: Estimate | None = None
    difference: Estimate | None = None


def popularity_fifths(counts: IndexArray) -> tuple[str, ...]:
    """Returns the fifth of each item by training events, the most popular fifth of the items first.

    Args:
        counts: Training events of each item, (n_items + 1,); entry 0 is padding.

    Example:
        >>> popularity_fifths(np.array([0, 9, 1, 5, 7, 3]))
        ('', 'fifth 1', 'fifth 5', 'fifth 3', 'fifth 2', 'fifth 4')
    """
    # Stable: equal counts go by item index, so the fifths are the same each time.
    order = np.argsort(-counts[1:], kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return ("", *(f"fifth {5 * rank // max(1, len(order)) + 1}" for rank in place.tolist()))


def supply_shares(
    lists: IndexArray,
    targets: IndexArray,
    target_rows: IndexArray,
    groups: Sequence[str],
    is_shown: BoolArray | None = None,
) -> tuple[SupplyShare, ...]:
    """Returns the exposure of each group of items beside its merit, with intervals over users.

    Args:
        lists: Item indices of each user's list, (n_users, k); 0 where a list is shorter.
        targets: Items that people turned to, (n_targets,), any order, as often as they did: the merit.
        target_rows: Whose they are, as rows of `lists`, (n_targets,).
        groups: Group of each item, (n_items + 1,): a supplier, or a fifth of popularity.
        is_shown: Places that count, (n_users, k); None for all.

    Raises:
        ShapeError: If targets and their users differ in number, or an item has no group.

    Source:
        Singh and Joachims 2018, KDD, "Fairness of Exposure in Rankings"; exposure of a place is
        1 / log2(1 + place), as in NDCG. Intervals by the delta method, see `experiments.units`.
    """
    largest = int(max(lists.max(initial=0), targets.max(initial=0)))
    if len(targets) != len(target_rows) or largest >= len(groups):
        raise ShapeError(
            f"each target needs a user and each item a group, got {len(target_rows)} users for "
            f"{len(targets)} targets and {len(groups)} groups for items up to {largest}"
        )
    names, group = np.unique(np.array(groups, dtype=object)[1:].astype(str), return_inverse=True)
    group_of = np.concatenate([[len(names)], group])  # padding has a group of its own
    weight = np.broadcast_to(1 / np.log2(np.arange(lists.shape[1]) + 2), lists.shape)
    counts = lists > 0 if is_shown is None else (lists > 0) & is_shown
    rows = np.broadcast_to(np.arange(len(lists))[:, None], lists.shape)
    shown = _by_user(rows[counts], group_of[lists[counts]], weight[counts], len(lists), len(names))
    wanted = _by_user(target_rows, group_of[targets], np.ones(len(targets)), len(lists), len(names))
    wider = widening(len(names))
    return tuple(
        _share(
            name,
            int((group == place).sum()),
            shown[:, place],
            shown.sum(axis=1),
            wanted[:, place],
            wanted.sum(axis=1),
            wider,
        )
        for place, name in enumerate(names.tolist())
    )


def _by_user(
    user: IndexArray, group: IndexArray, weight: Float64Array, n_users: int, n_groups: int
) -> Float64Array:
    """Returns the weights of each user and group added up, (n_users, n_groups); padding is left out."""
    cell, size = user * (n_groups + 1) + group, n_users * (n_groups + 1)
    summed = np.bincount(cell, weight, minlength=size).astype(np.float64)  # counts if there is no weight
    return summed.reshape(n_users, n_groups + 1)[:, :-1]


def _share(
    name: str,
    n_items: int,
    shown: Float64Array,
    all_shown: Float64Array,
    wanted: Float64Array,
    all_wanted: Float64Array,
    wider: float,
) -> SupplyShare:
    """Returns the shares of one group, from the sums of each user, (n_users,) each."""
    # A floor in place of 0: shares of nothing are 0, not NaN.
    exposure, merit = (
        float(own.sum() / max(both.sum(), 1e-300)) for own, both in ((shown, all_shown), (wanted, all_wanted))
    )
    if len(shown) < 2 or not all_shown.any() or not all_wanted.any():
        return SupplyShare(name, n_items, exposure, merit)
    first, second = ArmUnits(shown, all_shown), ArmUnits(wanted, all_wanted)
    # Of the same users: what is shown to them goes with what they turn to, and the difference is surer.
    error = float((first.influence - second.influence).std(ddof=1)) / len(shown) ** 0.5
    difference, reach = exposure - merit, wider * _QUANTILE * error
    return SupplyShare(
        name,
        n_items,
        exposure,
        merit,
        _interval(first),
        _interval(second),
        Estimate(difference, difference - reach, difference + reach),
    )


def _interval(units: ArmUnits) -> Estimate:
    """Returns a share with its interval, within 0 and 1."""
    if not units.numerator.any():
        # Nobody of so many: as that of a share of users, for equal values would make it certain.
        return share_at(0.0, float(len(units)), _QUANTILE)
    reach = _QUANTILE * units.variance**0.5
    return Estimate(units.mean, max(units.mean - reach, 0.0), min(units.mean + reach, 1.0))
