"""Finds the best items under a mask: for one query fast, for all queries exactly, with one tie rule."""

from typing import TYPE_CHECKING

from marquee.core.faces import lazy

if TYPE_CHECKING:
    from marquee.index.building import build_index, measure_recall
    from marquee.index.choice import choose_index
    from marquee.index.faiss_index import IndexConfig, IndexKind
    from marquee.index.index import Index
    from marquee.index.query_batch import SearchResult
    from marquee.index.ranking import inner_product_scores, rank

__all__ = [
    "Index",
    "IndexConfig",
    "IndexKind",
    "SearchResult",
    "build_index",
    "choose_index",
    "inner_product_scores",
    "measure_recall",
    "rank",
]

__getattr__ = lazy(
    __name__,
    {
        "Index": "index",
        "IndexConfig": "faiss_index",
        "IndexKind": "faiss_index",
        "SearchResult": "query_batch",
        "build_index": "building",
        "choose_index": "choice",
        "inner_product_scores": "ranking",
        "measure_recall": "building",
        "rank": "ranking",
    },
)
