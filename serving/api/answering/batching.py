"""Requests that arrive while the model is busy go through it together, in the next batch.

One batch is in flight at a time, in one thread; there is no timer that makes a lone request wait. A lone
request that takes hardly longer than the way to the thread and back is run where it is. An item whose batch
failed is run again alone, so that one poisoned request never takes others with it.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from serving.api.answering.fair_queue import FairQueue
from serving.http.errors import unavailable

PATIENCE = 0.5
"""Share of the deadline that a job may be expected to wait; the rest is for its batch and its reply."""

AT_ONCE_S = 0.005
"""A lone job is run in the event loop while batches take less than this: nothing else waits for longer."""

_LEARNED_FROM = 8
_SMOOTHING = 0.1
_CHEAP = 4.0  # cost of a lone job that may run in the event loop

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(slots=True, eq=False)
class _Ticket(Generic[Job, Result]):
    """One job that waits for its result, what it costs, and the timer that ends its patience."""

    job: Job
    cost: float
    future: "asyncio.Future[Result]"
    timer: asyncio.TimerHandle


class Batcher(Generic[Job, Result]):
    """Runs jobs of one event loop in batches in one thread.

    A job that would wait too long is refused when it comes: were it taken, it would be answered after its
    deadline, and so would all behind it, until nothing but refusals came out. Callers take turns by what
    their jobs cost: one with many or large ones makes itself wait, not the others.

    Args:
        run: Returns one result per job, in order. Called from one thread at a time.
        micro_batch: Most jobs of one call of `run`, and most of their cost unless it is a single job.
        max_pending: Most jobs that wait or run; more are refused.
        deadline_s: Seconds after which a job is answered with a refusal.
        clock: Returns seconds; what a batch takes is measured with it.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Job]], Sequence[Result]],
        *,
        micro_batch: int,
        max_pending: int,
        deadline_s: float,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._run = run
        self._micro_batch = micro_batch
        self._max_pending = max_pending
        self._deadline_s = deadline_s
        self._waiting: FairQueue[_Ticket[Job, Result]] = FairQueue()
        self._running_cost = 0.0
        self._n_pending = 0
        self._clock = clock
        self._batch_s = 0.0  # what a batch takes, or as much cost as one may have; a moving average
        self._n_batches = 0
        self._is_running = False
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")

    def enqueue(
        self,
        jobs: Sequence[Job],
        deadline_s: float | None = None,
        caller: str = "",
        costs: Sequence[float] | None = None,
    ) -> "list[asyncio.Future[Result]]":
        """Returns a future per job; all of the jobs are taken or none.

        Args:
            jobs: What to run.
            deadline_s: Seconds after which these are refused; None for the batcher's own.
            caller: Whose turn they take; '' for callers that are not told apart and may fill the queue.
            costs: What each job costs, in plain ones; None if all are plain.

        Raises:
            Refusal: If more jobs would wait than `max_pending`, or more of this caller than still have room,
                or they would have to wait too long.
        """
        deadline_s = self._deadline_s if deadline_s is None else deadline_s
        self.refuse_if_full(deadline_s, caller)
        self._refuse_without_room(len(jobs), caller)
        loop = asyncio.get_running_loop()
        self._n_pending += len(jobs)
        if not self._is_running and not self._waiting:
            # Not at once: requests that this turn of the loop has read but not yet decoded join the batch.
            loop.call_soon(self._start_batch, loop)
        futures = []
        for job, cost in zip(jobs, costs or [1.0] * len(jobs), strict=True):
            future: asyncio.Future[Result] = loop.create_future()
            timer = loop.call_later(deadline_s, self._expire, future, deadline_s)
            self._waiting.push(caller, cost, _Ticket(job, cost, future, timer))
            futures.append(future)
        return futures

    def _refuse_without_room(self, n_jobs: int, caller: str) -> None:
        """Raises Refusal if a caller's jobs do not fit, so that there is always room for those of others."""
        n_free = self._max_pending - self._n_pending
        n_own = self._waiting.n_jobs_of(caller) if caller else 0
        if n_own + n_jobs > n_free:
            raise unavailable(
                f"{self._n_pending} requests are waiting and {self._max_pending} may; retry after a moment"
            )

    def refuse_if_full(self, deadline_s: float, caller: str = "") -> None:
        """Raises Refusal if a job that `caller` sent now would wait too long to be answered in time."""
        if not self._n_pending:
            return
        ahead = self._running_cost + self._waiting.cost_ahead_of(caller)
        wait_s = (1 + ahead // self._micro_batch) * self._batch_s
        if wait_s > PATIENCE * deadline_s:
            raise unavailable(
                f"{self._n_pending} requests are waiting, which takes about {wait_s * 1000:.0f} of the "
                f"{deadline_s * 1000:.0f} ms that an answer may take; retry after a moment"
            )

    def close(self) -> None:
        """Waits for the batch in flight and ends the thread."""
        self._executor.shutdown()

    def _expire(self, future: "asyncio.Future[Result]", deadline_s: float) -> None:
        """Refuses a job whose time is over; its batch, if it is in flight, runs on unheard."""
        if not future.done():
            future.set_exception(
                unavailable(
                    f"no answer within the deadline of {deadline_s * 1000:.0f} ms; retry after a moment"
                )
            )

    def _start_batch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hands the next waiting jobs to the thread, without those that nobody waits for any more."""
        batch = self._next_batch()
        self._is_running = bool(batch)
        self._running_cost = sum(ticket.cost for ticket in batch)
        is_short = self._n_batches >= _LEARNED_FROM and self._batch_s < AT_ONCE_S
        if len(batch) == 1 and is_short and self._running_cost <= _CHEAP:
            self._end_batch(loop, batch, self._outcomes(batch))
        elif batch:
            self._executor.submit(self._run_batch, loop, batch)

    def _next_batch(self) -> "list[_Ticket[Job, Result]]":
        """Takes jobs from the queue, in turn, as many as one batch may hold."""
        batch: list[_Ticket[Job, Result]] = []
        room = float(self._micro_batch)
        while self._waiting and len(batch) < self._micro_batch:
            if batch and self._waiting.next_cost() > room:
                break
            ticket = self._waiting.pop()
            if ticket.future.done():
                self._settle(ticket)
            else:
                batch.append(ticket)
                room -= ticket.cost
        return batch

    def _run_batch(self, loop: asyncio.AbstractEventLoop, batch: "list[_Ticket[Job, Result]]") -> None:
        """Runs a batch in the thread and returns to the loop with what came of it."""
        loop.call_soon_threadsafe(self._end_batch, loop, batch, self._outcomes(batch))

    def _outcomes(self, batch: "list[_Ticket[Job, Result]]") -> "Sequence[Result | Exception]":
        """Returns a result or an error per job, and learns how long a batch takes."""
        started = self._clock()
        outcomes = run_each_alone_on_failure(self._run, [ticket.job for ticket in batch])
        n_batches = max(1.0, sum(ticket.cost for ticket in batch) / self._micro_batch)
        self._batch_s += _SMOOTHING * ((self._clock() - started) / n_batches - self._batch_s)
        self._n_batches += 1
        return outcomes

    def _end_batch(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: "list[_Ticket[Job, Result]]",
        outcomes: "Sequence[Result | Exception]",
    ) -> None:
        """Starts the next batch, then answers this one while the model is at work again."""
        self._start_batch(loop)
        for ticket, outcome in zip(batch, outcomes, strict=True):
            self._settle(ticket)
            if ticket.future.done():
                continue
            if isinstance(outcome, Exception):
                ticket.future.set_exception(outcome)
            else:
                ticket.future.set_result(outcome)

    def _settle(self, ticket: _Ticket[Job, Result]) -> None:
        """Forgets a job: its timer holds it no longer and its place is free."""
        ticket.timer.cancel()
        self._n_pending -= 1


def run_each_alone_on_failure(
    run: Callable[[Sequence[Job]], Sequence[Result]], jobs: Sequence[Job]
) -> "list[Result | Exception]":
    """Returns a result or an error per job: of one call of `run`, or of one call each if that one fails."""
    try:
        return list(_one_result_per_job(run, jobs))
    except Exception as error:  # whatever a poisoned job does to the batch, the other jobs get their answers
        if len(jobs) == 1:
            return [error]
        return [outcome for job in jobs for outcome in run_each_alone_on_failure(run, [job])]


def _one_result_per_job(
    run: Callable[[Sequence[Job]], Sequence[Result]], jobs: Sequence[Job]
) -> Sequence[Result]:
    """Returns `run(jobs)`, which must match the jobs: results are handed out by position."""
    results = run(jobs)
    assert len(results) == len(jobs), f"run must return one result per job: {len(jobs)}, got {len(results)}"
    return results
