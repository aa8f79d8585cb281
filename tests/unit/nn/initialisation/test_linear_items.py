"""The linear part: exact where it is as long as the catalog, near where it is shorter, added to scores."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from marquee.core.arrays import FloatArray
from marquee.core.histories import Interactions
from marquee.errors import ConfigError
from marquee.nn.architectures import TwoTowerConfig
from marquee.nn.initialisation.linear_items import SCALE_EXPONENT, LinearItems
from tests.support.small_models import N_ITEMS, N_TRAINED_ITEMS, embed, small_model, small_queries

N_SHOP, N_USERS = 30, 80
REGULARIZATION = 5.0
EVERY_ITEM = torch.arange(N_ITEMS + 1)


@pytest.fixture(scope="module")
def lists() -> Interactions:
    """Of two tastes; the last item has no user."""
    draw = np.random.default_rng(0)
    half = N_SHOP // 2
    items = [1 + draw.permutation(half - 1)[:6] + half * (user % 2) for user in range(N_USERS)]
    users = np.repeat(np.arange(1, N_USERS + 1), 6)
    ones = np.ones(len(users), dtype=np.int64)
    return Interactions.group(
        users, np.concatenate(items), ones, ones, ones.astype(np.float32), n_users=N_USERS
    )


def linear(lists: Interactions, rank: int) -> FloatArray:
    generator = np.random.default_rng(1)
    found = LinearItems.find(lists, N_SHOP, rank=rank, regularization=REGULARIZATION, generator=generator)
    return found.vectors


def weights_of(lists: Interactions) -> FloatArray:
    """Returns the weights by the formula, in the scale of one item's weight on another."""
    matrix = np.zeros((N_USERS + 1, N_SHOP + 1))
    matrix[lists.user_index, lists.item_index] = 1.0
    inverse = np.linalg.inv(matrix.T @ matrix + REGULARIZATION * np.eye(N_SHOP + 1))
    scale = np.diag(inverse) ** -SCALE_EXPONENT
    return np.asarray(-inverse * scale[:, None] * scale)


def correlation(found: FloatArray, wanted: FloatArray) -> float:
    """Returns how alike the weights of different items are."""
    others = ~np.eye(N_SHOP + 1, dtype=np.bool_)
    others[0] = others[:, 0] = False
    return float(np.corrcoef((found @ found.T)[others], wanted[others])[0, 1])


def test_vectors_as_long_as_the_catalog_hold_the_weights_exactly(lists: Interactions) -> None:
    assert correlation(linear(lists, N_SHOP), weights_of(lists)) == pytest.approx(1.0, abs=1e-5)


def test_shorter_vectors_come_near_and_longer_ones_nearer(lists: Interactions) -> None:
    near = [correlation(linear(lists, rank), weights_of(lists)) for rank in (2, 6, 16)]
    assert near == sorted(near)
    assert near[-1] > 0.9


def test_scores_of_users_spread_by_one_and_nobodys_item_has_none(lists: Interactions) -> None:
    vectors = linear(lists, 12)
    assert vectors.shape == (N_SHOP + 1, 12)
    assert not vectors[[0, N_SHOP]].any()
    matrix = np.zeros((N_USERS + 1, N_SHOP + 1), dtype=np.float32)
    matrix[lists.user_index, lists.item_index] = 1.0
    scores = matrix[1:] @ vectors / np.sqrt(6) @ vectors[1:].T
    assert scores.std() == pytest.approx(1.0, rel=1e-3)


def part(weight: float = 0.3) -> torch.Tensor:
    vectors = torch.randn(N_TRAINED_ITEMS + 1, 4, generator=torch.Generator().manual_seed(3))
    vectors *= weight**0.5
    vectors[0] = 0.0
    return vectors


def test_an_attached_part_adds_its_scores_to_those_that_were_learned() -> None:
    queries, vectors = small_queries(3), part()
    model = small_model(TwoTowerConfig(dim=6))
    alone = embed(model, queries) @ model.embed_items(EVERY_ITEM).T
    model.attach_linear(vectors)
    together = embed(model, queries) @ model.embed_items(EVERY_ITEM).T
    padded = torch.cat([vectors, torch.zeros(N_ITEMS - N_TRAINED_ITEMS, 4)])  # items without a row have none
    n_events = (queries.history_kinds > 0).sum(dim=1).clamp_min(1)
    summed = (padded[queries.history_items] * (queries.history_kinds > 0)[:, :, None]).sum(dim=1)
    expected = summed / n_events.sqrt()[:, None] @ padded.T
    torch.testing.assert_close(together - alone, expected, atol=1e-5, rtol=1e-5)
    assert model.out_dim == 6 + 4 + 1


def test_training_goes_on_without_the_part() -> None:
    model = small_model(TwoTowerConfig(dim=6))
    model.train()
    alone = model.embed_items(EVERY_ITEM).shape
    model.attach_linear(part())
    assert model.embed_items(EVERY_ITEM).shape == alone


def test_a_part_without_a_history_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.linear_rank reads histories: 8 needs model\.history=true"):
        TwoTowerConfig(linear_rank=8, history=False)
    with pytest.raises(ConfigError, match=r"linear_regularization above 0, got True and 0\.0"):
        replace(TwoTowerConfig(linear_rank=8), linear_regularization=0.0)
