"""Gaps of an audience: how often each group of a protected column was chosen, and how high it stands.

Counts of few people are not shown, also not by subtraction. Their groups are named and judged all the same,
by what is known without the count: fewer than so many members. An audience that leaves nearly everybody of a
group out is what this looks for, and must not hide behind the floor.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import polars as pl

from marquee.core.arrays import Float64Array
from marquee.evaluation.analyses.fairness import (
    NO_GROUP,
    BoundFinding,
    Gap,
    GapFinding,
    difference_of,
    measure_gaps,
    quantile_of_pairs,
    share_at,
)
from marquee.evaluation.intervals import Estimate
from marquee.marketing.cells import MIN_CELL, suppressed
from marquee.marketing.reading.customers import USER_ID

MAX_GROUPS = 12
_QUANTILE = quantile_of_pairs(2)


@dataclass(frozen=True, slots=True)
class AudienceGroup:
    """One group, as far as it may be shown.

    Attributes:
        name: Value of the column.
        n: Customers of it who could be members; None where the number is hidden.
        members: Of these, the members; None where the number is hidden.
        rate: Share of them, with its interval; None where it is hidden.
        exposure: Of its people on average, over that of all; None without an order, or where it is hidden.
        why: Why numbers are hidden; empty if none is.
    """

    name: str
    n: int | None
    members: int | None
    rate: Estimate | None
    exposure: Estimate | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class AudienceGap:
    """The largest gap of the selection rate.

    Attributes:
        higher: Group that was chosen more often.
        lower: The other one.
        difference: Of their rates, widened for having looked at all pairs; None where a count is hidden.
        finding: Whether they differ.
        bound: Whether `gap_at_most` holds; None without one.
    """

    higher: str
    lower: str
    difference: Estimate | None
    finding: GapFinding
    bound: BoundFinding | None


@dataclass(frozen=True)
class AudienceGaps:
    """An audience by one protected column.

    Attributes:
        column: The column.
        groups: In the order of their names; numbers in quarters.
        largest: Of the selection rate; None where fewer than two groups can be judged.
        exposure: The largest gap of the exposure; None without an order, or where fewer than two are shown.
        n_beyond: Rare groups beyond the `MAX_GROUPS` largest: they are one group.
    """

    column: str
    groups: tuple[AudienceGroup, ...]
    largest: AudienceGap | None
    exposure: Gap | None = None
    n_beyond: int = 0


@dataclass(frozen=True, slots=True)
class _Counts:
    """Members of a group, between two counts: the same where it may be shown."""

    n: int
    least: int
    most: int


def audience_gaps(
    column: str,
    groups: pl.Series,
    ids: pl.Series,
    members: pl.DataFrame,
    *,
    is_ordered: bool,
    gap_at_most: float | None = None,
) -> AudienceGaps:
    """Returns how an audience chooses among the groups of a column.

    Args:
        column: Name of the column.
        groups: Group of each customer who could be a member; null and an empty text are one group.
        ids: Of the same customers.
        members: `user_id` and `position` of the members.
        is_ordered: Whether the position means something.
        gap_at_most: Largest difference of selection rates allowed; None for no bound.

    Source:
        Selection rate: Barocas, Hardt and Narayanan 2023, "Fairness and Machine Learning", chapter 3.
    """
    names, n_beyond = _names(groups)
    labels = sorted(set(names.tolist()))
    place = pl.DataFrame({USER_ID: ids}).join(
        members.select(USER_ID, "position"), on=USER_ID, how="left", maintain_order="left"
    )["position"]
    is_member = place.is_not_null().to_numpy()
    of = {name: names == name for name in labels}
    n = [int(of[name].sum()) for name in labels]
    chosen = [int(is_member[of[name]].sum()) for name in labels]
    hidden_n, hidden = _hidden(n, chosen)
    shown = [name for name, is_hidden in zip(labels, hidden, strict=True) if not is_hidden]
    exposures, exposure_gap = _exposures(column, names, shown, place) if is_ordered else ({}, None)
    judged = {
        name: _judged(all_of, found)
        for name, all_of, found in zip(labels, n, chosen, strict=True)
        if all_of >= MIN_CELL
    }
    is_shown = dict(zip(labels, (not one for one in hidden), strict=True))
    return AudienceGaps(
        column,
        tuple(
            _group(name, n[at], chosen[at], hidden_n[at], hidden[at], exposures.get(name))
            for at, name in enumerate(labels)
        ),
        _largest(judged, is_shown, gap_at_most),
        exposure_gap,
        n_beyond,
    )


def _names(groups: pl.Series) -> tuple[np.ndarray[tuple[int], np.dtype[np.object_]], int]:
    """Returns the group of each row as a text, and how many rare ones were put together."""
    if groups.dtype.is_float() and groups.n_unique() > MAX_GROUPS:
        known = groups.to_numpy()
        part = np.searchsorted(np.nanquantile(known, [0.25, 0.5, 0.75]), known, side="right")
        texts = pl.Series(groups.name, [f"quarter {number + 1}" for number in part.tolist()])
        names = texts.to_numpy().astype(object)
        names[np.isnan(known)] = NO_GROUP
        return names, 0
    # 1.0 and 1 are one group, as a column of flags with a gap has them.
    whole = groups.cast(pl.Int64, strict=False) if groups.dtype.is_float() else groups
    texts = (whole if whole.null_count() == groups.null_count() else groups).cast(pl.String)
    texts = texts.fill_null(NO_GROUP).replace({"": NO_GROUP}).alias("group")
    counts = (
        texts.value_counts()
        .filter(pl.col("group") != NO_GROUP)
        .sort("count", "group", descending=[True, False])
    )
    rare = counts["group"][MAX_GROUPS:].to_list()
    if rare:
        texts = texts.replace(dict.fromkeys(rare, "(others)"))
    return texts.to_numpy().astype(object), len(rare)


def _hidden(n: Sequence[int], chosen: Sequence[int]) -> tuple[tuple[bool, ...], tuple[bool, ...]]:
    """Returns of which groups the size, and of which the members are hidden."""
    hidden_n = suppressed(n)
    others = [all_of - found for all_of, found in zip(n, chosen, strict=True)]
    hidden = hidden_n
    while True:
        # Members, and who was left out, part the same groups: what one hides the other may tell.
        wider = suppressed(others, also=suppressed(chosen, also=hidden))
        if wider == hidden:
            return hidden_n, hidden
        hidden = wider


def _judged(n: int, found: int) -> _Counts:
    """Returns the bounds of the members of a group that may be told."""
    if 0 < found < MIN_CELL:
        return _Counts(n, 1, min(MIN_CELL - 1, n))
    if 0 < n - found < MIN_CELL:
        return _Counts(n, max(n - MIN_CELL + 1, 0), n - 1)
    return _Counts(n, found, found)


def _group(
    name: str, n: int, members: int, is_n_hidden: bool, is_hidden: bool, exposure: Estimate | None
) -> AudienceGroup:
    """Returns a group as far as it may be shown."""
    if not is_hidden:
        return AudienceGroup(name, n, members, share_at(members, n, _QUANTILE), exposure)
    if n < MIN_CELL:
        return AudienceGroup(name, None, None, None, None, f"fewer than {MIN_CELL} people")
    counts = _judged(n, members)
    if counts.least == counts.most:
        why = "the others would tell those of a small group"
    elif members < MIN_CELL:
        why = f"fewer than {MIN_CELL} members"
    else:
        why = f"fewer than {MIN_CELL} who are no members"
    return AudienceGroup(name, None if is_n_hidden else n, None, None, None, why)


def _largest(
    judged: Mapping[str, _Counts], is_shown: Mapping[str, bool], gap_at_most: float | None
) -> AudienceGap | None:
    """Returns the largest gap that differs for sure, else the largest; hidden counts at their safer end."""
    quantile = quantile_of_pairs(len(judged))
    found = []
    for higher, lower in permutations(judged, 2):
        above, below = judged[higher], judged[lower]
        # What is hidden may be anything between its bounds, and the gap is that of the two nearest ends.
        near = difference_of(
            share_at(above.least, above.n, quantile), share_at(below.most, below.n, quantile)
        )
        far = difference_of(share_at(above.most, above.n, quantile), share_at(below.least, below.n, quantile))
        found.append((near.low > 0, near.mean, higher, lower, Estimate(near.mean, near.low, far.high)))
    if not found:
        return None
    _, _, higher, lower, difference = max(found, key=lambda one: one[:2])
    bound = None
    if gap_at_most is not None:
        bound = BoundFinding.cannot_tell
        if difference.low > gap_at_most:
            bound = BoundFinding.fails
        elif all(one[-1].high <= gap_at_most for one in found):
            bound = BoundFinding.holds
    can_be_shown = is_shown[higher] and is_shown[lower]
    return AudienceGap(
        higher,
        lower,
        difference if can_be_shown else None,
        GapFinding.differs if difference.low > 0 else GapFinding.cannot_tell,
        bound,
    )


def _exposures(
    column: str, names: np.ndarray[tuple[int], np.dtype[np.object_]], shown: Sequence[str], place: pl.Series
) -> tuple[dict[str, Estimate], Gap | None]:
    """Returns the mean exposure of shown groups over that of all, and the largest gap among them.

    Source:
        Singh and Joachims 2018, KDD, "Fairness of Exposure in Rankings"; a place has 1 / log2(1 + place).
    """
    weight: Float64Array = (1 / (place.cast(pl.Float64) + 1).log(2)).fill_null(0.0).to_numpy()
    if not weight.any() or not shown:
        return {}, None
    # Of groups that are hidden the others must tell nothing: they are not among those compared.
    is_shown = np.isin(names, shown)
    gaps = measure_gaps(column, "exposure", weight[is_shown] / weight.mean(), names[is_shown].tolist())
    return {group.name: group.estimate for group in gaps.groups}, gaps.largest
