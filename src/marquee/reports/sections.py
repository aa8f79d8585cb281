"""The sections of the report, in their order: what each is called and what it is given.

To add one: a line in `SECTIONS` and `templates/sections/<name>.html.j2`, and `<name>.md.j2` beside it if the
Markdown has it. Every template sees `content`, `protocol`, `evaluation` and `counts`; `tables` adds what both
show, `figures` what is drawn for the page alone. A section that comes out empty is left out. What it says
goes into `ReportContent` and its `to_json_dict`: the page must not know more than the JSON.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from marquee.evaluation.analyses.retraining import RetrainingSeries
from marquee.reports.content import ReportContent
from marquee.reports.evidence.groups import fairness_views
from marquee.reports.maps import map_figure, value_colours, value_maps
from marquee.reports.over_time import ageing_figures, ageing_views, series_figures, series_views
from marquee.reports.plots import (
    LONGEST_LABEL,
    bar_figure,
    curve_figure,
    scatter_figure,
    slice_figure,
    sweep_figure,
)
from marquee.reports.probabilities import probability_figures, probability_views
from marquee.reports.rendering import render
from marquee.reports.tables import (
    BEYOND_MEANINGS,
    MEANINGS,
    accuracy_table,
    availability_in_words,
    beyond_numbers,
    beyond_table,
    difference_table,
    group_tables,
    metric_names,
    slice_tables,
    surface_table,
    sweep_table,
)

Views = Callable[[ReportContent], Mapping[str, object]]


@dataclass(frozen=True)
class Section:
    """One part of the report.

    Attributes:
        name: Of its templates `<name>.html.j2` and `<name>.md.j2`, and its anchor.
        title: Its heading, and its line in the table of contents.
        tables: Returns what its templates see besides the content.
        figures: Returns what the page's template sees besides that: `<svg>` elements, drawn for it alone.
        in_markdown: Whether the Markdown has it.
    """

    name: str
    title: str
    tables: Views = lambda _: {}
    figures: Views = lambda _: {}
    in_markdown: bool = True


@dataclass(frozen=True, slots=True)
class RenderedSection:
    """A section that has something to say, as markup or Markdown."""

    name: str
    title: str
    body: str


def rendered_sections(content: ReportContent, form: str) -> tuple[RenderedSection, ...]:
    """Returns the sections that have something to say.

    Args:
        content: What is said.
        form: `html` or `md`.

    Raises:
        ConfigError: If jinja2 is not installed, or matplotlib for figures.
    """
    is_page = form == "html"
    rendered = []
    for section in SECTIONS:
        if not is_page and not section.in_markdown:
            continue
        # Markdown holds no SVG: figures are not even drawn for it.
        views = {**section.tables(content), **(section.figures(content) if is_page else {})}
        # Stripped: a template whose conditions all fail leaves white space, and is then left out.
        body = render(f"sections/{section.name}.{form}.j2", **common_views(content), **views).strip()
        if body:
            rendered.append(RenderedSection(section.name, section.title, body))
    return tuple(rendered)


def common_views(content: ReportContent) -> dict[str, object]:
    """Returns the views that every template sees."""
    evaluation = content.evaluation
    return {
        "content": content,
        "protocol": content.protocol,
        "evaluation": evaluation,
        "counts": evaluation.counts,
    }


def _protocol(content: ReportContent) -> dict[str, object]:
    """Returns the sentences on availability and on intervals."""
    method = (
        f"studentised bootstrap over users, {content.evaluation.n_resamples:,} resamples, and Wilson's "
        "interval for shares; differences are paired"
    )
    return {"availability": availability_in_words(content.evaluation.counts), "interval_method": method}


def _accuracy(content: ReportContent) -> dict[str, object]:
    """Returns the tables at the headline's cutoff, and those at the others."""
    k = content.headline_k
    return {
        "accuracy": accuracy_table(content, k),
        # The headline's cutoff has a table of its own, above them.
        "other_accuracy": [accuracy_table(content, other) for other in content.evaluation.ks if other != k],
        "differences": difference_table(content, k),
        "groups": group_tables(content),
        "meanings": MEANINGS,
    }


def metric_figure(content: ReportContent, metric: str) -> str:
    """Returns the bars of every model on one metric, at the headline's cutoff."""
    name = f"{metric}@{content.headline_k}"
    models = content.evaluation.models
    estimates = {model: found.estimates[name] for model, found in models.items()}
    return bar_figure(name, estimates, content.evaluation.model)


