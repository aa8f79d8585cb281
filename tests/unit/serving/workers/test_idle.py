"""A module that computes beside answers: which of its threads give way to them, and which do not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from serving.workers.idle import main

PROBE = """
import json, os, pathlib, sys
import polars as pl

def main():
    path = pathlib.Path(__file__).with_suffix(".parquet")
    pl.DataFrame({"number": range(200_000)}).write_parquet(path, row_group_size=50_000)
    rows = pl.scan_parquet(path).filter(pl.col("number") > 10)
    rows.sink_parquet(path.with_suffix(".new"), compression="zstd", engine="streaming")
    found = []
    for task in pathlib.Path("/proc/self/task").iterdir():
        named = (task / "comm").read_text().strip()
        policy = os.sched_getscheduler(int(task.name))
        found.append([int(task.name) == os.getpid(), named, policy])
    print(json.dumps({"nice": os.nice(0), "asked": sys.stdin.read(), "threads": found}))
    return 3
"""


def told(folder: Path, *how: str) -> dict[str, object]:
    (folder / "probe.py").write_text(PROBE)
    done = subprocess.run(
        [sys.executable, "-m", "serving.workers.idle", "probe", *how],
        env={**os.environ, "PYTHONPATH": f"{os.environ.get('PYTHONPATH', '')}:{folder}"},
        input="an order",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_threads_that_compute_give_way_and_the_one_with_locks_does_not(tmp_path: Path) -> None:
    found = told(tmp_path)
    threads = found["threads"]
    assert isinstance(threads, list)
    # What unmaps files computes nothing.
    others = {(name, policy) for is_main, name, policy in threads if not is_main and "unmap" not in name}
    assert found["asked"] == "an order"
    assert found["nice"] == os.nice(0) + 10
    assert [policy for is_main, _, policy in threads if is_main] == [os.SCHED_OTHER]
    assert {policy for _, policy in others} == {os.SCHED_IDLE}
    assert any(name.startswith("async-executor") for name, _ in others)


def test_where_no_core_is_idle_all_threads_are_merely_nice(tmp_path: Path) -> None:
    found = told(tmp_path, "nice")
    threads = found["threads"]
    assert isinstance(threads, list)
    assert found["nice"] == os.nice(0) + 10
    assert {policy for _, _, policy in threads} == {os.SCHED_OTHER}


@pytest.mark.parametrize("arguments", [[], ["probe", "idle"], ["probe", "nice", "nice"]])
def test_other_arguments_are_refused(arguments: list[str]) -> None:
    assert main(arguments) == 2
