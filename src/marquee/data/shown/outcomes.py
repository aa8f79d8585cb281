"""Exposures as arrays: who was shown what, where and when, and when it was clicked and led to a conversion.

A conversion belongs to the click of the same item in the same request. Does not say what was known before.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from marquee.core.arrays import BoolArray, IndexArray
from marquee.core.event_kinds import EventKind
from marquee.core.ids import IdMap, Ids
from marquee.core.schema import POSITION, SURFACE, TIMESTAMP
from marquee.data.exposures import PAIR, read_exposures

NEVER = -1
_REACTION = "reaction"


@dataclass(frozen=True)
class ShownItems:
    """Exposures in the order of time, (n,) each unless said otherwise.

    Attributes:
        frame: One row per request: its user, moment and context, (n_requests,) rows.
        request: Row of the request.
        user: user_index of those who know themselves by the given ids; 0 for others.
        item: item_index, never 0.
        surface: Name, empty where none is known.
        position: From 1; 0 where none is known.
        timestamp: Seconds.
        clicked_at: Seconds, `NEVER` for no click.
        reacted_at: Seconds of the first event of any kind on it, `NEVER` for none.
        converted_at: Seconds of the first conversion of a click, `NEVER` for none.
        n_left_out: Exposures of items outside the catalog, and repeated ones.
        n_conversions_alone: Conversions of no click of an exposure.
    """

    frame: pl.DataFrame
    request: IndexArray
    user: IndexArray
    item: IndexArray
    surface: npt.NDArray[np.str_]
    position: IndexArray
    timestamp: IndexArray
    clicked_at: IndexArray
    reacted_at: IndexArray
    converted_at: IndexArray
    n_left_out: int
    n_conversions_alone: int

    def __len__(self) -> int:
        return len(self.item)

    @property
    def is_clicked(self) -> BoolArray:
        """Which were clicked."""
        return np.asarray(self.clicked_at != NEVER)

    @property
    def is_converted(self) -> BoolArray:
        """Which led to a conversion, as far as is known."""
        return np.asarray(self.converted_at != NEVER)


def read_shown(events: pl.DataFrame, user_ids: Ids, item_ids: IdMap) -> ShownItems:
    """Returns the exposures of a table with what came of them.

    Args:
        events: Canonical events with `request_id`.
        user_ids: Users who have an index.
        item_ids: Of the catalog.
    """
    found = read_exposures(events, item_ids)
    shown = found.frame.drop("is_clicked")
    clicks, conversions = _first(events, EventKind.click), _first(events, EventKind.conversion)
    shown = shown.join(clicks, on=PAIR, how="left", maintain_order="left")
    n_clicked_pairs = shown.filter(pl.col(EventKind.click.value).is_not_null())
    shown = shown.join(conversions, on=PAIR, how="left", maintain_order="left")
    shown = shown.join(_first(events, None), on=PAIR, how="left", maintain_order="left")
    click, conversion, reaction = (
        shown[name].fill_null(NEVER).to_numpy().astype(np.int64)
        for name in (EventKind.click.value, EventKind.conversion.value, _REACTION)
    )
    requests = shown.unique("request_id", keep="first", maintain_order=True)
    row_of = requests.select("request_id").with_row_index("row")
    rows = shown.select("request_id").join(row_of, on="request_id", how="left", maintain_order="left")["row"]
    return ShownItems(
        frame=requests,
        request=rows.to_numpy().astype(np.int64),
        user=user_ids.encode(shown["user_id"]),
        item=item_ids.encode(shown["item_id"]),
        surface=_texts(shown, SURFACE),
        position=_numbers(shown, POSITION),
        timestamp=shown[TIMESTAMP].to_numpy().astype(np.int64),
        clicked_at=click,
        reacted_at=reaction,
        # A conversion without a click of ours is another's: see `n_conversions_alone`.
        converted_at=np.where(click == NEVER, NEVER, conversion),
        n_left_out=found.n_left_out,
        n_conversions_alone=conversions.join(n_clicked_pairs, on=PAIR, how="anti").height,
    )


def _first(events: pl.DataFrame, kind: EventKind | None) -> pl.DataFrame:
    """Returns the first event of a kind for each pair of request and item, its moment under the kind's name.

    None for any kind but exposures.
    """
    is_wanted = pl.col("kind") != EventKind.exposure if kind is None else pl.col("kind") == kind
    rows = events.filter(is_wanted & pl.col("request_id").is_not_null())
    name = _REACTION if kind is None else kind.value
    return rows.group_by(PAIR).agg(pl.col(TIMESTAMP).min().alias(name))


def _texts(frame: pl.DataFrame, column: str) -> npt.NDArray[np.str_]:
    """Returns a column as texts, empty where there is none."""
    if column not in frame.columns:
        return np.full(len(frame), "", dtype=np.str_)
    return frame[column].cast(pl.String).fill_null("").to_numpy().astype(np.str_)


def _numbers(frame: pl.DataFrame, column: str) -> IndexArray:
    """Returns a column as whole numbers, 0 where there is none."""
    if column not in frame.columns:
        return np.zeros(len(frame), dtype=np.int64)
    return frame[column].fill_null(0).to_numpy().astype(np.int64)
