"""The memory that a bundle costs a worker: its own and that which workers share, by item, by user, by event.

    python -m benchmarks.footprint            about a minute
    python -m benchmarks.footprint --check    exit status 1 outside the tolerances

Each bundle is loaded and asked in a fresh process. Memory of its own is what each worker adds; the bundle's
files are mapped, so that the workers of a machine hold them once, and only the pages that requests touch.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving_bundle import DIM, Users, make_bundle

MAX_OWN_BYTES = {"item": 600.0, "user": 250.0, "event of a stored history": 1.0}
"""Bytes of its own that one more of each may cost a worker."""

BASE, MORE_ITEMS, MORE_USERS, MORE_EVENTS = "base", "more items", "more users", "more events"
N_ITEMS, N_USERS, N_EVENTS = 10_000, 10_000, 10
FACTOR = 10


@dataclass(frozen=True)
class Footprint:
    """The cost of one bundle.

    Attributes:
        own: Bytes of private memory after loading and asking.
        files: Bytes of its files.
        load_s: Seconds to verify, load and answer.
    """

    own: int
    files: int
    load_s: float


def measure(folder: Path, n_items: int, users: Users) -> Footprint:
    """Returns the footprint of a bundle of that size, loaded by a fresh process."""
    made = make_bundle(folder, n_items, ef_search=64, users=users)
    command = [sys.executable, "-m", "benchmarks.footprint", "--load", str(made.folder)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    facts = json.loads(run.stdout)
    files = sum(file.stat().st_size for file in made.folder.iterdir())
    return Footprint(facts["own"], files, facts["load_s"])


def load(path: str) -> None:
    """Loads a bundle, asks it, and prints what that took."""
    from marquee.decision.recommender import Recommender
    from marquee.decision.requests import HistoryEvent, Request

    started = time.perf_counter()
    recommender = Recommender.load(path)
    history = tuple(HistoryEvent(f"item-{number}") for number in range(1, 51))
    asked = [Request(timestamp=0, user_id=f"user-{number}", history=history) for number in range(1, 33)]
    recommender.recommend(asked)
    facts = {"own": _own_bytes(), "load_s": time.perf_counter() - started}
    print(json.dumps(facts))


def _own_bytes() -> int:
    """Returns the bytes that belong to this process alone: written to, or not in a file."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="utf8").splitlines()[1:]
    sizes = {name: int(text.split()[0]) for name, text in (line.split(":") for line in lines)}
    return 1024 * (sizes["Anonymous"] + sizes.get("Swap", 0))


def report(found: Mapping[str, Footprint]) -> bool:
    """Prints what each thing costs, measured beside the most it may; returns whether all is within."""
    base = found[BASE]
    print(
        f"base: {N_ITEMS:,} items x {DIM}, {N_USERS:,} users x {DIM} with {N_EVENTS} events each: "
        f"{base.own / 1e6:.0f} MB of its own, "
        f"{base.files / 1e6:.0f} MB of files, loaded in {base.load_s:.1f} s"
    )
    more: Sequence[tuple[str, str, int]] = (
        ("item", MORE_ITEMS, N_ITEMS * (FACTOR - 1)),
        ("user", MORE_USERS, N_USERS * (FACTOR - 1)),
        ("event of a stored history", MORE_EVENTS, N_USERS * N_EVENTS * (FACTOR - 1)),
    )
    print(f"\n{'one more':<28}{'its own, bytes':>16}{'at most':>9}{'in files, bytes':>17}{'to load, us':>13}")
    results = []
    for what, name, n in more:
        own, files = (found[name].own - base.own) / n, (found[name].files - base.files) / n
        load_us = (found[name].load_s - base.load_s) / n * 1e6
        results.append(own <= MAX_OWN_BYTES[what])
        missed = "" if results[-1] else "  MISSED"
        print(f"{what:<28}{own:>16.1f}{MAX_OWN_BYTES[what]:>9g}{files:>17.1f}{load_us:>13.2f}{missed}")
    print(f"a user is one with {N_EVENTS} stored events")
    return all(results)


def main() -> int:
    """Prints measured beside reference; returns the exit status."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--check", action="store_true", help="exit status 1 outside the tolerances")
    parser.add_argument("--load", metavar="BUNDLE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        load(options.load)
        return 0
    sizes = {
        BASE: (N_ITEMS, Users(N_USERS, DIM, N_EVENTS)),
        MORE_ITEMS: (FACTOR * N_ITEMS, Users(N_USERS, DIM, N_EVENTS)),
        MORE_USERS: (N_ITEMS, Users(FACTOR * N_USERS, DIM, N_EVENTS)),
        MORE_EVENTS: (N_ITEMS, Users(N_USERS, DIM, FACTOR * N_EVENTS)),
    }
    with tempfile.TemporaryDirectory() as name:
        found = {
            what: measure(Path(name) / what.replace(" ", "-"), n_items, users)
            for what, (n_items, users) in sizes.items()
        }
    return int(not report(found) and options.check)


if __name__ == "__main__":
    sys.exit(main())
