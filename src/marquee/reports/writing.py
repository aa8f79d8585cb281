"""Gives the content its forms: a page for people, Markdown for a change request."""

from dataclasses import dataclass
from pathlib import Path

from marquee.evaluation import Estimate
from marquee.metrics import METRICS
from marquee.reports.content import ReportContent
from marquee.reports.plots import bar_figure, curve_figure
from marquee.reports.rendering import render

HTML_NAME = "report.html"
MARKDOWN_NAME = "report.md"
TEMPLATES = {HTML_NAME: "report.html.j2", MARKDOWN_NAME: "report.md.j2"}

MEANINGS = {
    "recall": "share of a user's targets that the list holds",
    "ndcg": "hits, the earlier the better, as a share of the best possible list",
    "mrr": "1 / rank of the first hit",
    "map": "precision at each hit, averaged",
    "hit_rate": "share of users with at least one hit",
    "precision": "share of the list that is a hit",
    "coverage": "share of the catalog that somebody's list holds",
}


@dataclass(frozen=True)
class Row:
    """One model's line of a table: a value per column, None where there is none, and a remark instead."""

    name: str
    values: tuple[Estimate | float | None, ...]
    remark: str = ""


@dataclass(frozen=True)
class Table:
    """A table of results at one cutoff."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


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
    evaluation = content.evaluation
    k = content.headline_k
    figures = [
        bar_figure(
            f"{metric}@{k}",
            {name: model.estimates[f"{metric}@{k}"] for name, model in evaluation.models.items()},
            evaluation.model,
        )
        for metric in _metrics(content)
    ]
    curves = [curve_figure(curve, content.best_step) for curve in content.curves]
    return _render(HTML_NAME, content, figures=figures, curve_figures=curves)


def render_markdown(content: ReportContent) -> str:
    """Returns verdict, protocol and accuracy as Markdown.

    Raises:
        ConfigError: If jinja2 is not installed.
    """
    return _render(MARKDOWN_NAME, content)


def accuracy_table(content: ReportContent, k: int) -> Table:
    """Returns every model's metrics at a cutoff, the model first; what was left out stands below."""
    metrics = _metrics(content)
    names = [f"{metric}@{k}" for metric in metrics]
    rows = [
        Row(name, (*(model.estimates[metric] for metric in names), model.coverage[f"coverage@{k}"]))
        for name, model in content.evaluation.models.items()
    ]
    rows += [Row(name, (), remark) for name, remark in content.left_out.items()]
    return Table(f"at {k}", (*metrics, "coverage"), tuple(rows))


def difference_table(content: ReportContent, k: int) -> Table:
    """Returns the model minus each other model at a cutoff."""
    metrics = _metrics(content)
    rows = [
        Row(reference, tuple(differences[f"{metric}@{k}"] for metric in metrics))
        for reference, differences in content.evaluation.differences.items()
    ]
    return Table(f"{content.evaluation.model} minus …, at {k}", metrics, tuple(rows))


def group_tables(content: ReportContent) -> tuple[Table, ...]:
    """Returns one table per item group, at the headline's cutoff."""
    k = content.headline_k
    metrics = _metrics(content)
    return tuple(
        Table(
            group,
            metrics,
            tuple(
                Row(name, tuple(model.estimates[f"{metric}@{k}|{group}"] for metric in metrics))
                for name, model in content.evaluation.models.items()
            ),
        )
        for group in content.evaluation.groups
    )


def _metrics(content: ReportContent) -> tuple[str, ...]:
    """Returns the names of the metrics, the headline's first: on a phone it is the one in sight."""
    first = content.headline.split("@")[0]
    return first, *(metric for metric in METRICS if metric != first)


def _render(name: str, content: ReportContent, **figures: list[str]) -> str:
    """Returns a template filled with the content."""
    k = content.headline_k
    other_ks = [other for other in content.evaluation.ks if other != k]
    return render(
        TEMPLATES[name],
        content=content,
        protocol=content.protocol,
        evaluation=content.evaluation,
        counts=content.evaluation.counts,
        accuracy=accuracy_table(content, k),
        other_accuracy=[accuracy_table(content, other) for other in other_ks],
        differences=difference_table(content, k),
        groups=group_tables(content),
        meanings=MEANINGS,
        **figures,
    )
