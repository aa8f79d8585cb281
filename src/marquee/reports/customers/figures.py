"""Figures of the report of customers; each returns an `<svg>` element."""

import math
from collections.abc import Mapping, Sequence

from marquee.reports.panels import ACCENT, BAR, GRID, INK, MUTED, as_svg, open_panel

_INCHES = 2.9
_ROW_INCHES = 0.34
_LONGEST_LABEL = 34
_ODDS_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)


def gain_figure(title: str, shares: Sequence[float], gains: Sequence[tuple[float, float, float]]) -> str:
    """Returns the share of wins among the first customers, with its interval, beside a draw by lot.

    Args:
        title: Stands above.
        shares: Of the customers, ascending.
        gains: Share of the wins with the ends of its interval, per share.
    """
    figure, axes = open_panel(_INCHES)
    at = [0.0, *shares]
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
    axes.fill_between(
        at,
        [0.0, *(low for _, low, _ in gains)],
        [0.0, *(high for _, _, high in gains)],
        color=ACCENT,
        alpha=0.18,
        linewidth=0,
    )
    axes.plot(at, [0.0, *(gain for gain, _, _ in gains)], color=ACCENT, linewidth=2)
    axes.set_xlabel("share of customers, most likely first", color=MUTED)
    axes.set_ylabel("share of wins", color=MUTED)
    axes.locator_params(axis="both", nbins=5)
    axes.set_title(title, loc="left", color=INK, fontsize=11, weight="bold")
    said = ", ".join(
        f"{gain:.3f} of wins in {share:.2f}" for share, (gain, _, _) in zip(shares, gains, strict=True)
    )
    return as_svg(figure, f"{title}: {said}")


def curve_figure(
    title: str, at: Sequence[float], ratio: Sequence[float], low: Sequence[float], high: Sequence[float]
) -> str:
    """Returns odds along a number with their interval; the axis of the odds is logarithmic.

    Args:
        title: Stands above.
        at: Values of the number, ascending.
        ratio: Odds at each beside those at the median.
        low: Lower ends.
        high: Upper ends.
    """
    figure, axes = open_panel(_INCHES)
    # Logarithms on a straight axis: matplotlib's own logarithmic axis takes several times as long.
    middle, below, above = ([math.log(one) for one in side] for side in (ratio, low, high))
    axes.fill_between(at, below, above, color=ACCENT, alpha=0.18, linewidth=0)
    axes.plot(at, middle, color=ACCENT, linewidth=2)
    axes.axhline(0, color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
    ticks = [tick for tick in _ODDS_TICKS if min(low) <= tick <= max(high)]
    axes.set_yticks([math.log(tick) for tick in ticks], [f"{tick:g}" for tick in ticks])
    axes.locator_params(axis="x", nbins=4)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_title(title, loc="left", color=INK, fontsize=11, weight="bold")
    return as_svg(figure, f"{title}: odds from {ratio[0]:.3g} to {ratio[-1]:.3g}")


def bar_figure(title: str, labels: Sequence[str], values: Sequence[float], mark: float | None = None) -> str:
    """Returns a bar per label, with a line at a mark.

    Args:
        title: Stands above.
        labels: From top to bottom.
        values: One per label.
        mark: For example the mean of all; None for none.
    """
    figure, axes = open_panel(0.75 + _ROW_INCHES * len(labels))
    rows = range(len(labels))
    axes.barh(
        rows, values, height=0.62, color=[ACCENT if mark is None or value > mark else BAR for value in values]
    )
    if mark is not None:
        axes.axvline(mark, color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
    axes.set_yticks(rows, [label[:_LONGEST_LABEL] for label in labels])
    axes.invert_yaxis()
    axes.locator_params(axis="x", nbins=4)
    axes.set_title(title, loc="left", color=INK, fontsize=11, weight="bold")
    said = ", ".join(f"{label} {value:.3g}" for label, value in zip(labels, values, strict=True))
    return as_svg(figure, f"{title}: {said}")


def map_figure(
    title: str, labels: Sequence[str], at: Sequence[tuple[float, float]], shares: Sequence[float]
) -> str:
    """Returns a disc per group, as large as its share, near groups that are like it; no person is drawn.

    Args:
        title: Stands above.
        labels: Of the groups.
        at: Place of each.
        shares: Of all, one per group.
    """
    figure, axes = open_panel(_INCHES + 0.4)
    axes.scatter(
        [x for x, _ in at], [y for _, y in at], s=[2600 * share for share in shares], color=ACCENT, alpha=0.35
    )
    for label, (x, y) in zip(labels, at, strict=True):
        axes.annotate(label[:_LONGEST_LABEL], (x, y), ha="center", va="center", color=INK, fontsize=10)
    axes.margins(0.3)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title, loc="left", color=INK, fontsize=11, weight="bold")
    return as_svg(figure, f"{title}: {', '.join(labels)}")


def lines_figure(title: str, axis: str, curves: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Returns a line per name, the first in the accent, beside the straight line to its last point.

    Args:
        title: Stands above.
        axis: Words below.
        curves: Name → points.
    """
    figure, axes = open_panel(_INCHES)
    for place, (name, points) in enumerate(curves.items()):
        x, y = [one for one, _ in points], [one for _, one in points]
        axes.plot(x, y, color=ACCENT if place == 0 else BAR, linewidth=2)
        # Where the curves part, as they meet at both ends.
        middle = len(points) // (2 + place)
        axes.annotate(name, (x[middle], y[middle]), color=INK, fontsize=10, ha="right", va="bottom")
    last = next(iter(curves.values()))[-1]
    axes.plot([0, last[0]], [0, last[1]], color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
    axes.set_xlabel(axis, color=MUTED)
    axes.locator_params(axis="both", nbins=5)
    axes.set_title(title, loc="left", color=INK, fontsize=11, weight="bold")
    said = ", ".join(f"{name} ends at {points[-1][1]:.4g}" for name, points in curves.items())
    return as_svg(figure, f"{title}: {said}")
