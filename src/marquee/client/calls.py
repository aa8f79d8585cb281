"""Each call to the service as a value: what is sent, and how the reply is read. Sends nothing itself."""

import math
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import quote, urlencode

import httpx
import msgspec

from marquee.client.errors import (
    RefusedError,
    ServiceError,
    TimedOutError,
    UnexpectedReplyError,
    UnreachableError,
    seconds_of_retry_after,
)
from marquee.client.event_ids import event_id
from marquee.client.messages import (
    BatchRequest,
    BundleAnswer,
    DryRunAnswer,
    DryRunRequest,
    ErrorAnswer,
    EventMessage,
    EventsAnswer,
    EventsRequest,
    ItemChange,
    ItemMessage,
    ItemsAnswer,
    ItemsImportAnswer,
    ItemsPage,
    ItemsRequest,
    PageAnswer,
    PageRequest,
    RecommendAnswer,
    RecommendRequest,
    ReleasesAnswer,
    RolloutAnswer,
    RuleHistoryAnswer,
    RulesAnswer,
    RulesRequest,
    SimilarRequest,
    WhyAnswer,
)

DEADLINE_HEADER = "X-Deadline-Ms"
"""Milliseconds that the caller still waits: the service works no longer than that on the call."""

Answer = TypeVar("Answer")
# Enough of a proxy's page to see whose it is, without all of it in a log.
_SHOWN = 200
_PIECE_BYTES = 65_536
_PIECE_ITEMS = 100


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """One call: none does more when it is repeated.

    Attributes:
        method: HTTP method.
        path: Path, percent-encoded.
        content: JSON, or its pieces; None for no body.
        read: Returns the answer that a body of JSON tells; raises msgspec.MsgspecError if it tells none.
        content_type: Of the body.
        shown: The path as errors show it, where it holds an id; empty for as it is.
        may_repeat: Whether it can be sent again; not where the pieces of its body are gone once sent.
        if_match: Version that it replaces; None where it replaces none.
    """

    method: str
    path: str
    content: bytes | Iterable[bytes] | AsyncIterable[bytes] | None
    read: Callable[[bytes], Answer]
    content_type: str = "application/json"
    may_repeat: bool = True
    shown: str = ""
    if_match: int | None = None

    def headers(self, request_id: str, left_s: float) -> Mapping[str, str]:
        """Returns the headers of an attempt for which `left_s` seconds are left."""
        # At least 1 ms: 0 would say that nobody waits any more.
        headers = {"X-Request-Id": request_id, DEADLINE_HEADER: str(max(1, int(left_s * 1000)))}
        if self.if_match is not None:
            headers["If-Match"] = f'"{self.if_match}"'
        return headers if self.content is None else {**headers, "Content-Type": self.content_type}

    @property
    def name(self) -> str:
        """Method and path, as errors show them."""
        return f"{self.method} {self.shown or self.path}"

    def answer_of(self, status: int, headers: Mapping[str, str], body: bytes, request_id: str) -> Answer:
        """Returns the answer in a reply.

        Raises:
            RefusedError: If the service refused.
            UnexpectedReplyError: If the reply is not one of the service.
        """
        if status not in (200, 202):
            raise _refused(status, headers, body, request_id)
        try:
            return self.read(body)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise UnexpectedReplyError(
                f"{self.name} was answered with {status} and no such answer as this client knows: "
                f"{error}, got {body[:_SHOWN]!r}; is the client as new as the service?",
                request_id,
                status=status,
            ) from error

    def failure(self, error: httpx.RequestError, attempt_s: float, request_id: str) -> ServiceError:
        """Returns the error of an attempt that got no whole reply within `attempt_s`."""
        if isinstance(error, httpx.TimeoutException):
            return self.timed_out(attempt_s, request_id)
        return UnreachableError(
            f"{self.name} got no whole reply: {type(error).__name__} {error}; is the service running?",
            request_id,
        )

    def timed_out(self, attempt_s: float, request_id: str) -> TimedOutError:
        """Returns the error of an attempt that got no whole reply within `attempt_s`."""
        return TimedOutError(f"{self.name} got no whole reply in {attempt_s:.3f} s", request_id)


def recommend(request: RecommendRequest) -> Call[RecommendAnswer]:
    """Returns the call that asks for recommendations."""
    return _post("/v1/recommend", request, RecommendAnswer)


def recommend_batch(requests: Sequence[RecommendRequest]) -> Call[list[RecommendAnswer | RefusedError]]:
    """Returns the call that asks for several at once."""
    content = encoded(BatchRequest(requests=requests))
    return Call("POST", "/v1/recommend/batch", content, _read_batch)


def similar(request: SimilarRequest) -> Call[RecommendAnswer]:
    """Returns the call that asks for items like one."""
    return _post("/v1/similar", request, RecommendAnswer)


