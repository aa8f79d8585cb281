"""Gives the content its forms: a page for people, Markdown for a change request."""

from pathlib import Path

from marquee.reports.content import ReportContent
from marquee.reports.rendering import render
from marquee.reports.sections import common_views, metric_figure, rendered_sections
from marquee.reports.summary import summary_tiles
from marquee.reports.tables import metric_names

HTML_NAME = "report.html"
MARKDOWN_NAME = "report.md"


def write_report(content: ReportContent, folder: Path) -> Path:
    """Writes `report.html` and `report.md` into a folder and returns the path of the page.

    Raises:
        ConfigError: If jinja2 or matplotlib is not installed.
    """
    (folder / MARKDOWN_NAME).write_text(render_markdown(content), encoding="utf-8")
    page = folder / HTML_NAME
    page.write_text(render_html(content), encoding="utf-8")
    return page


def render_html(content: ReportContent) -> str:
    """Returns one self-contained page: no script, nothing fetched, light or dark as the reader's system is.

    Raises:
        ConfigError: If jinja2 or matplotlib is not installed.
    """
    return render(
        "report.html.j2",
        **common_views(content),
        sections=rendered_sections(content, "html"),
        tiles=summary_tiles(content),
        headline_figure=metric_figure(content, metric_names(content)[0]),
    )


def render_markdown(content: ReportContent) -> str:
    """Returns the verdict and what matters most as Markdown.

    Raises:
        ConfigError: If jinja2 is not installed.
    """
    sections = rendered_sections(content, "md")
    return render("report.md.j2", **common_views(content), sections=sections)
