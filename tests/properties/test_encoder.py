"""Properties of every query and every item, whichever way a history is pooled."""

from dataclasses import replace
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from marquee.nn.architectures import TwoTowerConfig
from marquee.nn.batches import QueryBatch
from marquee.nn.history_pooling import HistoryPooling
from marquee.nn.models import TwoTower
from tests.support.small_models import LENGTH, N_ITEMS, embed, small_model, small_queries

for_every_pooling = pytest.mark.parametrize("pooling", list(HistoryPooling))
small_run = settings(max_examples=20, deadline=None)
seeds = st.integers(0, 10_000)


@cache
def model_of(pooling: HistoryPooling) -> TwoTower:
    return small_model(TwoTowerConfig(dim=6, hidden=5, history_pooling=pooling))


def rows_of(query: QueryBatch, rows: list[int]) -> QueryBatch:
    return QueryBatch(
        query.user_index[rows],
        query.tokens[rows],
        query.numeric[rows],
        query.history_items[rows],
        query.history_kinds[rows],
    )


@for_every_pooling
@small_run
@given(seeds, st.integers(1, 7), st.data())
def test_row_does_not_depend_on_other_rows(
    pooling: HistoryPooling, seed: int, batch: int, data: st.DataObject
) -> None:
    query = small_queries(batch, seed=seed)
    rows = data.draw(st.lists(st.integers(0, batch - 1), min_size=1, max_size=3))
    together = embed(model_of(pooling), query)
    torch.testing.assert_close(embed(model_of(pooling), rows_of(query, rows)), together[rows])


@for_every_pooling
@small_run
@given(seeds, st.integers(0, 2 * LENGTH))
def test_longer_padding_does_not_change_the_query(pooling: HistoryPooling, seed: int, more: int) -> None:
    query = small_queries(3, seed=seed)
    padded = replace(
        query,
        history_items=F.pad(query.history_items, (more, 0)),
        history_kinds=F.pad(query.history_kinds, (more, 0)),
    )
    torch.testing.assert_close(embed(model_of(pooling), padded), embed(model_of(pooling), query))


@for_every_pooling
@small_run
@given(seeds, st.integers(0, 2 * LENGTH))
def test_any_length_of_history_is_finite(pooling: HistoryPooling, seed: int, length: int) -> None:
    got = embed(model_of(pooling), small_queries(3, length, seed))  # row 0 is all padding
    assert torch.isfinite(got).all()
    torch.testing.assert_close(got[:, :-1].norm(dim=1), torch.ones(3))


@for_every_pooling
@small_run
@given(seeds)
def test_what_stands_under_padding_is_not_read(pooling: HistoryPooling, seed: int) -> None:
    query = small_queries(4, seed=seed)
    model = model_of(pooling)
    vectors = model.embed_items(torch.arange(N_ITEMS + 1))[query.history_items]
    noise = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(seed))
    disturbed = torch.where((query.history_kinds == 0)[:, :, None], noise, vectors)
    torch.testing.assert_close(model.embed_queries(query, disturbed), model.embed_queries(query, vectors))


@small_run
@given(st.permutations(range(LENGTH)))
def test_mean_pooling_ignores_the_order(order: list[int]) -> None:
    query = small_queries(3)
    shuffled = replace(
        query, history_items=query.history_items[:, order], history_kinds=query.history_kinds[:, order]
    )
    model = model_of(HistoryPooling.mean)
    torch.testing.assert_close(embed(model, shuffled), embed(model, query))


@small_run
@given(st.lists(st.integers(0, N_ITEMS), min_size=1, max_size=12))
def test_item_does_not_depend_on_other_items(items: list[int]) -> None:
    model = model_of(HistoryPooling.mean)
    catalog = model.embed_items(torch.arange(N_ITEMS + 1))
    torch.testing.assert_close(model.embed_items(torch.tensor(items)), catalog[items])
