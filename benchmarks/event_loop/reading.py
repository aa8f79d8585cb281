"""The memory in which training reads the table of the event loop.

`python -m benchmarks.event_loop.reading FOLDER`, in a process of its own: the highest resident memory while
the table is read, above that before, in bytes per event.
"""

import subprocess
import sys
from pathlib import Path

import polars as pl

from marquee.data.config import DataConfig
from marquee.data.reading.tables import read_tables
from marquee.data.table_config import TableConfig


def measure_reading(table: Path) -> float:
    """Reads a training table in a process of its own; returns bytes per event at the peak."""
    command = [sys.executable, "-m", "benchmarks.event_loop.reading", str(table)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _resident(name: str) -> int:
    """Returns a number of this process's memory, bytes."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(name)) * 1024


def main() -> None:
    """Reads the table and prints the bytes per event."""
    # The threads of Polars and what they hold are there before.
    pl.DataFrame({"a": [2, 1]}).lazy().sort("a").collect(engine="streaming")
    before = _resident("VmRSS")
    config = DataConfig(name="loop", root=sys.argv[1], events=TableConfig(path="events/*.parquet"))
    n_events = len(read_tables(config).events)
    print((_resident("VmHWM") - before) / n_events)


if __name__ == "__main__":
    main()
