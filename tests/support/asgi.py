"""One HTTP request to an ASGI application without a server, down to the single events."""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from serving.http.exchange import AsgiApp, Event, Receive, Scope, Send

JSON_HEADERS = {"content-type": "application/json"}


@dataclass(frozen=True)
class Response:
    """The reply."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Mapping[str, str]:
        """The one error envelope, which must hold nothing else."""
        (error,) = [value for key, value in self.json().items() if key == "error"]
        assert set(self.json()) == {"error"}
        assert {"code", "message", "request_id"} <= set(error) <= {"code", "message", "request_id", "field"}
        return error  # type: ignore[no-any-return]  # JSON, as asserted


async def no_bentoml(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """In place of BentoML's application, where a test asks for nothing of its own."""
    raise AssertionError("nothing of BentoML's is asked for here")


def scope(method: str, path: str, headers: Mapping[str, str], query: str = "") -> Scope:
    pairs = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": quote(path).encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": pairs,
        "scheme": "http",
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }


def receiving(events: Iterable[Event]) -> Receive:
    """Returns a `receive` that gives the events and then nothing, for ever."""
    remaining = list(events)

    async def receive() -> Event:
        if not remaining:
            await asyncio.Event().wait()
        return remaining.pop(0)

    return receive


def body_events(*chunks: bytes) -> list[Event]:
    """Returns the events of a body that arrives in chunks."""
    return [
        {"type": "http.request", "body": chunk, "more_body": position < len(chunks) - 1}
        for position, chunk in enumerate(chunks)
    ]


async def request(
    app: AsgiApp,
    method: str,
    path: str,
    body: bytes | Sequence[Event] = b"",
    headers: Mapping[str, str] = JSON_HEADERS,
    query: str = "",
) -> Response:
    """Returns the response to one request; fails if there is none or more than one."""
    sent: list[Event] = []

    async def send(event: Event) -> None:
        sent.append(event)

    events = body_events(body) if isinstance(body, bytes) else body
    await asyncio.wait_for(app(scope(method, path, headers, query), receiving(events), send), timeout=10)
    start, *parts = sent
    assert start["type"] == "http.response.start"
    assert [part["type"] for part in parts] == ["http.response.body"]
    received = {name.decode(): value.decode() for name, value in start["headers"]}
    return Response(start["status"], received, parts[0]["body"])
