"""Reading a request within its limits: media type, size and speed."""

import asyncio
from collections.abc import Sequence

import pytest

from serving.config import Settings
from serving.http.errors import Refusal
from serving.http.exchange import (
    AsgiApp,
    ClientLeft,
    Event,
    Headers,
    Receive,
    Reply,
    Scope,
    Send,
    collect,
    read_body,
    read_number,
    read_query,
    validate_json_request,
)
from tests.support.asgi import body_events, receiving, scope

SETTINGS = Settings(max_body_bytes=10, body_timeout_ms=50)


def headers(**named: str) -> Headers:
    return Headers.of([(name.replace("_", "-").encode(), value.encode()) for name, value in named.items()])


def read(events: Sequence[Event], given: Headers | None = None) -> bytes:
    return asyncio.run(read_body(receiving(events), given or headers(), SETTINGS))


def refused(events: Sequence[Event], given: Headers | None = None) -> Refusal:
    with pytest.raises(Refusal) as caught:
        read(events, given)
    return caught.value


@pytest.mark.parametrize("given", ["r-1", "A.b_c:d-9", "x" * 128])
def test_sane_request_id_is_kept(given: str) -> None:
    assert headers(x_request_id=given).request_id == given


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", "a\r\nset-cookie: x", "<script>", "é", "a\n"])
def test_other_request_id_is_replaced(given: str) -> None:
    made = headers(x_request_id=given).request_id
    assert made != given
    assert len(made) == 32


def test_every_generated_request_id_is_new() -> None:
    assert len({headers().request_id for _ in range(100)}) == 100


@pytest.mark.parametrize("length", ["", "-1", "1e3", "0x10", "٣", "9" * 20, "9" * 5000])
def test_content_length_is_a_hint_that_cannot_break_reading(length: str) -> None:
    assert read(body_events(b"{}"), headers(content_length=length)) == b"{}"


def test_body_comes_back_whole() -> None:
    assert read(body_events(b"0123", b"", b"456789")) == b"0123456789"
    assert read(body_events(b"")) == b""


@pytest.mark.parametrize("chunks", [[b"x" * 11], [b"x" * 5, b"x" * 6], [b"x"] * 50])
def test_body_beyond_the_limit_is_refused_after_it_was_read(chunks: list[bytes]) -> None:
    refusal = refused(body_events(*chunks))
    assert refusal.status == 413
    assert str(refusal).startswith(f"the body may have at most 10 bytes, got {sum(map(len, chunks))}; ")
    assert refusal.headers == ()  # the connection goes on


def test_body_that_asks_first_is_refused_before_it_is_sent() -> None:
    refusal = refused([], headers(expect="100-continue", content_length="11"))
    assert refusal.status == 413
    assert (b"connection", b"close") in refusal.headers


def test_large_body_that_never_ends_is_refused_in_time() -> None:
    refusal = refused(body_events(b"x" * 11, b"")[:1])
    assert refusal.status == 413
    assert (b"connection", b"close") in refusal.headers


def test_slow_body_is_refused_and_its_connection_ends() -> None:
    refusal = refused(body_events(b"{", b"")[:1])
    assert refusal.status == 408
    assert str(refusal).startswith("the body must arrive within 50 ms, got 1 bytes of it; ")
    assert (b"connection", b"close") in refusal.headers


def test_caller_that_leaves_is_not_answered() -> None:
    with pytest.raises(ClientLeft, match="closed after 1 bytes"):
        read([*body_events(b"{", b"")[:1], {"type": "http.disconnect"}])


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
    ],
)
def test_json_in_utf8_is_read(content_type: str) -> None:
    validate_json_request(headers(content_type=content_type))


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/json; charset=latin-1",
        "application/jsonp",
        "text/json, application/json",
    ],
)
def test_other_media_types_are_refused_by_name(content_type: str) -> None:
    with pytest.raises(Refusal, match="must be application/json in UTF-8, got") as caught:
        validate_json_request(headers(content_type=content_type))
    assert caught.value.status == 415
    assert repr(content_type) in str(caught.value)


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "gzip, identity"])
def test_compressed_body_is_refused(encoding: str) -> None:
    given = headers(content_type="application/json", content_encoding=encoding)
    with pytest.raises(Refusal, match=f"Content-Encoding must be absent, got '{encoding}'") as caught:
        validate_json_request(given)
    assert caught.value.status == 415


def test_query_string_is_refused_not_ignored() -> None:
    with pytest.raises(Refusal, match="query may hold nothing, got 'k'"):
        read_query(b"k=3", ())


@pytest.mark.parametrize("text", ["0", "6", "x", "", "-1", "٣", "0000000019", "0" * 20 + "1", "1" * 5000])
def test_number_of_a_query_is_read_as_a_whole_or_refused(text: str) -> None:
    assert (read_number({"limit": "3"}, "limit", 5, 5), read_number({}, "limit", 4, 5)) == (3, 4)
    with pytest.raises(Refusal, match="limit must be an integer from 1 to 5, got") as refused:
        read_number({"limit": text}, "limit", 5, 5)
    assert refused.value.field == "limit"


def replying(*events: Event) -> AsgiApp:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        for event in events:
            await send(event)

    return app


def test_collected_reply_is_whole_and_of_its_own_length() -> None:
    start = {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-length", b"9"), (b"a", b"b")],
    }
    parts = [{"type": "http.response.body", "body": part, "more_body": True} for part in (b"ab", b"c")]
    app = replying(start, *parts, {"type": "http.response.body"})
    assert asyncio.run(collect(app, scope("GET", "/", {}), receiving([]))) == Reply(
        200, b"abc", ((b"a", b"b"),)
    )


def test_application_that_never_replies_is_an_error_not_a_hang() -> None:
    with pytest.raises(RuntimeError, match="/x returned without a reply, got 0 events"):
        asyncio.run(collect(replying(), scope("GET", "/x", {}), receiving([])))
