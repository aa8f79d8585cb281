"""What the report says of lists and slices, for the columns that a config declares as features."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from marquee.beyond import BeyondAccuracy, CatalogFacts, describe_lists
from marquee.dataset import Dataset, JudgedPart
from marquee.evaluation import Evaluation
from marquee.features import FeatureConfig, FeatureType
from marquee.histories import FloatArray
from marquee.ids import PADDING_INDEX, IndexArray
from marquee.metrics import BoolArray
from marquee.slices import SlicedMetric, by_history, by_popularity, members_of, slice_metric
from training.config import TrainConfig
from training.prepare import Prepared

MAX_VALUES = 200  # a column of more values parts nothing
NAMING_COLUMNS = ("title", "name", "description")
SLICED_TYPES = (FeatureType.multi, FeatureType.categorical)


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
    lists = {name: model.lists.items[queries, :k] for name, model in evaluation.models.items()}
    targets, histories = evaluation.targets.rows(queries), part.seen.rows(queries)
    found = attribute_members(prepared.dataset, config)
    attributes = None if found is None else np.stack([*found[1].values()], axis=1)
    facts = CatalogFacts(training_counts(prepared.dataset), vectors, attributes)
    return {
        name: describe_lists(items, targets.contains(items), lists.get("popularity"), histories, facts)
        for name, items in lists.items()
    }


def slice_headline(
    prepared: Prepared, part: JudgedPart, evaluation: Evaluation, config: TrainConfig
) -> SlicedMetric:
    """Returns the headline metric by history and popularity, and by every declared column with few values."""
    dataset = prepared.dataset
    users: dict[str, dict[str, BoolArray]] = {"history": by_history(part.seen.sizes)}
    for name, values in _user_columns(dataset, part, config).items():
        users[name] = members_of(values)
    items: dict[str, dict[str, BoolArray]] = {"popularity": by_popularity(training_counts(dataset))}
    if dataset.items["kind"].n_unique() > 1:
        items["kind"] = members_of([None, *dataset.items["kind"].to_list()])
    for name, feature in config.data.features.item.items():
        members = _item_members(dataset, name, feature)
        if members:
            items[name] = members
    return slice_metric(
        evaluation,
        f"ndcg@{config.evaluation.headline_k}",
        evaluation.targets,
        users,
        items,
        np.random.default_rng(config.seed),
    )


def training_counts(dataset: Dataset) -> IndexArray:
    """Returns the training events of each item, (n_items + 1,) int64; entry 0 is 0."""
    counts = np.bincount(dataset.train.item_index, minlength=dataset.n_items + 1)
    counts[PADDING_INDEX] = 0
    return counts


def attribute_members(dataset: Dataset, config: TrainConfig) -> tuple[str, dict[str, BoolArray]] | None:
    """Returns the first declared item column that parts the catalog, many-valued first, and its values."""
    features = config.data.features.item
    for type_ in SLICED_TYPES:
        for name, feature in features.items():
            members = _item_members(dataset, name, feature) if feature.type is type_ else {}
            if len(members) > 1:
                return name, members
    return None


def item_labels(dataset: Dataset) -> list[str]:
    """Returns what a person calls each item: its title or the like, or else its id; entry 0 is padding."""
    ids = dataset.item_ids.ids
    column = next((name for name in NAMING_COLUMNS if name in dataset.items.columns), None)
    if column is None:
        return ["", *ids]
    titles = dataset.items[column].cast(pl.String).to_list()
    return ["", *(title or id_ for title, id_ in zip(titles, ids, strict=True))]


def _item_members(dataset: Dataset, name: str, feature: FeatureConfig) -> dict[str, BoolArray]:
    """Returns the items of each value of a declared column; empty if it does not part the catalog."""
    column = feature.column or name
    if feature.type not in SLICED_TYPES or column not in dataset.items.columns:
        return {}
    return _few([None, *dataset.items[column].to_list()])


def _user_columns(dataset: Dataset, part: JudgedPart, config: TrainConfig) -> dict[str, list[object]]:
    """Returns column → value of each query, of the declared user columns with few values."""
    table = dataset.query_features.users
    if table is None:
        return {}
    rows = {user_id: row for row, user_id in enumerate(table["user_id"].to_list())}
    found = {}
    for name, feature in config.data.features.user.items():
        column = feature.column or name
        if feature.type not in SLICED_TYPES or column not in table.columns:
            continue
        values = table[column].to_list()
        of_queries = [values[rows[user]] if user in rows else None for user in part.user_ids]
        if _few(of_queries):
            found[name] = of_queries
    return found


def _few(values: Sequence[object]) -> dict[str, BoolArray]:
    """Returns the members of each value, empty if there are more than `MAX_VALUES`."""
    distinct = {one for value in values for one in (value if isinstance(value, list) else (value,))}
    return members_of(values) if len(distinct) <= MAX_VALUES else {}
