"""Chooses how a catalog is searched: the least effort that finds enough of the exact answer.

Decides which kinds of index are worth building for so many items of such a length, and at which search effort
they are good enough for the catalog's own users. Assumes nothing about recall or time: both are measured on
the vectors and the questions given. Leaves to others what is asked
(see `training.export`) and how it is measured (see `index_sweep`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from marquee.core.arrays import FloatArray
from marquee.index.building import build_index
from marquee.index.faiss_index import GRAPH_KINDS, IndexConfig, IndexKind
from marquee.index.index import Index
from marquee.index.search_plan import ann_cost, exact_cost
from marquee.index.sweep import Clock, IndexSweep, Questions, sweep

# Geometric, as recall grows with the logarithm of the effort; beyond the last one a scan is cheaper.
EFFORTS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
"""Values of `ef_search` that are measured."""
LARGE_BYTES = 256 * 2**20
"""Item vectors beyond this size are indexed by codes, if that reaches the target: they take a quarter."""

BuildIndex = Callable[[FloatArray, IndexConfig], Index]


@dataclass(frozen=True)
class IndexChoice:
    """An index, and why it is this one.

    Attributes:
        index: Built, with the search effort that was chosen.
        sweeps: What was measured, of every kind that was tried; the chosen one is the last.
        reason: The choice in words.
    """

    index: Index
    sweeps: tuple[IndexSweep, ...]
    reason: str

    @property
    def recall(self) -> float:
        """Share of the exact answer that the index finds, in [0, 1]."""
        return self.sweeps[-1].chosen_point.recall


def choose_index(
    item_vectors: FloatArray,
    config: IndexConfig,
    questions: Questions,
    clock: Clock,
    build: BuildIndex = build_index,
) -> IndexChoice:
    """Returns the index of all items: of the kind that the config names, or for `auto` the one that pays.

    Args:
        item_vectors: (n_items + 1, dim) float32; row 0 is padding.
        config: Which kind and how; for `auto` with the recall to reach.
        questions: What the catalog's own users ask.
        clock: Times each search.
        build: Builds an index of the kind that the config names.

    Raises:
        ShapeError: As `build_index` does.
        DataError: As `build_index` does.
    """
    if config.kind is not IndexKind.auto:
        index = build(item_vectors, config)
        return IndexChoice(index, (_measured(index, questions, clock),), f"{config.kind} was asked for")
    # Costs nothing to build, and answers where no graph pays.
    flat = build_index(item_vectors, replace(config, kind=IndexKind.flat))
    measured: list[IndexSweep] = []
    tried: list[str] = []
    for kind in kinds_worth_trying(flat.n_items, flat.dim, config):
        index = build_index(item_vectors, replace(config, kind=kind))
        curve = _measured(index, questions, clock, EFFORTS)
        enough = [point for point in curve.points if point.recall >= config.target_recall]
        # By effort and not by time: times of neighbours differ by less than they vary.
        best = min(enough, key=lambda point: point.effort, default=None)
        # Enough recall does not suffice: the exact search finds all, and is left only for a faster one.
        if best is not None and best.median_ms < curve.exact_ms:
            chosen = replace(curve, chosen=best.effort)
            # Not built anew: how hard a search tries is no part of the graph.
            index = index.searched_as(replace(index.config, ef_search=best.effort))
            return IndexChoice(index, (*measured, chosen), _praise(chosen, config.target_recall))
        # Kept for the manifest, which says why the kinds tried first are not the one.
        measured.append(curve)
        tried.append(
            f"{kind} finds at most {max(point.recall for point in curve.points):.4f}"
            if best is None
            else f"{kind} takes {best.median_ms:.3f} ms where it finds enough"
        )
    exact = _measured(flat, questions, clock)
    reason = f"flat finds everything, in {exact.exact_ms:.3f} ms"
    because = " and ".join(tried) or f"{flat.n_items:,} items are too few for a graph to pay"
    if config.target_recall == 1.0:
        because = "only an exact search finds all"
    return IndexChoice(flat, (*measured, exact), f"{reason}; {because}")


def kinds_worth_trying(n_items: int, dim: int, config: IndexConfig) -> tuple[IndexKind, ...]:
    """Returns the kinds that may beat an exact search of so many vectors, the preferred one first."""
    # A graph promises no item for certain.
    if config.target_recall == 1.0:
        return ()
    # If not even the least effort can win by the estimate, a build of minutes is spared.
    least = replace(config, kind=IndexKind.hnsw, ef_search=EFFORTS[0])
    if ann_cost(least, n_items, 0, EFFORTS[0], 1.0) >= exact_cost(n_items, n_items, 1):
        return ()
    # 4 bytes a number. Where vectors are large the codes come first, for the memory; else they only add work.
    return GRAPH_KINDS if 4 * n_items * dim <= LARGE_BYTES else GRAPH_KINDS[::-1]


def _measured(index: Index, questions: Questions, clock: Clock, efforts: tuple[int, ...] = ()) -> IndexSweep:
    """Returns recall and latency of an index at several efforts."""
    return sweep(index.searched_as, index.config, questions, clock, efforts)


def _praise(curve: IndexSweep, target: float) -> str:
    """Returns why a graph was chosen."""
    point = curve.chosen_point
    return (
        f"{curve.kind} with {curve.parameter} {curve.chosen} finds {point.recall:.4f}, at least {target:g}, "
        f"in {point.median_ms:.3f} ms; an exact search takes {curve.exact_ms:.3f} ms"
    )
