"""The connections of one worker: how many, how large and how slow a head may be, how slow a reader.

uvicorn, which BentoML serves with, waits for ever for the rest of a head, for the rest of a body that nobody
reads, and for a caller to read its reply. Here every wait ends. What a body may be is decided in `exchange`.

One timer looks at all connections, so that a request costs no timer of its own.
"""

import asyncio
import resource
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import httptools
import msgspec
import uvicorn.config
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from serving.http.errors import Problem, Refusal, unavailable
from serving.http.exchange import JSON, Reply
from serving.http.listening import Share
from serving.http.settings import HttpSettings

LOOK_S = 0.25
"""How often the connections are looked at, and so by how much a limit of time may be exceeded."""

LINGER_S = 1.0
"""How long a refused caller may go on sending: closed at once, the refusal would be lost to it."""

_SPARE_FILES = 256

OnEnd = Callable[[str, int], None]
"""Told why a connection was ended, one of a few words, and with which status, 0 for none."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a connection may take.

    Attributes:
        max_connections: So many are served; as many again are refused with 503, more are dropped.
        max_header_bytes: Request line and headers.
        header_timeout_s: From the first byte of a request, or the beginning of the connection, to the end of
            the headers.
        body_timeout_s: From there to the end of a body that was answered before it was complete.
        write_timeout_s: From the end of a reply until the caller has read it.
    """

    max_connections: int
    max_header_bytes: int
    header_timeout_s: float
    body_timeout_s: float
    write_timeout_s: float

    @classmethod
    def of(cls, settings: HttpSettings) -> "Limits":
        """Returns what the operator set."""
        return cls(
            max_connections=settings.max_connections,
            max_header_bytes=settings.max_header_bytes,
            header_timeout_s=settings.header_timeout_ms / 1000,
            body_timeout_s=settings.body_timeout_ms / 1000,
            write_timeout_s=settings.write_timeout_ms / 1000,
        )


def limit_connections(limits: Limits, on_end: OnEnd, share: Share) -> None:
    """Lets every uvicorn server that this process configures from now on keep the limits.

    BentoML passes uvicorn no protocol, so uvicorn looks up its default one: that entry is replaced.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * limits.max_connections + _SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):  # fewer files then: the kernel refuses what is beyond them
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard) if hard >= 0 else wanted, hard))
    protocols: dict[str, Any] = uvicorn.config.HTTP_PROTOCOLS  # uvicorn's type asks for a name
    protocols["auto"] = partial(LimitedProtocol, table=ConnectionTable(limits, on_end, share))


class ConnectionTable:
    """All connections of one worker, and the timer that looks at them."""

    def __init__(self, limits: Limits, on_end: OnEnd, share: Share) -> None:
        self.limits = limits
        self.on_end = on_end
        self.share = share
        self.open: set[LimitedProtocol] = set()
        self._is_looking = False

    def add(self, connection: "LimitedProtocol") -> None:
        """Takes a connection in."""
        self.open.add(connection)
        if not self._is_looking:
            self._is_looking = True
            connection.loop.call_later(LOOK_S, self._look, connection.loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Ends what has waited too long; looks again while there is a connection."""
        now = loop.time()
        for connection in list(self.open):
            connection.end_if_late(now)
        self._is_looking = bool(self.open)
        if self._is_looking:
            loop.call_later(LOOK_S, self._look, loop)


