"""Every method of evidence, from experiments to gaps, beside a published or known number.

    python -m benchmarks.evidence                  every row, measured beside reference
    python -m benchmarks.evidence --check          exit status 1 outside the tolerances
    python -m benchmarks.evidence --only drift     rows whose name holds the word

Data sets are looked for in $MARQUEE_DATA; a row whose file is not there says so, and fails under --check.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.evidence_rows import experiments, logs, watching
from benchmarks.evidence_rows.row import Row

GROUPS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "experiments": experiments.rows,
    "logs": logs.rows,
    "watching": watching.rows,
}


@dataclass(frozen=True)
class Options:
    """The options of the command line."""

    check: bool
    only: str
    root: Path


def read_options() -> Options:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="exit status 1 outside the tolerances")
    parser.add_argument("--only", default="", help="rows whose name holds this word")
    parsed = parser.parse_args()
    return Options(parsed.check, parsed.only, Path(os.environ.get("MARQUEE_DATA", "data")))


def main() -> int:
    """Prints the table; returns 1 under --check if a row is outside its tolerance."""
    options = read_options()
    failed = []
    for name, rows in GROUPS.items():
        for row in rows(options.root):
            if options.only not in f"{name} {row.name}":
                continue
            measured = row.measure()
            print(f"{'ok ' if measured.is_within else 'OUT'} {row.name:<44} {measured.text}", flush=True)
            print(f"{'':48} reference {row.reference}; must {row.must}", flush=True)
            failed += [] if measured.is_within else [row.name]
    print("passed" if not failed else f"outside the tolerances: {', '.join(failed)}")
    return int(options.check and bool(failed))


if __name__ == "__main__":
    sys.exit(main())
