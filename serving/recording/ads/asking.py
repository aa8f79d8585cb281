"""Asks a store in a thread, and waits only so long: a database that hangs must not hold up an answer."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLateError
from typing import TypeVar

from marquee.errors import EventLogGoneError

Result = TypeVar("Result")


class Asker:
    """A thread that asks one store.

    One that hangs is waited for once; until it comes back, nobody waits behind it.

    Args:
        name: Of the thread.
        budget_s: How long a question may take.
    """

    def __init__(self, name: str, budget_s: float) -> None:
        self._name = name
        self._budget_s = budget_s
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._late: Future[object] | None = None

    def ask(self, work: Callable[[], Result]) -> Result:
        """Returns the result of work.

        Raises:
            EventLogGoneError: If it takes longer than the budget; it may still succeed unseen.
        """
        if self._late is not None and not self._late.done():
            raise EventLogGoneError(
                f"the store of {self._name} has not answered for more than {self._budget_s:g} s; it is asked "
                "again once it does"
            )
        asked = self._executor.submit(work)
        try:
            return asked.result(timeout=self._budget_s)
        except TooLateError:
            self._late = asked  # type: ignore[assignment]  # only whether it is done is asked of it
            raise EventLogGoneError(
                f"the store of {self._name} must answer within {self._budget_s:g} s, got nothing; see "
                "whether it runs"
            ) from None

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way that hangs."""
        return self._late is None or self._late.done()

    def close(self) -> None:
        """Ends the thread; one that hangs is not waited for."""
        self._executor.shutdown(wait=False, cancel_futures=True)
