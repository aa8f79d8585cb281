"""Counts popularity by context: which columns of a run's events count, and how users' columns come in."""

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from marquee.bundle.popularity import HOUR, ContextPopularity, PopularityConfig, measure_gain
from marquee.core.arrays import FloatArray
from marquee.core.ids import IdMap
from marquee.core.schema import SURFACE, TimeMeaning
from marquee.data.config import DataConfig
from marquee.data.dataset import Dataset
from marquee.features import FeatureConfig, FeatureType

# Of a column without influence about one in forty would pass.
_STANDARD_ERRORS = 2.0


def fit_context_popularity(
    dataset: Dataset,
    events: pl.DataFrame,
    data: DataConfig,
    popularity: FloatArray,
    config: PopularityConfig,
) -> ContextPopularity:
    """Returns the tables of popularity by context, of all events that count.

    Args:
        dataset: The catalog and the users.
        events: All valid events.
        data: How they were declared.
        popularity: Each item's share of all interactions, (n_items + 1,) float32.
        config: Which contexts; an empty `by` is filled in here.

    Raises:
        ConfigError: If `by` names a column that there is not, or `hour` where there is no clock.
    """
    # Kinds that are not declared count nowhere, so not here either.
    events = events.filter(pl.col("kind").is_in(list(data.kinds)))
    users = dataset.query_features.users
    if users is not None:
        # A column of this name among the events is of the moment, and nearer to it.
        columns = [name for name in users.columns if name not in events.columns]
        events = events.join(users.select("user_id", *columns), on="user_id", how="left")
    if data.time is not TimeMeaning.absolute:
        # Numbers that are no moments have no hour of the day.
        events = events.drop("timestamp")
    by = list(config.by) or _telling(events, dataset.item_ids, _declared(data, events), config)
    return ContextPopularity.fit(events, dataset.item_ids, popularity, replace(config, by=by))


def _telling(
    events: pl.DataFrame, item_ids: IdMap, columns: Sequence[str], config: PopularityConfig
) -> list[str]:
    """Returns those of the columns whose lists are better than one for all, the most telling first."""
    # The gain is that of lists of earlier events on later ones.
    ordered = events.sort("timestamp", maintain_order=True) if "timestamp" in events.columns else events
    gains = {column: measure_gain(ordered, item_ids, column, config) for column in columns}
    telling = [
        column for column, (gain, standard_error) in gains.items() if gain > _STANDARD_ERRORS * standard_error
    ]
    # Contexts are asked in this order: the first that has a list decides.
    return sorted(telling, key=lambda column: -gains[column][0])


def _declared(data: DataConfig, events: pl.DataFrame) -> list[str]:
    """Returns the surface, the categories that are declared of the moment and of the user, and the hour."""
    columns = [SURFACE] if SURFACE in events.columns else []
    for features in (data.features.context, data.features.user):
        columns += [_column(name, feature) for name, feature in features.items() if _is_category(feature)]
    if data.time is TimeMeaning.absolute:
        columns.append(HOUR)
    # A column may be declared twice, of the moment and of the user.
    return list(dict.fromkeys(columns))


def _column(name: str, feature: FeatureConfig) -> str:
    return feature.column or name


def _is_category(feature: FeatureConfig) -> bool:
    return feature.type is FeatureType.categorical
