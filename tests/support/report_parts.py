"""Sections of a report that take more than an evaluation: how a model ages, retrainings, an inspection."""

from typing import TypedDict

import numpy as np

from marquee.evaluation.analyses.ageing import DAY_S, Ageing, age_metric
from marquee.evaluation.analyses.item_map import CatalogView, ModelInspection, map_items, neighbourhoods
from marquee.evaluation.analyses.mistakes import LostTarget, Mistakes, count_items, rank_groups
from marquee.evaluation.analyses.retraining import Retraining, RetrainingSeries
from marquee.evaluation.analyses.slices import by_popularity
from marquee.evaluation.evaluation import Evaluation
from marquee.evaluation.intervals import Estimate


class Parts(TypedDict):
    """Fields of `ReportContent`."""

    ageing: Ageing | None
    backtest: RetrainingSeries
    learning_curve: RetrainingSeries
    inspection: ModelInspection


def report_parts(evaluation: Evaluation, labels: list[str]) -> Parts:
    """Returns the parts of a report on an evaluation whose items are called by `labels`."""
    n_targets = len(evaluation.targets.item_index)
    weeks = np.arange(n_targets) % 3
    generator = np.random.default_rng(0)
    return {
        "ageing": age_metric(evaluation, "ndcg@10", weeks * 7 * DAY_S, 0, generator),
        "backtest": series(["2026-01-01 to 2026-02-01", "2026-02-01 to 2026-03-01"], [1.0, 2.0]),
        "learning_curve": series(["25 % of the users", "100 % of the users"], [0.25, 1.0]),
        "inspection": inspection(evaluation, labels),
    }


def series(labels: list[str], positions: list[float]) -> RetrainingSeries:
    """Returns retrainings whose metric rises by 0.1 from one to the next, ever 0.05 above popularity."""
    retrainings = tuple(
        Retraining(
            label=label,
            position=position,
            n_train_events=1_000 * number,
            n_users=500 + number,
            n_targets=900,
            seconds=12.5,
            estimates={
                "two_tower": around(0.1 * number + 0.05),
                "popularity": around(0.1 * number),
            },
            differences={"popularity": around(0.05)},
        )
        for number, (label, position) in enumerate(zip(labels, positions, strict=True), start=1)
    )
    return RetrainingSeries("ndcg@10", "two_tower", "Trained again, for a test.", retrainings)


def around(mean: float) -> Estimate:
    """Returns a mean with an interval of 0.02 on either side."""
    return Estimate(mean, mean - 0.02, mean + 0.02)


def inspection(evaluation: Evaluation, labels: list[str]) -> ModelInspection:
    """Returns an inspection of a model with random embeddings; every third item has one of three colours."""
    n_items = len(labels) - 1
    generator = np.random.default_rng(0)
    items = np.arange(n_items + 1)
    counts = np.where(items > 0, 3 * (n_items - items) + 1, 0)
    members = {
        name: (items > 0) & (items % 3 == rest) for rest, name in enumerate(("red", "blue", "<green>"))
    }
    vectors = generator.normal(size=(n_items + 1, 4)).astype(np.float32)
    view = CatalogView(labels, counts, vectors, "colour", members)
    thirds = by_popularity(counts)
    targets = evaluation.targets.item_index
    return ModelInspection(
        map_items(view, generator),
        neighbourhoods(view, thirds, generator),
        Mistakes(
            k=10,
            n_users=len(evaluation.query_index),
            n_items=n_items,
            ranks=rank_groups(np.maximum(targets, 1), targets, members, min_targets=1),
            lost=(LostTarget("user-7", labels[-1], n_items, 1),),
            **count_items(evaluation, 10, labels, counts),
        ),
    )
