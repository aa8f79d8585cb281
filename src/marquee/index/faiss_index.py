"""All that is said to FAISS: builds, reads, writes and searches, over item_index instead of its labels.

Decides how an `IndexConfig` becomes a FAISS index and its search parameters. Leaves to others which
search is worth making and what becomes of the candidates (see `index`).

FAISS numbers vectors from 0 and says -1 for none: here label = item_index - 1, so both become an
item_index by adding one.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import IO, TypeAlias

import faiss
import numpy as np

from marquee.core.arrays import FloatArray, IndexArray
from marquee.core.catalog import ItemMask
from marquee.errors import BundleError, ConfigError

# FAISS carries no usable types: its objects are named here and opaque everywhere else.
FaissIndex: TypeAlias = "faiss.Index"
Selector: TypeAlias = "faiss.IDSelector | None"

# From this many queries on a scan goes through BLAS. FAISS compares its threshold with queries times dim.
BLAS_BATCH = 4
_MIN_ITEMS_PER_CENTROID = 39  # FAISS's own advice for k-means
# Beyond the first, FAISS draws from what it is given; beyond the second, more rows move a centre no more than
# another draw would, while its passes over them would take days for a hundred million items.
_MAX_ITEMS_PER_CENTROID = 256
_ENOUGH_ROWS, _ENOUGH_PER_CENTROID = 1_000_000, 64
_MAX_CODE_BITS = 8  # a code is one byte
# Below it a step of 16 would change the recall; above it, it bounds how many objects are kept.
_EXACT_EFFORTS = 64
_EFFORT_STEP = 16
# A multiple of the rows that FAISS multiplies at once, so that blocks change no assignment.
_ADDED_AT_ONCE = 65_536


class IndexKind(StrEnum):
    """How candidates are found."""

    flat = "flat"  # a scan of the item vectors: exact, needs no file of its own
    sq8 = "sq8"  # a scan of 8-bit codes: a quarter of the memory
    ivf = "ivf"  # inverted lists: a scan of the lists nearest to the query
    pq = "pq"  # inverted lists of product-quantised codes: the smallest
    hnsw = "hnsw"  # a graph: the best recall for its time, the largest
    hnsw_sq8 = "hnsw_sq8"  # a graph over 8-bit codes: two thirds of its memory
    auto = "auto"  # whichever reaches `target_recall` at the least cost, chosen when a bundle is exported


LIST_KINDS = (IndexKind.ivf, IndexKind.pq)
GRAPH_KINDS = (IndexKind.hnsw, IndexKind.hnsw_sq8)
LOSSY_KINDS = (IndexKind.sq8, IndexKind.pq, IndexKind.hnsw_sq8)


@dataclass(kw_only=True)
class IndexConfig:
    """How items are indexed and searched; a score is always the inner product.

    Attributes:
        kind: How candidates are found.
        target_recall: `auto`: share of the exact answer that the index must find for the catalog's own users.
        n_links: `hnsw`, `hnsw_sq8`: links per item; memory grows with it.
        ef_construction: `hnsw`, `hnsw_sq8`: effort of the build.
        ef_search: `hnsw`, `hnsw_sq8`: effort of a search, candidates kept.
        n_lists: `ivf`, `pq`: number of lists; 0 for four times the root of the number of items.
        n_probe: `ivf`, `pq`: effort of a search, lists scanned.
        coordinates_per_code: `pq`: how many coordinates share one byte.
        candidates_per_item: `sq8`, `pq`, `hnsw_sq8`: candidates scored exactly for each item wanted.
        max_ann_cost: The ANN index is asked where that is expected to cost at most so many exact searches of
            the same question (see `search_plan`); 0 to search exactly always.
        n_build_threads: Threads of the build. Above 1 a graph differs from build to build.
        shards: `ivf`, `pq`: parts that an export builds one by one, or side by side; the index is the same.
    """

    kind: IndexKind = IndexKind.flat
    target_recall: float = 0.98
    n_links: int = 32
    ef_construction: int = 160
    ef_search: int = 200
    n_lists: int = 0
    n_probe: int = 64
    coordinates_per_code: int = 2
    candidates_per_item: int = 8
    max_ann_cost: float = 1.0
    n_build_threads: int = 1
    shards: int = 1

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError that names the key whose value is impossible."""
        least = {
            "n_links": 2,
            "ef_construction": 1,
            "ef_search": 1,
            "n_lists": 0,
            "n_probe": 1,
            "coordinates_per_code": 1,
            "candidates_per_item": 1,
            "max_ann_cost": 0,
            "n_build_threads": 1,
            "shards": 1,
        }
        for key, lowest in least.items():
            if getattr(self, key) < lowest:
                raise ConfigError(
                    f"{key} must be {lowest} or more, got {getattr(self, key)} (config index.{key})"
                )
        if not 0.0 < self.target_recall <= 1.0:
            raise ConfigError(
                f"target_recall must be above 0 and at most 1, got {self.target_recall} "
                "(config index.target_recall)"
            )
        if self.shards > 1 and self.kind not in LIST_KINDS:
            raise ConfigError(
                f"index.shards={self.shards} needs inverted lists, index.kind=ivf or pq, got {self.kind}: a "
                "graph over a part says nothing of the others"
            )


