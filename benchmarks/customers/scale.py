"""Rows on size: a table of 100,000 customers and 50 columns, from the file to the page."""

import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

from benchmarks.rows import Measured, Row
from marquee.data.table_config import TableConfig
from marquee.marketing.config import AudienceConfig, CustomersConfig
from marquee.marketing.running import Previous, run_customers
from marquee.reports.customers.page import customers_page
from marquee.reports.evidence.page import render_page

N, N_NUMBERS, N_CATEGORIES = 100_000, 30, 20
MAX_SECONDS, MAX_GIGABYTES = 120.0, 2.0


def rows(_: Path) -> Iterator[Row]:
    """Yields the row; it needs no file."""
    yield Row(
        "size, 100,000 customers, 50 columns",
        "none: no other command does this",
        "take under 2 minutes and 2 GB on 2 cores",
        measure,
    )


def measure() -> Measured:
    """Measures a process of its own: another row's memory must not count."""
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.customers.scale"], capture_output=True, text=True, check=True
    )
    seconds, gigabytes = (float(word) for word in ran.stdout.split()[-2:])
    text = f"{seconds:.0f} s, {gigabytes:.2f} GB"
    return Measured(text, seconds < MAX_SECONDS and gigabytes < MAX_GIGABYTES)


def write_table(path: Path) -> None:
    """Writes the table."""
    rng = np.random.default_rng(0)
    columns = {f"number_{place}": rng.gamma(2, 10, N).round(2) for place in range(N_NUMBERS)}
    names = {
        f"word_{place}": rng.choice([f"v{level}" for level in range(3 + place)], N)
        for place in range(N_CATEGORIES)
    }
    logit = -2 + 0.03 * columns["number_0"] - 0.02 * columns["number_1"] + 0.8 * (names["word_0"] == "v1")
    bought = np.where(rng.random(N) < 1 / (1 + np.exp(-logit)), "yes", "no")
    ids = {"user_id": [f"u{row}" for row in range(N)]}
    pl.DataFrame({**ids, **columns, **names, "bought": bought}).write_csv(path)


def main() -> None:
    """Runs once, and prints seconds and gigabytes."""
    with TemporaryDirectory() as folder:
        write_table(Path(folder) / "customers.csv")
        config = CustomersConfig(
            name="large",
            root=folder,
            users=TableConfig(path="customers.csv"),
            traits={"buys": {"type": "probability", "outcome": "bought = 'yes'"}},
            audiences={"first": AudienceConfig(order="buys", top=5000)},
        )
        started = time.perf_counter()
        render_page(customers_page("large", run_customers(config, Previous())))
        seconds = time.perf_counter() - started
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)


if __name__ == "__main__":
    main()
