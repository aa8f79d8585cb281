"""Where candidates come from, and how often each was to be expected among them.

A sampler draws candidates shared by all queries of a batch. For each it returns `log_q`, the log of the
expected number of times that the item is drawn for one batch; the loss subtracts it. Where several sources
are mixed, the expected numbers add up, whichever source an item came from (Yang et al. 2020, WWW
Companion, "Mixed Negative Sampling for Learning Two-tower Neural Networks in Recommendations").

Once the model has scored the candidates, a sampler may narrow them down for each query by itself.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Protocol

import torch
from torch import Tensor

from marquee.errors import ConfigError
from marquee.nn.logits import Logits


@dataclass(frozen=True, slots=True)
class Negatives:
    """Candidates of one batch.

    Attributes:
        items: item_index, (n_candidates,) int64, never 0; an item may occur more than once.
        log_q: Log of the expected number of draws of each, (n_candidates,) float32.
        log_q_target: The same for the targets of the batch, (n_targets,) float32.
        count: How often each candidate is a target in training, (n_candidates,) float32.
        count_target: The same for the targets of the batch, (n_targets,) float32.
    """

    items: Tensor
    log_q: Tensor
    log_q_target: Tensor
    count: Tensor
    count_target: Tensor


class NegativeSampler(Protocol):
    """Draws the candidates of a batch with an explicit generator."""

    def to(self, device: torch.device | str) -> "NegativeSampler":
        """Returns the same sampler for batches on `device`."""
        ...

    def sample(
        self, target_item: Tensor, generator: torch.Generator, all_targets: Tensor | None = None
    ) -> Negatives:
        """Returns candidates for a batch.

        Args:
            target_item: Targets of the batch, (n_targets,) int64.
            generator: Draws; each of several processes has its own, and draws other candidates.
            all_targets: Targets of the batches of all processes that step together, (n,) int64; None where
                there is one process.
        """
        ...

    def narrow(self, logits: Logits, generator: torch.Generator) -> Logits:
        """Returns the logits that the loss is to see, once the candidates are scored."""
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
    """Takes the batch's own targets, uniform draws and draws by popularity as candidates, in any mixture.

    Attributes:
        counts: How often each item is a target in training, (n_items + 1,) float32; row 0 is 0.
        n_uniform: Draws per batch that are uniform over the catalog, with replacement.
        n_popular: Draws per batch in proportion to `counts ** popularity_exponent`, with replacement.
        popularity_exponent: 1 draws items as often as they are targets, 0 all that are one alike.
        in_batch: Whether the targets of the batch, those of all processes, are candidates for each other.
    """

    counts: Tensor
    n_uniform: int
    n_popular: int
    popularity_exponent: float
    in_batch: bool

    def to(self, device: torch.device | str) -> "MixedSampler":
        """See `NegativeSampler`."""
        return replace(self, counts=self.counts.to(device))

    def sample(
        self, target_item: Tensor, generator: torch.Generator, all_targets: Tensor | None = None
    ) -> Negatives:
        """See `NegativeSampler`; generator and sampler must live on the device of `target_item`."""
        all_targets = target_item if all_targets is None else all_targets
        device = target_item.device
        n_items = len(self.counts) - 1
        parts = [torch.randint(1, n_items + 1, (self.n_uniform,), generator=generator, device=device)]
        if self.n_popular:
            # A search in the running sum: its cost hardly depends on the size of the catalog.
            at = torch.rand(self.n_popular, generator=generator, device=device, dtype=torch.float64)
            parts.append(torch.searchsorted(self._cumulative, at, right=True).clamp_max(n_items))
        if self.in_batch:
            parts.insert(0, all_targets)
        items = torch.cat(parts)
        return Negatives(
            items,
            self._log_q(items, len(all_targets)),
            self._log_q(target_item, len(all_targets)),
            self.counts[items],
            self.counts[target_item],
        )

    def narrow(self, logits: Logits, generator: torch.Generator) -> Logits:  # noqa: ARG002 - protocol
        """Returns the logits as they are: every candidate counts."""
        return logits

    @cached_property
    def _n_in_training(self) -> Tensor:
        """Targets in training, scalar float32."""
        return self.counts.sum()

    @cached_property
    def _popularity(self) -> Tensor:
        """Probability of each item in a draw by popularity, (n_items + 1,) float32."""
        power = torch.where(self.counts > 0, self.counts.double() ** self.popularity_exponent, 0.0)
        return (power / power.sum()).float()

    @cached_property
    def _cumulative(self) -> Tensor:
        """Running sum of the probabilities, (n_items + 1,) float64, ending in 1."""
        running = self._popularity.double().cumsum(0)
        # Rounding may leave the last sum below 1, and a draw above it would find no item.
        return running / running[-1]

    def _log_q(self, items: Tensor, n_targets: int) -> Tensor:
        """Returns the log of the expected number of draws of `items`, same shape, float32."""
        expected = torch.full(items.shape, self.n_uniform / (len(self.counts) - 1), device=items.device)
        if self.n_popular:
            expected = expected + self.n_popular * self._popularity[items]
        if self.in_batch:
            expected = expected + n_targets * self.counts[items] / self._n_in_training
        # A target that training never saw (it cannot happen in training itself) would have log 0.
        return expected.clamp_min(torch.finfo(torch.float32).tiny).log()


@dataclass(kw_only=True)
class MixedNegativesConfig(NegativesConfig):
    """In-batch, uniform and popular candidates in any mixture.

    Attributes:
        n_uniform: Uniform draws per batch, shared by all its queries.
        n_popular: Draws per batch by popularity, shared by all its queries.
        popularity_exponent: Power of an item's count that its draws are proportional to.
        in_batch: Whether other queries' targets are candidates.
    """

    n_uniform: int = 1000
    n_popular: int = 0
    popularity_exponent: float = 0.75
    in_batch: bool = True

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError if there would be no candidate at all, or a number is out of range."""
        if self.n_uniform < 0 or self.n_popular < 0:
            raise ConfigError(
                "negatives.n_uniform and negatives.n_popular must be 0 or more, got "
                f"{self.n_uniform} and {self.n_popular}"
            )
        if not (self.n_uniform or self.n_popular or self.in_batch):
            raise ConfigError(
                "negatives.n_uniform or negatives.n_popular must be 1 or more without negatives.in_batch, "
                "got 0 and 0"
            )
        if self.popularity_exponent < 0:
            raise ConfigError(
                f"negatives.popularity_exponent must be 0 or more, got {self.popularity_exponent}"
            )

    def build(self, target_counts: Tensor) -> NegativeSampler:
        """Returns the sampler."""
        return MixedSampler(
            target_counts, self.n_uniform, self.n_popular, self.popularity_exponent, self.in_batch
        )


