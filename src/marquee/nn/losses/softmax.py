"""Losses of the softmax family: each target against all candidates of its query at once."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from marquee.errors import ConfigError
from marquee.nn.logits import Logits
from marquee.nn.losses.base import Loss, TemperedLossConfig, log_sum_exp, validate_positive, weighted_mean

_TINY = float(torch.finfo(torch.float32).tiny)


def sampled_softmax_loss(
    logits: Logits, weight: Tensor, *, temperature: float, log_q_correction: bool
) -> Tensor:
    """Returns the cross-entropy of each target against the candidates, corrected for how they were drawn.

    Without the correction an item is pushed down in proportion to how often it is drawn. Subtracting the
    log of the expected number of draws removes that: the loss is then that of the posterior "which of
    these is the target", whose maximum is the true conditional distribution for any number of candidates.

    Args:
        logits: See `Logits`.
        weight: (n_targets,) float32 ≥ 0; weight 0 equals removing the target.
        temperature: Divides all logits before the correction.
        log_q_correction: Whether to subtract `log_q_positive` and `log_q_negatives`.

    Returns:
        Weighted mean over targets, scalar, in nats.

    Source:
        Yi et al. 2019, RecSys, "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item
        Recommendations", eq. 3 to 5. Differs from the paper: log_q comes from the sampler, not from a
        streaming estimate, and a query may have several targets, each against the same candidates.

    Example:
        >>> one, three = torch.zeros(1), torch.zeros(3)
        >>> even = Logits(one, three[None, :], torch.tensor([0]), one, three, one, three)
        >>> loss = sampled_softmax_loss(even, torch.ones(1), temperature=1.0, log_q_correction=True)
        >>> round(loss.exp().item(), 4)  # one target among four equal items
        4.0
    """
    return weighted_mean(_surprise(logits, temperature, log_q_correction), weight)


def _surprise(logits: Logits, temperature: float, log_q_correction: bool) -> Tensor:
    """Returns -log of the softmax of each target among the candidates of its query, (n_targets,)."""
    positive = logits.positive / temperature
    if log_q_correction:
        positive = positive - logits.log_q_positive
    of_row = log_sum_exp(_scaled(logits, temperature, log_q_correction))  # (batch,)
    return F.softplus(of_row[logits.target_row] - positive)


def _scaled(logits: Logits, temperature: float, log_q_correction: bool) -> Tensor:
    """Returns the logits of the candidates as a softmax wants them, (batch, n_candidates)."""
    if not log_q_correction:
        return logits.negatives / temperature
    return torch.sub(logits.negatives, logits.log_q_negatives, alpha=temperature).mul_(1 / temperature)


@dataclass(kw_only=True)
class SampledSoftmaxConfig(TemperedLossConfig):
    """Knobs of `sampled_softmax_loss`.

    With `negatives=catalog` every item is a candidate and this is the full softmax.
    """

    log_q_correction: bool = True

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError if the temperature is not positive."""
        validate_positive(temperature=self.temperature)

    def build(self) -> Loss:
        """Returns the loss."""
        return lambda logits, weight: sampled_softmax_loss(
            logits, weight, temperature=self.temperature, log_q_correction=self.log_q_correction
        )


def bilateral_softmax_loss(
    logits: Logits,
    weight: Tensor,
    *,
    temperature: float,
    positive_temperature: float,
    log_q_correction: bool,
) -> Tensor:
    """Returns the cross-entropy of a query's targets, averaged softly, against its candidates.

    The softmax loss sharpens what it sees of the candidates only: a wrong target weighs as much as a right
    one. Here the targets of a query are averaged by log-mean-exp, so that those which fit least are the
    first to be doubted.

    ```
    positive = log mean of exp(target / positive_temperature)
    negative = temperature / positive_temperature · log sum of exp(candidate / temperature)
    loss     = softplus(negative - positive)
    ```

    Args:
        logits: See `Logits`.
        weight: (n_targets,) float32 ≥ 0; a query counts by the sum of its targets' weights.
        temperature: Of the candidates.
        positive_temperature: Of the targets; equal temperatures and one target per query give the softmax
            loss.
        log_q_correction: As in `sampled_softmax_loss`.

    Returns:
        Weighted mean over queries, scalar, in nats.

    Source:
        Wu et al. 2024, ICDE, "BSL: Understanding and Improving Softmax Loss for Recommendation", the
        bilateral softmax loss. Differs from the paper: divided by the temperature of the targets, and they
        stay in the denominator, so that the loss is never negative.
    """
    positive = logits.positive / positive_temperature
    if log_q_correction:
        positive = positive - logits.log_q_positive
    counts = positive.masked_fill(weight == 0, -torch.inf)
    n_rows, row = len(logits.negatives), logits.target_row
    weight_of_row = weight.new_zeros(n_rows).index_add(0, row, weight)
    peak = counts.detach().new_full((n_rows,), -torch.inf).scatter_reduce(0, row, counts.detach(), "amax")
    peak = peak.masked_fill(peak == -torch.inf, 0.0)  # of a query whose targets all weigh nothing
    total = weight.new_zeros(n_rows).index_add(0, row, torch.exp(counts - peak[row]) * weight)
    mean = torch.where(weight_of_row > 0, total / weight_of_row.clamp_min(_TINY), 1.0)
    mean_positive = mean.log() + peak
    of_row = log_sum_exp(_scaled(logits, temperature, log_q_correction))  # (batch,)
    mean_negative = of_row * (temperature / positive_temperature)
    return weighted_mean(F.softplus(mean_negative - mean_positive), weight_of_row)


