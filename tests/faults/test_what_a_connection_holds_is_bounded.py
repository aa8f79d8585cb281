"""Whatever one connection makes a worker hold has a bound, and nothing odd that it sends is misunderstood.

Framing errors are told at once; what is declined is as if it had not been asked; trailers decide nothing.
"""

import json
import socket
import time

import psutil
import pytest

from tests.support.raw_http import CHUNKED_HEAD, POST_HEAD, Replies, chunk, connect, request
from tests.support.service_process import RunningService

pytestmark = pytest.mark.server

MEGABYTE = 1 << 20
OFFERS = {
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    "websocket": b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n",
}


def worker_memory(service: RunningService) -> int:
    """Returns the bytes that the one worker holds."""
    family = psutil.Process(service.process.pid).children(recursive=True)
    (worker,) = [child for child in family if "_bentoml_impl.worker" in str(child.cmdline())]
    return int(worker.memory_info().rss)


def code(body: bytes) -> str:
    return str(json.loads(body)["error"]["code"])


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("is_chunked", [False, True])
def test_offer_of_another_protocol_is_as_if_not_made(
    service: RunningService, offer: str, is_chunked: bool
) -> None:
    body = json.dumps({"user_id": "u0001", "k": 3}).encode()
    asked = request(body, OFFERS[offer])
    if is_chunked:
        asked = POST_HEAD + OFFERS[offer] + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(body) + chunk(b"")
    with connect(service.url) as connection:
        replies = Replies(connection)
        for sent in (asked, request(body), asked + asked):  # the connection goes on, offers sent ahead too
            connection.sendall(sent)
            for _ in range(sent.count(b"POST ")):
                reply = replies.next()
                assert (reply.status, json.loads(reply.body)["returned"]) == (200, 3)


def test_offer_is_declined_wherever_its_bytes_come_apart(service: RunningService) -> None:
    asked = request(b'{"k":2}', OFFERS["h2c"])
    for cut in (20, asked.index(b"Upgrade: ") + 3, asked.index(b"\r\n\r\n") + 2, len(asked) - 3):
        with connect(service.url) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(asked[:cut])
            time.sleep(0.05)
            connection.sendall(asked[cut:])
            assert json.loads(Replies(connection).next().body)["returned"] == 2


def test_proxied_protocol_is_refused(service: RunningService) -> None:
    with connect(service.url) as connection:
        connection.sendall(b"CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n")
        replies = Replies(connection)
        assert code(replies.next().body) == "malformed_request"
        assert replies.is_ended()


