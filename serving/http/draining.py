"""Whether the service is about to end: said by a file, or by the signal that ends it.

A service that ends at once loses the requests that are on their way to it. So it first says that it is not
ready, goes on answering, closes each connection with its next reply, and ends after a while.
"""

import asyncio
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from serving.http.settings import HttpSettings


class Draining:
    """Whether one worker is being drained.

    Args:
        file: While it exists the worker is not ready; None: there is no such file.
        grace_s: How long the worker goes on after SIGTERM; 0: not at all.
    """

    def __init__(self, file: Path | None, grace_s: float) -> None:
        self._file = file
        self._grace_s = grace_s
        self.is_ending = False  # from SIGTERM on

    @classmethod
    def by(cls, settings: HttpSettings) -> "Draining":
        """Returns the draining that the operator set."""
        return cls(Path(settings.drain_file) if settings.drain_file else None, settings.drain_ms / 1000)

    def reason(self) -> str:
        """Returns why no more requests should come, '' if they may."""
        if self.is_ending:
            return "it was told to end"
        if self._file is not None and self._file.exists():
            # The name alone: callers need not know the folders of the machine.
            return f"{self._file.name} exists"
        return ""

    def listen(self, on_ending: Callable[[], None]) -> None:
        """Takes SIGTERM over from the server's handler, and calls that handler once the grace is over.

        To be called in the event loop, when the server has set its own. A second signal ends at once.

        Args:
            on_ending: Called in the event loop at the first signal, before the grace.
        """
        # Python takes signals in the main thread alone, and `signal.signal` raises elsewhere.
        if threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()
        # The server's handler lets requests end and closes the socket: it is put off, not replaced.
        before = signal.getsignal(signal.SIGTERM)

        def begin(number: int, frame: FrameType | None) -> None:
            # The second signal means now, as people expect of Ctrl-C.
            wait_s = 0.0 if self.is_ending else self._grace_s
            if not self.is_ending:
                # A signal comes between any two steps: the loop may be in the middle of its own queue.
                loop.call_soon_threadsafe(on_ending)
            self.is_ending = True
            if not callable(before):
                return
            if wait_s:
                loop.call_soon_threadsafe(loop.call_later, wait_s, before, number, frame)
            else:  # not through the loop: whatever keeps it busy must not keep the signal from the server
                before(number, frame)

        signal.signal(signal.SIGTERM, begin)
