"""The plumbing of `benchmarks.train_speed`, on made-up data: who is judged, when clocks run, what fails."""

import io
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import train_speed, train_speed_gpu, train_speed_growth, train_speed_step
from benchmarks.experiments import compose_config
from benchmarks.peers import protocol
from benchmarks.peers.protocol import ITEMS_FILE, QUERIES_FILE, Contestant, Pairs, RaceIsOverError
from benchmarks.train_speed_data import synthesize
from benchmarks.train_speed_growth import Size
from benchmarks.train_speed_race import Duel, Entry, Judge, Lap, Run, report_race, run
from benchmarks.train_speed_settings import FULL, PEERS, Peer, Plan, quick_plan
from benchmarks.train_speed_step import StepCost
from marquee.errors import DataError

ONE_THREAD = ("trainer.threads=1",)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return quick_plan(tmp_path_factory.mktemp("groups"))


@pytest.fixture(scope="module")
def judge(plan: Plan) -> Judge:
    return Judge.of(compose_config(plan.data))


def a_run(name: str, *laps: tuple[float, float]) -> Run:
    """Returns a run by (seconds, ndcg) of its judgements."""
    judged = [Lap(epoch, seconds, seconds, ndcg, ndcg) for epoch, (seconds, ndcg) in enumerate(laps, start=1)]
    return Run(Entry(name, "none", "none", {}), judged, 1.0, {"none": "1"})


def a_size(interactions: int, items: int, epoch_seconds: float) -> Size:
    return Size(interactions, items, 10, 0.0, epoch_seconds, 100.0)


def show_nothing(_: str) -> None:
    pass


def test_judge_gives_full_marks_to_who_knows_the_validation_items(judge: Judge, tmp_path: Path) -> None:
    items = np.eye(judge.pairs.n_items, dtype=np.float32)
    queries = np.zeros((judge.pairs.n_users, judge.pairs.n_items), dtype=np.float32)
    queries[judge.user_index - 1, judge.task.targets.item_index - 1] = 1.0  # one target each
    np.save(tmp_path / QUERIES_FILE, queries)
    np.save(tmp_path / ITEMS_FILE, items)
    assert judge.judge(tmp_path) == (1.0, 1.0)


def test_judge_does_not_count_what_a_user_had_in_training(judge: Judge, tmp_path: Path) -> None:
    queries = np.zeros((judge.pairs.n_users, judge.pairs.n_items), dtype=np.float32)
    queries[judge.pairs.users, judge.pairs.items] = 2.0
    queries[judge.user_index - 1, judge.task.targets.item_index - 1] = 1.0  # behind all of training
    np.save(tmp_path / QUERIES_FILE, queries)
    np.save(tmp_path / ITEMS_FILE, np.eye(judge.pairs.n_items, dtype=np.float32))
    assert judge.judge(tmp_path) == (1.0, 1.0)


def test_nobody_reads_the_test_part(plan: Plan) -> None:
    assert set(compose_config(plan.data).data.events.paths) == {"train", "validation"}
    assert set(compose_config(FULL.best.settings["overrides"]).data.events.paths) == {
        "train",
        "validation",
    }


def test_clock_stands_still_while_a_contestant_is_judged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    now = iter([100.0, 107.0, 200.0, 203.0])  # 7 s of fitting, 93 s of judgement, 3 s of fitting
    monkeypatch.setattr("benchmarks.peers.protocol.time.perf_counter", lambda: next(now))
    monkeypatch.setattr("benchmarks.peers.protocol.time.process_time", lambda: 0.0)
    monkeypatch.setattr(sys, "argv", ["", str(tmp_path), '{"settings": {}, "every": 2, "threads": 1}'])
    monkeypatch.setattr(sys, "stdin", io.StringIO("go\nstop\n"))
    vectors = np.zeros((2, 3), dtype=np.float32)
    contestant = Contestant()
    contestant.start()
    for _ in range(3):
        contestant.lap(lambda: (vectors, vectors))
    with pytest.raises(RaceIsOverError):
        contestant.lap(lambda: (vectors, vectors))
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert told == [
        {"epoch": 2, "seconds": 7.0, "processor_seconds": 0.0},
        {"epoch": 4, "seconds": 10.0, "processor_seconds": 0.0},
    ]
    assert np.load(tmp_path / QUERIES_FILE).shape == (2, 3)


