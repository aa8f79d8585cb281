"""Spectral vectors against a dense decomposition of the matrix that is written down by its definition."""

import numpy as np
import numpy.typing as npt
import pytest

from marquee.core.histories import Interactions
from marquee.nn.initialisation.spectral import SpectralItems

N_USERS, N_ITEMS = 30, 20


def interactions(pairs: list[tuple[int, int]], n_users: int = N_USERS) -> Interactions:
    users, items = np.array(pairs).T
    ones = np.ones(len(pairs), dtype=np.int64)
    return Interactions.group(users, items, ones, ones, ones.astype(np.float32), n_users=n_users)


def some_pairs() -> list[tuple[int, int]]:
    """Returns pairs of which some occur twice; item 20 occurs in none, user 0 is unknown."""
    rng = np.random.default_rng(3)
    return [
        (user, item)
        for user in range(N_USERS + 1)
        for item in range(1, N_ITEMS)
        for _ in range(int(rng.random() < 0.3) * int(rng.integers(1, 3)))
    ]


def weighed(pairs: list[tuple[int, int]], a: float, b: float) -> npt.NDArray[np.float64]:
    """Returns D_u^-a R D_i^-b, dense."""
    matrix = np.zeros((N_USERS + 1, N_ITEMS + 1))
    for user, item in pairs:
        matrix[user, item] = float(user > 0)
    of_user, of_item = matrix.sum(axis=1).clip(1), matrix.sum(axis=0).clip(1)
    return np.asarray(np.diag(of_user**-a) @ matrix @ np.diag(of_item**-b))


def find(
    pairs: list[tuple[int, int]], dim: int, a: float = 0.5, b: float = 0.4, seed: int = 0, n_passes: int = 60
) -> SpectralItems:
    return SpectralItems.find(
        interactions(pairs),
        N_ITEMS,
        dim=dim,
        user_exponent=a,
        item_exponent=b,
        n_passes=n_passes,
        generator=np.random.default_rng(seed),
    )


@pytest.mark.parametrize(("a", "b"), [(0.5, 0.4), (0.0, 0.0), (1.0, 0.5)])
def test_vectors_are_the_leading_singular_vectors(a: float, b: float) -> None:
    found = find(some_pairs(), 4, a, b)
    _, strengths, transposed = np.linalg.svd(weighed(some_pairs(), a, b))
    assert found.strengths == pytest.approx(strengths[:4], rel=1e-4)
    alike = np.abs((found.vectors * transposed[:4].T).sum(axis=0))  # of length 1, and of either sign
    assert alike == pytest.approx(np.ones(4), abs=1e-3)


def test_few_passes_already_keep_most_of_the_strength() -> None:
    _, strengths, _ = np.linalg.svd(weighed(some_pairs(), 0.5, 0.4))
    assert np.square(find(some_pairs(), 4, n_passes=2).strengths).sum() > 0.9 * np.square(strengths[:4]).sum()


def test_directions_that_the_data_lack_are_zero() -> None:
    two_camps = [(user, 2 * rank + user % 2 + 1) for user in range(1, N_USERS + 1) for rank in range(3)]
    found = find(two_camps, 5)
    assert (found.strengths > 0).tolist() == [True, True, False, False, False]
    assert not found.vectors[:, 2:].any()
    assert np.isfinite(found.vectors).all()


def test_items_without_interactions_are_zero() -> None:
    found = find(some_pairs(), 4)
    assert not found.vectors[[0, N_ITEMS]].any()
    assert found.vectors[1:N_ITEMS].any(axis=1).all()


def test_pair_counts_once_however_often_it_occurs() -> None:
    twice, once = find(some_pairs(), 4), find(sorted(set(some_pairs())), 4)
    assert np.array_equal(twice.vectors, once.vectors)
    assert twice.n_users.tolist() == [
        len({user for user, item in some_pairs() if item == wanted and user}) for wanted in range(N_ITEMS + 1)
    ]


def test_same_seed_gives_the_same_vectors() -> None:
    first, again, other = (find(some_pairs(), 4, seed=seed, n_passes=1).vectors for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
