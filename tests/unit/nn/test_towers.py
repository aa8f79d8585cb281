"""The towers: shapes, masks and paddings, one part at a time."""

import math
from dataclasses import fields

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from marquee.errors import ConfigError
from marquee.features import FeatureConfig, FeatureEncoder
from marquee.nn.architectures import TwoTowerConfig
from marquee.nn.history_pooling import HistoryEncoder, HistoryPooling
from marquee.nn.towers import (
    SHORTEST,
    TokenBag,
    TowersConfig,
    residual_mlp,
    to_direction,
)
from tests.support.small_models import (
    ITEM_COLUMNS,
    LENGTH,
    N_ITEMS,
    N_KINDS,
    item_encoder,
    no_features,
    small_inputs,
    small_model,
    small_queries,
)

DIM = 6
for_every_pooling = pytest.mark.parametrize(  # by weights; of the others see test_transformer, test_elsa
    "pooling",
    [
        pooling
        for pooling in HistoryPooling
        if pooling not in (HistoryPooling.transformer, HistoryPooling.sum)
    ],
)


def history_encoder(pooling: HistoryPooling) -> HistoryEncoder:
    """Returns an encoder with no parameter at its starting value."""
    torch.manual_seed(3)
    encoder = HistoryEncoder(pooling, DIM, N_KINDS, LENGTH)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(torch.randn_like(parameter))
        encoder.kind_shift.weight[0] = 0.0
    return encoder.eval()


