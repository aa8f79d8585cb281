"""The loss of a batch in blocks is the loss of the batch, whatever the loss."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from marquee.nn.logits import Logits
from marquee.nn.losses import LossConfig, SampledSoftmaxConfig
from marquee.nn.negatives import Negatives
from marquee.nn.scoring import EmbeddedBatch, loss_in_blocks
from tests.support.losses import EXAMPLES

N_QUERIES, N_TARGETS, N_CANDIDATES, DIM = 7, 11, 9, 4


def embedded_batch(seed: int = 0) -> tuple[EmbeddedBatch, Tensor]:
    """Returns a batch whose targets are in no order, with some queries without any, and weights."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    negatives = Negatives(
        torch.randint(1, 6, (N_CANDIDATES,), generator=generator),
        draw(N_CANDIDATES),
        draw(N_TARGETS),
        draw(N_CANDIDATES).exp(),
        draw(N_TARGETS).exp(),
    )
    batch = EmbeddedBatch(
        queries=draw(N_QUERIES, DIM).requires_grad_(),
        targets=draw(N_TARGETS, DIM).requires_grad_(),
        candidates=draw(N_CANDIDATES, DIM).requires_grad_(),
        target_item=torch.randint(1, 6, (N_TARGETS,), generator=generator),
        target_row=torch.tensor([5, 0, 3, 0, 5, 1, 6, 3, 0, 1, 5]),  # none of query 2 or 4
        negatives=negatives,
    )
    return batch, draw(N_TARGETS).relu()


@pytest.mark.parametrize("rows", [1, 2, 3, 6])
@pytest.mark.parametrize("loss", EXAMPLES.values(), ids=list(EXAMPLES))
def test_blocks_give_the_loss_and_the_gradient_of_the_whole(loss: LossConfig, rows: int) -> None:
    batch, weight = embedded_batch()
    leaves = [batch.queries, batch.targets, batch.candidates]
    whole, in_blocks = (
        3.0 * loss_in_blocks(batch, weight, loss.build(), block_logits=block)
        for block in (N_QUERIES * N_CANDIDATES, rows * N_CANDIDATES + 1)
    )
    torch.testing.assert_close(in_blocks, whole)
    expected, got = (torch.autograd.grad(value, leaves) for value in (whole, in_blocks))
    for one, other in zip(got, expected, strict=True):
        assert other.any()
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("block", [1, 30, 1000])
def test_no_block_holds_more_logits_than_told(block: int) -> None:
    batch, weight = embedded_batch()
    seen = []

    def loss(logits: Logits, weight: Tensor) -> Tensor:
        seen.append(len(logits.negatives))
        return SampledSoftmaxConfig().build()(logits, weight)

    loss_in_blocks(batch, weight, loss, block_logits=block)
    assert sum(seen) == N_QUERIES
    assert max(seen) <= max(1, block // N_CANDIDATES)


def test_one_query_is_the_smallest_block() -> None:
    batch, weight = embedded_batch()
    loss = SampledSoftmaxConfig().build()
    torch.testing.assert_close(
        loss_in_blocks(batch, weight, loss, block_logits=1), loss(batch.logits(), weight)
    )


def test_targets_without_weight_cost_nothing() -> None:
    batch, weight = embedded_batch()
    value = loss_in_blocks(
        batch, torch.zeros_like(weight), SampledSoftmaxConfig().build(), block_logits=N_CANDIDATES
    )
    assert value.item() == 0.0
    assert not any(g.any() for g in torch.autograd.grad(value, [batch.queries, batch.candidates]))


@pytest.mark.parametrize("seed", range(5))
def test_masked_are_the_candidates_that_are_targets_of_the_same_query(seed: int) -> None:
    batch, _ = embedded_batch(seed)
    own: list[set[int]] = [set() for _ in range(N_QUERIES)]
    for row, item in zip(batch.target_row.tolist(), batch.target_item.tolist(), strict=True):
        own[row].add(item)
    expected = [[item in own[row] for item in batch.negatives.items.tolist()] for row in range(N_QUERIES)]
    logits = batch.logits()
    assert torch.isneginf(logits.negatives).tolist() == expected
    scores = batch.queries @ batch.candidates.T
    torch.testing.assert_close(logits.negatives, scores.masked_fill(torch.tensor(expected), -torch.inf))
    gradient = torch.autograd.grad(logits.negatives.exp().sum(), batch.candidates)[0]
    assert torch.isfinite(gradient).all()


def test_block_takes_what_belongs_to_its_queries() -> None:
    batch, _ = embedded_batch()
    rows = torch.tensor([2, 7])  # the targets of query 3
    block = batch.block(3, 4, rows)
    assert block.target_row.tolist() == [0, 0]
    assert torch.equal(block.target_item, batch.target_item[rows])
    whole, part = batch.logits(), block.logits()
    torch.testing.assert_close(part.positive, whole.positive[rows])
    torch.testing.assert_close(part.negatives, whole.negatives[3:4])
    assert torch.equal(part.log_q_positive, whole.log_q_positive[rows])
    assert torch.equal(part.count_positive, whole.count_positive[rows])


def test_row_without_candidate_is_masked_throughout() -> None:
    batch, weight = embedded_batch()
    batch = replace(batch, target_item=torch.ones_like(batch.target_item))
    batch = replace(batch, negatives=replace(batch.negatives, items=torch.ones_like(batch.negatives.items)))
    value = loss_in_blocks(batch, weight, SampledSoftmaxConfig().build(), block_logits=2 * N_CANDIDATES)
    gradients = torch.autograd.grad(value, [batch.queries, batch.targets, batch.candidates])
    assert torch.isfinite(value)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_half_precision_is_close_and_leaves_full_gradients() -> None:
    batch, weight = embedded_batch()
    loss = SampledSoftmaxConfig(temperature=0.5).build()
    exact = loss(batch.logits(), weight)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        close = loss_in_blocks(batch, weight, loss, block_logits=2 * N_CANDIDATES)
    assert close.item() != exact.item()
    assert close.item() == pytest.approx(exact.item(), rel=0.02)
    leaves = [batch.queries, batch.targets, batch.candidates]
    for got, expected in zip(
        torch.autograd.grad(close, leaves), torch.autograd.grad(exact, leaves), strict=True
    ):
        assert got.dtype == torch.float32
        assert (got - expected).norm() < 0.05 * expected.norm()
