"""The simple models that a learned one has to beat: what is popular, what is popular now, what goes together.

Each is fitted on the training interactions and scores queries like any other model, so that evaluation
cannot treat it differently. An item counts once per user, however often the user came back to it.

What a query's user had done before is its history. Histories are `Interactions` grouped by query, from
row 1 on; without them the users of training are the queries, each with its training interactions. A query
without history gets the popular list from all of them.
Does not rank and does not exclude (see `ranking`).
"""

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from marquee.core.arrays import BoolArray, FloatArray, IndexArray
from marquee.core.cooccurrence import distinct_pairs, nearest_items, user_item_matrix
from marquee.core.histories import Interactions
from marquee.errors import ConfigError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

SECONDS_PER_DAY = 86_400
WEEK_DAYS = 7.0
# What is popular now must rest on some interactions: a week of data of decades holds hardly any.
RECENT_FRACTION, RECENT_EVENTS = 0.01, 100
IMPLICIT_INSTALL = "pip install 'marquee[als]'"


class Baseline(Protocol):
    """A baseline: fitted on interactions, it scores queries."""

    def scores(self, history_index: IndexArray) -> FloatArray:
        """Returns the score of every item for the queries in some rows of the histories.

        Args:
            history_index: Row of each query, (batch,) int64; 0 for a query without history.

        Returns:
            (batch, n_items + 1) float32, free to overwrite.
        """
        ...