def _trade_offs(content: ReportContent) -> dict[str, list[str]]:
    """Returns a figure of accuracy against each other quality that two models or more have."""
    accuracy = {
        name: model.estimates[content.headline].mean for name, model in content.evaluation.models.items()
    }
    beyond = beyond_numbers(content)
    figures = []
    for quality in BEYOND_MEANINGS:
        points = {
            name: (value, accuracy[name])
            for name, numbers in beyond.items()
            if (value := numbers[quality]) is not None
        }
        # One model alone trades nothing off.
        if len(points) > 1:
            figures.append(scatter_figure(quality, content.headline, points, content.evaluation.model))
    return {"trade_offs": figures}


def _sweep_figures(content: ReportContent) -> dict[str, list[str]]:
    """Returns the figure of the served index, if there is one to draw."""
    sweep = None if content.served is None else content.served.index_sweep
    # An exact index has no effort to vary.
    return {"sweep_figures": [sweep_figure(sweep)] if sweep is not None and sweep.parameter else []}


def _slice_figures(content: ReportContent) -> dict[str, object]:
    """Returns the slices of the judged model, one figure per column that has two or more."""
    slices = content.slices
    columns = () if slices is None else slices.columns
    return {
        "slice_figures": [
            slice_figure(
                column.name,
                {
                    f"{part.value[:LONGEST_LABEL]} · {part.n_users:,}": part.estimates[slices.model]
                    for part in column.slices
                },
                slices.usual(column),
            )
            for column in columns
            if slices is not None and len(column.slices) > 1
        ]
    }


def _inspection_figures(content: ReportContent) -> dict[str, object]:
    """Draws the item map of an inspected model, in one form per page width."""
    if content.inspection is None:
        return {}
    item_map = content.inspection.item_map
    return {
        # One map for wide pages, one per value for narrow ones and for who cannot tell colours apart.
        "map_figure": map_figure(item_map),
        "value_colours": value_colours(item_map),
        "value_figures": value_maps(item_map),
    }


def render_series(name: str, series: RetrainingSeries, form: str) -> str:
    """Returns the body of a section of retrainings, which depends on nothing else: see `amending`."""
    figures = series_figures(name, series) if form == "html" else {}
    return render(f"sections/{name}.{form}.j2", **series_views(name, series, ""), **figures).strip()


def _series_section(
    name: str, title: str, series_of: Callable[[ReportContent], RetrainingSeries | None]
) -> Section:
    """Returns a section of retrainings."""
    return Section(
        name,
        title,
        # Of the series alone: `amending` renders the section without the rest (docs/decisions/0007).
        lambda content: series_views(name, series_of(content), content.absent.get(name, "")),
        lambda content: series_figures(name, series_of(content)),
    )


SECTIONS = (
    Section(
        "protocol",
        "Protocol",
        _protocol,
    ),
    Section(
        "accuracy",
        "Accuracy",
        _accuracy,
        # The first stands in the summary.
        lambda content: {"figures": [metric_figure(content, name) for name in metric_names(content)[1:]]},
    ),
    Section(
        "served",
        "What is served",
        lambda content: {"sweep_table": sweep_table(content), "surface_table": surface_table(content)},
        _sweep_figures,
    ),
    Section("slices", "Slices", lambda content: {"slices": slice_tables(content)}, _slice_figures),
    Section("fairness", "Groups", fairness_views),
    Section(
        "beyond",
        "Beyond accuracy",
        lambda content: {"beyond": beyond_table(content), "beyond_meanings": BEYOND_MEANINGS},
        _trade_offs,
    ),
    Section("probabilities", "Probabilities", probability_views, probability_figures),
    Section(
        "ageing",
        "How it ages",
        lambda content: ageing_views(content.ageing, content.absent.get("ageing", "")),
        lambda content: ageing_figures(content.ageing),
    ),
    _series_section("backtest", "Back-test", lambda content: content.backtest),
    _series_section("learning_curve", "Learning curve", lambda content: content.learning_curve),
    Section("inside", "Look inside", lambda content: {"inspection": content.inspection}, _inspection_figures),
    Section(
        "samples",
        "Sample users",
        lambda content: {"best_other": content.best_other},
        in_markdown=False,
    ),
    Section(
        "training",
        "Training",
        figures=lambda content: {
            "curve_figures": [curve_figure(curve, content.best_step) for curve in content.curves]
        },
        in_markdown=False,
    ),
    Section("quality", "Data quality"),
    Section("configuration", "Configuration"),
)
