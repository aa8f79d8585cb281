"""Processes of this machine that do tasks: orders go in and reports come out as lines of JSON.

Each is a fresh interpreter, not a fork: threads and locks of the libraries do not survive one. It reads its
orders in a thread beside the task, so it ends with the process that gave them, also in the middle of a task.
"""

import os
import selectors
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from training.distributed.work import perform

_LINE_BYTES = 2**16
_END_S = 10.0


@dataclass
class _Worker:
    """A process, its end of a socket pair, and what it is doing."""

    process: "subprocess.Popen[bytes]"
    socket: socket.socket
    number: int | None = None
    received: bytearray = field(default_factory=bytearray)


class LocalProcesses:
    """A fixed number of processes, each of which does one task at a time.

    Args:
        processes: How many; 0 for one per CPU that this process may use.
    """

    def __init__(self, processes: int) -> None:
        self.capacity = processes or len(os.sched_getaffinity(0))
        self._workers: list[_Worker] = []
        self._selector = selectors.DefaultSelector()

    def start(self, number: int, order: bytes) -> None:
        """Gives an order to an idle process; there are never more than `capacity` orders at a time."""
        worker = next((one for one in self._workers if one.number is None), None) or self._new_worker()
        worker.number = number
        # It may have ended while idle: `finished` reads the end of its socket and says so.
        with suppress(BrokenPipeError, ConnectionResetError):
            worker.socket.sendall(order + b"\n")

    def finished(self) -> Iterator[tuple[int, bytes | None, str]]:
        """Waits, then yields for each task that ended its number, its report, and how its process ended.

        The report is None where the process ended without one.
        """
        for key, _ in self._selector.select():
            worker: _Worker = key.data
            try:
                chunk = worker.socket.recv(_LINE_BYTES)
            except ConnectionResetError:
                chunk = b""
            worker.received += chunk
            number = worker.number
            if not chunk:
                how = self._remove(worker)
                if number is not None:
                    yield number, None, how
            elif worker.received.endswith(b"\n"):
                report = bytes(worker.received)
                worker.received.clear()
                worker.number = None
                assert number is not None, "a process reported without an order"
                yield number, report, ""

    def pids(self) -> list[int]:
        """Returns the process ids of the workers."""
        return [worker.process.pid for worker in self._workers]

    def close(self) -> None:
        """Ends all processes, also in the middle of a task."""
        while self._workers:
            worker = self._workers[-1]
            worker.process.kill()
            self._remove(worker)
        self._selector.close()

    def _new_worker(self) -> _Worker:
        """Starts a process."""
        ours, theirs = socket.socketpair()
        with theirs:
            # As this process finds its modules, wherever it was started.
            path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
            process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": path},
                # Ctrl-C is for the process that gives orders; its end ends the others.
                start_new_session=True,
            )
        worker = _Worker(process, ours)
        self._workers.append(worker)
        self._selector.register(ours, selectors.EVENT_READ, worker)
        return worker

    def _remove(self, worker: _Worker) -> str:
        """Takes leave of a process and returns in words how it ended."""
        self._selector.unregister(worker.socket)
        worker.socket.close()
        self._workers.remove(worker)
        try:
            status = worker.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            worker.process.kill()
            status = worker.process.wait()
        return f"signal {-status}" if status < 0 else f"status {status}"


def serve_orders(descriptor: int) -> None:
    """Does the orders that come through a socket until it ends."""
    given = socket.socket(fileno=descriptor)
    orders = given.makefile("rb")
    has_order = threading.Semaphore(0)
    waiting: list[bytes] = []

    def read() -> None:
        for line in orders:
            waiting.append(line)
            has_order.release()
        # Whoever gives orders is gone: its next run may do the same task at once.
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    while True:
        has_order.acquire()
        given.sendall(perform(waiting.pop(0)) + b"\n")


if __name__ == "__main__":
    serve_orders(int(sys.argv[1]))
