"""Losses against loops in plain numpy, and what a loss must do at the edges."""

import math
from dataclasses import fields, replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from marquee.errors import ConfigError
from marquee.nn import losses
from marquee.nn.logits import Logits
from marquee.nn.losses import (
    BilateralSoftmaxConfig,
    BPRConfig,
    CosineContrastiveConfig,
    DegreeWeightedConfig,
    Loss,
    LossConfig,
    SampledSoftmaxConfig,
    TopKSoftmaxConfig,
    sampled_softmax_loss,
    weighted_mean,
)
from marquee.nn.negatives import CatalogSampler
from tests.support.losses import EXAMPLES

MASKED = -math.inf
CONFIGS = [
    name for name in losses.__all__ if name.endswith("Config") and "loss" in vars(getattr(losses, name))
]
# A target without candidate has nothing to be compared with.
COMPARING = {name: EXAMPLES[name] for name in EXAMPLES if "softmax" in name or name == "bpr"}
# A squared error is of whole rows: a target there is no term of its own.
LOSSES = {name: config for name, config in EXAMPLES.items() if name != "normalised_squared_error"}
for_comparing_losses = pytest.mark.parametrize(
    "loss", [config.build() for config in COMPARING.values()], ids=list(COMPARING)
)


@pytest.fixture(params=list(LOSSES.values()), ids=list(LOSSES))
def loss(request: pytest.FixtureRequest) -> Loss:
    config: LossConfig = request.param
    return config.build()


def example(seed: int = 0) -> tuple[Logits, Tensor]:
    """Returns 5 targets of 3 queries against 4 candidates, two of them masked for one query."""
    generator = torch.Generator().manual_seed(seed)
    negatives = torch.randn(3, 4, generator=generator)
    negatives[1, :2] = MASKED
    logits = Logits(
        positive=torch.randn(5, generator=generator),
        negatives=negatives,
        target_row=torch.tensor([0, 1, 1, 2, 1]),
        log_q_positive=torch.rand(5, generator=generator),
        log_q_negatives=torch.rand(4, generator=generator),
        count_positive=torch.tensor([7.0, 1.0, 3.0, 30.0, 2.0]),
        count_negatives=torch.tensor([5.0, 0.0, 12.0, 1.0]),
    )
    return logits, torch.tensor([1.0, 0.5, 2.0, 0.0, 3.0])


def softmax_by_hand(logits: Logits, weight: Tensor, temperature: float, corrected: bool) -> float:
    """Returns the weighted mean of -log p(target), one target at a time."""
    total = 0.0
    for i, row in enumerate(logits.target_row.tolist()):
        own = logits.positive[i].item() / temperature - corrected * logits.log_q_positive[i].item()
        others = [
            logits.negatives[row, j].item() / temperature - corrected * logits.log_q_negatives[j].item()
            for j in range(logits.negatives.shape[1])
        ]
        everything = math.exp(own) + sum(math.exp(other) for other in others)
        total += weight[i].item() * -math.log(math.exp(own) / everything)
    return total / weight.sum().item()


def bpr_by_hand(logits: Logits, weight: Tensor, temperature: float) -> float:
    """Returns the weighted mean over targets of the mean over candidates of -log sigmoid(difference)."""
    total = 0.0
    for i, row in enumerate(logits.target_row.tolist()):
        own = logits.positive[i].item()
        pairs = [
            -math.log(1 / (1 + math.exp((other - own) / temperature)))
            for other in logits.negatives[row].tolist()
            if other != MASKED
        ]
        total += weight[i].item() * sum(pairs) / max(len(pairs), 1)
    return total / weight.sum().item()