class AnnIndex:
    """A FAISS index of the items 1 … n_items, of any kind but `flat` and `auto`.

    Attributes:
        config: How it was built and is searched.
    """

    def __init__(self, index: FaissIndex, config: IndexConfig) -> None:
        self.config = config
        self._index = index
        self._dim = index.d

    @classmethod
    def build(cls, item_vectors: FloatArray, config: IndexConfig) -> "AnnIndex":
        """Returns the index of `item_vectors`, (n_items + 1, dim) float32, finite; row 0 is left out."""
        if config.kind in LIST_KINDS:
            rows = training_rows(len(item_vectors) - 1, config)
            lists = train_lists(item_vectors[rows + 1], len(item_vectors) - 1, config)
            add_to_lists(lists, item_vectors[1:], 0, config)
            return cls(lists, config)
        dim = _inner_dim(item_vectors.shape[1], config)
        # Row 0 is padding: FAISS would return it as an item.
        vectors = _pad_columns(np.ascontiguousarray(item_vectors[1:]), dim)
        index = _untrained(dim, config)
        # One by default: threads that build a graph together build another one each time.
        faiss.omp_set_num_threads(config.n_build_threads)
        # A code book has two entries at least: one item alone must stand for both.
        index.train(vectors if len(vectors) > 1 else np.repeat(vectors, 2, axis=0))
        index.add(vectors)
        return cls(index, config)

    @classmethod
    def read(cls, path: Path, shape: tuple[int, int], config: IndexConfig) -> "AnnIndex":
        """Returns the index that `write` wrote, memory-mapped: processes share one copy.

        Args:
            path: The file.
            shape: n_items and dim of the vectors that it must be over.
            config: What it was built with.

        Raises:
            BundleError: If FAISS cannot read the file, or it is over other vectors.
        """
        try:
            # The plain flag for mapping holds for inverted lists alone; this one maps the other kinds too.
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise BundleError(
                f"{path.name} is no index that FAISS can read ({error}); export again"
            ) from error
        n_items, dim = shape[0], _inner_dim(shape[1], config)
        # Its checksum proves the file, not that it is over these vectors.
        if (index.ntotal, index.d) != (n_items, dim):
            raise BundleError(
                f"{path.name} must hold {n_items} vectors of {dim} numbers, got {index.ntotal} of {index.d}; "
                "export again"
            )
        return cls(index, config)

    def write(self, file: IO[bytes]) -> None:
        """Writes the index."""
        faiss.write_index(self._index, faiss.PyCallbackIOWriter(file.write))

    def searched_as(self, config: IndexConfig) -> "AnnIndex":
        """Returns this index, not copied, searched as another config of its kind says."""
        return AnnIndex(self._index, config)

    @property
    def n_lists(self) -> int:
        """Number of inverted lists, 0 for a kind that has none."""
        return int(self._index.nlist) if self.config.kind in LIST_KINDS else 0

    def search(self, queries: FloatArray, n_candidates: int, effort: float) -> IndexArray:
        """Returns candidates, best first by the index's own score, (batch, n_candidates) int64; 0 for none.

        Trap: what FAISS finds under a selector looks complete and may be wrong: a graph whose nearest items
        are all hidden never comes to those that are not (`test_filter_that_hides_the_neighbourhood` guards
        this). So it is never given one: its caller drops the items that are not allowed.

        Args:
            queries: (batch, dim) float32, finite.
            n_candidates: Columns of the result.
            effort: Multiplies the configured effort.
        """
        config = self.config
        parameters = None
        if config.kind in GRAPH_KINDS:
            parameters = _graph_parameters(_rounded_up(max(config.ef_search * effort, n_candidates)))
        elif config.kind is not IndexKind.sq8:
            parameters = faiss.SearchParametersIVF(nprobe=round(config.n_probe * effort))
        faiss.omp_set_num_threads(1)  # Trap: OpenMP keeps this per thread, so each search says it again
        _, labels = self._index.search(_pad_columns(queries, self._dim), n_candidates, params=parameters)
        # FAISS says -1 for none, which becomes 0, our padding.
        item_index: IndexArray = labels + 1
        return item_index


