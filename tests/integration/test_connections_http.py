"""Connections to a real service that are slow, huge, half-sent, too many, or never read."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from tests.support.bundles import publish_tiny
from tests.support.service_process import RunningService, raw_exchange, running_service

pytestmark = pytest.mark.server

MAX_CONNECTIONS = 20
TIMEOUT_S = 0.5
PATIENCE_S = 6.0
POST_HEAD = b"POST /v1/recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
LIMITS = {
    "MARQUEE_WORKERS": "1",
    "MARQUEE_DEADLINE_MS": "10000",
    "MARQUEE_MAX_BATCH": "1000",
    "MARQUEE_MAX_CONNECTIONS": str(MAX_CONNECTIONS),
    "MARQUEE_MAX_HEADER_BYTES": "4096",
    "MARQUEE_HEADER_TIMEOUT_MS": str(int(TIMEOUT_S * 1000)),
    "MARQUEE_BODY_TIMEOUT_MS": str(int(TIMEOUT_S * 1000)),
    "MARQUEE_WRITE_TIMEOUT_MS": str(int(TIMEOUT_S * 1000)),
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_tiny(tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="module")
def service(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with running_service(bundle, tmp_path_factory.mktemp("service"), **LIMITS) as running:
        yield running
        assert "Traceback" not in running.log.read_text(), "no connection may make the service stumble"


def connect(service: RunningService) -> socket.socket:
    host, port = service.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE_S)


def until_closed(connection: socket.socket) -> bytes:
    """Reads from a connection until the service ends it."""
    received = b""
    try:
        while part := connection.recv(65536):
            received += part
    except ConnectionResetError:
        pass
    return received


def one_reply(connection: socket.socket) -> bytes:
    """Returns one reply whose body is a JSON object, head and body, which may come apart."""
    received = b""
    while not received.endswith(b"}") and (part := connection.recv(65536)):
        received += part
    return received


def assert_refused(received: bytes, status: int, code: str) -> None:
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0].split()[1] == str(status).encode()
    assert b"connection: close" in head
    assert json.loads(body)["error"]["code"] == code


@pytest.mark.parametrize(
    "sent", [b"POST /v1/rec", POST_HEAD, b"\r\n", b"GET /livez HTTP/1.1\r\nX: " + b"y" * 100]
)
def test_half_sent_head_is_refused_in_time(service: RunningService, sent: bytes) -> None:
    started = time.monotonic()
    with connect(service) as connection:
        connection.sendall(sent)
        assert_refused(until_closed(connection), 408, "request_too_slow")
    assert TIMEOUT_S <= time.monotonic() - started < TIMEOUT_S + 3


def test_head_that_drips_is_refused_in_time(service: RunningService) -> None:
    started = time.monotonic()
    with connect(service) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\n")
        while time.monotonic() - started < 0.9 * TIMEOUT_S:
            connection.sendall(b"X-Drip: 1\r\n")
            time.sleep(0.1)
        assert_refused(until_closed(connection), 408, "request_too_slow")


def test_silent_connection_is_ended_in_time(service: RunningService) -> None:
    with connect(service) as connection:
        assert until_closed(connection) == b""


def test_half_sent_second_request_is_refused_in_time(service: RunningService) -> None:
    whole = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    with connect(service) as connection:
        connection.sendall(whole + b"GET /li")
        received = until_closed(connection)
    assert received.startswith(b"HTTP/1.1 200 OK")
    assert_refused(received[received.index(b"HTTP/1.1 408") :], 408, "request_too_slow")


@pytest.mark.parametrize("size", [5_000, 300_000])
@pytest.mark.parametrize("line", [b"X-Large: %b\r\n\r\n", b"X-Endless: %b"])
def test_large_head_is_refused(service: RunningService, size: int, line: bytes) -> None:
    with connect(service) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n" + line % (b"y" * size))
        assert_refused(until_closed(connection), 431, "headers_too_large")


def test_many_small_headers_are_a_large_head(service: RunningService) -> None:
    lines = b"".join(b"X-%d: y\r\n" % number for number in range(500))
    with connect(service) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n")
        assert_refused(until_closed(connection), 431, "headers_too_large")


def test_head_within_the_limit_is_answered(service: RunningService) -> None:
    status, body = raw_exchange(
        service.url, POST_HEAD + b"X: %b\r\nContent-Length: 2\r\n\r\n{}" % (b"y" * 3000)
    )
    assert (status, body["returned"]) == (200, 10)


@pytest.mark.parametrize("sent", [b"\x16\x03\x01\x02\x00\x01\x00", b"NO HTTP AT ALL\r\n\r\n", b"GET\r\n\r\n"])
def test_what_is_no_http_is_refused_in_the_one_envelope(service: RunningService, sent: bytes) -> None:
    with connect(service) as connection:
        connection.sendall(sent)
        assert_refused(until_closed(connection), 400, "malformed_request")


def test_request_for_another_protocol_is_answered_like_any_other(service: RunningService) -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n"
    status, body = raw_exchange(service.url, b"GET /livez HTTP/1.1\r\nHost: x\r\n" + upgrade)
    assert (status, body) == (200, {"status": "alive"})


def test_body_that_nobody_reads_does_not_hold_a_connection(service: RunningService) -> None:
    head = b"GET /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    started = time.monotonic()
    with connect(service) as connection:
        connection.sendall(head)
        try:
            while time.monotonic() - started < PATIENCE_S:
                connection.sendall(b"x")
                time.sleep(0.05)
        except OSError:
            pass
    assert time.monotonic() - started < PATIENCE_S


def test_reply_that_nobody_reads_does_not_hold_a_connection(service: RunningService) -> None:
    worker = worker_of(service)
    body = json.dumps({"requests": [{"k": 24}] * 1000}).encode()
    request = POST_HEAD.replace(b"recommend ", b"recommend/batch ") + b"Content-Length: %d\r\n\r\n" % len(
        body
    )
    with connect(service) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(5):  # more than the buffers of the kernel take
            connection.sendall(request + body)
        for expected in (1, 0):  # the worker takes it, then ends it
            deadline = time.monotonic() + 3 * PATIENCE_S
            while n_connections(worker, connection) != expected and time.monotonic() < deadline:
                time.sleep(0.05)
            assert n_connections(worker, connection) == expected


def test_connections_beyond_the_limit_are_refused_and_those_within_it_are_not(
    service: RunningService,
) -> None:
    request = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    with ExitStack() as stack:
        kept = [stack.enter_context(connect(service)) for _ in range(MAX_CONNECTIONS)]
        for connection in kept:
            connection.sendall(request)
            assert one_reply(connection).startswith((b"HTTP/1.1 200", b"HTTP/1.1 503"))
        surplus = stack.enter_context(connect(service))
        surplus.sendall(request)
        received = until_closed(surplus)
        assert_refused(received, 503, "unavailable")
        assert b"retry-after: 1" in received
        kept[0].sendall(request)
        assert one_reply(kept[0]).startswith(b"HTTP/1.1 200")
    time.sleep(0.3)
    assert service.client.get("/livez").status_code == 200


def test_ended_connections_are_counted_by_reason(service: RunningService) -> None:
    text = service.client.get("/metrics").text
    for reason in ("headers_too_slow", "headers_too_large", "idle", "malformed", "body_too_slow", "too_many"):
        assert f'marquee_connections_ended_total{{reason="{reason}"}}' in text


def worker_of(service: RunningService) -> psutil.Process:
    (worker,) = [
        child for child in psutil.Process(service.process.pid).children() if "worker" in str(child.cmdline())
    ]
    return worker


def n_connections(worker: psutil.Process, connection: socket.socket) -> int:
    """Returns how many connections of the worker lead to ours: 1, or 0 once it has ended it."""
    port = connection.getsockname()[1]
    return sum(one.raddr.port == port for one in worker.net_connections("tcp") if one.raddr)


def test_connections_opened_at_once_are_shared_out(
    bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = {**LIMITS, "MARQUEE_WORKERS": "2", "MARQUEE_HEADER_TIMEOUT_MS": "30000"}
    with running_service(bundle, tmp_path_factory.mktemp("shared"), **settings) as running:
        workers = workers_of(running)
        assert len(workers) == 2
        wait_for_both(running)
        running.client.close()
        for _ in range(3):  # what has ended counts no more
            with ExitStack() as stack:
                for _ in range(MAX_CONNECTIONS):
                    stack.enter_context(connect(running))
                assert eventually(lambda: sum(map(n_held, workers)) == MAX_CONNECTIONS)
                held = [n_held(worker) for worker in workers]
                assert min(held) >= MAX_CONNECTIONS // 3, f"one worker holds too many: {held}"
            assert eventually(lambda: sum(map(n_held, workers)) == 0)


def wait_for_both(running: RunningService) -> None:
    """Returns once both workers have loaded the release, and a moment later, when they listen."""
    taken = 'marquee_release_changes_total{outcome="taken"} 2.0'
    assert eventually(lambda: taken in running.client.get("/metrics").text)
    time.sleep(TIMEOUT_S)


def eventually(holds: Callable[[], bool]) -> bool:
    """Returns whether a condition comes to hold in time."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def workers_of(running: RunningService) -> list[psutil.Process]:
    """Returns the processes that answer."""
    family = psutil.Process(running.process.pid).children(recursive=True)
    return [child for child in family if "worker" in str(child.cmdline())]


def n_held(worker: psutil.Process) -> int:
    """Returns how many connections a worker holds."""
    return sum(each.status == psutil.CONN_ESTABLISHED for each in worker.net_connections("tcp"))
