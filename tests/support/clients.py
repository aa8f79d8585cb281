"""Both clients over a service that a test writes down, in a time that only tests let pass."""

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from marquee.client import AsyncClient, Client

ANSWER = {
    "request_id": "r-1",
    "version": "v-1",
    "source": "personal",
    "items": [{"item_id": "i001", "score": 2.5, "kind": "content"}],
    "requested": 1,
    "returned": 1,
}

Step = httpx.Response | Exception


@dataclass
class FakeTime:
    """A clock that goes forward only when somebody waits."""

    now: float = 100.0
    waited: list[float] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.now += seconds

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)


@dataclass
class Script:
    """A service that does one step after the other; the last one for ever."""

    steps: Sequence[Step]
    seen: list[httpx.Request] = field(default_factory=list)
    on_request: Callable[[], None] = lambda: None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        step = self.steps[min(len(self.seen), len(self.steps) - 1)]
        self.seen.append(request)
        self.on_request()
        if isinstance(step, Exception):
            raise step
        return httpx.Response(step.status_code, headers=step.headers, content=step.content)

    @property
    def bodies(self) -> list[Any]:
        return [json.loads(request.content) for request in self.seen if request.content]


class Awaited:
    """An `AsyncClient` whose methods can be called from a test that is not asynchronous."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._client, name)
        return (lambda *given, **named: asyncio.run(member(*given, **named))) if callable(member) else member


AnyClient = Client | Any
"""`Client` or `Awaited`, which has the same methods."""


def client_of(kind: str, script: Script, fake: FakeTime | None = None, **options: Any) -> AnyClient:
    """Returns a client of a kind, `sync` or `async`, that asks `script`."""
    fake = fake or FakeTime()
    transport = httpx.MockTransport(script)
    options = {"rng": random.Random(0), "clock": fake.clock, "transport": transport, **options}
    if kind == "sync":
        return Client("http://service", sleep=fake.sleep, **options)
    return Awaited(AsyncClient("http://service", sleep=fake.sleep_async, **options))


def answered(body: object = None, status: int = 200, **headers: str) -> httpx.Response:
    """Returns a reply of the service."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, headers=named, json=ANSWER if body is None else body)


def refused(
    status: int, code: str = "unavailable", field: str | None = None, **headers: str
) -> httpx.Response:
    """Returns a refusal of the service."""
    error = {"code": code, "message": "no", "request_id": "r-2"} | ({"field": field} if field else {})
    return answered({"error": error}, status, **headers)
