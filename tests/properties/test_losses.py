"""What holds for every loss, whatever the logits."""

import math
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from marquee.nn.losses import BPRConfig, Logits, Loss, SampledSoftmaxConfig

LOSSES: dict[str, Loss] = {
    "softmax": SampledSoftmaxConfig(temperature=0.5).build(),
    "softmax_uncorrected": SampledSoftmaxConfig(log_q_correction=False).build(),
    "bpr": BPRConfig().build(),
}
for_every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
small_run = settings(max_examples=30, deadline=None)


@st.composite
def batches(draw: st.DrawFn) -> tuple[Logits, Tensor]:
    """Draws logits with any number of targets per query and any candidates masked."""
    n_queries, n_candidates, n_targets = (
        draw(st.integers(1, 4)),
        draw(st.integers(1, 5)),
        draw(st.integers(1, 6)),
    )
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    scale = draw(st.sampled_from([0.1, 1.0, 30.0]))
    masked = torch.rand(n_queries, n_candidates, generator=generator) < draw(st.sampled_from([0.0, 0.5, 1.0]))
    logits = Logits(
        positive=torch.randn(n_targets, generator=generator) * scale,
        negatives=(torch.randn(n_queries, n_candidates, generator=generator) * scale).masked_fill(
            masked, -math.inf
        ),
        target_row=torch.randint(n_queries, (n_targets,), generator=generator),
        log_q_positive=torch.randn(n_targets, generator=generator),
        log_q_negatives=torch.randn(n_candidates, generator=generator),
    )
    return logits, torch.rand(n_targets, generator=generator)


def at_targets(logits: Logits, rows: Tensor) -> Logits:
    """Returns the logits of some of the targets."""
    return Logits(
        logits.positive[rows],
        logits.negatives,
        logits.target_row[rows],
        logits.log_q_positive[rows],
        logits.log_q_negatives,
    )


@for_every_loss
@small_run
@given(batches())
def test_loss_is_finite_and_never_negative(loss: Loss, batch: tuple[Logits, Tensor]) -> None:
    value = loss(*batch)
    assert torch.isfinite(value)
    assert value >= 0


@for_every_loss
@small_run
@given(batches(), st.randoms(use_true_random=False))
def test_order_of_candidates_is_of_no_account(
    loss: Loss, batch: tuple[Logits, Tensor], random: Random
) -> None:
    logits, weight = batch
    order = list(range(logits.negatives.shape[1]))
    random.shuffle(order)
    shuffled = Logits(
        logits.positive,
        logits.negatives[:, order],
        logits.target_row,
        logits.log_q_positive,
        logits.log_q_negatives[order],
    )
    torch.testing.assert_close(loss(shuffled, weight), loss(logits, weight))


@for_every_loss
@small_run
@given(batches(), st.data())
def test_weight_zero_equals_leaving_the_target_out(
    loss: Loss, batch: tuple[Logits, Tensor], data: st.DataObject
) -> None:
    logits, weight = batch
    keep = torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(weight), max_size=len(weight))))
    torch.testing.assert_close(
        loss(logits, weight * keep), loss(at_targets(logits, torch.nonzero(keep)[:, 0]), weight[keep])
    )


@for_every_loss
@small_run
@given(batches(), st.data())
def test_weight_two_equals_having_the_target_twice(
    loss: Loss, batch: tuple[Logits, Tensor], data: st.DataObject
) -> None:
    logits, weight = batch
    target = data.draw(st.integers(0, len(weight) - 1))
    double = weight.clone()
    double[target] *= 2
    rows = torch.tensor([*range(len(weight)), target])
    torch.testing.assert_close(loss(logits, double), loss(at_targets(logits, rows), weight[rows]))


@for_every_loss
@small_run
@given(batches())
def test_a_better_target_never_costs_more(loss: Loss, batch: tuple[Logits, Tensor]) -> None:
    logits, weight = batch
    better = Logits(
        logits.positive + 1,
        logits.negatives,
        logits.target_row,
        logits.log_q_positive,
        logits.log_q_negatives,
    )
    assert loss(better, weight) <= loss(logits, weight) + 1e-6
