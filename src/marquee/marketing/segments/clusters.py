"""Clusters of vectors, and how many: as many as seeds agree on."""

from dataclasses import dataclass

import numpy as np

from marquee.core.arrays import Float64Array, IndexArray
from marquee.errors import ConfigError, DataError
from marquee.marketing.scoring.models import INSTALL

N_SEEDS = 5
# Two draws of the same clusters must tell each other's.
AGREEMENT = 0.7
_STARTS = 4
_MAX_ROWS = 20_000


@dataclass(frozen=True)
class Clusters:
    """Clusters of rows.

    Attributes:
        label: Of each row, 0 to k − 1, the largest cluster first, (n,).
        centres: (k, dim).
        agreement: k → mean NMI between seeds, of every k that was tried.
    """

    label: IndexArray
    centres: Float64Array
    agreement: dict[int, float]


def find_clusters(vectors: Float64Array, k: int, max_k: int, min_size: int, seed: int) -> Clusters:
    """Returns clusters of vectors.

    Args:
        vectors: (n, dim).
        k: How many; 0 for the largest number up to `max_k` that seeds agree on.
        max_k: Largest number that is tried.
        min_size: A number of clusters of which one is smaller is not taken.
        seed: Of the draws.

    Raises:
        DataError: If there are too few rows for two clusters.
        ConfigError: If scikit-learn is not installed.
    """
    if len(vectors) < 2 * min_size:
        raise DataError(
            f"segments of {min_size} customers or more need {2 * min_size} customers, got {len(vectors)}; "
            "lower min_size, or wait for more"
        )
    agreement = {}
    best: tuple[int, IndexArray, Float64Array] | None = None
    for number in [k] if k else range(2, max_k + 1):
        runs = [_fit(vectors, number, seed + draw) for draw in range(N_SEEDS)]
        pairs = [(one, other) for one in range(N_SEEDS) for other in range(one)]
        agreement[number] = float(np.mean([mutual_information(runs[a][0], runs[b][0]) for a, b in pairs]))
        label, centres, _ = min(runs, key=lambda run: run[2])
        is_large = np.bincount(label, minlength=number).min() >= min_size
        if k or best is None or (is_large and agreement[number] >= AGREEMENT):
            best = number, label, centres
    assert best is not None, f"k={k}, max_k={max_k} tried nothing"
    number, label, centres = best
    # By size: the number that a seed gives a cluster means nothing.
    order = np.argsort(-np.bincount(label, minlength=number), kind="stable")
    place = np.argsort(order, kind="stable")
    return Clusters(place[label], centres[order], agreement)


def mutual_information(first: IndexArray, second: IndexArray) -> float:
    """Returns the normalised mutual information of two labellings: 1 if they are one, 0 if unrelated.

    Args:
        first: (n,), labels from 0.
        second: (n,), labels from 0.

    Source:
        Strehl and Ghosh 2002, JMLR 3; normalised by the mean of both entropies.

    Example:
        >>> mutual_information(np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0]))
        1.0
    """
    n = len(first)
    joint = np.zeros((first.max() + 1, second.max() + 1))
    np.add.at(joint, (first, second), 1.0)
    joint /= n
    rows, columns = joint.sum(axis=1), joint.sum(axis=0)
    present = joint > 0
    shared = float((joint[present] * np.log(joint[present] / np.outer(rows, columns)[present])).sum())
    entropies = [-float((part[part > 0] * np.log(part[part > 0])).sum()) for part in (rows, columns)]
    mean = sum(entropies) / 2
    return round(shared / mean, 12) if mean > 0 else 1.0


def _fit(vectors: Float64Array, k: int, seed: int) -> tuple[IndexArray, Float64Array, float]:
    """Returns labels, centres and the sum of squared distances of one draw."""
    try:
        from sklearn.cluster import KMeans
    except ImportError as error:
        raise ConfigError(f"clusters need scikit-learn, got {error}; run: {INSTALL}") from error
    drawn = vectors
    if len(vectors) > _MAX_ROWS:
        # Centres of so many rows are as good as those of all, and found in a fraction of the time.
        drawn = vectors[np.sort(np.random.default_rng(seed).permutation(len(vectors))[:_MAX_ROWS])]
    fitted = KMeans(k, n_init=_STARTS, random_state=seed).fit(drawn)
    label = fitted.predict(vectors).astype(np.int64)
    centres = np.asarray(fitted.cluster_centers_, dtype=np.float64)
    return label, centres, float(((vectors - centres[label]) ** 2).sum())
