"""Who is like a list of seeds, told apart from who is merely active.

Seeds of most lists are active customers, so any order by activity finds more of them; what a model adds shows
only among customers who are equally active.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from marquee.bundle.traits.columns import encode
from marquee.bundle.traits.pseudonyms import pseudonym
from marquee.core.arrays import BoolArray, Float64Array
from marquee.errors import DataError, MissingColumnError
from marquee.evaluation.probabilities.calibration import LogisticHead
from marquee.evaluation.probabilities.metrics import auc
from marquee.marketing.config import AudienceConfig
from marquee.marketing.reading.customers import USER_ID, Customers, read_ids
from marquee.marketing.reading.vectors import read_vectors
from marquee.marketing.scoring.encoding import Ages, column_values, fit_columns
from marquee.marketing.scoring.folds import draw_folds
from marquee.marketing.scoring.models import straight_terms

LIKENESS = "likeness"
MIN_SEEDS = 20
RIDGE = 100.0
N_TENTHS = 10


@dataclass(frozen=True)
class JudgedLookalike:
    """How well seeds are found again, by models that did not see them.

    Attributes:
        n_seeds: Customers on the list.
        auc: Of the model over all customers.
        auc_activity: Of activity alone; NaN where nothing says how active a customer is.
        auc_within: Of the model among customers who are equally active.
        auc_activity_within: Of activity among them: what is left of it within a tenth.
    """

    n_seeds: int
    auc: float
    auc_activity: float
    auc_within: float
    auc_activity_within: float


def lookalike_scores(features: Float64Array, is_seed: BoolArray) -> Float64Array:
    """Returns how like the seeds every customer is, in (0, 1), (n,).

    Args:
        features: Vectors, attributes and activity, (n, dim).
        is_seed: (n,) bool.

    Raises:
        DataError: If there are too few seeds.
    """
    n_seeds = int(is_seed.sum())
    if n_seeds < MIN_SEEDS or n_seeds == len(is_seed):
        raise DataError(
            f"a list of seeds needs {MIN_SEEDS} known customers and some others, got {n_seeds} of "
            f"{len(is_seed)}; add seeds, or check that their ids are those of the table"
        )
    return LogisticHead.fit(features, is_seed, ridge=RIDGE).probabilities(features)


def cross_lookalike(features: Float64Array, is_seed: BoolArray, seed: int) -> Float64Array:
    """Returns the scores of customers by models that were fitted on others, (n,).

    Args:
        features: (n, dim).
        is_seed: (n,) bool.
        seed: Of the folds.
    """
    fold = draw_folds(is_seed, seed)
    found = np.zeros(len(is_seed))
    for number in range(int(fold.max()) + 1):
        is_held = fold == number
        head = LogisticHead.fit(features[~is_held], is_seed[~is_held], ridge=RIDGE)
        found[is_held] = head.probabilities(features[is_held])
    return found


def judge_lookalike(
    features: Float64Array, activity: Float64Array | None, is_seed: BoolArray, seed: int
) -> JudgedLookalike:
    """Returns how well the model finds seeds, beside activity.

    Args:
        features: (n, dim).
        activity: How active a customer is, (n,); None where nothing says it.
        is_seed: (n,) bool.
        seed: Of the folds.
    """
    score = cross_lookalike(features, is_seed, seed)
    if activity is None:
        unknown = float("nan")
        return JudgedLookalike(int(is_seed.sum()), auc(score, is_seed), unknown, unknown, unknown)
    return JudgedLookalike(
        n_seeds=int(is_seed.sum()),
        auc=auc(score, is_seed),
        auc_activity=auc(as_probability(activity), is_seed),
        auc_within=auc_within(score, is_seed, activity),
        auc_activity_within=auc_within(as_probability(activity), is_seed, activity),
    )


def auc_within(score: Float64Array, is_member: BoolArray, activity: Float64Array) -> float:
    """Returns the AUC among pairs of customers of one tenth of activity; NaN without such a pair.

    Args:
        score: (n,) in [0, 1].
        is_member: (n,) bool.
        activity: (n,).
    """
    # By rank: equally active customers are in one tenth, however many they are.
    order = np.searchsorted(np.sort(activity), activity, side="left")
    tenth = order * N_TENTHS // len(activity)
    total, pairs = 0.0, 0
    for number in range(N_TENTHS):
        own = tenth == number
        n_pairs = int(is_member[own].sum()) * int((~is_member[own]).sum())
        if n_pairs:
            total += n_pairs * auc(score[own], is_member[own])
            pairs += n_pairs
    return total / pairs if pairs else float("nan")


def as_probability(values: Float64Array) -> Float64Array:
    """Returns values scaled to [0, 1], in the same order."""
    spread = values.max() - values.min()
    return np.asarray((values - values.min()) / spread if spread > 0 else np.zeros(len(values)))


def likeness(
    name: str, config: AudienceConfig, customers: Customers, seed: int
) -> tuple[pl.DataFrame, JudgedLookalike]:
    """Returns `user_id` and `likeness` of all who are no seeds and may be looked at, and how good it is.

    Args:
        name: Of the audience.
        config: Its declaration.
        customers: The tables.
        seed: Of the folds.

    Raises:
        DataError: If there are too few seeds, or nothing to be alike in.
    """
    key = f"customers.audiences.{name}"
    seeds = read_ids(customers.root / config.seeds)
    if customers.key:
        seeds = frozenset(pseudonym(one, customers.key) for one in seeds)
    rows = customers.rows.filter(customers.may_be_scored)
    parts: list[Float64Array] = []
    if config.vectors:
        rows, vectors = read_vectors(rows, customers.root / config.vectors, f"{key}.vectors", customers.key)
        parts.append(vectors)
    names = [one for one in customers.kinds if one not in config.ignore]
    values = column_values(rows, names)
    columns = fit_columns(values, Ages(frozenset(), customers.as_of or 0.0))
    if columns:
        parts.append(encode(columns, values)[:, straight_terms(columns)])
    if not parts:
        raise DataError(f"{key}: there is no column to be alike in, left out are {customers.left_out}")
    features = np.concatenate(parts, axis=1)
    is_seed = rows[USER_ID].is_in(list(seeds)).to_numpy()
    score = lookalike_scores(features, is_seed)
    judged = judge_lookalike(features, _activity(rows, config.activity, key), is_seed, seed)
    found = pl.DataFrame({USER_ID: rows[USER_ID], LIKENESS: score})
    return found.filter(pl.Series(~is_seed)), judged


def _activity(rows: pl.DataFrame, column: str, key: str) -> Float64Array | None:
    """Returns how active each customer is, None where nothing says it."""
    name = column or ("orders" if "orders" in rows.columns else "")
    if not name:
        return None
    if name not in rows.columns or not rows[name].dtype.is_numeric():
        raise MissingColumnError(
            f"{key}.activity must be a column of numbers, got {name!r} of {rows.columns}"
        )
    return rows[name].cast(pl.Float64).fill_null(0.0).to_numpy()
