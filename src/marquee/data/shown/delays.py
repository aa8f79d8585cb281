"""How long conversions take to come: which share of them is known after how long."""

import numpy as np

from marquee.core.arrays import Float64Array, IndexArray

_STEPS = 60


def mean_delay(delay: IndexArray, elapsed: IndexArray) -> float:
    """Returns the mean of the exponential law that delays follow, in seconds.

    Only delays shorter than the time since the click can be seen; the law is fitted as one that is cut off
    there.

    Args:
        delay: From click to conversion, (n,) seconds.
        elapsed: From click to the end of the events, (n,) seconds; not below `delay`.

    Returns:
        Seconds; 0 where there are no conversions: nothing is then waited for.

    Source:
        Chapelle 2014, KDD, section 4 (exponential delays). Differs from the paper: one law for all clicks,
        fitted to conversions alone.
    """
    if not len(delay):
        return 0.0
    mean, longest = float(np.maximum(delay, 1).mean()), float(np.maximum(elapsed, 1).max())
    low, high = mean / 2, longest * 100
    for _ in range(_STEPS):
        middle = np.sqrt(low * high)
        # The mean of a delay that is cut off falls short of that of the law.
        if _cut_mean(middle, elapsed.astype(np.float64)) < mean:
            low = middle
        else:
            high = middle
    return float(np.sqrt(low * high))


def seen_share(elapsed: IndexArray, mean: float) -> Float64Array:
    """Returns the share of the conversions that come within a time, in [0, 1], (n,).

    Example:
        >>> seen_share(np.array([0, 1000]), 1000.0).round(3).tolist()
        [0.0, 0.632]
    """
    if mean == 0.0:
        return np.ones(len(elapsed))
    # From 0, not negated: a share of none must not be -0.0.
    return np.asarray(0.0 - np.expm1(-elapsed / mean))


def _cut_mean(mean: float, elapsed: Float64Array) -> float:
    """Returns the mean over clicks of the mean delay below each one's elapsed time."""
    share = elapsed / mean
    # x / (e^x − 1) goes to 1 for small x, where both parts vanish.
    tail = np.where(share > 1e-6, share / np.expm1(np.clip(share, 1e-6, 500.0)), 1.0)
    return float((mean * (1 - tail)).mean())
