"""A queue in which callers take turns by what their jobs cost, not by when they came.

Source:
    Goyal, Vin and Cheng 1997, IEEE/ACM Transactions on Networking 5(5), "Start-time fair queueing". The start
    tag of a job is the larger of the queue's virtual time and the end of its caller's last job; jobs leave in
    the order of their start tags. Differs from the paper: costs are estimates, not lengths of packets.
"""

import heapq
from dataclasses import dataclass
from typing import Generic, TypeVar

Job = TypeVar("Job")

_MANY_CALLERS = 4096


@dataclass(slots=True)
class _Waiting:
    """The waiting requests of one caller."""

    n_jobs: int = 0
    cost: float = 0.0


class FairQueue(Generic[Job]):
    """Jobs that wait, each of one caller: who has little waiting goes before the rest of who has much."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, str, float, Job]] = []
        self._n_pushed = 0
        self._virtual = 0.0
        self._cost = 0.0
        self._waiting: dict[str, _Waiting] = {}
        # Kept beyond the jobs of a caller: one with a job at a time would otherwise never wait for its turn.
        self._ends: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, caller: str, cost: float, job: Job) -> None:
        """Adds a job of `caller` that costs `cost`."""
        start = max(self._virtual, self._ends.get(caller, 0.0))
        if len(self._ends) > _MANY_CALLERS:
            self._ends = {name: self._ends[name] for name in self._waiting}
        self._ends[caller] = start + cost
        waiting = self._waiting.setdefault(caller, _Waiting())
        waiting.n_jobs += 1
        waiting.cost += cost
        self._cost += cost
        self._n_pushed += 1  # of equal start tags the first comes first; jobs are never compared
        heapq.heappush(self._heap, (start, self._n_pushed, caller, cost, job))

    def next_cost(self) -> float:
        """Returns the cost of the job whose turn it is; the queue must not be empty."""
        return self._heap[0][3]

    def pop(self) -> Job:
        """Returns the job whose turn it is; the queue must not be empty."""
        self._virtual, _, caller, cost, job = heapq.heappop(self._heap)
        waiting = self._waiting[caller]
        waiting.n_jobs -= 1
        waiting.cost -= cost
        self._cost -= cost
        if not waiting.n_jobs:
            del self._waiting[caller]
        if not self._heap:  # a new beginning: numbers that only grew would lose their digits
            self._virtual = self._cost = 0.0
            self._ends.clear()
        return job

    def n_jobs_of(self, caller: str) -> int:
        """Returns how many jobs of a caller wait."""
        return self._waiting[caller].n_jobs if caller in self._waiting else 0

    def cost_ahead_of(self, caller: str) -> float:
        """Returns about what is done before a job that `caller` would add now.

        All of its own that waits, and of each other caller no more than that and one job.
        """
        own = self._waiting[caller].cost if caller in self._waiting else 0.0
        return own + min(self._cost - own, (own + 1.0) * len(self._waiting))
