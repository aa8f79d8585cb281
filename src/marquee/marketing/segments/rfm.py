"""Fifths of recency, frequency and money, and the usual names of their combinations."""

import numpy as np
import numpy.typing as npt
import polars as pl

from marquee.core.arrays import Float64Array, IndexArray

N_FIFTHS = 5
_HIGH = 4
_LOW = 2

CHAMPIONS, LOYAL, AT_RISK = "champions", "loyal", "at risk"
PROMISING, FADING, HIBERNATING = "promising", "fading", "hibernating"


def fifths(values: Float64Array) -> IndexArray:
    """Returns the fifth of each value, 1 to 5, highest 5; equal values are always in one fifth, (n,).

    A group of equal values stands where its highest member would: half of all customers buy once, and cutting
    them into fifths by lot would make segments out of nothing.

    Args:
        values: (n,).

    Example:
        >>> fifths(np.array([1.0, 1.0, 1.0, 2.0, 3.0])).tolist()
        [3, 3, 3, 4, 5]
    """
    ordered = np.sort(values)
    rank = np.searchsorted(ordered, values, side="right")
    return np.asarray(np.ceil(N_FIFTHS * rank / len(values)), dtype=np.int64)


def rfm_fifths(behaved: pl.DataFrame) -> pl.DataFrame:
    """Returns `user_id`, `r`, `f` and `m`, each 1 to 5, in the order given; without amounts there is no `m`.

    Args:
        behaved: Of `transactions.behaviour`.
    """
    found = {
        "user_id": behaved["user_id"],
        # Few days since the last order are good.
        "r": pl.Series(fifths(-behaved["recency_days"].to_numpy())),
        "f": pl.Series(fifths(behaved["orders"].to_numpy())),
    }
    if "total_value" in behaved.columns:
        found["m"] = pl.Series(fifths(behaved["total_value"].to_numpy()))
    return pl.DataFrame(found)


def rfm_names(r: IndexArray, f: IndexArray) -> npt.NDArray[np.object_]:
    """Returns the name of each combination of recency and frequency, (n,).

    Args:
        r: Fifth of recency, (n,), 5 the latest.
        f: Fifth of frequency, (n,), 5 the most.

    Example:
        >>> rfm_names(np.array([5, 1, 5]), np.array([5, 5, 1])).tolist()
        ['champions', 'at risk', 'promising']
    """
    names = np.full(len(r), FADING, dtype=object)
    is_often = f >= _HIGH
    names[(r >= _HIGH) & ~is_often] = PROMISING
    names[(r <= _LOW) & ~is_often] = HIBERNATING
    names[(r > _LOW) & (r < _HIGH) & is_often] = LOYAL
    names[(r <= _LOW) & is_often] = AT_RISK
    names[(r >= _HIGH) & is_often] = CHAMPIONS
    return names
