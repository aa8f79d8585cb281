"""Judges a model by group of people and of items, as the config declares them."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from marquee.core.arrays import FloatArray
from marquee.data.dataset import JudgedPart
from marquee.errors import DataError
from marquee.evaluation.evaluation import Evaluation
from marquee.evaluation.group_fairness import (
    GroupFairness,
    JudgedClicks,
    click_gaps,
    list_gaps,
    supply_sides,
)
from marquee.nn.models import TwoTower
from training.config import TrainConfig
from training.judging.describe import training_counts
from training.judging.outcomes import scored_clicks
from training.runs.prepare import Prepared


def judge_fairness(
    prepared: Prepared,
    part: JudgedPart,
    evaluation: Evaluation,
    model: TwoTower,
    item_vectors: FloatArray,
    config: TrainConfig,
) -> GroupFairness:
    """Returns gaps between groups of people, and what is shown of each group of items.

    Args:
        prepared: The data.
        part: Who was asked.
        evaluation: Gives lists and metrics.
        model: Under judgement.
        item_vectors: Its item embeddings, (n_items + 1, dim) float32.
        config: Declares the columns.

    Raises:
        DataError: If a declared column is not in its table.
    """
    dataset, settings = prepared.dataset, config.evaluation
    queries, k = evaluation.query_index, settings.headline_k
    judged = evaluation.models[evaluation.model]
    lists = judged.lists.items[queries, :k]
    counts = training_counts(dataset)
    headline = f"ndcg@{k}"
    gaps, absent = [], []
    if settings.protected:
        clicks = _clicks(prepared, model, item_vectors, config)
        if isinstance(clicks, str):
            absent.append(clicks)
        asked = [part.user_ids[query] for query in queries]
        for name in settings.protected:
            group_of = _groups(dataset.query_features.users, name)
            groups = [group_of.get(user) for user in asked]
            metrics = {headline: judged.values[headline]}
            gaps += list_gaps(name, groups, metrics, lists, counts, dataset.catalog.is_ad)
            if not isinstance(clicks, str):
                gaps += click_gaps(name, group_of, clicks)
    suppliers = {name: _suppliers(dataset.items, name) for name in settings.suppliers}
    targets = evaluation.targets.rows(queries)
    whose = np.repeat(np.arange(len(queries)), targets.sizes)
    supply = supply_sides(lists, targets.item_index, whose, counts, suppliers)
    return GroupFairness(tuple(gaps), supply, tuple(absent))


def _clicks(
    prepared: Prepared, model: TwoTower, item_vectors: FloatArray, config: TrainConfig
) -> JudgedClicks | str:
    """Returns the exposures that heads are judged by, or why there are none."""
    found = scored_clicks(prepared, model, item_vectors, config)
    if isinstance(found, str):
        return found
    if not found.fitted.can_teach or not len(found.judged_exposures):
        return "Too few clicks to judge their probabilities by group."
    return JudgedClicks(
        found.fitted,
        found.judged,
        found.fitted_exposures.frame["user_id"].cast(pl.String).to_list(),
        found.judged_exposures.frame["user_id"].cast(pl.String).to_list(),
    )


def _groups(users: pl.DataFrame | None, name: str) -> dict[str, object]:
    """Returns the group of each user of the table.

    Raises:
        DataError: If there is no such column.
    """
    if users is None or name not in users.columns:
        raise DataError(
            f"evaluation.protected must name columns of the users table, got {name!r} and "
            f"{'no users table' if users is None else users.columns}"
        )
    return dict(users.select(pl.col("user_id").cast(pl.String), name).iter_rows())


def _suppliers(items: pl.DataFrame, name: str) -> Sequence[str]:
    """Returns the supplier of each item, "(none)" where there is none, with one for padding.

    Raises:
        DataError: If there is no such column.
    """
    if name not in items.columns or items.schema[name].is_nested():
        raise DataError(
            f"evaluation.suppliers must name columns of single values of the items table, got {name!r} and "
            f"{items.columns}"
        )
    texts = items[name].cast(pl.String).fill_null("(none)").to_list()
    return ["", *np.array(texts, dtype=object).tolist()]
