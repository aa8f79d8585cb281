"""Which arm of an experiment a unit is in, in which layer, and when.

Assignment is a pure function of the declaration and the unit: every worker gives the same without asking
anybody, and so does every SDK that follows the same rule. Decides nothing about what an arm changes.

```
layer       experiments of one layer never share a unit: each has a range of the layer's positions
experiment  a unit has a position by the experiment's seed; the arms have ranges of it
```

Source:
    GrowthBook SDK specification: hash version 2 for arms, "namespace" for layers.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import combinations
from math import inf
from typing import NamedTuple

from marquee.bundle.variants import (
    SMALLEST_SHARE,
    arm_ranges,
    choose_arm,
    layer_position,
    n_positions,
    unit_position,
)
from marquee.errors import ConfigError

HOLDOUT, HELD_OUT, SERVED = "holdout", "held_out", "served"

MAX_HOLDOUT = 0.05
"""More than that gives up more than the measurement of a programme is worth."""


class Unit(StrEnum):
    """The unit that is drawn into an arm."""

    user_id = "user_id"  # requests without one, or whose user lets nothing be known, take no part
    request_id = "request_id"


class Assigned(NamedTuple):
    """The arm of one experiment that a request is in.

    Attributes:
        experiment: Its name.
        phase: Its seed: other weights have another one.
        arm: Name of the arm.
    """

    experiment: str
    phase: str
    arm: str


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One experiment as it is declared.

    Attributes:
        name: Of the experiment.
        arms: Names, the control first.
        weights: Share of each arm among those who take part; they sum to 1.
        surfaces: Where it runs; empty for everywhere.
        unit: The unit that is drawn.
        phase: Counts the runs of one experiment; part of the seed where none is declared.
        declared_seed: Another one draws all units anew; empty: made of name, phase and weights, so that new
            weights are a new phase by themselves.
        layer: Experiments of one layer share no unit; empty: a layer of its own.
        layer_range: Its part of the positions of its layer, [start, end).
        coverage: Share of the units that take part; raising it moves nobody.
        start: From when on, seconds since 1970 UTC.
        end: Until when.

    Raises:
        ConfigError: If a number is out of range or the arms are not at least two different ones.
    """

    name: str
    arms: tuple[str, ...]
    weights: tuple[float, ...]
    surfaces: tuple[str, ...] = ()
    unit: Unit = Unit.user_id
    phase: int = 1
    declared_seed: str = ""
    layer: str = ""
    layer_range: tuple[float, float] = (0.0, 1.0)
    coverage: float = 1.0
    start: float = -inf
    end: float = inf

    def __post_init__(self) -> None:
        if len(self.arms) < 2 or len(set(self.arms)) < len(self.arms):
            raise ConfigError(f"experiment {self.name} needs two different arms or more, got {self.arms}")
        if len(self.weights) != len(self.arms):
            raise ConfigError(
                f"experiment {self.name} needs a weight per arm, got {len(self.weights)} for "
                f"{len(self.arms)} arms"
            )
        low, high = self.layer_range
        if not 0.0 <= low < high <= 1.0:
            raise ConfigError(
                f"layer_range of experiment {self.name} must lie in [0, 1] and rise, got [{low}, {high}]"
            )
        if not self.start < self.end:
            raise ConfigError(
                f"experiment {self.name} must start before it ends, got start {self.start} and end {self.end}"
            )
        # An arm below one step would get none or a whole one. (Rounding may leave 1/10,000 a bit smaller.)
        small = [
            arm
            for arm, (start, end) in zip(self.arms, self.ranges, strict=True)
            if 0 < end - start < SMALLEST_SHARE * (1 - 1e-6)
        ]
        if small:
            raise ConfigError(
                f"arm {small[0]} of experiment {self.name} is to have less than the smallest share that can "
                f"be drawn, 1/10,000 of the units, got weights {list(self.weights)} and coverage "
                f"{self.coverage:g}; raise them, or leave the arm out"
            )

    @cached_property
    def seed(self) -> str:
        """The seed by which units are drawn."""
        weights = ",".join(f"{weight:g}" for weight in self.weights)
        return self.declared_seed or f"{self.name}/{self.phase}/{weights}"

    @cached_property
    def ranges(self) -> tuple[tuple[float, float], ...]:
        """The range of positions of each arm."""
        return arm_ranges(self.weights, self.coverage)

    @cached_property
    def shares(self) -> dict[str, float]:
        """The share of each arm among those who take part, as units are truly drawn.

        Positions come in steps: of a small coverage the arms hold whole numbers of them, which is another
        share than the weights by up to one step. Many units would tell, and look like units lost.
        """
        # With a coverage of 0 nobody is drawn.
        total = sum(self._positions) or 1
        return {arm: n / total for arm, n in zip(self.arms, self._positions, strict=True)}

    @cached_property
    def _positions(self) -> tuple[int, ...]:
        """How many positions each arm has."""
        return tuple(n_positions(start, end) for start, end in self.ranges)

    def is_on(self, now: float) -> bool:
        """Tells whether a moment, seconds since 1970 UTC, lies between its start and its end."""
        return self.start <= now < self.end

    def runs_on(self, surface: str) -> bool:
        """Tells whether it concerns a surface."""
        return not self.surfaces or surface in self.surfaces

    def meets(self, other: "Experiment") -> bool:
        """Tells whether one request can concern both."""
        is_one_time = self.start < other.end and other.start < self.end
        is_one_place = (
            not self.surfaces or not other.surfaces or bool(set(self.surfaces) & set(other.surfaces))
        )
        return is_one_time and is_one_place

    def arm_of(self, unit: str, now: float) -> str | None:
        """Returns the arm of a unit at a moment, None if it takes no part.

        Args:
            unit: A user id or a request id.
            now: Seconds since 1970 UTC.
        """
        if not self.is_on(now):
            return None
        if self.layer:
            low, high = self.layer_range
            if not low <= layer_position(self.layer, unit) < high:
                return None
        chosen = choose_arm(unit_position(self.seed, unit), self.ranges)
        return None if chosen is None else self.arms[chosen]


