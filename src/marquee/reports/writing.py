"""Gives the content its forms: a page for people, Markdown for a change request."""

from dataclasses import dataclass
from pathlib import Path

from marquee.evaluation import Estimate
from marquee.metrics import METRICS
from marquee.reports.content import ReportContent
from marquee.reports.plots import bar_figure, curve_figure, scatter_figure
from marquee.reports.rendering import render
from marquee.slices import MIN_USERS, SlicedColumn

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


BEYOND_MEANINGS = {
    "coverage": "share of the catalog that somebody's list holds",
    "gini": "how unequally the lists show the catalog: 0 all items alike, near 1 a few alone",
    "novelty": "how rarely used the items are, in bits: one more is half as often",
    "diversity_by_embedding": "1 minus the mean cosine of two items of a list, by the model's embeddings",
    "diversity_by_attribute": "mean share of attribute values that two items of a list do not share",
    "serendipity": "share of the places with a hit that the popularity list does not hold",
    "popularity_lift": "how much more popular lists are than the same users' histories: 0 for alike",
    "miscalibration": "how far the mix of attribute values is from the user's history, in bits: 0 the same",
    "overlap": "share of its list that a user has in common with another one",
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
    return _render(HTML_NAME, content, figures=figures, curve_figures=curves, trade_offs=_trade_offs(content))


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


def beyond_table(content: ReportContent) -> Table:
    """Returns what every model's lists are like besides accurate; no rows if that was not measured."""
    rows = [Row(name, tuple(numbers.values())) for name, numbers in _beyond(content).items()]
    return Table(f"at {content.headline_k}", tuple(BEYOND_MEANINGS), tuple(rows))


def slice_tables(content: ReportContent) -> tuple[Table, ...]:
    """Returns one table per sliced column: slices as columns, models as rows."""
    if content.slices is None:
        return ()
    return tuple(
        Table(
            column.name + _suppressed(column),
            tuple(f"{part.value} · {part.n_users:,}" for part in column.slices),
            tuple(
                Row(name, tuple(part.estimates[name] for part in column.slices))
                for name in content.evaluation.models
            ),
        )
        for column in content.slices.columns
        if column.slices or column.n_suppressed
    )


def _suppressed(column: SlicedColumn) -> str:
    """Returns what a sliced column does not show, in words."""
    said = ""
    if column.n_suppressed:
        said += f"; {column.n_suppressed} with fewer than {MIN_USERS} users suppressed"
    return said + (f"; the largest {len(column.slices)} shown" if column.n_beyond else "")


def _beyond(content: ReportContent) -> dict[str, dict[str, float | None]]:
    """Returns model → what its lists are like, with their coverage."""
    k = content.headline_k
    return {
        name: {
            "coverage": content.evaluation.models[name].coverage[f"coverage@{k}"],
            **numbers.to_json_dict(),
        }
        for name, numbers in content.beyond.items()
    }


def _trade_offs(content: ReportContent) -> list[str]:
    """Returns a figure of accuracy against each other quality that two models or more have."""
    accuracy = {
        name: model.estimates[content.headline].mean for name, model in content.evaluation.models.items()
    }
    beyond = _beyond(content)
    figures = []
    for quality in BEYOND_MEANINGS:
        points = {
            name: (value, accuracy[name])
            for name, numbers in beyond.items()
            if (value := numbers[quality]) is not None
        }
        if len(points) > 1:
            figures.append(scatter_figure(quality, content.headline, points, content.evaluation.model))
    return figures


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
        beyond=beyond_table(content),
        beyond_meanings=BEYOND_MEANINGS,
        slices=slice_tables(content),
        **figures,
    )
