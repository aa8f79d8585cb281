"""Faults across the processes of the service: what was asked, what was lost, and how much of it may be.

    python -m benchmarks.faults            about four minutes
    python -m benchmarks.faults --check    exit status 1 if a promise is broken
    python -m benchmarks.faults --calls 2000 --only kill_worker

A full disk needs root, for it mounts one; without root it is left out, and said so.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.fault_scenarios import (
    Outcome,
    drain_and_end,
    end_at_once,
    fill_disk,
    hang_worker,
    kill_worker,
)
from benchmarks.serving_bundle import make_bundle

N_ITEMS = 1000
N_CALLS = 10_000

SCENARIOS: Mapping[str, Callable[[Path, Path, int], list[Outcome]]] = {
    scenario.__name__: scenario
    for scenario in (kill_worker, hang_worker, drain_and_end, end_at_once, fill_disk)
}


def make_releases(folder: Path) -> Path:
    """Publishes two releases of one name and returns the folder of the one that is current."""
    make_bundle(folder, N_ITEMS, ef_search=32, seed=1)
    return make_bundle(folder, N_ITEMS, ef_search=32, seed=2).folder


def print_outcome(outcome: Outcome) -> None:
    """Prints one row."""
    verdict = "kept" if outcome.is_kept else "BROKEN"
    print(
        f"{outcome.fault:<52}{outcome.n:>8}{outcome.failed:>8}{outcome.allowed:>9}  {verdict:<8}"
        f"{'' if outcome.remarks == '{}' else outcome.remarks}",
        flush=True,
    )


def main() -> int:
    """Prints what each fault did; returns the exit status."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--calls", type=int, default=N_CALLS, help="of each fault")
    parser.add_argument("--only", choices=sorted(SCENARIOS), help="one fault")
    parser.add_argument("--check", action="store_true", help="exit status 1 if a promise is broken")
    options = parser.parse_args()
    print(f"{'fault':<52}{'count':>8}{'failed':>8}{'allowed':>9}  verdict")
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as name:
        bundle = make_releases(Path(name) / "bundles")
        for fault, scenario in SCENARIOS.items():
            if options.only not in (None, fault):
                continue
            if scenario is fill_disk and os.geteuid() != 0:
                print(f"{'full disk':<52} left out: only root may mount a small disk")
                continue
            folder = Path(name) / fault
            folder.mkdir()
            for outcome in scenario(bundle, folder, options.calls):
                print_outcome(outcome)
                outcomes.append(outcome)
    return int(options.check and not all(outcome.is_kept for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
