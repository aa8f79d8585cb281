"""Neighbours against their definition, over sets of users."""

import math

import numpy as np
import pytest

from marquee.core.cooccurrence import ItemNeighbours, nearest_items, user_item_matrix
from marquee.core.histories import Interactions

USERS = (1, 1, 1, 2, 2, 3, 3, 3, 3)
ITEMS = (1, 2, 1, 2, 3, 1, 2, 3, 5)
N_ITEMS = 6


def interactions() -> Interactions:
    ones = np.ones(len(USERS), dtype=np.int64)
    return Interactions.group(
        np.array(USERS), np.array(ITEMS), ones, ones, ones.astype(np.float32), n_users=3
    )


def similarities(damping: float) -> dict[int, dict[int, float]]:
    """Returns item → other item found with it → similarity, by the definition."""
    items_of = {u: {i for v, i in zip(USERS, ITEMS, strict=True) if v == u} for u in set(USERS)}
    users_of = {i: {u for u in items_of if i in items_of[u]} for i in range(1, N_ITEMS + 1)}
    return {
        i: {
            j: sum(len(items_of[u]) ** -damping for u in users_of[i] & users_of[j])
            / math.sqrt(len(users_of[i]) * len(users_of[j]))
            for j in users_of
            if j != i and users_of[i] & users_of[j]
        }
        for i in users_of
    }


def test_pair_counts_once_however_often_it_occurs() -> None:
    matrix = user_item_matrix(interactions(), N_ITEMS).toarray()
    assert matrix[1].tolist() == [0, 1, 1, 0, 0, 0, 0]
    assert not matrix[0].any()


@pytest.mark.parametrize("damping", [0.0, 1.0])
@pytest.mark.parametrize("n_neighbours", [1, 2, 9])
def test_neighbours_are_the_most_similar_items(n_neighbours: int, damping: float) -> None:
    found = ItemNeighbours.find(interactions(), N_ITEMS, n_neighbours=n_neighbours, user_damping=damping)
    assert found.items.shape == found.weights.shape == (N_ITEMS + 1, n_neighbours)
    for item, others in similarities(damping).items():
        best = sorted(others, key=lambda j: (-others[j], j))[:n_neighbours]
        assert found.items[item].tolist() == best + [0] * (n_neighbours - len(best))
        total = sum(others[j] for j in best)
        expected = [others[j] / total for j in best] + [0.0] * (n_neighbours - len(best))
        assert found.weights[item].tolist() == pytest.approx(expected)


def test_item_found_with_no_other_has_no_neighbour() -> None:
    found = ItemNeighbours.find(interactions(), N_ITEMS, n_neighbours=3, user_damping=0.0)
    for item in (0, 4, 6):  # padding, and two that nobody had
        assert not found.items[item].any()
        assert not found.weights[item].any()


def test_shrinkage_pulls_similarity_down() -> None:
    plain, shrunk = (
        nearest_items(interactions(), N_ITEMS, n_neighbours=3, user_damping=0.0, shrinkage=shrinkage)
        for shrinkage in (0.0, 2.0)
    )
    assert plain[1, 2] == pytest.approx(2 / math.sqrt(2 * 3))
    assert shrunk[1, 2] == pytest.approx(2 / (math.sqrt(2 * 3) + 2))