def test_peak_memory_grows_with_what_is_held() -> None:
    held = np.ones(2**26)
    assert protocol.peak_mib() > held.nbytes / 2**20 == 512


@pytest.mark.slow
def test_peer_runs_by_its_interpreter_until_it_is_told_to_stop(plan: Plan, judge: Judge) -> None:
    pytest.importorskip("implicit")
    entry = plan.peers[0].entry
    found = run(
        entry, judge, sys.executable, threads=1, goes_on=lambda laps: len(laps) < 2, show=show_nothing
    )
    assert [lap.epoch for lap in found.laps] == [1, 2]
    assert found.best.ndcg > 0.1  # 30 of 120 items are of a user's group
    assert found.peak_mib > 1
    assert "implicit" in found.versions


@pytest.mark.slow
def test_our_contestant_learns_in_its_own_process(plan: Plan, judge: Judge) -> None:
    found = run(plan.best, judge, sys.executable, threads=1, show=show_nothing)
    assert [lap.epoch for lap in found.laps] == [0, 1, 2, 3]
    assert found.laps[-1].ndcg > found.laps[0].ndcg


def test_contestant_that_breaks_off_is_an_error_with_its_last_words(judge: Judge) -> None:
    entry = Entry("unknown", "no_such_module", "none", {})
    with pytest.raises(DataError, match=r"unknown broke off with exit status 1 after 0(.|\n)*no_such_module"):
        run(entry, judge, sys.executable, threads=1, show=show_nothing)


def test_duel_counts_from_when_each_was_as_good_as_the_peer_gets() -> None:
    peer = a_run("peer", (1.0, 0.05), (2.0, 0.08004), (9.0, 0.08006))  # a plateau, as tables print it
    ours = [a_run("slow", (5.0, 0.09)), a_run("fast", (0.5, 0.07), (1.5, 0.0801))]
    duel = Duel.of(peer, ours)
    assert (duel.at.seconds, duel.ours and duel.ours.seconds, duel.is_won) == (2.0, 1.5, True)


