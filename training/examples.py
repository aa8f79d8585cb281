"""Cuts interactions into training batches: slices of arrays, no Python per example.

Which history belongs to which target is decided here, by the `unit` of an example:

```
events of one user, oldest first      a b c d e f

next     one example per event        history a b c       target  d          (and so on for every event)
future   one per user and epoch       history a b c       targets d e f      cut at a random place
whole    one per user and epoch       history a b c d e f targets a b c d e f, for data without time
```
"""

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset

from marquee.dataset import Dataset, QueryArrays, with_context
from marquee.errors import ConfigError
from marquee.histories import gather, window_positions
from marquee.ids import IndexArray
from marquee.nn.batches import TrainingBatch
from marquee.nn.embed import to_batch


class ExampleUnit(StrEnum):
    """What one training example is."""

    next = "next"
    future = "future"
    whole = "whole"


@dataclass(kw_only=True)
class ExamplesConfig:
    """How interactions become examples.

    Attributes:
        unit: See `ExampleUnit`; None for `whole` where the data has no time, else `next`.
        batch_size: Queries per batch.
        max_gap: `next`: the history ends up to this many events before the target, at random: the model
            then learns what comes soon, not only what comes next.
        max_targets: `future`: how many of the following events are targets.
    """

    unit: ExampleUnit | None = None
    batch_size: int = 1024
    max_gap: int = 0
    max_targets: int = 20

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError if a size is out of range or belongs to another unit."""
        if self.batch_size < 1 or self.max_targets < 1:
            raise ConfigError(
                "examples.batch_size and examples.max_targets must be 1 or more, got "
                f"{self.batch_size} and {self.max_targets}"
            )
        if self.max_gap < 0 or (self.max_gap and self.unit not in (None, ExampleUnit.next)):
            raise ConfigError(
                f"examples.max_gap must be 0 or more and needs examples.unit=next, got {self.max_gap} with "
                f"{self.unit}"
            )


@dataclass(frozen=True, slots=True)
class ExampleRanges:
    """Examples as ranges of the flat event arrays; all fields (n,) int64.

    Attributes:
        history_start: First event of the history.
        history_end: One past its last event.
        target_start: First target.
        target_end: One past the last target.
    """

    history_start: IndexArray
    history_end: IndexArray
    target_start: IndexArray
    target_end: IndexArray

    def rows(self, rows: IndexArray | slice) -> "ExampleRanges":
        """Returns some of the examples."""
        return ExampleRanges(
            self.history_start[rows], self.history_end[rows], self.target_start[rows], self.target_end[rows]
        )

    def __len__(self) -> int:
        return len(self.history_start)


def draw_ranges(offsets: IndexArray, config: ExamplesConfig, generator: np.random.Generator) -> ExampleRanges:
    """Returns the examples of one epoch, in the order of users.

    Args:
        offsets: `Interactions.offsets` of the training part.
        config: See `ExamplesConfig`.
        generator: Draws gaps and cuts.
    """
    starts, ends = offsets[1:-1], offsets[2:]  # user 0 has no events in training
    if config.unit is ExampleUnit.next:
        target = np.arange(offsets[1], offsets[-1])
        start = np.repeat(starts, ends - starts)
        gap = generator.integers(0, config.max_gap, size=len(target), endpoint=True)
        return ExampleRanges(start, np.maximum(target - gap, start), target, target + 1)
    starts, ends = starts[ends > starts], ends[ends > starts]
    if config.unit is ExampleUnit.whole:
        return ExampleRanges(starts, ends, starts, ends)
    assert config.unit is ExampleUnit.future, f"expected a resolved unit, got {config.unit}"
    cut = generator.integers(starts, ends)  # at least one target; the history may be empty
    return ExampleRanges(starts, cut, cut, np.minimum(cut + config.max_targets, ends))


class TrainingBatches(TorchDataset[TrainingBatch]):
    """The batches of one epoch, by number; the same seed and epoch give the same batches.

    Args:
        dataset: Supplies interactions and features.
        config: See `ExamplesConfig`.
        seed: Of the run.
        epoch: Counted from 0.
    """

    def __init__(self, dataset: Dataset, config: ExamplesConfig, seed: int, epoch: int) -> None:
        generator = np.random.default_rng([seed, epoch])
        self.dataset = dataset
        self.batch_size = config.batch_size
        ranges = draw_ranges(dataset.train.offsets, config, generator)
        self.ranges = ranges.rows(generator.permutation(len(ranges)))
        self.items, self.kinds = dataset.train.item_index, dataset.train.kind_index
        if config.unit is ExampleUnit.whole:
            # Without time a long history is cut to a random part of it, another one in each epoch.
            shuffled = np.lexsort((generator.random(len(self.items)), dataset.train.user_index))
            self.items, self.kinds = self.items[shuffled], self.kinds[shuffled]

    def __len__(self) -> int:
        return math.ceil(len(self.ranges) / self.batch_size)

    def __getitem__(self, number: int) -> TrainingBatch:
        """Returns one batch; the last one of an epoch may be smaller."""
        if not 0 <= number < len(self):
            raise IndexError(f"batch must be between 0 and {len(self) - 1}, got {number}")
        return self._batch(self.ranges.rows(slice(number * self.batch_size, (number + 1) * self.batch_size)))

    def _batch(self, ranges: ExampleRanges) -> TrainingBatch:
        """Returns the batch of some examples."""
        dataset = self.dataset
        positions = window_positions(ranges.history_start, ranges.history_end, dataset.history_length)
        sizes = ranges.target_end - ranges.target_start
        target_row = np.repeat(np.arange(len(ranges)), sizes)
        first_of_row = np.cumsum(sizes) - sizes
        target = np.arange(sizes.sum()) - first_of_row[target_row] + ranges.target_start[target_row]
        user_index = np.searchsorted(dataset.train.offsets, ranges.target_start, side="right") - 1
        context = None if dataset.train_context is None else dataset.train_context.take(ranges.target_start)
        features = with_context(dataset.query_features.of_users.take(user_index), context)
        arrays = QueryArrays(
            user_index,
            features.tokens,
            features.numeric,
            gather(self.items, positions).astype(np.int64),
            gather(self.kinds, positions).astype(np.int64),
        )
        return TrainingBatch(
            to_batch(arrays),
            torch.from_numpy(dataset.train.item_index[target]),
            torch.from_numpy(target_row),
            torch.from_numpy(dataset.train.weight[target]),
        )
