from functools import cache

import numpy as np
import pytest

from marquee.core.item_lists import ItemLists
from marquee.errors import ShapeError
from marquee.evaluation.analyses.slices import (
    MIN_USERS,
    Slice,
    SlicedColumn,
    SlicedMetric,
    by_history,
    by_popularity,
    members_of,
    slice_metric,
)
from marquee.evaluation.evaluation import Evaluation, EvaluationTask, evaluate
from marquee.evaluation.intervals import Estimate

N_USERS, N_ITEMS = 400, 20
TARGETS = ItemLists.of([[1 + user % N_ITEMS, 1 + (user + 3) % N_ITEMS] for user in range(N_USERS)])
FIRST_HALF = np.arange(N_USERS) < N_USERS // 2
ODD_ITEMS = np.arange(N_ITEMS + 1) % 2 == 1


@cache
def _evaluation() -> Evaluation:
    """A model that finds the targets of the first half of the users and of nobody else."""
    scores = np.random.default_rng(0).random((N_USERS, N_ITEMS + 1)).astype(np.float32)
    for user in range(N_USERS):
        mine = TARGETS.item_index[2 * user : 2 * user + 2]
        scores[user, mine] = 2.0 if FIRST_HALF[user] else -1.0
    other = np.random.default_rng(1).random((N_USERS, N_ITEMS + 1)).astype(np.float32)
    task = EvaluationTask(TARGETS, N_ITEMS, (5, 10), item_groups={"odd": ODD_ITEMS})
    scorers = {"model": lambda rows: scores[rows].copy(), "other": lambda rows: other[rows].copy()}
    return evaluate(scorers, task, np.random.default_rng(0), n_resamples=100)


def _sliced(**users: dict[str, np.ndarray]) -> SlicedMetric:
    items = {"parity": {"odd": ODD_ITEMS, "even": ~ODD_ITEMS}}
    return slice_metric(
        _evaluation(), "ndcg@10", _evaluation().targets, users, items, np.random.default_rng(0)
    )


def test_a_slice_of_users_has_the_mean_of_its_users() -> None:
    column = _sliced(half={"first": FIRST_HALF, "second": ~FIRST_HALF}).columns[0]
    first, second = column.slices
    assert (column.name, first.value, first.n_users) == ("user: half", "first", N_USERS // 2)
    assert first.estimates["model"].mean == 1.0
    assert second.estimates["model"].mean == 0.0
    values = _evaluation().models["other"].values["ndcg@10"]
    estimate = first.estimates["other"]
    assert estimate.mean == pytest.approx(values[FIRST_HALF].mean())
    assert estimate.low < estimate.mean < estimate.high


def test_a_slice_of_items_has_the_metric_of_its_targets_alone() -> None:
    odd = _sliced().columns[0].slices[0]
    for name, model in _evaluation().models.items():
        assert odd.estimates[name].mean == pytest.approx(model.estimates["ndcg@10|odd"].mean)


def test_the_worst_slice_is_named() -> None:
    sliced = _sliced(half={"first": FIRST_HALF, "second": ~FIRST_HALF})
    worst, of_items = sliced.worst
    assert worst.startswith("Worst slice of users, of 2: user: half = second with ndcg@10 0.0000")
    assert not worst.endswith("as low.")
    assert of_items.startswith("Worst slice of items, of 2: item: parity = ")
    assert sliced.to_json_dict()["worst"] == [worst, of_items]


def test_a_worst_slice_that_chance_may_have_made_says_so() -> None:
    random_half = np.random.default_rng(5).random(N_USERS) < 0.5
    worst, _ = _sliced(coin={"heads": random_half, "tails": ~random_half}).worst
    assert worst.endswith("Among so many slices chance alone may make one as low.")


def test_a_slice_is_told_from_chance_by_all_slices_together() -> None:
    low = Slice("low", 100, {"model": Estimate(0.48, 0.46, 0.495)})
    others = tuple(Slice(str(n), 100, {"model": Estimate(0.5, 0.4, 0.6)}) for n in range(30))
    for n_others, may_be_chance in ((1, False), (30, True)):
        column = SlicedColumn("user: group", (low, *others[:n_others]), 0, 0)
        sliced = SlicedMetric("ndcg@10", "model", Estimate(0.5, 0.4, 0.6), (column,))
        (worst,) = sliced.worst
        assert f"of {n_others + 1}: user: group = low" in worst
        assert ("chance alone" in worst) is may_be_chance


def test_one_slice_alone_is_not_the_worst() -> None:
    column = SlicedColumn("user: group", (Slice("all", 100, {"model": Estimate(0.1, 0.0, 0.2)}),), 0, 0)
    assert not SlicedMetric("ndcg@10", "model", Estimate(0.5, 0.4, 0.6), (column,)).worst


def test_small_slices_are_suppressed_and_counted() -> None:
    few = np.arange(N_USERS) < MIN_USERS - 1
    nobody = np.zeros(N_USERS, np.bool_)
    column = _sliced(size={"few": few, "many": ~few, "nobody": nobody}).columns[0]
    assert [part.value for part in column.slices] == ["many"]
    assert (column.n_suppressed, column.n_beyond) == (1, 0)


def test_the_largest_slices_are_kept_where_there_are_many() -> None:
    values = {str(n): np.arange(N_USERS) < MIN_USERS + n for n in range(15)}
    column = _sliced(size=values).columns[0]
    assert [part.value for part in column.slices] == [str(n) for n in range(3, 15)]
    assert column.n_beyond == 3


def test_users_are_parted_at_the_thirds_of_their_events() -> None:
    parts = by_history(np.array([0, 5, 1, 9, 2, 7, 3]))
    assert list(parts) == ["new (no history)", "light (up to 2)", "medium (up to 5)", "heavy (more)"]
    assert [np.flatnonzero(is_in).tolist() for is_in in parts.values()] == [[0], [2, 4], [1, 6], [3, 5]]
    assert list(by_history(np.zeros(3, np.int64))) == ["new (no history)"]


def test_every_item_is_in_one_part_by_popularity_and_padding_in_none() -> None:
    counts = np.array([0, *np.random.default_rng(0).zipf(1.5, 99) - 1])
    parts = np.stack([*by_popularity(counts).values()])
    assert parts.sum(axis=0).tolist() == [0] + [1] * 99


def test_an_item_of_many_values_is_in_many_slices() -> None:
    members = members_of([None, ["a", "b"], "b", []])
    assert {value: np.flatnonzero(is_in).tolist() for value, is_in in members.items()} == {
        "a": [1],
        "b": [1, 2],
    }


def test_a_slice_of_another_catalog_is_refused() -> None:
    items = {"short": {"all": np.ones(5, np.bool_)}}
    with pytest.raises(ShapeError, match=r"one value per item and one for padding, got \(5,\)"):
        slice_metric(_evaluation(), "ndcg@10", TARGETS, {}, items, np.random.default_rng(0))
