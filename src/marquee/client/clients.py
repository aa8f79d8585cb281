"""The two clients: the same calls, once for threads and once for asyncio.

Everything that decides lies in `calls` and `retries`; here is only what sends, reads and waits.
"""

import asyncio
import random
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Self, TypeVar

import httpx

from marquee.client import calls
from marquee.client.calls import Call
from marquee.client.errors import RefusedError, ServiceError
from marquee.client.messages import (
    BundleAnswer,
    ItemsAnswer,
    ItemsRequest,
    RecommendAnswer,
    RecommendRequest,
    ReleasesAnswer,
    RolloutAnswer,
    SimilarRequest,
)
from marquee.client.retries import Course, RetryBudget, RetryPolicy

Answer = TypeVar("Answer")

DEADLINE_S = 2.0
MAX_CONNECTIONS = 100
_KEEPALIVE_S = 4.0  # the service closes a connection that is idle for 5 s; whoever closes first loses nothing


MAX_DEADLINE_S = 86_400.0
_KEY = re.compile(r"[\x21-\x7e]*")


def _validate_seconds(name: str, seconds: float | None) -> None:
    """Raises ValueError unless a time is one that a call may take; None is none."""
    if seconds is not None and not 0 < seconds <= MAX_DEADLINE_S:
        raise ValueError(
            f"{name} must be more than 0 and at most {MAX_DEADLINE_S:.0f}, got {seconds}; 2 is usual"
        )


class _Settings:
    """What both clients hold beside their connections."""

    def __init__(
        self, url: str, key: str, deadline_s: float, attempt_s: float | None, retries: RetryPolicy | None
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"url must begin with http:// or https://, got {url!r}; add it")
        if not _KEY.fullmatch(key):
            raise ValueError(f"key must be printable ASCII without spaces, got {len(key)} others; strip it")
        for name, seconds in (("deadline_s", deadline_s), ("attempt_s", attempt_s)):
            _validate_seconds(name, seconds)
        self.policy = retries or RetryPolicy()
        self.budget = RetryBudget(self.policy)
        self.deadline_s = deadline_s
        self.attempt_s = attempt_s
        self.url = url.rstrip("/")
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.limits = httpx.Limits(
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=MAX_CONNECTIONS,
            keepalive_expiry=_KEEPALIVE_S,
        )

    def course(self, deadline_s: float | None, clock: Callable[[], float], rng: random.Random) -> Course:
        """Returns the attempts of a call that begins now; raises ValueError for an impossible deadline."""
        # None left is no mistake: a caller passes on what remains of its own time, and nothing is sent.
        if deadline_s is not None and not deadline_s <= 0:
            _validate_seconds("deadline_s", deadline_s)
        return Course(
            self.policy, self.budget, self.deadline_s if deadline_s is None else deadline_s, clock, rng
        )

    def attempt_within(self, left_s: float) -> float:
        """Returns the seconds that one attempt may take of those that are left."""
        return left_s if self.attempt_s is None else min(left_s, self.attempt_s)


