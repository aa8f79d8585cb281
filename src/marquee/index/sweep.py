"""Measures what an index misses and how long it takes, over a range of its search effort.

Decides how recall and latency are measured: every query alone, under its own mask and with its own
exclusions, against the exact search of the same question. Leaves to others which questions are asked (see
`served`), which effort is then chosen, and the clock: it is given, nothing here reads one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType

import numpy as np

from marquee.core.arrays import FloatArray, IndexArray
from marquee.core.catalog import ItemMask
from marquee.core.ids import PADDING_INDEX
from marquee.errors import ShapeError
from marquee.index.faiss_index import IndexConfig, IndexKind
from marquee.index.index import Index
from marquee.index.query_batch import SearchResult

EFFORT_KEYS: Mapping[IndexKind, str] = MappingProxyType(
    {
        IndexKind.sq8: "candidates_per_item",
        IndexKind.ivf: "n_probe",
        IndexKind.pq: "n_probe",
        IndexKind.hnsw: "ef_search",
        IndexKind.hnsw_sq8: "ef_search",
    }
)
"""The key of `IndexConfig` that says how hard a search of a kind tries; `flat` has none."""

# Mostly below the chosen effort: the curve is to show what less of it would lose.
EFFORT_FACTORS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4)
MS_PER_SECOND = 1000.0

OpenIndex = Callable[[IndexConfig], Index]
"""Returns the same index, searched as another config says; only the effort differs from its own."""

Clock = Callable[[], float]
"""Returns seconds since some moment, as `time.perf_counter` does."""


@dataclass(frozen=True, eq=False)
class Questions:
    """Queries for measuring an index, each with its mask and exclusions.

    Attributes:
        queries: (n_queries, dim) float32, best those of real users: recall depends on them.
        k: Items wanted by each.
        allowed: Items that may be returned to each query; None for all.
        exclusions: Items that must not be returned, one int64 array per query.

    Raises:
        ShapeError: If there is no query, or not one mask and one array of exclusions for each.
    """

    queries: FloatArray
    k: int
    allowed: Sequence[ItemMask | None]
    exclusions: Sequence[IndexArray]

    def __post_init__(self) -> None:
        n_queries = len(self.queries)
        if not n_queries or {len(self.allowed), len(self.exclusions)} != {n_queries}:
            raise ShapeError(
                "a sweep needs at least one query, with a mask and exclusions for each, got "
                f"{n_queries} queries, {len(self.allowed)} masks and {len(self.exclusions)} exclusions"
            )

    def __len__(self) -> int:
        return len(self.queries)

    @classmethod
    def of_all(cls, queries: FloatArray, k: int) -> "Questions":
        """Returns questions to which every item may be returned."""
        nothing = np.zeros(0, dtype=np.int64)
        return cls(queries, k, [None] * len(queries), [nothing] * len(queries))

    def ask(self, index: Index, row: int) -> SearchResult:
        """Returns the answer of an index to one query, alone: one row."""
        return index.search(self.queries[row : row + 1], self.k, self.allowed[row], [self.exclusions[row]])


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """An index at one effort.

    Attributes:
        effort: Value of the search parameter; 0 for an index that has none.
        recall: Mean share of the exact answer that is found, in [0, 1].
        median_ms: Time of a search of one query, the median over queries.
        p95_ms: Time that 95 % of the queries take at most.
    """

    effort: int
    recall: float
    median_ms: float
    p95_ms: float


@dataclass(frozen=True)
class IndexSweep:
    """Recall and latency of an index against its search effort.

    Attributes:
        kind: Of the index.
        parameter: Key of `IndexConfig` that was varied; empty for `flat`.
        chosen: Effort that the index is configured with.
        points: By ascending effort; the chosen one is among them.
        exact_ms: Median time of the exact search for the same questions.
        k: Items wanted by each query.
        n_queries: How many were asked.
    """

    kind: str
    parameter: str
    chosen: int
    points: tuple[SweepPoint, ...]
    exact_ms: float
    k: int
    n_queries: int

    @property
    def chosen_point(self) -> SweepPoint:
        """The index as it is configured."""
        return next(point for point in self.points if point.effort == self.chosen)

    @property
    def sentence(self) -> str:
        """The chosen point in words."""
        point = self.chosen_point
        setting = f" with {self.parameter} {self.chosen}" if self.parameter else ""
        return (
            f"Index {self.kind}{setting} finds {point.recall:.2%} of the exact top {self.k} of "
            f"{self.n_queries:,} users, in {point.median_ms:.3f} ms for half of them and {point.p95_ms:.3f} "
            f"ms for 95 %; the exact search takes {self.exact_ms:.3f} ms."
        )

    def to_json_dict(self) -> dict[str, object]:
        """Returns everything, ready for `json.dumps`."""
        return asdict(self)


def efforts_around(config: IndexConfig) -> tuple[int, ...]:
    """Returns efforts from far below to well above the configured one, ascending; it is among them.

    Example:
        >>> efforts_around(IndexConfig(kind=IndexKind.ivf, n_probe=64))
        (4, 8, 16, 32, 64, 128, 256)
    """
    chosen = effort_of(config)
    return tuple(sorted({max(round(chosen * factor), 1) for factor in EFFORT_FACTORS})) if chosen else ()


def effort_of(config: IndexConfig) -> int:
    """Returns the configured search effort, 0 for a kind that has none."""
    key = EFFORT_KEYS.get(config.kind)
    return 0 if key is None else int(getattr(config, key))


def with_effort(config: IndexConfig, effort: int) -> IndexConfig:
    """Returns the config with another search effort; `flat` has none and stays as it is."""
    key = EFFORT_KEYS.get(config.kind)
    return config if key is None else replace(config, **{key: effort})  # type: ignore[arg-type] # keys of int


def sweep(
    open_index: OpenIndex,
    config: IndexConfig,
    questions: Questions,
    clock: Clock,
    efforts: Sequence[int] = (),
    *,
    n_repeats: int = 2,
) -> IndexSweep:
    """Returns recall and latency of an index over a range of its search effort.

    Args:
        open_index: Gives the index at each effort.
        config: How the index is configured: its effort is the chosen one, and always measured.
        questions: What it is asked.
        clock: Times each search.
        efforts: Others to measure; `efforts_around` the chosen one if there are none.
        n_repeats: Times that each query is asked; the shortest counts.
    """
    chosen = effort_of(config)
    wanted = sorted({chosen, *(efforts or efforts_around(config))}) if chosen else [0]
    # The same vectors under the same tie rule: whatever differs is a miss.
    exact_index = Index(open_index(config).item_vectors, IndexConfig(kind=IndexKind.flat), None)
    exact, exact_ms = _ask_all(exact_index, questions, clock, n_repeats)
    points = []
    for effort in wanted:
        found, spent_ms = _ask_all(open_index(with_effort(config, effort)), questions, clock, n_repeats)
        median, p95 = np.quantile(spent_ms, [0.5, 0.95])
        # The tail beside the median: a masked search that starts again shows only there.
        points.append(SweepPoint(effort, _recall(found, exact), float(median), float(p95)))
    return IndexSweep(
        kind=str(config.kind),
        parameter=EFFORT_KEYS.get(config.kind, ""),
        chosen=chosen,
        points=tuple(points),
        exact_ms=float(np.median(exact_ms)),
        k=questions.k,
        n_queries=len(questions),
    )


def _ask_all(
    index: Index, questions: Questions, clock: Clock, n_repeats: int
) -> tuple[list[SearchResult], list[float]]:
    """Returns the answer to each query and the shortest time that it took, in milliseconds."""
    answers, spent_ms = [], []
    # One at a time, as a service is asked: a batch would share the reading of the vectors.
    for row in range(len(questions)):
        times = []
        for _ in range(n_repeats):
            started = clock()
            # The clock stands around the search alone: the question was made before.
            answer = questions.ask(index, row)
            times.append((clock() - started) * MS_PER_SECOND)
        answers.append(answer)
        # The shortest: what is beyond it was spent on cold caches and other processes.
        spent_ms.append(min(times))
    return answers, spent_ms


def _recall(found: Sequence[SearchResult], exact: Sequence[SearchResult]) -> float:
    """Returns the mean share of the exact answers that is found; 1 where there is nothing to find.

    An item that scores as well as the last exact one is as good as it: a tie is no miss.
    """
    shares = []
    for one, truth in zip(found, exact, strict=True):
        n_wanted = int(np.count_nonzero(truth.items))
        if n_wanted:
            # By score and not by name: which of two equal items came first is no merit of an index.
            is_hit = (one.items != PADDING_INDEX) & (one.scores >= truth.scores[0, n_wanted - 1])
            shares.append(min(int(is_hit.sum()), n_wanted) / n_wanted)
    return float(np.mean(shares)) if shares else 1.0
