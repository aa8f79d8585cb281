"""Figures of the pages of evidence; each returns an `<svg>` element."""

from collections.abc import Mapping, Sequence

from marquee.evaluation.intervals import Estimate
from marquee.reports.panels import ACCENT, BAR, GRID, INK, MUTED, as_svg, few_ticks, open_panel

_ROW_INCHES = 0.34
_LINE_INCHES = 2.9
_LONGEST_LABEL = 26


def effect_figure(title: str, effects: Mapping[str, tuple[Estimate, Estimate]]) -> str:
    """Returns a point per effect beside 0, with the fixed interval thick and the sequence thin.

    Args:
        title: Stands above.
        effects: Name → effect with its fixed interval, and with its confidence sequence.
    """
    names = list(effects)
    figure, axes = open_panel(0.95 + _ROW_INCHES * len(names))
    rows = range(len(names))
    fixed, always = [effects[name][0] for name in names], [effects[name][1] for name in names]
    # The sequence first: it is the longer one, and the fixed interval lies over it.
    axes.hlines(rows, [e.low for e in always], [e.high for e in always], color=BAR, linewidth=1)
    axes.hlines(rows, [e.low for e in fixed], [e.high for e in fixed], color=ACCENT, linewidth=3)
    axes.plot([e.mean for e in fixed], rows, "o", color=ACCENT, markersize=6)
    axes.axvline(0, color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
    axes.set_yticks(rows, [name[:_LONGEST_LABEL] for name in names])
    # Reversed, so that the first stands on top.
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.locator_params(axis="x", nbins=4)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    figure.suptitle(title, x=0.02, ha="left", color=INK, fontsize=12, weight="bold")
    said = ", ".join(f"{n} {e.mean:.4g} from {e.low:.4g} to {e.high:.4g}" for n, (e, _) in effects.items())
    return as_svg(figure, f"{title}: {said}")


def sequence_figure(title: str, days: Sequence[str], estimates: Sequence[Estimate]) -> str:
    """Returns the difference over days inside its always-valid interval.

    Args:
        title: Stands above.
        days: One label per estimate.
        estimates: In the order of days.
    """
    figure, axes = open_panel(_LINE_INCHES)
    places = [float(place) for place in range(len(days))]
    axes.fill_between(
        places, [e.low for e in estimates], [e.high for e in estimates], color=ACCENT, alpha=0.18, linewidth=0
    )
    axes.plot(places, [e.mean for e in estimates], color=ACCENT, linewidth=2)
    axes.axhline(0, color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
    # Dates are long: more than three would cover each other.
    shown = few_ticks(places)[-3:]
    axes.set_xticks(shown, [days[int(place)] for place in shown])
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.locator_params(axis="y", nbins=5)
    axes.set_title(title, loc="left", color=INK, fontsize=12, weight="bold")
    last = estimates[-1]
    return as_svg(figure, f"{title}, {len(days)} days, last {last.low:.4g} to {last.high:.4g}")


def against_chance_figure(title: str, measured: Mapping[str, float], chance: Mapping[str, float]) -> str:
    """Returns a bar per name with a mark at what chance alone makes.

    Args:
        title: Stands above.
        measured: Name → value.
        chance: Name → what it must pass to be no accident.
    """
    names = list(measured)
    figure, axes = open_panel(0.75 + _ROW_INCHES * len(names))
    rows = range(len(names))
    # What passes its mark stands out.
    colours = [ACCENT if measured[name] > chance[name] else BAR for name in names]
    axes.barh(rows, [measured[name] for name in names], height=0.62, color=colours)
    axes.plot([chance[name] for name in names], rows, "|", color=INK, markersize=14)
    axes.set_yticks(rows, [name[:_LONGEST_LABEL] for name in names])
    axes.invert_yaxis()
    axes.locator_params(axis="x", nbins=4)
    axes.set_title(title, loc="left", color=INK, fontsize=12, weight="bold")
    said = ", ".join(f"{name} {measured[name]:.3f} beside {chance[name]:.3f}" for name in names)
    return as_svg(figure, f"{title}: {said}")
