"""Both clients against services that are written down: what is sent, what is read, what is tried again."""

import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from marquee.client import (
    ConsentRequest,
    EventMessage,
    HistoryEntry,
    ItemChange,
    ItemMessage,
    ItemsRequest,
    RecommendAnswer,
    Recommendation,
    RecommendRequest,
    RefusedError,
    RetryPolicy,
    ScoreRequest,
    SimilarRequest,
    TimedOutError,
    UnexpectedReplyError,
    UnreachableError,
)
from marquee.client.calls import DEADLINE_HEADER
from tests.support.clients import ANSWER, FakeTime, Script, answered, client_of, refused

pytestmark = pytest.mark.parametrize("kind", ["sync", "async"])

BROKEN = httpx.RemoteProtocolError("Server disconnected without sending a response.")
ANYBODY = RecommendRequest()


def test_answer_is_typed(kind: str) -> None:
    answer = client_of(kind, Script([answered()])).recommend(RecommendRequest(user_id="u1", k=1))
    assert answer.items == (Recommendation(item_id="i001", score=2.5, kind="content"),)
    assert (answer.source, answer.version, answer.short_reason) == ("personal", "v-1", None)


def test_only_what_is_given_is_sent(kind: str) -> None:
    script = Script([answered()])
    client = client_of(kind, script, key="secret")
    client.recommend(RecommendRequest())
    client.recommend(
        RecommendRequest(history=["i1", HistoryEntry(item_id="i2", kind="click")], k=3, exclude_seen=False)
    )
    client.similar(SimilarRequest(item_id="i1", exclude=["i2"]))
    assert script.bodies == [
        {},
        {"history": ["i1", {"item_id": "i2", "kind": "click"}], "k": 3, "exclude_seen": False},
        {"item_id": "i1", "exclude": ["i2"]},
    ]
    assert {request.headers["authorization"] for request in script.seen} == {"Bearer secret"}
    assert [request.url.path for request in script.seen] == ["/v1/recommend", "/v1/recommend", "/v1/similar"]


IMPORTED = {
    "request_id": "r",
    "version": "v-1",
    "taken": {"live": 2},
    "rejected": {"invalid_request": 1},
    "rejected_lines": [{"line": 3, "reason": "invalid_request", "message": "why", "field": "item_id"}],
    "unknown_attributes": {},
    "unread_attributes": {},
    "n_kept": 2,
    "max_kept": 9,
}


def test_import_sends_lines_while_they_are_made(kind: str) -> None:
    script = Script([answered(IMPORTED)])
    items = (ItemMessage(item_id=f"n{number}", attributes={"t": "x" * 500}) for number in range(1000))
    client = client_of(kind, script, attempt_s=0.5)
    answer = client.import_items(items, surface="home page")
    assert (answer.taken, answer.rejected_lines[0].line) == ({"live": 2}, 3)
    (sent,) = script.seen
    assert (sent.url.path, sent.url.query) == ("/v1/items/import", b"surface=home%20page")
    assert sent.headers["content-type"] == "application/x-ndjson"
    assert sent.headers["transfer-encoding"] == "chunked"
    assert float(sent.headers[DEADLINE_HEADER]) > 3_000_000, "no attempt's time, which ends other calls"
    lines = [json.loads(line) for line in sent.content.splitlines()]
    assert [line["item_id"] for line in lines] == [f"n{number}" for number in range(1000)]


def test_import_is_sent_once(kind: str) -> None:
    script = Script([BROKEN, answered(IMPORTED)])
    with pytest.raises(UnreachableError):
        client_of(kind, script).import_items([ItemMessage(item_id="a")])
    assert len(script.seen) == 1


def test_import_of_a_number_that_json_cannot_hold_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="must be a finite number"):
        client_of(kind, Script([answered(IMPORTED)])).import_items(
            [ItemMessage(item_id="a", attributes={"price": float("nan")})]
        )


def test_asyncio_imports_what_is_made_asynchronously(kind: str) -> None:
    async def made() -> AsyncIterator[ItemMessage]:
        for number in range(250):
            yield ItemMessage(item_id=f"n{number}")

    if kind == "async":
        script = Script([answered(IMPORTED)])
        client: Any = client_of(kind, script)  # the threaded one takes no asynchronous iterator
        client.import_items(made())
        ids = [json.loads(line)["item_id"] for line in script.seen[0].content.splitlines()]
        assert ids == [f"n{number}" for number in range(250)]