class LimitedProtocol(HttpToolsProtocol):
    """One connection that keeps the limits."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        table: ConnectionTable,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.access_log = (
            False  # `app` writes a line of each request; uvicorn's would be made and thrown away
        )
        self._table = table
        self._since: float | None = self.loop.time()  # when what is now waited for began; None: nothing is
        self._is_surplus = False
        self._is_silent = True
        self._running: RequestResponseCycle | None = None
        self._is_in_body = False
        self._n_read = 0  # bytes of the head so far, those of the present chunk left out
        self._n_chunk = 0
        self._is_deaf = False  # whatever still comes in is dropped
        self._refused_at: float | None = None
        self._unread_since: float | None = None
        self._unread_cycle: object = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Takes the connection in, unless there are far too many."""
        super().connection_made(transport)
        n_open, most = len(self._table.open), self._table.limits.max_connections
        self._is_surplus = n_open >= most
        if n_open >= 2 * most:
            self._end("too_many")
        else:
            self._table.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the connection."""
        self._table.open.discard(self)
        self._table.share.add(-1)
        if self._running is not None:
            self._running.disconnected = True  # uvicorn tells only the latest of pipelined requests
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Reads on, unless the head is too large or the request is refused already."""
        if self._is_deaf:
            return
        self._unset_keepalive_if_required()
        self._is_silent = False
        self._n_chunk = len(data)
        was_in_body = self._is_in_body
        if self._since is None and not was_in_body:
            self._since = self.loop.time()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # answered like any other request
        except httptools.HttpParserError as error:
            if not self._is_deaf:
                self._refuse(
                    Refusal(
                        Problem.malformed_request, f"the request must be HTTP/1.1, got what is none: {error}"
                    ),
                    "malformed",
                )
        if not (was_in_body or self._is_in_body or self._n_chunk == 0):
            self._n_read += len(data)
            if self._n_read > self._table.limits.max_header_bytes and not self._is_deaf:
                self._refuse_head(self._n_read)

    def eof_received(self) -> None:
        """Lets a refused caller go once it has understood."""
        if self._is_deaf:
            self.transport.close()

    def on_message_begin(self) -> None:
        """Waits for the rest of the head."""
        super().on_message_begin()
        self._since = self.loop.time()

    def on_headers_complete(self) -> None:
        """Begins the answer, unless the head is too large or there are too many connections."""
        self._is_in_body = True
        self._since = self.loop.time()
        if self._n_read + self._n_chunk > self._table.limits.max_header_bytes:
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > self._table.limits.max_header_bytes:
                self._refuse_head(size)
                raise _RefusedError
        if self._is_surplus:
            most = self._table.limits.max_connections
            self._refuse(unavailable(f"{most} connections are open; retry after a moment"), "too_many")
            raise _RefusedError
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Waits for the next request."""
        super().on_message_complete()
        self._is_in_body = False
        self._since = None
        self._n_read = self._n_chunk = 0

    def timeout_keep_alive_handler(self) -> None:
        """Ends an idle connection; where a reply is not read yet, `end_if_late` does."""
        if self.transport.get_write_buffer_size() == 0:
            super().timeout_keep_alive_handler()
        else:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Begins with an answer."""
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _should_upgrade(self) -> bool:
        """Returns False: nothing here speaks another protocol."""
        return False

    def end_if_late(self, now: float) -> None:
        """Ends the connection if what is waited for has not come in time."""
        limits = self._table.limits
        if self._refused_at is not None:
            if now - self._refused_at > LINGER_S:
                self.transport.abort()
        elif self._is_unread_for_long(now):
            self._end("reply_not_read")
        elif self._since is not None and (self.cycle is None or self.cycle.response_complete):
            waited_s = now - self._since
            if self._is_in_body:
                if waited_s > limits.body_timeout_s + LOOK_S:  # `exchange` refuses those that it reads
                    self._end("body_too_slow")
            elif waited_s > limits.header_timeout_s:
                self._end_head()

    def _is_unread_for_long(self, now: float) -> bool:
        """Returns whether the caller has left a reply unread for too long."""
        if self.transport.get_write_buffer_size() == 0:
            self._unread_since = None
            return False
        if self._unread_since is None or self._unread_cycle is not self.cycle:
            self._unread_since, self._unread_cycle = now, self.cycle
        return now - self._unread_since > self._table.limits.write_timeout_s

    def _end_head(self) -> None:
        """Refuses a head that does not come to its end; of whom nothing came at all nothing is told."""
        if self._is_silent:
            self._end("idle")
            return
        timeout_ms = self._table.limits.header_timeout_s * 1000
        self._refuse(
            Refusal(
                Problem.request_too_slow,
                f"the headers must arrive within {timeout_ms:.0f} ms; send them faster",
            ),
            "headers_too_slow",
        )

    def _refuse_head(self, size: int) -> None:
        """Refuses a head of `size` bytes or more."""
        limit = self._table.limits.max_header_bytes
        message = f"request line and headers may have at most {limit} bytes, got {size}; send fewer"
        self._refuse(Refusal(Problem.headers_too_large, message), "headers_too_large")

    def _end(self, why: str) -> None:
        """Ends the connection without another word."""
        self._table.on_end(why, 0)
        self.transport.abort()

    def _refuse(self, refusal: Refusal, why: str) -> None:
        """Sends a refusal as the last reply, and drops what still comes in for a moment."""
        self._is_deaf = True
        self._table.on_end(why, refusal.status)
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False  # the reply to the request before comes first, and is the last
            return
        self._refused_at = self.loop.time()
        self._unset_keepalive_if_required()
        request_id = secrets.token_hex(16)
        body = msgspec.json.encode(refusal.answer(request_id))
        headers = (
            *Reply(refusal.status, body, (*JSON, *refusal.headers)).all_headers(request_id),
            (b"connection", b"close"),
        )
        lines = b"".join([name + b": " + value + b"\r\n" for name, value in headers])
        self.transport.write(STATUS_LINE[refusal.status] + lines + b"\r\n" + body)
        if self.transport.can_write_eof():
            self.transport.write_eof()


class _RefusedError(Exception):
    """Stops the parser in the middle of a request that is refused."""
