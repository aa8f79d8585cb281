"""Micro-batching: what waits goes together, what fails fails alone, and nobody waits for ever."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence

import pytest

from serving.api.answering.batching import Batcher, run_each_alone_on_failure
from serving.http.errors import Refusal

Run = Callable[[Sequence[int]], Sequence[int]]


class Doubler:
    """Doubles numbers, remembers its batches, waits while `gate` is closed and chokes on negative ones."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[int] = set()
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.batches.append(list(numbers))
        self.threads.add(threading.get_ident())
        assert self.gate.wait(5), "the gate must open within the test"
        if min(numbers) < 0:
            raise ValueError(f"poisoned by {min(numbers)}")
        return [2 * number for number in numbers]


def batcher(run: Run, *, max_pending: int = 100, deadline_s: float = 5.0) -> Batcher[int, int]:
    return Batcher(run, micro_batch=4, max_pending=max_pending, deadline_s=deadline_s)


def run_to_the_end(made: Batcher[int, int], steps: Callable[[], Awaitable[None]]) -> None:
    """Runs the coroutine and ends the batcher's thread."""

    async def main() -> None:
        await steps()

    try:
        asyncio.run(main())
    finally:
        made.close()


def test_every_job_gets_the_result_of_its_position() -> None:
    run = Doubler()
    made = batcher(run)

    async def steps() -> None:
        results = await asyncio.gather(*made.enqueue(list(range(10))))
        assert results == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]

    run_to_the_end(made, steps)
    assert run.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(run.threads) == 1
    assert threading.get_ident() not in run.threads


def test_jobs_that_arrive_in_flight_form_the_next_batch() -> None:
    run = Doubler()
    run.gate.clear()
    made = batcher(run)

    async def steps() -> None:
        first = made.enqueue([1])
        while not run.batches:
            await asyncio.sleep(0.001)
        later = [future for number in (2, 3, 4) for future in made.enqueue([number])]
        run.gate.set()
        assert await asyncio.gather(*first, *later) == [2, 4, 6, 8]

    run_to_the_end(made, steps)
    assert run.batches == [[1], [2, 3, 4]]


def test_poisoned_job_fails_alone() -> None:
    run = Doubler()
    made = batcher(run)

    async def steps() -> None:
        results = await asyncio.gather(*made.enqueue([1, -1, 3]), return_exceptions=True)
        assert results[0] == 2
        assert results[2] == 6
        assert str(results[1]) == "poisoned by -1"

    run_to_the_end(made, steps)
    assert run.batches == [[1, -1, 3], [1], [-1], [3]]


def test_run_that_returns_too_few_results_is_refused_not_shifted() -> None:
    outcomes = run_each_alone_on_failure(lambda jobs: [job for job in jobs if job != 2], [1, 2, 3])
    assert [outcomes[0], outcomes[2]] == [1, 3]
    with pytest.raises(AssertionError, match="one result per job: 1, got 0"):
        raise outcomes[1]  # type: ignore[misc]  # an exception, or this test has failed already


def test_job_beyond_the_deadline_is_refused_and_the_next_is_served() -> None:
    run = Doubler()
    run.gate.clear()
    made = batcher(run, deadline_s=0.5)

    async def steps() -> None:
        late = made.enqueue([1])
        while not run.batches:
            await asyncio.sleep(0.001)
        given_up = made.enqueue([2])
        for outcome in await asyncio.gather(*late, *given_up, return_exceptions=True):
            assert isinstance(outcome, Refusal)
            assert outcome.status == 503
            assert "deadline of 500 ms" in str(outcome)
        run.gate.set()
        assert await asyncio.gather(*made.enqueue([3])) == [6]

    run_to_the_end(made, steps)
    assert run.batches == [[1], [3]]  # nobody waited for 2 any more, so it cost nothing


def test_caller_s_deadline_counts_for_its_own_job_alone() -> None:
    run = Doubler()
    run.gate.clear()
    made = batcher(run)

    async def steps() -> None:
        (patient,) = made.enqueue([1])
        (hasty,) = made.enqueue([2], deadline_s=0.05)
        with pytest.raises(Refusal, match="no answer within the deadline of 50 ms"):
            await hasty
        run.gate.set()
        assert await patient == 2

    run_to_the_end(made, steps)


def test_more_jobs_than_may_wait_are_refused_whole() -> None:
    run = Doubler()
    made = batcher(run, max_pending=3)

    async def steps() -> None:
        taken = made.enqueue([1, 2])
        with pytest.raises(Refusal, match="2 requests are waiting and 3 may") as caught:
            made.enqueue([3, 4])
        assert (b"retry-after", b"1") in caught.value.headers
        assert await asyncio.gather(*taken) == [2, 4]
        assert await asyncio.gather(*made.enqueue([5, 6, 7])) == [10, 12, 14]

    run_to_the_end(made, steps)


def test_job_whose_caller_left_is_not_run() -> None:
    run = Doubler()
    made = batcher(run)

    async def steps() -> None:
        (kept, left) = made.enqueue([1, 2])
        left.cancel()
        assert await kept == 2

    run_to_the_end(made, steps)
    assert run.batches == [[1]]


