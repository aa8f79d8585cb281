"""Queries about new users and items, on a market of 50 users: no number of it means anything."""

import numpy as np
import pytest

from benchmarks import cold
from marquee.core.item_lists import ItemLists
from marquee.errors import DataError
from marquee.evaluation.evaluation import EvaluationTask
from marquee.evaluation.intervals import Estimate
from marquee.world import World, write_world

SMALL = ("model.dim=8", "trainer.epochs=1", "examples.batch_size=64", "negatives.n_uniform=20")


@pytest.fixture(scope="module")
def parted(tiny_world: World, tmp_path_factory: pytest.TempPathFactory) -> cold.Parted:
    folder = tmp_path_factory.mktemp("world") / "tables"
    write_world(tiny_world, folder)
    return cold.Parted.read("world", "test", [f"data.root={folder}", *SMALL])


def test_nothing_is_known_of_a_held_out_item_before_the_part(parted: cold.Parted) -> None:
    held = cold.held_out_items(parted, seed=1)
    dataset, part, is_held = cold.without_items(parted, held)
    assert held
    assert set(held) == set(dataset.item_ids.decode(np.flatnonzero(is_held).tolist()))
    for known in (dataset.train.item_index, part.known.item_index, part.queries.history_items):
        assert not is_held[known].any()
    assert min(np.flatnonzero(is_held)) > dataset.n_trained_items
    assert len(part.targets.item_index)
    assert is_held[part.targets.item_index].all()


def test_a_held_out_item_was_there_before_the_part(parted: cold.Parted) -> None:
    before = set(parted.before.filter(parted.before["kind"] != "exposure")["item_id"])
    assert set(cold.held_out_items(parted, seed=1)) <= before


@pytest.mark.parametrize("n", [1, 3, 5])
def test_a_held_out_user_brings_the_latest_events_and_no_id(parted: cold.Parted, n: int) -> None:
    held = cold.held_out_users(parted, seed=1)
    dataset = parted.dataset(parted.before.filter(~parted.before["user_id"].is_in(held)))
    assert held
    assert not set(held) & set(dataset.user_ids.ids)
    part = cold.with_latest(parted, dataset, held, n)
    assert sorted(part.user_ids) == sorted(held)
    assert not part.queries.user_index.any()
    assert (np.diff(part.known.offsets)[1:] == n).all()
    counting = parted.before.filter(parted.before["kind"] != "exposure")
    for row, user in enumerate(part.user_ids, start=1):
        theirs = counting.filter(counting["user_id"] == user)["item_id"].tail(n)
        known = part.known.item_index[part.known.offsets[row] : part.known.offsets[row + 1]]
        assert known.tolist() == [dataset.item_ids.encode([item])[0] for item in theirs]


def test_both_benchmarks_run_from_data_to_lines(parted: cold.Parted) -> None:
    lines = [*cold.judge_items(parted, seed=1), *cold.judge_users(parted, seed=1)]
    assert {line.reference for line in lines} == {"popularity", "recent_popularity", "chance"}
    assert len(lines) == 5 + 2 * len(cold.N_KNOWN)
    assert all(0 <= line.model.mean <= 1 and line.n_users > 0 for line in lines)


def test_only_a_difference_beyond_chance_is_clear() -> None:
    targets = ItemLists.of([[1]] * 40)
    right, wrong = np.array([[0, 1, 0]] * 40, np.float32), np.array([[0, 0, 1]] * 40, np.float32)
    scorers = {"model": lambda rows: right[rows].copy(), "wrong": lambda rows: wrong[rows].copy()}
    (line,) = cold.compare("toy", scorers, EvaluationTask(targets, 2, (cold.K,)))
    assert line.is_clear
    assert line.model.mean == 1.0
    assert "NOT" not in line.text()
    (line,) = cold.compare(
        "toy", {"model": scorers["model"], "same": scorers["model"]}, EvaluationTask(targets, 2, (cold.K,))
    )
    assert not line.is_clear
    assert "NOT GOOD ENOUGH" in line.text()


def test_too_few_to_hold_out_are_refused(parted: cold.Parted) -> None:
    one = parted.before.filter(parted.before["user_id"] == parted.before["user_id"][0])
    alone = cold.Parted(parted.tables, parted.config, parted.split, one, parted.judged.clear())
    with pytest.raises(DataError, match="at least 2 must be there to hold some of them out, got 0"):
        cold.held_out_users(alone, seed=1)


def test_a_line_that_is_not_good_enough_fails_the_check(
    monkeypatch: pytest.MonkeyPatch, parted: cold.Parted
) -> None:
    zero, better, worse = Estimate(0.0, -0.1, 0.1), Estimate(0.2, 0.1, 0.3), Estimate(-0.2, -0.3, -0.1)
    monkeypatch.setattr(cold.Parted, "read", lambda *_: parted)
    monkeypatch.setattr(cold, "judge_users", lambda *_: iter(()))
    for arguments, reference, difference, status in (
        (["--check"], "popularity", better, 0),
        (["--check"], "popularity", zero, 1),
        (["--check"], "chance", zero, 1),
        (["--check"], "recent_popularity", zero, 0),
        (["--check"], "recent_popularity", worse, 1),
        ([], "popularity", zero, 0),
    ):
        line = cold.Line("toy", reference, better, zero, difference, 40)
        monkeypatch.setattr(cold, "judge_items", lambda *_, line=line: iter([line]))
        monkeypatch.setattr("sys.argv", ["cold", "world", *arguments])
        assert cold.main() == status
