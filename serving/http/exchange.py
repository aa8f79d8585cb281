"""One HTTP exchange over ASGI: reads a request within its limits and sends its reply."""

import asyncio
import re
import secrets
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Mapping,
    MutableMapping,
)
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from serving.http.errors import Problem, Refusal
from serving.http.settings import HttpSettings

Scope = MutableMapping[str, Any]  # ASGI's own types: what a key holds depends on the type of scope or event
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

Pairs = tuple[tuple[bytes, bytes], ...]
"""Headers by name, in order."""

MEDIA_TYPES_OF_JSON = ("application/json",)
MEDIA_TYPES_OF_JSON_LINES = ("application/x-ndjson", "application/jsonl")

JSON: Pairs = ((b"content-type", b"application/json"),)
HTML: Pairs = ((b"content-type", b"text/html; charset=utf-8"),)
CLOSE: Pairs = ((b"connection", b"close"),)
_OF_EVERY_REPLY: Pairs = (
    # Answers are for one user: no cache may give them to another.
    (b"cache-control", b"no-store"),
    # A browser must not guess that JSON with a text of ours in it is a page.
    (b"x-content-type-options", b"nosniff"),
    # For browsers that do not know `frame-ancestors` below.
    (b"x-frame-options", b"DENY"),
    # Paths and queries may name items: they leave the service with no link.
    (b"referrer-policy", b"no-referrer"),
)
# JSON that a browser is led to open must run nothing, whatever stands in it.
_NOTHING_TO_SHOW = b"default-src 'none'; frame-ancestors 'none'"
# It is written into logs and headers: nothing that could end a line or a value.
_SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
# Nine digits at most: `int` of thousands of digits takes its time.
_MILLISECONDS = re.compile(r"[1-9][0-9]{0,8}")
# Enough for any number of 64 bits: `int` of thousands of digits takes its time, and then refuses.
_MOST_DIGITS = 19
# The only parameter that changes nothing: JSON is UTF-8 (RFC 8259, section 8.1).
_UTF8 = frozenset({"", "charset=utf-8", "charset=utf8"})


class ClientLeft(Exception):  # noqa: N818 - nobody is at fault and nobody is left to be told
    """The caller closed the connection before its body was complete."""


_VERSION = re.compile(r'(?:W/)?"?([0-9]{1,18})"?')