def test_job_that_would_wait_too_long_is_refused_when_it_comes() -> None:
    times = iter([0.0, 10.0, 20.0, 20.0])  # the first batch takes 10 s; a tenth of it enters the average
    run = Doubler()
    made = Batcher(run, micro_batch=4, max_pending=100, deadline_s=1.9, clock=lambda: next(times))

    async def steps() -> None:
        assert await asyncio.gather(*made.enqueue([1])) == [2]
        made.refuse_if_full(1.9)  # nothing waits: whatever a batch takes, one that is idle takes the next
        futures = made.enqueue([2])
        with pytest.raises(Refusal, match="1 requests are waiting, which takes about 1000 of the 1900 ms"):
            made.enqueue([3])
        with pytest.raises(Refusal, match="which takes about 1000 of the 100 ms"):
            made.enqueue([3], deadline_s=0.1)
        assert await asyncio.gather(*futures) == [4]

    run_to_the_end(made, steps)
    assert run.batches == [[1], [2]]


def test_quick_jobs_may_wait_in_any_number() -> None:
    made = batcher(Doubler(), max_pending=1000)

    async def steps() -> None:
        await asyncio.gather(*made.enqueue([1]))
        results = await asyncio.gather(*made.enqueue(list(range(900))))
        assert results == [2 * number for number in range(900)]

    run_to_the_end(made, steps)


@pytest.mark.parametrize(("batch_s", "thread"), [(0.0001, "MainThread"), (1.0, "model_0")])
def test_lone_job_is_run_where_it_is_once_batches_are_known_to_be_quick(batch_s: float, thread: str) -> None:
    names: list[str] = []
    ticks = iter(tick * batch_s for tick in range(1000))

    def run(jobs: Sequence[int]) -> list[int]:
        names.append(threading.current_thread().name)
        return [-job for job in jobs]

    async def ask() -> list[int]:
        batcher = Batcher(run, micro_batch=4, max_pending=9, deadline_s=10, clock=lambda: next(ticks))
        results = [await batcher.enqueue([job])[0] for job in range(20)]
        results += await asyncio.gather(*batcher.enqueue([20, 21]))
        batcher.close()
        return results

    assert asyncio.run(ask()) == [-job for job in range(22)]
    assert names[0] == "model_0"
    assert names[19] == thread
    assert names[20] == "model_0", "jobs that come together leave the loop free"


def test_wall_clock_that_jumps_moves_no_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    jumps = iter((4e9, 0.0, 8e9) * 100)
    monkeypatch.setattr("time.time", lambda: next(jumps))

    async def ask() -> None:
        gate = threading.Event()
        made: Batcher[int, bool] = Batcher(
            lambda jobs: [gate.wait(5) for _ in jobs], micro_batch=4, max_pending=9, deadline_s=0.2
        )
        started = time.perf_counter()
        with pytest.raises(Refusal, match="no answer within the deadline of 200 ms"):
            await made.enqueue([1])[0]
        assert 0.2 <= time.perf_counter() - started < 5
        gate.set()
        made.close()

    asyncio.run(ask())


def test_queue_of_one_caller_makes_no_other_wait() -> None:
    run = Doubler()
    run.gate.clear()
    made = batcher(run)

    async def steps() -> None:
        much = made.enqueue(list(range(40)), caller="much")
        while not run.batches:
            await asyncio.sleep(0.001)
        little = made.enqueue([100], caller="little")
        run.gate.set()
        await asyncio.gather(*much, *little)

    run_to_the_end(made, steps)
    assert run.batches[0] == [0, 1, 2, 3]
    assert 100 in run.batches[1]


def test_batch_holds_no_more_than_its_cost_unless_it_is_one_job() -> None:
    run = Doubler()
    made = batcher(run)

    async def steps() -> None:
        await asyncio.gather(*made.enqueue([1, 2, 3, 4], costs=[9.0, 2.0, 2.0, 1.0]))

    run_to_the_end(made, steps)
    assert run.batches == [[1], [2, 3], [4]]


def test_one_caller_leaves_room_for_others() -> None:
    run = Doubler()
    run.gate.clear()
    made = batcher(run, max_pending=10)

    async def steps() -> None:
        taken = made.enqueue([1, 2, 3, 4, 5, 6], caller="much")
        with pytest.raises(Refusal, match="6 requests are waiting and 10 may"):
            made.enqueue([7], caller="much")
        taken += made.enqueue([8, 9], caller="little")
        run.gate.set()
        await asyncio.gather(*taken)

    run_to_the_end(made, steps)


def test_caller_with_much_waiting_is_refused_where_another_is_taken() -> None:
    now = 0.0

    def run(jobs: Sequence[int]) -> list[int]:
        nonlocal now
        now += 0.1  # a batch of up to four, or as much cost
        return list(jobs)

    made = Batcher(run, micro_batch=4, max_pending=1000, deadline_s=1.0, clock=lambda: now)

    async def steps() -> None:
        for _ in range(50):
            await asyncio.gather(*made.enqueue([1], caller="warm"))
        taken = made.enqueue([1] * 40, caller="much")
        with pytest.raises(Refusal, match="40 requests are waiting, which takes about"):
            made.refuse_if_full(1.0, "much")
        made.refuse_if_full(1.0, "little")
        await asyncio.gather(*taken)

    run_to_the_end(made, steps)
