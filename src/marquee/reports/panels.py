"""The panel that every figure is drawn on, and its way into the page as SVG.

The SVG stands inside the page: its text is text, its colours are the page's. matplotlib knows no CSS, so
panels are drawn in stand-in colours that are then replaced by CSS variables: the same figure is right on a
light and on a dark page. Equal input gives equal bytes.
"""

import re
from collections.abc import Mapping
from io import BytesIO
from typing import TYPE_CHECKING

from marquee.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INSTALL = "pip install 'marquee[reports]'"

# Stand-ins, replaced after drawing; distinct from each other and from every colour matplotlib uses itself.
INK, MUTED, ACCENT, GRID, BAR = "#010101", "#020202", "#030303", "#040404", "#050505"
CSS_OF = {
    INK: "currentColor",
    MUTED: "var(--muted)",
    ACCENT: "var(--accent)",
    GRID: "var(--line)",
    BAR: "var(--bar)",
}

WIDTH_INCHES = 4.2
MOST_TICKS = 6


def few_ticks(positions: list[float]) -> list[float]:
    """Returns positions few enough to be labelled, the last among them."""
    step = -(-len(positions) // MOST_TICKS)
    # Counted from the end, so that the last is labelled.
    return positions[::-1][::step][::-1]


def spread_labels(heights: Mapping[str, float], gap: float) -> dict[str, float]:
    """Returns heights of labels that do not cover each other, near the heights that they belong to.

    Example:
        >>> spread_labels({"a": 1.0, "b": 1.1, "c": 5.0}, gap=1.0)
        {'a': 1.0, 'b': 2.0, 'c': 5.0}
    """
    placed: dict[str, float] = {}
    for name in sorted(heights, key=lambda name: heights[name]):
        placed[name] = max(heights[name], max(placed.values(), default=float("-inf")) + gap)
    return placed


def open_panel(height_inches: float) -> "tuple[Figure, Axes]":
    """Returns an empty panel in the page's look.

    Raises:
        ConfigError: If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(f"figures need the package matplotlib, got {error}; run: {INSTALL}") from error
    # Without pyplot, which keeps every figure in a global list.
    figure = Figure(figsize=(WIDTH_INCHES, height_inches), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines[["bottom"]].set_color(GRID)
    axes.tick_params(colors=MUTED, labelcolor=INK, length=0)
    return figure, axes


def as_svg(figure: "Figure", label: str) -> str:
    """Returns the figure as an `<svg>` element; `label` is for readers who cannot see it."""
    from matplotlib import rc_context

    written = BytesIO()
    # Text stays text, and ids are hashed from the label: equal input gives equal bytes.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": label, "font.size": 11}):
        # The date and matplotlib's version would change the bytes.
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = written.getvalue().decode("utf-8")
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style[^>]*>.*?</style>\s*", "", svg, flags=re.DOTALL)  # it would style the whole page
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # the same in every figure of the page
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)  # the page decides
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    for stand_in, css in CSS_OF.items():
        svg = svg.replace(stand_in, css)
    return svg.replace("<svg", f'<svg role="img" aria-label="{_attribute(label)}"', 1).strip()


def _attribute(text: str) -> str:
    """Returns text that can stand between double quotes in markup."""
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
