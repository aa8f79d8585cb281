"""Which way to search is chosen, as the numbers of items, allowed items and queries grow."""

import pytest

from marquee.index.faiss_index import IndexConfig, IndexKind
from marquee.index.search_plan import ann_cost, exact_cost, is_gathering_cheaper

HNSW = IndexConfig(kind=IndexKind.hnsw, ef_search=100)


@pytest.mark.parametrize(
    ("n_allowed", "batch", "expected"), [(166, 1, True), (167, 1, False), (167, 32, True)]
)
def test_few_rows_are_copied_out_and_a_batch_shares_the_copy(
    n_allowed: int, batch: int, expected: bool
) -> None:
    assert is_gathering_cheaper(1000, n_allowed, batch) is expected


def test_exact_search_costs_no_more_than_a_scan() -> None:
    costs = [exact_cost(1_000_000, n_allowed, 1) for n_allowed in (0, 1000, 100_000, 300_000, 1_000_000)]
    assert costs == [0.0, 6000.0, 600_000.0, 1_000_000.0, 1_000_000.0]
    assert exact_cost(1_000_000, 1_000_000, 32) < 1_000_000


def test_graph_costs_what_it_visits_and_pays_in_large_catalogs_only() -> None:
    assert ann_cost(HNSW, 1_000_000, 0, 10, 1.0) == ann_cost(HNSW, 1000, 0, 10, 1.0)
    assert ann_cost(HNSW, 1_000_000, 0, 10, 4.0) == 4 * ann_cost(HNSW, 1_000_000, 0, 10, 1.0)
    assert ann_cost(HNSW, 1_000_000, 0, 500, 1.0) == 5 * ann_cost(HNSW, 1_000_000, 0, 100, 1.0)
    pays = {n for n in (10_000, 100_000, 1_000_000) if ann_cost(HNSW, n, 0, 10, 1.0) < exact_cost(n, n, 1)}
    assert pays == {100_000, 1_000_000}


@pytest.mark.parametrize("kind", [IndexKind.ivf, IndexKind.pq])
def test_lists_cost_what_is_scanned_and_never_more_than_all(kind: IndexKind) -> None:
    config = IndexConfig(kind=kind, n_probe=10)
    few, more, all_ = (ann_cost(config, 100_000, 1000, 10, effort) for effort in (1.0, 2.0, 1000.0))
    assert few < more < all_ <= 101_000


def test_codes_cost_a_scan_of_all() -> None:
    config = IndexConfig(kind=IndexKind.sq8)
    assert ann_cost(config, 1000, 0, 10, 1.0) == ann_cost(config, 1000, 0, 10, 9.0)
    assert ann_cost(config, 1000, 0, 10, 1.0) < 1000 < ann_cost(config, 1000, 0, 50, 1.0)
