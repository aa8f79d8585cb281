"""Draws the figures of a report, one function per kind; each returns an `<svg>` element.

Each figure is one small panel, wide enough for a phone; the page lays several out beside each other. What
all panels share stands in `panels`.
"""

from collections.abc import Mapping, Sequence

from marquee.evaluation.intervals import Estimate
from marquee.evaluation.probabilities.intervals import ReliabilityBin
from marquee.index.sweep import IndexSweep
from marquee.reports.content import Curve
from marquee.reports.panels import ACCENT, BAR, GRID, INK, MUTED, as_svg, few_ticks, open_panel, spread_labels

BAR_INCHES = 0.34
CURVE_INCHES = 2.2
LINES_INCHES = 2.9
SCATTER_GAP = 0.14  # of the spread of the points
LABEL_GAP = 0.075  # of the height of the panel
LONGEST_LABEL = 22
LONGEST_TITLE = 38
WIDE_SPAN = 30.0


def bar_figure(title: str, estimates: Mapping[str, Estimate], highlighted: str) -> str:
    """Returns bars with intervals, one per model, the first on top, as an `<svg>` element.

    Args:
        title: Stands above the bars.
        estimates: Model → value.
        highlighted: The model that the report is about.
    """
    names = list(estimates)
    means = [estimates[name].mean for name in names]
    # Rounding may put an end beyond its mean, and `errorbar` refuses negative lengths.
    ends = [(max(e.mean - e.low, 0.0), max(e.high - e.mean, 0.0)) for e in estimates.values()]
    figure, axes = open_panel(0.75 + BAR_INCHES * len(names))
    colours = [ACCENT if name == highlighted else BAR for name in names]
    rows = range(len(names))
    axes.barh(rows, means, height=0.62, color=colours)
    axes.errorbar(
        means,
        rows,
        xerr=list(zip(*ends, strict=True)),
        fmt="none",
        color=INK,
        ecolor=INK,
        elinewidth=1,
        capsize=2,
    )
    right = max((e.high for e in estimates.values()), default=0.0)
    for row, (name, mean) in enumerate(zip(names, means, strict=True)):
        weight = "bold" if name == highlighted else "normal"
        axes.annotate(
            f"{mean:.4f}",
            (estimates[name].high, row),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            color=INK,
            weight=weight,
        )
    axes.set_yticks(rows, [name[:LONGEST_LABEL] for name in names])
    axes.invert_yaxis()
    # A quarter is left for the number behind the longest bar.
    axes.set_xlim(0, right * 1.25 if right > 0 else 1)
    # Every bar bears its number.
    axes.set_xticks([])
    axes.spines[["bottom"]].set_visible(False)
    axes.tick_params(left=False)
    axes.set_title(title, loc="left", color=INK, fontsize=12, weight="bold")
    summary = ", ".join(f"{name} {mean:.4f}" for name, mean in zip(names, means, strict=True))
    return as_svg(figure, f"{title}: {summary}")