@dataclass(kw_only=True)
class BaselinesConfig:
    """Which baselines stand beside the model, and their knobs.

    Attributes:
        recent_half_life_days: Recent popularity: an interaction this old counts half; None for 7 days, or
            what the pace of the data asks for, see `RecentPopularity.fit`.
        knn_neighbours: Item-kNN: most similar items kept per item.
        knn_shrinkage: Item-kNN: added to the denominator of the cosine, pulls rare items' similarity down.
        knn_user_damping: Item-kNN: a user of n items counts n^−damping where two items meet; 0 gives the
            plain cosine, more lets users of few items say more.
        als: Fit ALS if its package is installed; without it the report names the install command.
        als_dim: ALS: length of the vectors.
        als_regularization: ALS: weight of the squared lengths of the vectors.
        als_alpha: ALS: confidence of an interaction, against 1 for its absence.
        als_iterations: ALS: passes over the data.
    """

    recent_half_life_days: float | None = None
    knn_neighbours: int = 200
    knn_shrinkage: float = 10.0
    knn_user_damping: float = 0.5
    als: bool = True
    als_dim: int = 64
    als_regularization: float = 1.0
    als_alpha: float = 10.0
    als_iterations: int = 15

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError, naming the key, if a value is out of its range."""
        for key in ("recent_half_life_days", "als_alpha"):
            value = getattr(self, key)
            if value is not None and not value > 0:
                raise ConfigError(f"{key} must be above 0, got {value} (config baselines.{key})")
        for key in ("knn_neighbours", "als_dim", "als_iterations"):
            if getattr(self, key) < 1:
                raise ConfigError(
                    f"{key} must be 1 or more, got {getattr(self, key)} (config baselines.{key})"
                )
        for key in ("knn_shrinkage", "knn_user_damping", "als_regularization"):
            if not getattr(self, key) >= 0:
                raise ConfigError(
                    f"{key} must be 0 or more, got {getattr(self, key)} (config baselines.{key})"
                )


@dataclass(frozen=True)
class FittedBaselines:
    """The baselines of one training set.

    Attributes:
        models: Name in results → fitted baseline.
        left_out: Name → why it could not be fitted, with what to do about it.
    """

    models: dict[str, Baseline]
    left_out: dict[str, str]


def fit_baselines(
    train: Interactions,
    n_items: int,
    config: BaselinesConfig,
    *,
    histories: Interactions | None = None,
    has_absolute_time: bool,
    seed: int,
) -> FittedBaselines:
    """Fits every baseline that the data and the installed packages allow, and says why not for the others.

    Args:
        train: What the baselines may learn from.
        n_items: Items of the catalog, without the padding one.
        config: Their knobs.
        histories: What each query's user had done; `train` if None.
        has_absolute_time: Whether timestamps are seconds and comparable between users.
        seed: Seed of ALS's initial vectors.
    """
    models: dict[str, Baseline] = {"popularity": Popularity.fit(train, n_items)}
    left_out: dict[str, str] = {}
    if has_absolute_time:
        models["recent_popularity"] = RecentPopularity.fit(train, n_items, config.recent_half_life_days)
    else:
        # Orders of events without dates have no age.
        left_out["recent_popularity"] = "left out: it needs timestamps that can be compared between users"
    models["item_knn"] = ItemKNN.fit(train, n_items, config, histories=histories)
    if not config.als:
        left_out["als"] = "left out: switched off (config baselines.als)"
    # Looked up first: a package that is missing leaves ALS out and stops no other baseline.
    elif importlib.util.find_spec("implicit") is None:
        left_out["als"] = f"left out: the package implicit is not installed; run: {IMPLICIT_INSTALL}"
    else:
        models["als"] = ALS.fit(train, n_items, config, histories=histories, seed=seed)
    return FittedBaselines(models, left_out)


@dataclass(frozen=True)
class Popularity:
    """Scores an item by the number of users who interacted with it; the same for every user.

    Attributes:
        item_scores: (n_items + 1,) float32, 0 for padding.
    """

    item_scores: FloatArray

    @classmethod
    def fit(cls, train: Interactions, n_items: int) -> "Popularity":
        """Counts the users of each item."""
        # One count per user: somebody who comes back every day must not make an item popular alone.
        _, items, _ = distinct_pairs(train)
        return cls(np.bincount(items, minlength=n_items + 1).astype(np.float32))

    def scores(self, history_index: IndexArray) -> FloatArray:
        """See `Baseline.scores`."""
        return np.tile(self.item_scores, (len(history_index), 1))


@dataclass(frozen=True)
class RecentPopularity:
    """Scores an item by its users, each weighted by 2^(−age / half-life) of the last time they came to it.

    Age is counted back from the last training event: nothing is known of the moment of the request.

    Attributes:
        item_scores: (n_items + 1,) float32, 0 for padding.
    """

    item_scores: FloatArray

    @classmethod
    def fit(
        cls, train: Interactions, n_items: int, half_life_days: float | None = None
    ) -> "RecentPopularity":
        """Sums the weights of each item's users; timestamps must be in seconds.

        Args:
            train: Interactions.
            n_items: Items of the catalog, without the padding one.
            half_life_days: None for a week, unless half of the interactions are younger, or less than a
                hundredth or a hundred of them: then the age that these do not exceed.
        """
        _, items, timestamp = distinct_pairs(train)
        # Back from the last training event: the moment of the request is not known.
        age_days = (timestamp.max(initial=0) - timestamp) / SECONDS_PER_DAY
        weight = np.exp2(-age_days / (half_life_days or _half_life_by_pace(age_days)))
        return cls(np.bincount(items, weight, minlength=n_items + 1).astype(np.float32))

    def scores(self, history_index: IndexArray) -> FloatArray:
        """See `Baseline.scores`."""
        return np.tile(self.item_scores, (len(history_index), 1))


def _half_life_by_pace(age_days: FloatArray) -> float:
    """Returns a week, or as much less or more as data of hours or of decades need.

    Example:
        >>> _half_life_by_pace(np.arange(365.0).repeat(100)), _half_life_by_pace(np.arange(101) / 1000)
        (7.0, 0.05)
        >>> round(_half_life_by_pace(np.arange(10_000.0)))
        100
    """
    n_events = len(age_days)
    if not n_events:
        return WEEK_DAYS
    share = max(RECENT_FRACTION, min(RECENT_EVENTS / n_events, 0.5))
    youngest, half = np.quantile(age_days, (share, 0.5))
    # 0 where half of them are of the last moment: nothing is known of how fast the others age.
    return float(np.clip(WEEK_DAYS, youngest, half)) if half > 0 else WEEK_DAYS


@dataclass(frozen=True)
class ItemKNN:
    """Scores an item by the items of the user's history that have it among their neighbours.

    similarity(i, j) = Σ over users u of both: (items of u)^−damping / (√(users of i · users of j) +
    shrinkage); the neighbours of i are its most similar j; the score of j is the sum of similarity(i, j)
    over the items i of the history.

    Attributes:
        similarity: Similarity of each item (row) to its neighbours, (n_items + 1, n_items + 1).
        histories: Items of each history, 1 or absent, (n_histories + 1, n_items + 1).
        popular: Scores where there is no history, (n_items + 1,) float32.

    Source:
        Deshpande and Karypis 2004, ACM TOIS 22(1), section 4.1: users of fewer items say more. Differs from
        the paper: by a power of one's own choosing, and shrunk as in Ferrari Dacrema et al. 2021, ACM TOIS
        39(2), section 3.2; rows are not normalised.
    """

    similarity: "csr_matrix[np.float32]"
    histories: "csr_matrix[np.float32]"
    popular: FloatArray

    @classmethod
    def fit(
        cls,
        train: Interactions,
        n_items: int,
        config: BaselinesConfig,
        *,
        histories: Interactions | None = None,
        memory_mb: int = 256,
    ) -> "ItemKNN":
        """Finds each item's neighbours, block of items by block of items.

        Args:
            train: Interactions to learn from.
            n_items: Items of the catalog, without the padding one.
            config: The knobs that begin with `knn_`; equally similar items are kept by lower item_index.
            histories: What each query's user had done; `train` if None.
            memory_mb: Bound on the memory of one block of co-occurrences, in MiB.

        Raises:
            ConfigError: If scipy is not installed.
        """
        similarities = nearest_items(
            train,
            n_items,
            n_neighbours=config.knn_neighbours,
            user_damping=config.knn_user_damping,
            shrinkage=config.knn_shrinkage,
            memory_mb=memory_mb,
        )
        known = user_item_matrix(train if histories is None else histories, n_items)
        return cls(similarities, known, Popularity.fit(train, n_items).item_scores)

    def scores(self, history_index: IndexArray) -> FloatArray:
        """See `Baseline.scores`."""
        known = self.histories[history_index]  # (batch, n_items + 1), sparse
        scores: FloatArray = (known @ self.similarity).toarray()
        # An empty row is a query without history: its zeros would rank by item index.
        scores[np.diff(known.indptr) == 0] = self.popular
        return scores


@dataclass(frozen=True)
class ALS:
    """Matrix factorisation by alternating least squares, from the package `implicit`.

    Attributes:
        history_vectors: (n_histories + 1, dim) float32.
        item_vectors: (n_items + 1, dim) float32.
        is_known: Whether there is a history, (n_histories + 1,) bool.
        popular: Scores where there is none, (n_items + 1,) float32.

    Source:
        Hu, Koren and Volinsky 2008, ICDM, "Collaborative Filtering for Implicit Feedback Datasets".
    """

    history_vectors: FloatArray
    item_vectors: FloatArray
    is_known: BoolArray
    popular: FloatArray

    @classmethod
    def fit(
        cls,
        train: Interactions,
        n_items: int,
        config: BaselinesConfig,
        *,
        histories: Interactions | None = None,
        seed: int,
    ) -> "ALS":
        """Factorises the training interactions and solves for the vector of each history.

        Args:
            train: Interactions to learn from.
            n_items: Items of the catalog, without the padding one.
            config: The knobs that begin with `als_`.
            histories: What each query's user had done; `train` if None.
            seed: Seed of the initial vectors.

        Raises:
            ConfigError: If implicit or scipy is not installed.
        """
        try:
            from implicit.cpu.als import AlternatingLeastSquares
            from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types
        except ImportError as error:
            raise ConfigError(
                f"ALS needs the package implicit, got {error}; run: {IMPLICIT_INSTALL}"
            ) from error
        matrix = user_item_matrix(train, n_items)
        known = user_item_matrix(train if histories is None else histories, n_items)
        with threadpool_limits(1, "blas"):  # as implicit asks for: it runs threads of its own
            model = AlternatingLeastSquares(
                factors=config.als_dim,
                regularization=config.als_regularization,
                alpha=config.als_alpha,
                iterations=config.als_iterations,
                random_state=seed,
            )
            model.fit(matrix, show_progress=False)
            # Solved for the histories given: they need not be the users of training.
            history_vectors = model.recalculate_user(np.arange(known.shape[0]), known)
        return cls(
            history_vectors=np.asarray(history_vectors, dtype=np.float32),
            item_vectors=np.asarray(model.item_factors, dtype=np.float32),
            is_known=np.diff(known.indptr) > 0,
            popular=Popularity.fit(train, n_items).item_scores,
        )

    def scores(self, history_index: IndexArray) -> FloatArray:
        """See `Baseline.scores`."""
        scores: FloatArray = self.history_vectors[history_index] @ self.item_vectors.T
        # The vector of an empty history is 0, and its scores all tie.
        scores[~self.is_known[history_index]] = self.popular
        return scores
