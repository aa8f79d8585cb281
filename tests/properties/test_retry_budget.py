"""Whatever the service does, retries stay within their budget and calls within their time."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marquee.client.errors import ServiceError, TimedOutError, UnreachableError
from marquee.client.retries import Course, RetryBudget, RetryPolicy
from tests.support.clients import FakeTime

policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 6),
    fraction=st.sampled_from([0.0, 0.1, 0.25, 1.0]),
    reserve=st.integers(0, 20),
    pause_s=st.sampled_from([0.0, 0.02, 0.5]),
)


class BrokenError(UnreachableError):
    """A failure that the service may ask to wait after."""

    def __init__(self, wait_s: float) -> None:
        super().__init__("broken")
        self.retry_after_s = wait_s


def attempts_of_call(course: Course, fake: FakeTime, takes: list[float], waits: list[float]) -> list[float]:
    """Returns when each attempt of a call began that always fails."""
    began = []
    while True:
        try:
            course.begin_attempt()
            began.append(fake.now)
            fake.now += takes[len(began) % len(takes)]
            fake.sleep(course.pause_before_next(BrokenError(waits[len(began) % len(waits)])))
        except ServiceError:
            return began


@given(
    policy=policies,
    takes=st.lists(st.floats(0, 0.5), min_size=1, max_size=4),
    waits=st.lists(st.sampled_from([0.0, 0.1, 2.0]), min_size=1, max_size=4),
    n_calls=st.integers(1, 60),
)
def test_retries_of_any_stretch_stay_within_the_budget(
    policy: RetryPolicy, takes: list[float], waits: list[float], n_calls: int
) -> None:
    budget, fake, rng = RetryBudget(policy), FakeTime(), random.Random(0)
    retries = []
    for _ in range(n_calls):
        course = Course(policy, budget, 1.0, fake.clock, rng)
        retries.append(len(attempts_of_call(course, fake, takes, waits)) - 1)
    assert max(retries) <= policy.max_attempts - 1
    for start in range(n_calls):
        for stop in range(start + 1, n_calls + 1):
            allowed = policy.reserve + policy.fraction * (stop - start)
            assert sum(retries[start:stop]) <= allowed + 1e-6
    assert sum(budget.spent.values()) == sum(retries)


@given(
    policy=policies,
    deadline_s=st.floats(0.01, 5),
    takes=st.lists(st.floats(0, 0.5), min_size=1, max_size=4),
    waits=st.lists(st.sampled_from([0.0, 0.1, 2.0]), min_size=1, max_size=4),
)
def test_no_attempt_begins_after_the_deadline_or_before_retry_after(
    policy: RetryPolicy, deadline_s: float, takes: list[float], waits: list[float]
) -> None:
    budget, fake = RetryBudget(policy), FakeTime()
    started = fake.now
    course = Course(policy, budget, deadline_s, fake.clock, random.Random(1))
    began = attempts_of_call(course, fake, takes, waits)
    assert all(time < started + deadline_s for time in began)
    for number, (earlier, later) in enumerate(pairwise(began), start=1):
        asked_for = waits[number % len(waits)]
        assert later - earlier >= takes[number % len(takes)] + asked_for - 1e-9
    assert fake.now <= started + deadline_s + takes[len(began) % len(takes)] + 1e-9


@given(policy=policies, n_calls=st.integers(0, 50))
def test_calls_that_succeed_fill_the_budget_up_to_its_reserve(policy: RetryPolicy, n_calls: int) -> None:
    budget = RetryBudget(policy)
    while budget.spend("drain"):
        pass
    for _ in range(n_calls):
        Course(policy, budget, 1.0, FakeTime().clock, random.Random(0))
    regained = 0
    while budget.spend("again"):
        regained += 1
    assert regained == int(min(policy.reserve, policy.fraction * n_calls) + 1e-6)


@given(policy=policies)
def test_failure_that_cannot_pass_costs_nothing(policy: RetryPolicy) -> None:
    budget = RetryBudget(policy)
    course = Course(policy, budget, 1.0, FakeTime().clock, random.Random(0))
    course.begin_attempt()
    failure = TimedOutError("late")
    failure.may_repeat = False
    with pytest.raises(TimedOutError) as told:
        course.pause_before_next(failure)
    assert told.value is failure
    assert budget.spent == {}
