"""Writes decisions in groups, in a thread of its own: no answer ever waits for a disk.

```
record    puts a decision into a queue, in microseconds; False if it will not be kept
thread    waits GROUP_S for more, then writes all of them in one transaction
```

While the store refuses, the thread tries again what it has already taken, because their answers said that
they are on record; new decisions are refused at once, so that their answers can say that they are not.
"""

from collections import deque
from collections.abc import Callable, Sequence
from threading import Condition, Thread

from marquee.errors import EventLogError
from marquee.store.log.event_log import DecisionRow

# Long enough to gather the decisions of many answers. Short enough that a crash loses few: with what a busy
# machine adds, the oldest of 307 that 200 kills cost was 107 ms old with 50 ms here.
GROUP_S = 0.03
# Until the store takes rows again every answer is off the record: it is asked again soon.
RETRY_S = 0.25
# Bounds the memory where decisions come faster than the store takes them.
MAX_QUEUED = 10_000


class DecisionWriter:
    """The thread, and the queue before it. `record` may be called from any thread.

    Args:
        append: Keeps decisions; raises EventLogError if the store refuses. Sending some twice is harmless.
        max_queued: Most decisions that wait; further ones are refused.
    """

    def __init__(
        self, append: Callable[[Sequence[DecisionRow]], object], max_queued: int = MAX_QUEUED
    ) -> None:
        self._append = append
        self._max_queued = max_queued
        self._queue: deque[DecisionRow] = deque()
        self._changed = Condition()
        self._is_idle = False
        self._is_refused = False
        self._is_closing = False
        # A daemon: a store that hangs must not keep the process from ending. `close` gives it its time.
        self._thread = Thread(target=self._run, name="decisions", daemon=True)
        self._thread.start()

    @property
    def is_recording(self) -> bool:
        """Whether a decision that is made now would be kept; nobody should explore where it is not."""
        # Read without the lock: an answer must not wait for it, and `record` looks again under it.
        return not (self._is_refused or self._is_closing or len(self._queue) >= self._max_queued)

    def record(self, decision: DecisionRow) -> bool:
        """Queues a decision and returns whether it will be kept."""
        with self._changed:
            if not self.is_recording:
                return False
            self._queue.append(decision)
            # Not between two groups: to be woken takes the interpreter from whoever answers.
            if self._is_idle:
                self._changed.notify_all()
            return True

    def close(self, timeout_s: float) -> int:
        """Writes what is queued, ends the thread and returns how many decisions are lost.

        Args:
            timeout_s: How long the store may take, seconds.
        """
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        # Outside the lock, which the thread needs to finish.
        self._thread.join(timeout_s)
        with self._changed:
            # Counted: their answers said that they are on record.
            n_lost = len(self._queue)
            self._queue.clear()
        return n_lost

    def _run(self) -> None:
        """Writes group after group until the queue is empty and nothing more comes."""
        while self._await_group():
            group = list(self._queue)  # rows leave the queue when they are kept
            try:
                # Trap: not under the lock, or every answer would wait for the disk after all.
                self._append(group)
            except EventLogError:
                with self._changed:
                    self._is_refused = True
                    if self._changed.wait_for(lambda: self._is_closing, RETRY_S):
                        return  # the store has had its chance; `close` counts what is left
                continue
            with self._changed:
                self._is_refused = False
                for _ in range(min(len(group), len(self._queue))):  # `close` may have given up on them
                    self._queue.popleft()

    def _await_group(self) -> bool:
        """Waits until there is a group to be written; returns False when nothing more comes."""
        with self._changed:
            # The pause is what makes a group: only closing cuts it short, not another row.
            self._changed.wait_for(lambda: self._is_closing, GROUP_S)
            while not (self._queue or self._is_closing):
                self._is_idle = True
                self._changed.wait_for(lambda: self._queue or self._is_closing)
                self._is_idle = False
                self._changed.wait_for(lambda: self._is_closing, GROUP_S)
            return bool(self._queue)
