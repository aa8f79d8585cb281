"""A bundle of many users and items: how long a worker takes to load it, verified, and what it holds itself.

    python -m benchmarks.scale.loading FOLDER   loads one bundle and prints what that took, as JSON

Memory of its own is what a process has written (private and dirty): pages of mapped files are shared by all
workers and may be dropped. The cost of users is the difference to the same bundle with a thousand of them.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.rows import Measured, Row
from benchmarks.scale.sizes import SIZES
from benchmarks.serving_bundle import (
    DIM,
    FEW_USERS,
    Users,
    clustered_vectors,
    make_contents,
    make_query_tower,
)
from marquee.bundle.publishing import publish
from marquee.core.histories import Interactions
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Request
from marquee.index.building import build_index
from marquee.index.faiss_index import IndexConfig, IndexKind

N_EVENTS = 3
USER_DIM = 32
MOST_SECONDS, MOST_MB = 30.0, 50.0
_ASKED = 2_000


def rows(_root: Path) -> Iterator[Row]:
    """Yields the rows."""
    size = f"{SIZES.bundle_users:,} users"
    yield Row(f"{size} in a worker", "1,255 MB of id map", f"<= {MOST_MB:.0f} MB of its own", _memory)
    yield Row(
        f"load a bundle of {size}, {SIZES.bundle_items:,} items",
        "none",
        f"<= {MOST_SECONDS:.0f} s, verified",
        _seconds,
    )


def _memory() -> Measured:
    """Measures the memory that a worker has of its own because of the users."""
    few, many, _ = _loaded()
    more = many["own_mb"] - few["own_mb"]
    text = f"{max(more, 0.0):,.0f} MB of its own, {many['own_mb']:,.0f} MB with items, program and answers"
    return Measured(text, more <= MOST_MB)


def _seconds() -> Measured:
    """Returns how long a worker takes from nothing to the first answer."""
    _, many, again = _loaded()
    text = (
        f"{many['seconds']:.1f} s with {many['bundle_gb']:.1f} GB verified, {many['busy']:.1f} of them busy; "
        f"{again['seconds']:.1f} and {again['busy']:.1f} s where another worker here had verified it"
    )
    return Measured(text, many["seconds"] <= MOST_SECONDS)


@cache
def _loaded() -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Returns the loads of a bundle of few users, and of one of many, before and after it was verified."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        few, many = _publish(folder)
        notes = folder / "notes"
        notes.mkdir(mode=0o700)
        time.sleep(2.0)  # what is younger is not noted (see `marquee.bundle.verifying`)
        return _load(few, None), _load(many, notes), _load(many, notes)


def _publish(folder: Path) -> tuple[Path, Path]:
    """Returns two bundles of the same items: of few users, and of many."""
    rng = np.random.default_rng(0)
    vectors, _ = clustered_vectors(rng, SIZES.bundle_items)
    hidden = 0.1 * rng.standard_normal((DIM, DIM), dtype=np.float32)
    tower = make_query_tower(hidden, hidden)
    # A graph of a million items takes half an hour to build, and its size says nothing of users.
    index = build_index(vectors, IndexConfig(kind=IndexKind.sq8))
    made = []
    for users in (FEW_USERS, Users(n=SIZES.bundle_users, dim=USER_DIM)):
        contents = make_contents(rng, tower, vectors, index, 1.0, replace(users, n_events=0))
        contents = replace(contents, interactions=_histories(rng, users.n, SIZES.bundle_items))
        made.append(publish(contents, folder, f"users-{users.n}", created=int(time.time())))
        del contents
    few, many = made
    return few, many


def _histories(rng: np.random.Generator, n_users: int, n_items: int) -> Interactions:
    """Returns some events of each user, in the order that grouping would give."""
    n_events = n_users * N_EVENTS
    offsets = np.concatenate(([0], np.arange(n_users + 1) * N_EVENTS))
    return Interactions(
        offsets=offsets.astype(np.int64),
        item_index=rng.integers(1, n_items + 1, n_events, dtype=np.int32),
        kind_index=np.ones(n_events, dtype=np.int32),
        timestamp=np.arange(n_events),
        weight=np.ones(n_events, dtype=np.float32),
    )


def _load(bundle: Path, notes: Path | None) -> dict[str, float]:
    """Measures a fresh process that loads a bundle and answers some of its users."""
    command = [sys.executable, "-m", __name__, str(bundle), *([str(notes)] if notes else [])]
    told = subprocess.run(command, check=True, capture_output=True, timeout=600).stdout
    n_bytes = sum(path.stat().st_size for path in bundle.iterdir())
    return {**json.loads(told), "bundle_gb": n_bytes / 1e9}


def main() -> None:
    """Loads the bundle that the command line names, and prints what that took."""
    from marquee.bundle.verifying import VerifiedFiles

    notes = VerifiedFiles(Path(sys.argv[2]), time.time_ns) if len(sys.argv) > 2 else None
    began, busy_before = time.perf_counter(), time.process_time()
    recommender = Recommender.load(sys.argv[1], verified=notes)
    (answer,) = recommender.recommend([Request(timestamp=0, user_id="user-1")])
    seconds, busy = time.perf_counter() - began, time.process_time() - busy_before
    assert answer.items, "a known user has items"
    step = max(len(recommender.bundle.user_ids) // _ASKED, 1)
    for first in range(0, _ASKED, 100):
        asked = [Request(timestamp=0, user_id=f"user-{1 + step * n}") for n in range(first, first + 100)]
        recommender.recommend(asked)
    print(json.dumps({"seconds": seconds, "busy": busy, "own_mb": own_mb()}))


def own_mb() -> float:
    """Returns the memory that this process alone has written, MB of 10^6 bytes."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8").splitlines()
    found = {line.split()[0]: int(line.split()[1]) for line in lines[1:]}
    return (found["Private_Dirty:"] + found.get("Swap:", 0)) * 1024 / 1e6


if __name__ == "__main__":
    main()
