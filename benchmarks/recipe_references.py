"""Simple methods with searched knobs: what the defaults must be as good as.

Not a benchmark of its own: `recipe` uses it. Every point of a grid is ranked on validation; the best of them
is fitted once more, with what is known when test is asked.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.defaults import BPR
from benchmarks.experiments import compose_config
from benchmarks.fits import fit_on
from marquee.core.arrays import FloatArray, IndexArray
from marquee.core.cooccurrence import csr_matrix_class, user_item_matrix
from marquee.core.histories import Interactions
from marquee.data.dataset import JudgedPart
from marquee.evaluation.baselines import ALS, Baseline, BaselinesConfig, ItemKNN
from marquee.evaluation.evaluation import EvaluationTask, evaluate
from marquee.index.ranking import ScoreBlock
from marquee.nn.embed import score_queries
from training.runs.prepare import Prepared

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

K = 20
METRIC, RECALL = f"ndcg@{K}", f"recall@{K}"
# A matrix of so many items is inverted whole: half a minute and half a gigabyte.
LARGEST_EASE = 8_000
MOST_RANKED = 8_000  # validation users, where a fit takes minutes

KNN_GRID: Mapping[str, Sequence[float]] = {
    "knn_neighbours": (50, 200, 800),
    "knn_shrinkage": (0.0, 10.0),
    "knn_user_damping": (0.5, 1.0),
}
ALS_GRID: Mapping[str, Sequence[float]] = {
    "als_dim": (64, 128),
    "als_regularization": (0.1, 1.0, 10.0),
    "als_alpha": (3.0, 10.0, 40.0),
}
# What small sets chose, and their neighbours: a fit of a million events takes a minute.
LARGE_ALS_GRID: Mapping[str, Sequence[float]] = {
    "als_dim": (128,),
    "als_regularization": (1.0, 10.0),
    "als_alpha": (3.0, 10.0),
}
EASE_GRID = (30.0, 100.0, 300.0, 1000.0)
BPR_GRID = tuple(product((0.003, 0.01), (0.03, 0.3)))  # learning rate, weight decay

Fitter = Callable[[Interactions], Baseline]
"""Fits a method of given knobs; its argument is what each query's user had done."""


@dataclass(frozen=True)
class Found:
    """One method with its best knobs.

    Attributes:
        knobs: In words.
        validation: Its metric on validation.
        scorer: Of the test queries.
    """

    knobs: str
    validation: float
    scorer: ScoreBlock


@dataclass(frozen=True)
class EASE:
    """A linear model of items from items, in closed form.

    Attributes:
        weights: Of each item (row) on each other, (n_items + 1, n_items + 1) float32; the diagonal is 0.
        histories: 1 where a history holds an item, (n_histories + 1, n_items + 1) float32.

    Source:
        Steck 2019, WWW, "Embarrassingly Shallow Autoencoders for Sparse Data", eq. 8.
    """

    weights: FloatArray
    histories: FloatArray

    @classmethod
    def fit(cls, train: Interactions, n_items: int, regularization: float, known: Interactions) -> "EASE":
        """Solves for the weights.

        Args:
            train: Interactions to learn from.
            n_items: Items of the catalog, without the padding one.
            regularization: Weight of the squared weights.
            known: Interactions of each query's user.
        """
        matrix = user_item_matrix(train, n_items)
        gram = (matrix.T @ matrix).toarray().astype(np.float64)  # (n_items + 1, n_items + 1)
        gram[np.diag_indices_from(gram)] += regularization
        inverse = np.linalg.inv(gram)
        weights = (-inverse / np.diag(inverse)).astype(np.float32)
        np.fill_diagonal(weights, 0.0)
        return cls(weights, user_item_matrix(known, n_items).toarray())

    def scores(self, history_index: IndexArray) -> FloatArray:
        """See `Baseline.scores`."""
        return np.asarray(self.histories[history_index] @ self.weights, dtype=np.float32)


