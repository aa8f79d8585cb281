"""Interactions to training batches: which history belongs to which target."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from marquee.core.histories import Interactions
from marquee.core.schema import TimeMeaning
from marquee.data.dataset import Dataset
from marquee.data.splits import SplitConfig, SplitMethod
from marquee.errors import ConfigError
from marquee.features import FeatureArrays, FeatureEncoder
from marquee.nn.architectures import MatrixFactorizationConfig, ModelConfig, SASRecConfig, TwoTowerConfig
from marquee.nn.batches import TrainingBatch
from marquee.nn.history_pooling import HistoryPooling
from marquee.nn.losses import SampledSoftmaxConfig
from marquee.nn.negatives import MixedNegativesConfig
from marquee.nn.optimizers import LazyAdamConfig
from tests.support.small_data import Prepared, write_shop
from training.config import ExamplesConfig, ExampleUnit, TrainConfig, TrainerConfig
from training.fitting.examples import ExampleRanges, TrainingBatches, draw_ranges

SIZES = [5, 0, 1, 8]  # events of users 1 … 4
N_EVENTS, LENGTH = sum(SIZES), 3
OFFSETS = np.array([0, 0, 5, 5, 6, 14], dtype=np.int64)
USER_OF_EVENT = [1] * 5 + [3] + [4] * 8


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared.read(write_shop(tmp_path_factory.mktemp("shop")))


@pytest.fixture(scope="module")
def dataset(shop: Prepared) -> Dataset:
    """Returns 14 events in which the item, the kind, the weight and the context all tell the position."""
    position = np.arange(N_EVENTS)
    users = FeatureArrays(np.arange(5, dtype=np.int32)[:, None], np.zeros((5, 0), np.float32))
    with_place = FeatureArrays(users.tokens.repeat(2, axis=1), users.numeric)
    return replace(
        shop.dataset,
        train=Interactions(
            OFFSETS,
            (position + 100).astype(np.int32),
            (position + 500).astype(np.int32),
            position,
            (position / 8).astype(np.float32),
        ),
        train_context=FeatureArrays(
            (position[:, None] + 900).astype(np.int32), np.zeros((14, 0), np.float32)
        ),
        query_features=replace(
            shop.dataset.query_features,
            encoder=FeatureEncoder.fit({}, {}),
            n_context=(1, 0),
            of_users=with_place,
        ),
        history_length=LENGTH,
    )


def config_of(
    unit: ExampleUnit, batch_size: int = 4, max_gap: int = 0, max_targets: int = 3
) -> ExamplesConfig:
    return ExamplesConfig(unit=unit, batch_size=batch_size, max_gap=max_gap, max_targets=max_targets)


def draw(config: ExamplesConfig, seed: int = 0) -> ExampleRanges:
    return draw_ranges(OFFSETS, config, LENGTH, np.random.default_rng(seed))


def ranges_of(ranges: ExampleRanges) -> list[tuple[range, range]]:
    """Returns (positions of the history, positions of the targets) of each example."""
    columns = (ranges.history_start, ranges.history_end, ranges.target_start, ranges.target_end)
    return [(range(a, b), range(c, d)) for a, b, c, d in zip(*(c.tolist() for c in columns), strict=True)]


def first_event(position: int) -> int:
    """Returns the first position of the same user."""
    return USER_OF_EVENT.index(USER_OF_EVENT[position])


def test_next_has_all_that_came_before_each_event() -> None:
    expected = [(range(first_event(t), t), range(t, t + 1)) for t in range(N_EVENTS)]
    assert ranges_of(draw(config_of(ExampleUnit.next))) == expected


@pytest.mark.parametrize("seed", range(3))
def test_gap_moves_the_end_of_the_history_back(seed: int) -> None:
    drawn = ranges_of(draw(config_of(ExampleUnit.next, max_gap=2), seed))
    gaps = set()
    for target, (history, targets) in enumerate(drawn):
        assert targets == range(target, target + 1)
        assert history.start == first_event(target)
        assert max(first_event(target), target - 2) <= history.stop <= target
        gaps.add(target - history.stop)
    assert gaps == {0, 1, 2}


@pytest.mark.parametrize("seed", range(5))
def test_future_is_cut_once_per_user_with_targets_behind(seed: int) -> None:
    drawn = ranges_of(draw(config_of(ExampleUnit.future, max_targets=3), seed))
    assert [USER_OF_EVENT[targets.start] for _, targets in drawn] == [1, 3, 4]
    for (history, targets), last in zip(drawn, [5, 6, 14], strict=True):
        assert history.start == first_event(targets.start)
        assert history.stop == targets.start
        assert targets.stop == min(targets.start + 3, last)
        assert len(targets) > 0


def test_future_cuts_everywhere_in_time() -> None:
    cuts = [ranges_of(draw(config_of(ExampleUnit.future), seed))[2][0].stop for seed in range(200)]
    assert set(cuts) == set(range(6, 14))


def test_whole_has_everything_on_both_sides() -> None:
    everything = [(range(0, 5), range(0, 5)), (range(5, 6), range(5, 6)), (range(6, 14), range(6, 14))]
    assert ranges_of(draw(config_of(ExampleUnit.whole))) == everything


def rows_of(batch: TrainingBatch) -> list[tuple[int, list[int], list[int]]]:
    """Returns (user, positions in the history, positions of the targets) of each query."""
    rows, views = [], batch.query.views
    for row, user in enumerate(batch.query.user_index.tolist()):
        seen = (row, LENGTH) if views is None else (int(views.row[row]), int(views.end[row]))
        history = [item - 100 for item in batch.query.history_items[seen[0]].tolist()[: seen[1]] if item]
        targets = (batch.target_item[batch.target_row == row] - 100).tolist()
        rows.append((user, history, targets))
    return rows


def windows_by_hand(size: int, cut: int) -> list[tuple[range, range]]:
    """Returns history and targets of each part of a user's `size` events, cut after the first `cut`."""
    cuts = [0, size] if size <= LENGTH + 1 else [0, *range(cut, size, LENGTH + 1), size]
    parts = []
    for begin, end in pairwise(cuts):
        first_target = begin if begin == 0 else begin + 1
        if first_target < end:
            parts.append((range(begin, end - 1), range(first_target, end)))
    return parts


