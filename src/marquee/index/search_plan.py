"""Decides which way to search is cheapest: what each costs, counted in rows of a scan of all item vectors.

A scan of n rows costs n. Copying rows out costs more per row, but only for those that are allowed; a graph
visits few rows, but in no order. The ratios below carry from machine to machine better than times do:
`python -m benchmarks.retrieval` measures them and where the ways cross, and says if the choice was wrong.
"""

from marquee.index.faiss_index import BLAS_BATCH, GRAPH_KINDS, LOSSY_KINDS, IndexConfig, IndexKind

GATHERED_ROW_COST = 5.0
"""Cost of copying out one row, beside scanning it."""
GRAPH_STEP_COST = 240.0
"""Cost of one unit of `ef_search` in a graph of `GRAPH_STEP_LINKS` links per item."""
GRAPH_STEP_LINKS = 32
CODE_COST = 0.8
"""Cost of scanning the code of one row."""
SCORED_ROW_COST = 10.0
"""Cost of scoring one candidate exactly."""
BATCH_COST = 0.6
"""Cost of scanning one row for each query of a batch, from `BLAS_BATCH` queries on."""


def exact_cost(n_items: int, n_allowed: int, batch: int) -> float:
    """Returns the cost per query of the cheaper exact search."""
    return min(_gather_cost(n_allowed, batch), _scan_cost(n_items, batch))


def is_gathering_cheaper(n_items: int, n_allowed: int, batch: int) -> bool:
    """Returns True if the allowed rows are copied out, rather than all scanned and the others dropped."""
    return _gather_cost(n_allowed, batch) <= _scan_cost(n_items, batch)


def ann_cost(config: IndexConfig, n_items: int, n_lists: int, n_candidates: int, effort: float) -> float:
    """Returns the cost per query of a search of the ANN index.

    Args:
        config: How it is searched.
        n_items: Items in it.
        n_lists: Its inverted lists, 0 for a kind that has none.
        n_candidates: How many candidates it is asked for.
        effort: Multiplies the configured effort.
    """
    scoring = SCORED_ROW_COST * n_candidates if config.kind in LOSSY_KINDS else 0.0
    if config.kind in GRAPH_KINDS:
        # A graph search keeps at least as many candidates as it is asked for.
        steps = max(config.ef_search * effort, n_candidates)
        # Each step looks at every link of the item that it visits.
        return scoring + GRAPH_STEP_COST * steps * config.n_links / GRAPH_STEP_LINKS
    if not n_lists:
        return scoring + CODE_COST * n_items
    scanned = min(config.n_probe * effort / n_lists, 1.0) * n_items
    # The centres of all lists are compared first, one row each.
    return scoring + n_lists + scanned * (CODE_COST if config.kind is IndexKind.pq else 1.0)


def _scan_cost(n_items: int, batch: int) -> float:
    """Returns the cost per query of scanning all rows."""
    return n_items * (BATCH_COST if batch >= BLAS_BATCH else 1.0)


def _gather_cost(n_allowed: int, batch: int) -> float:
    """Returns the cost per query of copying the allowed rows out, once for a batch, and scanning them."""
    # Copied once, whatever the number of queries.
    return n_allowed * GATHERED_ROW_COST / batch + _scan_cost(n_allowed, batch)
