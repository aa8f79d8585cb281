"""Lets callers that wait for the same disk share one flush.

The first caller writes; those that come while it does queue up, and then the first of them writes for all of
these at once. There is no thread and no timer: a lone caller waits for nobody.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Generic, TypeVar

from marquee.errors import EventLogError

Row = TypeVar("Row")
Outcome = TypeVar("Outcome")

MAX_ROWS_PER_GROUP = 20_000
"""A group takes no further batch in from here on; a batch is never parted."""


@dataclass(slots=True)
class _Waiting(Generic[Row, Outcome]):
    """The rows of one caller, and what became of them; `woken` says that they are written, or to be."""

    rows: Sequence[Row]
    outcomes: list[Outcome] | None = None
    error: BaseException | None = None
    woken: Event = field(default_factory=Event)


@dataclass(slots=True)
class GroupCommit(Generic[Row, Outcome]):
    """Writes the rows of many callers in few transactions.

    Args:
        write: Writes rows in one transaction, on one thread at a time, and returns an outcome for each.
    """

    write: Callable[[Sequence[Row]], list[Outcome]]
    _changing: Lock = field(default_factory=Lock)
    _queue: deque[_Waiting[Row, Outcome]] = field(default_factory=deque)
    _is_writing: bool = False

    def submit(self, rows: Sequence[Row]) -> list[Outcome]:
        """Returns the outcomes of some rows once they are written.

        Raises:
            EventLogError: If the transaction that they were part of failed.
        """
        if not rows:
            return []
        mine = _Waiting[Row, Outcome](rows)
        with self._changing:
            self._queue.append(mine)
            # Decided under the lock: exactly one caller writes, all others sleep.
            is_first = not self._is_writing
            self._is_writing = True
        if not is_first:
            # Woken with an outcome, or because it is this caller's turn to write for all.
            mine.woken.wait()
        if mine.outcomes is None and mine.error is None:  # it is this caller's turn to write
            self._write(self._take())
        if isinstance(
            mine.error, EventLogError
        ):  # each caller raises one of its own: tracebacks are not shared
            raise type(mine.error)(str(mine.error)) from mine.error
        if mine.error is not None:
            raise mine.error
        assert mine.outcomes is not None, "a group is written or refused"
        return mine.outcomes

    def _take(self) -> list[_Waiting[Row, Outcome]]:
        """Returns the callers of the next group, the longest waiting first: whose turn it is."""
        with self._changing:
            group = [self._queue.popleft()]
            n_rows = len(group[0].rows)
            # Bounded: the first of the group waits for all of it.
            while self._queue and n_rows < MAX_ROWS_PER_GROUP:
                group.append(self._queue.popleft())
                n_rows += len(group[-1].rows)
        return group

    def _write(self, group: Sequence[_Waiting[Row, Outcome]]) -> None:
        """Writes a group, hands everybody the outcomes of theirs, and the turn to whoever waits longest."""
        try:
            outcomes = self.write([row for waiting in group for row in waiting.rows])
        except EventLogError as error:
            for waiting in group:
                waiting.error = error
        except BaseException as error:
            for waiting in group:  # nobody may wait for what will not come
                waiting.error = error
            raise
        else:
            start = 0
            for waiting in group:
                waiting.outcomes = outcomes[start : start + len(waiting.rows)]
                start += len(waiting.rows)
        finally:
            # Whoever is done goes first: it may be back with more before the next group is taken.
            for waiting in group:
                waiting.woken.set()
            with self._changing:
                if self._queue:
                    # `_is_writing` stays up: a newcomer queues behind whoever has waited longest.
                    self._queue[0].woken.set()
                else:
                    self._is_writing = False
