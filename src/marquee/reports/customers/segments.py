"""Segments in the report: names, sizes, what each brings, what sets it apart, a map, and who moved."""

from typing import Any  # of JSON

from marquee.marketing.cells import MIN_CELL, suppressed
from marquee.marketing.segments.trait import JudgedSegments, SegmentRow
from marquee.marketing.traits import TraitResult
from marquee.reports.customers.figures import bar_figure, map_figure
from marquee.reports.customers.parts import SUPPRESSED, Part
from marquee.reports.evidence.page import Finding, Grid, Section, number, share

MAX_TRAITS, MAX_MOVES = 4, 12


def segments_part(trait: TraitResult) -> Part:
    """Returns the part of segments."""
    judged: JudgedSegments = trait.judged
    hidden = dict(zip(judged.rows, suppressed([row.n for row in judged.rows]), strict=True))
    shown = [row for row in judged.rows if not hidden[row]]
    return Part(
        _finding(trait.name, judged, shown),
        (_table_section(trait.name, judged, shown), *_moves_section(trait.name, judged)),
        _facts(judged, shown),
    )


def _finding(name: str, judged: JudgedSegments, shown: list[SegmentRow]) -> Finding:
    """Returns the upshot in words."""
    if not shown:
        return Finding(f"{name}: too few customers", "Every segment has fewer than 50 members.", "worse")
    first = max(shown, key=lambda row: row.value_share or 0.0)
    brings = "" if first.value_share is None else f", and bring {share(first.value_share)} of the value"
    return Finding(
        f"{name}: {judged.k} segments",
        f"{first.name} are {share(first.share)} of the customers{brings}.",
        "better",
    )


def _table_section(name: str, judged: JudgedSegments, shown: list[SegmentRow]) -> Section:
    """Returns one line per segment, with a map."""
    rows = tuple(
        (
            row.name,
            f"{row.n:,}",
            share(row.share),
            number(row.value),
            share(float("nan") if row.value_share is None else row.value_share),
            "; ".join(_words(trait) for trait in row.traits[:MAX_TRAITS]) or "nothing stands out",
        )
        for row in shown
    )
    texts = ["Named by what sets them apart; a segment that most of its people stay in keeps its name."]
    n_hidden = len(judged.rows) - len(shown)
    texts += [f"{n_hidden} segments are suppressed: fewer than {MIN_CELL} people."] if n_hidden else []
    if judged.agreement:
        agreed = ", ".join(f"{k}: {nmi:.2f}" for k, nmi in judged.agreement.items())
        texts.append(f"How far seeds agree, by number of clusters (NMI, 1 is fully): {agreed}.")
    figures = []
    if shown:
        figures.append(
            map_figure(
                f"{name}: map",
                [row.name for row in shown],
                [row.at for row in shown],
                [row.share for row in shown],
            )
        )
        if shown[0].value_share is not None:
            shares = [row.value_share or 0.0 for row in shown]
            figures.append(bar_figure("share of the value", [row.name for row in shown], shares))
    columns = ("segment", "customers", "of all", "value per head", "share of the value", "set apart by")
    return Section(f"{name}: segments", tuple(texts), (Grid("Segments", columns, rows),), tuple(figures))


def _words(trait: Any) -> str:  # noqa: ANN401 - a trait of a segment
    """Returns one thing that sets a segment apart, with numbers."""
    if trait.words.startswith(("high ", "low ")):
        return f"{trait.words} ({number(trait.inside)}, all {number(trait.outside)})"
    return f"{trait.words} ({trait.inside:.0%}, all {trait.outside:.0%})"


def _moves_section(name: str, judged: JudgedSegments) -> list[Section]:
    """Returns who moved since the last run; small moves are suppressed."""
    if not judged.n_common:
        return []
    moves = list(judged.moves.items())
    # With those who stayed: the total less all shown would tell a single hidden move.
    hidden = suppressed([n for _, n in moves] + [judged.n_stayed])[: len(moves)]
    rows = [
        (before, after, SUPPRESSED if is_hidden else f"{n:,}")
        for ((before, after), n), is_hidden in zip(moves, hidden, strict=True)
    ]
    n_shown = [row for row in rows if row[2] != SUPPRESSED][:MAX_MOVES]
    stayed = _share_stayed(judged)
    text = (
        f"Fewer than {MIN_CELL} of those known to both runs stayed, or fewer than {MIN_CELL} moved."
        if stayed is None
        else f"Since the last run {share(stayed)} of those known to both stayed."
    )
    if len(n_shown) < len(rows):
        text += f" {len(rows) - len(n_shown)} moves of fewer people are not shown."
    grid = Grid("Moves", ("from", "to", "customers"), tuple(n_shown))
    return [Section(f"{name}: moves", (text,), (grid,) if n_shown else ())]


def _share_stayed(judged: JudgedSegments) -> float | None:
    """Returns the share that stayed; None if it would tell a small number of people."""
    # As a share of so many it is as good as a count, and less than 1 it counts who moved.
    hidden = any(suppressed([judged.n_stayed, judged.n_common - judged.n_stayed]))
    return None if hidden or not judged.n_common else judged.n_stayed / judged.n_common


def _facts(judged: JudgedSegments, shown: list[SegmentRow]) -> dict[str, Any]:
    """Returns everything as numbers, small cells left out."""
    return {
        "by": judged.by,
        "k": judged.k,
        "agreement": {str(k): nmi for k, nmi in judged.agreement.items()},
        "segments": [
            {
                "name": row.name,
                "n": row.n,
                "share": row.share,
                "value": row.value,
                "value_share": row.value_share,
                "set_apart_by": [trait.words for trait in row.traits[:MAX_TRAITS]],
            }
            for row in shown
        ],
        "share_stayed": _share_stayed(judged),
    }
