"""The tables of the report, from its content: what the page and the Markdown show alike."""

from dataclasses import dataclass

from marquee.evaluation.analyses.slices import MIN_USERS, SlicedColumn
from marquee.evaluation.evaluation import Counts
from marquee.evaluation.intervals import Estimate
from marquee.evaluation.metrics import METRICS
from marquee.reports.content import ReportContent

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
    """One line of a table: a value per column, None where there is none, and a remark instead."""

    name: str
    values: tuple[Estimate | float | None, ...]
    remark: str = ""
    is_marked: bool = False


@dataclass(frozen=True)
class Table:
    """A table of results; `of` says what its lines are."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    of: str = "model"


def accuracy_table(content: ReportContent, k: int) -> Table:
    """Returns every model's metrics at a cutoff, the model first; what was left out stands below."""
    metrics = metric_names(content)
    # Coverage is of all lists together: it has no value per user, and so no interval.
    names = [f"{metric}@{k}" for metric in metrics]
    rows = [
        Row(name, (*(model.estimates[metric] for metric in names), model.coverage[f"coverage@{k}"]))
        for name, model in content.evaluation.models.items()
    ]
    # Named with the reason: a baseline that is missing must not go unnoticed.
    rows += [Row(name, (), remark) for name, remark in content.left_out.items()]
    return Table(f"at {k}", (*metrics, "coverage"), tuple(rows))


def difference_table(content: ReportContent, k: int) -> Table:
    """Returns the model minus each other model at a cutoff."""
    metrics = metric_names(content)
    rows = [
        Row(reference, tuple(differences[f"{metric}@{k}"] for metric in metrics))
        for reference, differences in content.evaluation.differences.items()
    ]
    return Table(f"{content.evaluation.model} minus …, at {k}", metrics, tuple(rows))


def group_tables(content: ReportContent) -> tuple[Table, ...]:
    """Returns one table per item group, at the headline's cutoff."""
    k = content.headline_k
    metrics = metric_names(content)
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
    """Returns the beyond-accuracy measures of every model; no rows if they were not measured."""
    rows = [Row(name, tuple(numbers.values())) for name, numbers in beyond_numbers(content).items()]
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
        # A column of suppressed slices alone is shown, to say so.
        if column.slices or column.n_suppressed
    )


def sweep_table(content: ReportContent) -> Table | None:
    """Returns recall and latency of the served index by its search effort, None where it has none."""
    sweep = None if content.served is None else content.served.index_sweep
    if sweep is None or not sweep.parameter:
        return None
    rows = []
    for point in sweep.points:
        is_chosen = point.effort == sweep.chosen
        name = f"{point.effort} (chosen)" if is_chosen else f"{point.effort}"
        rows.append(Row(name, (point.recall, point.median_ms, point.p95_ms), is_marked=is_chosen))
    # Recall is held against the exact search, so its own is 1.
    rows.append(Row("exact", (1.0, sweep.exact_ms, None)))
    title = f"Index {sweep.kind}: recall of the exact top {sweep.k} and time of one search"
    columns = (f"recall@{sweep.k}", "median, ms", "95 % within, ms")
    return Table(title, columns, tuple(rows), of=sweep.parameter)


def surface_table(content: ReportContent) -> Table | None:
    """Returns the cost of the surfaces' filters and re-ranking; None where no surface was asked."""
    if content.served is None or not content.served.surfaces:
        return None
    rows = [Row(surface.name, (surface.served, surface.cost)) for surface in content.served.surfaces]
    title = f"By the rules of each surface, {content.served.metric}"
    return Table(title, ("answers", "minus answers without rules"), tuple(rows), of="surface")


def availability_in_words(counts: Counts) -> str:
    """Says how items were treated that could not be shown when a user was asked."""
    # 0 where no item was out of its window for anybody asked (docs/decisions/0005).
    if not counts.mean_items_unavailable:
        return "every item could be shown to everybody"
    return (
        "items that could not be shown when a user was asked are excluded from lists and targets, for all "
        f"models alike: {counts.mean_items_unavailable:,.0f} of {counts.n_items:,} items on average"
    )


def _suppressed(column: SlicedColumn) -> str:
    """Says which slices of a column are not shown, and why."""
    said = ""
    if column.n_suppressed:
        said += f"; {column.n_suppressed} with fewer than {MIN_USERS} users suppressed"
    return said + (f"; the largest {len(column.slices)} shown" if column.n_beyond else "")


def beyond_numbers(content: ReportContent) -> dict[str, dict[str, float | None]]:
    """Returns model → what its lists are like, with their coverage."""
    k = content.headline_k
    return {
        name: {
            "coverage": content.evaluation.models[name].coverage[f"coverage@{k}"],
            **numbers.to_json_dict(),
        }
        for name, numbers in content.beyond_accuracy.items()
    }


def metric_names(content: ReportContent) -> tuple[str, ...]:
    """Returns the names of the metrics, the headline's first: on a phone it is the one in sight."""
    first = content.headline.split("@")[0]
    # On a phone only the first column is in sight.
    return first, *(metric for metric in METRICS if metric != first)
