"""The protocol of all contestants: where data lie, how each hands over its vectors, and when its clock runs.

    PYTHON -m benchmarks.peers.NAME FOLDER '{"settings": …, "every": 1, "threads": 2}'

A contestant reads `train.npz` in FOLDER (or, ours, the files that it comes from), fits, and after some of its
epochs writes its vectors beside it, prints one line of JSON and waits for a word on its standard input: `go`
on, or anything else to end. Whoever listens judges meanwhile; the clock stands still.

Needs nothing but NumPy, and works with its old versions as well: peers choose their own.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IndexArray = npt.NDArray[np.int64]
Vectors = tuple[FloatArray, FloatArray]
"""Of queries, (n_users, dim), and of items, (n_items, dim): a score is an inner product."""

TRAIN_FILE, QUERIES_FILE, ITEMS_FILE = "train.npz", "queries.npy", "items.npy"
GO = "go"
KIB_PER_MIB = 1024


class RaceIsOverError(Exception):
    """Raised inside a contestant's fit when it is told to stop."""


@dataclass(frozen=True)
class Pairs:
    """Who has what in training: items of user u are `items[offsets[u]:offsets[u + 1]]`, counted from 0."""

    offsets: IndexArray
    items: IndexArray
    n_items: int

    @property
    def n_users(self) -> int:
        """Users, all of them with items."""
        return len(self.offsets) - 1

    @property
    def users(self) -> IndexArray:
        """The user of each item, (n_pairs,) int64."""
        return np.repeat(np.arange(self.n_users), np.diff(self.offsets))

    def write(self, folder: Path) -> None:
        """Writes the pairs to where contestants look for them."""
        np.savez(folder / TRAIN_FILE, offsets=self.offsets, items=self.items, n_items=self.n_items)

    @classmethod
    def read(cls, folder: Path) -> "Pairs":
        """Returns the pairs that `write` wrote."""
        with np.load(folder / TRAIN_FILE) as arrays:
            return cls(arrays["offsets"], arrays["items"], int(arrays["n_items"]))


class Contestant:
    """One run of one contestant, as its process sees it."""

    def __init__(self) -> None:
        self.folder = Path(sys.argv[1])
        asked: dict[str, Any] = json.loads(sys.argv[2])  # Any: settings are the contestant's own
        self.settings: dict[str, Any] = asked["settings"]
        self.every: int = asked["every"]
        self.threads: int = asked["threads"]
        self.epoch = 0
        self.seconds = np.zeros(2)
        self.started = np.zeros(2)

    def start(self) -> None:
        """Starts the clock: the data are in memory, nothing is fitted."""
        self.started = _now()

    def lap(self, vectors: Callable[[], Vectors]) -> None:
        """Counts an epoch, and hands over the vectors after every so many.

        Raises:
            RaceIsOverError: If told to stop.
        """
        self.epoch += 1
        if self.epoch % self.every == 0:
            self.hand_over(vectors)

    def hand_over(self, vectors: Callable[[], Vectors]) -> None:
        """Hands over the vectors and waits, off the clock.

        Raises:
            RaceIsOverError: If told to stop.
        """
        self.seconds += _now() - self.started
        queries, items = vectors()
        np.save(self.folder / QUERIES_FILE, queries)
        np.save(self.folder / ITEMS_FILE, items)
        seconds, processor_seconds = self.seconds.tolist()
        say({"epoch": self.epoch, "seconds": seconds, "processor_seconds": processor_seconds})
        if sys.stdin.readline().strip() != GO:
            raise RaceIsOverError
        self.started = _now()

    def finish(self, *packages: str) -> NoReturn:
        """Says what memory the process needed at most, and with which versions; ends it."""
        versions = {name: version(name) for name in packages}
        say({"peak_mib": peak_mib(), "versions": versions})
        sys.exit(0)


def _now() -> npt.NDArray[np.float64]:
    """Returns seconds on the wall, and of all processors for this process."""
    return np.array([time.perf_counter(), time.process_time()])


def say(line: dict[str, Any]) -> None:  # Any: whatever JSON can hold
    """Prints one line of JSON at once."""
    print(json.dumps(line), flush=True)


def peak_mib() -> float:
    """Returns the most memory that this process has held at once, MiB.

    Trap: `ru_maxrss` of a process begins at what the one that started it held; this is its own.
    """
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / KIB_PER_MIB
    raise OSError("/proc/self/status has no line VmHWM, expected on Linux; measure memory there")
