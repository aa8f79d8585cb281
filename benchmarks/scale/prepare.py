"""Preparation in parts: how long, in how much memory, and what a lost result costs.

Events come from a generator with a seed, as Parquet of a day each. Each preparation is a process of its own,
so that the largest of its workers can be told.
"""

import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.rows import Measured, Row
from benchmarks.scale.sizes import SIZES
from marquee.data.config import DataConfig
from marquee.data.prepared.layout import BUCKETS, INDICES, SPLITS, numbered
from marquee.data.prepared.manifest import MANIFEST, Manifest
from marquee.data.table_config import TableConfig
from training.distributed.cluster import open_cluster
from training.distributed.config import LocalClusterConfig
from training.distributed.preparing import Sizes, prepare_in_parts

EVENTS_PER_RESULT = 781_250
EVENTS_PER_USER = 10
EVENTS_PER_ITEM = 100
N_LOST = 10
MAX_SECONDS_PER_EVENT = 240 / 100_000_000
MAX_MIB = 1024
# Of memory, where events, users and items are ten times as many: as many events of a larger catalog name more
# distinct items in a bucket, though never more than the bucket has events.
MAX_GROWTH = 1.5
MAX_SHARE = 0.1


def rows(_root: Path) -> Iterator[Row]:
    """Yields the rows."""
    n = SIZES.prepared_events
    yield Row(
        f"prepare {n:,} events",
        "DuckDB 216 s, 3.0 GiB; Polars 251 s, 3.0 GiB, of 100,000,000, one table in one process",
        f"{MAX_SECONDS_PER_EVENT * n:.0f} s, {MAX_MIB} MiB a worker, up to {MAX_GROWTH} times a tenth's",
        measure_whole,
    )
    yield Row(
        f"prepare {n:,} events: {N_LOST} of {n_results(n)} buckets lost",
        "a trial of tasks on Ray 21 s of 394 s",
        f"{MAX_SHARE:.0%} of the whole, the same bytes",
        measure_lost,
    )


def n_results(n_events: int) -> int:
    """Returns in how many files and buckets so many events lie."""
    return max(n_events // EVENTS_PER_RESULT, 2)


@cache
def folder() -> tempfile.TemporaryDirectory[str]:
    """Returns the folder of all that is made here; it goes with the process."""
    return tempfile.TemporaryDirectory(prefix="marquee-prepare-")


@cache
def prepared(n_events: int) -> dict[str, float]:
    """Returns seconds and MiB of a preparation of so many events, which is kept for later rows."""
    root = Path(folder().name) / str(n_events)
    write_days(root / "events", n_events)
    return run(root)


def run(root: Path) -> dict[str, float]:
    """Returns seconds and MiB of one preparation in a process of its own."""
    told = subprocess.run(
        [sys.executable, "-m", "benchmarks.scale.prepare", str(root)],
        check=True,
        capture_output=True,
        text=True,
    )
    measured: dict[str, float] = json.loads(told.stdout.splitlines()[-1])
    return measured


def measure_whole() -> Measured:
    """Measures a whole preparation, beside one of a tenth of the events."""
    n = SIZES.prepared_events
    tenth, whole = prepared(n // 10), prepared(n)
    is_within = (
        whole["seconds"] <= MAX_SECONDS_PER_EVENT * n
        and whole["mib"] <= MAX_MIB
        and whole["mib"] <= MAX_GROWTH * tenth["mib"]
    )
    return Measured(
        f"{whole['seconds']:.0f} s, {whole['mib']:.0f} MiB a worker; {n // 10:,} in "
        f"{tenth['seconds']:.0f} s, {tenth['mib']:.0f} MiB",
        is_within,
    )


def measure_lost() -> Measured:
    """Measures a preparation that finds all but a few buckets done."""
    n = SIZES.prepared_events
    whole, root = prepared(n), Path(folder().name) / str(n)
    to = root / "prepared"
    before = (to / MANIFEST).read_bytes()
    for bucket in random.Random(3).sample(range(n_results(n)), min(N_LOST, n_results(n))):
        for stage in (BUCKETS, SPLITS, INDICES):
            shutil.rmtree(to / numbered(stage, bucket))
    again = run(root)
    is_same = (to / MANIFEST).read_bytes() == before
    # The manifest has the checksums as they were made: the bytes themselves are read once more.
    Manifest.read(to).require_whole(to, is_read=True)
    share = again["seconds"] / whole["seconds"]
    return Measured(
        f"{again['seconds']:.1f} s, {share:.1%} of {whole['seconds']:.0f} s, "
        f"{'the same bytes' if is_same else 'OTHER BYTES'}",
        is_same and share <= MAX_SHARE,
    )


def write_days(to: Path, n_events: int) -> None:
    """Writes so many events as files of a day each."""
    to.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(partial(write_day, to, n_events), range(n_results(n_events))))


def write_day(to: Path, n_events: int, day: int) -> None:
    """Writes the events of a day: few users and items have many of them, in the order of time."""
    draw = np.random.default_rng([20, day])
    n = n_events // n_results(n_events)
    user = (n_events // EVENTS_PER_USER * draw.random(n) ** 1.2).astype(np.int64)
    item = (n_events // EVENTS_PER_ITEM * draw.random(n) ** 2).astype(np.int64)
    pl.DataFrame(
        {
            "user_id": pl.Series(user * 7_919 % (n_events // EVENTS_PER_USER)).cast(pl.String),
            "item_id": pl.Series(item).cast(pl.String),
            "timestamp": 1_700_000_000 + day * 86_400 + np.sort(draw.integers(0, 86_400, n)),
            "kind": pl.Series(["view", "click"]).gather(draw.integers(0, 2, n)),
        }
    ).with_columns(
        pl.format("u{}", "user_id").alias("user_id"), pl.format("i{}", "item_id").alias("item_id")
    ).write_parquet(to / f"day-{day:05d}.parquet")


def main(root: Path) -> None:
    """Prepares what lies in a folder, and prints what it took."""
    n_files = len(list((root / "events").iterdir()))
    config = DataConfig(name="scale", root=str(root), events=TableConfig(path="events"))
    started = time.perf_counter()
    with open_cluster(LocalClusterConfig()) as cluster:
        sizes = Sizes(n_buckets=n_files, rows_per_part=1_000_000)
        prepare_in_parts(config, root / "prepared", sizes, cluster)
    seconds = time.perf_counter() - started
    # Of the largest process that has ended: all workers have by now.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(json.dumps({"seconds": seconds, "mib": peak / 1024}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
