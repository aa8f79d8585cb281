"""Who belongs to which arm of an experiment: a pure function of a seed and a unit.

Every worker, and every SDK that follows the same rule, gives the same answer without asking anybody. Decides
nothing about what an arm means (see the service's experiments) and keeps no list of units.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

from marquee.errors import ConfigError

# Of 32-bit FNV-1a, as the RFC fixes them.
_OFFSET, _PRIME, _MASK = 0x811C9DC5, 0x01000193, 0xFFFFFFFF
# As hash version 2 of GrowthBook fixes it: another number would move units between arms.
_BUCKETS = 10_000
SMALLEST_SHARE = 1 / _BUCKETS
"""Of the units: positions have no finer steps."""

# The same of a namespace.
_LAYER_BUCKETS = 1_000
_POSITIONS = tuple(bucket / _BUCKETS for bucket in range(_BUCKETS))
# 0.1 added ten times is not 1.
_SUM_TOLERANCE = 1e-6


def fnv1a32(text: str) -> int:
    """Returns the 32-bit FNV-1a hash of a text in UTF-8.

    Source:
        Fowler, Noll and Vo, RFC 9923, section 4.

    Example:
        >>> hex(fnv1a32("a"))
        '0xe40c292c'
    """
    value = _OFFSET
    # surrogatepass: a unit that came over HTTP may hold half a surrogate pair.
    for byte in text.encode("utf-8", "surrogatepass"):
        # First the byte, then the product: the other order is FNV-1, another hash.
        value = (value ^ byte) * _PRIME & _MASK
    return value


def unit_position(seed: str, unit: str) -> float:
    """Returns where a unit stands in an experiment, in [0, 1), in steps of 1/10,000.

    Args:
        seed: Of the experiment's phase: another seed places all units anew.
        unit: What is drawn: a user, a session, …

    Source:
        GrowthBook SDK specification, hash version 2, so that its SDKs agree with this service.

    Example:
        >>> unit_position("seed", "b"), unit_position("foo", "ab")
        (0.2696, 0.2575)
    """
    # Hashed twice, the second time as decimal text: so the specification has it.
    return fnv1a32(str(fnv1a32(seed + unit))) % _BUCKETS / _BUCKETS


def layer_position(layer: str, unit: str) -> float:
    """Returns where a unit stands in a layer of experiments, in [0, 1), in steps of 1/1,000.

    Source:
        GrowthBook SDK specification, "namespace" (hash version 1), so that its SDKs agree with this service.

    Example:
        >>> layer_position("ranking", "u1")
        0.357
    """
    return fnv1a32(f"{unit}__{layer}") % _LAYER_BUCKETS / _LAYER_BUCKETS


def arm_ranges(weights: Sequence[float], coverage: float = 1.0) -> tuple[tuple[float, float], ...]:
    """Returns the range of positions of each arm, [start, end).

    Coverage shrinks each range from its start, so that raising it adds units and moves none.

    Args:
        weights: Share of each arm, in order; they sum to 1.
        coverage: Share of the units that take part, in [0, 1].

    Raises:
        ConfigError: If weights do not sum to 1, one is negative, or coverage is out of range.

    Example:
        >>> arm_ranges([0.5, 0.5], coverage=0.2)
        ((0.0, 0.1), (0.5, 0.6))
    """
    # As "not at most": NaN is neither above nor below, and would leave nobody in any arm.
    if not weights or min(weights) < 0 or not abs(sum(weights) - 1) <= _SUM_TOLERANCE:
        raise ConfigError(
            f"the weights of the arms must be 0 or more and sum to 1, got {list(weights)}; correct them"
        )
    if not 0 <= coverage <= 1:
        raise ConfigError(f"coverage must lie in [0, 1], got {coverage}; 1 takes every unit")
    starts = [0.0, *accumulate(weights)][:-1]
    return tuple((start, start + coverage * weight) for start, weight in zip(starts, weights, strict=True))


def choose_arm(position: float, ranges: Sequence[tuple[float, float]]) -> int | None:
    """Returns which range holds a position, None where the unit takes no part.

    Example:
        >>> choose_arm(0.52, arm_ranges([0.5, 0.5], coverage=0.2)), choose_arm(0.2, [(0.0, 0.1)])
        (1, None)
    """
    for number, (start, end) in enumerate(ranges):
        if start <= position < end:
            return number
    return None


def n_positions(start: float, end: float) -> int:
    """Returns how many of the 10,000 positions lie in [start, end).

    Example:
        >>> n_positions(0.0, 0.5), n_positions(0.5, 0.50001)  # one position is the least that anything gets
        (5000, 1)
    """
    # Counted among the very positions that are compared: 0.29 times 10,000 is 2900 but for rounding.
    return bisect_left(_POSITIONS, end) - bisect_left(_POSITIONS, start)