def test_sequences_are_the_users_events_cut_at_a_random_place() -> None:
    found: dict[int, set[int]] = {1: set(), 3: set(), 4: set()}
    for seed in range(60):
        drawn = ranges_of(draw(config_of(ExampleUnit.sequence), seed))
        for user, size in ((1, 5), (3, 1), (4, 8)):
            start = USER_OF_EVENT.index(user)
            own = [
                tuple(range(part.start - start, part.stop - start) for part in example)
                for example in drawn
                if USER_OF_EVENT[example[1].start] == user
            ]
            fitting = [cut for cut in range(1, LENGTH + 2) if windows_by_hand(size, cut) == own]
            assert fitting, own
            found[user].update(fitting if len(fitting) == 1 else [])
    assert found == {1: {1, 2, 3, 4}, 3: set(), 4: {1, 2, 3, 4}}  # every place where a cut makes a difference


def test_sequence_of_a_short_user_is_whole() -> None:
    offsets = np.array([0, 0, 0, 1, 5], dtype=np.int64)  # none, one, and as many as fit
    drawn = draw_ranges(offsets, config_of(ExampleUnit.sequence), LENGTH, np.random.default_rng(0))
    assert ranges_of(drawn) == [(range(0, 0), range(0, 1)), (range(1, 4), range(1, 5))]


@pytest.mark.parametrize("seed", range(5))
def test_query_of_a_sequence_sees_what_came_before_its_target(dataset: Dataset, seed: int) -> None:
    batches = epoch(dataset, config_of(ExampleUnit.sequence, batch_size=4), seed)
    targets = []
    for batch in batches:
        assert batch.target_row.tolist() == list(range(len(batch.query)))
        for user, history, (target,) in rows_of(batch):
            assert history == list(range(target - len(history), target))
            assert {USER_OF_EVENT[position] for position in [*history, target]} == {user}
            assert history or target == first_event(target)
            targets.append(target)
    assert len(set(targets)) == len(targets) >= N_EVENTS - 3  # but for the first event behind each cut


@pytest.mark.parametrize("batch_size", [1, 3, 4, 6, 100])
def test_batch_of_sequences_has_about_as_many_queries_as_told(dataset: Dataset, batch_size: int) -> None:
    batches = epoch(dataset, config_of(ExampleUnit.sequence, batch_size=batch_size), seed=1)
    sizes = [len(batch.query) for batch in batches]
    assert sum(sizes) == sum(
        len(batch.query) for batch in epoch(dataset, config_of(ExampleUnit.sequence), seed=1)
    )
    assert all(0 < size < batch_size + LENGTH + 1 for size in sizes)
    assert all(size > batch_size - LENGTH - 1 for size in sizes[:-1])


def epoch(dataset: Dataset, config: ExamplesConfig, seed: int = 0, number: int = 0) -> list[TrainingBatch]:
    batches = TrainingBatches(dataset, config, seed, number)
    return [batches[i] for i in range(len(batches))]


