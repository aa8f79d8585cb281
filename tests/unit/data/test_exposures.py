import polars as pl
import pytest

from marquee.core.ids import IdMap
from marquee.data.exposures import missing_for_clicks, read_exposures

ROWS = [
    ("r1", "a", "exposure", 30),
    ("r1", "a", "exposure", 31),  # shown twice in one request
    ("r1", "new", "exposure", 32),  # outside the catalog
    ("r1", "a", "click", 33),
    ("r1", "a", "click", 34),  # one exposure is clicked once
    ("r0", "a", "exposure", 10),
    (None, "b", "exposure", 11),  # of no request
    ("r0", "b", "click", 12),  # without an exposure
]
FRAME = pl.DataFrame(ROWS, schema=["request_id", "item_id", "kind", "timestamp"], orient="row")


def test_a_click_is_one_of_the_exposure_in_its_request() -> None:
    exposures = read_exposures(FRAME, IdMap.fit(["a", "b"]))
    assert exposures.frame["timestamp"].to_list() == [10, 30]
    assert exposures.is_clicked.tolist() == [False, True]
    assert (exposures.n_left_out, exposures.n_clicks_alone) == (2, 1)


def test_some_of_the_exposures_keep_the_counts_of_all() -> None:
    later = read_exposures(FRAME, IdMap.fit(["a", "b"])).rows(slice(1, None))
    assert (len(later), later.is_clicked.tolist(), later.n_left_out) == (1, [True], 2)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (FRAME, ""),
        (FRAME.drop("request_id"), "events have no column request_id"),
        (FRAME.filter(pl.col("kind") == "click"), "the part judged has no exposure"),
        (FRAME.clear(), "the part judged has no exposure and no click"),
    ],
    ids=["complete", "no requests", "no exposures", "nothing"],
)
def test_what_is_missing_for_clicks_is_named(frame: pl.DataFrame, reason: str) -> None:
    assert missing_for_clicks(frame).startswith(reason)
    assert bool(missing_for_clicks(frame)) is bool(reason)
