"""Losses of the softmax family: each target against all candidates of its query at once."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from marquee.errors import ConfigError
from marquee.nn.logits import Logits
from marquee.nn.losses.base import TemperedLossConfig, log_sum_exp, validate_positive, weighted_mean

_TINY = float(torch.finfo(torch.float32).tiny)


def sampled_softmax_loss(logits: Logits, weight: Tensor, knobs: "SoftmaxLossConfig") -> Tensor:
    """Returns the cross-entropy of each target against the candidates, corrected for how they were drawn.

    Without the correction an item is pushed down in proportion to how often it is drawn. Subtracting the
    log of the expected number of draws gives the posterior of "which of these is the target". Its
    expectation is best at the true conditional distribution if no candidate is masked, or if every item is
    a candidate. Masked accidental hits bias it: a popular target meets fewer candidates, and its probability
    comes out too high, the more so the more often it is drawn.

    The value is that of a choice among the candidates: equal scores cost about log(1 + n_candidates). Values
    of different numbers of candidates cannot be compared.

    Args:
        logits: See `Logits`.
        weight: (n_targets,) float32 ≥ 0; weight 0 equals removing the target.
        knobs: See `SoftmaxLossConfig`.

    Returns:
        Weighted mean over targets, scalar, in nats.

    Source:
        Yi et al. 2019, RecSys, "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item
        Recommendations", eq. 3 to 5. Differs from the paper: log_q comes from the sampler, not from a
        streaming estimate, and a query may have several targets, each against the same candidates.

    Example:
        >>> one, three = torch.zeros(1), torch.zeros(3)
        >>> even = Logits(one, three[None, :], torch.tensor([0]), one, three, one, three)
        >>> loss = sampled_softmax_loss(even, torch.ones(1), SampledSoftmaxConfig(temperature=1.0))
        >>> round(loss.exp().item(), 4)  # one target among four equal items
        4.0
    """
    return weighted_mean(_surprise(logits, knobs), weight)


def _surprise(logits: Logits, knobs: "SoftmaxLossConfig") -> Tensor:
    """Returns -log of the softmax of each target among the candidates of its query, (n_targets,)."""
    positive = logits.positive / knobs.temperature
    if knobs.log_q_correction:
        positive = positive - logits.log_q_positive
    of_row = log_sum_exp(_scaled(logits, knobs))  # (batch,)
    # -log(e^p / (e^p + Σ e^n)) = softplus(log Σ e^n - p): the target joins the sum without a copy of the row.
    return F.softplus(of_row[logits.target_row] - positive)


def _scaled(logits: Logits, knobs: "SoftmaxLossConfig") -> Tensor:
    """Divides the logits of the candidates by the temperature and corrects them, (batch, n_candidates)."""
    if not knobs.log_q_correction:
        return logits.negatives / knobs.temperature
    # One new tensor, scaled in place: a pass over the logits is what this loss costs.
    scaled = torch.sub(logits.negatives, logits.log_q_negatives, alpha=knobs.temperature)
    return scaled.mul_(1 / knobs.temperature)


@dataclass(kw_only=True)
class SoftmaxLossConfig(TemperedLossConfig):
    """Knobs that the losses of this family share.

    Attributes:
        temperature: See `TemperedLossConfig`.
        log_q_correction: Whether to subtract `log_q_positive` and `log_q_negatives` from the logits.
    """

    log_q_correction: bool = True


@dataclass(kw_only=True)
class SampledSoftmaxConfig(SoftmaxLossConfig):
    """Knobs of `sampled_softmax_loss`.

    With `negatives=catalog` every item is a candidate and this is the full softmax.
    """

    loss = staticmethod(sampled_softmax_loss)


def bilateral_softmax_loss(logits: Logits, weight: Tensor, knobs: "BilateralSoftmaxConfig") -> Tensor:
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
        knobs: See `BilateralSoftmaxConfig`.

    Returns:
        Weighted mean over queries, scalar, in nats.

    Source:
        Wu et al. 2024, ICDE, "BSL: Understanding and Improving Softmax Loss for Recommendation", the
        bilateral softmax loss. Differs from the paper: divided by the temperature of the targets, and they
        stay in the denominator, so that the loss is never negative.
    """
    positive = logits.positive / knobs.positive_temperature
    if knobs.log_q_correction:
        positive = positive - logits.log_q_positive
    counts = positive.masked_fill(weight == 0, -torch.inf)  # (n_targets,): a target of weight 0 is none
    n_rows, row = len(logits.negatives), logits.target_row
    weight_of_row = weight.new_zeros(n_rows).index_add(0, row, weight)  # (batch,)
    peak = counts.detach().new_full((n_rows,), -torch.inf).scatter_reduce(0, row, counts.detach(), "amax")
    peak = peak.masked_fill(peak == -torch.inf, 0.0)  # of a query whose targets all weigh nothing
    total = weight.new_zeros(n_rows).index_add(0, row, torch.exp(counts - peak[row]) * weight)  # (batch,)
    mean = torch.where(weight_of_row > 0, total / weight_of_row.clamp_min(_TINY), 1.0)
    mean_positive = mean.log() + peak
    of_row = log_sum_exp(_scaled(logits, knobs))  # (batch,)
    mean_negative = of_row * (knobs.temperature / knobs.positive_temperature)
    return weighted_mean(F.softplus(mean_negative - mean_positive), weight_of_row)


