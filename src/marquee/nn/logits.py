"""Logits as a loss sees them: numbers per target and per candidate, not where they came from."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Logits:
    """Logits of targets and candidates, with the corrections that a loss may need.

    Attributes:
        positive: Logit of each target, (n_targets,) float32.
        negatives: Logits of the candidates, (batch, n_candidates) float32; -inf where a candidate is masked.
        target_row: Row of `negatives` that belongs to each target, (n_targets,) int64.
        log_q_positive: Log of the expected number of draws of each target, (n_targets,) float32.
        log_q_negatives: The same for each candidate, (n_candidates,) float32, or (batch, n_candidates) where
            each query has candidates of its own.
        count_positive: How often each target is one in training, (n_targets,) float32.
        count_negatives: The same for each candidate, in the shape of `log_q_negatives`.
    """

    positive: Tensor
    negatives: Tensor
    target_row: Tensor
    log_q_positive: Tensor
    log_q_negatives: Tensor
    count_positive: Tensor
    count_negatives: Tensor
