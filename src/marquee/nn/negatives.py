"""Where candidates come from, and how often each was to be expected among them.

A sampler draws candidates shared by all queries of a batch. For each it returns `log_q`, the log of the
expected number of times that the item is drawn for one batch; the loss subtracts it. Where two sources
are mixed, the expected numbers add up, whichever source an item came from (Yang et al. 2020, WWW
Companion, "Mixed Negative Sampling for Learning Two-tower Neural Networks in Recommendations").
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from marquee.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Negatives:
    """Candidates of one batch.

    Attributes:
        items: item_index, (n_candidates,) int64, never 0; an item may occur more than once.
        log_q: Log of the expected number of draws of each, (n_candidates,) float32.
        log_q_target: The same for the targets of the batch, (n_targets,) float32.
    """

    items: Tensor
    log_q: Tensor
    log_q_target: Tensor


class NegativeSampler(Protocol):
    """Draws the candidates of a batch with an explicit generator."""

    def sample(self, target_item: Tensor, generator: torch.Generator) -> Negatives:
        """Returns candidates for a batch with the targets `target_item`, (n_targets,) int64."""
        ...


@dataclass(kw_only=True)
class NegativesConfig:
    """Base of the sampler configs: the group `negatives` holds one file per subclass."""

    def build(self, target_counts: Tensor) -> NegativeSampler:
        """Returns the sampler.

        Args:
            target_counts: How often each item is a target in training, (n_items + 1,) float32; row 0 is 0.
        """
        raise NotImplementedError(f"{type(self).__name__} must define build")


@dataclass(frozen=True)
class MixedSampler:
    """Takes the batch's own targets as candidates, plus draws that are uniform over the catalog.

    Attributes:
        probability: Share of each item among training targets, (n_items + 1,) float32.
        n_uniform: Uniform draws with replacement per batch.
        in_batch: Whether the targets of the batch are candidates for each other.
    """

    probability: Tensor
    n_uniform: int
    in_batch: bool

    def sample(self, target_item: Tensor, generator: torch.Generator) -> Negatives:
        """See `NegativeSampler`; the generator must live on the device of `target_item`."""
        n_items = len(self.probability) - 1
        items = torch.randint(
            1, n_items + 1, (self.n_uniform,), generator=generator, device=target_item.device
        )
        if self.in_batch:
            items = torch.cat([target_item, items])
        return Negatives(
            items, self._log_q(items, len(target_item)), self._log_q(target_item, len(target_item))
        )

    def _log_q(self, items: Tensor, n_targets: int) -> Tensor:
        """Returns the log of the expected number of draws of `items`, same shape, float32."""
        expected = torch.full(items.shape, self.n_uniform / (len(self.probability) - 1), device=items.device)
        if self.in_batch:
            probability = self.probability[items.to(self.probability.device)]  # the table need not move
            expected = expected + n_targets * probability.to(items.device)
        # A target that training never saw (it cannot happen in training itself) would have log 0.
        return expected.clamp_min(torch.finfo(torch.float32).tiny).log()


@dataclass(kw_only=True)
class MixedNegativesConfig(NegativesConfig):
    """In-batch and uniform candidates in any mixture.

    Attributes:
        n_uniform: Uniform draws per batch, shared by all its queries.
        in_batch: Whether other queries' targets are candidates.
    """

    n_uniform: int = 1000
    in_batch: bool = True

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError if there would be no candidate at all."""
        if self.n_uniform < 0 or (self.n_uniform == 0 and not self.in_batch):
            raise ConfigError(
                f"negatives.n_uniform must be 1 or more without negatives.in_batch, got {self.n_uniform}"
            )

    def build(self, target_counts: Tensor) -> NegativeSampler:
        """Returns the sampler."""
        return MixedSampler(target_counts / target_counts.sum(), self.n_uniform, self.in_batch)


@dataclass(frozen=True)
class CatalogSampler:
    """Takes every item of the catalog as a candidate, once: the softmax is then exact."""

    n_items: int

    def sample(self, target_item: Tensor, generator: torch.Generator) -> Negatives:  # noqa: ARG002 - protocol
        """See `NegativeSampler`; nothing is drawn."""
        items = torch.arange(1, self.n_items + 1, device=target_item.device)
        return Negatives(
            items, torch.zeros(self.n_items, device=items.device), torch.zeros_like(target_item).float()
        )


@dataclass(kw_only=True)
class CatalogNegativesConfig(NegativesConfig):
    """Every item is a candidate: exact, and costs `batch × n_items`."""

    def build(self, target_counts: Tensor) -> NegativeSampler:
        """Returns the sampler."""
        return CatalogSampler(len(target_counts) - 1)
