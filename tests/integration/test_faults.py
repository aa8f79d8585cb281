"""The suite of `benchmarks.faults` with fewer calls: processes killed, stopped and ended, a full disk."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import faults
from benchmarks.fault_scenarios import (
    Outcome,
    drain_and_end,
    end_at_once,
    fill_disk,
    hang_worker,
    kill_worker,
)

Scenario = Callable[[Path, Path, int], list[Outcome]]
pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return faults.make_releases(tmp_path_factory.mktemp("bundles"))


def broken(scenario: Scenario, bundle: Path, folder: Path, n_calls: int) -> list[Outcome]:
    """Returns the outcomes of a scenario that break a promise."""
    outcomes = scenario(bundle, folder, n_calls)
    assert sum(outcome.n for outcome in outcomes) >= n_calls
    return [outcome for outcome in outcomes if not outcome.is_kept]


def test_killed_worker_fails_no_call_and_is_replaced(bundle: Path, tmp_path: Path) -> None:
    assert broken(kill_worker, bundle, tmp_path, 2000) == []


def test_worker_that_hangs_fails_no_call_of_short_attempts(bundle: Path, tmp_path: Path) -> None:
    assert broken(hang_worker, bundle, tmp_path, 400) == []


def test_end_after_a_drain_loses_nothing(bundle: Path, tmp_path: Path) -> None:
    assert broken(drain_and_end, bundle, tmp_path, 400) == []


def test_end_without_a_drain_loses_a_bounded_number_of_calls(bundle: Path, tmp_path: Path) -> None:
    assert broken(end_at_once, bundle, tmp_path, 400) == []


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="only root may mount a small disk")
def test_full_disk_stops_no_answer(bundle: Path, tmp_path: Path) -> None:
    assert broken(fill_disk, bundle, tmp_path, 400) == []


def test_suite_has_every_scenario() -> None:
    assert set(faults.SCENARIOS.values()) == {kill_worker, hang_worker, drain_and_end, end_at_once, fill_disk}


def test_outcome_is_kept_only_by_a_count_within_what_is_allowed() -> None:
    assert Outcome("x", 10, 0, 0).is_kept
    assert not Outcome("x", 10, 1, 0).is_kept
    assert not Outcome("nothing was asked", 0, 0, 0).is_kept