@dataclass(kw_only=True)
class BilateralSoftmaxConfig(TemperedLossConfig):
    """Knobs of `bilateral_softmax_loss`."""

    positive_temperature: float = 0.2
    log_q_correction: bool = True

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError if a temperature is not positive."""
        validate_positive(temperature=self.temperature, positive_temperature=self.positive_temperature)

    def build(self) -> Loss:
        """Returns the loss."""
        return lambda logits, weight: bilateral_softmax_loss(
            logits,
            weight,
            temperature=self.temperature,
            positive_temperature=self.positive_temperature,
            log_q_correction=self.log_q_correction,
        )


def top_k_softmax_loss(
    logits: Logits,
    weight: Tensor,
    *,
    k: int,
    temperature: float,
    weight_temperature: float,
    log_q_correction: bool,
) -> Tensor:
    """Returns the softmax loss with each target weighed by how near it is to the first k of its query.

    A metric at cutoff k does not see what happens far below: nor should the model spend itself there.

    Args:
        logits: See `Logits`.
        weight: (n_targets,) float32 ≥ 0.
        k: Cutoff of the metric that counts.
        temperature: Of the softmax.
        weight_temperature: How softly the weight falls around the k-th best score of the query.
        log_q_correction: As in `sampled_softmax_loss`.

    Returns:
        Weighted mean over targets, scalar, in nats.

    Source:
        Yang et al. 2025, KDD, "Breaking the Top-K Barrier: Advancing Top-K Ranking Metrics Optimization in
        Recommender Systems" (SL@K). Differs from the paper: the k-th best score is estimated in each batch
        from its candidates, each standing for as many items as it was drawn too seldom, rather than once
        in some epochs; the weight carries no gradient.
    """
    threshold = _score_at_rank(logits, weight, k)[logits.target_row]  # (n_targets,)
    nearness = torch.sigmoid((logits.positive.detach() - threshold) / weight_temperature)
    return weighted_mean(_surprise(logits, temperature, log_q_correction) * nearness, weight)


@torch.no_grad()
def _score_at_rank(logits: Logits, weight: Tensor, k: int) -> Tensor:
    """Returns an estimate of the k-th best score of the catalog for each query, (batch,); -inf below k items.

    A target counts by its weight, a candidate as the items that each draw stands for: 1 / expected draws.
    """
    row, positive = logits.target_row, logits.positive
    order = torch.argsort(row, stable=True)
    n_targets = torch.bincount(row, minlength=len(logits.negatives))
    first = torch.cumsum(n_targets, 0) - n_targets
    place = torch.arange(len(row), device=row.device) - first[row[order]]
    width = int(n_targets.max()) if len(row) else 0
    targets = positive.new_full((len(logits.negatives), width), -torch.inf)
    targets[row[order], place] = positive[order]
    weights = torch.zeros_like(targets)
    weights[row[order], place] = weight[order]
    stands_for = torch.exp(-logits.log_q_negatives).expand(logits.negatives.shape)
    scores = torch.cat([targets, logits.negatives], dim=1)
    counts = torch.cat([weights, stands_for], dim=1)
    scores, by_score = scores.sort(dim=1, descending=True)
    is_reached = counts.gather(1, by_score).masked_fill(scores == -torch.inf, 0.0).cumsum(dim=1) >= k
    first_reached = is_reached.to(torch.uint8).argmax(dim=1, keepdim=True)
    threshold = scores.gather(1, first_reached)[:, 0]
    return threshold.masked_fill(~is_reached.any(dim=1), -torch.inf)


@dataclass(kw_only=True)
class TopKSoftmaxConfig(TemperedLossConfig):
    """Knobs of `top_k_softmax_loss`."""

    k: int = 20
    weight_temperature: float = 1.0
    log_q_correction: bool = True

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError if a knob is out of range."""
        if self.k < 1:
            raise ConfigError(f"k must be 1 or more, got {self.k} (config loss.k)")
        validate_positive(temperature=self.temperature, weight_temperature=self.weight_temperature)

    def build(self) -> Loss:
        """Returns the loss."""
        return lambda logits, weight: top_k_softmax_loss(
            logits,
            weight,
            k=self.k,
            temperature=self.temperature,
            weight_temperature=self.weight_temperature,
            log_q_correction=self.log_q_correction,
        )
