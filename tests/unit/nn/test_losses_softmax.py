"""The softmax family against loops in plain numpy."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from marquee.errors import ConfigError
from marquee.nn.logits import Logits
from marquee.nn.losses import (
    BilateralSoftmaxConfig,
    SampledSoftmaxConfig,
    TopKSoftmaxConfig,
    bilateral_softmax_loss,
    sampled_softmax_loss,
    top_k_softmax_loss,
)

MASKED = -math.inf


def example(seed: int) -> tuple[Logits, Tensor]:
    """Returns 6 targets of 3 queries against 5 candidates, two of them masked for one query."""
    generator = torch.Generator().manual_seed(seed)
    negatives = torch.randn(3, 5, generator=generator)
    negatives[1, :2] = MASKED
    logits = Logits(
        positive=torch.randn(6, generator=generator),
        negatives=negatives,
        target_row=torch.tensor([0, 1, 1, 2, 1, 2]),
        log_q_positive=torch.rand(6, generator=generator),
        log_q_negatives=torch.randn(5, generator=generator) / 2,
        count_positive=torch.ones(6),
        count_negatives=torch.ones(5),
    )
    return logits, torch.tensor([1.0, 0.5, 2.0, 0.0, 3.0, 1.5])


def exponentials(logits: Logits, row: int, temperature: float) -> list[float]:
    """Returns exp(logit / temperature) / expected draws of each candidate of a query."""
    return [
        math.exp(logit / temperature - log_q)
        for logit, log_q in zip(logits.negatives[row].tolist(), logits.log_q_negatives.tolist(), strict=True)
    ]


def bilateral_by_hand(logits: Logits, weight: Tensor, temperature: float, of_targets: float) -> float:
    """Returns the weighted mean over queries of -log(targets / (targets + candidates))."""
    total = 0.0
    for row in range(3):
        own = [i for i, of in enumerate(logits.target_row.tolist()) if of == row]
        weights = [weight[i].item() for i in own]
        mean = sum(
            w * math.exp(logits.positive[i].item() / of_targets - logits.log_q_positive[i].item())
            for i, w in zip(own, weights, strict=True)
        ) / sum(weights)
        others = sum(exponentials(logits, row, temperature)) ** (temperature / of_targets)
        total += sum(weights) * -math.log(mean / (mean + others))
    return total / weight.sum().item()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("of_targets", [0.3, 0.5, 2.0])
def test_bilateral_softmax_is_what_loops_give(of_targets: float, seed: int) -> None:
    logits, weight = example(seed)
    config = BilateralSoftmaxConfig(temperature=0.5, positive_temperature=of_targets)
    expected = bilateral_by_hand(logits, weight, 0.5, of_targets)
    assert config.build()(logits, weight).item() == pytest.approx(expected, rel=1e-5)


def test_bilateral_softmax_of_one_target_and_one_temperature_is_softmax() -> None:
    logits, _ = example(1)
    single = replace(
        logits,
        positive=logits.positive[[0, 1, 3]],
        target_row=torch.arange(3),
        log_q_positive=logits.log_q_positive[[0, 1, 3]],
        count_positive=torch.ones(3),
    )
    weight = torch.tensor([1.0, 2.0, 0.5])
    equal = BilateralSoftmaxConfig(temperature=0.4, positive_temperature=0.4)
    bilateral = bilateral_softmax_loss(single, weight, equal)
    plain = sampled_softmax_loss(single, weight, SampledSoftmaxConfig(temperature=0.4))
    torch.testing.assert_close(bilateral, plain)


def score_at_rank_by_hand(logits: Logits, weight: Tensor, row: int, k: int) -> float:
    """Returns the score at which k items, as the sample stands for them, are reached; -inf if never."""
    counted = [
        (logits.positive[i].item(), weight[i].item())
        for i, of in enumerate(logits.target_row.tolist())
        if of == row
    ]
    counted += [
        (logit, math.exp(-log_q))
        for logit, log_q in zip(logits.negatives[row].tolist(), logits.log_q_negatives.tolist(), strict=True)
        if logit != MASKED
    ]
    reached = 0.0
    for score, count in sorted(counted, reverse=True):
        reached += count
        if reached >= k:
            return score
    return MASKED


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("k", [1, 2, 4, 50])
def test_top_k_softmax_is_what_loops_give(k: int, seed: int) -> None:
    logits, weight = example(seed)
    total = 0.0
    for i, row in enumerate(logits.target_row.tolist()):
        own = math.exp(logits.positive[i].item() / 0.5 - logits.log_q_positive[i].item())
        loss = -math.log(own / (own + sum(exponentials(logits, row, 0.5))))
        gap = logits.positive[i].item() - score_at_rank_by_hand(logits, weight, row, k)
        total += weight[i].item() * loss / (1 + math.exp(-gap / 0.8))
    config = TopKSoftmaxConfig(k=k, temperature=0.5, weight_temperature=0.8)
    assert config.build()(logits, weight).item() == pytest.approx(total / weight.sum().item(), rel=1e-5)


def test_weight_of_a_target_falls_with_its_distance_from_the_first_k() -> None:
    negatives = torch.tensor([[0.0, -0.1, -0.2, -0.3]])
    ones, zeros = torch.ones(4), torch.zeros(1)

    def loss_over_softmax(score: float) -> float:
        logits = Logits(
            torch.tensor([score]), negatives, torch.tensor([0]), zeros, torch.zeros(4), ones[:1], ones
        )
        knobs = TopKSoftmaxConfig(temperature=1.0, k=2, weight_temperature=0.1)
        top = top_k_softmax_loss(logits, ones[:1], knobs)
        plain = sampled_softmax_loss(logits, ones[:1], knobs)
        return (top / plain).item()

    inside, at_the_edge, outside = (loss_over_softmax(score) for score in (0.4, -0.05, -0.6))
    assert inside > 0.95  # second best is 0.0
    assert at_the_edge == pytest.approx(0.5, abs=1e-6)  # itself the second best
    assert outside < 0.01


def test_narrow_draws_with_their_own_log_q_are_read_by_row() -> None:
    logits, weight = example(2)
    wide = replace(
        logits,
        log_q_negatives=logits.log_q_negatives.expand(3, 5).clone(),
        count_negatives=logits.count_negatives.expand(3, 5),
    )
    for config in (SampledSoftmaxConfig(), BilateralSoftmaxConfig(), TopKSoftmaxConfig(k=2)):
        torch.testing.assert_close(config.build()(wide, weight), config.build()(logits, weight))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: BilateralSoftmaxConfig(temperature=0), r"temperature must be above 0, got 0 \(config"),
        (lambda: BilateralSoftmaxConfig(positive_temperature=-1), r"positive_temperature must be .*got -1"),
        (lambda: TopKSoftmaxConfig(k=0), r"k must be 1 or more, got 0 \(config loss\.k\)"),
        (lambda: TopKSoftmaxConfig(weight_temperature=0), r"weight_temperature must be above 0, got 0"),
    ],
)
def test_impossible_knob_is_refused(build: object, message: str) -> None:
    assert callable(build)
    with pytest.raises(ConfigError, match=message):
        build()
