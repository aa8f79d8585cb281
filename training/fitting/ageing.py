"""The weight of each training event as a target: by its kind and value, its place, and its age.

Also how much of the data that leaves, which a run says: a loss made of a few events looks like any other.
"""

from dataclasses import dataclass

import numpy as np

from marquee.core.arrays import FloatArray, IndexArray
from marquee.core.histories import Interactions
from marquee.errors import ConfigError
from training.config import ExamplesConfig

SECONDS_PER_DAY = 86_400
SEASON_DAYS = 15.0
"""How fast what is popular changes, where enough of the events are younger."""
ENOUGH_FRACTION, ENOUGH_EVENTS = 0.1, 5_000
# Enough for a median and a sum; millions of events would be weighed again at each step of the search.
N_SAMPLED = 10_000
# Ten per cent at a time: a half-life need not be known more finely.
STEP = 1.1
# Below this a few events decide, and the loss falls as for any other data.
FEW_FRACTION, FEW_EVENTS = 0.05, 100


@dataclass(frozen=True)
class TargetAccount:
    """How much of the training events a loss is made of.

    Attributes:
        n_events: Training events.
        n_effective: As many events of equal weight would vary as little.
        half_life_days: How fast events age; 0 for never.
    """

    n_events: int
    n_effective: float
    half_life_days: float

    @property
    def line(self) -> str:
        """The account as a run prints it, with a caution where little is left."""
        ageing = f"half-life {self.half_life_days:.3g} days" if self.half_life_days else "none ages"
        line = f"targets weigh as much as {self.n_effective:,.0f} of {self.n_events:,} events ({ageing})"
        # Half of a tiny data set is enough: a hundred events may be more than there are.
        is_much = self.n_effective >= max(FEW_FRACTION * self.n_events, min(FEW_EVENTS, self.n_events / 2))
        if is_much:
            return line
        return (
            f"{line}\ncaution: few events decide what is learned; raise examples.half_life_days (0 for no "
            "ageing), lower examples.target_decay, or look at the weights under data.kinds"
        )


def half_life_days(timestamp: IndexArray, config: ExamplesConfig) -> float:
    """Returns how fast events age as targets, in days; 0 for never.

    Where the config leaves it open: `SEASON_DAYS`, or the age that half of the events do not exceed, if that
    is less, or as much longer as it takes for enough of the events to count. In data of hours a half-life of
    days would age nothing; in data of years it would leave a few hundred events of a hundred thousand.

    Args:
        timestamp: Of the training events, (n_events,) int64, seconds.
        config: See `ExamplesConfig`.

    Example:
        >>> half_life_days(np.arange(1000) * 3600, ExamplesConfig())
        15.0
        >>> half_life_days(np.arange(9) * 3600, ExamplesConfig()) * 24
        4.0
        >>> round(half_life_days(np.arange(1000) * 3 * SECONDS_PER_DAY, ExamplesConfig()))
        561
        >>> half_life_days(np.arange(1000) * 3 * SECONDS_PER_DAY, ExamplesConfig(half_life_days=15))
        15
    """
    n_events = len(timestamp)
    if config.half_life_days is not None or not n_events:
        return config.half_life_days or 0.0
    # Events lie by user: every n-th one is of all users alike.
    sample = timestamp[:: max(n_events // N_SAMPLED, 1)]
    # At most half: weights that sink at all leave less than everything.
    enough = max(ENOUGH_FRACTION, min(ENOUGH_EVENTS / n_events, 0.5))
    days = min(SEASON_DAYS, float(np.median(timestamp.max() - sample)) / SECONDS_PER_DAY)
    # 0 where all events are of one moment: nothing is older than anything.
    while days and n_effective(by_age(sample, days)) < enough * len(sample):
        days *= STEP
    return days


def n_effective(weight: FloatArray) -> float:
    """Returns how many events of equal weight vary as little as these.

    Source: Kish 1965, Survey Sampling, section 11.2C.
    """
    # Squares of many float32 lose what small weights add.
    weight = weight.astype(np.float64)
    return float(weight.sum() ** 2 / np.square(weight).sum())


def target_weights(train: Interactions, config: ExamplesConfig) -> FloatArray:
    """Returns the weight of each training event as a target, (n_events,) float32 ≥ 0."""
    weight: FloatArray = train.weight * by_place(train.offsets, config.target_decay)
    if config.half_life_days:
        weight = weight * by_age(train.timestamp, config.half_life_days)
    return weight


def account_for_targets(train: Interactions, config: ExamplesConfig) -> TargetAccount:
    """Returns how much of the training events the loss is made of.

    Raises:
        ConfigError: If every target weighs nothing.
    """
    weight = target_weights(train, config)
    # Not `<=`: a NaN among the weights must fail as well.
    if not weight.sum() > 0:
        raise ConfigError(
            f"each of the {len(weight):,} training events weighs 0 as a target, so nothing is learned; give "
            "a kind a weight above 0 (config data.kinds), or raise examples.half_life_days"
        )
    return TargetAccount(len(weight), n_effective(weight), config.half_life_days or 0.0)


def by_place(offsets: IndexArray, decay: float) -> FloatArray:
    """Returns e^(-decay · s) of each event, (n,) float32; s is the share of its user's events after it."""
    if not decay:
        return np.ones(int(offsets[-1]), dtype=np.float32)
    sizes = np.diff(offsets)  # (n_users + 1,)
    last = np.repeat(offsets[1:] - 1, sizes)  # (n_events,)
    age = (last - np.arange(offsets[-1])) / np.repeat(np.maximum(sizes, 1), sizes)
    weight: FloatArray = np.exp(-decay * age).astype(np.float32)
    return weight


def by_age(timestamp: IndexArray, days: float) -> FloatArray:
    """Returns the weight of each event by its time before the last of all events, (n_events,) float32.

    Example:
        >>> by_age(np.array([0, 86_400, 172_800]), 1.0).tolist()
        [0.25, 0.5, 1.0]
    """
    # By the last of all events, not of the user's: the season is the same for everybody.
    age_days = (timestamp.max() - timestamp) / SECONDS_PER_DAY
    # In place: a copy for each step would be most of what an epoch of many events holds.
    np.divide(age_days, -days, out=age_days)
    np.exp2(age_days, out=age_days)
    return np.asarray(age_days, dtype=np.float32)
