"""Makes the statistics that travel in a bundle, which later logs are held against."""

from collections.abc import Mapping
from typing import Any  # of JSON

import polars as pl

from marquee.core.catalog import Catalog, ItemKind
from marquee.evaluation.drift.log_view import LogView, fit_log, view_log
from marquee.evaluation.drift.reference import Reference
from marquee.features.config import FeatureType
from training.config import TrainConfig, as_plain
from training.runs.prepare import Prepared

WATCHED = (FeatureType.categorical.value, FeatureType.numeric.value)
"""Types of features whose values have bins; lists, texts and vectors have none."""


def reference_statistics(prepared: Prepared, config: TrainConfig) -> Reference:
    """Returns the statistics of the last part of the events, with hours of all of them.

    The last part, for it is most like the first log after the release.
    """
    split = prepared.split
    parts = (split.test, split.validation, prepared.events)
    later = next(part for part in parts if not part.is_empty())
    data = as_plain(config)["data"]
    assert isinstance(data, dict), "a config is mappings of mappings"
    catalog = prepared.dataset.catalog
    view, whole = (as_watched(events, data, catalog) for events in (later, prepared.events))
    return fit_log(view, whole.hours)


def as_watched(events: pl.DataFrame, data: Mapping[str, Any], catalog: Catalog) -> LogView:
    """Returns a log as it is watched, for the reference and for what is held against it alike.

    Args:
        events: Canonical columns.
        data: The run's config of its data, as plain JSON: a manifest has it so.
        catalog: Of the bundle.
    """
    features = data.get("features") or {}
    own = [name for name in _columns(features.get("item") or {}) if name in catalog.attributes.columns]
    kind = pl.Series(
        "kind", [ItemKind.ad.value if ad else ItemKind.content.value for ad in catalog.is_ad[1:]]
    )
    attributes = pl.DataFrame({"item_id": list(catalog.item_ids.ids)}, schema={"item_id": pl.String})
    return view_log(
        events,
        list(data["kinds"]),
        _columns(features.get("context") or {}),
        # A catalog of one kind has nothing to shift there, and its bin never changes.
        attributes.hstack([kind, *catalog.attributes.select(own).get_columns()]),
    )


def _columns(features: Mapping[str, Any]) -> list[str]:
    """Returns the columns of features whose values have bins, each once."""
    return list(
        dict.fromkeys(
            feature.get("column") or name for name, feature in features.items() if feature["type"] in WATCHED
        )
    )
