"""Whole catalogs and many queries through a model, block by block."""

import numpy as np
import pytest
import torch

from marquee.data.dataset import QueryArrays
from marquee.nn import embed
from marquee.nn.architectures import TwoTowerConfig
from marquee.nn.batches import QueryBatch
from marquee.nn.embed import embed_catalog, embed_queries, evaluation_mode, to_batch
from marquee.nn.models import TwoTower
from tests.support.small_models import N_ITEMS, small_model, small_queries


@pytest.fixture
def model() -> TwoTower:
    return small_model(TwoTowerConfig(dim=6, hidden=4, dropout=0.5))


def as_arrays(query: QueryBatch) -> QueryArrays:
    return QueryArrays(
        query.user_index.numpy(),
        query.tokens.int().numpy(),
        query.numeric.numpy(),
        query.history_items.numpy(),
        query.history_kinds.numpy(),
    )


def test_catalog_is_every_item_and_a_row_of_zeros(model: TwoTower) -> None:
    vectors = embed_catalog(model)
    assert vectors.shape == (N_ITEMS + 1, model.out_dim)
    assert vectors.dtype == np.float32
    assert not vectors[0].any()
    for item in range(1, N_ITEMS + 1):
        alone = model.embed_items(torch.tensor([item])).detach().numpy()[0]
        np.testing.assert_allclose(vectors[item], alone, atol=1e-6)


def test_queries_are_embedded_with_the_catalog_as_history(model: TwoTower) -> None:
    query, vectors = small_queries(5), embed_catalog(model)
    history = torch.from_numpy(vectors)[query.history_items]
    expected = model.embed_queries(query, history).detach().numpy()
    np.testing.assert_allclose(embed_queries(model, vectors, as_arrays(query)), expected, atol=1e-6)


def test_size_of_blocks_is_of_no_account(model: TwoTower, monkeypatch: pytest.MonkeyPatch) -> None:
    queries = as_arrays(small_queries(7))
    items = embed_catalog(model)
    whole = embed_queries(model, items, queries)
    monkeypatch.setattr(embed, "BLOCK_ROWS", 3)
    np.testing.assert_allclose(embed_catalog(model), items, atol=1e-6)
    np.testing.assert_allclose(embed_queries(model, items, queries), whole, atol=1e-6)
    monkeypatch.setattr(embed, "BLOCK_EVENTS", 1)  # less than one history: a query is the smallest block
    np.testing.assert_allclose(embed_queries(model, items, queries), whole, atol=1e-6)


def test_no_query_gives_no_row(model: TwoTower) -> None:
    none = as_arrays(small_queries(3)).rows(slice(0, 0))
    assert embed_queries(model, embed_catalog(model), none).shape == (0, model.out_dim)


@pytest.mark.parametrize("mode", [True, False], ids=["train", "eval"])
def test_embedding_restores_the_mode(model: TwoTower, mode: bool) -> None:
    model.train(mode)
    first, again = embed_catalog(model), embed_catalog(model)
    assert model.training is mode
    assert np.array_equal(first, again)  # and drops nothing out meanwhile


def test_mode_is_restored_after_an_error(model: TwoTower) -> None:
    model.train()
    with pytest.raises(IndexError), evaluation_mode(model):
        model.embed_items(torch.tensor([N_ITEMS + 1]))
    assert model.training
    assert torch.is_grad_enabled()


def test_arrays_become_tensors_of_the_same_values() -> None:
    query = small_queries(4)
    batch = to_batch(as_arrays(query))
    assert torch.equal(batch.tokens, query.tokens)
    assert batch.tokens.dtype == torch.int64
    assert torch.equal(batch.history_items, query.history_items)
    assert torch.equal(batch.numeric, query.numeric)
    assert torch.equal(batch.user_index, query.user_index)
    assert torch.equal(batch.history_kinds, query.history_kinds)
