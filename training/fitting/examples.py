"""Cuts interactions into training batches: slices of arrays, no Python per example.

Which history belongs to which target is decided here, by the `unit` of an example:

```
events of one user, oldest first      a b c d e f

next     one example per event        history a b c       target  d          (and so on for every event)
future   one per user and epoch       history a b c       targets d e f      cut at a random place
whole    one per user and epoch       history a b   e     targets a b c d e f, for data without time
sequence one per user and epoch       history a b c d e   targets a b c d e f, each after what was before it;
                                      a history that is too long is cut into several, at random places
```
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from marquee.core.arrays import BoolArray, FloatArray, IndexArray
from marquee.core.histories import gather, window_positions
from marquee.data.dataset import QueryArrays
from marquee.data.query_features import with_context
from marquee.nn.batches import HistoryViews, TrainingBatch, WholeBatch
from marquee.nn.embed import to_batch
from marquee.nn.ranks.group import ALONE, Ranks
from training.config import ExamplesConfig, ExampleUnit
from training.fitting.ageing import target_weights
from training.fitting.module import SizedBatches
from training.fitting.ranks.sharing import TrainingPart


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

    def rows(self, rows: IndexArray | BoolArray | slice) -> "ExampleRanges":
        """Returns some of the examples."""
        return ExampleRanges(
            self.history_start[rows], self.history_end[rows], self.target_start[rows], self.target_end[rows]
        )

    def __len__(self) -> int:
        return len(self.history_start)


def draw_ranges(
    offsets: IndexArray, config: ExamplesConfig, history_length: int, generator: np.random.Generator
) -> ExampleRanges:
    """Returns the examples of one epoch, in the order of users.

    Args:
        offsets: `Interactions.offsets` of the training part.
        config: See `ExamplesConfig`.
        history_length: Longest history.
        generator: Draws gaps and cuts.
    """
    starts, ends = offsets[1:-1], offsets[2:]  # user 0 has no events in training
    if config.unit is ExampleUnit.next:
        target = np.arange(offsets[1], offsets[-1])
        start = np.repeat(starts, ends - starts)
        if not config.max_gap:
            return ExampleRanges(start, target, target, target + 1)
        gap = generator.integers(0, config.max_gap, size=len(target), endpoint=True)  # (n_events,)
        # A gap may not reach before the user's first event, into another user's.
        return ExampleRanges(start, np.maximum(target - gap, start), target, target + 1)
    # A user without events would be an example without targets.
    starts, ends = starts[ends > starts], ends[ends > starts]
    if config.unit is ExampleUnit.whole:
        return ExampleRanges(starts, ends, starts, ends)
    if config.unit is ExampleUnit.sequence:
        return _draw_sequences(starts, ends, history_length, generator)
    assert config.unit is ExampleUnit.future, f"expected a resolved unit, got {config.unit}"
    cut = generator.integers(starts, ends)  # at least one target; the history may be empty
    return ExampleRanges(starts, cut, cut, np.minimum(cut + config.max_targets, ends))


def _draw_sequences(
    starts: IndexArray, ends: IndexArray, history_length: int, generator: np.random.Generator
) -> ExampleRanges:
    """Returns each user's events cut into histories of at most `history_length`, a target behind each event.

    ```
    history_length = 3     a b | c d e f | g h       cut at a random place, then after every 4 events
    histories              a     c d e     g
    targets                a b     d e f     h       c and g follow more than their part of the history says
    ```
    """
    width = history_length + 1
    sizes = ends - starts
    # At random: else each event would have the same part of its history in every epoch.
    lead = np.where(sizes > width, generator.integers(1, width, size=len(sizes), endpoint=True), width)
    n_parts = 1 + -(-np.maximum(sizes - lead, 0) // width)  # (n_users,), rounded up
    of_user = np.repeat(np.arange(len(sizes)), n_parts)  # (n_examples,)
    number = np.arange(len(of_user)) - np.repeat(np.cumsum(n_parts) - n_parts, n_parts)
    # Parts do not overlap: each begins where the one before has ended.
    begin = starts[of_user] + np.where(number > 0, lead[of_user] + (number - 1) * width, 0)
    end = np.minimum(starts[of_user] + lead[of_user] + number * width, ends[of_user])
    # The first event of a later part is no target: it follows more than this part holds.
    parts = ExampleRanges(begin, end - 1, begin + (number > 0), end)
    # A later part of one event has no target.
    return parts.rows(parts.target_end > parts.target_start)


Packed = npt.NDArray[np.signedinteger[Any]]


def _packed(places: IndexArray) -> Packed:
    """Returns places of four bytes each, where they are below 2³¹."""
    is_small = not len(places) or int(places.max()) < 2**31
    return places.astype(np.int32) if is_small else places


@dataclass(frozen=True, slots=True)
class _Packed:
    """Examples in half of the memory; see `ExampleRanges`."""

    history_start: Packed
    history_end: Packed
    target_start: Packed
    target_end: Packed

    @classmethod
    def of(cls, ranges: ExampleRanges) -> "_Packed":
        """Returns some examples; what is one array there is one here."""
        end, target = ranges.history_end, _packed(ranges.target_start)
        packed_end = target if end is ranges.target_start else _packed(end)
        return cls(_packed(ranges.history_start), packed_end, target, _packed(ranges.target_end))

    def rows(self, rows: Packed) -> ExampleRanges:
        """Returns the examples at some rows."""
        fields = (self.history_start, self.history_end, self.target_start, self.target_end)
        return ExampleRanges(*(field[rows].astype(np.int64) for field in fields))


def _targets_of(ranges: ExampleRanges) -> tuple[IndexArray, IndexArray]:
    """Returns the example of each target and its event, (n_targets,) int64 each."""
    sizes = ranges.target_end - ranges.target_start
    row = np.repeat(np.arange(len(ranges)), sizes)
    first_of_row = np.cumsum(sizes) - sizes
    return row, np.arange(sizes.sum()) - first_of_row[row] + ranges.target_start[row]


class TrainingBatches(SizedBatches):
    """The batches of one epoch, by number; the same seed and epoch give the same batches.

    Args:
        dataset: Supplies interactions and features.
        config: See `ExamplesConfig`.
        seed: Of the run.
        epoch: Counted from 0.
        ranks: Who steps together: every one draws the same order, and cuts its part of each batch. So the
            batches are the same for any number of processes.
    """

    def __init__(
        self, dataset: TrainingPart, config: ExamplesConfig, seed: int, epoch: int, ranks: Ranks = ALONE
    ) -> None:
        self.ranks = ranks
        # A stream for each epoch: a resumed run draws what an uninterrupted one would.
        generator = np.random.default_rng([seed, epoch])
        self.dataset = dataset
        self.unit, self.equal_queries = config.unit, config.equal_queries
        self._ranges, self._order, self.bounds = self._drawn(config, generator)
        self.items, self.kinds = dataset.train.item_index, dataset.train.kind_index
        self.weight = target_weights(dataset.train, config)
        if config.unit is ExampleUnit.whole:
            # Without time a long history is cut to a random part of it, another one in each epoch.
            shuffled = np.argsort(dataset.train.user_index + generator.random(len(self.items)))
            self.items, self.kinds = self.items[shuffled], self.kinds[shuffled]
            if config.hidden_fraction:
                is_shown = generator.random(len(self.items)) >= config.hidden_fraction
                # Index 0 is padding, which the tower passes over; targets are read from the data set.
                self.items, self.kinds = self.items * is_shown, self.kinds * is_shown

    def _drawn(
        self, config: ExamplesConfig, generator: np.random.Generator
    ) -> tuple[_Packed, Packed, IndexArray]:
        """Returns the examples, their order, and the first of each batch in that order.

        They are looked up by batch and not shuffled here: two sets of ranges side by side would be most of
        what training holds of many events.
        """
        ranges = draw_ranges(self.dataset.train.offsets, config, self.dataset.history_length, generator)
        order = generator.permutation(len(ranges))
        return _Packed.of(ranges), _packed(order), self._cut(ranges, order, config.batch_size)

    def _cut(self, ranges: ExampleRanges, order: IndexArray, batch_size: int) -> IndexArray:
        """Returns the first example of each batch, and one past the last, (n_batches + 1,) int64."""
        if self.unit is not ExampleUnit.sequence:
            return np.append(np.arange(0, len(ranges), batch_size), len(ranges))
        n_queries = (ranges.target_end - ranges.target_start)[order]
        batch = (np.cumsum(n_queries) - n_queries) // batch_size
        return np.append(np.flatnonzero(np.diff(batch, prepend=-1)), len(batch))  # (n_batches + 1,)

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def release(self) -> None:
        """Lets the examples go, which no step will ask for again; their number stays known."""
        none = np.zeros(0, dtype=np.int32)
        self._ranges, self._order = _Packed(none, none, none, none), none
        self.items = self.kinds = none
        self.weight = np.zeros(0, dtype=np.float32)

    def __getitem__(self, number: int) -> TrainingBatch:
        """Returns one batch; the last one of an epoch may be smaller."""
        # The IndexError ends a loop over the data set, as Python's protocol of sequences has it.
        if not 0 <= number < len(self):
            raise IndexError(f"batch must be between 0 and {len(self) - 1}, got {number}")
        rows = self._order[self.bounds[number] : self.bounds[number + 1]]
        if self.ranks.size == 1:
            return self._batch(self._ranges.rows(rows))
        return self._part(rows)

    def _part(self, rows: Packed) -> TrainingBatch:
        """Returns this rank's examples of a batch, and the targets of all of them."""
        mine, whole = rows[self.ranks.rank :: self.ranks.size], self._ranges.rows(rows)
        # A batch may be smaller than the group, and all must step: one without examples takes the first.
        batch = self._batch(self._ranges.rows(mine if len(mine) else rows[:1]))
        row, target = _targets_of(whole)
        target_row = np.arange(len(target)) if self.unit is ExampleUnit.sequence else row
        weight = torch.from_numpy(self._weights(target, target_row))
        items = self.dataset.train.item_index[target].astype(np.int64)
        facts = WholeBatch(torch.from_numpy(items), weight.sum())
        return replace(batch, weight=batch.weight if len(mine) else batch.weight * 0, whole=facts)

    def _batch(self, ranges: ExampleRanges) -> TrainingBatch:
        """Returns the batch of some examples."""
        dataset, train = self.dataset, self.dataset.train
        # (n_examples, history_length)
        positions = window_positions(ranges.history_start, ranges.history_end, dataset.history_length)
        row, target = _targets_of(ranges)
        asked, target_row, views = ranges.target_start, row, None
        if self.unit is ExampleUnit.sequence:  # every target has a query of its own
            asked, target_row = target, np.arange(len(target))
            # Windows are filled from the right: the latest event stands last.
            end = dataset.history_length - ranges.history_end[row] + target
            views = HistoryViews(torch.from_numpy(row), torch.from_numpy(end))
        # `right`: users without events share an offset, and the last of them owns the event.
        user_index = np.searchsorted(train.offsets, asked, side="right") - 1
        context = None if dataset.train_context is None else dataset.train_context.take(asked)
        features = with_context(dataset.user_features.take(user_index), context)
        arrays = QueryArrays(
            user_index,
            features.tokens,
            features.numeric,
            gather(self.items, positions).astype(np.int32),
            gather(self.kinds, positions).astype(np.int32),
        )
        return TrainingBatch(
            replace(to_batch(arrays), views=views),
            torch.from_numpy(train.item_index[target].astype(np.int64)),
            torch.from_numpy(target_row),
            torch.from_numpy(self._weights(target, target_row)),
        )

    def _weights(self, target: IndexArray, target_row: IndexArray) -> FloatArray:
        """Returns the weight of each target, (n_targets,) float32."""
        weight = self.weight[target]
        if not self.equal_queries:
            return weight
        total = np.bincount(target_row, weight)  # (n_queries,)
        # A query may weigh nothing at all: 0 / tiny stays 0, where 0 / 0 would be NaN.
        return (weight / np.maximum(total[target_row], np.finfo(np.float32).tiny)).astype(np.float32)
