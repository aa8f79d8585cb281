"""Which worker takes a new connection: one that does not hold many more than another.

All workers listen at one socket, and whichever wakes first takes whatever waits there. Of a gateway that
opens all of its connections at once, as most do, one worker would get them all and keep them for as long as
they live, while the others have nothing to do (test_connections_opened_at_once_are_shared_out).

BentoML leaves the socket to uvicorn and uvicorn leaves it to the event loop: so the loop is another one here.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from ssl import SSLContext
from typing import Any

import uvicorn.config
import uvloop

from serving.workers.heartbeat import Heartbeat
from serving.workers.table import WorkerTable

logger = logging.getLogger(__name__)

YIELD_S = 0.001
"""How long a worker that holds more leaves a connection to the others, before it takes it all the same."""

LOADING_S = 0.02
"""How often a worker that cannot answer yet looks whether one that can is still there."""

_OUT_OF_FILES_S = 0.5


def share_connections(table: WorkerTable, heartbeat: Heartbeat) -> None:
    """Lets every uvicorn server that this process runs from now on take no more than its share.

    BentoML names no loop to uvicorn, so uvicorn looks up its default one: that entry is replaced.
    """

    def factory(use_subprocess: bool = False) -> Callable[[], SharingLoop]:  # noqa: ARG001  # uvicorn's name
        return partial(SharingLoop, table, heartbeat)

    loops: dict[str, Any] = uvicorn.config.LOOP_FACTORIES  # uvicorn's type asks for a name
    loops["auto"] = factory


class SharingLoop(uvloop.Loop):
    """uvloop, but for the way in which a server takes connections from a socket that it is given."""

    def __init__(self, table: WorkerTable, heartbeat: Heartbeat | None = None) -> None:
        super().__init__()
        self._table = table
        self._heartbeat = heartbeat

    async def create_server(  # type: ignore[override]  # uvloop's has more ways to listen, which nobody uses
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        *,
        sock: socket.socket,
        ssl: SSLContext | None = None,
        backlog: int = 100,
    ) -> "Listener":
        """Returns a server that takes its share of what comes to `sock`."""
        # Another worker may take the connection before `accept` does, which would then wait.
        sock.setblocking(False)
        sock.listen(backlog)
        if self._heartbeat is not None:
            self._heartbeat.begin(self)
        return Listener(self, protocol_factory, sock, ssl, self._table)


class Listener:
    """Takes connections from a socket, one at a time, and leaves them to others while it holds more."""

    def __init__(
        self,
        loop: uvloop.Loop,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        sock: socket.socket,
        ssl: SSLContext | None,
        table: WorkerTable,
    ) -> None:
        self._loop = loop
        self._protocol_factory = protocol_factory
        self._socket = sock
        self._ssl = ssl
        self._table = table
        self._beginnings: set[asyncio.Task[None]] = set()
        self._waiting: asyncio.TimerHandle | None = None
        self._is_open = True
        loop.add_reader(sock, self._take_unless_left)

    def close(self) -> None:
        """Takes no more connections."""
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._socket)
            if self._waiting is not None:
                self._waiting.cancel()

    async def wait_closed(self) -> None:
        """Returns at once: uvicorn itself waits for the connections that there are."""

    def _take_unless_left(self) -> None:
        """Takes a connection, or lets the others have it for a moment."""
        if self._table.leaves_all():
            self._pause(LOADING_S)
        elif self._table.has_enough():
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
        # Before the protocol begins: the others must see at once that it is taken.
        self._table.add(1)
        beginning = self._loop.create_task(self._begin(connection))
        # The loop holds tasks weakly: one that nobody holds may be collected before it ends.
        self._beginnings.add(beginning)
        beginning.add_done_callback(self._beginnings.discard)

    async def _begin(self, connection: socket.socket) -> None:
        """Hands a connection to a protocol of its own, which tells the table when it ends."""
        try:
            await self._loop.connect_accepted_socket(self._protocol_factory, connection, ssl=self._ssl)
        except Exception as error:  # a caller that breaks off in the middle of TLS, for one
            self._table.add(-1)
            logger.info("a connection did not come about: %r", error)
            with suppress(OSError):
                connection.close()

    def _pause(self, seconds: float) -> None:
        """Stops accepting for a moment; then takes a connection that still waits."""
        # A connection that is left waiting would call the reader again at once, in a busy loop.
        self._loop.remove_reader(self._socket)
        self._waiting = self._loop.call_later(seconds, self._resume)

    def _resume(self) -> None:
        """Takes the connection that no other worker has taken, and accepts again."""
        self._waiting = None
        self._loop.add_reader(self._socket, self._take_unless_left)
        if not self._table.leaves_all():
            self._take()
