"""Pointwise losses against loops in plain numpy."""

import math

import pytest
import torch
from torch import Tensor

from marquee.errors import ConfigError
from marquee.nn.logits import Logits
from marquee.nn.losses import CosineContrastiveConfig, DegreeWeightedConfig

MASKED = -math.inf
ROWS = [0, 1, 1, 2, 1]


def example(seed: int) -> tuple[Logits, Tensor]:
    """Returns cosines of 5 targets of 3 queries against 4 candidates, two of them masked for one query."""
    generator = torch.Generator().manual_seed(seed)
    negatives = torch.rand(3, 4, generator=generator) * 2 - 1
    negatives[1, :2] = MASKED
    logits = Logits(
        positive=torch.rand(5, generator=generator) * 2 - 1,
        negatives=negatives,
        target_row=torch.tensor(ROWS),
        log_q_positive=torch.zeros(5),
        log_q_negatives=torch.zeros(4),
        count_positive=torch.tensor([7.0, 1.0, 3.0, 30.0, 2.0]),
        count_negatives=torch.tensor([5.0, 0.0, 12.0, 1.0]),
    )
    return logits, torch.tensor([1.0, 0.5, 2.0, 0.0, 3.0])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("margin", [-0.5, 0.3])
def test_cosine_contrastive_is_what_loops_give(margin: float, seed: int) -> None:
    logits, weight = example(seed)
    total = 0.0
    for i, row in enumerate(ROWS):
        candidates = [cosine for cosine in logits.negatives[row].tolist() if cosine != MASKED]
        pushed = sum(max(0.0, cosine - margin) for cosine in candidates) / len(candidates)
        total += weight[i].item() * ((1 - logits.positive[i].item()) + 20 * pushed)
    config = CosineContrastiveConfig(margin=margin, negative_weight=20)
    assert config.build()(logits, weight).item() == pytest.approx(total / weight.sum().item(), rel=1e-5)


def log_sigmoid(value: float) -> float:
    """Returns the log of the logistic function."""
    return -math.log(1 + math.exp(-value))


@pytest.mark.parametrize("seed", range(3))
def test_degree_weighted_is_what_loops_give(seed: int) -> None:
    logits, weight = example(seed)
    total = 0.0
    for i, row in enumerate(ROWS):
        degree = sum(weight[j].item() for j, of in enumerate(ROWS) if of == row)
        if degree == 0:
            continue

        def of_pair(count: float, degree: float = degree) -> float:
            return 1 + 2.0 * math.sqrt((degree + 1) / (count + 1)) / degree

        drawn = of_pair(logits.count_positive[i].item()) * -log_sigmoid(logits.positive[i].item() / 0.5)
        candidates = [
            of_pair(logits.count_negatives[j].item()) * -log_sigmoid(-cosine / 0.5)
            for j, cosine in enumerate(logits.negatives[row].tolist())
            if cosine != MASKED
        ]
        total += weight[i].item() * (drawn + 10 * sum(candidates) / len(candidates))
    config = DegreeWeightedConfig(temperature=0.5, negative_weight=10, degree_weight=2.0)
    assert config.build()(logits, weight).item() == pytest.approx(total / weight.sum().item(), rel=1e-5)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: CosineContrastiveConfig(margin=1.0), r"margin must be in \[-1, 1\), got 1\.0"),
        (lambda: CosineContrastiveConfig(negative_weight=0), r"negative_weight must be above 0, got 0"),
        (lambda: DegreeWeightedConfig(temperature=0), r"temperature must be above 0, got 0"),
        (lambda: DegreeWeightedConfig(degree_weight=-1), r"degree_weight must be 0 or more, got -1"),
    ],
)
def test_impossible_knob_is_refused(build: object, message: str) -> None:
    assert callable(build)
    with pytest.raises(ConfigError, match=message):
        build()
