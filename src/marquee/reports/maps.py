"""Draws the map of the items: markup by hand, because a point that tells its name is no matplotlib figure.

Points are circles with a title, so that a mouse tells which item lies where. Beside the map each value stands
on a small one of its own: nothing rests on telling seven colours apart.
"""

from collections.abc import Sequence
from html import escape

from marquee.evaluation.analyses.item_map import OTHER, ItemMap, MapPoint

SIDE, SMALL_SIDE, MARGIN = 400, 160, 14
TITLE_HEIGHT = 22
# Width of a character is an average: markup is written without a browser to measure it.
FONT, CHARACTER, LINE = 12, 7.2, 13
LONGEST_LABEL = 20
# The page's style has as many.
COLOURS = 8


def map_figure(item_map: ItemMap) -> str:
    """Returns all points, coloured by value, the most popular ones labelled, as an `<svg>` element."""
    places = _places(item_map.points, SIDE)
    colours = value_colours(item_map)
    circles = [
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.4" fill="{colours[point.value]}" fill-opacity="0.75">'
        f"<title>{escape(point.label)} ({escape(point.value)})</title></circle>"
        for point, (x, y) in zip(item_map.points, places, strict=True)
    ]
    label = (
        f"Map of {len(item_map.points)} items by {item_map.attribute}, first two principal components, "
        f"{item_map.explained:.0%} of the variance"
    )
    return _svg(SIDE, SIDE, label, [*circles, *_labels(item_map.points, places)])


def value_maps(item_map: ItemMap) -> list[str]:
    """Returns one small map per value, its items before all the others, as `<svg>` elements."""
    places = _places(item_map.points, SMALL_SIDE)
    # All points as one path: each small map shows them again.
    everywhere = _dots(places, "var(--line)", 2.5)
    figures = []
    for value, colour in value_colours(item_map).items():
        own = [place for point, place in zip(item_map.points, places, strict=True) if point.value == value]
        if value == OTHER or not own:
            continue
        title = (
            f'<text x="{MARGIN}" y="16" font-size="{FONT}" font-weight="bold" fill="currentColor">'
            f"{escape(value[:LONGEST_LABEL])} · {len(own)}</text>"
        )
        shifted = f'<g transform="translate(0 {TITLE_HEIGHT})">{everywhere}{_dots(own, colour, 4)}</g>'
        label = f"{len(own)} items of {item_map.attribute} {value} among {len(item_map.points)} on the map"
        figures.append(_svg(SMALL_SIDE, SMALL_SIDE + TITLE_HEIGHT, label, [title, shifted]))
    return figures


def value_colours(item_map: ItemMap) -> dict[str, str]:
    """Returns value → colour of the page, the commonest first; the rare ones together are grey and last."""
    values = [point.value for point in item_map.points if point.value != OTHER]
    common = sorted(dict.fromkeys(values), key=lambda value: -values.count(value))
    return {
        **{value: f"var(--c{number % COLOURS + 1})" for number, value in enumerate(common)},
        OTHER: "var(--bar)",
    }


def _places(points: Sequence[MapPoint], side: int) -> list[tuple[float, float]]:
    """Returns where points lie in a square, both components on one scale."""
    xs, ys = [point.x for point in points], [point.y for point in points]
    # One scale for both components, or distances could not be compared; 1 where all points are one.
    extent = max(max(xs) - min(xs), max(ys) - min(ys)) or 1.0
    scale = (side - 2 * MARGIN) / extent
    left, top = (max(xs) + min(xs) - extent) / 2, (max(ys) + min(ys) + extent) / 2
    return [(MARGIN + (x - left) * scale, MARGIN + (top - y) * scale) for x, y in zip(xs, ys, strict=True)]


def _labels(points: Sequence[MapPoint], places: Sequence[tuple[float, float]]) -> list[str]:
    """Returns the names of the popular items, as many as do not cover each other."""
    taken: list[tuple[float, float, float]] = []
    texts = []
    for point, (x, y) in zip(points, places, strict=True):
        text = point.label if len(point.label) <= LONGEST_LABEL else point.label[: LONGEST_LABEL - 1] + "…"
        width = CHARACTER * len(text)
        # On the other side of the point where the edge would cut the name.
        left = x + 6 if x + 6 + width <= SIDE else x - 6 - width
        is_free = all(
            abs(y - other_y) >= LINE or left >= end or left + width <= start for start, end, other_y in taken
        )
        if not point.is_popular or left < 0 or not is_free:
            continue
        taken.append((left, left + width, y))
        texts.append(
            f'<text x="{left:.1f}" y="{y + 4:.1f}" font-size="{FONT}" fill="currentColor" '
            # Outlined in the colour of the ground: readable across points.
            f'stroke="var(--card)" stroke-width="3" paint-order="stroke">{escape(text)}</text>'
        )
    return texts


def _dots(places: Sequence[tuple[float, float]], colour: str, size: float) -> str:
    """Returns points as one path: a line of no length with round ends is a dot."""
    path = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in places)
    return f'<path d="{path}" stroke="{colour}" stroke-width="{size}" stroke-linecap="round" fill="none"/>'


def _svg(width: int, height: int, label: str, parts: Sequence[str]) -> str:
    """Returns an `<svg>` element; `label` is for readers who cannot see it."""
    return (
        f'<svg role="img" aria-label="{escape(label)}" viewBox="0 0 {width} {height}">{"".join(parts)}</svg>'
    )
