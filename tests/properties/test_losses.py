"""Properties of every loss, whatever the logits."""

import math
from dataclasses import replace
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from marquee.nn.logits import Logits
from marquee.nn.losses import Loss
from tests.support.losses import EXAMPLES

LOSSES: dict[str, Loss] = {name: config.build() for name, config in EXAMPLES.items()}
for_every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
# Weighing a target that rises towards the first k more is what that loss is for.
for_every_loss_but_top_k = pytest.mark.parametrize(
    "loss",
    [loss for name, loss in LOSSES.items() if name != "top_k_softmax"],
    ids=[name for name in LOSSES if name != "top_k_softmax"],
)
# What a user had is a set there: a target that stands twice is two items.
for_every_loss_but_of_sets = pytest.mark.parametrize(
    "loss",
    [loss for name, loss in LOSSES.items() if name != "normalised_squared_error"],
    ids=[name for name in LOSSES if name != "normalised_squared_error"],
)
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
        count_positive=torch.randint(1, 50, (n_targets,), generator=generator).float(),
        count_negatives=torch.randint(50, (n_candidates,), generator=generator).float(),
    )
    return logits, torch.rand(n_targets, generator=generator)


def at_targets(logits: Logits, rows: Tensor) -> Logits:
    """Returns the logits of some of the targets."""
    return replace(
        logits,
        positive=logits.positive[rows],
        target_row=logits.target_row[rows],
        log_q_positive=logits.log_q_positive[rows],
        count_positive=logits.count_positive[rows],
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
    shuffled = replace(
        logits,
        negatives=logits.negatives[:, order],
        log_q_negatives=logits.log_q_negatives[order],
        count_negatives=logits.count_negatives[order],
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


@for_every_loss_but_of_sets
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


@for_every_loss_but_top_k
@small_run
@given(batches())
def test_a_better_target_never_costs_more(loss: Loss, batch: tuple[Logits, Tensor]) -> None:
    logits, weight = batch
    better = replace(logits, positive=logits.positive + 1)
    assert loss(better, weight) <= loss(logits, weight) + 1e-6