@dataclass(kw_only=True)
class BilateralSoftmaxConfig(SoftmaxLossConfig):
    """Knobs of `bilateral_softmax_loss`.

    Attributes:
        positive_temperature: Temperature of the targets; `temperature` is that of the candidates. Equal
            temperatures and one target per query give `sampled_softmax_loss`.
    """

    loss = staticmethod(bilateral_softmax_loss)
    positive_temperature: float = 0.2

    def validate(self) -> None:
        """Raises ConfigError if a temperature is not positive."""
        super().validate()
        validate_positive(positive_temperature=self.positive_temperature)


def top_k_softmax_loss(logits: Logits, weight: Tensor, knobs: "TopKSoftmaxConfig") -> Tensor:
    """Returns the softmax loss with each target weighed by how near it is to the first k of its query.

    A metric at cutoff k does not see what happens far below: nor should the model spend itself there.

    Args:
        logits: See `Logits`.
        weight: (n_targets,) float32 ≥ 0.
        knobs: See `TopKSoftmaxConfig`.

    Returns:
        Weighted mean over targets, scalar, in nats.

    Source:
        Yang et al. 2025, KDD, "Breaking the Top-K Barrier: Advancing Top-K Ranking Metrics Optimization in
        Recommender Systems" (SL@K). Differs from the paper: the k-th best score is estimated in each batch
        from its candidates, each standing for as many items as it was drawn too seldom, rather than once
        in some epochs; the weight carries no gradient.
    """
    threshold = _score_at_rank(logits, weight, knobs.k)[logits.target_row]  # (n_targets,)
    nearness = torch.sigmoid((logits.positive.detach() - threshold) / knobs.weight_temperature)
    return weighted_mean(_surprise(logits, knobs) * nearness, weight)


@torch.no_grad()
def _score_at_rank(logits: Logits, weight: Tensor, k: int) -> Tensor:
    """Returns an estimate of the k-th best score of the catalog for each query, (batch,); -inf below k items.

    A target counts by its weight, a candidate as the items that each draw stands for: 1 / expected draws.
    """
    row, positive = logits.target_row, logits.positive
    order = torch.argsort(row, stable=True)
    n_targets = torch.bincount(row, minlength=len(logits.negatives))
    first = torch.cumsum(n_targets, 0) - n_targets
    # of each target among those of its query
    place = torch.arange(len(row), device=row.device) - first[row[order]]
    width = int(n_targets.max()) if len(row) else 0
    targets = positive.new_full((len(logits.negatives), width), -torch.inf)  # (batch, width)
    targets[row[order], place] = positive[order]
    weights = torch.zeros_like(targets)
    weights[row[order], place] = weight[order]
    stands_for = torch.exp(-logits.log_q_negatives).expand(logits.negatives.shape)
    scores = torch.cat([targets, logits.negatives], dim=1)  # (batch, width + n_candidates)
    counts = torch.cat([weights, stands_for], dim=1)
    scores, by_score = scores.sort(dim=1, descending=True)
    is_reached = counts.gather(1, by_score).masked_fill(scores == -torch.inf, 0.0).cumsum(dim=1) >= k
    # argmax takes no bool on every device; of equal values it gives the first.
    first_reached = is_reached.to(torch.uint8).argmax(dim=1, keepdim=True)
    threshold = scores.gather(1, first_reached)[:, 0]
    return threshold.masked_fill(~is_reached.any(dim=1), -torch.inf)


@dataclass(kw_only=True)
class TopKSoftmaxConfig(SoftmaxLossConfig):
    """Knobs of `top_k_softmax_loss`.

    Attributes:
        k: Cutoff of the metric that counts.
        weight_temperature: How softly the weight falls around the k-th best score of the query.
    """

    loss = staticmethod(top_k_softmax_loss)
    k: int = 20
    weight_temperature: float = 1.0

    def validate(self) -> None:
        """Raises ConfigError if a knob is out of range."""
        if self.k < 1:
            raise ConfigError(f"k must be 1 or more, got {self.k} (config loss.k)")
        super().validate()
        validate_positive(weight_temperature=self.weight_temperature)
