"""The memory of a training process, beside that of implicit, and of the names of users in a worker.

    python -m benchmarks.memory --check          some ten minutes on two idle cores
    python -m benchmarks.memory --only names     the names of ten million users, a minute

A Parquet of synthetic clicks, 50 of each user, is trained on by `python -m training.train` as a person would
type it, from reading to the report; `trainer.overfit_batches` spares the steps, which hold no more the longer
they go on, and the second of two epochs stands beside the first. The other process reads the same file into
one matrix and fits one pass of ALS. What torch and Lightning take before they have seen an event, half a
gigabyte, is allowed beside.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from benchmarks.peers.protocol import peak_mib
from benchmarks.rows import Measured, Row, run_rows
from marquee.bundle.user_ids import MappedIds, user_id_arrays

TORCH_MIB = 512
MAX_TIMES = 3
MAX_BYTES_PER_EVENT = 200
BYTES_PER_MIB = 2**20
N_NAMES, N_LOOKUPS, MAX_OWN_MIB = 10**7, 20_000, 50
EVENTS_PER_USER = 50
N_DAYS, SECONDS_PER_DAY = 90, 86_400
START = 1_700_000_000

DATA = """\
name: big
root: .
events: {path: events.parquet}
kinds: {click: {}}
split: {method: time, validation_fraction: 0.005, test_fraction: 0.005}
"""
OVERRIDES = (
    "trainer.overfit_batches=20",
    "trainer.epochs=2",
    "trainer.validation_users=2000",
    "evaluation.baselines.als=false",
)


def write_events(path: Path, n_events: int) -> None:
    """Writes events whose users and items are texts, as logs have them."""
    rng = np.random.default_rng(0)
    n_items = max(2000, n_events // 200)
    user = rng.integers(0, n_events // EVENTS_PER_USER, n_events)
    # A few items are in most events.
    item = np.minimum((n_items * rng.random(n_events) ** 2.5).astype(np.int64), n_items - 1)
    seconds = START + rng.integers(0, N_DAYS * SECONDS_PER_DAY, n_events)
    pl.DataFrame({"user_id": user, "item_id": item, "timestamp": seconds}).select(
        user_id=pl.format("user-{}", "user_id"),
        item_id=pl.format("item-{}", "item_id"),
        timestamp="timestamp",
        kind=pl.lit("click"),
    ).write_parquet(path)


@cache
def peaks(n_events: int) -> tuple[float, float]:
    """Returns the most memory that our training and implicit's held on some events, MiB each."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_events(root / "events.parquet", n_events)
        (root / "data").mkdir()
        (root / "data" / "big.yaml").write_text(DATA, encoding="utf-8")
        command = ["training.train", "--config-dir", folder, "data=big", f"data.root={folder}"]
        told = _run([*command, f"runs={folder}/runs", *OVERRIDES])
        found = re.search(r"peak memory ([\d,]+) MiB", told)
        assert found is not None, f"a training says its peak memory, got {told[-500:]!r}"
        theirs = float(_run(["benchmarks.memory", "--implicit", str(root / "events.parquet")]))
    return float(found[1].replace(",", "")), theirs


def _run(module: list[str]) -> str:
    """Returns the output of a module in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", *module]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout


def fit_implicit(path: str) -> None:
    """Prints the most memory that reading events and a pass of implicit's ALS hold, MiB."""
    from implicit.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix

    events = pl.read_parquet(path, columns=["user_id", "item_id"])
    user, item = (
        np.unique(events[name].cast(pl.Categorical).to_physical().to_numpy(), return_inverse=True)[1]
        for name in ("user_id", "item_id")
    )
    ones = np.ones(len(user), dtype=np.float32)
    matrix: csr_matrix[np.float32] = csr_matrix((ones, (user.astype(np.int32), item.astype(np.int32))))
    del events, user, item, ones
    model = AlternatingLeastSquares(factors=64, iterations=1, num_threads=1)
    model.fit(matrix, show_progress=False)
    print(peak_mib())


def name_users(folder: str) -> None:
    """Writes the names of many users as a bundle holds them."""
    for name, array in user_id_arrays([f"user-{number}" for number in range(N_NAMES)]).items():
        np.save(Path(folder) / name, array)


def look_up(folder: str) -> None:
    """Prints the memory of its own, MiB, that a process takes to know them, and microseconds per lookup."""

    def array(name: str, _dtype: type, _shape: tuple[int | None, ...]) -> npt.NDArray[Any]:
        mapped: npt.NDArray[Any] = np.load(Path(folder) / name, mmap_mode="r")
        return mapped.view(np.ndarray)

    before = _own_mib()
    ids = MappedIds.read(array, N_NAMES)
    asked = [f"user-{number}" for number in np.random.default_rng(0).integers(0, 2 * N_NAMES, N_LOOKUPS)]
    started = time.process_time()
    found = ids.encode(asked)
    seconds = time.process_time() - started
    assert found.tolist() == [n + 1 if (n := int(one[5:])) < N_NAMES else 0 for one in asked]
    print(_own_mib() - before, seconds * 1e6 / N_LOOKUPS)


def _own_mib() -> float:
    """Returns the memory of this process that no file is behind, MiB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status has no line RssAnon, expected on Linux; measure memory there")


def rows(_root: Path) -> Iterator[Row]:
    """Yields the peak of each size."""

    def times(n_events: int) -> Measured:
        ours, theirs = peaks(n_events)
        beyond = ours - TORCH_MIB
        text = f"{ours:,.0f} MiB, {beyond / theirs:.2f} x implicit beyond torch (implicit {theirs:,.0f} MiB)"
        return Measured(text, beyond <= MAX_TIMES * theirs)

    def per_event(n_events: int) -> Measured:
        ours, _ = peaks(n_events)
        found = (ours - TORCH_MIB) * BYTES_PER_MIB / n_events
        return Measured(f"{found:.0f} B per event beyond torch", found <= MAX_BYTES_PER_EVENT)

    for n_events in (10**6, 10**7):
        must = f"≤ {MAX_TIMES} x implicit beyond {TORCH_MIB} MiB"
        yield Row(f"{n_events:,} events, a whole run", "implicit 0.7", must, lambda n=n_events: times(n))  # type: ignore[misc]  # bound now
    yield Row(
        f"{10**7:,} events, bytes of each",
        "events as read 178 to 193 B",
        f"≤ {MAX_BYTES_PER_EVENT} B",
        lambda: per_event(10**7),
    )


def name_rows(_root: Path) -> Iterator[Row]:
    """Yields what the names of many users take."""

    def measure() -> Measured:
        with tempfile.TemporaryDirectory() as folder:
            _run(["benchmarks.memory", "--name", folder])
            own, lookup_us = map(float, _run(["benchmarks.memory", "--look-up", folder]).split())
        return Measured(f"{own:.1f} MiB of its own, {lookup_us:.1f} us a lookup", own <= MAX_OWN_MIB)

    yield Row(
        f"names of {N_NAMES:,} users in a worker",
        "a dictionary 1,255 MB",
        f"≤ {MAX_OWN_MIB} MiB of its own",
        measure,
    )


COMMANDS = {"--implicit": fit_implicit, "--name": name_users, "--look-up": look_up}

if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] in COMMANDS:
        COMMANDS[sys.argv[1]](sys.argv[2])
    else:
        sys.exit(run_rows(__doc__ or "", {"memory": rows, "names": name_rows}))
