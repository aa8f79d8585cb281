"""One row of a benchmark, a measure beside its reference, and the command line over many."""

import argparse
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Measured:
    """The measured side of a row.

    Attributes:
        text: For people.
        is_within: Whether it is what it must be.
    """

    text: str
    is_within: bool


@dataclass(frozen=True)
class Row:
    """One claim.

    Attributes:
        name: What it is about.
        reference: What others, or earlier runs, found.
        must: What it must be.
        measure: Measures it now.
    """

    name: str
    reference: str
    must: str
    measure: Callable[[], Measured]


def run_rows(
    description: str,
    groups: Mapping[str, Callable[[Path], Iterator[Row]]],
    enlarge: Callable[[], None] | None = None,
) -> int:
    """Prints the rows that the command line asks for; returns 1 under --check if one is outside.

    Args:
        description: What the benchmark is about, for --help.
        groups: Name → makes the rows of a group out of the folder of data sets.
        enlarge: Sets the larger sizes that `--large` asks for; None for a benchmark of one size.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--check", action="store_true", help="exit status 1 outside the tolerances")
    parser.add_argument("--only", default="", help="rows whose name holds this word")
    if enlarge is not None:
        parser.add_argument("--large", action="store_true", help="the larger sizes, which take hours")
    options = parser.parse_args()
    if enlarge is not None and options.large:
        enlarge()
    root = Path(os.environ.get("MARQUEE_DATA", "data"))
    failed = []
    for name, rows in groups.items():
        for row in rows(root):
            if options.only not in f"{name} {row.name}":
                continue
            measured = row.measure()
            print(f"{'ok ' if measured.is_within else 'OUT'} {row.name:<44} {measured.text}", flush=True)
            print(f"{'':48} reference {row.reference}; must {row.must}", flush=True)
            failed += [] if measured.is_within else [row.name]
    print("passed" if not failed else f"outside the tolerances: {', '.join(failed)}")
    return int(options.check and bool(failed))
