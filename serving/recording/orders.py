"""Has long work done by a process of its own, so that it does not hold up the answers beside it."""

import subprocess
import sys
import threading
from collections.abc import Sequence

import msgspec

from marquee.errors import EventLogError

_IDLE = "serving.workers.idle"
_END_S = 5.0
# The end of a traceback says what went wrong.
_COMPLAINT = 500


class OrderedProcess:
    """A module that reads an order from its standard input and prints an answer, one at a time.

    It computes on cores that nobody else wants, until that took longer than may be: then it is merely nice.

    Args:
        module: Its name.
        work: Names the work, for errors.
        patience_s: How long it may take, seconds.

    Attributes:
        command: How it is started.
        process: The last one that was, None before.
    """

    def __init__(self, module: str, work: str, patience_s: float) -> None:
        self._module = module
        self.command: Sequence[str] = (sys.executable, "-m", _IDLE, module)
        self._work = work
        self.patience_s = patience_s
        self._changing = threading.Lock()
        self.process: subprocess.Popen[bytes] | None = None
        self._is_closed = False

    def run(self, order: msgspec.Struct) -> bytes:
        """Returns the answer to an order; empty after `close`.

        Raises:
            EventLogError: If it fails, or takes too long.
        """
        with self._changing:
            # Between these two no process may start that nobody would end.
            if self._is_closed:
                return b""
            pipe = subprocess.PIPE
            process = self.process = subprocess.Popen(self.command, stdin=pipe, stdout=pipe, stderr=pipe)
        try:
            # By a pipe: an address may hold a password, and everybody may read the arguments of a process.
            told, complaint = process.communicate(msgspec.json.encode(order), self.patience_s)
        except subprocess.TimeoutExpired as error:
            # On a machine that is never idle it would never end.
            self.command = (sys.executable, "-m", _IDLE, self._module, "nice")
            raise EventLogError(
                f"{self._work} must not take longer than {self.patience_s:g} s; what is left is tried again"
            ) from error
        finally:
            _end(process)
        if process.returncode != 0:
            words = " ".join(complaint.decode(errors="replace").split())
            raise EventLogError(
                f"{self._work} ended with {process.returncode} ({words[-_COMPLAINT:]}); it is tried again"
            )
        return told

    def close(self) -> None:
        """Ends the process, and lets none begin any more."""
        with self._changing:
            self._is_closed = True
            if self.process is not None:
                self.process.kill()


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ends a process if it still runs, and waits for that."""
    if process.poll() is None:
        process.kill()
        # Not `wait`: this closes the pipes as well.
        process.communicate(timeout=_END_S)
