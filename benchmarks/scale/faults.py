"""Drivers and workers that are killed at random: the next run ends with the same bytes.

The plan is the one of the tests: three stages over small files, which spend their time waiting.
"""

import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from benchmarks.rows import Measured, Row
from benchmarks.scale.sizes import SIZES
from tests.support.killed_plans import KilledPlan, run_plan
from tests.support.tasks import left_aside, partitions, results

N_DAYS = 12
# Kills between the first task and the end of the last stage.
WITHIN_S = {"local": 1.0, "ray": 2.0}
# A plan that is killed ever again comes to its end all the same: it is begun anew so often.
KILLS_PER_PLAN = 5


def rows(_root: Path) -> Iterator[Row]:
    """Yields the rows."""
    for cluster in ("local", "ray"):
        yield Row(
            f"faults: {cluster}, driver or worker killed {SIZES.kills} times",
            "one loop in one process",
            "end byte-equal, nothing left half-written",
            lambda cluster=cluster: measure(cluster, SIZES.kills),  # type: ignore[misc]
        )


def measure(cluster: str, n_kills: int) -> Measured:
    """Kills plans until there were so many kills; compares the results of each with an undisturbed one."""
    dice = random.Random(7)
    killed: Counter[str] = Counter()
    n_left = n_unequal = 0
    with tempfile.TemporaryDirectory() as root:
        days, whole = Path(root) / "days", Path(root) / "whole"
        partitions(days, N_DAYS)
        run_plan("local", days, whole)
        expected = results(whole)
        for number in count():
            plan = KilledPlan(cluster, days, Path(root) / f"to-{number}", WITHIN_S[cluster])
            killed.update(plan.killed(dice.choice(("driver", "worker")), dice) for _ in range(KILLS_PER_PLAN))
            n_unequal += plan.to_end() != expected
            n_left += len(left_aside(Path(root)))
            if killed["driver"] + killed["worker"] >= n_kills:
                break
    whom = f"{killed['driver']} drivers, {killed['worker']} workers"
    return Measured(
        f"{whom}; {n_unequal} plans unequal, {n_left} left aside",
        n_unequal == 0 and n_left == 0,
    )
