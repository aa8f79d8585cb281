"""The section on whom audiences choose: each protected column by group, and the largest gap in words."""

from marquee.evaluation.analyses.fairness import BoundFinding, Gap
from marquee.marketing.audiences.fairness import AudienceGaps, AudienceGroup
from marquee.marketing.audiences.members import Audience
from marquee.marketing.cells import MIN_CELL
from marquee.marketing.running import CustomersResult
from marquee.reports.customers.parts import SUPPRESSED
from marquee.reports.evidence.page import Grid, Section, estimated, number, share

_COLUMNS = ("group", "could be members", "members", "selection rate", "exposure, 1 is that of all")
_HOW = (
    "Selection rate: the share of a group that was chosen, of those who could be. Exposure: how high its "
    "people stand in the order, 0 for who was not chosen. Intervals hold 95 %; gaps are widened for having "
    "looked at all pairs. Where a count is hidden, a gap is judged by the safer end of what it may be."
)
_BOUNDS = {
    BoundFinding.fails: "it is beyond gap_at_most, and no list is written",
    BoundFinding.holds: "gap_at_most holds",
    BoundFinding.cannot_tell: "whether gap_at_most holds cannot be told",
}


def audience_groups(result: CustomersResult) -> list[Section]:
    """Returns the section, none where no column is protected or no audience has members."""
    audiences = [audience for audience in result.audiences if audience.gaps]
    if not audiences:
        return []
    sentences = [
        words for audience in audiences for gaps in audience.gaps for words in _sentences(audience, gaps)
    ]
    grids = [_grid(audience, gaps) for audience in audiences for gaps in audience.gaps]
    return [Section("Audiences by group", (_HOW, *sentences), tuple(grids))]


def _sentences(audience: Audience, gaps: AudienceGaps) -> list[str]:
    """Returns the gaps of an audience by a column, and which groups are hidden and why."""
    name = f"{audience.name} by {gaps.column}"
    found = []
    hidden = [f"{group.name} ({group.why})" for group in gaps.groups if group.why]
    if hidden:
        # By name: a group that is missing must not look as if nobody belonged to it.
        found.append(f"{name}: not shown: {', '.join(hidden)}.")
    if gaps.n_beyond:
        found.append(f"{name}: the {gaps.n_beyond} rarest groups are (others).")
    gap = gaps.largest
    if gap is None:
        return [*found, f"{name}: fewer than two groups have {MIN_CELL} people, so there is no gap to judge."]
    by = "the numbers are hidden"
    if gap.difference is not None:
        by = _difference(Gap(gap.higher, gap.lower, gap.difference))
    bound = f"; {_BOUNDS[gap.bound]}" if gap.bound is not None else ""
    found.append(
        f"{name}: the largest gap of the selection rate is {gap.higher} over {gap.lower}, {by}: "
        f"{gap.finding}{bound}."
    )
    if gaps.exposure is not None:
        other = gaps.exposure
        found.append(
            f"{name}: the largest gap of the exposure is {other.higher} over {other.lower}, "
            f"{_difference(other)}: {other.finding}."
        )
    return found


def _difference(gap: Gap) -> str:
    """Returns a difference with its interval."""
    return f"{gap.difference.mean:.4f} ({gap.difference.low:+.4f} to {gap.difference.high:+.4f})"


def _grid(audience: Audience, gaps: AudienceGaps) -> Grid:
    """Returns one column of an audience by group."""
    return Grid(f"{audience.name} by {gaps.column}", _COLUMNS, tuple(_row(group) for group in gaps.groups))


def _row(group: AudienceGroup) -> tuple[str, ...]:
    """Returns the cells of a group."""
    rate = SUPPRESSED
    if group.rate is not None:
        rate = f"{share(group.rate.mean)} ({share(group.rate.low)} to {share(group.rate.high)})"
    return (
        group.name,
        SUPPRESSED if group.n is None else f"{group.n:,}",
        SUPPRESSED if group.members is None else f"{group.members:,}",
        rate,
        number(None) if group.exposure is None else estimated(group.exposure),
    )
