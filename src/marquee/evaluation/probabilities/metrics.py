"""How good probabilities are: functions of probabilities, what came of them, and weights; nothing else.

A ranking asks for an order, a bid or a threshold for a probability: a model may be good at one and useless
for the other. Clicks, purchases and conversions are judged alike, whatever model or head they come from.
Every function takes `probability`, (n,) in [0, 1], `outcome`, (n,) bool, and `weight`, (n,) ≥ 0 or None for
all alike, and returns NaN where the numbers say nothing: `auc` and `normalised_entropy` need both outcomes.
Does not make probabilities (see `calibration`) and draws no resamples (see `probability_intervals`).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from marquee.core.arrays import BoolArray, Float64Array, IndexArray
from marquee.errors import DataError, ShapeError

N_BINS = 10
SMALLEST_PROBABILITY = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class ReliabilityCurve:
    """Mean probability and observed rate, in bins of about equal weight, lowest probability first.

    Attributes:
        probability: Mean of each bin, (n_bins,).
        rate: Share of each bin that came true, (n_bins,).
        weight: Of each bin, (n_bins,); more than 0.
    """

    probability: Float64Array
    rate: Float64Array
    weight: Float64Array


def log_losses(probability: Float64Array, outcome: BoolArray) -> Float64Array:
    """Returns −ln of the probability of what came, (n,) in nats; a certainty that fails costs 36.

    Source:
        Good 1952, Journal of the Royal Statistical Society B 14(1), section 8.
    """
    kept = np.clip(probability, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    return np.asarray(-np.log(np.where(outcome, kept, 1 - kept)))


def log_loss(probability: Float64Array, outcome: BoolArray, weight: Float64Array | None = None) -> float:
    """Returns the mean of −ln of the probability of what came, in nats; lower is better.

    Raises:
        ShapeError: If lengths differ.
        DataError: If a probability or a weight is impossible, or nothing has weight.

    Source:
        Good 1952, Journal of the Royal Statistical Society B 14(1), section 8. Differs from it: a
        probability of 0 or 1 counts as `SMALLEST_PROBABILITY` away from it.

    Example:
        >>> round(log_loss(np.array([0.5, 0.25]), np.array([True, False])), 4)  # (ln 2 + ln 4/3) / 2
        0.4904
    """
    weight = _validated(probability, outcome, weight)
    return float(log_losses(probability, outcome) @ weight / weight.sum())


def normalised_entropy(
    probability: Float64Array, outcome: BoolArray, weight: Float64Array | None = None
) -> float:
    """Returns the log loss over that of the constant that fits best: 1 is no better than the mean rate.

    Unlike the log loss it can be compared between sets with different rates. NaN for one outcome alone.

    Raises:
        ShapeError: If lengths differ.
        DataError: If a probability or a weight is impossible, or nothing has weight.

    Source:
        He et al. 2014, ADKDD, "Practical Lessons from Predicting Clicks on Ads at Facebook", section 3.

    Example:
        >>> normalised_entropy(np.array([0.5, 0.5]), np.array([True, False]))
        1.0
    """
    weight = _validated(probability, outcome, weight)
    rate = float(outcome @ weight / weight.sum())
    base = entropy(np.array([rate]))[0]
    return log_loss(probability, outcome, weight) / float(base) if base > 0 else float("nan")


def entropy(rate: Float64Array) -> Float64Array:
    """Returns the entropy of outcomes of each rate, of the shape of `rate`, in nats; 0 where certain."""
    rate = np.clip(rate, 0.0, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        # 0 · ln 0 is NaN in floats and 0 in the limit.
        terms = -rate * np.log(rate), -(1 - rate) * np.log1p(-rate)
    return np.asarray(np.nan_to_num(terms[0]) + np.nan_to_num(terms[1]))


def auc(probability: Float64Array, outcome: BoolArray, weight: Float64Array | None = None) -> float:
    """Returns how often one that came true stands above one that did not; equal ones count half.

    Looks at the order alone: any increasing function of the probabilities has the same. NaN for one
    outcome alone.

    Raises:
        ShapeError: If lengths differ.
        DataError: If a probability or a weight is impossible, or nothing has weight.

    Source:
        Hanley and McNeil 1982, Radiology 143(1).

    Example:
        >>> auc(np.array([0.9, 0.4, 0.4, 0.1]), np.array([True, True, False, False]))  # 3.5 of 4 pairs
        0.875
    """
    weight = _validated(probability, outcome, weight)
    order, starts = tied_groups(probability)
    return float(
        auc_of_groups(np.where(outcome, weight, 0)[order], np.where(outcome, 0, weight)[order], starts)
    )


def tied_groups(probability: Float64Array) -> tuple[IndexArray, IndexArray]:
    """Returns the rows in ascending order, (n,), and where each run of equal ones starts, (n_groups,)."""
    order = np.argsort(probability, kind="stable")
    ordered = probability[order]
    return order, np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))


def auc_of_groups(positive: Float64Array, negative: Float64Array, starts: IndexArray) -> Float64Array:
    """Returns the AUC along the last axis; NaN where one outcome has no weight.

    Args:
        positive: Weight of what came true, in ascending order of probability, (…, n).
        negative: Weight of what did not, (…, n).
        starts: Where each run of equal probabilities starts, (n_groups,).
    """
    positive = np.add.reduceat(positive, starts, axis=-1)
    negative = np.add.reduceat(negative, starts, axis=-1)
    # Ties count half.
    below = np.cumsum(negative, axis=-1) - negative / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        pairs = positive.sum(axis=-1) * negative.sum(axis=-1)
        return np.asarray((positive * below).sum(axis=-1) / pairs)


def equal_bins(
    probability: Float64Array, weight: Float64Array | None = None, n_bins: int = N_BINS
) -> IndexArray:
    """Returns the bin of each row, (n,) from 0, of about equal weight; equal probabilities stay together.

    Fewer bins than asked for come about where one probability has more than a bin's weight.

    Example:
        >>> equal_bins(np.array([0.1, 0.2, 0.8, 0.8]), n_bins=2).tolist()
        [0, 0, 1, 1]
    """
    weight = np.ones(len(probability)) if weight is None else weight
    order, starts = tied_groups(probability)
    of_group = np.add.reduceat(weight[order], starts)
    # A run of equal ones goes by its middle into one bin.
    middle = np.cumsum(of_group) - of_group / 2
    bins = np.minimum((n_bins * middle / of_group.sum()).astype(np.int64), n_bins - 1)
    sizes = np.diff(np.concatenate([starts, [len(order)]]))
    found = np.empty(len(order), dtype=np.int64)
    # Numbered anew: a long run may leave bins empty.
    found[order] = np.unique(np.repeat(bins, sizes), return_inverse=True)[1]
    return found


def reliability_curve(
    probability: Float64Array, outcome: BoolArray, weight: Float64Array | None = None, n_bins: int = N_BINS
) -> ReliabilityCurve:
    """Returns mean probability and observed rate in `equal_bins`.

    Raises:
        ShapeError: If lengths differ.
        DataError: If a probability or a weight is impossible, or nothing has weight.

    Source:
        Murphy and Winkler 1977, Applied Statistics 26(1). Differs from it: bins of equal weight, since
        clicks have most of their probabilities near 0.

    Example:
        >>> curve = reliability_curve(np.array([0.1, 0.1, 0.8, 0.8]), np.array([0, 0, 1, 0]) > 0, n_bins=2)
        >>> curve.probability.tolist(), curve.rate.tolist()
        ([0.1, 0.8], [0.0, 0.5])
    """
    weight = _validated(probability, outcome, weight)
    # Rows without weight could fill a bin alone, and its mean would be 0 / 0.
    kept = weight > 0
    probability, outcome, weight = probability[kept], outcome[kept], weight[kept]
    bins = equal_bins(probability, weight, n_bins)
    columns: tuple[Float64Array, ...] = (weight * probability, weight * outcome, weight)
    sums = [np.asarray(np.bincount(bins, weights=column), np.float64) for column in columns]
    return ReliabilityCurve(sums[0] / sums[2], sums[1] / sums[2], sums[2])


def calibration_error(
    probability: Float64Array, outcome: BoolArray, weight: Float64Array | None = None, n_bins: int = N_BINS
) -> float:
    """Returns how far what was said is from what came, on average over the bins of `reliability_curve`.

    Chance alone makes it more than 0: see `calibration_error_by_chance`.

    Raises:
        ShapeError: If lengths differ.
        DataError: If a probability or a weight is impossible, or nothing has weight.

    Source:
        Naeini, Cooper and Hauskrecht 2015, AAAI, "Obtaining Well Calibrated Probabilities Using Bayesian
        Binning", expected calibration error. Differs from it: bins of equal weight, as in Nguyen and
        O'Connor 2015, EMNLP.

    Example:
        >>> outcome = np.array([False, False, True, False])
        >>> round(calibration_error(np.array([0.1, 0.1, 0.8, 0.8]), outcome, n_bins=2), 4)  # (0.1 + 0.3) / 2
        0.2
    """
    curve = reliability_curve(probability, outcome, weight, n_bins)
    return float(np.abs(curve.probability - curve.rate) @ curve.weight / curve.weight.sum())


def calibration_error_by_chance(
    probability: Float64Array, weight: Float64Array | None = None, n_bins: int = N_BINS
) -> float:
    """Returns the mean of `calibration_error` if every probability were true.

    The outcomes of a bin scatter around what was said by their binomial standard deviation, of which the
    mean absolute value is the √(2/π)-fold: taken for normal and independent.

    Source:
        Kumar, Liang and Ma 2019, NeurIPS, "Verified Uncertainty Calibration", section 4, on the bias of
        binned errors.

    Example:
        >>> round(calibration_error_by_chance(np.full(100, 0.5), n_bins=1), 3)  # 0.05 × √(2/π)
        0.04
    """
    weight = np.ones(len(probability)) if weight is None else weight
    bins = equal_bins(probability, weight, n_bins)
    variances = np.bincount(bins, weights=np.square(weight) * probability * (1 - probability))
    return float(np.sqrt(2 / np.pi) * np.sqrt(variances).sum() / weight.sum())


def _validated(
    probability: Float64Array, outcome: npt.NDArray[np.bool_], weight: Float64Array | None
) -> Float64Array:
    """Returns the weights, (n,), after a look at whether all three can be."""
    weight = np.ones(len(probability)) if weight is None else weight
    if not (probability.shape == outcome.shape == weight.shape and probability.ndim == 1):
        raise ShapeError(
            f"probability, outcome and weight must be (n,), got {probability.shape}, {outcome.shape} and "
            f"{weight.shape}; give one of each per event"
        )
    # Trap: of integers `~` is no negation (~1 is −2).
    if outcome.dtype != np.bool_:
        raise DataError(f"outcome must be bool, got {outcome.dtype}; compare with what counts as true")
    is_possible = (probability >= 0) & (probability <= 1)
    if not is_possible.all():
        row = int(np.argmin(is_possible))
        raise DataError(
            f"probabilities must be between 0 and 1, got {probability[row]} in row {row}; a score becomes "
            "one by `marquee.evaluation.probabilities.calibration`"
        )
    if not (weight >= 0).all() or not weight.sum() > 0:
        raise DataError(
            f"weights must be 0 or more and not all 0, got {len(weight)} with the sum {weight.sum()}"
        )
    return weight
