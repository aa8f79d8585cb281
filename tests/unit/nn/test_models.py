"""Models: logits against inner products, parts that can be switched off, and rows that stay zero."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from marquee.errors import ConfigError
from marquee.features import FeatureEncoder
from marquee.nn.architectures import MatrixFactorizationConfig, ModelConfig, SASRecConfig, TwoTowerConfig
from marquee.nn.batches import QueryBatch, TrainingBatch
from marquee.nn.history_pooling import HistoryPooling
from marquee.nn.losses import SampledSoftmaxConfig
from marquee.nn.models import TwoTower
from marquee.nn.optimizers import LazyAdamConfig, OptimizerConfig, RowwiseAdagradConfig
from marquee.nn.ranks.tables import IdTable
from marquee.nn.towers import TowersConfig
from marquee.nn.transformer import CausalTransformer
from tests.support.small_models import (
    N_ITEMS,
    N_TRAINED_ITEMS,
    embed,
    negatives_of,
    small_batch,
    small_inputs,
    small_model,
    small_queries,
)

DIM = 6
EVERY_ITEM = torch.arange(N_ITEMS + 1)
UNKNOWN_ITEMS = torch.arange(N_TRAINED_ITEMS + 1, N_ITEMS + 1)


def steady(**parts: bool) -> TwoTowerConfig:
    """Returns a small two-tower without anything random in training; `parts` are switched as given."""
    config = TwoTowerConfig(
        dim=DIM, dropout=0.0, history_dropout=0.0, user_id_dropout=0.0, item_id_dropout=0.0
    )
    return replace(config, **parts)  # type: ignore[arg-type] # only switches are given


@pytest.mark.parametrize("pooling", list(HistoryPooling))
@pytest.mark.parametrize("mode", [True, False], ids=["train", "eval"])
def test_logits_are_inner_products(pooling: HistoryPooling, mode: bool) -> None:
    model = small_model(replace(steady(), history_pooling=pooling)).train(mode)
    batch, candidates = small_batch(3), [8, 7, 8]  # none of them is a target
    logits = model(batch, negatives_of(candidates, 4))
    queries, items = embed(model, batch.query), model.embed_items(EVERY_ITEM)
    for target, row in enumerate(batch.target_row.tolist()):
        expected = queries[row] @ items[batch.target_item[target]]
        torch.testing.assert_close(logits.positive[target], expected)
    torch.testing.assert_close(logits.negatives, queries @ items[candidates].T)


def test_candidate_that_is_a_target_of_the_same_query_is_masked() -> None:
    batch = small_batch(3)  # targets 1 of query 0, 2 of query 1, 3 and 4 of query 2
    logits = small_model(steady())(batch, negatives_of([1, 3, 4, 5, 1], 4))
    assert torch.isneginf(logits.negatives).tolist() == [
        [True, False, False, False, True],
        [False, False, False, False, False],
        [False, True, True, False, False],
    ]


def test_logits_carry_what_the_sampler_says() -> None:
    batch, negatives = small_batch(2), negatives_of([5, 6], 3)
    negatives = replace(negatives, log_q=torch.tensor([0.5, 0.7]), log_q_target=torch.tensor([1.0, 2.0, 3.0]))
    logits = small_model(steady())(batch, negatives)
    assert torch.equal(logits.log_q_negatives, negatives.log_q)
    assert torch.equal(logits.log_q_positive, negatives.log_q_target)
    assert torch.equal(logits.target_row, batch.target_row)


def with_other_history(query: QueryBatch) -> QueryBatch:
    return replace(
        query, history_items=query.history_items.flip(0), history_kinds=query.history_kinds.flip(0)
    )


def with_other_users(query: QueryBatch) -> QueryBatch:
    return replace(query, user_index=query.user_index.roll(1))


def with_other_features(query: QueryBatch) -> QueryBatch:
    return replace(query, tokens=query.tokens.flip(0), numeric=query.numeric + 1)


@pytest.mark.parametrize("is_on", [True, False], ids=["on", "off"])
@pytest.mark.parametrize(
    ("part", "change"),
    [("user_id", with_other_users), ("query_features", with_other_features), ("history", with_other_history)],
)
def test_part_of_the_query_counts_only_if_it_is_on(part: str, change: object, is_on: bool) -> None:
    model = small_model(steady(**{part: is_on}))
    query = small_queries(6)
    assert callable(change)
    changed = change(query)
    assert torch.allclose(embed(model, changed), embed(model, query)) is not is_on


@pytest.mark.parametrize("is_on", [True, False], ids=["on", "off"])
@pytest.mark.parametrize("part", ["item_id", "item_features"])
def test_part_of_the_item_counts_only_if_it_is_on(part: str, is_on: bool) -> None:
    model = small_model(steady(**{part: is_on}))
    before = model.embed_items(EVERY_ITEM)
    with torch.no_grad():
        if part == "item_id":
            model.item_table.weight[1:] += 1
        else:
            model.item_tokens = model.item_tokens.flip(0)
    assert torch.allclose(model.embed_items(EVERY_ITEM), before) is not is_on


@pytest.mark.parametrize("part", ["user_id", "item_id", "query_features", "item_features", "history"])
def test_part_that_is_off_has_no_parameters(part: str) -> None:
    def size(model: nn.Module) -> int:
        return sum(parameter.numel() for parameter in model.parameters())

    assert size(small_model(steady(**{part: False}))) < size(small_model(steady()))


def test_item_bias_is_one_coordinate() -> None:
    model = small_model(steady())
    query, items = embed(model, small_queries(3)), model.embed_items(EVERY_ITEM)
    assert model.out_dim == DIM + 1
    assert items.shape == (N_ITEMS + 1, DIM + 1)
    assert model.bias_table is not None
    assert model.item_tower.base_bias is not None
    assert torch.equal(query[:, -1], torch.ones(3))
    bias = model.bias_table(torch.arange(1, N_TRAINED_ITEMS + 1))[:, 0] + model.item_tower.base_bias
    torch.testing.assert_close(items[1 : N_TRAINED_ITEMS + 1, -1], bias)
    torch.testing.assert_close(items[UNKNOWN_ITEMS, -1], model.item_tower.base_bias.expand(2))
    scores = query[:, :-1] @ items[1:, :-1].T + items[1:, -1]
    torch.testing.assert_close(query @ items[1:].T, scores)


def test_bias_scale_weighs_the_bias_of_the_trained_model_and_not_of_training() -> None:
    plain, scaled = (small_model(replace(steady(), bias_scale=scale)) for scale in (1.0, 0.75))
    expected, got = plain.embed_items(EVERY_ITEM), scaled.embed_items(EVERY_ITEM)
    torch.testing.assert_close(got[:, -1], 0.75 * expected[:, -1])
    assert torch.equal(got[:, :-1], expected[:, :-1])
    assert torch.equal(scaled.train().embed_items(EVERY_ITEM), plain.train().embed_items(EVERY_ITEM))


def test_without_item_bias_there_is_no_coordinate_for_it() -> None:
    model = small_model(steady(item_bias=False))
    assert model.out_dim == DIM
    assert model.embed_items(EVERY_ITEM).shape == (N_ITEMS + 1, DIM)
    assert embed(model, small_queries(3)).shape == (3, DIM)


@pytest.mark.parametrize("item_bias", [True, False])
@pytest.mark.parametrize("normalise", [True, False])
def test_index_zero_embeds_as_zeros(item_bias: bool, normalise: bool) -> None:
    model = small_model(steady(item_bias=item_bias, normalise=normalise))
    items = model.embed_items(EVERY_ITEM)
    assert torch.equal(items[0], torch.zeros(model.out_dim))
    assert items[1:].abs().sum(dim=1).min() > 0


def test_items_without_a_learned_row_are_told_apart_by_features() -> None:
    model = small_model(steady())
    unknown = model.embed_items(UNKNOWN_ITEMS)[:, :-1]
    assert not model.id_vectors(UNKNOWN_ITEMS).any()
    torch.testing.assert_close(unknown.norm(dim=1), torch.ones(2))
    assert (unknown[0] @ unknown[1]).item() < 0.99
    model.item_tokens[8], model.item_numeric[8] = model.item_tokens[7], model.item_numeric[7]
    assert torch.equal(*model.embed_items(UNKNOWN_ITEMS))


def test_unknown_users_are_told_apart_by_features() -> None:
    model = small_model(steady())
    two = replace(small_queries(2, length=0), user_index=torch.tensor([0, 0]))
    north_and_south = replace(two, tokens=torch.tensor([[2], [3]]))
    apart = embed(model, north_and_south)[:, :-1]
    assert (apart[0] @ apart[1]).item() < 0.99
    assert torch.equal(*embed(model, replace(two, tokens=torch.tensor([[2], [2]]))))


def test_matrix_factorization_knows_ids_alone() -> None:
    model = small_model(MatrixFactorizationConfig(dim=DIM))
    query = small_queries(6)
    before = embed(model, query), model.embed_items(EVERY_ITEM)
    model.item_tokens = model.item_tokens.flip(0)
    changed = with_other_features(with_other_history(query))
    assert torch.equal(embed(model, changed), before[0])
    assert torch.equal(model.embed_items(EVERY_ITEM), before[1])
    assert not torch.allclose(embed(model, with_other_users(query)), before[0])
    assert model.query_tower.history is None
    assert model.item_tower.features is None


def test_matrix_factorization_passes_its_knobs_on() -> None:
    towers = MatrixFactorizationConfig(dim=3, normalise=False, item_bias=False).towers()
    assert (towers.dim, towers.normalise, towers.item_bias) == (3, False, False)
    assert towers.user_id
    assert towers.item_id


def test_matrix_factorization_refuses_impossible_sizes_at_once() -> None:
    with pytest.raises(ConfigError, match=r"model\.dim must be 1 or more .*, got 0"):
        MatrixFactorizationConfig(dim=0)


def test_sasrec_reads_the_history_alone() -> None:
    model = small_model(SASRecConfig(dim=DIM, n_heads=2))
    query = small_queries(6)
    before = embed(model, query), model.embed_items(EVERY_ITEM)
    model.item_tokens = model.item_tokens.flip(0)
    assert torch.equal(embed(model, with_other_features(with_other_users(query))), before[0])
    assert torch.equal(model.embed_items(EVERY_ITEM), before[1])
    assert not torch.allclose(embed(model, with_other_history(query)), before[0])
    assert isinstance(model.query_tower.history, CausalTransformer)


def test_sasrec_passes_its_knobs_on() -> None:
    knobs: dict[str, Any] = {
        "dim": 18,
        "n_blocks": 3,
        "n_heads": 3,
        "expansion": 1,
        "rotary": True,
        "dropout": 0.3,
        "history_dropout": 0.4,
        "item_features": True,
        "normalise": False,
        "item_bias": False,
    }
    towers = SASRecConfig(**knobs).towers()
    assert {name: getattr(towers, name) for name in knobs} == knobs
    with pytest.raises(ConfigError, match=r"n_heads must divide model\.dim, got 4 heads and 6 dimensions"):
        SASRecConfig(dim=6, n_heads=4)


def test_two_tower_is_its_own_parts() -> None:
    config = TwoTowerConfig(dim=3)
    assert config.towers() is config


def test_base_config_has_no_towers() -> None:
    with pytest.raises(NotImplementedError, match="ModelConfig must define towers"):
        ModelConfig().towers()


def backward(model: TwoTower, batch: TrainingBatch, candidates: list[int]) -> Tensor:
    """Returns the loss of a batch, after its gradients were computed."""
    logits = model(batch, negatives_of(candidates, len(batch.target_item)))
    loss = SampledSoftmaxConfig().build()(logits, batch.weight)
    torch.autograd.backward(loss)
    return loss


def rows_with_gradient(table: IdTable) -> set[int]:
    assert table.weight.grad is not None
    assert table.weight.grad.is_sparse
    return set(table.weight.grad.coalesce().indices()[0].tolist())


def test_gradient_reaches_only_rows_of_the_batch() -> None:
    model, batch = small_model(steady()).train(), small_batch(2)  # targets 1, 2, 3
    backward(model, batch, [5])
    past = set(batch.query.history_items.flatten().tolist())
    trained = {row for row in {1, 2, 3, 5} | past if 0 < row <= N_TRAINED_ITEMS}
    assert rows_with_gradient(model.item_table) == trained
    assert rows_with_gradient(model.user_table) == set(batch.query.user_index.tolist()) - {0}
    assert model.bias_table is not None
    assert rows_with_gradient(model.bias_table) == trained


@pytest.mark.parametrize(
    "optimizer", [LazyAdamConfig(weight_decay=0.1), RowwiseAdagradConfig(weight_decay=0.1)]
)
def test_padding_rows_stay_zero(optimizer: OptimizerConfig) -> None:
    model = small_model(TwoTowerConfig(dim=DIM, hidden=4, history_pooling=HistoryPooling.attention)).train()
    steps = optimizer.build(model.parameters())
    for seed in range(5):
        steps.zero_grad()
        backward(model, small_batch(4, seed), [1, 7, 8])
        steps.step()
    tables = [part for part in model.modules() if isinstance(part, nn.Embedding)]
    assert len(tables) == 6  # users, items, biases, kinds, and the tokens of both towers
    for table in tables:
        assert not table.weight[0].any()
        assert table.weight[1:].any()


def training_queries(model: TwoTower, query: QueryBatch) -> Tensor:
    """Returns query embeddings as training computes them."""
    table = model.embed_items(EVERY_ITEM)
    return model._training_queries(query, table, query.history_items)


def test_dropped_user_is_an_unknown_user() -> None:
    model = small_model(replace(steady(), user_id_dropout=0.999999)).train()
    query = replace(small_queries(4), user_index=torch.tensor([1, 2, 3, 4]))
    unknown = replace(query, user_index=torch.zeros(4, dtype=torch.int64))
    torch.testing.assert_close(training_queries(model, query), embed(model, unknown))


def test_dropped_history_is_an_empty_one() -> None:
    model = small_model(replace(steady(), history_dropout=0.999999)).train()
    query = small_queries(4)
    empty = replace(query, history_items=query.history_items[:, :0], history_kinds=query.history_kinds[:, :0])
    torch.testing.assert_close(training_queries(model, query), embed(model, empty))


def test_dropped_item_has_features_alone() -> None:
    model = small_model(replace(steady(), item_id_dropout=0.999999)).train()
    assert not model.id_vectors(EVERY_ITEM).any()


def test_item_without_features_keeps_its_id() -> None:
    config = replace(steady(), item_id_dropout=0.999999)
    switched_off = small_model(replace(config, item_features=False)).train()
    nothing = FeatureEncoder.fit({}, {})
    inputs = replace(
        small_inputs(), item_encoder=nothing, item_features=nothing.encode({}, N_ITEMS).with_padding_row()
    )
    none_declared = TwoTower(replace(config, item_bias=False), inputs).train()
    for model in (switched_off, none_declared):
        assert model.id_vectors(EVERY_ITEM)[1 : N_TRAINED_ITEMS + 1].all()


def test_new_item_becomes_as_likely_as_the_mean_of_the_known_ones() -> None:
    model = small_model(replace(steady(), item_id_dropout=0.3))
    before = model.embed_items(EVERY_ITEM).detach()
    model.centre_biases(odds_unit=0.5)
    after = model.embed_items(EVERY_ITEM).detach()
    known, new = after[1 : N_TRAINED_ITEMS + 1], after[UNKNOWN_ITEMS]
    torch.testing.assert_close(known, before[1 : N_TRAINED_ITEMS + 1])
    torch.testing.assert_close(after[:, :-1], before[:, :-1])
    expected = (known[:, -1] / 0.5).exp().mean().expand(len(UNKNOWN_ITEMS))
    torch.testing.assert_close((new[:, -1] / 0.5).exp(), expected)
    assert not torch.allclose(new[:, -1], before[UNKNOWN_ITEMS, -1])
    assert not after[0].any()


@pytest.mark.parametrize("other", [{"item_bias": False}, {"item_features": False}, {"item_id_dropout": 0.0}])
def test_biases_stay_where_features_never_stand_alone(other: dict[str, Any]) -> None:
    model = small_model(replace(steady(), **{"item_id_dropout": 0.3, **other}))
    before = {name: weights.clone() for name, weights in model.state_dict().items()}
    model.centre_biases(odds_unit=0.5)
    for name, weights in model.state_dict().items():
        assert torch.equal(weights, before[name])


def test_dropout_keeps_a_share_of_what_it_meets() -> None:
    model = small_model(replace(steady(), item_id_dropout=0.3)).train()
    torch.manual_seed(0)
    kept = model.id_vectors(torch.ones(2000, dtype=torch.int64)).abs().sum(dim=1) > 0
    assert kept.float().mean().item() == pytest.approx(0.7, abs=0.05)


def test_nothing_is_dropped_in_evaluation() -> None:
    model = small_model(TwoTowerConfig(dim=DIM, hidden=4, user_id_dropout=0.9, history_dropout=0.9))
    query = small_queries(4)
    assert torch.equal(embed(model, query), embed(model, query))


def test_same_seed_gives_same_weights() -> None:
    first, again, other = (small_model(steady(), seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["item_table.weight"], other["item_table.weight"])


def test_features_of_the_catalog_are_no_part_of_a_checkpoint() -> None:
    assert not {"item_tokens", "item_numeric"} & small_model(steady()).state_dict().keys()


def test_batch_moves_with_all_its_parts() -> None:
    batch = small_batch(2).to("meta")
    parts = [batch.target_item, batch.target_row, batch.weight, batch.query.tokens, batch.query.history_kinds]
    assert {part.device.type for part in parts} == {"meta"}
    assert len(batch.query) == 2


def test_towers_config_alone_is_no_choice_of_a_model() -> None:
    assert not isinstance(TowersConfig(), ModelConfig)
    assert isinstance(TwoTowerConfig(), ModelConfig)


def test_inputs_count_the_catalog_without_padding() -> None:
    assert small_inputs().n_items == N_ITEMS


def test_item_leans_on_its_neighbours() -> None:
    alone = small_model(TwoTowerConfig())
    with_company = small_model(TwoTowerConfig(item_neighbours=2, neighbour_weight=0.5))
    with_company.load_state_dict(alone.state_dict())
    item_index = torch.arange(alone.n_items + 1)
    own, joined = (model.id_vectors(item_index) for model in (alone, with_company))
    table = alone.item_table.weight
    expected = own[4, :-1] + 0.5 * (0.25 * table[5] + 0.75 * table[6])
    torch.testing.assert_close(joined[4, :-1], expected)
    assert torch.equal(joined[:, -1], own[:, -1])  # a bias is the item's own
    assert torch.equal(joined[[0, 7, 8]], own[[0, 7, 8]])  # padding, and items without a row


def test_graph_of_items_is_no_part_of_a_checkpoint() -> None:
    names = small_model(TwoTowerConfig(item_neighbours=2)).state_dict()
    assert names.keys() == small_model(TwoTowerConfig()).state_dict().keys()


def test_neighbours_learn_from_the_batch() -> None:
    model = small_model(TwoTowerConfig(item_neighbours=2)).train()
    torch.autograd.backward(model.embed_items(torch.tensor([4])).sum())
    gradient = model.item_table.weight.grad
    assert gradient is not None
    assert sorted(set(gradient.coalesce().indices()[0].tolist())) == [4, 5, 6]


def test_model_that_leans_on_neighbours_needs_a_graph() -> None:
    inputs = replace(small_inputs(), neighbours=None)
    with pytest.raises(ConfigError, match=r"item_neighbours is 2, got inputs without neighbours"):
        TwoTowerConfig(item_neighbours=2).build(inputs)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"item_neighbours": -1}, r"model\.item_neighbours must be 0 or more, got -1"),
        ({"bias_scale": -0.1}, r"model\.bias_scale must be 0 or more, got -0\.1"),
        ({"user_scale": -0.1}, r"model\.user_scale must be 0 or more, got -0\.1"),
        ({"item_neighbours": 3, "item_id": False}, r"joins learned vectors, got 3 with model\.item_id=false"),
    ],
)
def test_impossible_neighbours_are_refused(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TwoTowerConfig(**knobs)


def test_user_scale_is_the_length_of_a_users_first_vector() -> None:
    torch.manual_seed(0)
    model = TwoTowerConfig(user_scale=0.1, dim=64).build(replace(small_inputs(), n_users=500))
    lengths = model.user_table.weight[1:].norm(dim=1)
    assert lengths.mean().item() == pytest.approx(0.1, rel=0.05)
