"""Thompson sampling on click rates: the probability of an item is its share of won posterior draws.

Of each candidate the log knows how often it was shown on a surface and how often it was then clicked: a
Beta posterior. A draw of all posteriors has one winner among the candidates that are left; the share of the
draws that a candidate wins is its probability, and so its propensity is known, which it is not where one
draw alone decides.

```
draws        N_DRAWS lists of click rates, one rate per candidate, from the decision's id
winners      the best permitted candidate of each draw
chances      how many draws each candidate wins / N_DRAWS
```
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np

from marquee.core.arrays import BoolArray, Float64Array, FloatArray, IndexArray

# Propensities come in steps of 1/256; a floor gives some to candidates that win no draw.
N_DRAWS = 256
# As many as two raw bytes tell apart.
_N_QUANTILES = 2**16
# The approximation may give a root of 0 or less at a rare low draw: it must not be a divisor.
_LEAST_ROOT = np.float32(1e-3)


@dataclass(frozen=True, slots=True)
class ClickCounts:
    """Counts from earlier exposures of the candidates, on the surface that is asked for.

    Attributes:
        clicks: Exposures that were clicked, (n_candidates,).
        shown: Exposures, (n_candidates,); never less than `clicks`.
    """

    clicks: Float64Array
    shown: Float64Array


class ThompsonChances:
    """The share of draws that each candidate wins, in one decision.

    Where variety is asked for, what a candidate has lost or won in gain since the first place is added to its
    drawn rates, which are stretched to at most 1 as relevance is.

    Args:
        counts: Of the candidates.
        prior_clicks: Added to the clicks, 1 or more.
        prior_passes: Added to the exposures without a click, 1 or more.
        decision_id: What the draws follow from.
    """

    def __init__(
        self, counts: ClickCounts, prior_clicks: float, prior_passes: float, decision_id: str
    ) -> None:
        clicks = counts.clicks + prior_clicks
        passes = counts.shown - counts.clicks + prior_passes
        self._draws = _draw_rates(clicks, passes, decision_id)
        self._values = self._draws
        self._gains: Float64Array | None = None
        self._first_gains: Float64Array | None = None
        self._permitted = np.zeros(len(clicks), dtype=np.bool_)
        self._winners: IndexArray = np.zeros(N_DRAWS, dtype=np.int64)

    def of(self, gains: Float64Array, permitted: BoolArray) -> Float64Array:
        """Returns the probability of each permitted candidate, (n_permitted,)."""
        if self._first_gains is None or self._gains is None:
            self._first_gains = self._gains = gains
            self._win(slice(None), permitted)
        elif gains is not self._gains:
            self._values = self._draws + (gains - self._first_gains).astype(np.float32)
            self._gains = gains
            self._win(slice(None), permitted)
        elif (permitted & ~self._permitted).any():  # spacing has set candidates free again
            self._win(slice(None), permitted)
        else:  # only the draws whose winner is no longer permitted have another one
            self._win(np.flatnonzero(~permitted[self._winners]), permitted)
        self._permitted = permitted
        return np.bincount(self._winners, minlength=len(permitted))[permitted] / N_DRAWS

    def _win(self, rows: slice | IndexArray, permitted: BoolArray) -> None:
        """Finds the best permitted candidate of some draws."""
        barred = np.where(permitted, np.float32(0.0), np.float32(-np.inf))
        self._winners[rows] = (self._values[rows] + barred).argmax(axis=1)


def _draw_rates(clicks: Float64Array, passes: Float64Array, decision_id: str) -> FloatArray:
    """Returns numbers that order as draws of Beta(clicks, passes) do, (N_DRAWS, n_candidates) float32.

    A Beta variable is X / (X + Y) with X and Y gamma variables; it rises with the cube root of X / Y, and the
    cube root of a gamma variable is almost normal. The highest of all is stretched to 1.

    Source:
        Wilson and Hilferty 1931, PNAS 17, "The distribution of chi-square". Differs from exact draws by less
        than 0.03 in the distribution function for counts of 1 and more (see the test).
    """
    normals = _normals(decision_id, 2 * N_DRAWS * len(clicks)).reshape(2, N_DRAWS, len(clicks))
    rates = _cube_roots(clicks, normals[0])
    rates /= np.maximum(_cube_roots(passes, normals[1]), _LEAST_ROOT)
    rates *= np.float32(1.0 / max(float(rates.max()), float(_LEAST_ROOT)))
    return rates


def _cube_roots(shape: Float64Array, normals: FloatArray) -> FloatArray:
    """Turns normals into cube roots of gamma variables, in place, (n, n_candidates)."""
    scale = np.cbrt(shape)
    normals *= (scale / (3.0 * np.sqrt(shape))).astype(np.float32)
    normals += (scale * (1.0 - 1.0 / (9.0 * shape))).astype(np.float32)
    return normals


def _normals(decision_id: str, n: int) -> FloatArray:
    """Returns n standard normal numbers that follow from an id, (n,) float32.

    The raw stream of a bit generator is the same with every release of NumPy; that of a distribution is not.
    """
    seed = int.from_bytes(hashlib.blake2b(decision_id.encode(), digest_size=16).digest())
    raw = np.random.SFC64(seed).random_raw(-(-n // 4))
    # Four numbers of each raw one, little-endian on every machine: all draw the same.
    drawn: FloatArray = _normal_quantiles()[np.asarray(raw, dtype="<u8").view("<u2")[:n]]
    return drawn


@cache
def _normal_quantiles() -> FloatArray:
    """Returns the middles of 2^16 equally probable parts of the normal distribution, ascending, float32."""
    normal = NormalDist()
    # By the standard library: every release of NumPy draws from the same numbers.
    half = [normal.inv_cdf((i + 0.5) / _N_QUANTILES) for i in range(_N_QUANTILES // 2)]
    return np.array([*half, *(-value for value in reversed(half))], dtype=np.float32)