def test_batch_gives_an_answer_or_an_error_per_request(kind: str) -> None:
    error = {"code": "invalid_request", "message": "k is wrong", "request_id": "r.1", "field": "k"}
    script = Script([answered({"request_id": "r", "answers": [ANSWER, {"error": error}]})])
    first, second = client_of(kind, script).recommend_batch([ANYBODY, RecommendRequest(k=0)])
    assert isinstance(first, RecommendAnswer)
    assert first.source == "personal"
    assert isinstance(second, RefusedError)
    assert (second.status, second.code, second.field) == (422, "invalid_request", "k")
    assert script.bodies == [{"requests": [{}, {"k": 0}]}]


def test_releases_are_listed_and_changed_by_an_encoded_path(kind: str) -> None:
    release = {"version": "a/b", "created": 1, "is_current": True, "is_answering": False, "metrics": {}}
    script = Script([answered({"releases": [release]}), answered({"version": "a/b"})])
    client = client_of(kind, script)
    (listed,) = client.releases().releases
    assert client.activate(listed.version).version == "a/b"
    assert script.seen[1].url.raw_path == b"/v1/releases/a%2Fb/activate"
    assert script.seen[1].content == b""


RECEIPT = {
    "erasure_id": "e",
    "handle": "5f",
    "asked": 1,
    "due": 2,
    "finished": None,
    "events": 3,
    "decisions": 4,
    "events_in_files": 0,
    "decisions_in_files": 0,
    "releases": [],
}


def test_people_are_asked_and_erased_by_encoded_paths_that_errors_do_not_show(kind: str) -> None:
    told = {"request_id": "r", "receipt": RECEIPT, "signature": None}
    held = {
        "request_id": "r",
        "tier": None,
        "changed": None,
        "erased": 1,
        "consents": [],
        "receipts": [RECEIPT],
        "events": [],
        "decisions": [{"items": ["a"]}],
        "cursor": "c",
    }
    said = {"request_id": "r", "tier": "none", "changed": 1}
    script = Script([answered(said), answered(told, 202), answered(told), answered(held), answered({})])
    client = client_of(kind, script)
    assert client.put_consent("a b/c", ConsentRequest(tier="none")).tier == "none"
    assert client.erase_user("a b/c").receipt.events == 3
    assert client.receipt("a b/c").receipt.finished is None
    page = client.user("a b/c", limit=2)
    assert (page.cursor, page.decisions[0]["items"], page.receipts[0].decisions) == ("c", ["a"], 4)
    with pytest.raises(
        UnexpectedReplyError, match="GET /v1/users/…\\?cursor=c was answered with 200"
    ) as caught:
        client.user("a b/c", cursor="c")
    assert "a%20b" not in str(caught.value)
    paths = [seen.url.raw_path for seen in script.seen]
    assert paths == [
        b"/v1/users/a%20b%2Fc/consent",
        b"/v1/users/a%20b%2Fc",
        b"/v1/users/a%20b%2Fc/receipt",
        b"/v1/users/a%20b%2Fc?limit=2",
        b"/v1/users/a%20b%2Fc?cursor=c",
    ]


def test_items_are_put_and_withdrawn_by_an_encoded_path(kind: str) -> None:
    placed = {"item_id": "a b", "state": "live", "unknown_attributes": ["colour"]}
    told = {"request_id": "r", "version": "v", "items": [placed], "n_kept": 1, "max_kept": 9}
    script = Script([answered(told)])
    client = client_of(kind, script)
    item = ItemMessage(item_id="a b", available_until=9, attributes={"genres": ["x"]})
    answer = client.put_items(ItemsRequest(items=[item]))
    assert (answer.items[0].state, answer.items[0].unknown_attributes) == ("live", ("colour",))
    client.change_item("a b", ItemChange(available_until=7, attributes={"price": None}), surface="x y")
    client.withdraw_item("a b/c", surface="home&away")
    client.withdraw_item("x")
    assert script.bodies[0] == {
        "items": [{"item_id": "a b", "available_until": 9, "attributes": {"genres": ["x"]}}]
    }
    assert script.bodies[1] == {"available_until": 7, "attributes": {"price": None}}
    assert [(request.method, request.url.raw_path) for request in script.seen] == [
        ("POST", b"/v1/items"),
        ("PATCH", b"/v1/items/a%20b?surface=x%20y"),
        ("DELETE", b"/v1/items/a%20b%2Fc?surface=home%26away"),
        ("DELETE", b"/v1/items/x"),
    ]