@pytest.mark.parametrize(
    ("ours", "is_won"),
    [
        pytest.param([(1.0, 0.09)], True, id="sooner"),
        pytest.param([(3.0, 0.09)], False, id="later"),
        pytest.param([(1.0, 0.07)], False, id="never"),
    ],
)
def test_race_is_won_by_who_is_as_good_sooner(
    ours: list[tuple[float, float]], is_won: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = a_run("ours", *ours)
    assert report_race([a_run("peer", (2.0, 0.08))], mine, mine, print) is is_won
    assert ("never" in capsys.readouterr().out) is (ours[0][1] < 0.08)


@pytest.mark.parametrize("is_required", [True, False])
def test_missing_peer_fails_the_race_only_where_it_is_claimed(
    is_required: bool, plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there, missing = plan.peers
    missing = replace(
        missing, entry=replace(missing.entry, package="no_such_package"), is_required=is_required
    )
    runs = {there.entry.name: a_run("peer", (2.0, 0.08)), plan.best.name: a_run("ours", (1.0, 0.09))}

    def find(package: str, _: Sequence[str]) -> str | None:
        return None if package == "no_such_package" else sys.executable

    monkeypatch.setattr(train_speed, "run", lambda entry, *_, **__: runs[entry.name])
    monkeypatch.setattr(train_speed, "find_python", find)
    assert train_speed.race(replace(plan, peers=(there, missing)), [sys.executable], 1) is not is_required
    assert "no interpreter has no_such_package" in capsys.readouterr().out


def test_interpreter_is_found_by_what_it_can_import() -> None:
    assert train_speed.find_python("json", [sys.executable]) == sys.executable
    assert train_speed.find_python("no_such_package", [sys.executable]) is None


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.entry.name)
def test_peer_races_at_a_setting_of_its_grid(peer: Peer) -> None:
    assert peer.entry.settings in [trial.settings for trial in peer.trials()]


@pytest.mark.slow
def test_size_and_step_are_measured_through_the_real_fit(plan: Plan) -> None:
    overrides = [*plan.best.settings["overrides"], *ONE_THREAD]
    size = train_speed_growth.measure_here(480, 100, overrides)
    assert (size.interactions, size.items, size.steps) == (480, 100, 1)  # 20 users in batches of 64
    assert size.per_second == pytest.approx(480 / size.epoch_seconds)
    config = compose_config([*overrides, "trainer.epochs=2"])
    cost = train_speed_step.measure(synthesize(480, 100, history_length=5), config)
    assert cost.whole > cost.products > 0
    assert cost.flop == 3 * 2 * 20 * 50 * 16  # queries, candidates, dimensions


def test_made_up_interactions_touch_as_many_items_in_a_larger_catalog() -> None:
    small, large = (synthesize(240_000, n_items, history_length=5) for n_items in (10_000, 40_000))
    assert len(small.train) == len(large.train) == 240_000
    assert len(np.unique(small.train.item_index)) == len(np.unique(large.train.item_index))
    assert large.train.item_index.max() > 30_000
    assert np.array_equal(np.diff(large.train.offsets)[1:], np.full(10_000, 24))


@pytest.mark.parametrize(
    ("by_interactions", "by_items", "is_within"),
    [
        pytest.param((1.0, 10.0, 100.0), (1.0, 1.0, 1.1), True, id="linear and flat"),
        pytest.param((1.0, 20.0, 400.0), (1.0, 1.0, 1.0), False, id="more than linear"),
        pytest.param((1.0, 10.0, 100.0), (1.0, 2.0, 4.0), False, id="not flat"),
    ],
)
def test_growth_outside_its_bounds_fails(
    by_interactions: tuple[float, ...], by_items: tuple[float, ...], is_within: bool
) -> None:
    sizes = (1_000, 10_000, 100_000)
    in_interactions = [a_size(n, 10, seconds) for n, seconds in zip(sizes, by_interactions, strict=True)]
    in_items = [a_size(10, n, seconds) for n, seconds in zip(sizes, by_items, strict=True)]
    assert train_speed_growth.show_growth(in_interactions, in_items, show_nothing) is is_within


def test_step_of_more_than_twice_the_bare_products_fails() -> None:
    assert train_speed_step.report(StepCost(19.0, 10.0, 5.0, 1e9), show_nothing)
    assert not train_speed_step.report(StepCost(21.0, 10.0, 5.0, 1e9), show_nothing)


def test_section_on_gpus_says_that_there_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert train_speed_gpu.show_gpu([], print)
    assert capsys.readouterr().out.startswith("no GPU here")


@pytest.mark.slow
def test_throughput_is_counted_beside_what_the_device_can_do(
    plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = [*plan.best.settings["overrides"], *ONE_THREAD, "trainer.accelerator=cpu"]
    found = train_speed_gpu.measure(480, 100, overrides, torch.device("cpu"))
    assert found.pairs == pytest.approx(found.interactions * 20 * 50 / 480)
    assert found.flop == pytest.approx(found.pairs * 6 * 17)  # 16 dimensions and the bias
    limits = train_speed_gpu.Limits.measure(torch.device("cpu"), width=64, n_values=2**16)
    train_speed_gpu.report(found, limits, print)
    assert "34,100,000 samples/s  reference" in capsys.readouterr().out


def test_section_outside_its_tolerance_fails_the_check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train_speed_step, "measure_and_report", lambda *_: False)
    monkeypatch.setattr(sys, "argv", ["train_speed", "--quick", "--check", "--only", "step", "gpu"])
    assert train_speed.main() == 1
    assert "FAILED: step\n" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["train_speed", "--quick", "--only", "step"])
    assert train_speed.main() == 0


def test_pairs_survive_the_disk(tmp_path: Path) -> None:
    pairs = Pairs(np.array([0, 2, 3]), np.array([4, 1, 0]), 5)
    pairs.write(tmp_path)
    found = Pairs.read(tmp_path)
    assert (found.users.tolist(), found.items.tolist(), found.n_items) == ([0, 0, 1], [4, 1, 0], 5)