def histories(batch: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Returns a table of item vectors with zeros for padding, and items and kinds of some histories."""
    query = small_queries(batch)
    table = torch.randn(N_ITEMS + 1, DIM, generator=torch.Generator().manual_seed(5))
    table[0] = 0.0
    return table, query.history_items, query.history_kinds


def test_token_bag_is_what_loops_give() -> None:
    encoder = item_encoder()
    bag = TokenBag(encoder, DIM).eval()
    arrays = encoder.encode(ITEM_COLUMNS, N_ITEMS)
    assert bag.numeric is not None
    got = bag(torch.from_numpy(arrays.tokens).long(), torch.from_numpy(arrays.numeric))
    for row in range(N_ITEMS):
        expected = bag.numeric.weight @ torch.from_numpy(arrays.numeric[row])
        for columns in ([0], [1, 2, 3]):  # the colour, the tags
            vectors = [bag.table.weight[token] for token in arrays.tokens[row, columns].tolist() if token]
            expected = expected + (sum(vectors) / len(vectors) if vectors else 0.0)
        torch.testing.assert_close(got[row], expected)


def test_token_bag_is_the_same_in_both_modes() -> None:
    encoder = item_encoder()
    bag = TokenBag(encoder, DIM)
    arrays = encoder.encode(ITEM_COLUMNS, N_ITEMS).with_padding_row()
    tokens, numeric = torch.from_numpy(arrays.tokens).long(), torch.from_numpy(arrays.numeric)
    outputs, gradients = [], []
    for mode in (True, False):
        bag.train(mode).zero_grad()
        outputs.append(bag(tokens, numeric))
        (outputs[-1] ** 2).sum().backward()
        assert bag.table.weight.grad is not None
        gradients.append(bag.table.weight.grad.to_dense())
    torch.testing.assert_close(*outputs)
    torch.testing.assert_close(*gradients)


def test_token_bag_of_padding_is_zero_and_has_no_gradient() -> None:
    encoder = item_encoder()
    bag = TokenBag(encoder, DIM).train()
    got = bag(torch.zeros(2, encoder.n_token_columns, dtype=torch.int64), torch.zeros(2, encoder.n_numeric))
    got.sum().backward()
    assert bag.table.weight.grad is not None
    assert torch.equal(got, torch.zeros(2, DIM))
    assert not bag.table.weight.grad.to_dense().any()


@pytest.mark.parametrize("mode", [True, False])
def test_token_bag_without_features_is_zero(mode: bool) -> None:
    nothing = no_features(2)
    bag = TokenBag(FeatureEncoder.fit({}, {}), DIM).train(mode)
    got = bag(torch.from_numpy(nothing.tokens).long(), torch.from_numpy(nothing.numeric))
    assert torch.equal(got, torch.zeros(2, DIM))


def test_value_that_training_never_saw_says_nothing_at_first() -> None:
    encoder = FeatureEncoder.fit({"colour": FeatureConfig()}, {"colour": ["red", "blue"]})
    bag = TokenBag(encoder, DIM)
    tokens = torch.from_numpy(encoder.encode({"colour": ["mauve", "red"]}, 2).tokens).long()
    unknown, known = bag(tokens, torch.zeros(2, 0))
    assert tokens[0].item() > 0
    assert not unknown.any()
    assert known.all()


@for_every_pooling
def test_history_weights_sum_to_one_over_real_events(pooling: HistoryPooling) -> None:
    table, items, kinds = histories(8)
    encoder = history_encoder(pooling)
    content = None if encoder.content is None else encoder.content(table)[:, 0][items]
    weights = encoder.weights(kinds, content)
    torch.testing.assert_close(weights.sum(dim=1), (kinds > 0).any(dim=1).float())
    assert not weights[kinds == 0].any()


@for_every_pooling
def test_history_is_what_loops_give(pooling: HistoryPooling) -> None:
    table, items, kinds = histories(12)  # some of them empty, some of them full
    assert {0, LENGTH} <= set((kinds > 0).sum(dim=1).tolist())
    encoder = history_encoder(pooling)
    got = encoder(table[items], kinds)
    for row in range(len(items)):
        total, norm = torch.zeros(DIM), 0.0
        for t in range(LENGTH):
            if kinds[row, t] == 0:
                continue
            log_weight = encoder.kind_weight[kinds[row, t]].item()
            if encoder.place_weight is not None:
                log_weight += encoder.place_weight[LENGTH - 1 - t].item()
            if encoder.content is not None:
                log_weight += encoder.content(table[items[row, t]]).item()
            total += math.exp(log_weight) * (table[items[row, t]] + encoder.kind_shift(kinds[row, t]))
            norm += math.exp(log_weight)
        torch.testing.assert_close(got[row], encoder.project.weight @ (total / (norm or 1.0)))


@for_every_pooling
@pytest.mark.parametrize("mode", [True, False], ids=["train", "eval"])
def test_pool_equals_forward(pooling: HistoryPooling, mode: bool) -> None:
    table, items, kinds = histories()
    encoder = history_encoder(pooling).train(mode)
    torch.testing.assert_close(encoder.pool(table, items, kinds), encoder(table[items], kinds))


@for_every_pooling
def test_pool_and_forward_have_one_gradient(pooling: HistoryPooling) -> None:
    table, items, kinds = histories()
    encoder = history_encoder(pooling).train()
    gradients = []
    for through_pool in (True, False):
        leaf = table.clone().requires_grad_()
        encoder.zero_grad()
        pooled = encoder.pool(leaf, items, kinds) if through_pool else encoder(leaf[items], kinds)
        (pooled**2).sum().backward()
        parameters = [p.grad for p in encoder.parameters() if p.grad is not None]
        gradients.append([leaf.grad, *parameters])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


@for_every_pooling
def test_empty_history_is_zero(pooling: HistoryPooling) -> None:
    encoder = history_encoder(pooling)
    padded = encoder(torch.zeros(2, 3, DIM), torch.zeros(2, 3, dtype=torch.int64))
    without = encoder(torch.zeros(2, 0, DIM), torch.zeros(2, 0, dtype=torch.int64))
    assert torch.equal(padded, torch.zeros(2, DIM))
    assert torch.equal(without, torch.zeros(2, DIM))


@for_every_pooling
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_extreme_log_weights_stay_finite(pooling: HistoryPooling, size: float) -> None:
    table, items, kinds = histories()
    encoder = history_encoder(pooling)
    with torch.no_grad():
        encoder.kind_weight[1] = size
    got = encoder.pool(table, items, kinds)
    torch.autograd.backward(got.sum())
    assert torch.isfinite(got).all()
    assert all(torch.isfinite(p.grad).all() for p in encoder.parameters() if p.grad is not None)


def test_recency_follows_the_place_counted_from_now() -> None:
    encoder = history_encoder(HistoryPooling.recency)
    assert encoder.place_weight is not None
    with torch.no_grad():
        encoder.place_weight.copy_(torch.tensor([0.0, -1e4, -1e4, -1e4, -1e4]))  # the latest event alone
        encoder.kind_weight.zero_()
    kinds = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    assert encoder.weights(kinds, None).tolist() == [[0, 0, 0, 0, 1], [0, 0, 0, 0, 1]]


def test_mean_pooling_knows_no_place() -> None:
    encoder = history_encoder(HistoryPooling.mean)
    with torch.no_grad():
        encoder.kind_weight.zero_()
    assert encoder.weights(torch.tensor([[0, 1, 2, 1, 2]]), None)[0].tolist() == pytest.approx(
        [0, *[0.25] * 4]
    )


def test_history_longer_than_in_training_is_read() -> None:
    encoder = history_encoder(HistoryPooling.recency)
    kinds = torch.ones(1, 2 * LENGTH, dtype=torch.int64)
    weights = encoder.weights(kinds, None)
    assert torch.allclose(weights[0, :LENGTH], weights[0, 0])  # beyond the longest all are equally old


def test_residual_layers_begin_as_nothing() -> None:
    assert not residual_mlp(DIM, 12, 0.5)(torch.randn(3, DIM)).any()


def test_residual_layers_drop_out_in_training_only() -> None:
    model = small_model(TwoTowerConfig(dim=DIM, hidden=16, dropout=0.9))
    item = torch.arange(1, 7)
    steady = model.embed_items(item)
    assert torch.equal(model.embed_items(item), steady)
    assert model.item_tower.mlp is not None
    model.item_tower.mlp.train()
    assert not torch.allclose(model.embed_items(item), steady)


def test_direction_has_length_one() -> None:
    long = torch.tensor([[3.0, 4.0], [-0.3, 0.4]])
    torch.testing.assert_close(to_direction(long), torch.tensor([[0.6, 0.8], [-0.6, 0.8]]))


def test_direction_of_next_to_nothing_is_short() -> None:
    got = to_direction(torch.tensor([[0.0, 0.0], [SHORTEST / 2, 0.0]]))
    torch.testing.assert_close(got, torch.tensor([[0.0, 0.0], [0.5, 0.0]]))


def test_first_gradient_of_an_unknown_query_is_moderate() -> None:
    torch.manual_seed(0)
    tower = TwoTowerConfig(dim=DIM, hidden=4).build(small_inputs()).query_tower
    nothing = torch.zeros(1, small_inputs().query_encoder.n_token_columns, dtype=torch.int64)
    got = tower.combine(
        torch.zeros(1, DIM), nothing, torch.zeros(1, small_inputs().query_encoder.n_numeric), None
    )
    torch.autograd.backward(got[:, :-1].sum())
    assert tower.common.grad is not None
    assert tower.common.grad.abs().max() <= 2 / SHORTEST
    assert (tower.common.grad > 0).all()


def test_cosine_is_the_inner_product_of_normalised_towers() -> None:
    raw, unit = (
        small_model(TwoTowerConfig(dim=DIM, normalise=normalise, item_bias=False))
        for normalise in (False, True)
    )
    unit.load_state_dict(raw.state_dict())
    item = torch.arange(1, N_ITEMS + 1)
    torch.testing.assert_close(unit.embed_items(item), F.normalize(raw.embed_items(item), dim=1))
    assert (raw.embed_items(item).norm(dim=1) - 1).abs().min() > 1e-3


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"dim": 0}, r"model\.dim must be 1 or more .*, got 0"),
        ({"hidden": -1}, r"model\.hidden 0 or more, got 64 and -1"),
        ({"dropout": 1.0}, r"model\.dropout must be in \[0, 1\), got 1\.0"),
        ({"history_dropout": -0.1}, r"model\.history_dropout must be in"),
        ({"user_id_dropout": math.nan}, r"model\.user_id_dropout must be in"),
        ({"item_id_dropout": 2.0}, r"model\.item_id_dropout must be in"),
        (
            {"user_id": False, "query_features": False, "history": False},
            r"query tower has no input: got model\.user_id, query_features and history",
        ),
        (
            {"item_id": False, "item_features": False},
            r"item tower has no input: got model\.item_id and item_features",
        ),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "",
)
def test_impossible_parts_are_named(config: dict[str, int | float | bool], message: str) -> None:
    assert config.keys() <= {f.name for f in fields(TowersConfig)}
    with pytest.raises(ConfigError, match=message):
        TwoTowerConfig(**config)  # type: ignore[arg-type] # the table above holds one value per field


def test_direction_has_the_gradient_of_torch() -> None:
    vectors = torch.randn(6, DIM, generator=torch.Generator().manual_seed(2))
    vectors[1], vectors[2] = vectors[1] * 1e-4, 0.0  # shorter than the shortest length, and none
    vectors.requires_grad_()
    gradient = torch.randn(6, DIM, generator=torch.Generator().manual_seed(3))
    ours, theirs = to_direction(vectors), F.normalize(vectors, dim=1, eps=SHORTEST)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(
        torch.autograd.grad(ours, vectors, gradient), torch.autograd.grad(theirs, vectors, gradient)
    )
