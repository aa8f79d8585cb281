"""The cost of a request as the catalog grows, with the exponent of the growth.

    python -m benchmarks.serving_growth --sizes 10000 100000    about two minutes
    python -m benchmarks.serving_growth --check                 up to 1,000,000 items: half an hour, most
                                                                of it to build the largest graph

One worker of the real service under 16 connections, histories of 50 items, k = 10; for each size the least
effort of the graph that finds 98 % of the exact top 10. A cost that grew with the catalog would have the
exponent 1, one that did not grow at all 0.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.serving import running, write_histories
from benchmarks.serving_bundle import make_bundle

SIZES = (10_000, 100_000, 1_000_000)
MAX_EXPONENT = 0.35


def main() -> int:
    """Prints cost by size and the exponent; returns the exit status."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--seconds", type=int, default=8, help="of each measurement")
    parser.add_argument("--check", action="store_true", help="exit status 1 outside the tolerances")
    options = parser.parse_args()
    costs = []
    print(f"{'items':>10}{'ef':>6}{'recall':>8}{'req/s':>8}{'p50 ms':>8}{'CPU us':>8}{'memory MB':>11}")
    for n_items in options.sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            made = make_bundle(folder / "bundles", n_items, None)
            script = write_histories(folder / "requests.lua", made)
            with running("this service", made.folder, folder, MARQUEE_WORKERS="1") as server:
                server.measure(script, 16, 3)
                load = server.measure(script, 16, options.seconds)
        costs.append(load.cpu_us)
        print(
            f"{n_items:>10,}{made.ef_search:>6}{made.recall:>8.3f}{load.per_second:>8.0f}{load.p50_ms:>8.2f}"
            f"{load.cpu_us:>8.0f}{load.memory_mb:>11.0f}",
            flush=True,
        )
    exponent = float(np.polyfit(np.log(options.sizes), np.log(costs), 1)[0]) if len(costs) > 1 else 0.0
    is_within = exponent <= MAX_EXPONENT
    print(
        f"processor time of a request grows with the power {exponent:.2f} of the catalog, required "
        f"<= {MAX_EXPONENT}"
    )
    return int(options.check and not is_within)


if __name__ == "__main__":
    sys.exit(main())
