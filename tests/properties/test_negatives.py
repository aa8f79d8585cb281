"""Properties of every sampler, whatever the catalog and the batch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from marquee.nn.negatives import (
    CatalogNegativesConfig,
    HardNegativesConfig,
    MixedNegativesConfig,
    NegativesConfig,
)

SAMPLERS: dict[str, NegativesConfig] = {
    "mixed": MixedNegativesConfig(n_uniform=7),
    "uniform": MixedNegativesConfig(n_uniform=7, in_batch=False),
    "in_batch": MixedNegativesConfig(n_uniform=0),
    "popular": MixedNegativesConfig(n_uniform=0, n_popular=9, popularity_exponent=0.6, in_batch=False),
    "everything": MixedNegativesConfig(n_uniform=3, n_popular=4),
    "hard": HardNegativesConfig(n_uniform=5),
    "catalog": CatalogNegativesConfig(),
}
for_every_sampler = pytest.mark.parametrize("config", SAMPLERS.values(), ids=SAMPLERS.keys())
counts = st.lists(st.integers(1, 1000), min_size=1, max_size=30)


@for_every_sampler
@settings(max_examples=30, deadline=None)
@given(counts, st.integers(1, 20), st.integers(0, 2**31))
def test_candidates_are_items_of_the_catalog(
    config: NegativesConfig, counts: list[int], n_targets: int, seed: int
) -> None:
    n_items = len(counts)
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(1, n_items + 1, (n_targets,), generator=generator)
    drawn = config.build(torch.tensor([0.0, *counts])).sample(target, generator)
    assert drawn.items.min() >= 1  # never padding
    assert drawn.items.max() <= n_items
    assert drawn.log_q.shape == drawn.items.shape
    assert drawn.log_q_target.shape == target.shape


@for_every_sampler
@settings(max_examples=30, deadline=None)
@given(counts, st.integers(1, 20))
def test_expected_draws_sum_to_the_number_of_candidates(
    config: NegativesConfig, counts: list[int], repeats: int
) -> None:
    every_item = torch.arange(1, len(counts) + 1).repeat(repeats)
    drawn = config.build(torch.tensor([0.0, *counts])).sample(every_item, torch.Generator())
    expected = drawn.log_q_target[: len(counts)].exp().sum()
    torch.testing.assert_close(expected, torch.tensor(float(len(drawn.items))))


@for_every_sampler
@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_same_generator_state_gives_same_draw(config: NegativesConfig, seed: int) -> None:
    sampler, target = config.build(torch.tensor([0.0, 5.0, 3.0, 2.0])), torch.tensor([1, 3])
    draws = [sampler.sample(target, torch.Generator().manual_seed(seed)).items for _ in range(2)]
    assert torch.equal(*draws)