@dataclass(frozen=True, slots=True)
class Headers:
    """The headers that decide how a request is read and named."""

    content_type: str
    content_encoding: str
    content_length: int
    expects_continue: bool
    authorization: str = field(repr=False)  # never in a log
    deadline_ms: str
    traceparent: str
    if_match: str
    request_id: str

    @classmethod
    def of(cls, pairs: Iterable[tuple[bytes, bytes]]) -> "Headers":
        """Returns the headers among `pairs`; a request id that is not sane is replaced by a new one."""
        found = dict(pairs)
        length = found.get(b"content-length", b"")
        request_id = found.get(b"x-request-id", b"")
        return cls(
            # Latin-1 reads any byte: odd headers are refused by their values, never by a UnicodeDecodeError.
            content_type=found.get(b"content-type", b"").decode("latin-1"),
            content_encoding=found.get(b"content-encoding", b"").decode("latin-1"),
            # No body is so long, and `int` of thousands of digits takes its time.
            content_length=int(length) if length.isdigit() and len(length) < 19 else 0,
            expects_continue=b"expect" in found,
            authorization=found.get(b"authorization", b"").decode("latin-1"),
            traceparent=found.get(b"traceparent", b"").decode("latin-1"),
            deadline_ms=found.get(b"x-deadline-ms", b"").decode("latin-1"),
            if_match=found.get(b"if-match", b"").decode("latin-1"),
            request_id=request_id.decode()
            if _SANE_REQUEST_ID.fullmatch(request_id)
            else secrets.token_hex(16),
        )


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply: a status, a body and the headers that are special to it."""

    status: int
    body: bytes
    headers: Pairs = JSON
    policy: bytes = _NOTHING_TO_SHOW

    def all_headers(self, request_id: str) -> Pairs:
        """Returns the headers of this reply, those included that every reply has."""
        # A 204 has no content, nor a length of it (RFC 9110, section 8.6).
        length = () if self.status == 204 else ((b"content-length", str(len(self.body)).encode()),)
        return (
            *self.headers,
            *length,
            (b"x-request-id", request_id.encode()),
            *_OF_EVERY_REPLY,
            (b"content-security-policy", self.policy),
        )

    async def send(self, send: Send, request_id: str, *, close: bool = False) -> None:
        """Sends this reply; with `close` it is the last one of its connection."""
        headers = self.all_headers(request_id)
        if close:
            headers = (*headers, *CLOSE)
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


@dataclass(slots=True)
class Call:
    """One request on its way through the service, with the facts that its handling adds.

    Attributes:
        request_id: Its name.
        started: When it began, seconds of `time.perf_counter`.
        deadline_s: Seconds within which it is answered or refused, from when its body is there.
        parameters: Values of the parameters in its path.
        query: Values of the parameters in its query.
        if_match: The version that it is to replace, as the header of that name says it.
        key: Name of the key that let it in, '' if none was needed.
        caller: Whose turn it takes where requests wait: the key's, or its connection's.
        sees_more: Whether it may be told all, where a route tells less to those without the right.
        charge: Counts so many more requests to that key.
        charge_work: Counts work beyond that of plain requests to that key, in plain requests.
        facts: What the log says of it beside its route and status.
        stages: Seconds by stage, for a request that went through the model.
        status: Of an answer that is no `Reply` of its own.
    """

    request_id: str
    started: float
    deadline_s: float = 0.0
    parameters: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    if_match: str = ""
    key: str = ""
    sees_more: bool = True
    caller: str = ""
    charge: Callable[[int], None] = lambda _n: None
    charge_work: Callable[[float], None] = lambda _cost: None
    facts: dict[str, str | int] = field(default_factory=dict)
    stages: dict[str, float] = field(default_factory=dict)
    status: int = 200


def read_query(query_string: bytes, names: Collection[str]) -> dict[str, str]:
    """Returns the parameters of a query string.

    Args:
        query_string: As it was sent.
        names: The parameters that the route knows.

    Raises:
        Refusal: If a parameter is unknown or given twice: one that is misspelt would act on the default.
    """
    # Most requests have none, and need no parser.
    if not query_string:
        return {}
    given: dict[str, str] = {}
    for name, value in parse_qsl(query_string.decode("latin-1"), keep_blank_values=True):
        if name not in names:
            raise Refusal(
                Problem.invalid_request,
                f"the query may hold {_listed(names)}, got {name[:64]!r}; correct it or leave it out",
                field=name[:64],
            )
        if name in given:
            raise Refusal(
                Problem.invalid_request,
                f"query parameter {name} must be given once, got {given[name][:64]!r} and {value[:64]!r}; "
                "send one of them",
                field=name,
            )
        given[name] = value
    return given


def read_number(query: Mapping[str, str], name: str, default: int, most: int) -> int:
    """Returns a number of a query; raises Refusal if it is none from 1 to `most`.

    Args:
        query: As `read_query` returns it.
        name: Of the parameter.
        default: Where it is left out.
        most: The largest.
    """
    text = query.get(name, str(default))
    # The whole text or none of it: what its first digits say is not what `int` makes of all of them.
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else 0
    if not 1 <= number <= most:
        raise Refusal(
            Problem.invalid_request,
            f"{name} must be an integer from 1 to {most}, got {text[:64]!r}; correct it or leave it out",
            field=name,
        )
    return number


def read_version(if_match: str, thing: str) -> int:
    """Returns the version that the header `If-Match` names; raises Refusal if it names none.

    Args:
        if_match: The header.
        thing: That has the version, for the message.
    """
    found = _VERSION.fullmatch(if_match.strip())
    if found is None:
        raise Refusal(
            Problem.version_needed,
            f"the header If-Match must name the version of {thing} that is replaced, got {if_match[:64]!r}; "
            "read it first and send its version",
        )
    return int(found[1])


def _listed(names: Collection[str]) -> str:
    """Returns the parameters that a query may hold, in words."""
    return " and ".join(sorted(names)) if names else "nothing"


def validate_json_request(headers: Headers, media_types: tuple[str, ...] = MEDIA_TYPES_OF_JSON) -> None:
    """Raises Refusal unless a request says that its body is plain, in one of the media types."""
    media_type, _, parameter = headers.content_type.lower().partition(";")
    if media_type.strip() not in media_types or parameter.strip().replace('"', "") not in _UTF8:
        raise Refusal(
            Problem.unsupported_media_type,
            f"Content-Type must be {' or '.join(media_types)} in UTF-8, got {headers.content_type[:120]!r}; "
            f"send the header Content-Type: {media_types[0]}",
        )
    if headers.content_encoding.lower() not in {"", "identity"}:
        raise Refusal(
            Problem.unsupported_media_type,
            f"Content-Encoding must be absent, got {headers.content_encoding[:120]!r}; "
            "send the body uncompressed",
        )


def deadline_within(headers: Headers, settings: HttpSettings) -> float:
    """Returns the seconds within which a request is to be answered: the caller's, or ours if they are fewer.

    Raises:
        Refusal: If the caller's are no number.
    """
    if not headers.deadline_ms:
        return settings.deadline_ms / 1000
    if not _MILLISECONDS.fullmatch(headers.deadline_ms):
        raise Refusal(
            Problem.invalid_request,
            f"X-Deadline-Ms must be an integer from 1 to {10**9 - 1}, got {headers.deadline_ms[:32]!r}; send "
            "the milliseconds that you still wait, or leave it out",
        )
    # A caller may wait less than the operator allows, never more.
    return min(int(headers.deadline_ms), settings.deadline_ms) / 1000


async def read_body(
    receive: Receive, headers: Headers, settings: HttpSettings, limit: int | None = None
) -> bytes:
    """Returns the whole body.

    Of a body that is too large the rest is read and dropped, within the time that a body has: a caller
    that is still sending would otherwise see a broken connection in place of the refusal.

    Args:
        receive: Gives the pieces of the body.
        headers: Of the request.
        settings: Say how long a body may take.
        limit: Most bytes; None for `max_body_bytes`.

    Raises:
        Refusal: If the body is larger or slower than the settings allow.
        ClientLeft: If the connection is gone.
    """
    limit = settings.max_body_bytes if limit is None else limit
    # Before the first `receive`, at which uvicorn asks for the body with 100 Continue.
    if headers.expects_continue and headers.content_length > limit:
        raise _too_large(headers.content_length, limit, close=True)
    chunks: list[bytes] = []
    size = 0
    is_complete = False
    try:
        async with asyncio.timeout(settings.body_timeout_ms / 1000):
            while not is_complete:
                event = await receive()
                # Nobody is left to be told: this is counted, not answered.
                if event["type"] == "http.disconnect":
                    raise ClientLeft(f"the connection closed after {size} bytes")
                chunk = event.get("body", b"")
                is_complete = not event.get("more_body", False)
                size += len(chunk)
                if size <= limit:
                    chunks.append(chunk)
                else:
                    # Counted from here on and not kept: memory stays within the limit.
                    chunks.clear()
    except TimeoutError:
        # A body that is too large already is refused as such below, however slow it is.
        if size <= limit:
            raise Refusal(
                Problem.request_too_slow,
                f"the body must arrive within {settings.body_timeout_ms} ms, got {size} bytes of it; "
                "send it faster, or less of it",
                headers=CLOSE,  # what is left of the body is not read: the connection is of no more use
            ) from None
    if size > limit:
        raise _too_large(size, limit, close=not is_complete)
    return b"".join(chunks) if len(chunks) > 1 else bytes(chunks[0])


async def read_chunks(receive: Receive, settings: HttpSettings) -> AsyncIterator[bytes]:
    """Gives the pieces of a body of any length as they come; none is kept.

    What a caller has not been asked for yet waits in the kernel: the server reads on only when the pieces
    before are taken.

    Args:
        receive: Gives the pieces of the body.
        settings: Say how long a body may take, here from one piece to the next.

    Raises:
        Refusal: If nothing more comes for too long.
        ClientLeft: If the connection is gone.
    """
    size, is_complete = 0, False
    while not is_complete:
        chunk = b""
        try:
            async with asyncio.timeout(settings.body_timeout_ms / 1000):
                while not chunk and not is_complete:  # a piece without a byte is no progress
                    event = await receive()
                    if event["type"] == "http.disconnect":
                        raise ClientLeft(f"the connection closed after {size} bytes")
                    chunk = event.get("body", b"")
                    is_complete = not event.get("more_body", False)
        except TimeoutError:
            raise Refusal(
                Problem.request_too_slow,
                f"a body must go on within {settings.body_timeout_ms} ms, got {size} bytes and then none; "
                "send it without such pauses",
                headers=CLOSE,  # what is left of the body is not read: the connection is of no more use
            ) from None
        size += len(chunk)
        yield chunk


def _too_large(size: int, limit: int, *, close: bool) -> Refusal:
    """Returns the refusal of a body of `size` bytes or more."""
    return Refusal(
        Problem.body_too_large,
        f"the body may have at most {limit} bytes, got {size}; send less, or several requests",
        headers=CLOSE if close else (),
    )


async def collect(app: AsgiApp, scope: Scope, receive: Receive) -> Reply:
    """Returns the whole reply of an ASGI application.

    Raises:
        RuntimeError: If the application returns without having replied.
    """
    events: list[Event] = []

    async def keep(event: Event) -> None:
        events.append(event)

    await app(scope, receive, keep)
    # An application that returns in silence would leave the caller waiting.
    if not events or events[0]["type"] != "http.response.start":
        raise RuntimeError(f"{scope['path']} returned without a reply, got {len(events)} events")
    # `Reply` gives the length of the body that it sends.
    headers = tuple((name, value) for name, value in events[0]["headers"] if name != b"content-length")
    return Reply(events[0]["status"], b"".join(event.get("body", b"") for event in events[1:]), headers)