def test_form_is_scored_and_an_audience_told(kind: str) -> None:
    scored = {
        "request_id": "r",
        "trait": "leaves",
        "value": 0.5,
        "version": "v",
        "as_of": None,
        "reasons": [{"column": "plan", "contribution": -0.5}],
    }
    changed = {"delivery_id": "d", "change": "removed", "user_id": "u"}
    told = {"request_id": "r", "audience": "keep", "run": "x", "version": "v", "token": "t"}
    script = Script([answered(scored), answered({**told, "changes": [changed], "cursor": "x.1"})])
    client = client_of(kind, script)
    answer = client.score("le/aves", ScoreRequest(columns={"plan": "monthly", "fee": None}))
    assert (answer.value, answer.reasons[0].column) == (0.5, "plan")
    page = client.audience("keep", since="a b", limit=1)
    assert page.members is None
    assert [one.user_id for one in page.changes or ()] == ["u"]
    assert page.cursor == "x.1"
    assert [(one.method, one.url.raw_path) for one in script.seen] == [
        ("POST", b"/v1/score/le%2Faves"),
        ("GET", b"/v1/audiences/keep?since=a+b&limit=1"),
    ]
    assert json.loads(script.seen[0].content) == {"columns": {"plan": "monthly", "fee": None}}


def test_decision_is_explained_by_an_encoded_path(kind: str) -> None:
    told = {
        "request_id": "r",
        "decision_id": "a/b",
        "record": {"time_ms": 7, "release": "v", "source": "history", "policy": "greedy", "history": ["x"]},
        "replay": {"outcome": "agrees", "why": "the same"},
        "items": [
            {
                "item_id": "y",
                "score": 2.5,
                "propensity": 1.0,
                "because": "Because of x",
                "cause": "event",
                "without_events": [None],
            }
        ],
    }
    script = Script([answered(told)])
    answer = client_of(kind, script).why("a/b")
    assert (answer.record.release, answer.replay.outcome) == ("v", "agrees")
    assert (answer.items[0].because, answer.items[0].without_events) == ("Because of x", (None,))
    assert [(one.method, one.url.raw_path) for one in script.seen] == [("GET", b"/v1/why/a%2Fb")]


def test_events_get_ids_that_rise_and_that_a_repetition_keeps(kind: str) -> None:
    told = {"request_id": "r", "accepted": 3, "repeated": 0, "rejected": {}}
    script = Script([refused(503), answered(told)])
    events = [EventMessage(kind="click", item_id=item, timestamp=1, user_id="u") for item in "ab"]
    own = EventMessage(event_id="own", kind="exposure", item_id="c", timestamp=2, decision_id="d")
    assert client_of(kind, script).send_events([*events, own]).accepted == 3
    first, second = script.bodies
    assert first == second
    ids = [event.pop("event_id") for event in second["events"]]
    assert ids[2] == "own"
    assert ids[0] != ids[1]
    assert {uuid.UUID(event_id).version for event_id in ids[:2]} == {7}
    assert abs(int(ids[0].replace("-", "")[:12], 16) / 1000 - time.time()) < 60
    assert second["events"][0] == {"kind": "click", "item_id": "a", "timestamp": 1, "user_id": "u"}


@pytest.mark.parametrize(("step", "expected"), [(answered({}), True), (refused(503), False), (BROKEN, False)])
def test_health_is_a_yes_or_a_no_asked_once(kind: str, step: Any, expected: bool) -> None:
    script = Script([step])
    client = client_of(kind, script)
    assert (client.is_alive(), client.is_ready()) == (expected, expected)
    assert [request.url.path for request in script.seen] == ["/livez", "/readyz"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 500])
def test_refusal_is_told_and_not_repeated(kind: str, status: int) -> None:
    script = Script([refused(status, "some_code", field="k")])
    with pytest.raises(RefusedError, match=f"{status} some_code: no") as told:
        client_of(kind, script).recommend(ANYBODY)
    assert (told.value.status, told.value.field, told.value.request_id) == (status, "k", "r-2")
    assert len(script.seen) == 1


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (BROKEN, "unreachable"),
        (httpx.ConnectError("refused"), "unreachable"),
        (httpx.ReadTimeout("late"), "timed_out"),
        (refused(503), "503"),
        (refused(429, "too_many_requests"), "429"),
        (httpx.Response(502, html="<h1>Bad gateway</h1>"), "502"),
        (httpx.Response(504, text=""), "504"),
    ],
    ids=["broken", "no connection", "late", "503", "429", "502", "504"],
)
def test_what_may_pass_is_tried_again_and_counted(kind: str, step: Any, reason: str) -> None:
    script, fake = Script([step, step, answered()]), FakeTime()
    client = client_of(kind, script, fake)
    assert client.recommend(ANYBODY).version == "v-1"
    assert client.retries == {reason: 2}
    assert len(fake.waited) == 2
    assert 0 <= fake.waited[0] <= 0.025
    assert 0 <= fake.waited[1] <= 0.05