def page(request: PageRequest) -> Call[PageAnswer]:
    """Returns the call that asks for a page of several rows."""
    return _post("/v1/page", request, PageAnswer)


def bundle() -> Call[BundleAnswer]:
    """Returns the call that asks which bundle answers."""
    return _get("/v1/bundle", BundleAnswer)


def releases() -> Call[ReleasesAnswer]:
    """Returns the call that asks which releases there are."""
    return _get("/v1/releases", ReleasesAnswer)


def activate(version: str) -> Call[RolloutAnswer]:
    """Returns the call that lets a release answer."""
    path = f"/v1/releases/{segment('version', version)}/activate"
    return Call("POST", path, None, msgspec.json.Decoder(RolloutAnswer).decode)


def send_events(events: Sequence[EventMessage], clock: Callable[[], float]) -> Call[EventsAnswer]:
    """Returns the call that tells what happened; events without an id get one here, before any attempt.

    Args:
        events: 1 to 10,000.
        clock: Returns the time, seconds since 1970 UTC.
    """
    # Before the first attempt: a repeated call must carry the same ids, or its events would be kept twice.
    named = [
        event if event.event_id else msgspec.structs.replace(event, event_id=event_id(int(clock() * 1000)))
        for event in events
    ]
    return _post("/v1/events", EventsRequest(events=named), EventsAnswer)


def put_items(request: ItemsRequest) -> Call[ItemsAnswer]:
    """Returns the call that adds items, or says them anew."""
    return _post("/v1/items", request, ItemsAnswer)


def import_items(
    lines: Iterator[bytes] | AsyncIterator[bytes], surface: str | None
) -> Call[ItemsImportAnswer]:
    """Returns the call that adds any number of items; it can be sent once.

    Args:
        lines: JSON lines, made while they are sent.
        surface: The items of whose bundle are meant; None for the default one.
    """
    read = msgspec.json.Decoder(ItemsImportAnswer).decode
    path = f"/v1/items/import{_query_of(surface)}"
    return Call("POST", path, lines, read, content_type="application/x-ndjson", may_repeat=False)


def lines_of(items: Iterable[ItemMessage]) -> Iterator[bytes]:
    """Gives JSON lines in pieces of some size: a piece for each item would be a packet for each."""
    piece = bytearray()
    for item in items:
        piece += encoded(item) + b"\n"
        if len(piece) >= _PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)


async def lines_of_any(items: Iterable[ItemMessage] | AsyncIterable[ItemMessage]) -> AsyncIterator[bytes]:
    """Gives the pieces of `lines_of` from what may be asynchronous itself."""
    if not isinstance(items, AsyncIterable):
        for piece in lines_of(items):
            yield piece
        return
    waiting: list[ItemMessage] = []
    async for item in items:
        waiting.append(item)
        if len(waiting) >= _PIECE_ITEMS:
            for piece in lines_of(waiting):
                yield piece
            waiting.clear()
    for piece in lines_of(waiting):
        yield piece


def items(state: str, limit: int | None, cursor: str | None, surface: str | None) -> Call[ItemsPage]:
    """Returns the call that asks for a page of the items."""
    given = {"state": state, "limit": limit, "cursor": cursor, "surface": surface}
    # What is not given is left out: an empty parameter would be another question.
    query = urlencode({name: value for name, value in given.items() if value is not None})
    return _get(f"/v1/items?{query}", ItemsPage)


def change_item(item_id: str, change: ItemChange, surface: str | None) -> Call[ItemsAnswer]:
    """Returns the call that changes some columns of an item."""
    path = f"/v1/items/{segment('item_id', item_id)}{_query_of(surface)}"
    return Call("PATCH", path, encoded(change), msgspec.json.Decoder(ItemsAnswer).decode)


def withdraw_item(item_id: str, surface: str | None) -> Call[ItemsAnswer]:
    """Returns the call that withdraws an item."""
    path = f"/v1/items/{segment('item_id', item_id)}{_query_of(surface)}"
    return Call("DELETE", path, None, msgspec.json.Decoder(ItemsAnswer).decode)


def rules() -> Call[RulesAnswer]:
    """Returns the call that asks for the rules that hold."""
    return _get("/v1/rules", RulesAnswer)


def put_rules(request: RulesRequest, version: int) -> Call[RulesAnswer]:
    """Returns the call that replaces the whole set of a version."""
    read = msgspec.json.Decoder(RulesAnswer).decode
    return Call("PUT", "/v1/rules", encoded(request), read, if_match=version)


def rule_history(limit: int | None, before: int | None) -> Call[RuleHistoryAnswer]:
    """Returns the call that asks who changed the rules when."""
    given = {"limit": limit, "before": before}
    query = urlencode({name: value for name, value in given.items() if value is not None})
    return _get(f"/v1/rules/history{'?' if query else ''}{query}", RuleHistoryAnswer)