@pytest.mark.parametrize(
    ("path", "endless"),
    [
        (b"/v1/recommend", b"a: b\r\n"),
        (b"/v1/recommend", b"a"),
        (b"/nothing", b"a: b\r\n"),  # answered before its body
    ],
)
def test_trailers_are_bounded(service: RunningService, path: bytes, endless: bytes) -> None:
    before = worker_memory(service)
    with connect(service.url) as connection:
        connection.sendall(CHUNKED_HEAD.replace(b"/v1/recommend", path) + chunk(b"{}") + b"0\r\n")
        try:
            for _ in range(40):
                connection.sendall(endless * (MEGABYTE // len(endless)))
        except OSError:
            pass  # the service has stopped listening
        assert worker_memory(service) - before < 10 * MEGABYTE
        if path != b"/nothing":
            reply = Replies(connection).next()
            assert (reply.status, code(reply.body)) == (431, "headers_too_large")


@pytest.mark.parametrize("framing", [b"2;" + b"x" * 10_000, b"0" * 10_000], ids=["extension", "size"])
def test_framing_of_chunks_is_bounded(service: RunningService, framing: bytes) -> None:
    with connect(service.url) as connection:
        connection.sendall(CHUNKED_HEAD)
        time.sleep(0.05)
        connection.sendall(framing)
        assert Replies(connection).next().status in {400, 431}


@pytest.mark.parametrize(
    "trailer",
    [
        b"X-Request-Id: evil\r\nAuthorization: Bearer x\r\nX-Deadline-Ms: no\r\nContent-Type: text/plain\r\n",
        b"Connection: close\r\n",
        OFFERS["h2c"],
    ],
)
def test_trailers_decide_nothing(service: RunningService, trailer: bytes) -> None:
    head = CHUNKED_HEAD.replace(b"Host", b"X-Request-Id: good\r\nHost")
    asked = head + chunk(b"{}") + b"0\r\n" + trailer + b"\r\n"
    with connect(service.url) as connection:
        replies = Replies(connection)
        for n_at_once in (1, 3):  # the connection goes on, with what was sent ahead too
            connection.sendall(asked * n_at_once)
            for _ in range(n_at_once):
                reply = replies.next()
                assert (reply.status, json.loads(reply.body)["request_id"]) == (200, "good")


def test_nothing_after_the_last_request_of_a_connection_is_answered(service: RunningService) -> None:
    for last in (request(b"{}", b"Connection: close\r\n"), request().replace(b"HTTP/1.1", b"HTTP/1.0")):
        with connect(service.url) as connection:
            connection.sendall(request() + last + request() + b"no HTTP")
            replies = Replies(connection)
            assert [replies.next().status, replies.next().status] == [200, 200]
            assert replies.is_ended()


def test_body_in_another_coding_of_the_transfer_is_refused(service: RunningService) -> None:
    with connect(service.url) as connection:
        connection.sendall(CHUNKED_HEAD.replace(b"chunked", b"gzip, chunked") + chunk(b"{}") + chunk(b""))
        replies = Replies(connection)
        reply = replies.next()
        assert (reply.status, code(reply.body)) == (400, "malformed_request")
        assert replies.is_ended()


def test_many_headers_are_refused(service: RunningService) -> None:
    with connect(service.url) as connection:
        connection.sendall(POST_HEAD + b"a:\r\n" * 300 + b"\r\n")
        assert Replies(connection).next().status == 431


def test_requests_sent_ahead_are_bounded(service: RunningService) -> None:
    before = worker_memory(service)
    with connect(service.url) as connection:
        connection.settimeout(0.5)
        ahead = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 10_000
        try:
            for _ in range(100):
                connection.sendall(ahead)
        except OSError:
            pass
        assert worker_memory(service) - before < 20 * MEGABYTE


def test_some_requests_sent_ahead_are_all_answered_in_order(service: RunningService) -> None:
    with connect(service.url) as connection:
        connection.sendall(b"".join(request(b"{}", b"X-Request-Id: %d\r\n" % n) for n in range(50)))
        replies = Replies(connection)
        assert [json.loads(replies.next().body)["request_id"] for _ in range(50)] == [
            str(n) for n in range(50)
        ]


@pytest.mark.parametrize(
    "broken",
    [
        chunk(b"{}") + b"-7\r\n",
        b"x\r\n",
        chunk(b'{"k":1}')[:-2] + b"zz\r\n",
        chunk(b"{}") + b"0\r\n:\x00\r\n",
    ],
)
def test_broken_framing_is_told_at_once(service: RunningService, broken: bytes) -> None:
    with connect(service.url) as connection:
        connection.sendall(CHUNKED_HEAD)
        time.sleep(0.05)
        connection.sendall(broken)
        replies = Replies(connection)
        reply = replies.next()
        assert (reply.status, code(reply.body)) == (400, "malformed_request")
        assert replies.is_ended()


@pytest.mark.parametrize("hosts", [b"", b"Host: x\r\nHost: y\r\n"], ids=["none", "two"])
def test_request_that_does_not_name_its_host_once_is_refused(service: RunningService, hosts: bytes) -> None:
    with connect(service.url) as connection:
        connection.sendall(request().replace(b"Host: x\r\n", hosts))
        replies = Replies(connection)
        reply = replies.next()
        assert (reply.status, code(reply.body)) == (400, "malformed_request")
        assert replies.is_ended()


def test_older_http_needs_no_host(service: RunningService) -> None:
    with connect(service.url) as connection:
        connection.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        assert Replies(connection).next().status == 200


def test_reply_to_the_request_before_comes_before_the_refusal(service: RunningService) -> None:
    for broken in (b"no HTTP\r\n\r\n", CHUNKED_HEAD + b"x\r\n"):
        with connect(service.url) as connection:
            connection.sendall(request() + broken)
            replies = Replies(connection)
            assert [replies.next().status, replies.next().status] == [200, 400]
            assert replies.is_ended()
