"""The linear autoencoder against its formula, written down with dense matrices."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from marquee.errors import ConfigError
from marquee.nn.architectures import ELSAConfig
from marquee.nn.batches import TrainingBatch
from marquee.nn.losses import NormalisedSquaredErrorConfig
from marquee.nn.models import TwoTower
from marquee.nn.negatives import CatalogSampler, MixedSampler
from tests.support.small_models import N_ITEMS, N_TRAINED_ITEMS, embed, small_model, small_queries

# What each user had: all of it is history, and all of it is target.
HAD = [[1, 4], [2], [6, 3, 5, 1]]
WEIGHT = torch.tensor([1.0, 1.0, 2.0, 0.5, 0.5, 0.5, 0.5])  # as much in sum for each query


def batch() -> TrainingBatch:
    items = torch.tensor([[0] * (5 - len(had)) + had for had in HAD])
    query = replace(small_queries(3), history_items=items, history_kinds=(items > 0).long())
    row = torch.tensor([row for row, had in enumerate(HAD) for _ in had])
    return TrainingBatch(query, torch.tensor([item for had in HAD for item in had]), row, WEIGHT)


def dense_loss(model: TwoTower, table: Tensor) -> Tensor:
    """Returns the mean over users of |norm(x·A·Aᵀ - x) - norm(x)|², the common vector beside x·A."""
    x = torch.zeros(len(HAD), N_ITEMS + 1)
    for row, had in enumerate(HAD):
        x[row, had] = 1.0
    a = F.normalize(F.pad(table, (0, 0, 0, N_ITEMS - N_TRAINED_ITEMS)), dim=1)
    predicted = (x @ a + model.query_tower.common) @ a.T - x
    return (F.normalize(predicted, dim=1) - F.normalize(x, dim=1)).square().sum(dim=1).mean()


def our_loss(model: TwoTower, self_score: float = 1.0) -> Tensor:
    examples, generator = batch(), torch.Generator()
    negatives = CatalogSampler(torch.ones(N_ITEMS + 1)).sample(examples.target_item, generator)
    loss = NormalisedSquaredErrorConfig(self_score=self_score).build()
    return loss(model(examples, negatives), examples.weight)


@pytest.mark.parametrize("seed", range(3))
def test_loss_and_gradient_are_those_of_the_dense_formula(seed: int) -> None:
    model = small_model(ELSAConfig(dim=4), seed).train()
    table = model.item_table.weight.detach().clone().requires_grad_()
    ours, dense = our_loss(model), dense_loss(model, table)
    torch.testing.assert_close(ours, dense)
    torch.autograd.backward(ours)
    (expected,) = torch.autograd.grad(dense, table)
    assert model.item_table.weight.grad is not None
    torch.testing.assert_close(model.item_table.weight.grad.to_dense()[1:], expected[1:])


def test_scores_are_inner_products_of_a_sum_of_directions() -> None:
    model = small_model(ELSAConfig(dim=4))
    items = model.embed_items(torch.arange(N_ITEMS + 1))
    query = embed(model, batch().query)
    for row, had in enumerate(HAD):
        torch.testing.assert_close(query[row], items[had].sum(dim=0) + model.query_tower.common)


def test_sampled_candidates_estimate_the_loss_over_the_catalog() -> None:
    model = small_model(ELSAConfig(dim=4))
    examples, generator = batch(), torch.Generator().manual_seed(0)
    sampler = MixedSampler(torch.ones(N_ITEMS + 1), 20_000, 0, 1.0, in_batch=False)
    logits = model(examples, sampler.sample(examples.target_item, generator))
    sampled = NormalisedSquaredErrorConfig().build()(logits, examples.weight)
    torch.testing.assert_close(sampled, our_loss(model), atol=0.01, rtol=0)


def test_row_of_zeros_costs_one_and_moves_nothing() -> None:
    model = small_model(ELSAConfig(dim=4)).train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    loss = our_loss(model, self_score=0.0)
    assert loss.item() == 1.0
    torch.autograd.backward(loss)
    assert model.query_tower.common.grad is not None
    assert model.query_tower.common.grad.isfinite().all()


def test_item_may_not_speak_against_itself() -> None:
    with pytest.raises(ConfigError, match="self_score must be 0 or more, got -1"):
        NormalisedSquaredErrorConfig(self_score=-1)