def try_rules(request: DryRunRequest) -> Call[DryRunAnswer]:
    """Returns the call that asks what a set of rules would change."""
    return _post("/v1/rules/dry_run", request, DryRunAnswer)


def why(decision_id: str) -> Call[WhyAnswer]:
    """Returns the call that asks for the explanation of a decision."""
    return _get(f"/v1/why/{segment('decision_id', decision_id)}", WhyAnswer)


def health(path: str) -> Call[bytes]:
    """Returns the call that asks `/livez` or `/readyz`."""
    return Call("GET", path, None, bytes)


class _Batch(msgspec.Struct):
    """A reply to a batch; each part is read by itself, for it may be an answer or an error."""

    answers: list[msgspec.Raw]


_read_answer = msgspec.json.Decoder(RecommendAnswer).decode
_read_error = msgspec.json.Decoder(ErrorAnswer).decode
_read_parts = msgspec.json.Decoder(_Batch).decode


def _read_batch(body: bytes) -> list[RecommendAnswer | RefusedError]:
    """Returns one answer or one error per request of a batch."""
    parts: list[RecommendAnswer | RefusedError] = []
    # Part by part: one that failed must not cost the answers beside it.
    for part in _read_parts(body).answers:
        try:
            parts.append(_read_answer(part))
        # An error lacks fields that every answer has, and so is never read as one.
        except msgspec.ValidationError:
            error = _read_error(part).error
            parts.append(
                RefusedError(
                    error.message,
                    error.request_id,
                    # A code of a later service: 500, which is not repeated.
                    status=STATUS_OF_CODE.get(error.code, 500),
                    code=error.code,
                    field=error.field,
                    retry_after_s=0.0,
                )
            )
    return parts


STATUS_OF_CODE: Mapping[str, int] = {
    "malformed_request": 400,
    "not_found": 404,
    "cursor_expired": 410,
    "invalid_request": 422,
    "internal_error": 500,
    "unavailable": 503,
}
"""A part of a batch has no status of its own: what it would have had alone."""


def _post(path: str, request: msgspec.Struct, answer: type[Answer]) -> Call[Answer]:
    """Returns a call that sends a message."""
    return Call("POST", path, encoded(request), msgspec.json.Decoder(answer).decode)


def encoded(message: msgspec.Struct) -> bytes:
    """Returns a message as JSON; raises ValueError for a number that JSON cannot hold."""
    content = msgspec.json.encode(message)
    # What is not finite is written as null, which means "not asked". Few messages hold another null.
    if b"null" in content:
        _validate_finite(message, type(message).__name__)
    return content


def _validate_finite(value: object, place: str) -> None:
    """Raises ValueError that names the place of a number that is not finite."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{place} must be a finite number, got {value}; leave it out if it is unknown")
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            _validate_finite(getattr(value, name), f"{place}.{name}")
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            _validate_finite(inner, f"{place}[{key!r}]")
    elif isinstance(value, list | tuple):
        for position, inner in enumerate(value):
            _validate_finite(inner, f"{place}[{position}]")


def _query_of(surface: str | None) -> str:
    """Returns the query that names a surface, '' for the default one."""
    return f"?surface={quote(surface, safe='')}" if surface else ""


def segment(name: str, value: str) -> str:
    """Returns a value as one segment of a path; raises ValueError for one that would lead elsewhere."""
    # Trap: dots in a path are resolved on the way, and the call would reach another route.
    if value in {"", ".", ".."}:
        raise ValueError(f"{name} must name one, got {value!r}; a path cannot hold it")
    # Slashes too: an id that holds one is still one segment.
    return quote(value, safe="")


def _get(path: str, answer: type[Answer]) -> Call[Answer]:
    """Returns a call without a body."""
    return Call("GET", path, None, msgspec.json.Decoder(answer).decode)


def _refused(
    status: int, headers: Mapping[str, str], body: bytes, request_id: str
) -> RefusedError | UnexpectedReplyError:
    """Returns the error that a reply of another status than 200 tells."""
    wait_s = seconds_of_retry_after(headers.get("retry-after"))
    try:
        error = _read_error(body).error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        unexpected = UnexpectedReplyError(
            f"the reply was {status} without the service's envelope, got {body[:_SHOWN]!r}; "
            "is there a proxy in between, or another server at this address?",
            request_id,
            status=status,
        )
        # A proxy may ask for a pause as well.
        unexpected.retry_after_s = wait_s
        return unexpected
    return RefusedError(
        f"{status} {error.code}: {error.message}",
        error.request_id,
        status=status,
        code=error.code,
        field=error.field,
        retry_after_s=wait_s,
    )
