"""The connections of one worker: how many, how large and how slow a head may be, how slow a reader.

uvicorn, which BentoML serves with, waits for ever for the rest of a head, for the rest of an unread body, and
for a caller to read its reply. Here every wait has a limit. `exchange` decides what a body may be.

One timer looks at all connections, so that a request costs no timer of its own.
"""

import asyncio
import resource
import secrets
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import httptools
import msgspec
import uvicorn.config
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from serving.http.cors import read_by
from serving.http.errors import Problem, Refusal, unavailable
from serving.http.exchange import JSON, Reply
from serving.http.framing import PatientFlow, has_wrong_host, head_without_upgrade, new_parser, unread_coding
from serving.http.limits import MAX_HEADERS, MAX_PIPELINED, Limits
from serving.workers.table import WorkerTable

LOOK_S = 0.25
"""How often the connections are looked at, and so by how much a limit of time may be exceeded."""

LINGER_S = 1.0
"""How long a refused caller may go on sending: closed at once, the refusal would be lost to it."""

_SPARE_FILES = 256
_SEPARATORS = len(": \r\n")
_HEAD = "request line and headers"
_FRAMING = "sizes of chunks, their extensions and trailers together"

OnEnd = Callable[[str, int], None]
"""Told why a connection was ended, one of a few words, and with which status, 0 for none."""