def test_every_event_is_a_target_exactly_once(dataset: Dataset) -> None:
    batches = epoch(dataset, config_of(ExampleUnit.next))
    assert [len(batch.query) for batch in batches] == [4, 4, 4, 2]
    targets = [target for batch in batches for _, _, found in rows_of(batch) for target in found]
    assert sorted(targets) == list(range(N_EVENTS))


@pytest.mark.parametrize("unit", [ExampleUnit.next, ExampleUnit.future])
@pytest.mark.parametrize("seed", range(3))
def test_history_ends_before_its_targets(dataset: Dataset, unit: ExampleUnit, seed: int) -> None:
    for batch in epoch(dataset, config_of(unit), seed):
        for user, history, targets in rows_of(batch):
            first = first_event(targets[0])
            assert {USER_OF_EVENT[position] for position in targets} == {user}
            assert history == list(range(max(first, targets[0] - LENGTH), targets[0]))


def test_whole_history_is_a_random_part_of_the_user(dataset: Dataset) -> None:
    (batch,) = epoch(dataset, config_of(ExampleUnit.whole, batch_size=10))
    parts = {}
    for user, history, targets in rows_of(batch):
        own = [position for position, owner in enumerate(USER_OF_EVENT) if owner == user]
        assert targets == own
        assert set(history) <= set(own)
        assert len(set(history)) == min(LENGTH, len(own))
        parts[user] = history
    (other,) = epoch(dataset, config_of(ExampleUnit.whole, batch_size=10), number=1)
    assert {user: history for user, history, _ in rows_of(other)} != parts


@pytest.mark.parametrize("unit", list(ExampleUnit))
def test_kind_stands_beside_its_item(dataset: Dataset, unit: ExampleUnit) -> None:
    for batch in epoch(dataset, config_of(unit)):
        items, kinds = batch.query.history_items, batch.query.history_kinds
        assert torch.equal(kinds, torch.where(items > 0, items + 400, 0))


@pytest.mark.parametrize("unit", list(ExampleUnit))
def test_weight_and_features_are_those_of_the_target(dataset: Dataset, unit: ExampleUnit) -> None:
    for batch in epoch(dataset, config_of(unit)):
        positions = batch.target_item - 100
        assert torch.equal(batch.weight, positions.float() / 8)
        for row, (user, _, targets) in enumerate(rows_of(batch)):
            assert batch.query.tokens[row].tolist() == [
                user,
                900 + targets[0],
            ]  # the context of the first target


def test_ragged_targets_belong_to_their_rows(dataset: Dataset) -> None:
    (batch,) = epoch(dataset, config_of(ExampleUnit.whole, batch_size=10))
    assert sorted(torch.bincount(batch.target_row).tolist()) == [1, 5, 8]
    of_event = torch.tensor(USER_OF_EVENT)[batch.target_item - 100]
    assert torch.equal(batch.query.user_index[batch.target_row], of_event)


def flat(batches: list[TrainingBatch]) -> list[list[tuple[int, list[int], list[int]]]]:
    return [rows_of(batch) for batch in batches]


@pytest.mark.parametrize("unit", list(ExampleUnit))
def test_seed_and_epoch_decide_the_batches(dataset: Dataset, unit: ExampleUnit) -> None:
    config = config_of(unit, batch_size=2)
    first = flat(epoch(dataset, config, 1, 2))
    assert flat(epoch(dataset, config, 1, 2)) == first
    others = [flat(epoch(dataset, config, seed, number)) for seed in range(3) for number in range(3)]
    assert sum(other != first for other in others) >= 6


def test_a_batch_can_be_asked_for_in_any_order(dataset: Dataset) -> None:
    batches = TrainingBatches(dataset, config_of(ExampleUnit.future, batch_size=1), 0, 0)
    backwards = [rows_of(batches[number]) for number in (2, 1, 0)]
    assert backwards[::-1] == [rows_of(batches[number]) for number in (0, 1, 2)]


@pytest.mark.parametrize("number", [-1, 4])
def test_batch_beyond_the_last_is_refused(dataset: Dataset, number: int) -> None:
    with pytest.raises(IndexError, match=f"batch must be between 0 and 3, got {number}"):
        TrainingBatches(dataset, config_of(ExampleUnit.next), 0, 0)[number]


