"""How long each stage of a request took."""

import time
from collections.abc import Callable

from marquee.decision.requests import Stage

READ = "read"
"""From the first byte of a request until its body is there and understood."""
QUEUE = "queue"
"""From there until the model begins with the batch that holds it."""

STAGES = (READ, QUEUE, *(stage.value for stage in Stage))
"""Every stage, in order."""


class Stopwatch:
    """Times the stages of one batch: give it to a recommender as its `on_stage`.

    Attributes:
        started: When the batch began.
        seconds: What each stage took, for the whole batch: its requests wait for each other.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.started = self._last = clock()
        self.seconds: dict[str, float] = {}

    def __call__(self, stage: Stage) -> None:
        """Ends a stage."""
        now = self._clock()
        # Added up: a stage may come more than once in a batch.
        self.seconds[stage.value] = self.seconds.get(stage.value, 0.0) + now - self._last
        self._last = now

    @property
    def total_s(self) -> float:
        """Seconds from the beginning of the batch to the end of its latest stage."""
        return self._last - self.started