@dataclass(frozen=True)
class CatalogSampler:
    """Takes every item of the catalog as a candidate, once: the softmax is then exact.

    Attributes:
        counts: How often each item is a target in training, (n_items + 1,) float32; row 0 is 0.
    """

    counts: Tensor

    def to(self, device: torch.device | str) -> "CatalogSampler":
        """See `NegativeSampler`."""
        return replace(self, counts=self.counts.to(device))

    def sample(
        self,
        target_item: Tensor,
        generator: torch.Generator,  # noqa: ARG002 - protocol
        all_targets: Tensor | None = None,  # noqa: ARG002 - protocol
    ) -> Negatives:
        """See `NegativeSampler`; nothing is drawn."""
        items = torch.arange(1, len(self.counts), device=target_item.device)
        return Negatives(
            items,
            torch.zeros(len(items), device=items.device),
            torch.zeros(len(target_item), device=items.device),
            self.counts[1:],
            self.counts[target_item],
        )

    def narrow(self, logits: Logits, generator: torch.Generator) -> Logits:  # noqa: ARG002 - protocol
        """Returns the logits as they are: every candidate counts."""
        return logits


@dataclass(kw_only=True)
class CatalogNegativesConfig(NegativesConfig):
    """Every item is a candidate: exact, and costs `batch × n_items`."""

    def build(self, target_counts: Tensor) -> NegativeSampler:
        """Returns the sampler."""
        return CatalogSampler(target_counts)