@dataclass(frozen=True, kw_only=True)
class Holdout:
    """Users who are answered as if nothing were known of them, so that the whole programme can be measured.

    Attributes:
        share: Of the users, above 0.
        seed: Another one chooses others.

    Raises:
        ConfigError: If the share is out of range.
    """

    share: float
    seed: str = HOLDOUT

    def __post_init__(self) -> None:
        if not SMALLEST_SHARE <= self.share <= MAX_HOLDOUT:
            raise ConfigError(
                f"the share of a holdout must be at least {SMALLEST_SHARE:g} and at most {MAX_HOLDOUT}, got "
                f"{self.share}; 0.02 is usual"
            )

    @property
    def shares(self) -> dict[str, float]:
        """The share of the users in each arm, the control first."""
        held = n_positions(0.0, self.share) / n_positions(0.0, 1.0)
        return {HELD_OUT: held, SERVED: 1 - held}

    def includes(self, user_id: str) -> bool:
        """Tells whether a user belongs to it: the same at every time."""
        return unit_position(self.seed, user_id) < self.share


def validate_layers(experiments: tuple[Experiment, ...]) -> None:
    """Raises ConfigError if two experiments of one layer could share a unit on one surface, or share a seed.

    Experiments at different times may have the same range. By one seed the arms of one would follow those of
    the other.
    """
    for first, second in combinations(experiments, 2):
        if first.seed == second.seed:
            raise ConfigError(
                f"experiments {first.name} and {second.name} have the same seed, {first.seed!r}; leave seed "
                "out of one, or give it another"
            )
        is_shared = first.layer and first.layer == second.layer and first.meets(second)
        (low, high), (other_low, other_high) = first.layer_range, second.layer_range
        if is_shared and low < other_high and other_low < high:
            raise ConfigError(
                f"experiments {first.name} and {second.name} share units of layer {first.layer}: their "
                f"ranges are [{low}, {high}] and [{other_low}, {other_high}]; part the layer between them"
            )