def test_tables_become_batches(shop: Prepared) -> None:
    (batch,) = epoch(shop.dataset, config_of(ExampleUnit.next, batch_size=10))
    order = torch.argsort(batch.query.user_index * 10 + batch.target_item)
    assert batch.target_item[order].tolist() == [1, 2, 1, 3]
    assert batch.query.history_items[order].tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 1]]
    assert batch.weight[order].tolist() == [1.0, 0.5, 1.0, 1.0]
    assert shop.dataset.train_context is not None
    devices = shop.dataset.train_context.tokens[:, 0].tolist()
    assert batch.query.tokens[order, 1].tolist() == devices


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"batch_size": 0}, r"examples\.batch_size .*must be 1 or more, got 0 and 20"),
        ({"max_targets": 0}, r"examples\.max_targets must be 1 or more, got 1024 and 0"),
        ({"max_gap": -1}, r"examples\.max_gap must be 0 or more .*, got -1"),
        ({"max_gap": 2, "unit": ExampleUnit.whole}, r"needs examples\.unit=next, got 2 with whole"),
    ],
    ids=["batch_size", "max_targets", "max_gap", "unit"],
)
def test_impossible_examples_are_named(config: dict[str, int | ExampleUnit], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ExamplesConfig(**config)  # type: ignore[arg-type] # the table above holds one value per field


def test_no_event_is_lost_at_the_edge_of_users() -> None:
    ends = np.array([0, 0, 2, 2, 2, 3], dtype=np.int64)
    drawn = draw_ranges(ends, config_of(ExampleUnit.next), LENGTH, np.random.default_rng(0))
    assert ranges_of(drawn) == [
        (range(0, 0), range(0, 1)),
        (range(0, 1), range(1, 2)),
        (range(2, 2), range(2, 3)),
    ]


@pytest.mark.parametrize(
    ("model", "what"),
    [
        (TwoTowerConfig(), "attention"),
        (TwoTowerConfig(history_pooling=HistoryPooling.mean), "mean"),
        (
            TwoTowerConfig(history=False, history_pooling=HistoryPooling.transformer),
            "a model without history",
        ),
        (MatrixFactorizationConfig(), "a model without history"),
    ],
)
def test_sequences_need_a_transformer(shop: Prepared, model: ModelConfig, what: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"only model\.history_pooling=transformer can give, got {what}; choose"
    ):
        TrainConfig(
            data=shop.config,
            model=model,
            examples=ExamplesConfig(unit=ExampleUnit.sequence),
            loss=SampledSoftmaxConfig(),
            negatives=MixedNegativesConfig(),
            optimizer=LazyAdamConfig(),
        )


@pytest.mark.parametrize(
    ("time", "model", "unit"),
    [
        (TimeMeaning.absolute, TwoTowerConfig(), ExampleUnit.next),
        (TimeMeaning.order, TwoTowerConfig(), ExampleUnit.next),
        (TimeMeaning.order, SASRecConfig(), ExampleUnit.sequence),
        (TimeMeaning.none, TwoTowerConfig(), ExampleUnit.whole),
        (TimeMeaning.none, SASRecConfig(), ExampleUnit.whole),
    ],
)
def test_unit_follows_what_times_say_if_it_is_left_open(
    shop: Prepared, time: TimeMeaning, model: ModelConfig, unit: ExampleUnit
) -> None:
    split = SplitConfig(method=SplitMethod.leave_last)
    config = TrainConfig(
        data=replace(shop.config, time=time, split=split),
        model=model,
        loss=SampledSoftmaxConfig(),
        negatives=MixedNegativesConfig(),
        optimizer=LazyAdamConfig(),
    )
    assert config.examples.unit is unit
    assert config.examples.hidden_fraction == (0.5 if unit is ExampleUnit.whole else 0.0)


@pytest.mark.parametrize("unit", [ExampleUnit.next, ExampleUnit.whole, ExampleUnit.sequence])
def test_old_events_count_less_as_targets(dataset: Dataset, unit: ExampleUnit) -> None:
    def weights(decay: float) -> dict[int, float]:
        config = ExamplesConfig(unit=unit, batch_size=3, target_decay=decay)
        batches = TrainingBatches(dataset, config, seed=1, epoch=0)
        pairs = [
            pair
            for number in range(len(batches))
            for pair in zip(
                batches[number].target_item.tolist(), batches[number].weight.tolist(), strict=True
            )
        ]
        return {item - 100: weight for item, weight in pairs}

    plain, decayed = weights(0.0), weights(2.0)
    assert set(plain) == set(decayed)
    for position, weight in plain.items():
        user = USER_OF_EVENT[position]
        later = sum(other == user for other in USER_OF_EVENT[position + 1 :]) / USER_OF_EVENT.count(user)
        assert decayed[position] == pytest.approx(weight * np.exp(-2 * later), rel=1e-6)


def test_a_decay_below_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match="target_decay must be 0 or more, got -1"):
        ExamplesConfig(target_decay=-1)


