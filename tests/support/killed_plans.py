"""Runs a plan in a process of its own, and kills that, or one of its workers, at a random moment.

python -m tests.support.killed_plans local <folder of days> <to>
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.support.tasks import adding, parting, results, slow_copies
from training.distributed.cluster import open_cluster
from training.distributed.config import CLUSTERS

N_PARTS = 4
TIMEOUT_S = 120.0


def run_plan(cluster_name: str, days: Path, to: Path) -> None:
    """Does three stages on a cluster of two processes."""
    inputs = sorted(days.iterdir())
    with open_cluster(CLUSTERS[cluster_name](processes=2)) as cluster:
        cluster.run("copying", slow_copies(inputs, to))
        copies = [to / "copies" / day.name / "numbers" for day in inputs]
        cluster.run("parting", parting(copies, to, N_PARTS, [day.name for day in inputs]))
        cluster.run("adding", adding(inputs, to, N_PARTS))


@dataclass
class KilledPlan:
    """A plan that is killed again and again until it has come to its end.

    Attributes:
        cluster: local or ray.
        days: Folder of its inputs.
        to: Folder of its results.
        within_s: The latest moment of a kill, from the start of the first task.
    """

    cluster: str
    days: Path
    to: Path
    within_s: float

    def killed(self, victim: str, random_: random.Random) -> str:
        """Starts the plan, kills its driver or a worker, and returns whom; "nobody" if it was done before."""
        driver = self._start()
        try:
            self._await_first_task(driver)
            time.sleep(random_.uniform(0, self.within_s))
            if driver.poll() is not None:
                victim = "nobody"
            elif victim == "driver":
                driver.kill()
            else:
                victim = self._kill_worker(driver, random_)
            driver.wait(TIMEOUT_S)
        finally:
            driver.kill()
            driver.wait()
        return victim

    def to_end(self) -> dict[str, bytes]:
        """Runs the plan without a kill and returns its results."""
        driver = self._start()
        try:
            assert driver.wait(TIMEOUT_S) == 0
        finally:
            driver.kill()
            driver.wait()
        return results(self.to)

    def _start(self) -> "subprocess.Popen[bytes]":
        """Starts the driver."""
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        return subprocess.Popen(
            [sys.executable, "-m", __name__, self.cluster, str(self.days), str(self.to)],
            env={**os.environ, "PYTHONPATH": path},
            stderr=subprocess.DEVNULL,
        )

    def _await_first_task(self, driver: "subprocess.Popen[bytes]") -> None:
        """Waits until the lock of the first stage is taken, or the driver has ended."""
        locks = self.to / "copies" / ".tasks.lock"
        # A lock of an earlier start is there already: its time says which start took it last.
        before = locks.stat().st_mtime_ns if locks.exists() else 0
        until = time.monotonic() + TIMEOUT_S
        while driver.poll() is None and time.monotonic() < until:
            if locks.exists() and locks.stat().st_mtime_ns > before:
                return
            time.sleep(0.005)

    def _kill_worker(self, driver: "subprocess.Popen[bytes]", random_: random.Random) -> str:
        """Kills a process that does a task, if there is one; says whom."""
        with contextlib.suppress(psutil.NoSuchProcess):
            workers = [
                process
                for process in psutil.Process(driver.pid).children(recursive=True)
                if "training.distributed.local" in process.cmdline() or "ray::perform" in process.name()
            ]
            if workers:
                os.kill(random_.choice(workers).pid, signal.SIGKILL)
                return "worker"
        return "nobody"


if __name__ == "__main__":
    run_plan(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
