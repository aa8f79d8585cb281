"""The report at a glance: the few numbers that a reader in a hurry takes away."""

from dataclasses import dataclass

from marquee.reports.content import ReportContent
from marquee.reports.verdict import signed


@dataclass(frozen=True, slots=True)
class Tile:
    """One number of the summary.

    Attributes:
        label: What it is.
        value: The number, as text.
        note: What it has to be read with.
    """

    label: str
    value: str
    note: str


def summary_tiles(content: ReportContent) -> tuple[Tile, ...]:
    """Returns the headline, the best of the others, who was asked, how wide the lists are, what is served."""
    evaluation, counts = content.evaluation, content.evaluation.counts
    own = evaluation.models[evaluation.model]
    headline = own.estimates[content.headline]
    tiles = [
        Tile(
            content.headline,
            f"{headline.mean:.4f}",
            f"95\u00a0% interval {headline.low:.4f} to {headline.high:.4f}",
        )
    ]
    # In the order of the evaluation, as in the tables.
    others = {name: model for name, model in evaluation.models.items() if name != evaluation.model}
    best = content.best_other
    if best:
        mean = others[best].estimates[content.headline].mean
        difference = evaluation.differences[best][content.headline]
        # No share of 0.
        relative = f", {signed(difference.mean / mean, '.0%')}" if mean > 0 else ""
        tiles.append(
            Tile(f"best of the others: {best}", f"{mean:.4f}", f"model {signed(difference.mean)}{relative}")
        )
    tiles.append(
        Tile(
            f"users asked, {content.protocol.judged_on} part",
            f"{counts.n_queries:,}",
            f"{counts.n_targets:,} targets among {counts.n_items:,} items",
        )
    )
    coverage = f"coverage@{content.headline_k}"
    tiles.append(
        Tile(
            "of the catalog is shown",
            f"{own.coverage[coverage]:.0%}",
            ", ".join(f"{name} {model.coverage[coverage]:.0%}" for name, model in others.items())
            # Without other models there is nothing to compare with: the tile says what is counted.
            or "by the lists of all users together",
        )
    )
    if content.served is not None:
        served = content.served
        tiles.append(
            Tile(
                f"of the lists served as judged, bundle {served.version}",
                f"{served.identical_fraction:.1%}",
                f"{served.metric} {signed(served.difference.mean)}",
            )
        )
    return tuple(tiles)
