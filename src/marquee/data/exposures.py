"""Pairs what was shown with the clicks on it, and asks for each request what its user is asked with.

A click belongs to the exposure of the same item in the same request. Does not score and does not judge.
"""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from marquee.core.arrays import BoolArray, IndexArray
from marquee.core.event_kinds import EventKind
from marquee.core.ids import PADDING_INDEX, IdMap
from marquee.data.dataset import Dataset, QueryArrays
from marquee.data.query_features import with_context
from marquee.features import FeatureArrays

PAIR = ["request_id", "item_id"]


@dataclass(frozen=True)
class Exposures:
    """Exposures and their clicks, in the order of time.

    Attributes:
        frame: One row per exposure of an item of the catalog.
        is_clicked: (n,) bool.
        n_left_out: Exposures of items outside the catalog, and repeated ones.
        n_clicks_alone: Clicks without an exposure.
    """

    frame: pl.DataFrame
    is_clicked: BoolArray
    n_left_out: int
    n_clicks_alone: int

    def rows(self, rows: slice) -> "Exposures":
        """Returns some of the exposures; the counts stay those of all."""
        return replace(self, frame=self.frame[rows], is_clicked=self.is_clicked[rows])

    def __len__(self) -> int:
        return len(self.is_clicked)


def missing_for_clicks(frame: pl.DataFrame) -> str:
    """Returns why the clicks of a part cannot be judged; empty if they can."""
    if "request_id" not in frame.columns:
        return "events have no column request_id, by which a click is known to be one of an exposure"
    kinds = set(frame["kind"].unique().to_list())
    missing = [kind for kind in (EventKind.exposure.value, EventKind.click.value) if kind not in kinds]
    return f"the part judged has no {' and no '.join(missing)}" if missing else ""


def read_exposures(frame: pl.DataFrame, item_ids: IdMap) -> Exposures:
    """Pairs the exposures of a part with their clicks.

    Args:
        frame: Canonical events of the part.
        item_ids: Of the catalog.
    """
    shown = frame.filter((pl.col("kind") == EventKind.exposure) & pl.col("request_id").is_not_null())
    # Each pair once: a second click would repeat the exposure in the join below.
    clicks = frame.filter(pl.col("kind") == EventKind.click).unique(PAIR, maintain_order=True)
    is_known = pl.Series(item_ids.encode(shown["item_id"])) != PADDING_INDEX
    # An item shown twice in one request has one chance to be clicked, not two.
    usable = shown.filter(is_known).unique(PAIR, keep="first", maintain_order=True)
    usable = usable.join(
        clicks.select(*PAIR, is_clicked=pl.lit(True)), on=PAIR, how="left", maintain_order="left"
    )
    usable = usable.sort("timestamp", maintain_order=True)
    return Exposures(
        frame=usable,
        is_clicked=usable["is_clicked"].fill_null(False).to_numpy(),
        n_left_out=len(shown) - len(usable),
        n_clicks_alone=clicks.join(shown, on=PAIR, how="anti", nulls_equal=True).height,
    )


def request_queries(
    dataset: Dataset, exposures: Exposures, before: pl.DataFrame
) -> tuple[QueryArrays, IndexArray]:
    """Returns the query of each request, and the request of each exposure, (n_exposures,) int64.

    A user is asked with the history of before the part and the context of the request.

    Args:
        dataset: Gives indices, histories and features.
        exposures: Of the part.
        before: Canonical events up to the part.
    """
    shown = exposures.frame
    counted = next(iter(dataset.kinds.configs))  # `judged_part` asks only for kinds that count
    asked = dataset.judged_part(before, shown.with_columns(kind=pl.lit(counted)))
    row_of = {user_id: row for row, user_id in enumerate(asked.user_ids)}
    # All places of one answer share user and context: the first speaks for them.
    requests = shown.unique("request_id", keep="first", maintain_order=True)
    request_row = {request_id: row for row, request_id in enumerate(requests["request_id"])}
    queries = asked.queries.rows(np.array([row_of[user] for user in requests["user_id"]], dtype=np.int64))
    features = with_context(
        FeatureArrays(queries.tokens, queries.numeric), dataset.query_features.encode_context(requests)
    )
    rows = np.array([request_row[request_id] for request_id in shown["request_id"]], dtype=np.int64)
    return replace(queries, tokens=features.tokens, numeric=features.numeric), rows
