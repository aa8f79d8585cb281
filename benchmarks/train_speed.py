"""Training: as fast as the libraries that people use, to the same quality, and in proportion to its data.

    python -m benchmarks.train_speed                    everything: about fifteen minutes on two cores
    python -m benchmarks.train_speed --only race step   some sections: race, step, growth, gpu
    python -m benchmarks.train_speed --check            exit status 1 outside the tolerances
    python -m benchmarks.train_speed --quick            seconds, on made-up data: whether it runs
    python -m benchmarks.train_speed --peers A/bin/python --peers B/bin/python

The race is on Gowalla: every contestant fits `train.txt`, at the best settings that a small grid found for it
(`train_speed_settings`), and is judged by one judge on `valid.txt`; nobody reads `test.txt`. Each runs in a
process of its own with the same number of threads; its clock counts fitting and nothing else: not imports,
not reading data into memory, not judging, for anybody. Ours begins at the call of `training.fitting.fit`, so
that finding neighbours and first vectors is on the clock, as are logs and checkpoints.

`implicit` comes with the development install. RecTools and RecBole need environments of their own, and take
part where an interpreter given by `--peers` has them:

    python3.11 -m venv A && A/bin/pip install torch==2.13.0 implicit==0.7.3 rectools==0.19.0
    python3.11 -m venv B && B/bin/pip install torch==2.13.0 recbole==1.2.1
    B/bin/pip install 'numpy<2' 'pandas<2.3' 'scipy<1.14'

A missing peer is said to be missing. It fails the check only if the comparison with it is claimed: implicit's
ALS and BPR are, the others join where they install.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import train_speed_growth, train_speed_step
from benchmarks.experiments import compose_config
from benchmarks.train_speed_gpu import show_gpu
from benchmarks.train_speed_race import Judge, Run, report_race, run
from benchmarks.train_speed_settings import DATA, FULL, PEERS, Peer, Plan, quick_plan

SECTIONS = ("race", "step", "growth", "gpu")


def show(line: str) -> None:
    """Prints a line at once, so that a long run can be watched."""
    print(line, flush=True)


def find_python(package: str, candidates: Sequence[str]) -> str | None:
    """Returns the first interpreter that has a package; None if there is none."""
    for python in candidates:
        test = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
        if subprocess.run([python, "-c", test], check=False, stderr=subprocess.DEVNULL).returncode == 0:
            return python
    return None


def race(plan: Plan, pythons: Sequence[str], threads: int) -> bool:
    """Runs peers and ours; returns whether ours is faster than each, and every claimed peer was there."""
    judge = Judge.of(compose_config(plan.data))
    peers: list[Run] = []
    is_complete = True
    for peer in plan.peers:
        python = find_python(peer.entry.package, pythons)
        if python is None:
            show(f"{peer.entry.name:24s} not there: no interpreter has {peer.entry.package}; see --help")
            is_complete &= not peer.is_required
        else:
            peers.append(run(peer.entry, judge, python, threads=threads, show=show))
    highest = max((peer.best.ndcg for peer in peers), default=0.0)
    equal = run(
        plan.equal,
        judge,
        sys.executable,
        threads=threads,
        goes_on=lambda laps: laps[-1].ndcg < highest,
        show=show,
    )
    best = run(plan.best, judge, sys.executable, threads=threads, show=show)
    return report_race(peers, equal, best, show) and is_complete


def go_through(peer: Peer, pythons: Sequence[str], threads: int) -> None:
    """Runs every trial of a peer's grid and shows the best judgement of each."""
    python = find_python(peer.entry.package, pythons)
    if python is None:
        raise SystemExit(f"no interpreter has the package {peer.entry.package}, got {pythons}; see --help")
    judge = Judge.of(compose_config(DATA))
    for trial in peer.trials():
        found = run(trial, judge, python, threads=threads, show=lambda _: None)
        knobs = " ".join(f"{name}={trial.settings[name]}" for name in peer.grid)
        show(f"{trial.name} {knobs}: {found.best}")


def measure(plan: Plan, names: Sequence[str], pythons: Sequence[str], threads: int) -> list[str]:
    """Runs some sections of a plan; returns the names of those outside their tolerances."""
    show(
        f"{platform.machine()}, {os.cpu_count()} cores, {threads} threads, Python {platform.python_version()}"
    )
    overrides = [*plan.best.settings["overrides"], f"trainer.threads={threads}"]
    sections: dict[str, Callable[[], bool]] = {
        "race": lambda: race(plan, pythons, threads),
        "step": lambda: train_speed_step.measure_and_report(overrides, show),
        "growth": lambda: train_speed_growth.report(plan.interactions, plan.items, overrides, show),
        "gpu": lambda: show_gpu(overrides, show),
    }
    failed = []
    for name in names:
        show(f"\n== {name}")
        if not sections[name]():
            failed.append(name)
    return failed


def main() -> int:
    """Prints measured beside required; returns the exit status."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--check", action="store_true", help="exit status 1 outside the tolerances")
    parser.add_argument("--quick", action="store_true", help="seconds, on made-up data")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS, help="sections to run")
    parser.add_argument("--peers", action="append", default=[], help="an interpreter that has peers")
    parser.add_argument("--threads", type=int, default=1, help="of every contestant")
    parser.add_argument("--grid", choices=[peer.entry.name for peer in PEERS], help="go through a grid")
    parser.add_argument("--one-size", help=argparse.SUPPRESS)
    options = parser.parse_args()
    pythons = [*options.peers, sys.executable]
    if options.one_size:
        train_speed_growth.print_one_size(options.one_size)
        return 0
    if options.grid:
        peer = next(peer for peer in PEERS if peer.entry.name == options.grid)
        go_through(peer, pythons, options.threads)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        plan = quick_plan(Path(folder)) if options.quick else FULL
        failed = measure(plan, options.only, pythons, options.threads)
    show(f"\nFAILED: {', '.join(failed)}" if failed else "\npassed")
    return int(options.check and bool(failed))


if __name__ == "__main__":
    sys.exit(main())
