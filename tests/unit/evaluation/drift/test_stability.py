"""Bins of a reference, the index, and what chance makes of it."""

import json

import numpy as np
import polars as pl
import pytest

from marquee.errors import DataError
from marquee.evaluation.drift.bins import Bins
from marquee.evaluation.drift.stability import compare_column, index_by_chance, stability_index


def test_numbers_are_cut_where_the_reference_has_its_tenths() -> None:
    bins = Bins.fit(pl.Series("age", np.arange(1000.0)))
    assert bins.counts.tolist() == [100] * 10 + [0]
    assert bins.count(pl.Series("age", [-5.0, 5000.0, None, float("nan")])).tolist() == [1, *[0] * 8, 1, 2]
    assert bins.labels[-1] == "(missing)"
    assert len(bins.labels) == len(bins.counts)


def test_new_and_missing_categories_have_bins_of_their_own() -> None:
    bins = Bins.fit(pl.Series("job", ["cook", "cook", "smith", None]))
    assert bins.labels == ("cook", "smith", "(rare)", "(new)", "(missing)")
    assert bins.counts.tolist() == [2, 1, 0, 0, 1]
    assert bins.count(pl.Series("job", ["smith", "pilot", "", None])).tolist() == [0, 1, 0, 1, 2]


def test_categories_beyond_the_most_frequent_share_a_bin() -> None:
    names = [f"c{n:02d}" for n in range(60) for _ in range(60 - n)]
    bins = Bins.fit(pl.Series("c", names))
    assert len(bins.categories) == 50
    assert bins.counts[50] == sum(range(1, 11))
    assert bins.count(pl.Series("c", ["c59", "c00", "x"]))[[0, 50, 51]].tolist() == [1, 1, 1]


@pytest.mark.parametrize("values", [pl.Series("x", np.arange(50.0)), pl.Series("x", ["a", "b", None])])
def test_bins_travel_as_json(values: pl.Series) -> None:
    bins = Bins.fit(values)
    read = Bins.from_json_dict(json.loads(json.dumps(bins.to_json_dict())))
    assert (read.name, read.edges, read.categories, read.rare) == (
        bins.name,
        bins.edges,
        bins.categories,
        bins.rare,
    )
    assert read.count(values).tolist() == bins.counts.tolist() == read.counts.tolist()


def test_what_is_no_reference_is_refused() -> None:
    with pytest.raises(DataError, match="column 'x' of the reference has no value at all"):
        Bins.fit(pl.Series("x", [None, ""], dtype=pl.String))
    with pytest.raises(DataError, match="these are no bins of a reference: KeyError"):
        Bins.from_json_dict({"name": "x"})
    bins = Bins.fit(pl.Series("x", np.arange(50.0)))
    with pytest.raises(DataError, match=r"was numbers in the reference, now 1 of 2 rows hold none"):
        bins.count(pl.Series("x", ["a", "3"]))


def test_index_is_the_sum_that_the_book_gives() -> None:
    reference, current = np.array([500, 300, 200]), np.array([20, 50, 30])
    before, now = reference / 1000, current / 100
    expected = sum((q - p) * np.log(q / p) for p, q in zip(before, now, strict=True))
    added, index = stability_index(reference, current)
    assert float(index) == pytest.approx(expected)
    assert added.sum() == pytest.approx(expected)


def test_index_of_empty_bins_is_finite_and_of_equal_shares_nothing() -> None:
    _, index = stability_index(np.array([90, 10, 0]), np.array([0, 10, 0]))
    assert np.isfinite(index)
    _, same = stability_index(np.array([900, 100, 0]), np.array([9, 1, 0]))
    assert float(same) == 0.0


@pytest.mark.parametrize("n_current", [50, 200, 2000])
def test_stable_samples_seldom_pass_what_chance_makes(n_current: int) -> None:
    rng = np.random.default_rng(7)
    reference = rng.multinomial(5000, np.full(10, 0.1))
    limit = index_by_chance(reference, n_current, rng, level=0.05)
    before = rng.multinomial(5000, np.full(10, 0.1), size=2000)
    _, indices = stability_index(before, rng.multinomial(n_current, np.full(10, 0.1), size=2000))
    assert 0.03 < (indices > limit).mean() < 0.07
    assert index_by_chance(reference, n_current, rng, n_together=500) > limit


def test_small_samples_need_more_and_a_true_shift_is_found() -> None:
    bins = Bins.fit(pl.Series("x", np.arange(1000.0)))
    few = compare_column(bins, bins.count(pl.Series("x", np.arange(500.0, 530.0))), np.random.default_rng(0))
    assert few.index > 0.2
    assert few.has_drifted
    rng = np.random.default_rng(1)
    stable = compare_column(bins, bins.count(pl.Series("x", rng.uniform(0, 1000, 30))), rng)
    assert stable.index > 0.2, "by the rule of thumb this would be an alarm"
    assert not stable.has_drifted


def test_drift_without_rows_is_refused() -> None:
    with pytest.raises(DataError, match="drift needs rows on both sides, got 5 and 0"):
        index_by_chance(np.array([2, 3]), 0, np.random.default_rng(0))
