"""An event log as a table that can be watched: one row per exposure, and the pulse of the traffic by hour.

A log without exposures is watched by the events that count. Attributes of items come from the catalog, so
that a log need not repeat them; of users there are none, for a bundle holds no values of theirs.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any  # of JSON

import polars as pl

from marquee.core.catalog import Catalog, ItemKind
from marquee.core.event_kinds import EventKind
from marquee.evaluation.drift.hours import HOURS_OF_WEEK, SECONDS_PER_HOUR
from marquee.evaluation.drift.reference import Hours, Reference
from marquee.features.config import FeatureType

MAX_WEEKS = 12
"""Weeks of hours that a reference keeps: a median needs few, and what was usual a year ago is no measure."""

MIN_PER_HOUR = 30
"""Rows that an hour needs: the rate of fewer is noise, whatever the hour."""

PAIR = ("request_id", "item_id")
_LOGGED = ("kind", "surface", "position", "policy", "propensity")
ITEM = "item "
"""Before the name of an item's attribute: the log may have a column of the same name."""


WATCHED = (FeatureType.categorical.value, FeatureType.numeric.value)
"""Types of features whose values have bins; lists, texts and vectors have none."""


@dataclass(frozen=True)
class LogView:
    """A log to be watched.

    Attributes:
        rows: A row per exposure, or per event that counts.
        hours: Measure → its hours.
    """

    rows: pl.DataFrame
    hours: Mapping[str, Hours]


def view_log(
    events: pl.DataFrame,
    counted: Collection[str],
    context: Sequence[str],
    items: pl.DataFrame,
) -> LogView:
    """Returns a log as it is watched.

    Args:
        events: With `user_id`, `item_id`, `timestamp` and `kind`; of exposures also what is known of them.
        counted: Kinds of events that a model counts.
        context: Columns that requests state.
        items: Attributes of items to watch, with `item_id`.
    """
    shown = events.filter(pl.col("kind").cast(pl.String) == EventKind.exposure.value)
    base = shown if shown.height else events.filter(pl.col("kind").cast(pl.String).is_in(list(counted)))
    # The kind says something only where there are several.
    logged = [name for name in (*_LOGGED, *context) if name in base.columns and name != "timestamp"]
    if shown.height:
        logged.remove("kind")
    text = pl.col("item_id").cast(pl.String)
    rows = base.select(
        "timestamp",
        text,
        *[pl.col(name) for name in dict.fromkeys(logged)],
    )
    renamed = items.rename({name: ITEM + name for name in items.columns if name != "item_id"})
    rows = rows.join(renamed, on="item_id", how="left", maintain_order="left").drop("item_id")
    return LogView(rows, _hours(events, shown))


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


def fit_log(view: LogView, of_hours: Mapping[str, Hours] | None = None) -> Reference:
    """Returns the statistics of a log.

    Args:
        view: The part whose rows are the reference.
        of_hours: Hours of a longer part, for an hour needs earlier weeks; None for those of the view.
    """
    names = [name for name in view.rows.columns if name != "timestamp"]
    fitted = Reference.fit(view.rows, names, "timestamp")
    hours = view.hours if of_hours is None else of_hours
    since = (fitted.last or 0) - MAX_WEEKS * HOURS_OF_WEEK * SECONDS_PER_HOUR
    latest = {
        name: Hours(one.time[one.time > since], one.values[one.time > since]) for name, one in hours.items()
    }
    return replace(fitted, hours=latest)


def _hours(events: pl.DataFrame, shown: pl.DataFrame) -> dict[str, Hours]:
    """Returns the measures of the traffic, as far as the log tells them."""
    values = events.filter(pl.col("value").is_not_null()) if "value" in events.columns else events[:0]
    found = {}
    if values.height:
        found["price"] = Hours.of(
            values, "timestamp", pl.col("value").cast(pl.Float64, strict=False).mean(), MIN_PER_HOUR
        )
    if not shown.height or "request_id" not in events.columns:
        return found
    clicks = events.filter(pl.col("kind").cast(pl.String) == EventKind.click.value).unique(PAIR)
    joined = shown.join(
        clicks.select(*PAIR, is_clicked=pl.lit(1.0)), on=list(PAIR), how="left", maintain_order="left"
    )
    measures: dict[str, pl.Expr] = {
        "click rate": pl.col("is_clicked").fill_null(0.0).mean(),
        "fill": pl.len() / pl.col("request_id").n_unique(),
        "coverage": pl.col("item_id").n_unique() / pl.len(),
    }
    if "propensity" in shown.columns:
        # Weights of a candidate that would show all alike: how many of the exposures speak about others.
        weight = 1 / pl.col("propensity").cast(pl.Float64, strict=False)
        measures["effective sample share"] = weight.sum() ** 2 / (weight**2).sum() / pl.len()
    if "latency_ms" in shown.columns:
        measures["latency"] = pl.col("latency_ms").cast(pl.Float64, strict=False).median()
    found |= {
        name: Hours.of(joined, "timestamp", measure, MIN_PER_HOUR) for name, measure in measures.items()
    }
    return found
