"""Describes lists and slices for the report, by the columns that a config declares as features."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from marquee.core.arrays import BoolArray, FloatArray, IndexArray
from marquee.core.ids import PADDING_INDEX
from marquee.data.dataset import Dataset, JudgedPart
from marquee.evaluation.analyses.beyond_accuracy import BeyondAccuracy, CatalogFacts, describe_lists
from marquee.evaluation.analyses.slice_columns import SlicesByColumn, slice_values
from marquee.evaluation.analyses.slices import (
    SlicedMetric,
    by_history,
    by_popularity,
    members_of,
    slice_metric,
)
from marquee.evaluation.evaluation import Evaluation
from marquee.features import FeatureConfig, FeatureType
from training.config import TrainConfig
from training.runs.prepare import Prepared

# In the order in which people would rather read them.
NAMING_COLUMNS = ("title", "name", "description")
ATTRIBUTE_TYPES = (FeatureType.multi, FeatureType.categorical)


def describe(
    prepared: Prepared, part: JudgedPart, evaluation: Evaluation, vectors: FloatArray, config: TrainConfig
) -> dict[str, BeyondAccuracy]:
    """Returns model → what its lists are like; all by the embeddings of the model under judgement.

    Args:
        prepared: The data.
        part: Who was asked.
        evaluation: Gives the lists.
        vectors: Item embeddings, (n_items + 1, dim) float32.
        config: Of the run.
    """
    queries = evaluation.query_index
    k = config.evaluation.headline_k
    # (n_judged, k) each
    lists = {name: model.lists.items[queries, :k] for name, model in evaluation.models.items()}
    targets, histories = evaluation.targets.rows(queries), part.seen.rows(queries)
    # Diversity needs one vocabulary; many-valued columns come first as they say most of an item.
    members = next(iter(attribute_members(prepared.dataset, config).values()), None)
    attributes = None if members is None else np.stack([*members.values()], axis=1)  # (n_items + 1, n_values)
    facts = CatalogFacts(training_counts(prepared.dataset), vectors, attributes)
    return {
        name: describe_lists(items, targets.contains(items), lists.get("popularity"), histories, facts)
        for name, items in lists.items()
    }


def slice_headline(
    prepared: Prepared, part: JudgedPart, evaluation: Evaluation, config: TrainConfig
) -> SlicedMetric:
    """Returns the headline metric by history and popularity, and by every declared column that parts them."""
    dataset, features = prepared.dataset, config.data.features
    users: SlicesByColumn = {"history": by_history(part.seen.sizes)}
    items: SlicesByColumn = {"popularity": by_popularity(training_counts(dataset))}
    # A slice that holds everything repeats the headline.
    if dataset.items["kind"].n_unique() > 1:
        # None for padding, as every column of items has a row 0.
        items["kind"] = members_of([None, *dataset.items["kind"].to_list()])
    events = prepared.split.test if config.evaluation.test else prepared.split.validation
    sides = (
        ("user", features.user, _rows_of_users(dataset, part.user_ids), users, ""),
        ("context", features.context, _first_events(events, part.user_ids, config), users, " (request)"),
        ("item", features.item, dataset.items, items, ""),
    )
    unsliced = {}
    for side, declared, table, found, suffix in sides:
        for name, feature in declared.items():
            slices, reason = _slices_of(name, feature, table, has_padding=side == "item")
            found.update({column + suffix: members for column, members in slices.items()})
            if reason:
                unsliced[f"{side}: {name}"] = reason
    return slice_metric(
        evaluation,
        f"ndcg@{config.evaluation.headline_k}",
        evaluation.targets,
        users,
        items,
        np.random.default_rng(config.seed),
        unsliced,
    )


def training_counts(dataset: Dataset) -> IndexArray:
    """Returns the training events of each item, (n_items + 1,) int64; entry 0 is 0."""
    counts = np.bincount(dataset.train.item_index, minlength=dataset.n_items + 1)
    # Events with items outside the catalog: popular, were they one item.
    counts[PADDING_INDEX] = 0
    return counts


def attribute_members(dataset: Dataset, config: TrainConfig) -> dict[str, dict[str, BoolArray]]:
    """Returns column → value → its items, of the declared ones that part the catalog, many-valued first."""
    features = config.data.features.item
    found: dict[str, dict[str, BoolArray]] = {}
    for type_ in ATTRIBUTE_TYPES:
        for name, feature in features.items():
            if feature.type is type_:
                slices, _ = _slices_of(name, feature, dataset.items, has_padding=True)
                found |= {name: slices[name]} if slices else {}
    return found


def item_labels(dataset: Dataset) -> list[str]:
    """Returns a name for each item: its title or the like, or else its id; entry 0 is padding."""
    ids = dataset.item_ids.ids
    # A column of that name may hold anything: a list of texts names nothing.
    column = next(
        (name for name in NAMING_COLUMNS if not dataset.items.schema.get(name, pl.List).is_nested()), None
    )
    if column is None:
        return ["", *ids]
    titles = dataset.items[column].cast(pl.String).to_list()
    # A title may be missing or empty, an id never.
    return ["", *(title or id_ for title, id_ in zip(titles, ids, strict=True))]


def _rows_of_users(dataset: Dataset, user_ids: Sequence[str]) -> pl.DataFrame:
    """Returns the row of the users table of each query; without columns of its own where there is none."""
    asked = pl.DataFrame({"user_id": user_ids}, schema={"user_id": pl.String})
    table = dataset.query_features.users
    return asked if table is None else asked.join(table, on="user_id", how="left", maintain_order="left")


def _first_events(events: pl.DataFrame, user_ids: Sequence[str], config: TrainConfig) -> pl.DataFrame:
    """Returns the event that makes each query: the user's first one of the part that counts."""
    first = (
        events.filter(pl.col("kind").is_in(list(config.data.kinds)))
        .sort("timestamp", maintain_order=True)
        # Polars may give any of the rows without it, and figures would differ from run to run.
        .unique("user_id", keep="first", maintain_order=True)
    )
    asked = pl.DataFrame({"user_id": user_ids}, schema={"user_id": pl.String})
    return asked.join(first, on="user_id", how="left", maintain_order="left")


def _slices_of(
    name: str, feature: FeatureConfig, table: pl.DataFrame, *, has_padding: bool
) -> tuple[SlicesByColumn, str]:
    """Returns the slices of a declared column, and why there are none, empty if there are."""
    column = feature.column or name
    if column not in table.columns:
        return {}, f"there is no column {column!r}"
    values = table[column].to_list()
    return slice_values(name, feature, [None, *values] if has_padding else values)