def slice_figure(title: str, estimates: Mapping[str, Estimate], usual: float) -> str:
    """Returns a point with its interval per slice, beside what is usual, as an `<svg>` element.

    Args:
        title: Stands above.
        estimates: Slice → value.
        usual: Marked by a dashed line.
    """
    names, values = list(estimates), list(estimates.values())
    figure, axes = open_panel(0.95 + BAR_INCHES * len(names))
    rows = range(len(names))
    axes.hlines(rows, [e.low for e in values], [e.high for e in values], color=ACCENT, linewidth=2)
    axes.plot([e.mean for e in values], rows, "o", color=ACCENT, markersize=6)
    axes.axvline(usual, color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
    axes.set_yticks(rows, names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.locator_params(axis="x", nbins=4)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    # Above the labels as well as the axes: names of columns may be long.
    figure.suptitle(title[:LONGEST_TITLE], x=0.02, ha="left", color=INK, fontsize=12, weight="bold")
    summary = ", ".join(f"{name} {e.mean:.4f}" for name, e in estimates.items())
    return as_svg(figure, f"{title}, usual {usual:.4f}: {summary}")


def curve_figure(curve: Curve, best_step: float | None) -> str:
    """Returns one quantity over the course of training, as an `<svg>` element.

    Args:
        curve: What to draw.
        best_step: Step of the checkpoint that was kept, marked by a line; None for no mark.
    """
    figure, axes = open_panel(CURVE_INCHES)
    # Markers of many points run into each other.
    marker = "o" if len(curve.steps) <= 40 else ""
    axes.plot(curve.steps, curve.values, color=ACCENT, linewidth=1.6, marker=marker, markersize=3)
    is_marked = best_step is not None and curve.steps[0] <= best_step <= curve.steps[-1]
    if best_step is not None and is_marked:
        axes.axvline(best_step, color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.locator_params(axis="both", nbins=5)
    axes.set_title(curve.name.replace("_", " "), loc="left", color=INK, fontsize=12, weight="bold")
    axes.set_xlabel("step (dashed: the one kept)" if is_marked else "step", color=MUTED)
    summary = f"{len(curve.steps)} points, from {curve.values[0]:.4g} to {curve.values[-1]:.4g}"
    return as_svg(figure, f"{curve.name} by step: {summary}")


def scatter_figure(across: str, up: str, points: Mapping[str, tuple[float, float]], highlighted: str) -> str:
    """Returns one labelled point per model, two qualities against each other, as an `<svg>` element.

    Args:
        across: Name of the first quality.
        up: Name of the second one.
        points: Model → both.
        highlighted: The model that the report is about.
    """
    figure, axes = open_panel(CURVE_INCHES + 0.4)
    axes.spines[["left"]].set_visible(True)
    axes.spines[["left"]].set_color(GRID)
    middle = sum(x for x, _ in points.values()) / len(points)
    heights = [y for _, y in points.values()]
    gap = (max(heights) - min(heights)) * SCATTER_GAP
    # Names stand towards the middle of the panel, so that its edges cut none; each side is spread by itself.
    at = {
        side: spread_labels({name: y for name, (x, y) in points.items() if (x <= middle) is side}, gap)
        for side in (True, False)
    }
    for name, (x, y) in points.items():
        is_own = name == highlighted
        axes.plot(x, y, "o", color=ACCENT if is_own else BAR, markersize=8 if is_own else 6)
        axes.annotate(
            name[:LONGEST_LABEL],
            (x, at[x <= middle][name]),
            xytext=(7 if x <= middle else -7, 0),
            textcoords="offset points",
            ha="left" if x <= middle else "right",
            va="center",
            color=INK,
            fontsize=10,
            weight="bold" if is_own else "normal",
        )
    axes.margins(0.12, 0.18)
    axes.locator_params(axis="both", nbins=4)
    axes.set_ylabel(up, color=MUTED)
    axes.set_title(across.replace("_", " "), loc="left", color=INK, fontsize=12, weight="bold")
    summary = ", ".join(f"{name} {x:.4g} and {y:.4f}" for name, (x, y) in points.items())
    return as_svg(figure, f"{across} and {up}: {summary}")


def sweep_figure(sweep: IndexSweep) -> str:
    """Returns recall against latency of an index, a point per effort, the chosen one marked, as `<svg>`."""
    figure, axes = open_panel(CURVE_INCHES + 0.4)
    axes.spines[["left"]].set_visible(True)
    axes.spines[["left"]].set_color(GRID)
    points = sweep.points
    axes.plot([p.median_ms for p in points], [p.recall for p in points], color=BAR, linewidth=1.6)
    recall_before = -1.0
    for point in points:
        is_chosen = point.effort == sweep.chosen
        size, colour = (8, ACCENT) if is_chosen else (5, BAR)
        axes.plot(point.median_ms, point.recall, "o", color=colour, markersize=size)
        is_new, recall_before = point.recall != recall_before, point.recall
        if not is_new and not is_chosen:
            continue  # less effort gave the same: its label would only hide the other's
        axes.annotate(
            f"{point.effort}",
            (point.median_ms, point.recall),
            xytext=(-8, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            color=INK,
            fontsize=9,
            weight="bold" if is_chosen else "normal",
        )
    axes.axvline(sweep.exact_ms, color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
    axes.margins(0.12, 0.25)
    axes.locator_params(axis="both", nbins=4)
    axes.set_xlabel("median ms of one search (dashed: exact)", color=MUTED)
    axes.set_ylabel(f"recall@{sweep.k}", color=MUTED)
    title = f"{sweep.kind}: {sweep.parameter}"
    axes.set_title(title, loc="left", color=INK, fontsize=11, weight="bold")
    summary = ", ".join(f"{p.effort} {p.recall:.4f} in {p.median_ms:.3f} ms" for p in points)
    return as_svg(figure, f"{title}, recall by latency, chosen {sweep.chosen}: {summary}")


def reliability_figure(title: str, curve: Sequence[ReliabilityBin], *, is_own: bool) -> str:
    """Draws observed rate over mean probability, a point with its interval per bin, as an `<svg>` element.

    Both axes are logarithmic where the probabilities span more than `WIDE_SPAN` and no bin came to nothing.

    Args:
        title: Whose probabilities they are.
        curve: Lowest probability first.
        is_own: Whether the report is about this source.
    """
    figure, axes = open_panel(LINES_INCHES)
    axes.spines[["left"]].set_visible(True)
    axes.spines[["left"]].set_color(GRID)
    said, came = [point.probability for point in curve], [point.rate.mean for point in curve]
    # NaN is unlike itself: bins of too few outcomes have no interval.
    known = [point for point in curve if point.rate.low == point.rate.low]
    lowest, highest = min(*said, *came), max(*said, *came)
    axes.plot([lowest, highest], [lowest, highest], color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
    axes.vlines(
        [point.probability for point in known],
        # An end at 0 has no place on a logarithmic axis.
        [max(point.rate.low, lowest / 2) for point in known],
        [point.rate.high for point in known],
        colors=INK,
        linewidth=1,
    )
    axes.plot(said, came, "o-", color=ACCENT if is_own else BAR, linewidth=1.6, markersize=5, zorder=3)
    if lowest > 0 and highest / lowest > WIDE_SPAN:
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.minorticks_off()
        ticks = [10.0**power for power in range(-8, 1) if lowest / 3 < 10.0**power < highest * 3]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    else:
        axes.locator_params(axis="both", nbins=4)
    axes.set_xlabel("said", color=MUTED)
    axes.set_ylabel("came", color=MUTED)
    axes.set_title(title, loc="left", color=INK, fontsize=11, weight="bold")
    summary = ", ".join(f"{x:.4g} and {y:.4g}" for x, y in zip(said, came, strict=True))
    return as_svg(figure, f"{title}, said and came: {summary}")


def lines_figure(
    title: str,
    across: str,
    ticks: Mapping[float, str],
    estimates: Mapping[str, Sequence[Estimate]],
    highlighted: str,
    *,
    is_logarithmic: bool = False,
) -> str:
    """Returns one line per model, with the interval of the highlighted one, as an `<svg>` element.

    Args:
        title: Stands above the lines.
        across: What the positions are.
        ticks: Position → its label, ascending.
        estimates: Model → value at each position.
        highlighted: The model that the report is about.
        is_logarithmic: Whether equal distances are equal ratios.
    """
    figure, axes = open_panel(LINES_INCHES)
    positions = list(ticks)
    for name, values in estimates.items():
        is_own = name == highlighted
        means = [value.mean for value in values]
        colour = ACCENT if is_own else MUTED
        style = {"marker": "o", "markersize": 5.0 if is_own else 3.0, "linewidth": 2.0 if is_own else 1.0}
        axes.plot(positions, means, color=colour, zorder=3 if is_own else 2, **style)  # type: ignore[arg-type] # numbers and a word
        if is_own:
            lows, highs = [value.low for value in values], [value.high for value in values]
            axes.fill_between(positions, lows, highs, color=ACCENT, alpha=0.18, linewidth=0)
    if is_logarithmic:
        axes.set_xscale("log")
        axes.minorticks_off()
    shown = few_ticks(positions)
    axes.set_xticks(shown, [ticks[position] for position in shown])
    # From 0: a cut axis makes a small change look large.
    axes.set_ylim(bottom=0)
    top = axes.get_ylim()[1]
    last = {name: values[-1].mean for name, values in estimates.items()}
    for name, height in spread_labels(last, top * LABEL_GAP).items():
        axes.annotate(
            name[:LONGEST_LABEL],
            (positions[-1], height),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            color=ACCENT if name == highlighted else INK,
            fontsize=10,
            weight="bold" if name == highlighted else "normal",
            annotation_clip=False,
        )
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.locator_params(axis="y", nbins=5)
    axes.set_xlabel(across, color=MUTED)
    axes.set_title(title, loc="left", color=INK, fontsize=12, weight="bold")
    ends = ", ".join(
        f"{name} {values[0].mean:.4f} to {values[-1].mean:.4f}" for name, values in estimates.items()
    )
    return as_svg(figure, f"{title} by {across}, {len(positions)} points, first to last: {ends}")


def spots_figure(
    across: str,
    up: str,
    spots: Sequence[tuple[float | str | bool, float]],
    marked: tuple[float | str | bool, float] | None,
    *,
    is_logarithmic: bool = False,
) -> str:
    """Returns many unlabelled points, one of them marked, as an `<svg>` element.

    Args:
        across: Name of what the points differ in: numbers or words.
        up: Name of what came out.
        spots: Points.
        marked: The point to mark, one of them; None for none.
        is_logarithmic: Whether equal distances are equal ratios.
    """
    figure, axes = open_panel(CURVE_INCHES + 0.2)
    axes.spines[["left"]].set_visible(True)
    axes.spines[["left"]].set_color(GRID)
    # A bool is an int to Python, and a word to the reader.
    is_numeric = all(isinstance(x, float | int) and not isinstance(x, bool) for x, _ in spots)
    words = sorted({str(x) for x, _ in spots})
    places = {word: place for place, word in enumerate(words)}

    def place_of(x: float | str | bool) -> float:
        return float(x) if is_numeric else float(places[str(x)])

    axes.plot([place_of(x) for x, _ in spots], [y for _, y in spots], "o", color=BAR, markersize=5)
    if marked is not None:
        axes.plot(place_of(marked[0]), marked[1], "o", color=ACCENT, markersize=8)
    if not is_numeric:
        axes.set_xticks(range(len(words)), [word[:LONGEST_LABEL] for word in words])
    elif is_logarithmic:
        axes.set_xscale("log")
        axes.minorticks_off()
    axes.margins(0.08, 0.12)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_ylabel(up, color=MUTED)
    axes.set_title(across, loc="left", color=INK, fontsize=12, weight="bold")
    best = "" if marked is None else f", best {marked[1]:.4f} at {marked[0]}"
    return as_svg(figure, f"{up} by {across}: {len(spots)} points{best}")
