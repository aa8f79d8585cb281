"""Segments: fifths with ties, clusters that seeds agree on, names that stay with their people."""

from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import normalized_mutual_info_score

from marquee.data.table_config import TableConfig
from marquee.errors import ConfigError, DataError
from marquee.marketing.config import CustomersConfig
from marquee.marketing.running import CustomersResult, Previous, run_customers
from marquee.marketing.segments.clusters import find_clusters, mutual_information
from marquee.marketing.segments.config import SegmentConfig
from marquee.marketing.segments.naming import distinguish, keep_names, unique_names
from marquee.marketing.segments.rfm import fifths, rfm_names
from tests.support.purchases import purchases


def test_fifths_hold_a_fifth_each_and_keep_ties_together() -> None:
    assert Counter(fifths(np.arange(100.0)).tolist()) == dict.fromkeys(range(1, 6), 20)
    tied = fifths(np.repeat([1.0, 2.0, 9.0], [57, 23, 20]))
    assert [set(part.tolist()) for part in np.split(tied, [57, 80])] == [{3}, {4}, {5}]


@pytest.mark.parametrize(
    ("r", "f", "name"),
    [
        (5, 4, "champions"),
        (3, 5, "loyal"),
        (1, 4, "at risk"),
        (4, 3, "promising"),
        (3, 1, "fading"),
        (2, 3, "hibernating"),
    ],
)
def test_every_combination_has_its_name(r: int, f: int, name: str) -> None:
    assert rfm_names(np.array([r]), np.array([f])).tolist() == [name]


def test_mutual_information_is_that_of_a_library() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 4, 300), rng.integers(0, 6, 300)
    other[:150] = one[:150]
    assert mutual_information(one, other) == pytest.approx(
        normalized_mutual_info_score(one, other), abs=1e-12
    )


def test_clusters_that_are_there_are_found_and_counted() -> None:
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    truth = np.repeat([0, 1, 2], [200, 150, 120])
    found = find_clusters(centres[truth] + rng.normal(0, 1, (470, 2)), 0, 5, 100, 0)
    assert mutual_information(found.label, truth) == 1.0
    assert np.bincount(found.label).tolist() == [200, 150, 120]
    assert found.agreement[3] == 1.0


def test_too_few_customers_are_refused() -> None:
    with pytest.raises(DataError, match="need 200 customers, got 150"):
        find_clusters(np.zeros((150, 2)), 0, 4, 100, 0)


def test_what_sets_members_apart_comes_strongest_first() -> None:
    rows = pl.DataFrame({"genre": ["Sci-Fi"] * 50 + ["Drama"] * 50, "age": [20.0] * 45 + [50.0] * 55})
    found = distinguish(rows, np.arange(100) < 50, ["genre", "age"])
    assert [trait.words for trait in found] == ["Sci-Fi", "low age"]
    assert (found[0].inside, found[0].outside) == (1.0, 0.5)


def test_names_are_unique_even_where_nothing_sets_apart() -> None:
    names = unique_names(["", "", "champions"], [[], [], ["Sci-Fi", "weekly"]])
    assert names == ["like all", "like all · 2", "champions · Sci-Fi · weekly"]


def test_a_name_stays_with_its_people() -> None:
    ids = [f"u{row}" for row in range(10)]
    earlier = dict(zip(ids, ["old a"] * 5 + ["old b"] * 5, strict=True))
    now = np.array(["x"] * 4 + ["y"] * 6, dtype=object)
    assert keep_names(now, ids, earlier) == {"x": "old a", "y": "old b"}


def test_a_group_of_other_people_gets_a_name_of_its_own() -> None:
    ids = [f"u{row}" for row in range(10)]
    earlier = dict(zip(ids, ["old a", "old b"] * 5, strict=True))
    assert keep_names(np.array(["x"] * 5 + ["y"] * 5, dtype=object), ids, earlier) == {}


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"by": "age"}, "by must be rfm or clusters"),
        ({"k": 3}, "are for clusters"),
        ({"by": "clusters", "k": 1}, "k must"),
    ],
)
def test_wrong_declarations_are_named(declared: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        SegmentConfig(**declared)  # type: ignore[arg-type] # that is the point


def run(folder: Path, previous: Previous, as_of: str = "") -> CustomersResult:
    """Returns segments of the purchases in a folder."""
    config = CustomersConfig(
        name="shop",
        root=str(folder),
        transactions=TableConfig(path="purchases.csv"),
        as_of=as_of,
        traits={"group": {"type": "segment", "min_size": 20}},
    )
    return run_customers(config, previous)


def test_purchases_alone_give_named_segments_that_hold_their_people(tmp_path: Path) -> None:
    purchases().write_csv(tmp_path / "purchases.csv")
    result = run(tmp_path, Previous())
    judged = result.traits[0].judged
    by_name = {row.name: row for row in judged.rows}
    # Two hundred customers buy every week until the end.
    weekly = by_name["champions · weekly"]
    assert weekly.n == pytest.approx(200, abs=10)
    assert weekly.value_share > 0.6
    assert sum(row.n for row in judged.rows) == 600
    assert judged.n_common == 0


def test_second_run_counts_moves_and_keeps_names(tmp_path: Path) -> None:
    purchases().write_csv(tmp_path / "purchases.csv")
    first = run(tmp_path, Previous(), as_of="2026-09-01")
    second = run(tmp_path, Previous("first", {}, first.rows))
    judged = second.traits[0].judged
    assert judged.n_stayed + sum(judged.moves.values()) == judged.n_common == first.rows.height
    assert "champions · weekly" in {row.name for row in judged.rows}
    assert judged.n_stayed > 0.8 * judged.n_common
