"""Counts of exposures and clicks travel in a bundle, and are those of the surface that is asked for."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from marquee.bundle.bundle import Bundle
from marquee.bundle.click_counts import ClickCountTable
from marquee.core.ids import IdMap
from marquee.errors import BundleError, DataError
from tests.support.bundles import publish_tiny

IDS = IdMap(("a", "b", "c", "d"))


def counts(*rows: tuple[str | None, str, int, int]) -> pl.DataFrame:
    schema = {"surface": pl.String, "item_id": pl.String, "shown": pl.Int64, "clicked": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


FRAME = counts((None, "a", 9, 1), ("home", "c", 50, 7), ("home", "a", 30, 0), ("home", "gone", 4, 4))


@pytest.mark.parametrize(
    ("surface", "clicked", "shown"),
    [
        ("home", [0, 7, 0, 0, 0], [0, 50, 30, 0, 0]),
        (None, [0, 0, 1, 0, 0], [0, 0, 9, 0, 0]),
        ("never asked", [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]),
    ],
)
def test_counts_are_those_of_the_surface(surface: str | None, clicked: list[int], shown: list[int]) -> None:
    table = ClickCountTable.of(FRAME, IDS)
    found = table.on(surface).of(np.array([2, 3, 1, 4, 99]))  # the last is a live item
    np.testing.assert_array_equal(found, [clicked, shown])


def test_counts_of_nothing_are_nothing() -> None:
    clicked, shown = ClickCountTable.of(counts(), IDS).on("home").of(np.array([1, 2]))
    assert clicked.tolist() == shown.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("frame", "problem"),
    [
        (FRAME.drop("shown"), r"got no \['shown'\]"),
        (counts(("home", "a", 3, 4)), "clicked must be from 0 to shown"),
        (counts(("home", "a", 3, -1)), "clicked must be from 0 to shown"),
    ],
)
def test_counts_that_cannot_be_are_refused(frame: pl.DataFrame, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        ClickCountTable.of(frame, IDS)


def test_bundle_brings_its_counts_or_says_that_it_has_none(tmp_path: Path) -> None:
    with_counts = Bundle.load(publish_tiny(tmp_path, click_counts=counts(("home", "i002", 8, 3))))
    without = Bundle.load(publish_tiny(tmp_path, seed=1))
    assert without.click_counts is None
    assert with_counts.click_counts is not None
    assert [one.tolist() for one in with_counts.click_counts.on("home").of(np.array([2]))] == [[3], [8]]


def test_bundle_with_impossible_counts_is_not_loaded(tmp_path: Path) -> None:
    path = publish_tiny(tmp_path, click_counts=counts(("home", "i002", 3, 8)))
    with pytest.raises(BundleError, match=r"click_counts\.parquet"):
        Bundle.load(path)