def test_every_attempt_of_a_call_bears_the_same_id(kind: str) -> None:
    script = Script([BROKEN, answered()])
    client = client_of(kind, script)
    client.recommend(ANYBODY)
    client.recommend(ANYBODY)
    first, second, other = (request.headers["x-request-id"] for request in script.seen)
    assert first == second != other


def test_retry_after_is_honoured(kind: str) -> None:
    script, fake = Script([refused(503, Retry_After="1"), answered()]), FakeTime()
    client_of(kind, script, fake).recommend(ANYBODY)
    assert 1.0 <= fake.waited[0] <= 1.025


def test_wait_beyond_the_deadline_is_not_begun(kind: str) -> None:
    script, fake = Script([refused(503, Retry_After="30")]), FakeTime()
    with pytest.raises(RefusedError) as told:
        client_of(kind, script, fake).recommend(ANYBODY)
    assert told.value.__notes__ == ["its deadline of 2 s leaves no time to try again"]
    assert (told.value.retry_after_s, fake.waited, len(script.seen)) == (30.0, [], 1)


def test_deadline_is_propagated_and_shrinks_with_each_attempt(kind: str) -> None:
    fake = FakeTime()
    script = Script([BROKEN, BROKEN, answered()], on_request=lambda: fake.sleep(0.3))
    client_of(kind, script, fake).recommend(ANYBODY, deadline_s=1.0)
    left = [int(request.headers[DEADLINE_HEADER]) for request in script.seen]
    assert left[0] == 1000
    assert 650 <= left[1] <= 700
    assert 275 <= left[2] <= 400
    waits = [request.extensions["timeout"]["read"] for request in script.seen]
    assert waits == pytest.approx([ms / 1000 for ms in left], abs=0.002)


def test_attempt_may_be_shorter_than_the_call(kind: str) -> None:
    script = Script([httpx.ReadTimeout("late"), answered()])
    client_of(kind, script, attempt_s=0.2).recommend(ANYBODY)
    assert [request.extensions["timeout"]["read"] for request in script.seen] == [0.2, 0.2]
    assert script.seen[0].headers[DEADLINE_HEADER] == "2000"


def test_call_without_time_is_not_sent(kind: str) -> None:
    script = Script([answered()])
    with pytest.raises(TimedOutError, match="no time for an attempt within 0 s"):
        client_of(kind, script).recommend(ANYBODY, deadline_s=0)
    assert script.seen == []


def test_attempts_end_at_their_number(kind: str) -> None:
    script = Script([BROKEN])
    with pytest.raises(UnreachableError, match="is the service running") as told:
        client_of(kind, script, retries=RetryPolicy(max_attempts=3)).recommend(ANYBODY)
    assert told.value.__notes__ == ["3 attempts are all that is allowed"]
    assert len(script.seen) == 3


def test_budget_ends_the_retries_of_all_calls_together(kind: str) -> None:
    script = Script([BROKEN])
    client = client_of(kind, script, retries=RetryPolicy(reserve=5, fraction=0.1))
    for _ in range(100):
        with pytest.raises(UnreachableError):
            client.recommend(ANYBODY)
    assert 100 + 5 <= len(script.seen) <= 100 + 5 + 10
    assert sum(client.retries.values()) == len(script.seen) - 100


@pytest.mark.parametrize(
    "step",
    [httpx.Response(200, text="<html>"), answered({"items": 3}), httpx.Response(404, text="nginx")],
    ids=["no JSON", "another shape", "another server"],
)
def test_reply_of_another_server_is_told_as_such(kind: str, step: httpx.Response) -> None:
    script = Script([step])
    with pytest.raises(UnexpectedReplyError) as told:
        client_of(kind, script).recommend(ANYBODY)
    assert told.value.status == step.status_code
    assert len(script.seen) == 1


def test_newer_service_may_say_more(kind: str) -> None:
    script = Script([answered({**ANSWER, "brand_new": {"x": 1}, "source": "a new source"})])
    assert client_of(kind, script).recommend(ANYBODY).source == "a new source"
