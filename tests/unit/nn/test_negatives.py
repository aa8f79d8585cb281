"""Samplers: how often each item is drawn, against what they say of it."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from marquee.errors import ConfigError
from marquee.nn.logits import Logits
from marquee.nn.negatives import (
    CatalogNegativesConfig,
    CatalogSampler,
    HardNegativesConfig,
    HardSampler,
    MixedNegativesConfig,
    MixedSampler,
    NegativesConfig,
)

COUNTS = torch.tensor([0.0, 60.0, 25.0, 10.0, 5.0, 0.0])  # 5 items; the last one never stood in training
SHARES = COUNTS[1:] / 100
N_TARGETS = 50
MASKED = -math.inf


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
        MixedNegativesConfig(n_uniform=0, n_popular=40, popularity_exponent=0.5, in_batch=False),
        MixedNegativesConfig(n_uniform=40, n_popular=20, in_batch=True),
    ],
    ids=["uniform", "in_batch", "popular", "mixed"],
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


def test_mixture_of_nothing_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"n_popular must be 1 or more without negatives\.in_batch, got 0 and 0"
    ):
        MixedNegativesConfig(n_uniform=0, in_batch=False)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"n_uniform": -1}, r"must be 0 or more, got -1 and 0"),
        ({"n_popular": -2}, r"must be 0 or more, got 1000 and -2"),
        ({"popularity_exponent": -0.5}, r"negatives\.popularity_exponent must be 0 or more, got -0\.5"),
    ],
)
def test_impossible_mixture_is_refused(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MixedNegativesConfig(**knobs)


@pytest.mark.parametrize(("n_kept", "temperature"), [(0, 0.1), (5, 0.0)])
def test_impossible_hardness_is_refused(n_kept: int, temperature: float) -> None:
    with pytest.raises(ConfigError, match=rf"negatives\.n_kept must be .*, got {n_kept} and {temperature}"):
        HardNegativesConfig(n_kept=n_kept, temperature=temperature)


def test_exponent_zero_draws_all_that_are_targets_alike() -> None:
    config = MixedNegativesConfig(n_uniform=0, n_popular=8, popularity_exponent=0.0, in_batch=False)
    assert said_of_every_item(config).tolist() == pytest.approx([2.0] * 4 + [0.0])


def test_candidates_come_with_their_counts() -> None:
    drawn = (
        MixedNegativesConfig(n_uniform=5, n_popular=5).build(COUNTS).sample(torch.tensor([1, 4]), seeded())
    )
    assert torch.equal(drawn.count, COUNTS[drawn.items])
    assert drawn.count_target.tolist() == [60.0, 5.0]


def scored(n_rows: int, negatives: Tensor) -> Logits:
    """Returns the logits of candidates that are expected 1, 2, 3 and 4 times."""
    n = negatives.shape[1]
    log_q = torch.arange(1.0, n + 1).log()
    zeros = torch.zeros(n_rows)
    return Logits(zeros, negatives, torch.arange(n_rows), zeros, log_q, zeros, torch.arange(float(n)))


def test_hard_draws_are_as_frequent_as_their_softmax_says() -> None:
    config = HardNegativesConfig(n_kept=30, temperature=0.5)
    pool = scored(1, torch.tensor([[0.0, 0.4, -0.3, MASKED]]))
    expected = torch.softmax(pool.negatives[0] / 0.5, dim=0) * 30
    generator, n_batches, observed = seeded(), 400, torch.zeros(4)
    sampler = config.build(COUNTS)
    for _ in range(n_batches):
        observed += torch.bincount(sampler.narrow(pool, generator).count_negatives[0].long(), minlength=4)
    assert observed[3] == 0  # masked
    chi_square = ((observed - expected * n_batches)[:3] ** 2 / (expected[:3] * n_batches)).sum().item()
    assert chi_square < 13.8  # exceeded by chance once in 1,000 with 2 degrees of freedom


def test_hard_draws_keep_logits_and_say_how_often_they_were_expected() -> None:
    pool = scored(2, torch.tensor([[0.0, 0.4, -0.3], [1.0, -1.0, 0.2]]))
    kept = HardNegativesConfig(n_kept=7, temperature=0.5).build(COUNTS).narrow(pool, seeded())
    assert kept.negatives.shape == (2, 7)
    for row in range(2):
        chances = torch.softmax(pool.negatives[row] / 0.5, dim=0)
        for column, candidate in enumerate(kept.count_negatives[row].long().tolist()):
            assert kept.negatives[row, column] == pool.negatives[row, candidate]
            expected = (candidate + 1) * 7 * chances[candidate].item()
            assert kept.log_q_negatives[row, column].exp().item() == pytest.approx(expected, rel=1e-5)


def test_pool_that_is_masked_throughout_stays_masked() -> None:
    pool = scored(1, torch.full((1, 3), MASKED))
    kept = HardNegativesConfig(n_kept=4).build(COUNTS).narrow(pool, seeded())
    assert (kept.negatives == MASKED).all()
    assert torch.isfinite(kept.log_q_negatives).all()


def test_hard_sampler_draws_its_pool_from_the_mixture() -> None:
    target = torch.tensor([1, 2])
    hard = HardNegativesConfig(n_uniform=9).build(COUNTS).sample(target, seeded(5))
    mixed = MixedNegativesConfig(n_uniform=9).build(COUNTS).sample(target, seeded(5))
    assert torch.equal(hard.items, mixed.items)


@pytest.mark.parametrize(
    "config", [MixedNegativesConfig(), CatalogNegativesConfig()], ids=["mixed", "catalog"]
)
def test_other_samplers_narrow_nothing_down(config: NegativesConfig) -> None:
    pool = scored(1, torch.tensor([[0.0, 0.4]]))
    assert config.build(COUNTS).narrow(pool, seeded()) is pool


@pytest.mark.parametrize(
    "config", [MixedNegativesConfig(), CatalogNegativesConfig()], ids=["mixed", "catalog"]
)
def test_sampler_moves_with_the_batches(config: NegativesConfig) -> None:
    moved = config.build(COUNTS).to("meta")
    assert isinstance(moved, MixedSampler | CatalogSampler)
    assert moved.counts.device.type == "meta"


def test_hard_sampler_moves_with_its_pool() -> None:
    moved = HardNegativesConfig(n_kept=3).build(COUNTS).to("meta")
    assert isinstance(moved, HardSampler)
    assert isinstance(moved.pool, MixedSampler)
    assert (moved.n_kept, moved.pool.counts.device.type) == (3, "meta")


def test_base_config_builds_nothing() -> None:
    with pytest.raises(NotImplementedError, match="NegativesConfig must define build"):
        NegativesConfig().build(COUNTS)
