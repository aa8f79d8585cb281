"""Recall, time and memory of every way to search, and where one becomes cheaper than another.

    python -m benchmarks.retrieval                 100,000 and 1,000,000 items
    python -m benchmarks.retrieval --items 100000  the smaller catalog only
    python -m benchmarks.retrieval --check         exit status 1 outside the tolerances

Times are processor time of one thread, medians over queries asked alone: on a busy machine the clock on the
wall tells of others. An index that was built is kept in a temporary folder (`--cache`): the graph of a
million items takes some seven minutes of processor time.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import psutil

from benchmarks.probe import slowness
from benchmarks.retrieval_data import Embeddings, make_embeddings
from marquee.core.arrays import BoolArray, FloatArray, IndexArray
from marquee.core.catalog import ItemMask
from marquee.index.building import build_index
from marquee.index.choice import EFFORTS
from marquee.index.faiss_index import BLAS_BATCH, GRAPH_KINDS, IndexConfig, IndexKind, build_selector, scan
from marquee.index.index import Index
from marquee.index.search_plan import GRAPH_STEP_COST, is_gathering_cheaper
from marquee.index.sweep import Questions, effort_of, sweep, with_effort

SIZES = (100_000, 1_000_000)
K = 10
N_EXCLUSIONS = 50
TARGET = 0.98
N_TIMED = 100
SHARES = (0.5, 0.1, 0.01, 0.001)
PLANNED_SHARES = (0.9, 0.5, 0.3, 0.2, 0.1, 0.05, 0.01, 0.001)
FETCHED = K + 8  # what an exact search of K items scores

MAX_MS = 1.5
MAX_PRIVATE_MB = 20.0
MAX_REGRET = 2.5
MIN_FILTERED_RECALL = 0.975


@dataclass(frozen=True)
class Bench:
    """A catalog and what is known of searching it.

    Attributes:
        embeddings: Items and users.
        folder: Where its files lie.
        graph: The last graph of `kinds_of`, at the effort that reaches `TARGET`.
    """

    embeddings: Embeddings
    folder: Path
    graph: Index


def open_index(folder: Path, vectors: FloatArray, config: IndexConfig) -> tuple[Index, str]:
    """Returns an index as a worker has it, mapped into memory, and what building it took."""
    if config.kind is IndexKind.flat:
        return build_index(vectors, config), "0"
    path = folder / f"{config.kind}-{config.ef_construction}.faiss"
    took = "(kept)"
    if not path.exists():
        started = time.process_time()
        built = build_index(vectors, config)
        took = f"{time.process_time() - started:.0f}"
        with (folder / "unfinished").open("wb") as file:
            built.write(file)
        (folder / "unfinished").rename(path)
    return Index.read(path, vectors, config), took


def kinds_of(n_items: int) -> Sequence[IndexConfig]:
    """Returns the index kinds measured at a size; learning many lists of a large catalog takes too long."""
    kinds = [IndexKind.flat, IndexKind.sq8, IndexKind.hnsw_sq8]
    if n_items <= SIZES[0]:
        kinds = [IndexKind.flat, IndexKind.sq8, IndexKind.pq, IndexKind.hnsw_sq8, IndexKind.hnsw]
    return [IndexConfig(kind=kind, max_ann_cost=1e9, n_probe=128) for kind in kinds]


def measure_kinds(n_items: int, folder: Path) -> Bench:
    """Prints a line per kind of index and returns the last graph of them."""
    made = make_embeddings(n_items)
    vectors = _mapped(folder / "item_vectors.npy", made.item_vectors)
    made = replace(made, item_vectors=vectors)
    rng = np.random.default_rng(1)
    excluded = [rng.integers(1, n_items + 1, N_EXCLUSIONS) for _ in range(N_TIMED)]
    questions = Questions(made.queries[:N_TIMED], K, [None] * N_TIMED, excluded)
    print(f"\n{n_items:,} items of {vectors.shape[1]} numbers, k = {K}, {N_EXCLUSIONS} exclusions")
    print("kind       effort  recall@10  ms alone   p95  ms in 32  file MB  build s (processor)")
    graph = None
    for config in kinds_of(n_items):
        index, took = open_index(folder, vectors, config)
        efforts = EFFORTS if config.kind in GRAPH_KINDS else (effort_of(config),)
        curve = sweep(index.searched_as, config, questions, time.process_time, efforts, n_repeats=2)
        point = next((point for point in curve.points if point.recall >= TARGET), curve.points[-1])
        index = index.searched_as(with_effort(config, point.effort))
        path = folder / f"{config.kind}-{config.ef_construction}.faiss"
        size_mb = path.stat().st_size / 2**20 if path.exists() else vectors.nbytes / 2**20
        print(
            f"{config.kind:9s} {point.effort:7d} {point.recall:10.4f} {point.median_ms:9.3f} "
            f"{point.p95_ms:5.2f} {_batched_ms(index, questions):9.3f} {size_mb:8.1f}  {took}"
        )
        if config.kind in GRAPH_KINDS:
            graph = index
    assert graph is not None, f"kinds_of({n_items}) must end with a graph"
    return Bench(made, folder, graph)


def measure_filters(bench: Bench) -> list[str]:
    """Prints what filters of several widths cost and find; returns what is outside the tolerances."""
    index = bench.graph.searched_as(replace(bench.graph.config, max_ann_cost=1.0))
    flat = Index(index.item_vectors, IndexConfig(), None)
    problems = []
    print("\nfilter keeps           recall@10  ms alone  exact ms  short  forbidden")
    for share in SHARES:
        for name, mask in masks(bench.embeddings, share):
            questions = bench.embeddings.queries[:N_TIMED]
            found, spent = _ask(index, questions, mask)
            exact, exact_spent = _ask(flat, questions, mask)
            last = exact[:, min(K, mask.n_allowed) - 1 :]
            recall = float((found >= last[:, :1])[:, : min(K, mask.n_allowed)].mean())
            short = int((np.isfinite(found).sum(axis=1) < min(K, mask.n_allowed)).sum())
            forbidden = _n_forbidden(index, questions, mask)
            print(
                f"{share:7.1%} {name:14s} {recall:10.4f} {spent:9.3f} {exact_spent:9.3f} {short:6d} "
                f"{forbidden:10d}"
            )
            if short or forbidden or recall < MIN_FILTERED_RECALL:
                problems.append(
                    f"{share:.1%} {name}: recall {recall:.4f}, {short} short, {forbidden} forbidden"
                )
    return problems


def masks(embeddings: Embeddings, share: float) -> Iterator[tuple[str, ItemMask]]:
    """Yields masks that keep a share of the items: any, whole clusters, and all but what queries are near."""
    rng = np.random.default_rng(2)
    n_rows = len(embeddings.item_vectors)
    yield "at random", _mask(rng.random(n_rows) < share)
    n_clusters = int(embeddings.cluster.max()) + 1
    kept = rng.permutation(n_clusters) < max(1, round(share * n_clusters))
    yield "of clusters", _mask(kept[embeddings.cluster])
    query = embeddings.queries[:N_TIMED].mean(axis=0)
    scores = embeddings.item_vectors @ query
    yield "the farthest", _mask(scores <= np.quantile(scores, share))


def measure_plan(bench: Bench) -> list[str]:
    """Prints what each way to search costs under filters, and where they cross; returns bad choices."""
    vectors, queries = bench.graph.item_vectors, bench.embeddings.queries[:50]
    n_items = len(vectors) - 1
    forced = bench.graph.searched_as(replace(bench.graph.config, max_ann_cost=1e9))
    planned = bench.graph.searched_as(replace(bench.graph.config, max_ann_cost=1.0))
    rng = np.random.default_rng(3)
    problems = []
    print("\nkept     copy out  scan, drop  scan, test     graph  as planned   (ms)")
    table: list[tuple[float, dict[str, float]]] = []
    for share in PLANNED_SHARES:
        mask = _mask(rng.random(n_items + 1) < share)
        _ = mask.item_index, mask.bits
        ways: dict[str, Callable[[FloatArray], object]] = {
            "copy": partial(_copy_and_scan, vectors, mask),
            "drop": partial(_scan, vectors[1:], int(1.5 * FETCHED / share), None),
            "test": partial(_scan, vectors[1:], FETCHED, mask),
            "graph": partial(_search, forced, mask),
            "plan": partial(_search, planned, mask),
        }
        if share < 0.05:
            del ways["graph"]  # would visit everything, several times
        spent = {name: _median_ms(way, queries) for name, way in ways.items()}
        table.append((share, spent))
        print(f"{share:6.1%} " + " ".join(f"{spent.get(name, np.nan):10.3f}" for name in (*ways, "plan")[:5]))
        best = min(value for name, value in spent.items() if name != "plan")
        if spent["plan"] > MAX_REGRET * best + 0.1:
            problems.append(f"at {share:.1%} the plan takes {spent['plan']:.3f} ms where {best:.3f} would do")
    _print_crossings(table, n_items, bench, queries)
    return problems


def _print_crossings(
    table: Sequence[tuple[float, dict[str, float]]], n_items: int, bench: Bench, queries: FloatArray
) -> None:
    """Prints where one way becomes cheaper than another, beside what the plan assumes."""
    forced = replace(bench.graph.config, max_ann_cost=1e9)
    copying = max((share for share, spent in table if spent["copy"] <= spent["drop"]), default=0.0)
    planned = max(
        share for share in np.linspace(0.01, 1, 100) if is_gathering_cheaper(n_items, int(share * n_items), 1)
    )
    print(
        f"copying out is cheaper than a scan up to {copying:.0%} kept; the plan takes it up to {planned:.0%}"
    )
    exact = {share: min(spent["copy"], spent["drop"]) for share, spent in table}
    graph = [share for share, spent in table if spent.get("graph", np.inf) <= exact[share]]
    print(f"the graph is cheaper than an exact search from {min(graph, default=1.0):.0%} kept")
    spent = [
        _median_ms(
            partial(_search, bench.graph.searched_as(replace(forced, ef_search=effort)), None), queries
        )
        for effort in (200, 400)
    ]
    step_ms = (spent[1] - spent[0]) / 200
    row_ms = _median_ms(partial(_scan, bench.graph.item_vectors[1:], FETCHED, None), queries) / n_items
    print(
        f"a step of the graph costs {step_ms / row_ms:.0f} rows of a scan; "
        f"the plan counts {GRAPH_STEP_COST:.0f}"
    )


def measure_memory(bench: Bench) -> list[str]:
    """Prints the private memory of two processes that hold the index at once; returns what is too much."""
    config = bench.graph.config
    command = [sys.executable, "-m", "benchmarks.retrieval", "--hold", str(bench.folder), config.kind]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    held = []
    for worker in workers:
        assert worker.stdout is not None, "the pipe was asked for"
        held.append(float(worker.stdout.readline()))
    for worker in workers:
        worker.communicate("done\n")
    print(
        f"\nprivate memory (USS) of two workers that hold {config.kind} and its vectors and search: "
        f"{', '.join(f'{mb:.1f}' for mb in held)} MB"
    )
    return [f"a worker holds {mb:.1f} MB" for mb in held if mb > MAX_PRIVATE_MB]


def hold(folder: Path, kind: str) -> None:
    """Opens an index, searches it, prints by how much private memory grew, and waits for a line."""
    queries = np.load(folder / "queries.npy")
    scan(queries[:1], queries, 1, None)
    before = psutil.Process().memory_full_info().uss
    vectors = np.load(folder / "item_vectors.npy", mmap_mode="r")
    index, _ = open_index(folder, vectors, IndexConfig(kind=IndexKind(kind)))
    for row in range(N_TIMED):
        index.search(queries[row : row + 1], K)
    print((psutil.Process().memory_full_info().uss - before) / 2**20, flush=True)
    sys.stdin.readline()


def measure_request(bench: Bench) -> list[str]:
    """Prints what one request takes; returns what is outside the tolerances."""
    rng = np.random.default_rng(4)
    n_items = bench.graph.n_items
    excluded = [rng.integers(1, n_items + 1, N_EXCLUSIONS) for _ in bench.embeddings.queries]
    questions = Questions(bench.embeddings.queries, K, [None] * len(excluded), excluded)
    curve = sweep(
        bench.graph.searched_as, bench.graph.config, questions, time.process_time, (1,), n_repeats=1
    )
    point = curve.chosen_point
    print(
        f"one request, {len(questions):,} asked: recall@{K} {point.recall:.4f}, {point.median_ms:.3f} ms, "
        f"95 % within {point.p95_ms:.3f} ms"
    )
    if point.recall >= TARGET and point.median_ms <= MAX_MS * slowness():
        return []
    return [f"{n_items:,} items: recall {point.recall:.4f} in {point.median_ms:.3f} ms"]


def _mapped(path: Path, vectors: FloatArray) -> FloatArray:
    """Returns vectors as a bundle has them: in a file that is mapped into memory."""
    if not path.exists():
        np.save(path.with_suffix(".unfinished.npy"), vectors)
        path.with_suffix(".unfinished.npy").rename(path)
    mapped: FloatArray = np.load(path, mmap_mode="r")
    return mapped.view(np.ndarray)


def _mask(flags: BoolArray) -> ItemMask:
    """Returns the mask of some flags, whose row 0 is cleared."""
    flags[0] = False
    return ItemMask(flags)


def _batched_ms(index: Index, questions: Questions) -> float:
    """Returns the time of a query in a batch of 32."""
    started = time.process_time()
    index.search(questions.queries[:32], K, None, questions.exclusions[:32])
    return (time.process_time() - started) * 1000 / 32


def _ask(index: Index, queries: FloatArray, mask: ItemMask) -> tuple[FloatArray, float]:
    """Returns the scores that each query finds alone, (n, K), and the median time."""
    scores, spent = [], []
    for row in range(len(queries)):
        started = time.process_time()
        scores.append(index.search(queries[row : row + 1], K, mask).scores[0])
        spent.append((time.process_time() - started) * 1000)
    return np.stack(scores), statistics.median(spent)


def _n_forbidden(index: Index, queries: FloatArray, mask: ItemMask) -> int:
    """Returns how many items come back that the mask does not allow."""
    items: IndexArray = index.search(queries, K, mask).items
    return int(np.count_nonzero(~mask.flags[items[items > 0]]))


def _copy_and_scan(vectors: FloatArray, mask: ItemMask, query: FloatArray) -> object:
    """Searches the allowed rows, copied out."""
    return _scan(vectors.take(mask.item_index, axis=0), FETCHED, None, query)


def _scan(vectors: FloatArray, n: int, tested: ItemMask | None, query: FloatArray) -> object:
    """Searches all rows for the n best, of those that are allowed where that is tested."""
    return scan(query, vectors, n, build_selector(tested))


def _search(index: Index, mask: ItemMask | None, query: FloatArray) -> object:
    """Searches an index."""
    return index.search(query, K, mask)


def _median_ms(way: Callable[[FloatArray], object], queries: FloatArray) -> float:
    """Returns the median time of a way to search, over queries asked alone."""
    spent = []
    for row in range(len(queries)):
        started = time.process_time()
        way(queries[row : row + 1])
        spent.append((time.process_time() - started) * 1000)
    return statistics.median(spent)


def main() -> None:
    """Prints all of it; with `--check` exits with 1 where something is outside its tolerance."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, nargs="+", default=SIZES)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "marquee-retrieval")
    parser.add_argument("--hold", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.hold:
        hold(Path(given.hold[0]), given.hold[1])
        return
    print(f"batches of {BLAS_BATCH} or more go through BLAS; one thread")
    problems: list[str] = []
    for n_items in given.items:
        folder = given.cache / str(n_items)
        folder.mkdir(parents=True, exist_ok=True)
        bench = measure_kinds(n_items, folder)
        np.save(folder / "queries.npy", bench.embeddings.queries)
        problems += measure_request(bench)
        problems += measure_memory(bench)
        problems += measure_filters(bench)
        problems += measure_plan(bench)
    print("\n".join(["", *(f"outside its tolerance: {problem}" for problem in problems)]))
    if given.check and problems:
        sys.exit(1)


if __name__ == "__main__":
    main()