class Client:
    """Asks the service; may be shared by threads.

    A call that fails for a reason that may pass (no connection, a broken one, no reply in time, 429, 503
    and a proxy's 502 and 504) is repeated after a pause, at least as long as `Retry-After` says. Proxies that
    the environment names are not used: give a `transport` that uses one.

    Args:
        url: Where the service answers, such as `http://127.0.0.1:3000`.
        key: API key; empty for a service that is open.
        deadline_s: Seconds that a call may take with all of its attempts, unless the call says otherwise.
            Each attempt tells the service how much is left. Where a reply trickles in, a call may take one
            more such time.
        attempt_s: Seconds that one attempt may take; None: all that is left. Set it where a worker of the
            service may hang, so that there is time left to ask another.
        retries: How patient to be.
        transport: What sends in place of httpx's own; for certificates, proxies and tests.
        clock: Returns seconds that only go forward.
        sleep: Waits so many seconds.
        rng: Draws the pauses.

    Raises:
        ValueError: If a number is out of range or the url is none.
    """

    def __init__(  # noqa: PLR0913 - all but the first are rarely given, and by name
        self,
        url: str,
        *,
        key: str = "",
        deadline_s: float = DEADLINE_S,
        attempt_s: float | None = None,
        retries: RetryPolicy | None = None,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        rng: random.Random | None = None,
    ) -> None:
        self._settings = _Settings(url, key, deadline_s, attempt_s, retries)
        self._clock = clock
        self._sleep = sleep
        self._rng = rng or random.Random()
        self._http = httpx.Client(
            base_url=self._settings.url,
            headers=self._settings.headers,
            limits=self._settings.limits,
            transport=transport,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    @property
    def url(self) -> str:
        """Where the service answers."""
        return self._settings.url

    @property
    def retries(self) -> Mapping[str, int]:
        """Retries so far, by what had failed: a status, `unreachable` or `timed_out`."""
        return self._settings.budget.spent

    def recommend(self, request: RecommendRequest, *, deadline_s: float | None = None) -> RecommendAnswer:
        """Returns the best items for a user, a history, features, or whoever comes; raises ServiceError."""
        return self._ask(calls.recommend(request), deadline_s)

    def recommend_batch(
        self, requests: Sequence[RecommendRequest], *, deadline_s: float | None = None
    ) -> list[RecommendAnswer | RefusedError]:
        """Returns an answer or an error for each request; raises ServiceError if the whole call fails."""
        return self._ask(calls.recommend_batch(requests), deadline_s)

    def similar(self, request: SimilarRequest, *, deadline_s: float | None = None) -> RecommendAnswer:
        """Returns the items most like one; raises ServiceError."""
        return self._ask(calls.similar(request), deadline_s)

    def bundle(self, *, deadline_s: float | None = None) -> BundleAnswer:
        """Returns which bundle answers; raises ServiceError."""
        return self._ask(calls.bundle(), deadline_s)

    def releases(self, *, deadline_s: float | None = None) -> ReleasesAnswer:
        """Returns the releases that there are, newest first; raises ServiceError."""
        return self._ask(calls.releases(), deadline_s)

    def activate(self, version: str, *, deadline_s: float | None = None) -> RolloutAnswer:
        """Lets a release answer, once it is loaded and warm: allow it seconds; raises ServiceError."""
        return self._ask(calls.activate(version), deadline_s)

    def put_items(self, request: ItemsRequest, *, deadline_s: float | None = None) -> ItemsAnswer:
        """Adds items, or says them anew; needs a key that is good for items; raises ServiceError."""
        return self._ask(calls.put_items(request), deadline_s)

    def withdraw_item(
        self, item_id: str, *, surface: str | None = None, deadline_s: float | None = None
    ) -> ItemsAnswer:
        """Withdraws an item from every answer; needs such a key as well; raises ServiceError."""
        return self._ask(calls.withdraw_item(item_id, surface), deadline_s)

    def is_alive(self) -> bool:
        """Returns whether the service lives, asked once."""
        return self._is_well("/livez")

    def is_ready(self) -> bool:
        """Returns whether the service takes requests, asked once."""
        return self._is_well("/readyz")

    def _is_well(self, path: str) -> bool:
        """Returns whether a health path answers 200."""
        try:
            self._attempt(calls.health(path), self._settings.deadline_s, uuid.uuid4().hex)
        except ServiceError:
            return False
        return True

    def _ask(self, call: Call[Answer], deadline_s: float | None) -> Answer:
        """Returns the answer to a call, after as many attempts as it takes and may take."""
        course = self._settings.course(deadline_s, self._clock, self._rng)
        request_id = uuid.uuid4().hex
        while True:
            left_s = course.begin_attempt()
            try:
                return self._attempt(call, left_s, request_id)
            except ServiceError as failure:
                pause_s = course.pause_before_next(failure)
            self._sleep(pause_s)

    def _attempt(self, call: Call[Answer], left_s: float, request_id: str) -> Answer:
        """Returns the answer to a call that is sent once."""
        attempt_s = self._settings.attempt_within(left_s)
        ends = self._clock() + attempt_s
        body = bytearray()
        try:
            with self._http.stream(
                call.method,
                call.path,
                content=call.content,
                headers=call.headers(request_id, left_s),
                timeout=attempt_s,
            ) as response:
                for piece in response.iter_bytes():
                    body += piece
                    if self._clock() > ends:
                        raise call.timed_out(attempt_s, request_id)
        except httpx.RequestError as error:
            raise call.failure(error, attempt_s, request_id) from error
        return call.answer_of(response.status_code, response.headers, bytes(body), request_id)


class AsyncClient:
    """Asks the service from asyncio; may be shared by the tasks of one loop. For the rest see `Client`.

    Args:
        url: As for `Client`, like all that follow.
        key: API key.
        deadline_s: Seconds that a call may take.
        attempt_s: Seconds that one attempt may take.
        retries: How patient to be.
        transport: What sends in place of httpx's own.
        clock: Returns seconds that only go forward.
        sleep: Waits so many seconds.
        rng: Draws the pauses.

    Raises:
        ValueError: If a number is out of range or the url is none.
    """

    def __init__(  # noqa: PLR0913 - as above
        self,
        url: str,
        *,
        key: str = "",
        deadline_s: float = DEADLINE_S,
        attempt_s: float | None = None,
        retries: RetryPolicy | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: random.Random | None = None,
    ) -> None:
        self._settings = _Settings(url, key, deadline_s, attempt_s, retries)
        self._clock = clock
        self._sleep = sleep
        self._rng = rng or random.Random()
        self._http = httpx.AsyncClient(
            base_url=self._settings.url,
            headers=self._settings.headers,
            limits=self._settings.limits,
            transport=transport,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    @property
    def url(self) -> str:
        """Where the service answers."""
        return self._settings.url

    @property
    def retries(self) -> Mapping[str, int]:
        """Retries so far, by what had failed: a status, `unreachable` or `timed_out`."""
        return self._settings.budget.spent

    async def recommend(
        self, request: RecommendRequest, *, deadline_s: float | None = None
    ) -> RecommendAnswer:
        """Returns the best items for a user, a history, features, or whoever comes; raises ServiceError."""
        return await self._ask(calls.recommend(request), deadline_s)

    async def recommend_batch(
        self, requests: Sequence[RecommendRequest], *, deadline_s: float | None = None
    ) -> list[RecommendAnswer | RefusedError]:
        """Returns an answer or an error for each request; raises ServiceError if the whole call fails."""
        return await self._ask(calls.recommend_batch(requests), deadline_s)

    async def similar(self, request: SimilarRequest, *, deadline_s: float | None = None) -> RecommendAnswer:
        """Returns the items most like one; raises ServiceError."""
        return await self._ask(calls.similar(request), deadline_s)

    async def bundle(self, *, deadline_s: float | None = None) -> BundleAnswer:
        """Returns which bundle answers; raises ServiceError."""
        return await self._ask(calls.bundle(), deadline_s)

    async def releases(self, *, deadline_s: float | None = None) -> ReleasesAnswer:
        """Returns the releases that there are, newest first; raises ServiceError."""
        return await self._ask(calls.releases(), deadline_s)

    async def activate(self, version: str, *, deadline_s: float | None = None) -> RolloutAnswer:
        """Lets a release answer, once it is loaded and warm: allow it seconds; raises ServiceError."""
        return await self._ask(calls.activate(version), deadline_s)

    async def put_items(self, request: ItemsRequest, *, deadline_s: float | None = None) -> ItemsAnswer:
        """Adds items, or says them anew; needs a key that is good for items; raises ServiceError."""
        return await self._ask(calls.put_items(request), deadline_s)

    async def withdraw_item(
        self, item_id: str, *, surface: str | None = None, deadline_s: float | None = None
    ) -> ItemsAnswer:
        """Withdraws an item from every answer; needs such a key as well; raises ServiceError."""
        return await self._ask(calls.withdraw_item(item_id, surface), deadline_s)

    async def is_alive(self) -> bool:
        """Returns whether the service lives, asked once."""
        return await self._is_well("/livez")

    async def is_ready(self) -> bool:
        """Returns whether the service takes requests, asked once."""
        return await self._is_well("/readyz")

    async def _is_well(self, path: str) -> bool:
        """Returns whether a health path answers 200."""
        try:
            await self._attempt(calls.health(path), self._settings.deadline_s, uuid.uuid4().hex)
        except ServiceError:
            return False
        return True

    async def _ask(self, call: Call[Answer], deadline_s: float | None) -> Answer:
        """Returns the answer to a call, after as many attempts as it takes and may take."""
        course = self._settings.course(deadline_s, self._clock, self._rng)
        request_id = uuid.uuid4().hex
        while True:
            left_s = course.begin_attempt()
            try:
                return await self._attempt(call, left_s, request_id)
            except ServiceError as failure:
                pause_s = course.pause_before_next(failure)
            await self._sleep(pause_s)

    async def _attempt(self, call: Call[Answer], left_s: float, request_id: str) -> Answer:
        """Returns the answer to a call that is sent once."""
        attempt_s = self._settings.attempt_within(left_s)
        try:
            async with asyncio.timeout(attempt_s):
                response = await self._http.request(
                    call.method,
                    call.path,
                    content=call.content,
                    headers=call.headers(request_id, left_s),
                    timeout=attempt_s,
                )
        except TimeoutError as error:
            raise call.timed_out(attempt_s, request_id) from error
        except httpx.RequestError as error:
            raise call.failure(error, attempt_s, request_id) from error
        return call.answer_of(response.status_code, response.headers, response.content, request_id)