@dataclass(frozen=True)
class HardSampler:
    """Keeps, for each query, a few of a pool's candidates: the higher it scores them, the more likely.

    Attributes:
        pool: Draws the pool.
        n_kept: Draws from the pool per query, with replacement.
        temperature: Divides the logits; small for the hardest alone, large for the pool as it is.
    """

    pool: NegativeSampler
    n_kept: int
    temperature: float

    def to(self, device: torch.device | str) -> "HardSampler":
        """See `NegativeSampler`."""
        return replace(self, pool=self.pool.to(device))

    def sample(
        self, target_item: Tensor, generator: torch.Generator, all_targets: Tensor | None = None
    ) -> Negatives:
        """Returns the pool; see `NegativeSampler`."""
        return self.pool.sample(target_item, generator, all_targets)

    def narrow(self, logits: Logits, generator: torch.Generator) -> Logits:
        """Returns the logits of `n_kept` draws per query from softmax(logit / temperature) over its pool.

        What a draw of the pool is expected, times what a draw from it is: `log_q` of an item is the sum of
        its log_q in the pool, of the log of its softmax and of the log of `n_kept`. A query whose pool is
        masked throughout keeps masked candidates only.

        Source:
            Zhang et al. 2013, SIGIR, "Optimizing Top-N Collaborative Filtering via Dynamic Negative Item
            Sampling"; resampling a pool by weights is Rubin 1988, "Using the SIR Algorithm to Simulate
            Posterior Distributions". Differs from the former: drawn softly, so that log_q is known.
        """
        # Detached: which candidates are kept is a draw, not a thing to learn.
        scores = logits.negatives.detach() / self.temperature
        # A softmax of nothing is NaN, and multinomial refuses it.
        is_empty = scores.amax(dim=1, keepdim=True) == -torch.inf
        log_probability = torch.log_softmax(scores.masked_fill(is_empty, 0.0), dim=1)
        drawn = torch.multinomial(log_probability.exp(), self.n_kept, replacement=True, generator=generator)
        wide = logits.negatives.shape
        # (batch, n_candidates)
        log_q = logits.log_q_negatives.expand(wide) + log_probability + math.log(self.n_kept)
        return replace(
            logits,
            negatives=logits.negatives.gather(1, drawn),
            log_q_negatives=log_q.gather(1, drawn),
            count_negatives=logits.count_negatives.expand(wide).gather(1, drawn),
        )


@dataclass(kw_only=True)
class HardNegativesConfig(MixedNegativesConfig):
    """The pool is any mixture; of it, each query keeps the hard ones.

    Attributes:
        n_kept: Candidates per query.
        temperature: How much harder those are that are kept.
    """

    n_kept: int = 64
    temperature: float = 0.1

    def validate(self) -> None:
        """Raises ConfigError if a number is out of range."""
        super().validate()
        if self.n_kept < 1 or not self.temperature > 0:
            raise ConfigError(
                "negatives.n_kept must be 1 or more and negatives.temperature above 0, got "
                f"{self.n_kept} and {self.temperature}"
            )

    def build(self, target_counts: Tensor) -> NegativeSampler:
        """Returns the sampler."""
        return HardSampler(super().build(target_counts), self.n_kept, self.temperature)


NEGATIVES: Mapping[str, type[NegativesConfig]] = MappingProxyType(
    {"mixed": MixedNegativesConfig, "catalog": CatalogNegativesConfig, "hard": HardNegativesConfig}
)
"""The ways to draw negatives by the name that a config chooses them by."""
