"""The run of customers that a worker answers by; the next one is taken as soon as `latest` leads to it."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from marquee.bundle.traits.customers import CustomersInMemory
from marquee.bundle.traits.run import CustomersRun, find_run
from marquee.errors import MarqueeError

logger = logging.getLogger(__name__)


def _in_thread(work: Callable[[], None]) -> None:
    """Has some work done beside the event loop."""
    threading.Thread(target=work, name="customers-run", daemon=True).start()


class FollowedRun:
    """A run, and those that follow it.

    Attributes:
        at_hand: Its customers, in memory.

    Args:
        where: Folder of a run, or `latest` beside it.
        start: Has the reading of another run done.

    Raises:
        BundleError: If the run cannot be used.
    """

    def __init__(self, where: Path, start: Callable[[Callable[[], None]], None] = _in_thread) -> None:
        self._where = where
        self._start = start
        self.at_hand = CustomersInMemory(CustomersRun.open(where))
        self._seen = self.current.folder
        self._swapping = threading.Lock()

    @property
    def current(self) -> CustomersRun:
        """The run that answers."""
        return self.at_hand.run

    def refresh(self) -> None:
        """Looks at the disk where the path leads now; not to be called in the event loop."""
        try:
            folder = find_run(self._where)
        except MarqueeError:
            # Between two runs, or a disk that is away: what was read goes on answering.
            return
        # Also of a run that cannot be used: it is told once, not at every look.
        if folder != self._seen:
            self._seen = folder
            self._start(self._take)

    def _take(self) -> None:
        """Takes the run that was seen last."""
        folder = self._seen
        try:
            customers = CustomersInMemory(CustomersRun.open(folder))
        except MarqueeError as error:
            logger.error("customers are still answered by %s: %s", self.current.name, error)
            return
        with self._swapping:
            # A large run may be read for longer than the next one, which must not be replaced by it.
            if folder != self._seen:
                return
            self.at_hand = customers
        logger.warning("customers are answered by %s from now on", folder.name)
