"""Samplers: how often each item is drawn, against what they say of it."""

import math

import pytest
import torch
from torch import Tensor

from marquee.errors import ConfigError
from marquee.nn.negatives import CatalogNegativesConfig, MixedNegativesConfig, NegativesConfig

COUNTS = torch.tensor([0.0, 60.0, 25.0, 10.0, 5.0, 0.0])  # 5 items; the last one never stood in training
SHARES = COUNTS[1:] / 100
N_TARGETS = 50


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn_counts(config: NegativesConfig, n_batches: int) -> Tensor:
    """Returns how often each item was a candidate over many batches of random targets, (n_items + 1,)."""
    sampler, generator, counts = config.build(COUNTS), seeded(), torch.zeros(6)
    for _ in range(n_batches):
        targets = 1 + torch.multinomial(SHARES, N_TARGETS, replacement=True, generator=generator)
        counts += torch.bincount(sampler.sample(targets, generator).items, minlength=6)
    return counts


def said_of_every_item(config: NegativesConfig) -> Tensor:
    """Returns the expected number of draws of items 1 … 5 for one batch, as the sampler states it."""
    targets = torch.arange(1, 6).repeat(N_TARGETS // 5)
    return config.build(COUNTS).sample(targets, seeded()).log_q_target[:5].exp()


@pytest.mark.parametrize(
    "config",
    [
        MixedNegativesConfig(n_uniform=40, in_batch=False),
        MixedNegativesConfig(n_uniform=0, in_batch=True),
        MixedNegativesConfig(n_uniform=40, in_batch=True),
    ],
    ids=["uniform", "in_batch", "mixed"],
)
def test_draws_are_as_frequent_as_log_q_says(config: MixedNegativesConfig) -> None:
    n_batches = 400
    expected = said_of_every_item(config) * n_batches
    observed = drawn_counts(config, n_batches)[1:]
    can_occur = expected > 1e-6
    assert torch.equal(observed[~can_occur], torch.zeros(int((~can_occur).sum())))
    chi_square = ((observed - expected)[can_occur] ** 2 / expected[can_occur]).sum().item()
    assert chi_square < 18.5  # exceeded by chance once in 1,000 with 4 degrees of freedom


def test_expected_draws_of_a_mixture_add_up() -> None:
    said = said_of_every_item(MixedNegativesConfig(n_uniform=40, in_batch=True))
    assert said.tolist() == pytest.approx([50 * 0.60 + 8, 50 * 0.25 + 8, 50 * 0.10 + 8, 50 * 0.05 + 8, 8])


def test_expected_draws_sum_to_the_number_of_candidates() -> None:
    config = MixedNegativesConfig(n_uniform=40)
    drawn = config.build(COUNTS).sample(torch.ones(N_TARGETS, dtype=torch.int64), seeded())
    assert len(drawn.items) == 90
    assert said_of_every_item(config).sum().item() == pytest.approx(90)


def test_candidate_and_target_of_one_item_agree() -> None:
    targets = torch.tensor([1, 2, 3])
    drawn = MixedNegativesConfig(n_uniform=5).build(COUNTS).sample(targets, seeded())
    assert torch.equal(drawn.items[:3], targets)
    assert torch.equal(drawn.log_q[:3], drawn.log_q_target)


def test_target_that_training_never_saw_stays_finite() -> None:
    drawn = MixedNegativesConfig(n_uniform=0).build(COUNTS).sample(torch.tensor([5]), seeded())
    assert torch.isfinite(drawn.log_q).all()


def test_same_generator_state_gives_same_draw() -> None:
    sampler = MixedNegativesConfig(n_uniform=50).build(COUNTS)
    target = torch.tensor([1, 4])
    first, again = (sampler.sample(target, seeded(3)).items for _ in range(2))
    other = sampler.sample(target, seeded(4)).items
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_generator_moves_on_between_draws() -> None:
    sampler, generator = MixedNegativesConfig(n_uniform=50, in_batch=False).build(COUNTS), seeded()
    first, second = (sampler.sample(torch.tensor([1]), generator).items for _ in range(2))
    assert not torch.equal(first, second)


def test_catalog_holds_every_item_once() -> None:
    drawn = CatalogNegativesConfig().build(COUNTS).sample(torch.tensor([2, 2]), seeded())
    assert drawn.items.tolist() == [1, 2, 3, 4, 5]
    assert drawn.log_q.tolist() == [0.0] * 5
    assert drawn.log_q_target.tolist() == [0.0] * 2


def test_uniform_draws_are_equally_likely() -> None:
    drawn = (
        MixedNegativesConfig(n_uniform=20, in_batch=False).build(COUNTS).sample(torch.tensor([1]), seeded())
    )
    assert drawn.log_q.tolist() == pytest.approx([math.log(20 / 5)] * 20)


@pytest.mark.parametrize(("n_uniform", "in_batch"), [(0, False), (-1, True)])
def test_sampler_without_candidates_is_refused(n_uniform: int, in_batch: bool) -> None:
    with pytest.raises(ConfigError, match=rf"negatives\.n_uniform must be .*, got {n_uniform}"):
        MixedNegativesConfig(n_uniform=n_uniform, in_batch=in_batch)


def test_base_config_builds_nothing() -> None:
    with pytest.raises(NotImplementedError, match="NegativesConfig must define build"):
        NegativesConfig().build(COUNTS)
