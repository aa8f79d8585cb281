"""Figures of value and forecasts; each returns an `<svg>` element."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from marquee.core.moments import day_text
from marquee.evaluation.intervals import Estimate
from marquee.reports.panels import ACCENT, BAR, GRID, INK, MUTED, as_svg, open_panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INCHES = 2.9


def tenths_figure(title: str, expected: Sequence[float], came: Sequence[Estimate]) -> str:
    """Returns the mean that came of each tenth with its interval, beside the expected one.

    Args:
        title: Stands above.
        expected: Of each tenth, the highest first.
        came: Of each tenth.
    """
    figure, axes = open_panel(_INCHES)
    at = range(1, len(came) + 1)
    means = [one.mean for one in came]
    # Rounding may put an end beyond its mean, and `errorbar` refuses negative lengths.
    ends = [(max(one.mean - one.low, 0.0), max(one.high - one.mean, 0.0)) for one in came]
    axes.bar(at, means, width=0.62, color=BAR)
    axes.errorbar(
        at, means, yerr=list(zip(*ends, strict=True)), fmt="none", ecolor=INK, elinewidth=1, capsize=2
    )
    axes.plot(at, expected, color=ACCENT, linewidth=2, marker="o", markersize=4)
    axes.set_xlabel("customers by expected value, highest first", color=MUTED)
    axes.set_ylabel("mean in the holdout", color=MUTED)
    axes.set_xticks(list(at))
    axes.locator_params(axis="y", nbins=5)
    axes.set_title(title, loc="left", color=INK, fontsize=11, weight="bold")
    said = ", ".join(
        f"{number}: {value:.3g} expected, {mean:.3g} came"
        for number, value, mean in zip(at, expected, means, strict=True)
    )
    return as_svg(figure, f"{title}: {said}")


def fan_figure(
    title: str,
    past: Sequence[tuple[int, float]],
    ahead: Sequence[tuple[int, float]],
    ends: Sequence[tuple[float, float]] | None,
) -> str:
    """Returns the last of the past, and the forecast with its 80 % interval as a fan.

    Args:
        title: Stands above.
        past: Moments in seconds with values.
        ahead: Moments in seconds with expected values.
        ends: Ends of the interval of each; None where there is none.
    """
    figure, axes = open_panel(_INCHES)
    before = range(len(past))
    after = range(len(past), len(past) + len(ahead))
    axes.plot(before, [value for _, value in past], color=MUTED, linewidth=1.2)
    if ends is not None:
        axes.fill_between(
            after, [low for low, _ in ends], [high for _, high in ends], color=ACCENT, alpha=0.18, linewidth=0
        )
    axes.plot(after, [value for _, value in ahead], color=ACCENT, linewidth=2)
    moments = [moment for moment, _ in (*past, *ahead)]
    _date_ticks(axes, moments)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.locator_params(axis="y", nbins=5)
    axes.set_title(title, loc="left", color=INK, fontsize=11, weight="bold")
    total = sum(value for _, value in ahead)
    return as_svg(figure, f"{title}: {total:.4g} expected over {len(ahead)} steps")


def series_figure(title: str, weeks: Sequence[tuple[int, float, float]], odd: Sequence[bool]) -> str:
    """Returns a mean by week with twice its standard error, odd weeks marked.

    Args:
        title: Stands above.
        weeks: Monday in seconds, mean, standard error.
        odd: Whether each is unlike those before it.
    """
    figure, axes = open_panel(_INCHES)
    at = range(len(weeks))
    means = [mean for _, mean, _ in weeks]
    axes.errorbar(
        at,
        means,
        yerr=[2 * error for _, _, error in weeks],
        color=ACCENT,
        ecolor=BAR,
        elinewidth=1,
        linewidth=2,
    )
    marked = [place for place in at if odd[place]]
    axes.plot(marked, [means[place] for place in marked], color=INK, marker="o", linewidth=0)
    _date_ticks(axes, [start for start, _, _ in weeks])
    axes.set_ylim(0, 1)
    axes.set_ylabel("mean probability of praise", color=MUTED)
    axes.set_title(title, loc="left", color=INK, fontsize=11, weight="bold")
    said = ", ".join(f"{day_text(start)} {mean:.2f}" for start, mean, _ in weeks)
    return as_svg(figure, f"{title}: {said}")


def _date_ticks(axes: "Axes", moments: Sequence[int]) -> None:
    """Labels three moments: more dates in a size that can be read would run into each other."""
    last = len(moments) - 1
    places = sorted({round(last * share) for share in (0.12, 0.5, 0.88)})
    axes.set_xticks(places, [day_text(moments[place]) for place in places])
