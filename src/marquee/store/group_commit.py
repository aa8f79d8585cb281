"""Lets callers that wait for the same disk share one flush.

The first caller writes; those that come while it does queue up, and the next of them writes for all of these
at once. There is no thread and no timer: a lone caller waits for nobody.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Generic, TypeVar

from marquee.errors import EventLogError

Row = TypeVar("Row")
Outcome = TypeVar("Outcome")

MAX_ROWS_PER_GROUP = 20_000
"""A group takes no further batch in from here on; a batch is never parted."""


@dataclass(slots=True)
class _Waiting(Generic[Row, Outcome]):
    """The rows of one caller, and what became of them."""

    rows: Sequence[Row]
    outcomes: list[Outcome] | None = None
    error: BaseException | None = None


@dataclass(slots=True)
class GroupCommit(Generic[Row, Outcome]):
    """Writes the rows of many callers in few transactions.

    Args:
        write: Writes rows in one transaction, on one thread at a time, and returns an outcome for each.
    """

    write: Callable[[Sequence[Row]], list[Outcome]]
    _writing: Lock = field(default_factory=Lock)
    _queue: deque[_Waiting[Row, Outcome]] = field(default_factory=deque)

    def submit(self, rows: Sequence[Row]) -> list[Outcome]:
        """Returns the outcomes of some rows once they are written.

        Raises:
            EventLogError: If the transaction that they were part of failed.
        """
        if not rows:
            return []
        mine = _Waiting[Row, Outcome](rows)
        self._queue.append(mine)
        with self._writing:
            # Whoever held the lock before may have written these rows too.
            while mine.outcomes is None and mine.error is None:
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
        """Returns the callers of the next group, the longest waiting first."""
        group = [self._queue.popleft()]
        n_rows = len(group[0].rows)
        while self._queue and n_rows < MAX_ROWS_PER_GROUP:
            group.append(self._queue.popleft())
            n_rows += len(group[-1].rows)
        return group

    def _write(self, group: Sequence[_Waiting[Row, Outcome]]) -> None:
        """Writes a group and hands everybody the outcomes of theirs."""
        rows = [row for waiting in group for row in waiting.rows]
        try:
            outcomes = self.write(rows)
        except EventLogError as error:
            for waiting in group:
                waiting.error = error
            return
        except BaseException as error:
            for waiting in group:  # nobody else may wait for what will not come
                waiting.error = error
            raise
        start = 0
        for waiting in group:
            waiting.outcomes = outcomes[start : start + len(waiting.rows)]
            start += len(waiting.rows)