@lru_cache(maxsize=256)  # to make them costs a tenth of a search, and searches only read them
def _graph_parameters(ef_search: int) -> "faiss.SearchParametersHNSW":
    """Returns how a graph is searched."""
    return faiss.SearchParametersHNSW(efSearch=ef_search, bounded_queue=True)


def _rounded_up(effort: float) -> int:
    """Returns the next whole effort of few digits, so that few different ones occur."""
    step = 1 if effort <= _EXACT_EFFORTS else _EFFORT_STEP
    return int(-(-effort // step)) * step


def build_selector(allowed: ItemMask | None) -> Selector:
    """Returns the mask in the form FAISS takes; `allowed` must outlive it, since it holds the bits."""
    if allowed is None:
        return None
    return faiss.IDSelectorBitmap(len(allowed.flags) - 1, faiss.swig_ptr(allowed.bits))


def scan(
    queries: FloatArray, vectors: FloatArray, k: int, selector: Selector
) -> tuple[FloatArray, IndexArray]:
    """Returns the k highest inner products and the rows of `vectors` they belong to, best first.

    Args:
        queries: (batch, dim) float32, contiguous and finite.
        vectors: (n_vectors, dim) float32, contiguous; may be memory-mapped.
        k: Columns of the result.
        selector: Which rows count; None for all. It keeps FAISS from using BLAS.

    Returns:
        Scores (batch, k) float32 and rows (batch, k) int64, -1 for none.
    """
    # The function beneath takes pointers: a wrong dtype here would be read as bytes.
    scores = np.empty((len(queries), k), dtype=np.float32)
    rows = np.empty((len(queries), k), dtype=np.int64)
    faiss.omp_set_num_threads(1)  # Trap: OpenMP keeps this per thread, so each search says it again
    faiss.cvar.distance_compute_blas_threshold = BLAS_BATCH * vectors.shape[1]
    faiss.knn_inner_product(
        faiss.swig_ptr(queries),
        faiss.swig_ptr(vectors),
        vectors.shape[1],
        len(queries),
        len(vectors),
        k,
        faiss.swig_ptr(scores),
        faiss.swig_ptr(rows),
        selector,
    )
    return scores, rows


def inner_products(query: FloatArray, vectors: FloatArray) -> FloatArray:
    """Returns the inner product of a query, (dim,), with each of `vectors`, (n_vectors, dim)."""
    products = np.empty(len(vectors), dtype=np.float32)
    query = np.ascontiguousarray(query, dtype=np.float32)
    faiss.fvec_inner_products_ny(
        faiss.swig_ptr(products),
        faiss.swig_ptr(query),
        faiss.swig_ptr(vectors),
        vectors.shape[1],
        len(vectors),
    )
    return products


def _inner_dim(dim: int, config: IndexConfig) -> int:
    """Returns the length of a vector inside FAISS: product quantisation wants a multiple."""
    if config.kind is not IndexKind.pq:
        return dim
    return -(-dim // config.coordinates_per_code) * config.coordinates_per_code


def _pad_columns(vectors: FloatArray, dim: int) -> FloatArray:
    """Returns the vectors with zeros appended up to `dim`: inner products stay what they are."""
    missing = dim - vectors.shape[1]
    return np.pad(vectors, ((0, 0), (0, missing))) if missing else vectors


def training_rows(n_items: int, config: IndexConfig) -> IndexArray:
    """Returns the rows that centres are learned from, ascending, row 0 being the first item.

    All of a small catalog; of a large one a row of each of so many stretches of equal length.

    Args:
        n_items: Of the catalog.
        config: Of kind `ivf` or `pq`.
    """
    n_lists = _n_lists(n_items, config)
    n_rows = min(_MAX_ITEMS_PER_CENTROID * n_lists, max(_ENOUGH_ROWS, _ENOUGH_PER_CENTROID * n_lists))
    # Few lists are no reason for poor code books.
    n_rows = max(n_rows, _MAX_ITEMS_PER_CENTROID * 2**_MAX_CODE_BITS)
    if n_rows >= n_items:
        return np.arange(n_items)
    # Not a permutation of all items, which alone would take a gigabyte; always the same rows, as FAISS draws.
    bounds = np.arange(n_rows + 1) * n_items // n_rows
    offsets = np.random.default_rng(0).random(n_rows) * np.diff(bounds)
    rows: IndexArray = bounds[:-1] + offsets.astype(np.int64)
    return rows


def train_lists(sample: FloatArray, n_items: int, config: IndexConfig) -> FaissIndex:
    """Returns inverted lists without items, whose centres and code books are learned from a sample.

    Args:
        sample: (n_sampled, dim) float32, finite.
        n_items: That will be added.
        config: Of kind `ivf` or `pq`.
    """
    dim = _inner_dim(sample.shape[1], config)
    index = _untrained_lists(n_items, dim, config)
    faiss.omp_set_num_threads(config.n_build_threads)
    vectors = _pad_columns(np.ascontiguousarray(sample), dim)
    # A code book has two entries at least: one item alone must stand for both.
    index.train(vectors if len(vectors) > 1 else np.repeat(vectors, 2, axis=0))
    return index


def add_to_lists(index: FaissIndex, vectors: FloatArray, first: int, config: IndexConfig) -> None:
    """Adds items to inverted lists, a block at a time: vectors may be memory-mapped.

    Args:
        index: Changed in place.
        vectors: (n, dim) float32, finite.
        first: Row of the first among all items, row 0 being the first item.
        config: Of kind `ivf` or `pq`.
    """
    faiss.omp_set_num_threads(config.n_build_threads)
    for start in range(0, len(vectors), _ADDED_AT_ONCE):
        block = _pad_columns(np.ascontiguousarray(vectors[start : start + _ADDED_AT_ONCE]), index.d)
        labels = np.arange(first + start, first + start + len(block), dtype=np.int64)
        index.add_with_ids(block, labels)


def _untrained(dim: int, config: IndexConfig) -> FaissIndex:
    """Returns an empty graph or an empty list of codes."""
    if config.kind in GRAPH_KINDS:
        if config.kind is IndexKind.hnsw:
            index = faiss.IndexHNSWFlat(dim, config.n_links, faiss.METRIC_INNER_PRODUCT)
        else:
            codes = faiss.ScalarQuantizer.QT_8bit
            index = faiss.IndexHNSWSQ(dim, codes, config.n_links, faiss.METRIC_INNER_PRODUCT)
        # Before any vector is added: it is read while links are made.
        index.hnsw.efConstruction = config.ef_construction
        return index
    return faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)


def _n_lists(n_items: int, config: IndexConfig) -> int:
    """Returns the number of lists, no more than there are items to learn their centres from."""
    # FAISS's guidelines for less than a million vectors: 4 to 16 times the root of their number.
    wanted = config.n_lists or round(4 * n_items**0.5)
    return min(wanted, max(1, n_items // _MIN_ITEMS_PER_CENTROID))


def _untrained_lists(n_items: int, dim: int, config: IndexConfig) -> FaissIndex:
    """Returns empty inverted lists."""
    n_lists = _n_lists(n_items, config)
    quantizer = faiss.IndexFlatIP(dim)
    if config.kind is IndexKind.ivf:
        index = faiss.IndexIVFFlat(quantizer, dim, n_lists, faiss.METRIC_INNER_PRODUCT)
    else:
        # The code books are learned from the items too: a small catalog gets fewer bits.
        n_bits = min(_MAX_CODE_BITS, max(1, int(np.log2(max(1, n_items // _MIN_ITEMS_PER_CENTROID)))))
        n_codes = dim // config.coordinates_per_code
        index = faiss.IndexIVFPQ(quantizer, dim, n_lists, n_codes, n_bits, faiss.METRIC_INNER_PRODUCT)
        index.pq.cp.min_points_per_centroid = 1
    # The sizes above keep to the advice; below it there is nothing better, and FAISS would only complain.
    index.cp.min_points_per_centroid = 1
    return index