def search_closed(
    prepared: Prepared,
    validation: JudgedPart,
    test: JudgedPart,
    task: EvaluationTask,
    seed: int,
    *,
    is_large: bool,
) -> Iterator[tuple[str, Found]]:
    """Yields item-kNN, ALS and, where it fits, EASE, each with the knobs that rank validation best.

    Args:
        prepared: The data.
        validation: Who chooses.
        test: Who is asked in the end.
        task: Of validation.
        seed: Of ALS's first vectors.
        is_large: Whether a fit takes minutes: ALS has a grid of fewer points then, and no more than
            `MOST_RANKED` validation users choose.
    """
    train, n_items = prepared.dataset.train, prepared.dataset.n_items

    rows = np.arange(len(validation.queries))
    if is_large and len(rows) > MOST_RANKED:
        rows = np.sort(np.random.default_rng(0).choice(rows, MOST_RANKED, replace=False))
    sample = task.rows(rows)

    def best(points: Mapping[str, Fitter]) -> Found:
        ranked = {
            knobs: metric_of(scorer(fit(validation.known), rows), sample) for knobs, fit in points.items()
        }
        knobs = max(ranked, key=lambda name: ranked[name])
        return Found(knobs, ranked[knobs], scorer(points[knobs](test.known)))

    of_train = partial(_fit, train=train, n_items=n_items, seed=seed, widest={})
    grids = {"item_knn": KNN_GRID, "als": LARGE_ALS_GRID if is_large else ALS_GRID}
    for name, grid in grids.items():
        yield name, best({words: partial(of_train, name, config) for words, config in points_of(grid)})
    if n_items <= LARGEST_EASE:
        yield "ease", best({f"regularization {r:g}": partial(EASE.fit, train, n_items, r) for r in EASE_GRID})


def _fit(
    name: str,
    config: BaselinesConfig,
    known: Interactions,
    *,
    train: Interactions,
    n_items: int,
    seed: int,
    widest: dict[tuple[float, float], ItemKNN],
) -> Baseline:
    """Returns item-kNN or ALS of some knobs, asked with what is known; keeps the widest kNN in `widest`."""
    if name == "als":
        return ALS.fit(train, n_items, config, histories=known, seed=seed)
    key = config.knn_shrinkage, config.knn_user_damping
    if key not in widest:
        most = replace(config, knn_neighbours=int(max(KNN_GRID["knn_neighbours"])))
        widest[key] = ItemKNN.fit(train, n_items, most, histories=known)
    found = widest[key]
    similarity = nearest(found.similarity, config.knn_neighbours)
    return ItemKNN(similarity, user_item_matrix(known, n_items), found.popular)


def nearest(similarity: "csr_matrix[np.float32]", n_neighbours: int) -> "csr_matrix[np.float32]":
    """Returns the first entries of each row, of which the best stand first."""
    sizes = np.diff(similarity.indptr)
    place = np.arange(similarity.nnz) - np.repeat(similarity.indptr[:-1], sizes)
    is_kept = place < n_neighbours
    offsets = np.concatenate(([0], np.cumsum(np.minimum(sizes, n_neighbours))))
    return csr_matrix_class()(
        (similarity.data[is_kept], similarity.indices[is_kept], offsets), shape=similarity.shape
    )


def search_bpr(prepared: Prepared, common: Sequence[str], test: JudgedPart) -> Found:
    """Returns matrix factorisation with BPR, by our own towers, with the knobs that rank validation best.

    Args:
        prepared: The data.
        common: Overrides that it was prepared with.
        test: Who is asked in the end.
    """
    fits = {}
    for rate, decay in BPR_GRID:
        knobs = (f"optimizer.learning_rate={rate}", f"optimizer.weight_decay={decay}")
        config = compose_config(["data=lightgcn-split", *common, *BPR, *knobs])
        fits[f"learning rate {rate}, weight decay {decay}"] = fit_on(
            prepared.dataset, prepared.validation, config
        )
    best = max(fits, key=lambda name: fits[name].validation_ndcg)
    return Found(best, fits[best].validation_ndcg, score_queries(fits[best].model, test.queries))


def points_of(grid: Mapping[str, Sequence[float]]) -> Iterator[tuple[str, BaselinesConfig]]:
    """Yields every point of a grid, in words and as the config of the baselines."""
    for values in product(*grid.values()):
        named = dict(zip(grid, values, strict=True))
        words = ", ".join(f"{name.partition('_')[2]} {value:g}" for name, value in named.items())
        yield words, BaselinesConfig(**named)  # type: ignore[arg-type] # whole numbers where these are wanted


def metric_of(scores: ScoreBlock, task: EvaluationTask) -> float:
    """Returns the metric of one method."""
    found = evaluate({"one": scores}, task, np.random.default_rng(0), n_resamples=1)
    return found.models["one"].estimates[METRIC].mean


def scorer(baseline: Baseline, queries: IndexArray | None = None) -> ScoreBlock:
    """Returns the scorer of a baseline, of all queries or of some of them; query i stands in row i + 1."""
    # Row 0 of the histories is nobody.
    if queries is None:
        return lambda rows: baseline.scores(np.arange(rows.start + 1, rows.stop + 1))
    return lambda rows: baseline.scores(queries[rows] + 1)
