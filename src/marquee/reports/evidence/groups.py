"""The section on groups: gaps between people, and exposure beside merit of items."""

from marquee.evaluation.analyses.fairness import GroupGaps
from marquee.evaluation.analyses.supply import SupplyShare
from marquee.reports.content import ReportContent
from marquee.reports.tables import Row, Table

_MAX_SUPPLIERS = 20
"""Suppliers that are shown, those with the largest exposure; the JSON has all."""


def fairness_views(content: ReportContent) -> dict[str, object]:
    """Returns the tables of the section, and its sentences."""
    fairness = content.fairness
    if fairness is None:
        return {"group_tables": [], "group_sentences": [], "supply_tables": []}
    sentences = [sentence for gaps in fairness.gaps for sentence in gap_sentences(gaps)]
    return {
        "group_tables": [_gap_table(gaps) for gaps in fairness.gaps if gaps.groups],
        "group_sentences": [*sentences, *fairness.absent],
        "supply_tables": [_supply_table(name, shares) for name, shares in fairness.supply.items() if shares],
    }


def gap_sentences(gaps: GroupGaps) -> list[str]:
    """Returns which groups are too small to show, which cannot be judged, and the largest gap."""
    found = []
    if gaps.small:
        small = ", ".join(f"{name} ({n})" for name, n in gaps.small.items())
        # By name and size: a group that is missing must not look as if nobody belonged to it.
        found.append(f"{gaps.metric} by {gaps.attribute}: too small to show: {small}.")
    found += [f"{gaps.metric}: {reason}." for reason in gaps.reasons]
    if gaps.largest is not None:
        gap = gaps.largest.difference
        found.append(
            f"{gaps.metric} by {gaps.attribute}: the largest gap is {gaps.largest.higher} over "
            f"{gaps.largest.lower}, {gap.mean:.4f} ({gap.low:+.4f} to {gap.high:+.4f}, widened for all "
            f"pairs): {gaps.largest.finding}."
        )
    return found


def _gap_table(gaps: GroupGaps) -> Table:
    """Returns one metric by group, with the number of users of each."""
    rows = tuple(Row(f"{group.name} · {group.n:,}", (group.estimate,)) for group in gaps.groups)
    return Table(f"{gaps.metric} by {gaps.attribute}", (gaps.metric,), rows, of="group · users")


def _supply_table(name: str, shares: tuple[SupplyShare, ...]) -> Table:
    """Returns exposure beside merit by group of items, the largest exposure first."""
    rows = tuple(
        Row(
            f"{share.name} · {share.n_items:,}",
            (
                share.exposure_interval or share.exposure,
                share.merit_interval or share.merit,
                share.difference,
            ),
        )
        for share in sorted(shares, key=lambda share: -share.exposure)[:_MAX_SUPPLIERS]
    )
    columns = ("share of the exposure", "share of what people turned to", "exposure less merit")
    return Table(f"Exposure beside merit, by {name}", columns, rows, of="group · items")
