"""The client for threads.

Everything that decides lies in `calls` and `retries`; here is only what sends, reads and waits.
"""

import random
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Self, TypeVar

import httpx

from marquee.client import calls, customers, people
from marquee.client.calls import Call
from marquee.client.campaigns import CampaignMethods
from marquee.client.connections import (
    DEADLINE_S,
    DRY_RUN_DEADLINE_S,
    IMPORT_DEADLINE_S,
    OfProcess,
    Settings,
)
from marquee.client.errors import RefusedError, ServiceError
from marquee.client.messages import (
    AudienceAnswer,
    BundleAnswer,
    ConsentAnswer,
    ConsentRequest,
    DryRunAnswer,
    DryRunRequest,
    EventMessage,
    EventsAnswer,
    ItemChange,
    ItemMessage,
    ItemsAnswer,
    ItemsImportAnswer,
    ItemsPage,
    ItemsRequest,
    PageAnswer,
    PageRequest,
    ReceiptAnswer,
    RecommendAnswer,
    RecommendRequest,
    ReleasesAnswer,
    RolloutAnswer,
    RuleHistoryAnswer,
    RulesAnswer,
    RulesRequest,
    ScoreAnswer,
    ScoreRequest,
    SimilarRequest,
    UserAnswer,
    WhyAnswer,
)
from marquee.client.retries import RetryPolicy

Answer = TypeVar("Answer")


