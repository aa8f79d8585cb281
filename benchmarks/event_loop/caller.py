"""A process that calls `POST /v1/events` from some threads, each over a connection of its own.

Bodies are made before the clock runs: callers share the machine with the service, and what they cost would
count as the service's.
"""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import msgspec
import numpy as np

from benchmarks.event_loop.load import Calls, rows

TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Posts:
    """The work of one process.

    Attributes:
        port: Of the service.
        key: Secret of a key for events.
        seconds: For how long.
        n_callers: Threads that wait for an answer each.
        batch: Rows of a call.
        most: Calls that a caller makes at most.
        seed: What its rows follow from.
    """

    port: int
    key: str
    seconds: float
    n_callers: int
    batch: int
    most: int
    seed: int


class Connection:
    """A kept connection that sends bytes and reads answers: a client library costs as much as the service."""

    def __init__(self, port: int, key: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._key = key

    def request(self, path: str, body: bytes) -> bytes:
        """Returns the bytes of a request."""
        head = (
            f"POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {self._key}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def send(self, request: bytes) -> bytes:
        """Sends a request and returns the body of its answer, which must have status 200."""
        self._socket.sendall(request)
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._receive()
        head, _, body = received.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        while len(body) < length:
            body += self._receive()
        assert head.split(b" ", 2)[1] == b"200", head + body
        return body

    def ask(self, path: str, **message: object) -> dict[str, object]:
        """Sends a message and returns the answer."""
        answer: dict[str, object] = json.loads(self.send(self.request(path, msgspec.json.encode(message))))
        return answer

    def close(self) -> None:
        """Ends the connection."""
        self._socket.close()

    def _receive(self) -> bytes:
        """Returns the next bytes; raises ConnectionError if there are none."""
        part = self._socket.recv(65536)
        if not part:
            raise ConnectionError("the service ended the connection")
        return part


def run_posts(posts: Sequence[Posts]) -> list[Calls]:
    """Runs all at once, each in a process; returns the times of each one's calls."""
    command = [sys.executable, "-m", "benchmarks.event_loop.caller"]
    running = [
        subprocess.Popen(
            [*command, json.dumps(asdict(one))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for one in posts
    ]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", "the caller must have made its bodies"
    for process in running:
        assert process.stdin is not None
        # Together: the slower of two would otherwise have the service for itself at the end.
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=posts[0].seconds + 120)[0] for process in running]
    return [Calls(**json.loads(output)) for output in outputs]


def _requests(posts: Posts, number: int, connection: Connection) -> list[bytes]:
    """Returns the requests of one caller."""
    rng, now = np.random.default_rng((posts.seed, number)), int(time.time())
    made = rows(rng, posts.batch * posts.most, now)
    return [
        connection.request("/v1/events", msgspec.json.encode({"events": made[start : start + posts.batch]}))
        for start in range(0, len(made), posts.batch)
    ]


def _call(posts: Posts, connection: Connection, requests: Sequence[bytes], began: float) -> list[float]:
    """Sends until the time is over and returns what each call took, ms."""
    took: list[float] = []
    expected = b'"accepted":%d,' % posts.batch
    for request in requests:
        started = time.perf_counter()
        if started - began >= posts.seconds:
            break
        body = connection.send(request)
        took.append((time.perf_counter() - started) * 1000)
        assert expected in body, body
    return took


def main() -> None:
    """Makes the bodies, waits for a line, sends them and prints what each call took."""
    posts = Posts(**json.loads(sys.argv[1]))
    connections = [Connection(posts.port, posts.key) for _ in range(posts.n_callers)]
    requests = [_requests(posts, number, one) for number, one in enumerate(connections)]
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.perf_counter()
    with ThreadPoolExecutor(posts.n_callers) as pool:
        work = [pool.submit(_call, posts, *pair, began) for pair in zip(connections, requests, strict=True)]
        parts = [one.result() for one in work]
    seconds = time.perf_counter() - began
    print(json.dumps(asdict(Calls([ms for part in parts for ms in part], seconds))))


if __name__ == "__main__":
    main()
