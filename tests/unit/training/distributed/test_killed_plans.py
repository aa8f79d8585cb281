"""Whoever is killed, and whenever: the next run ends with the same bytes, and reads nothing half-written."""

import random
from pathlib import Path

import pytest

from tests.support.killed_plans import KilledPlan, run_plan
from tests.support.tasks import left_aside, partitions, results

N_KILLS = 3


@pytest.mark.parametrize("victim", ["driver", "worker"])
def test_plan_that_is_killed_at_random_ends_with_the_same_bytes(tmp_path: Path, victim: str) -> None:
    days, whole = tmp_path / "days", tmp_path / "whole"
    partitions(days, 6)
    run_plan("local", days, whole)
    plan, dice = KilledPlan("local", days, tmp_path / "to", within_s=0.5), random.Random(7)

    killed = [plan.killed(victim, dice) for _ in range(N_KILLS)]

    assert victim in killed
    assert plan.to_end() == results(whole)
    assert not left_aside(tmp_path)
