"""Whether probabilities still hold where their outcome is known by now: calibration and order.

Needs labels that have matured: an outcome that may still come is not a 0. Estimates of performance without
labels are not offered, for they stay calm when the meaning of a feature changes.
"""

from dataclasses import dataclass

import numpy as np

from marquee.core.arrays import BoolArray, Float64Array
from marquee.errors import DataError
from marquee.evaluation.intervals import Estimate
from marquee.evaluation.probabilities.metrics import auc

N_RESAMPLES = 500
MIN_LABELS = 50
LOST = 6.9
"""Outcomes that are said where none came: chance alone makes that once in a thousand times, e^-6.9."""


@dataclass(frozen=True, slots=True)
class LabelQuality:
    """Probabilities beside what came.

    Attributes:
        n: Rows with a matured label.
        n_positive: How many of them came.
        calibration_ratio: Sum of probabilities over outcomes: 1 is right, 0.5 says half of what comes.
        auc: Share of pairs in the right order; None where all labels are the same.
    """

    n: int
    n_positive: int
    calibration_ratio: Estimate
    auc: Estimate | None


@dataclass(frozen=True, slots=True)
class LabelDrift:
    """The same before and now.

    Attributes:
        reference: Before; None if its labels are not known.
        current: Now.
        is_miscalibrated: Whether the interval of the calibration ratio now leaves out every ratio within
            the tolerance.
        is_worse_ordered: Whether the interval of the AUC now lies below that of the reference.
    """

    reference: LabelQuality | None
    current: LabelQuality
    is_miscalibrated: bool
    is_worse_ordered: bool


def measure_labels(
    probability: Float64Array, came: BoolArray, generator: np.random.Generator
) -> LabelQuality:
    """Measures probabilities on matured labels.

    Args:
        probability: Of each row, (n,), in [0, 1].
        came: Whether the outcome came, (n,).
        generator: Draws the rows of each resample.

    Raises:
        DataError: If there are too few labels, none came, or a probability is none.
    """
    n, n_positive = len(came), int(came.sum())
    n_wrong = int((~((probability >= 0) & (probability <= 1))).sum())
    if n_wrong:
        raise DataError(f"{n_wrong:,} of {n:,} scores are no probabilities in [0, 1]; no calibration")
    if n < MIN_LABELS:
        raise DataError(f"{n} labels have matured, {MIN_LABELS} are needed; wait, or shorten maturity_days")
    if not n_positive:
        raise DataError(f"all {n:,} matured labels are 0: a calibration ratio needs outcomes that came")
    drawn = generator.integers(0, n, size=(N_RESAMPLES, n))  # (N_RESAMPLES, n)
    sums = came[drawn].sum(axis=1)
    # A resample may hold no outcome that came: its ratio is infinite, and is left out.
    with np.errstate(divide="ignore"):
        ratios = probability[drawn].sum(axis=1) / sums
    ratio = _estimate(float(probability.sum()) / n_positive, ratios[np.isfinite(ratios)])
    # An AUC needs both outcomes.
    if n_positive == n:
        return LabelQuality(n, n_positive, ratio, None)
    area = float(auc(probability, came))
    # By a formula: each resample would have to sort all rows again.
    reach = 1.96 * _auc_error(area, n_positive, n - n_positive)
    return LabelQuality(n, n_positive, ratio, Estimate(area, area - reach, min(1.0, area + reach)))


def lost_labels(probability: Float64Array, came: BoolArray) -> str:
    """Returns why outcomes seem to be lost: none came where many were said; empty if they are not.

    Args:
        probability: Of each row, (n,).
        came: Whether the outcome came, (n,).

    Example:
        >>> lost_labels(np.full(200, 0.1), np.zeros(200, dtype=bool))
        'all 200 matured labels are 0 where 20 outcomes were said; is what they are made of still logged?'
        >>> lost_labels(np.full(200, 0.01), np.zeros(200, dtype=bool))
        ''
    """
    said = float(probability.sum())
    # Of what is no probability nothing follows, and few labels are too young to tell.
    if came.any() or len(came) < MIN_LABELS or not said > LOST or probability.max() > 1:
        return ""
    return (
        f"all {len(came):,} matured labels are 0 where {said:,.0f} outcomes were said; is what they are made "
        "of still logged?"
    )


def compare_labels(reference: LabelQuality | None, current: LabelQuality, tolerance: float) -> LabelDrift:
    """Compares labels before and now.

    Args:
        reference: Before; None if unknown.
        current: Now.
        tolerance: Ratio that is still right, as 1.2 for 1/1.2 to 1.2.
    """
    ratio = current.calibration_ratio
    # The whole interval must lie outside: few labels alone raise no alarm.
    is_off = ratio.low > tolerance or ratio.high < 1 / tolerance
    before = None if reference is None else reference.auc
    is_worse = before is not None and current.auc is not None and current.auc.high < before.low
    return LabelDrift(reference, current, is_off, is_worse)


def _estimate(value: float, resampled: Float64Array) -> Estimate:
    """Returns a value with the middle 95 % of its resamples."""
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Estimate(value, float(low), float(high))


def _auc_error(area: float, n_positive: int, n_negative: int) -> float:
    """Returns the standard error of an AUC.

    Source:
        Hanley and McNeil 1982, Radiology 143(1).
    """
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (n_positive - 1) * (q1 - area**2) + (n_negative - 1) * (q2 - area**2)
    return float(np.sqrt(max(variance, 0.0) / (n_positive * n_negative)))
