"""Callers take turns by what their jobs cost; the estimate of a cost follows what a request asks for."""

from dataclasses import replace

import pytest

from marquee.core.filters import Filters
from marquee.decision.requests import Request
from marquee.decision.reranking import Diversity, Reranking
from serving.api.answering.cost import cost_of
from serving.api.answering.fair_queue import FairQueue


def drained(queue: FairQueue[str]) -> list[str]:
    return [queue.pop() for _ in range(len(queue))]


def test_caller_with_little_goes_before_the_rest_of_one_with_much() -> None:
    queue = FairQueue[str]()
    for number in range(3):
        queue.push("much", 1, f"much {number}")
    queue.push("little", 1, "little 0")
    assert drained(queue) == ["much 0", "little 0", "much 1", "much 2"]


def test_turns_are_by_cost_and_not_by_number() -> None:
    queue = FairQueue[str]()
    for number in range(2):
        queue.push("costly", 10, f"costly {number}")
    for number in range(4):
        queue.push("plain", 1, f"plain {number}")
    assert drained(queue) == ["costly 0", "plain 0", "plain 1", "plain 2", "plain 3", "costly 1"]


def test_caller_that_sends_one_after_the_other_has_no_more_turns_than_others() -> None:
    queue = FairQueue[str]()
    queue.push("costly", 10, "costly")
    queue.push("plain", 1, "plain 0")
    queue.push("plain", 1, "plain 1")
    assert queue.pop() == "costly"
    queue.push("costly", 10, "costly again")
    assert drained(queue) == ["plain 0", "plain 1", "costly again"]


def test_jobs_of_one_caller_keep_their_order() -> None:
    queue = FairQueue[int]()
    for number in range(5):
        queue.push("", 5 - number, number)
    assert [queue.pop() for _ in range(5)] == [0, 1, 2, 3, 4]


def test_what_lies_ahead_of_a_caller_is_its_own_and_a_share_of_the_others() -> None:
    queue = FairQueue[str]()
    for _ in range(100):
        queue.push("much", 10, "job")
    queue.push("little", 1, "job")
    assert queue.cost_ahead_of("much") == 1001
    assert queue.cost_ahead_of("little") == pytest.approx(1 + 2 * 2)
    assert queue.cost_ahead_of("new") == pytest.approx(2)
    assert (queue.n_jobs_of("much"), queue.n_jobs_of("new")) == (100, 0)


def test_empty_queue_remembers_nobody() -> None:
    queue = FairQueue[str]()
    for caller in map(str, range(10_000)):
        queue.push(caller, 1, "job")
        queue.pop()
    assert (queue._ends, queue._waiting, queue._virtual) == ({}, {}, 0.0)


def test_queue_that_is_never_empty_forgets_callers_whose_turn_is_over() -> None:
    queue = FairQueue[str]()
    queue.push("first", 1, "job")
    for caller in map(str, range(50_000)):
        queue.push(caller, 1, "job")
        queue.pop()
    assert len(queue._ends) < 10_000


PLAIN = Request(timestamp=0)


@pytest.mark.parametrize(
    ("request_", "least"),
    [
        (replace(PLAIN, k=500), 2),
        (replace(PLAIN, history=("i",) * 5000), 5),
        (replace(PLAIN, exclude=("i",) * 5000), 5),
        (replace(PLAIN, filters=Filters.of({"a": {"any_of": [str(n) for n in range(900)]}})), 9),
        (replace(PLAIN, reranking=Reranking(n_candidates=1000, freshness_weight=0.1)), 10),
        (replace(PLAIN, k=500, reranking=Reranking(n_candidates=1000, diversity=Diversity.dpp)), 100),
    ],
)
def test_request_that_asks_for_more_costs_more(request_: Request, least: float) -> None:
    assert cost_of(PLAIN) == cost_of(replace(PLAIN, k=20, history=("i",) * 50)) == 1
    assert cost_of(request_) >= least
