"""The state that workers share with each other and with the process that watches them: one small shared file.

Each worker has a place in it: its process, how many connections it holds, whether it can answer, and when its
event loop last ran.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from serving.workers.shared_memory import is_alive, shared_numbers

WORKERS_FILE = "marquee-workers.bin"

# One connection more is no imbalance among few, and an eighth is none among many.
_SLACK = 1
_RELATIVE_SLACK = 1 / 8
_SLOTS_PER_WORKER = 2  # BentoML numbers its workers up to so many times theirs while it replaces some
_COLUMNS = 4


class WorkerTable:
    """The table as one worker sees it, and its own place in it.

    Args:
        n_workers: How many listen together.
        number: Which of them this one is.
        folder: Where they tell each other; None if this one is alone.
        clock: Returns seconds that every process of the machine counts alike.
    """

    def __init__(
        self,
        n_workers: int = 1,
        number: int = 0,
        folder: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._n_slots = n_workers * _SLOTS_PER_WORKER
        self._own = number % self._n_slots
        self._pids, self._held, self._ready, self._beats = _columns(n_workers, folder)
        # The place may be that of a worker that has died.
        self._held[self._own] = self._ready[self._own] = 0
        self.beat()
        # Last: whoever sees this process must not read what a dead one left in its place.
        self._pids[self._own] = os.getpid()

    @property
    def n_held(self) -> int:
        """Connections that this worker holds."""
        return int(self._held[self._own])

    def add(self, n: int) -> None:
        """Counts n more connections, or fewer if n is negative."""
        self._held[self._own] += n

    @property
    def is_ready(self) -> bool:
        """Whether this worker can answer."""
        return bool(self._ready[self._own])

    def tell_ready(self) -> None:
        """Tells that this worker can answer from now on."""
        self._ready[self._own] = 1

    def beat(self) -> None:
        """Tells that the event loop of this worker runs."""
        self._beats[self._own] = self._clock()

    def leaves_all(self) -> bool:
        """Returns whether others take new connections: this worker cannot answer yet and a living one can."""
        return not self.is_ready and any(self._ready[slot] and self._lives(slot) for slot in self._others())

    def has_enough(self) -> bool:
        """Returns whether a living worker, as ready as this one, holds so much less that it is its turn."""
        own, is_ready = self._held[self._own], self._ready[self._own]
        least = own / (1 + _RELATIVE_SLACK) - _SLACK
        return any(
            self._held[slot] < least and self._ready[slot] >= is_ready and self._lives(slot)
            for slot in self._others()
        )

    def _others(self) -> list[int]:
        """Returns the places of the other workers."""
        return [slot for slot in range(self._n_slots) if slot != self._own and self._pids[slot]]

    def _lives(self, slot: int) -> bool:
        """Returns whether the worker in a place still runs."""
        # A worker that was killed has taken nothing back of what it told.
        return is_alive(int(self._pids[slot]))


@dataclass(frozen=True, slots=True)
class WorkerState:
    """A worker as others see it.

    Attributes:
        pid: Its process, which may have ended.
        is_ready: Whether it can answer.
        silent_s: Seconds since its event loop last ran.
    """

    pid: int
    is_ready: bool
    silent_s: float


def read_workers(n_workers: int, folder: Path, now: float) -> list[WorkerState]:
    """Returns the workers that have entered themselves into the table of a folder.

    Args:
        n_workers: How many listen together.
        folder: Where they tell each other.
        now: Seconds of `time.monotonic`.
    """
    if not (folder / WORKERS_FILE).exists():  # no worker has come so far, or the disk had no room for it
        return []
    pids, _, ready, beats = _columns(n_workers, folder)
    return [
        WorkerState(int(pid), bool(is_ready), now - beat)
        for pid, is_ready, beat in zip(pids, ready, beats, strict=True)
        if pid
    ]


def _columns(n_workers: int, folder: Path | None) -> list["memoryview[float]"]:
    """Returns processes, connections, readiness and beats, a number for each place."""
    n_slots = n_workers * _SLOTS_PER_WORKER
    numbers = shared_numbers(
        _COLUMNS * n_slots,
        folder and folder / WORKERS_FILE,
        "each worker takes the connections that it comes by, and none is watched",
    )
    return [numbers[column * n_slots : (column + 1) * n_slots] for column in range(_COLUMNS)]