class Client(CampaignMethods):
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
        self._settings = Settings(url, key, deadline_s, attempt_s, retries)
        self._transport = transport
        self._clock = clock
        self._sleep = sleep
        self._own = OfProcess(self._settings, self._connect, rng, is_renewable=transport is None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._own.http.close()

    @property
    def url(self) -> str:
        """Where the service answers."""
        return self._settings.url

    @property
    def retries(self) -> Mapping[str, int]:
        """Retries so far, by what had failed: a status, `unreachable` or `timed_out`."""
        return self._own.budget.spent

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

    def page(self, request: PageRequest, *, deadline_s: float | None = None) -> PageAnswer:
        """Returns the rows of a page, none of whose items stands on it twice; raises ServiceError."""
        return self._ask(calls.page(request), deadline_s)

    def bundle(self, *, deadline_s: float | None = None) -> BundleAnswer:
        """Returns which bundle answers; raises ServiceError."""
        return self._ask(calls.bundle(), deadline_s)

    def releases(self, *, deadline_s: float | None = None) -> ReleasesAnswer:
        """Returns the releases that there are, newest first; raises ServiceError."""
        return self._ask(calls.releases(), deadline_s)

    def activate(self, version: str, *, deadline_s: float | None = None) -> RolloutAnswer:
        """Lets a release answer, once it is loaded and warm: allow it seconds; raises ServiceError."""
        return self._ask(calls.activate(version), deadline_s)

    def send_events(self, events: Sequence[EventMessage], *, deadline_s: float | None = None) -> EventsAnswer:
        """Tells what happened; needs a key that is good for events; raises ServiceError.

        Events without an id get one, so that however often the call is repeated each is kept once. Send
        events that failed for good again with ids of your own: new ones would make them new events.
        """
        return self._ask(calls.send_events(events, time.time), deadline_s)

    def put_items(self, request: ItemsRequest, *, deadline_s: float | None = None) -> ItemsAnswer:
        """Adds items, or says them anew; needs a key that is good for items; raises ServiceError."""
        return self._ask(calls.put_items(request), deadline_s)

    def import_items(
        self,
        items: Iterable[ItemMessage],
        *,
        surface: str | None = None,
        deadline_s: float = IMPORT_DEADLINE_S,
    ) -> ItemsImportAnswer:
        """Adds items, or says them anew, of any number, each judged by itself; raises ServiceError.

        Sent while they are made and never repeated, for what an iterator gave is gone. What was taken before
        an error stays; to import the same once more does no harm. Needs a key that is good for items.

        Raises:
            ValueError: If an item holds a number that JSON cannot hold; those before are sent.
        """
        return self._ask(calls.import_items(calls.lines_of(items), surface), deadline_s)

    def items(
        self,
        state: str = "live",
        *,
        limit: int | None = None,
        cursor: str | None = None,
        surface: str | None = None,
        deadline_s: float | None = None,
    ) -> ItemsPage:
        """Returns a page of the items that are `live`, `withdrawn` or `in_release`; raises ServiceError."""
        return self._ask(calls.items(state, limit, cursor, surface), deadline_s)

    def change_item(
        self,
        item_id: str,
        change: ItemChange,
        *,
        surface: str | None = None,
        deadline_s: float | None = None,
    ) -> ItemsAnswer:
        """Changes some columns of an item; needs such a key as well; raises ServiceError."""
        return self._ask(calls.change_item(item_id, change, surface), deadline_s)

    def withdraw_item(
        self, item_id: str, *, surface: str | None = None, deadline_s: float | None = None
    ) -> ItemsAnswer:
        """Withdraws an item from every answer; needs such a key as well; raises ServiceError."""
        return self._ask(calls.withdraw_item(item_id, surface), deadline_s)

    def rules(self, *, deadline_s: float | None = None) -> RulesAnswer:
        """Returns the rules that hold; needs a key that is good for rules; raises ServiceError."""
        return self._ask(calls.rules(), deadline_s)

    def put_rules(
        self, request: RulesRequest, version: int, *, deadline_s: float | None = None
    ) -> RulesAnswer:
        """Replaces the whole set of a version, that of the answer that told it; raises ServiceError.

        Another set may hold by now: then the error's status is 412, and nothing was changed.
        """
        return self._ask(calls.put_rules(request, version), deadline_s)

    def rule_history(
        self, *, limit: int | None = None, before: int | None = None, deadline_s: float | None = None
    ) -> RuleHistoryAnswer:
        """Returns who changed the rules when, the latest first; raises ServiceError."""
        return self._ask(calls.rule_history(limit, before), deadline_s)

    def try_rules(self, request: DryRunRequest, *, deadline_s: float = DRY_RUN_DEADLINE_S) -> DryRunAnswer:
        """Returns the difference that a set of rules would make, in seconds; raises ServiceError."""
        return self._ask(calls.try_rules(request), deadline_s)

    def why(self, decision_id: str, *, deadline_s: float | None = None) -> WhyAnswer:
        """Returns the explanation of a decision; needs a key for `users`; raises ServiceError."""
        return self._ask(calls.why(decision_id), deadline_s)

    def put_consent(
        self, user_id: str, request: ConsentRequest, *, deadline_s: float | None = None
    ) -> ConsentAnswer:
        """Says how much of a user may be used; needs a key that is good for users; raises ServiceError."""
        return self._ask(people.put_consent(user_id, request), deadline_s)

    def erase_user(self, user_id: str, *, deadline_s: float | None = None) -> ReceiptAnswer:
        """Erases a user and returns the receipt so far; needs such a key as well; raises ServiceError."""
        return self._ask(people.erase_user(user_id), deadline_s)

    def receipt(self, user_id: str, *, deadline_s: float | None = None) -> ReceiptAnswer:
        """Returns the receipt of the latest erasure of a user; raises ServiceError."""
        return self._ask(people.receipt(user_id), deadline_s)

    def user(
        self,
        user_id: str,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        deadline_s: float | None = None,
    ) -> UserAnswer:
        """Returns a page of all that is held of a user; raises ServiceError."""
        return self._ask(people.user(user_id, limit, cursor), deadline_s)

    def score(self, trait: str, request: ScoreRequest, *, deadline_s: float | None = None) -> ScoreAnswer:
        """Returns the score of a form; needs a key for `users`; raises ServiceError."""
        return self._ask(customers.score(trait, request), deadline_s)

    def audience(
        self,
        name: str,
        *,
        since: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        deadline_s: float | None = None,
    ) -> AudienceAnswer:
        """Returns a page of members, or what changed since a token; needs a key for `users`.

        Raises:
            ServiceError: If it cannot be had.
        """
        return self._ask(customers.audience(name, since, limit, cursor), deadline_s)

    def is_alive(self) -> bool:
        """Returns whether the service lives, asked once."""
        return self._is_well("/livez")

    def is_ready(self) -> bool:
        """Returns whether the service takes requests, asked once."""
        return self._is_well("/readyz")

    def _is_well(self, path: str) -> bool:
        """Returns whether a health path answers 200."""
        try:
            # Never repeated: a check that waits for better times tells nothing.
            self._attempt(calls.health(path), self._settings.deadline_s, uuid.uuid4().hex)
        except ServiceError:
            return False
        return True

    def _connect(self) -> httpx.Client:
        """Returns httpx's client, without any connection yet."""
        return httpx.Client(
            base_url=self._settings.url,
            headers=self._settings.headers,
            limits=self._settings.limits,
            transport=self._transport,
            # Trap: httpx would send, the API key included, through any proxy that the environment names.
            trust_env=False,
        )

    def _ask(self, call: Call[Answer], deadline_s: float | None) -> Answer:
        """Returns the answer to a call, after as many attempts as it takes and may take."""
        course = self._own.course(deadline_s, self._clock)
        # One id for all attempts: the service's log shows them as one call.
        request_id = uuid.uuid4().hex
        while True:
            # The loop ends by an error: this one raises at the deadline, `pause_before_next` otherwise.
            left_s = course.begin_attempt()
            try:
                return self._attempt(call, left_s, request_id)
            except ServiceError as failure:
                if not call.may_repeat:
                    raise
                pause_s = course.pause_before_next(failure)
            # Outside the `except`: the failure and its traceback are let go of before the pause.
            self._sleep(pause_s)

    def _attempt(self, call: Call[Answer], left_s: float, request_id: str) -> Answer:
        """Returns the answer to a call that is sent once."""
        attempt_s = self._settings.attempt_within(left_s) if call.may_repeat else left_s
        ends = self._clock() + attempt_s
        body = bytearray()
        try:
            # Piece by piece: the timeout of httpx counts anew with each, so that the time is looked at
            # between.
            with self._own.http.stream(
                call.method,
                call.path,
                content=call.content,
                headers=call.headers(request_id, left_s),
                timeout=attempt_s,
            ) as response:
                for piece in response.iter_bytes():
                    body += piece
                    # Trap: a reply that trickles in would keep every single read within its timeout.
                    if self._clock() > ends:
                        raise call.timed_out(attempt_s, request_id)
        except httpx.RequestError as error:
            raise call.failure(error, attempt_s, request_id) from error
        return call.answer_of(response.status_code, response.headers, bytes(body), request_id)
