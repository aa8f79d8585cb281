"""Which event kinds count as interactions, how much they weigh, and their rows in the history encoder.

A kind may be parted by value ("rating below 4" and "rating from 4 up"), each part with a weight and a
row of its own: the encoder then knows a liked film from a disliked one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import polars as pl

from marquee.core.arrays import FloatArray, IndexArray
from marquee.core.ids import PADDING_INDEX
from marquee.errors import ConfigError


class EventKind(StrEnum):
    """The kind of an event. Only `exposure` is written by the server; all others come from the app."""

    exposure = "exposure"
    view = "view"
    click = "click"
    conversion = "conversion"
    rating = "rating"
    feedback = "feedback"


@dataclass(kw_only=True)
class KindConfig:
    """How one event kind enters histories and training.

    Attributes:
        weight: Multiplies the loss of an event of this kind.
        edges: Values that part the kind: n edges give n + 1 parts; part i holds values in
            [edges[i - 1], edges[i]). An event without value falls into the first part.
        part_weights: Weight of each part in place of `weight`; empty to use `weight` throughout.
        weigh_by_value: Multiply the weight with the event's value as well (values below 0 count as 0).
    """

    weight: float = 1.0
    edges: list[float] = field(default_factory=list)
    part_weights: list[float] = field(default_factory=list)
    weigh_by_value: bool = False

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError if the parts do not fit together."""
        # `encode` finds the part by bisection, which needs ascending edges.
        if sorted(self.edges) != list(self.edges):
            raise ConfigError(f"edges must ascend, got {list(self.edges)} (config data.kinds)")
        if self.part_weights and len(self.part_weights) != len(self.edges) + 1:
            raise ConfigError(
                f"part_weights must have one entry per part ({len(self.edges) + 1}), got "
                f"{len(self.part_weights)} (config data.kinds)"
            )
        # A negative weight would reverse the loss: the model would learn to avoid what users chose.
        if min([self.weight, *self.part_weights]) < 0:
            raise ConfigError(
                f"weights must be 0 or more, got {[self.weight, *self.part_weights]} (config data.kinds)"
            )


@dataclass(frozen=True)
class EventKinds:
    """The rows of the kind table: 1 … n_rows in the declared order; 0 is padding or "not counted".

    Example:
        >>> kinds = EventKinds({"click": KindConfig(), "rating": KindConfig(edges=[4.0])})
        >>> kinds.names
        ('click', 'rating:0', 'rating:1')
        >>> kinds.encode(["rating", "click", "exposure", "rating"], [5.0, None, None, 1.0]).tolist()
        [3, 1, 0, 2]
    """

    configs: dict[str, KindConfig]

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.configs if kind not in EventKind.__members__]
        if unknown or not self.configs:
            raise ConfigError(
                f"data.kinds must name at least one of {list(EventKind.__members__)}, got {unknown or 'none'}"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each row; row i has index i + 1."""
        names: list[str] = []
        for kind, config in self.configs.items():
            # In the declared order: another order would give a part the learned row of another.
            names += [f"{kind}:{i}" for i in range(len(config.edges) + 1)] if config.edges else [kind]
        return tuple(names)

    def encode(self, kinds: Sequence[str], values: Sequence[float | None]) -> IndexArray:
        """Returns the row of each event, (n,) int64; 0 where the kind does not count."""
        return self._rows(pl.Series(kinds, dtype=pl.String), _numbers(values))

    def encode_columns(self, kinds: pl.Series, values: pl.Series) -> tuple[IndexArray, FloatArray]:
        """Returns row and training weight of each event of a table, as `encode` and `weights` of its lists.

        Args:
            kinds: Texts, (n,).
            values: Numbers or null, (n,).
        """
        # No list of Python objects: of ten million events each would take hundreds of megabytes.
        numbers = values.cast(pl.Float64).to_numpy()
        index = self._rows(kinds, numbers)
        return index, self._weights(index, numbers)

    def _rows(self, kinds: pl.Series, value_column: npt.NDArray[np.float64]) -> IndexArray:
        """Returns the row of each event, (n,) int64, of values with NaN for none."""
        index = np.full(len(kinds), PADDING_INDEX, dtype=np.int64)
        first = 1
        for kind, config in self.configs.items():
            is_kind = (kinds == kind).to_numpy()
            if not config.edges:
                index[is_kind] = first
                first += 1
                continue
            # Right, as a value equal to an edge belongs to the part above it.
            part = np.searchsorted(np.asarray(config.edges), value_column[is_kind], side="right")
            # NaN sorts behind every edge and would fall into the last part; no value means the first.
            index[is_kind] = first + np.where(np.isnan(value_column[is_kind]), 0, part)
            first += len(config.edges) + 1
        return index

    def weights(self, kinds: Sequence[str], values: Sequence[float | None]) -> FloatArray:
        """Returns the training weight of each event, (n,) float32; 0 where the kind does not count."""
        return self._weights(self.encode(kinds, values), _numbers(values))

    def _weights(self, kind_index: IndexArray, value_column: npt.NDArray[np.float64]) -> FloatArray:
        """Returns the weight of each row, (n,) float32, by values with NaN for none."""
        # Row 0 is "not counted", and must weigh nothing whatever the event's value is.
        table = [0.0]
        by_value = [False]
        for config in self.configs.values():
            n_parts = len(config.edges) + 1
            table += list(config.part_weights) or [config.weight] * n_parts
            by_value += [config.weigh_by_value] * n_parts
        weight = np.asarray(table, dtype=np.float32)[kind_index]
        if not any(by_value):
            return weight
        # No value leaves the weight as it is; a negative one must not reverse the loss.
        factor = np.where(np.isnan(value_column), 1.0, np.maximum(value_column, 0.0))
        return np.where(np.asarray(by_value)[kind_index], weight * factor, weight).astype(np.float32)


def _numbers(values: Sequence[float | None]) -> npt.NDArray[np.float64]:
    """Returns values as an array, (n,), with NaN for a missing one."""
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)
