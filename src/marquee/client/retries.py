"""Whether a call that failed is tried again, and after which pause: within its deadline, within a budget.

The budget is what keeps a client from making an outage worse. Every call puts a fraction of a retry into
it and every retry takes one out, so that over any stretch of n calls at most `reserve` + `fraction` · n
retries are sent, whatever happens to the service.

Source:
    The bucket is that of gRPC's retry throttling (gRFC A6) and of Finagle's `RetryBudget`. Differs from both:
    nothing flows in with time, so the bound holds for calls at any rate.
"""

import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from marquee.client.errors import ServiceError, TimedOutError


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How patient a client is.

    Attributes:
        max_attempts: Most attempts of one call, the first included.
        fraction: Retries that each call adds to the budget.
        reserve: Retries that the budget holds when it is full, as at first. Where a worker of the service
            dies, every connection to it breaks at once: at least as many as calls are in flight.
        pause_s: Longest pause before the first retry; it doubles with each further one. The pause is drawn
            between 0 and that, so that clients which failed together do not come back together.
        max_pause_s: Bound of the doubling.
    """

    max_attempts: int = 4
    fraction: float = 0.1
    reserve: int = 100
    pause_s: float = 0.025
    max_pause_s: float = 1.0

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ValueError if a number is out of range."""
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts must be 1 or more, got {self.max_attempts}; 1 never repeats")
        if not 0 <= self.fraction <= 1:
            raise ValueError(f"fraction must lie between 0 and 1, got {self.fraction}; 0.1 is usual")
        if self.reserve < 0:
            raise ValueError(f"reserve must be 0 or more, got {self.reserve}; 0 leaves it to fraction")
        if not 0 <= self.pause_s <= self.max_pause_s:
            raise ValueError(
                f"pause_s must lie between 0 and max_pause_s ({self.max_pause_s}), got {self.pause_s}"
            )


class RetryBudget:
    """The retries that a client may still send; shared by all of its calls, safe among threads.

    Args:
        policy: How much there is.
    """

    def __init__(self, policy: RetryPolicy) -> None:
        self._fraction = policy.fraction
        self._reserve = float(policy.reserve)
        self._left = self._reserve
        self._spent: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def spent(self) -> Mapping[str, int]:
        """Retries so far, by what had failed."""
        with self._lock:
            return dict(self._spent)

    def earn(self) -> None:
        """Adds what one call is worth."""
        with self._lock:
            # Capped: a quiet day must not save up retries for an outage.
            self._left = min(self._reserve, self._left + self._fraction)

    def spend(self, reason: str) -> bool:
        """Takes one retry out and returns True, or returns False if there is none."""
        with self._lock:
            # A tenth added ten times is a little less than one.
            if self._left < 1.0 - 1e-9:
                return False
            self._left -= 1.0
            self._spent[reason] += 1
            return True


class Course:
    """The attempts of one call.

    Args:
        policy: How patient to be.
        budget: Where retries are taken from.
        deadline_s: Seconds that the call may take, all attempts and pauses together.
        clock: Returns seconds.
        rng: Draws the pauses.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        budget: RetryBudget,
        deadline_s: float,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self._policy = policy
        self._budget = budget
        self._deadline_s = deadline_s
        self._clock = clock
        self._rng = rng
        self._started = clock()
        self._n_attempts = 0
        # Calls earn and attempts do not: else retries would pay for retries.
        budget.earn()

    def begin_attempt(self) -> float:
        """Returns the seconds that are left for the attempt that begins now.

        Raises:
            TimedOutError: If none are.
        """
        left = self._left_s()
        if left <= 0:
            raise TimedOutError(
                f"there is no time for an attempt within {self._deadline_s:g} s; allow a longer deadline_s"
            )
        self._n_attempts += 1
        return left

    def pause_before_next(self, failure: ServiceError) -> float:
        """Returns the seconds to wait before the next attempt; raises `failure` if there is to be none."""
        if not failure.may_repeat:
            raise failure
        if self._n_attempts >= self._policy.max_attempts:
            raise _ended(failure, f"{self._n_attempts} attempts are all that is allowed")
        longest = min(self._policy.max_pause_s, self._policy.pause_s * 2 ** (self._n_attempts - 1))
        # On top of what the service asks for: all that it told the same second would come back in it.
        pause = failure.retry_after_s + self._rng.uniform(0, longest)
        # Before the budget: a retry that cannot be sent must not be paid for.
        if pause >= self._left_s():
            raise _ended(failure, f"its deadline of {self._deadline_s:g} s leaves no time to try again")
        if not self._budget.spend(failure.reason):
            raise _ended(failure, f"attempt {self._n_attempts} used up the client's budget of retries")
        return pause

    def _left_s(self) -> float:
        """Returns the seconds until the deadline."""
        return self._started + self._deadline_s - self._clock()


def _ended(failure: ServiceError, why: str) -> ServiceError:
    """Returns `failure` with a note on why it is final."""
    failure.add_note(why)
    return failure
