"""Which worker takes a new connection: one that does not hold many more than another.

All workers listen at one socket, and whichever wakes first takes whatever waits there. Of a gateway that
opens all of its connections at once, as most do, one worker would get them all and keep them for as long as
they live, while the others have nothing to do (test_connections_opened_at_once_are_shared_out).

BentoML leaves the socket to uvicorn and uvicorn leaves it to the event loop: so the loop is another one here.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from ssl import SSLContext
from typing import Any

import uvicorn.config
import uvloop

from serving.http.shared_memory import is_alive, shared_numbers

logger = logging.getLogger(__name__)

CONNECTIONS_FILE = "marquee-connections.bin"

YIELD_S = 0.001
"""How long a worker that holds more leaves a connection to the others, before it takes it all the same."""

_SLACK = 1
_RELATIVE_SLACK = 1 / 8
_OUT_OF_FILES_S = 0.5
_SLOTS_PER_WORKER = 2  # BentoML numbers its workers up to so many times theirs while it replaces some


class Share:
    """How many connections this worker holds, told to the others that listen with it.

    Args:
        n_workers: How many listen together.
        number: Which of them this one is.
        folder: Where they tell each other; None if this one is alone.
    """

    def __init__(self, n_workers: int = 1, number: int = 0, folder: Path | None = None) -> None:
        self._n_slots = n_workers * _SLOTS_PER_WORKER
        self._own = number % self._n_slots
        numbers = shared_numbers(
            2 * self._n_slots,
            folder / CONNECTIONS_FILE if folder is not None and n_workers > 1 else None,
            "each worker takes the connections that it comes by",
        )
        self._pids, self._held = numbers[: self._n_slots], numbers[self._n_slots :]
        self._held[self._own] = 0
        self._pids[self._own] = os.getpid()

    @property
    def n(self) -> int:
        """Connections that this worker holds."""
        return int(self._held[self._own])

    def add(self, n: int) -> None:
        """Counts n more connections, or fewer if n is negative."""
        self._held[self._own] += n

    def is_ample(self) -> bool:
        """Returns whether a living worker holds so much less that a new connection is to be left to it."""
        own = self._held[self._own]
        least = own / (1 + _RELATIVE_SLACK) - _SLACK
        return any(
            self._held[slot] < least and is_alive(int(self._pids[slot]))
            for slot in range(self._n_slots)
            if slot != self._own and self._pids[slot]
        )


def share_connections(share: Share) -> None:
    """Lets every uvicorn server that this process runs from now on take no more than its share.

    BentoML names no loop to uvicorn, so uvicorn looks up its default one: that entry is replaced.
    """

    def factory(use_subprocess: bool = False) -> Callable[[], SharingLoop]:  # noqa: ARG001  # uvicorn's name
        return partial(SharingLoop, share)

    loops: dict[str, Any] = uvicorn.config.LOOP_FACTORIES  # uvicorn's type asks for a name
    loops["auto"] = factory


class SharingLoop(uvloop.Loop):
    """uvloop, but for the way in which a server takes connections from a socket that it is given."""

    def __init__(self, share: Share) -> None:
        super().__init__()
        self._share = share

    async def create_server(  # type: ignore[override]  # uvloop's has more ways to listen, which nobody uses
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        *,
        sock: socket.socket,
        ssl: SSLContext | None = None,
        backlog: int = 100,
    ) -> "Listener":
        """Returns a server that takes its share of what comes to `sock`."""
        sock.setblocking(False)
        sock.listen(backlog)
        return Listener(self, protocol_factory, sock, ssl, self._share)


class Listener:
    """Takes connections from a socket, one at a time, and leaves them to others while it holds more."""

    def __init__(
        self,
        loop: uvloop.Loop,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        sock: socket.socket,
        ssl: SSLContext | None,
        share: Share,
    ) -> None:
        self._loop = loop
        self._protocol_factory = protocol_factory
        self._socket = sock
        self._ssl = ssl
        self._share = share
        self._beginnings: set[asyncio.Task[None]] = set()
        self._waiting: asyncio.TimerHandle | None = None
        self._is_open = True
        loop.add_reader(sock, self._take_unless_ample)

    def close(self) -> None:
        """Takes no more connections."""
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._socket)
            if self._waiting is not None:
                self._waiting.cancel()

    async def wait_closed(self) -> None:
        """Returns at once: uvicorn itself waits for the connections that there are."""

    def _take_unless_ample(self) -> None:
        """Takes a connection, or lets the others have it for a moment."""
        if self._share.is_ample():
            self._pause(YIELD_S)
        else:
            self._take()

    def _take(self) -> None:
        """Takes a connection if there is one."""
        try:
            connection, _ = self._socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another worker was faster, or the caller has left
        except (
            OSError
        ) as error:  # no more files, or no memory: whoever waits is not lost, and may be taken later
            logger.error("no connection can be taken for now: %s", error)
            self._pause(_OUT_OF_FILES_S)
            return
        connection.setblocking(False)
        self._share.add(1)
        beginning = self._loop.create_task(self._begin(connection))
        self._beginnings.add(beginning)
        beginning.add_done_callback(self._beginnings.discard)

    async def _begin(self, connection: socket.socket) -> None:
        """Hands a connection to a protocol of its own, which tells the share when it ends."""
        try:
            await self._loop.connect_accepted_socket(self._protocol_factory, connection, ssl=self._ssl)
        except Exception as error:  # a caller that breaks off in the middle of TLS, for one
            self._share.add(-1)
            logger.info("a connection did not come about: %r", error)
            with suppress(OSError):
                connection.close()

    def _pause(self, seconds: float) -> None:
        """Looks away from the socket for a moment; then takes what still waits there."""
        self._loop.remove_reader(self._socket)
        self._waiting = self._loop.call_later(seconds, self._resume)

    def _resume(self) -> None:
        """Takes what nobody else has taken, and looks at the socket again."""
        self._waiting = None
        self._loop.add_reader(self._socket, self._take_unless_ample)
        self._take()