@pytest.mark.parametrize("corrected", [True, False])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_sampled_softmax_is_what_loops_give(temperature: float, corrected: bool) -> None:
    logits, weight = example()
    knobs = SampledSoftmaxConfig(temperature=temperature, log_q_correction=corrected)
    got = sampled_softmax_loss(logits, weight, knobs)
    assert got.item() == pytest.approx(softmax_by_hand(logits, weight, temperature, corrected), abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_bpr_is_what_loops_give(seed: int) -> None:
    logits, weight = example(seed)
    plain = BPRConfig().build()(logits, weight)
    assert plain.item() == pytest.approx(bpr_by_hand(logits, weight, 1.0), abs=1e-6)
    got = BPRConfig(temperature=0.3).build()(logits, weight)
    assert got.item() == pytest.approx(bpr_by_hand(logits, weight, 0.3), abs=1e-6)


def test_config_passes_its_knobs_to_the_loss() -> None:
    logits, weight = example()
    config = SampledSoftmaxConfig(temperature=0.7, log_q_correction=False)
    expected = softmax_by_hand(logits, weight, temperature=0.7, corrected=False)
    assert config.build()(logits, weight).item() == pytest.approx(expected, abs=1e-6)


def test_whole_catalog_as_candidates_gives_cross_entropy() -> None:
    scores = torch.randn(6, 9, generator=torch.Generator().manual_seed(1))  # 6 queries, 9 items
    target = torch.tensor([1, 9, 3, 3, 5, 2])
    drawn = CatalogSampler(torch.ones(10)).sample(target, torch.Generator())
    is_own = drawn.items[None, :] == target[:, None]
    logits = Logits(
        positive=scores[torch.arange(6), target - 1],
        negatives=scores[:, drawn.items - 1].masked_fill(is_own, MASKED),
        target_row=torch.arange(6),
        log_q_positive=drawn.log_q_target,
        log_q_negatives=drawn.log_q,
        count_positive=drawn.count_target,
        count_negatives=drawn.count,
    )
    got = SampledSoftmaxConfig(temperature=0.3).build()(logits, torch.ones(6))
    assert got.item() == pytest.approx(F.cross_entropy(scores / 0.3, target - 1).item(), abs=1e-6)


def test_masked_candidate_has_probability_zero(loss: Loss) -> None:
    logits, weight = example()
    of_row_1 = replace(
        logits,
        positive=logits.positive[1:3],
        negatives=logits.negatives[1:2],
        target_row=torch.tensor([0, 0]),
        log_q_positive=logits.log_q_positive[1:3],
        count_positive=logits.count_positive[1:3],
    )
    without = replace(
        of_row_1,
        negatives=of_row_1.negatives[:, 2:],
        log_q_negatives=logits.log_q_negatives[2:],
        count_negatives=logits.count_negatives[2:],
    )
    assert torch.allclose(loss(of_row_1, weight[1:3]), loss(without, weight[1:3]))


def gradients(loss: Loss, logits: Logits, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the loss and its gradients by positive and negative logits."""
    positive = logits.positive.clone().requires_grad_()
    negatives = logits.negatives.clone().requires_grad_()
    value = loss(replace(logits, positive=positive, negatives=negatives), weight)
    by_positive, by_negatives = torch.autograd.grad(value, [positive, negatives])
    return value, by_positive, by_negatives


def test_masked_candidate_gets_no_gradient(loss: Loss) -> None:
    logits, weight = example()
    _, _, by_negatives = gradients(loss, logits, weight)
    assert torch.isfinite(by_negatives).all()
    assert torch.equal(by_negatives[1, :2], torch.zeros(2))
    assert (by_negatives[1, 2:] > 0).all()


def test_row_without_candidate_has_finite_gradient(loss: Loss) -> None:
    logits, _ = example()
    logits.negatives[1] = MASKED
    value, by_positive, by_negatives = gradients(loss, logits, torch.ones(5))
    assert torch.isfinite(value)
    assert torch.isfinite(by_positive).all()
    assert torch.isfinite(by_negatives).all()


@for_comparing_losses
def test_row_without_candidate_pulls_nothing(loss: Loss) -> None:
    logits, _ = example()
    logits.negatives[1] = MASKED
    _, by_positive, _ = gradients(loss, logits, torch.ones(5))
    assert torch.equal(by_positive[logits.target_row == 1], torch.zeros(3))


@for_comparing_losses
def test_batch_without_any_candidate_has_loss_zero(loss: Loss) -> None:
    logits, weight = example()
    logits.negatives[:] = MASKED
    value, by_positive, by_negatives = gradients(loss, logits, weight)
    assert value.item() == 0
    assert torch.equal(by_positive, torch.zeros(5))
    assert torch.equal(by_negatives, torch.zeros(3, 4))


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_extreme_logits_give_finite_loss_and_gradient(loss: Loss, size: float) -> None:
    logits, weight = example()
    logits.positive[:] = size
    value, by_positive, by_negatives = gradients(loss, logits, weight)
    assert torch.isfinite(value)
    assert torch.isfinite(by_positive).all()
    assert torch.isfinite(by_negatives).all()


def test_all_weights_zero_give_loss_zero(loss: Loss) -> None:
    logits, weight = example()
    value, by_positive, _ = gradients(loss, logits, torch.zeros_like(weight))
    assert value.item() == 0
    assert torch.equal(by_positive, torch.zeros(5))


def test_loss_pulls_targets_up_and_candidates_down(loss: Loss) -> None:
    logits, _ = example()
    cosines = replace(logits, positive=logits.positive / 4, negatives=logits.negatives / 4)
    _, by_positive, by_negatives = gradients(loss, cosines, torch.ones(5))
    assert (by_positive < 0).all()
    assert (by_negatives[torch.isfinite(logits.negatives)] > 0).all()


def test_loss_leaves_its_arguments_alone(loss: Loss) -> None:
    (logits, weight), (same, _) = example(), example()
    loss(logits, weight)
    assert torch.equal(logits.positive, same.positive)
    assert torch.equal(logits.negatives, same.negatives)


def test_correction_costs_often_drawn_items_nothing() -> None:
    zeros = torch.zeros(1)
    log_q, counts = torch.full((8,), math.log(8)), torch.ones(8)
    drawn_often = Logits(zeros, torch.zeros(1, 8), torch.tensor([0]), zeros, log_q, zeros, counts)
    corrected = sampled_softmax_loss(drawn_often, torch.ones(1), SampledSoftmaxConfig(temperature=1.0))
    assert corrected.item() == pytest.approx(math.log(1 + 8 / 8))  # 8 copies of one item count as one


def test_weighted_mean_divides_by_the_weights() -> None:
    got = weighted_mean(torch.tensor([1.0, 4.0, 9.0]), torch.tensor([2.0, 1.0, 0.0]))
    assert got.item() == pytest.approx((2 * 1 + 1 * 4) / 3)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_temperature_must_be_positive(temperature: float) -> None:
    with pytest.raises(ConfigError, match=r"temperature must be above 0, got .*loss\.temperature"):
        SampledSoftmaxConfig(temperature=temperature)
    with pytest.raises(ConfigError, match=r"temperature must be above 0, got .*loss\.temperature"):
        BPRConfig(temperature=temperature)


def test_a_config_without_loss_builds_nothing() -> None:
    with pytest.raises(AttributeError, match="'LossConfig' has no attribute 'loss'"):
        LossConfig().build()


@pytest.mark.parametrize("choice", CONFIGS)
def test_a_loss_follows_every_knob_of_its_config(choice: str) -> None:
    # The catalog of the example has too few items for a cutoff of 20.
    config: LossConfig = getattr(losses, choice)(**{"k": 2} if choice == "TopKSoftmaxConfig" else {})
    batch = example()
    default = config.build()(*batch)
    assert default == type(config).loss(*batch, config)
    for knob in fields(config):
        value = getattr(config, knob.name)
        changed = not value if isinstance(value, bool) else value / 2 if isinstance(value, float) else 1
        other = replace(config, **{knob.name: changed})
        assert other.build()(*batch) != default, f"{type(config).__name__}.{knob.name} changes nothing"


def test_loss_is_one_number(loss: Loss) -> None:
    value = loss(*example())
    assert value.shape == ()
    assert value.dtype == torch.float32


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (SampledSoftmaxConfig(temperature=0.3), 0.3),
        (BilateralSoftmaxConfig(temperature=0.3, positive_temperature=0.4), 0.3),
        (TopKSoftmaxConfig(temperature=0.3), 0.3),
        (DegreeWeightedConfig(temperature=0.3), 0.3),
        (BPRConfig(temperature=0.3), 0.3),
        (CosineContrastiveConfig(), 1.0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_odds_unit_is_the_temperature(config: LossConfig, expected: float) -> None:
    assert config.odds_unit == expected
