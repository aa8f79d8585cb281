"""A log of closed days for the benchmark of the training table, and what making the table takes."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from marquee.core.event_kinds import EventKind
from marquee.data.loop.attribution import SECONDS_PER_DAY, AttributionConfig
from marquee.data.loop.loop_table import write_loop_table
from marquee.store.log.closed_days import DECISION_SCHEMA, EVENT_SCHEMA
from marquee.store.log.log_rows import DECISION

EXPOSURES_PER_DAY = 333_000
N_PLACES = 10
CLICK_FRACTION = 0.05
FIRST_DAY = 19_700


@dataclass(frozen=True)
class Cost:
    """The cost of making a table: the highest resident memory of its process, and its wall-clock time."""

    peak_mib: float
    seconds: float


@dataclass(frozen=True)
class FileSource:
    """Days that are files alone; see `DaySource`.

    Attributes:
        folder: Of the files.
    """

    folder: Path

    def days(self) -> Sequence[int]:
        """Returns the days."""
        return sorted(int(path.stem.partition("-")[2]) for path in self.folder.glob("events-*.parquet"))

    def decisions(self, day: int) -> Iterator[pl.DataFrame]:
        """Yields the decisions of a day."""
        yield pl.read_parquet(self.folder / f"{DECISION}-{day}.parquet")

    def events(self, day: int) -> Iterator[pl.DataFrame]:
        """Yields the events of a day."""
        yield pl.read_parquet(self.folder / f"events-{day}.parquet")


def write_days(folder: Path, n_exposures: int) -> None:
    """Writes the files of a log: decisions of ten places, and clicks on one exposure in twenty."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    n = EXPOSURES_PER_DAY // N_PLACES
    for day in range(FIRST_DAY, FIRST_DAY + round(n_exposures / EXPOSURES_PER_DAY)):
        start_ms = day * SECONDS_PER_DAY * 1000
        times = np.sort(rng.integers(start_ms, start_ms + SECONDS_PER_DAY * 1000, n))
        ids = pl.Series([f"{time_ms:012x}-7000-8000-{number:012x}" for number, time_ms in enumerate(times)])
        items = rng.integers(0, 100_000, (n, N_PLACES))
        texts = pl.Series(items.ravel()).cast(pl.String).to_numpy().reshape(n, N_PLACES).tolist()
        plain = {"request_id": [""] * n, "parameters": ["{}"] * n, "more": ["{}"] * n}
        decisions = pl.DataFrame(
            {
                "sequence": np.arange(n),
                "decision_id": ids,
                "time_ms": times,
                "user_id": pl.Series(rng.integers(0, 500_000, n)).cast(pl.String),
                **plain,
                "surface": ["home"] * n,
                "release": ["v1"] * n,
                "source": ["history"] * n,
                "policy": ["softmax"] * n,
                "items": texts,
                "scores": np.ones((n, N_PLACES)).tolist(),
                "propensities": np.full((n, N_PLACES), 0.1).tolist(),
                "history": [[]] * n,
            },
            schema=DECISION_SCHEMA,
        )
        decisions.write_parquet(folder / f"{DECISION}-{day}.parquet", compression="zstd")
        _clicks(rng, ids, times, texts).write_parquet(folder / f"events-{day}.parquet", compression="zstd")


def _clicks(
    rng: np.random.Generator, ids: pl.Series, times: np.ndarray, texts: list[list[str]]
) -> pl.DataFrame:
    """Returns clicks on some of a day's exposures, within the day."""
    n_clicks = int(len(ids) * N_PLACES * CLICK_FRACTION)
    rows = rng.integers(0, len(ids), n_clicks)
    end = times[-1] // 1000
    timestamps = np.minimum(times[rows] // 1000 + rng.integers(0, 5000, n_clicks), end)
    order = np.argsort(timestamps, kind="stable")
    rows, timestamps = rows[order], timestamps[order]
    places = rng.integers(0, N_PLACES, n_clicks)
    first = int(times[0])
    return pl.DataFrame(
        {
            "sequence": np.arange(n_clicks) + first,
            "event_id": [f"{first}-{number}" for number in range(n_clicks)],
            "kind": [EventKind.click.value] * n_clicks,
            "item_id": [texts[row][place] for row, place in zip(rows, places, strict=True)],
            "timestamp": timestamps,
            "received": timestamps,
            "user_id": pl.Series([None] * n_clicks, dtype=pl.String),
            "decision_id": ids.gather(rows),
            "value": pl.Series([None] * n_clicks, dtype=pl.Float64),
            "text": pl.Series([None] * n_clicks, dtype=pl.String),
        },
        schema=EVENT_SCHEMA,
    )


def measure_table(folder: Path, n_exposures: int) -> Cost:
    """Makes the table of a log of so many exposures in a process of its own; returns its memory and time."""
    write_days(folder / "log", n_exposures)
    command = [
        sys.executable,
        "-m",
        "benchmarks.event_loop.table",
        str(folder / "log"),
        str(folder / "table"),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    peak_mib, seconds = map(float, ran.stdout.split())
    return Cost(peak_mib, seconds)


def main() -> None:
    """Makes the table and prints the peak of memory in MiB and the seconds."""
    started = time.perf_counter()
    source = FileSource(Path(sys.argv[1]))
    cutoff = (source.days()[-1] + 1) * SECONDS_PER_DAY
    write_loop_table(source, cutoff, Path(sys.argv[2]), AttributionConfig())
    seconds = time.perf_counter() - started
    # VmHWM is of this program alone; getrusage inherits the peak of whoever started it.
    status = Path("/proc/self/status").read_text()
    peak_kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    print(peak_kib / 1024, seconds)


if __name__ == "__main__":
    main()
