"""The documentation of `sampled_softmax_loss` is true of its optimum and of its value.

Five items, whose true probabilities are also those of a draw. The expected loss is computed over all targets
and all draws, so that its optimum is exact.
"""

import itertools
import math

import pytest
import torch
from torch import Tensor

from marquee.nn.logits import Logits
from marquee.nn.losses import SampledSoftmaxConfig, sampled_softmax_loss

TRUE = torch.tensor([0.50, 0.25, 0.15, 0.07, 0.03], dtype=torch.float64)
KNOBS = SampledSoftmaxConfig(temperature=1.0)


def learned(n_draws: int, *, masked: bool) -> Tensor:
    """Returns the distribution over items at which the expected loss is least, (5,)."""
    cases = torch.tensor(list(itertools.product(range(5), repeat=1 + n_draws)))
    target, drawn = cases[:, 0], cases[:, 1:]  # (n_cases,), (n_cases, n_draws)
    probability = TRUE[cases].prod(dim=1)
    is_hit = (drawn == target[:, None]) & masked
    log_q = (n_draws * TRUE).log()
    scores = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([scores], max_iter=200, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def expected_loss() -> float:
        negatives = scores[drawn].masked_fill(is_hit, -torch.inf)
        ones = torch.ones(len(cases), dtype=torch.float64)
        rows = torch.arange(len(cases))
        logits = Logits(scores[target], negatives, rows, log_q[target], log_q[drawn], ones, ones)
        value = sampled_softmax_loss(logits, probability, KNOBS)
        optimizer.zero_grad()
        torch.autograd.backward(value)
        return value.item()

    optimizer.step(expected_loss)  # type: ignore[no-untyped-call] # torch's own
    return scores.detach().softmax(dim=0)


@pytest.mark.parametrize("n_draws", [1, 2, 4])
def test_without_masks_the_optimum_is_the_true_distribution(n_draws: int) -> None:
    torch.testing.assert_close(learned(n_draws, masked=False), TRUE, atol=1e-5, rtol=0)


def test_masked_hits_raise_popular_items_more_the_more_often_they_are_drawn() -> None:
    few, many = (learned(n_draws, masked=True) for n_draws in (2, 4))
    assert TRUE[0] + 0.02 < few[0] < many[0] - 0.02
    assert few[4] < TRUE[4]


@pytest.mark.parametrize("n_candidates", [1, 40, 600])
def test_equal_scores_cost_the_log_of_the_number_of_choices(n_candidates: int) -> None:
    zeros = torch.zeros(n_candidates)
    even = Logits(zeros[:1], zeros[None], torch.tensor([0]), zeros[:1], zeros, zeros[:1], zeros)
    value = sampled_softmax_loss(even, torch.ones(1), KNOBS)
    assert value.item() == pytest.approx(math.log(1 + n_candidates), abs=1e-5)
