"""A client that is made before `fork`, as servers do that load once and then fork, works in every child."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.support.clients import ANSWER

IN_CHILDREN = """
import asyncio, os, signal, sys
import httpx
from marquee.client import AsyncClient, Client, RecommendRequest

url, kind = sys.argv[1:]
signal.alarm(20)
mock = httpx.MockTransport(lambda request: httpx.Response(500))
client = {
    "sync": lambda: Client(url, deadline_s=10),
    "async": lambda: AsyncClient(url, deadline_s=10),
    "transport": lambda: Client(url, transport=mock),
}[kind]()


def ask(n):
    me = str(os.getpid())
    if kind == "async":
        async def all_of_them():
            return [await client.recommend(RecommendRequest(user_id=me)) for _ in range(n)]
        answers = asyncio.run(all_of_them())
    else:
        answers = [client.recommend(RecommendRequest(user_id=me)) for _ in range(n)]
    assert {answer.items[0].item_id for answer in answers} == {me}, answers


def child():
    try:
        if kind == "transport":
            client.recommend(RecommendRequest())
        ask(20)
    except RuntimeError as error:
        print(error, flush=True)
        os._exit(7)
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


if kind == "sync":
    ask(1)
lock = client._own.budget._lock
lock.acquire()  # as another thread may in that moment
children = [os.fork() or child() for _ in range(2)]
lock.release()
if kind == "sync":
    ask(20)
print(*[os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children])
"""


@dataclass
class Asked:
    """Who asked over which connection.

    Attributes:
        url: Of a service that answers with the id of whoever asks.
        callers: Ids by the port of their connection.
    """

    url: str
    callers: dict[int, set[str]] = field(default_factory=dict)


@pytest.fixture
def service() -> Iterator[Asked]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            user = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["user_id"]
            asked.callers.setdefault(self.client_address[1], set()).add(user)
            items = [{"item_id": user, "score": 1.0, "kind": "content"}]
            body = json.dumps({**ANSWER, "items": items}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    asked = Asked(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield asked
    server.shutdown()
    server.server_close()
    thread.join()


def in_children(url: str, kind: str) -> str:
    """Forks twice in a new process, asks there and in the children, and returns the printed text."""
    run = subprocess.run(
        [sys.executable, "-c", IN_CHILDREN, url, kind],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_no_connection_is_shared_with_a_child(service: Asked, kind: str) -> None:
    assert in_children(service.url, kind) == "0 0\n"
    assert all(len(callers) == 1 for callers in service.callers.values())
    assert len(set().union(*service.callers.values())) == (3 if kind == "sync" else 2)


def test_transport_of_the_parent_is_refused_in_a_child(service: Asked) -> None:
    *said, codes = in_children(service.url, "transport").splitlines()
    assert codes == "7 7"
    assert " ".join(said).count("belongs to the process that made it") == 2