@pytest.mark.parametrize("unit", [ExampleUnit.whole, ExampleUnit.future])
def test_queries_count_alike_where_they_are_to(dataset: Dataset, unit: ExampleUnit) -> None:
    positive = replace(dataset.train, weight=dataset.train.weight + 0.5)
    dataset = replace(dataset, train=positive)
    plain, alike = (
        TrainingBatches(dataset, replace(config_of(unit, batch_size=3), equal_queries=equal), 1, 0)
        for equal in (False, True)
    )
    for number in range(len(plain)):
        before, after = plain[number], alike[number]
        sums = torch.zeros(len(before.query)).index_add(0, before.target_row, before.weight)
        torch.testing.assert_close(after.weight, before.weight / sums[before.target_row])


@pytest.mark.parametrize("unit", [ExampleUnit.next, ExampleUnit.future, ExampleUnit.whole])
def test_a_target_counts_half_once_it_is_a_half_life_old(dataset: Dataset, unit: ExampleUnit) -> None:
    day = 86_400
    days = replace(dataset.train, timestamp=dataset.train.timestamp * day)  # event i on day i, the last on 13
    config = ExamplesConfig(unit=unit, batch_size=3, half_life_days=2.0)
    for batch in epoch(replace(dataset, train=days), config):
        position = batch.target_item - 100
        assert torch.allclose(batch.weight, position / 8 * 0.5 ** ((13 - position) / 2))


@pytest.mark.parametrize(
    ("method", "given", "half_life"),
    [
        (SplitMethod.time, None, None),
        (SplitMethod.time, 0.0, 0.0),
        (SplitMethod.leave_last, None, 0.0),
        (SplitMethod.leave_last, 7.0, 7.0),
    ],
)
def test_targets_age_where_everybody_is_asked_afterwards(
    shop: Prepared, method: SplitMethod, given: float | None, half_life: float | None
) -> None:
    config = TrainConfig(
        data=replace(shop.config, split=SplitConfig(method=method)),
        model=TwoTowerConfig(),
        examples=ExamplesConfig(half_life_days=given),
        loss=SampledSoftmaxConfig(),
        negatives=MixedNegativesConfig(),
        optimizer=LazyAdamConfig(),
    )
    assert config.examples.half_life_days == half_life


def test_a_half_life_needs_moments(shop: Prepared) -> None:
    with pytest.raises(ConfigError, match=r"half_life_days needs data.time=absolute, got 7.0 with order"):
        TrainConfig(
            data=replace(
                shop.config, time=TimeMeaning.order, split=SplitConfig(method=SplitMethod.leave_last)
            ),
            model=TwoTowerConfig(),
            examples=ExamplesConfig(half_life_days=7.0),
            loss=SampledSoftmaxConfig(),
            negatives=MixedNegativesConfig(),
            optimizer=LazyAdamConfig(),
        )
    with pytest.raises(ConfigError, match="half_life_days must be 0 or more, got -1"):
        ExamplesConfig(half_life_days=-1)


def test_steps_decide_how_often_the_examples_are_passed() -> None:
    assert [TrainerConfig(steps=100).n_epochs(n) for n in (1, 33, 100, 101)] == [100, 4, 1, 1]
    assert TrainerConfig(epochs=3, steps=100).n_epochs(1) == 3
    with pytest.raises(ConfigError, match=r"trainer\.steps must be 1 or more, got 0"):
        TrainerConfig(steps=0)
    with pytest.raises(ConfigError, match=r"trainer\.workers must be 0 or more, got -1"):
        TrainerConfig(workers=-1)


def test_a_share_of_each_whole_is_hidden_from_its_history(dataset: Dataset) -> None:
    shown = {
        seed: [len(history) for _, history, _ in rows_of(batch)]
        for seed in range(100)
        for batch in epoch(dataset, ExamplesConfig(unit=ExampleUnit.whole, hidden_fraction=0.75), seed)
    }
    most = sum(min(LENGTH, size) for size in SIZES if size)
    assert sum(map(sum, shown.values())) / (most * len(shown)) == pytest.approx(0.25, abs=0.03)
    assert len(set(map(tuple, shown.values()))) > 10  # others in each pass
    with pytest.raises(ConfigError, match=r"hidden_fraction must be in \[0, 1\), got 1.0"):
        ExamplesConfig(hidden_fraction=1.0)
