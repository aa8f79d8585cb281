"""A page of evidence: findings first, then sections of sentences, tables and figures.

One content gives HTML and Markdown, so that both say the same; the JSON beside them holds the numbers.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any  # of JSON

from marquee.evaluation.intervals import Estimate, json_fields
from marquee.reports.rendering import render

_ROUNDING = 1e-12
_NONE = "\u2013"


@dataclass(frozen=True)
class Finding:
    """The upshot of a page, in a word and a sentence.

    Attributes:
        title: E.g. `new: ship`.
        text: The reason.
        tone: `better`, `worse` or `undecided`: the colour of its edge.
    """

    title: str
    text: str
    tone: str = "undecided"


@dataclass(frozen=True)
class Grid:
    """A table of texts: the first column names the line."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Section:
    """A part of the page: sentences, code as it stands, tables, then figures as `<svg>` elements."""

    title: str
    texts: tuple[str, ...] = ()
    grids: tuple[Grid, ...] = ()
    figures: tuple[str, ...] = ()
    code: str = ""


@dataclass(frozen=True)
class Page:
    """The whole page.

    Attributes:
        title: Its heading.
        note: What it was made of, one sentence.
        findings: What follows from it.
        sections: In the order in which they should be read.
        facts: Everything as numbers, for programs.
        warnings: What to know before believing it.
    """

    title: str
    note: str
    findings: tuple[Finding, ...]
    sections: tuple[Section, ...]
    facts: Any = None
    warnings: tuple[str, ...] = field(default=())


def render_page(page: Page) -> str:
    """Returns one self-contained page: no script, nothing fetched.

    Raises:
        ConfigError: If jinja2 is not installed.
    """
    return render("evidence/page.html.j2", page=page)


def render_page_markdown(page: Page) -> str:
    """Returns the same as Markdown, without figures.

    Raises:
        ConfigError: If jinja2 is not installed.
    """
    return render("evidence/page.md.j2", page=page)


def write_page(page: Page, folder: Path, name: str) -> Path:
    """Writes `<name>.html`, `.md` and `.json` into a folder; returns the path of the page.

    Raises:
        ConfigError: If jinja2 is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # `json.dumps` alone would write NaN, which is no JSON.
    facts = json.dumps(json_fields(page.facts), indent=2, ensure_ascii=False)
    (folder / f"{name}.json").write_text(facts + "\n", encoding="utf-8")
    (folder / f"{name}.md").write_text(render_page_markdown(page), encoding="utf-8")
    path = folder / f"{name}.html"
    path.write_text(render_page(page), encoding="utf-8")
    return path


def number(value: float | None) -> str:
    """Returns a number to four digits; a dash where there is none.

    Example:
        >>> number(0.123456), number(31415.9), number(1.8e-14)
        ('0.1235', '31,416', '0')
    """
    if value is None or math.isnan(value):
        return _NONE
    # What sums leave of 0 by rounding is no number for people.
    if abs(value) < _ROUNDING:
        return "0"
    # Four digits would hide what differs between large counts.
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}".replace("-", "\u2212")


def signed_number(value: float) -> str:
    """Returns a number to four digits with its sign."""
    plus = "+" if value > 0 else ""
    return plus + number(value)


def interval(low: float, high: float) -> str:
    """Returns the ends of an interval of a difference.

    Example:
        >>> interval(0.125, 0.25)
        '+0.125 to +0.25'
    """
    return f"{signed_number(low)} to {signed_number(high)}"


def estimated(estimate: Estimate) -> str:
    """Returns a value with its interval."""
    return f"{number(estimate.mean)} ({number(estimate.low)} to {number(estimate.high)})"


def share(value: float) -> str:
    """Returns a share in percent; a dash where there is none."""
    # NaN is what nothing is known of, such as a share of nothing.
    return _NONE if math.isnan(value) else f"{value:.1%}"


def listed(names: Sequence[str]) -> str:
    """Returns names with commas between, a dash for none."""
    return ", ".join(names) or _NONE