def limit_connections(limits: Limits, on_end: OnEnd, workers: WorkerTable) -> None:
    """Lets every uvicorn server that this process configures from now on keep the limits.

    BentoML passes uvicorn no protocol, so uvicorn looks up its default one: that entry is replaced.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # As many connections again are open while they are being refused.
    wanted = 2 * limits.max_connections + _SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):  # fewer files then: the kernel refuses what is beyond them
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard) if hard >= 0 else wanted, hard))
    protocols: dict[str, Any] = uvicorn.config.HTTP_PROTOCOLS  # uvicorn's type asks for a name
    protocols["auto"] = partial(LimitedProtocol, table=ConnectionTable(limits, on_end, workers))


class ConnectionTable:
    """All connections of one worker, and the timer that looks at them."""

    def __init__(self, limits: Limits, on_end: OnEnd, workers: WorkerTable) -> None:
        self.limits = limits
        self.on_end = on_end
        self.workers = workers
        self.open: set[LimitedProtocol] = set()
        self._is_looking = False

    def add(self, connection: "LimitedProtocol") -> None:
        """Takes a connection in."""
        self.open.add(connection)
        if not self._is_looking:
            self._is_looking = True
            connection.loop.call_later(LOOK_S, self._look, connection.loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Ends connections whose wait is over; looks again while there are connections."""
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
        self.timeout_keep_alive = table.limits.keep_alive_s  # type: ignore[assignment]  # uvicorn asks for whole seconds
        self._table = table
        self._since: float | None = self.loop.time()  # start of the present wait; None: no wait
        self._is_surplus = False
        self._is_silent = True
        self._running: RequestResponseCycle | None = None
        self._reading: RequestResponseCycle | None = None  # whose body comes in
        self._is_in_body = False
        self._n_read = 0  # bytes of the head so far, those of the present chunk left out
        self._n_chunk = 0
        # Only bytes that bring a body forward are work; chunks of nothing but framing are an attack.
        self._n_framing = 0  # bytes since the body last grew: sizes of chunks, extensions, trailers
        self._n_trailers = 0  # bytes of complete trailers
        self._declined: bytes | None = None  # a head without the offer of another protocol
        self._is_deaf = False  # whatever still comes in is dropped
        self._refusal: Refusal | None = None  # to be told once all requests before have their replies
        self._refused_at: float | None = None
        self._unread_since: float | None = None
        self._unread_cycle: object = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Takes the connection in, unless there are far too many."""
        super().connection_made(transport)
        # uvicorn's own resumes reading while requests wait, which lets a caller fill the memory.
        self.flow = PatientFlow(transport, self.pipeline)
        self.parser = new_parser(self)
        n_open, most = len(self._table.open), self._table.limits.max_connections
        self._is_surplus = n_open >= most
        # A refusal costs memory as well: beyond twice as many nothing is said any more.
        if n_open >= 2 * most:
            self._end("too_many")
        else:
            self._table.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the connection."""
        self._table.open.discard(self)
        # `Listener` has counted it when it took it.
        self._table.workers.add(-1)
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
        if was_in_body:
            self._n_framing += len(data)
        elif self._since is None:
            self._since = self.loop.time()
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            if not self._is_deaf:
                self._refuse_malformed(f"the request must be HTTP/1.1, got something else: {error}")
        # Only bytes of a head count; `on_message_complete` sets the chunk to 0 where a head ended in it.
        if not (was_in_body or self._is_in_body or self._n_chunk == 0):
            self._n_read += len(data)
        if not self._is_deaf:
            self._validate_size()

    def _feed(self, data: bytes) -> None:
        """Parses bytes; raises HttpParserError if they are no request."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            head, self._declined = self._declined, None
            assert head is not None, "the parser stops at an offer whose head it has told"
            # httptools stops for good at an offer of another protocol, and has no way to go on.
            self.parser = new_parser(self)
            self._feed(head + data[offer.args[0] :])

    def _validate_size(self) -> None:
        """Refuses a head or a trailer that is too large, whether or not it has come to its end."""
        most = self._table.limits.max_header_bytes
        if not self._is_in_body and (self._n_read > most or len(self.headers or ()) > MAX_HEADERS):
            self._refuse_size(_HEAD, self._n_read)
        elif self._is_in_body and self._n_framing > most:
            self._refuse_size(_FRAMING, self._n_framing)

    def eof_received(self) -> None:
        """Lets a refused caller go once it has understood."""
        if self._refused_at is not None:
            self.transport.close()

    def on_message_begin(self) -> None:
        """Waits for the rest of the head."""
        if self._is_deaf:
            raise _RefusedError  # the request before was the last one
        super().on_message_begin()
        self._since = self.loop.time()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keeps a header; drops a trailer, which has passed no proxy's rules and so decides nothing."""
        if not self._is_in_body:
            super().on_header(name, value)
            return
        self._n_trailers += len(name) + len(value) + _SEPARATORS
        if self._n_trailers > self._table.limits.max_header_bytes:
            self._refuse_size(_FRAMING, self._n_trailers)
            raise _RefusedError

    def on_headers_complete(self) -> None:
        """Begins the answer, unless the head is too large or there are too many connections."""
        self._since = self.loop.time()
        self._validate_head()
        if (coding := unread_coding(self.headers)) is not None:
            self._refuse_malformed(f"Transfer-Encoding must be chunked, got {coding}; send the body as it is")
            raise _RefusedError
        if has_wrong_host(self.parser.get_http_version(), self.headers):
            self._refuse_malformed("HTTP/1.1 must have one Host header, got none or several; send one")
            raise _RefusedError
        if self.parser.should_upgrade():
            self._decline_upgrade()
            return
        self._is_in_body = True
        self._n_framing = self._n_trailers = 0
        if self._is_surplus:
            most = self._table.limits.max_connections
            self._refuse(unavailable(f"{most} connections are open; retry after a moment"), "too_many")
            raise _RefusedError
        # What was sent ahead is kept in memory; the connection closes after what was kept is answered.
        if len(self.pipeline) >= MAX_PIPELINED:
            self._is_deaf = True
            self.cycle.keep_alive = False  # the reply to the latest request that is kept is the last one
            self._table.on_end("too_many_sent_ahead", 0)
            raise _RefusedError
        super().on_headers_complete()
        self._reading = self.cycle
        if not self._table.workers.is_ready:
            self.cycle.keep_alive = False  # the next request may find a worker that can answer

    def _validate_head(self) -> None:
        """Refuses a head that is too large."""
        most = self._table.limits.max_header_bytes
        if self._n_read + self._n_chunk <= most and len(self.headers) <= MAX_HEADERS:
            return
        size = len(self.url) + sum(len(name) + len(value) + _SEPARATORS for name, value in self.headers)
        if size > most or len(self.headers) > MAX_HEADERS:
            self._refuse_size(_HEAD, size)
            raise _RefusedError

    def _decline_upgrade(self) -> None:
        """Has the head parsed again without its offer of another protocol."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse_malformed("the method must not be CONNECT: this is no proxy")
            raise _RefusedError
        self._declined = head_without_upgrade(method, self.url, self.parser.get_http_version(), self.headers)

    def on_body(self, body: bytes) -> None:
        """Hands a part of the body on."""
        self._n_framing = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Waits for the next request."""
        if self._declined is not None:
            return  # the parser takes the offer for the whole request
        super().on_message_complete()
        self._is_deaf = not self.cycle.keep_alive
        self._reading = None
        self._is_in_body = False
        self._since = None
        self._n_read = self._n_chunk = 0

    def on_response_complete(self) -> None:
        """Begins with the next request, or tells the refusal that waited for this reply."""
        super().on_response_complete()
        self.flow.resume_reading()  # uvicorn's own call came before it took the last request that waited
        if self._refusal is not None:
            self._tell_refusal()

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
        """Ends the connection if its present wait has exceeded its limit."""
        limits = self._table.limits
        if self._refused_at is not None:
            if now - self._refused_at > LINGER_S:
                self.transport.abort()
        elif self._is_unread_for_long(now):
            self._end("reply_not_read")
        elif self._since is not None and (self.cycle is None or self.cycle.response_complete):
            waited_s = now - self._since
            if self._is_in_body:
                # Later than `exchange` would: where it waits itself, its refusal must come first.
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
        """Ends a request whose headers never completed: with 408 if a byte had come, silently if none had."""
        if self._is_silent:
            self._end("idle")
            return
        timeout_ms = self._table.limits.header_timeout_s * 1000
        message = f"the headers must arrive within {timeout_ms:.0f} ms; send them faster"
        self._refuse(Refusal(Problem.request_too_slow, message), "headers_too_slow")

    def _refuse_size(self, what: str, size: int) -> None:
        """Refuses a head, or all that stands between two parts of a body, of `size` bytes or more."""
        limit = self._table.limits.max_header_bytes
        message = f"{what} may have at most {limit} bytes, got {size}; send fewer"
        self._refuse(Refusal(Problem.headers_too_large, message), "headers_too_large")

    def _refuse_malformed(self, message: str) -> None:
        """Refuses what is not HTTP as it is spoken here."""
        self._refuse(Refusal(Problem.malformed_request, message), "malformed")

    def _end(self, why: str) -> None:
        """Ends the connection without another word."""
        self._table.on_end(why, 0)
        self.transport.abort()

    def _refuse(self, refusal: Refusal, why: str) -> None:
        """Gives up the request being read; sends its refusal after the replies to all requests before it."""
        self._is_deaf = True
        self._refusal = refusal
        if self._reading is not None:
            self._give_up(self._reading)
        self._table.on_end(why, refusal.status if self._refusal else 0)
        self._tell_refusal()

    def _give_up(self, cycle: RequestResponseCycle) -> None:
        """Ends the request whose body is broken; a request that has its reply already gets no refusal."""
        waiting = [each for each in self.pipeline if each[0] is not cycle]
        if len(waiting) < len(self.pipeline):
            self.pipeline.clear()  # in place: `flow` looks at it
            self.pipeline.extend(waiting)
        elif cycle.response_started:
            self._refusal = None
            cycle.keep_alive = False
            if cycle.response_complete:
                self.transport.close()
        else:
            cycle.disconnected = True
            cycle.message_event.set()

    def _tell_refusal(self) -> None:
        """Sends the refusal as the last reply, unless others must come first."""
        running, refusal = self._running, self._refusal
        is_running = running is not None and not (running.response_complete or running.disconnected)
        if refusal is None or is_running or self.pipeline or self.transport.is_closing():
            return
        self._refusal = None
        self._refused_at = self.loop.time()
        self._unset_keepalive_if_required()
        request_id = secrets.token_hex(16)
        body = msgspec.json.encode(refusal.answer(request_id))
        headers = (
            *Reply(refusal.status, body, (*JSON, *refusal.headers)).all_headers(request_id),
            *read_by(self.headers or (), self._table.limits.origins),
            (b"connection", b"close"),
        )
        lines = b"".join([name + b": " + value + b"\r\n" for name, value in headers])
        self.transport.write(STATUS_LINE[refusal.status] + lines + b"\r\n" + body)
        if self.transport.can_write_eof():
            # Half closed: the caller still has bytes under way, and a full close would reset its reading.
            self.transport.write_eof()


class _RefusedError(Exception):
    """Stops the parser in the middle of a request that is refused."""
