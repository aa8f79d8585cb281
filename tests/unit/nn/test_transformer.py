"""The causal transformer: what each event may see, and that one pass serves every event of a history."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from marquee.errors import ConfigError
from marquee.nn import transformer as module
from marquee.nn.architectures import TwoTowerConfig
from marquee.nn.batches import HistoryViews
from marquee.nn.history_pooling import HistoryPooling
from marquee.nn.towers import TowersConfig
from marquee.nn.transformer import Block, CausalTransformer
from tests.support.small_models import LENGTH, N_ITEMS, N_KINDS, embed, small_model, small_queries

DIM, HEADS = 6, 2
CONFIG = TowersConfig(
    dim=DIM, history_pooling=HistoryPooling.transformer, n_blocks=2, n_heads=HEADS, expansion=3, dropout=0.4
)

ROTARY = replace(CONFIG, n_heads=3, rotary=True)
BOTH = pytest.mark.parametrize("config", [CONFIG, ROTARY], ids=["places", "rotary"])


def transformer(config: TowersConfig = CONFIG) -> CausalTransformer:
    """Returns one with no parameter at its starting value."""
    torch.manual_seed(3)
    encoder = config.build_history(N_KINDS, LENGTH)
    assert isinstance(encoder, CausalTransformer)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.5)
        encoder.kind.weight[0] = 0.0
    return encoder.eval()


def histories(batch: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    """Returns a table of item vectors with zeros for padding, and items and kinds of some histories."""
    query = small_queries(batch)
    table = torch.randn(N_ITEMS + 1, DIM, generator=torch.Generator().manual_seed(5))
    table[0] = 0.0
    return table, query.history_items, query.history_kinds


def every_view(kinds: Tensor) -> tuple[Tensor, Tensor]:
    """Returns row and end of all parts of all histories, from nothing to everything."""
    n_rows, length = kinds.shape
    return torch.arange(n_rows).repeat_interleave(length + 1), torch.arange(length + 1).repeat(n_rows)


def normed(layer: torch.nn.LayerNorm, vector: Tensor) -> Tensor:
    scaled = (vector - vector.mean()) / (vector.var(correction=0) + layer.eps).sqrt()
    return scaled * layer.weight + layer.bias


def attended(block: Block, states: list[Tensor]) -> Tensor:
    """Returns the attention of the latest state over all of them, head by head."""
    projected = [block.project.weight @ normed(block.norm, s) + block.project.bias for s in states]
    found, size = [], DIM // HEADS
    for start in range(0, DIM, size):
        query, key, value = (slice(start + part * DIM, start + part * DIM + size) for part in range(3))
        products = torch.stack([projected[-1][query] @ p[key] for p in projected]) / math.sqrt(size)
        weights = products.exp() / products.exp().sum()
        found.append(sum((w * p[value] for w, p in zip(weights, projected, strict=True)), torch.zeros(size)))
    joined: Tensor = block.join.weight @ torch.cat(found) + block.join.bias
    return joined


def pooled_by_hand(encoder: CausalTransformer, vectors: list[Tensor], kinds: list[int]) -> Tensor:
    """Returns the state behind the last event of one history without padding, event by event."""
    states = [
        vector * math.sqrt(DIM) + encoder.kind.weight[kind] + encoder.place[place]
        for place, (vector, kind) in enumerate(zip(vectors, kinds, strict=True))
    ]
    for block in encoder.blocks:
        assert isinstance(block, Block)
        mixed = [state + attended(block, states[: t + 1]) for t, state in enumerate(states)]
        norm, wide, _, narrow, _ = block.feed_forward
        states = [state + narrow(torch.nn.functional.gelu(wide(normed(norm, state)))) for state in mixed]  # type: ignore[arg-type] # a LayerNorm
    return normed(encoder.norm, states[-1])


def test_pooled_history_is_what_loops_give() -> None:
    encoder = transformer()
    table, items, kinds = histories(12)
    got = encoder(table[items], kinds)
    assert {0, LENGTH} <= set((kinds > 0).sum(dim=1).tolist())
    for row in range(len(items)):
        real = kinds[row] > 0
        if real.any():
            expected = pooled_by_hand(encoder, [*table[items[row, real]]], kinds[row, real].tolist())
            torch.testing.assert_close(got[row], expected, rtol=1e-4, atol=1e-5)


@BOTH
@pytest.mark.parametrize("rows", [1, 3, 16])
def test_every_view_is_its_history_encoded_by_itself(
    rows: int, config: TowersConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROWS_TOGETHER", rows)
    encoder = transformer(config)
    table, items, kinds = histories()
    row, end = every_view(kinds)
    together = encoder.pool_views(table, items, kinds, row, end)
    for query, (r, e) in enumerate(zip(row.tolist(), end.tolist(), strict=True)):
        alone = encoder(table[items[r : r + 1, :e]], kinds[r : r + 1, :e])
        torch.testing.assert_close(together[query], alone[0])


@pytest.mark.parametrize("changed", range(LENGTH))
def test_later_event_never_changes_an_earlier_state(changed: int) -> None:
    encoder = transformer()
    table, items, kinds = histories()
    row, end = every_view(kinds)
    other_items, other_kinds = items.clone(), kinds.clone()
    real = kinds[:, changed] > 0
    other_items[real, changed] = items[real, changed] % N_ITEMS + 1
    other_kinds[real, changed] = kinds[real, changed] % N_KINDS + 1
    before = encoder.pool_views(table, items, kinds, row, end)
    after = encoder.pool_views(table, other_items, other_kinds, row, end)
    is_earlier = end <= changed
    assert torch.equal(after[is_earlier], before[is_earlier])
    is_changed = real[row] & ~is_earlier
    assert (after[is_changed] != before[is_changed]).any(dim=1).all()


@pytest.mark.parametrize("part", ["order", "kinds"])
def test_order_and_kinds_count(part: str) -> None:
    encoder = transformer()
    table = histories()[0]
    items, kinds = torch.tensor([[1, 2, 3]]), torch.tensor([[1, 2, 1]])
    before = encoder(table[items], kinds)
    if part == "order":
        after = encoder(table[items[:, [1, 0, 2]]], kinds[:, [1, 0, 2]])
    else:
        after = encoder(table[items], torch.tensor([[2, 2, 1]]))
    assert (before - after).abs().max() > 1e-3


@BOTH
@pytest.mark.parametrize("mode", [True, False], ids=["train", "eval"])
def test_pool_equals_forward_and_has_its_gradient(mode: bool, config: TowersConfig) -> None:
    table, items, kinds = histories()
    encoder = transformer(config).train(mode)
    for part in encoder.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    outputs, gradients = [], []
    for through_pool in (True, False):
        leaf = table.clone().requires_grad_()
        encoder.zero_grad()
        pooled = encoder.pool(leaf, items, kinds) if through_pool else encoder(leaf[items], kinds)
        (pooled[:, :3] ** 2).sum().backward()
        outputs.append(pooled)
        gradients.append([leaf.grad, *(parameter.grad for parameter in encoder.parameters())])
    torch.testing.assert_close(*outputs)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_rotated_vectors_meet_by_their_distance_alone() -> None:
    encoder = transformer(ROTARY)
    one_event = torch.randn(3 * DIM, generator=torch.Generator().manual_seed(2))
    query, key, value = encoder._heads(one_event.expand(1, 8, -1))
    products = (query @ key.transpose(2, 3))[0]  # (n_heads, 8, 8): of the same event at every two places
    for head in products:
        by_distance = [torch.diagonal(head, -distance) for distance in range(8)]
        for equal in by_distance:
            torch.testing.assert_close(equal, equal[:1].expand(len(equal)))
        assert (by_distance[0][0] - by_distance[1][0]).abs() > 1e-3
    assert torch.equal(value[0, :, 0], value[0, :, -1])  # what is found does not turn


def test_empty_history_is_zero() -> None:
    encoder = transformer()
    table = histories()[0]
    nothing = torch.zeros(2, 3, dtype=torch.int64)
    assert torch.equal(encoder(torch.zeros(2, 3, DIM), nothing), torch.zeros(2, DIM))
    assert torch.equal(encoder(torch.zeros(2, 0, DIM), nothing[:, :0]), torch.zeros(2, DIM))
    assert torch.equal(encoder.pool(table, nothing, nothing), torch.zeros(2, DIM))
    assert torch.equal(encoder.pool(table, nothing[:, :0], nothing[:, :0]), torch.zeros(2, DIM))


def test_batch_of_empty_histories_has_no_gradient_but_numbers() -> None:
    encoder = transformer().train()
    leaf = histories()[0].requires_grad_()
    nothing = torch.zeros(2, 3, dtype=torch.int64)
    torch.autograd.backward(encoder.pool(leaf, nothing, nothing).sum() + leaf.sum() * 0.0)
    assert all(torch.isfinite(p.grad).all() for p in encoder.parameters() if p.grad is not None)


def test_dropped_event_is_one_that_never_was() -> None:
    encoder = transformer()
    table = histories()[0]
    items, kinds = torch.tensor([[4, 1, 2, 3, 5]]), torch.tensor([[1, 2, 0, 1, 0]])
    row, end = torch.zeros(4, dtype=torch.int64), torch.tensor([2, 3, 4, 5])
    got = encoder.pool_views(table, items, kinds, row, end)
    two = encoder(table[torch.tensor([[4, 1]])], torch.tensor([[1, 2]]))[0]
    three = encoder(table[torch.tensor([[4, 1, 3]])], torch.tensor([[1, 2, 1]]))[0]
    torch.testing.assert_close(got, torch.stack([two, two, three, three]))


def test_history_longer_than_in_training_counts_from_its_end() -> None:
    encoder = transformer()
    table = histories()[0]
    items = torch.randint(1, N_ITEMS + 1, (2, 2 * LENGTH), generator=torch.Generator().manual_seed(1))
    kinds = torch.ones_like(items)
    places = encoder._places(kinds > 0)[0].tolist()
    assert places == [*[0] * LENGTH, *range(LENGTH)]
    assert torch.isfinite(encoder(table[items], kinds)).all()
    torch.testing.assert_close(encoder.pool(table, items, kinds), encoder(table[items], kinds))


def test_half_precision_is_close() -> None:
    encoder = transformer()
    table, items, kinds = histories()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        close = encoder.pool(table, items, kinds)
    torch.testing.assert_close(close.float(), encoder.pool(table, items, kinds), rtol=0.1, atol=0.1)


def test_dropout_is_for_training_only() -> None:
    encoder = transformer()
    table, items, kinds = histories()
    steady = encoder.pool(table, items, kinds)
    assert torch.equal(encoder.pool(table, items, kinds), steady)
    encoder.train()
    assert not torch.allclose(encoder.pool(table, items, kinds), steady)


def test_queries_of_a_batch_share_a_history() -> None:
    config = TwoTowerConfig(
        dim=DIM,
        history_pooling=HistoryPooling.transformer,
        dropout=0.0,
        history_dropout=0.0,
        user_id_dropout=0.0,
        item_id_dropout=0.0,
    )
    model = small_model(config).train()
    asked, shared = small_queries(6), small_queries(3, seed=4)
    row, end = torch.tensor([0, 1, 1, 2, 2, 2]), torch.tensor([LENGTH, 1, 4, 3, LENGTH, 0])
    of_batch = replace(
        asked,
        history_items=shared.history_items,
        history_kinds=shared.history_kinds,
        views=HistoryViews(row, end),
    )
    items, kinds = (
        torch.stack(
            [
                column[r].roll(LENGTH - e) * (torch.arange(LENGTH) >= LENGTH - e)
                for r, e in zip(row, end, strict=True)
            ]
        )
        for column in (shared.history_items, shared.history_kinds)
    )
    one_by_one = replace(asked, history_items=items, history_kinds=kinds)
    table = model.embed_items(torch.arange(N_ITEMS + 1))
    got = model._training_queries(of_batch, table, of_batch.history_items)
    torch.testing.assert_close(got, embed(model.eval(), one_by_one))


def test_views_move_with_their_batch() -> None:
    query = replace(small_queries(2), views=HistoryViews(torch.tensor([0, 1]), torch.tensor([1, 2])))
    moved = query.to("meta").views
    assert moved is not None
    assert {moved.row.device.type, moved.end.device.type} == {"meta"}
    assert small_queries(2).to("meta").views is None


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"n_blocks": 0}, r"n_blocks, n_heads and expansion must be 1 or more, got 0, 2 and 4"),
        ({"expansion": 0}, r"expansion must be 1 or more, got 2, 2 and 0"),
        ({"rotary": True, "n_heads": 2, "dim": 6}, r"model\.dim / model\.n_heads must be even, got 6 / 2"),
        ({"n_heads": 4, "dim": 6}, r"n_heads must divide model\.dim, got 4 heads and 6 dimensions"),
    ],
)
def test_impossible_sizes_are_named(knobs: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TowersConfig(history_pooling=HistoryPooling.transformer, **knobs)  # type: ignore[arg-type] # sizes only


def test_heads_are_free_where_no_transformer_is() -> None:
    assert TowersConfig(dim=5, n_heads=2).dim == 5
