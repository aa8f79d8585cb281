"""Says how probable a click on each exposure of a log was, by the head of the bundle it is held against."""

from collections.abc import Mapping
from typing import Any  # of JSON

import numpy as np
import polars as pl

from marquee.bundle.bundle import Bundle
from marquee.core.arrays import Float64Array
from marquee.core.event_kinds import EventKind
from marquee.data.exposures import Exposures, missing_for_clicks, read_exposures
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Request
from marquee.errors import DataError
from marquee.evaluation.drift.scored import scored_rows

MAX_REQUESTS = 5_000
"""Requests that are asked again: more would tell nothing that matters, and take minutes."""


def score_log(
    bundle: Bundle, events: pl.DataFrame, data: Mapping[str, Any], column: str = ""
) -> pl.DataFrame | str:
    """Returns the exposures of a log with the probability of a click on each; or why there are none.

    Of a long log every so manieth request is asked, so that all of its time is judged.

    Args:
        bundle: Whose head says it.
        events: Canonical columns.
        data: The run's config of its data, as plain JSON.
        column: Of the log, that holds what was said at the time; empty to ask the head.

    Raises:
        DataError: If there is no such column.
    """
    # A log without any click is judged: they may have been lost.
    if "request_id" not in events.columns or not (events["kind"] == EventKind.exposure.value).any():
        return missing_for_clicks(events)
    shown = read_exposures(events, bundle.catalog.item_ids)
    if not len(shown):
        return "the log shows no item of the bundle"
    if column:
        if column not in shown.frame.columns:
            raise DataError(f"the log has no column {column!r} of a score, it has {shown.frame.columns}")
        said = shown.frame[column].cast(pl.Float64, strict=False).to_numpy()
        return scored_rows(said, shown.is_clicked, shown.frame["timestamp"])
    recommender = Recommender(bundle)
    if recommender.scorer is None:
        return "the bundle has no click head; train it with probabilities=cross"
    some = _some_requests(shown)
    return scored_rows(_asked(recommender, some.frame, data), some.is_clicked, some.frame["timestamp"])


def _some_requests(shown: Exposures) -> Exposures:
    """Returns the exposures of at most `MAX_REQUESTS` requests, spread over the log."""
    requests = shown.frame["request_id"].unique(maintain_order=True)
    step = -(-len(requests) // MAX_REQUESTS)
    is_asked = shown.frame["request_id"].is_in(requests.gather_every(step).implode())
    return Exposures(
        shown.frame.filter(is_asked),
        shown.is_clicked[is_asked.to_numpy()],
        shown.n_left_out,
        shown.n_clicks_alone,
    )


def _asked(recommender: Recommender, shown: pl.DataFrame, data: Mapping[str, Any]) -> Float64Array:
    """Returns the probability of a click on each exposure, (n,); NaN where the head says none."""
    features = (data.get("features") or {}).get("context") or {}
    columns = {feature.get("column") or name for name, feature in features.items()} & set(shown.columns)
    # The moment of a request is a field of its own.
    columns -= {"timestamp"}
    said = np.full(shown.height, np.nan)
    rows = shown.with_row_index("row")
    for (_,), places in rows.group_by("request_id", maintain_order=True):
        first = places.row(0, named=True)
        request = Request(
            user_id=None if first["user_id"] is None else str(first["user_id"]),
            timestamp=int(first["timestamp"]),
            # A missing value is not sent: null is no category.
            context={column: first[column] for column in columns if first[column] is not None},
            surface=None if first.get("surface") is None else str(first["surface"]),
        )
        items = places["item_id"].cast(pl.String).to_list()
        said[places["row"].to_numpy()] = recommender.probabilities(request, items, _positions(places)).click
    return said


def _positions(places: pl.DataFrame) -> list[int]:
    """Returns where each item stood; in their order where the log does not say it."""
    if "position" not in places.columns:
        return list(range(1, places.height + 1))
    return places["position"].fill_null(1).to_list()
