"""The client against a real service: every call, connections kept, replies that trickle."""

import asyncio
import hashlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from demo.processes import free_port
from marquee.bundle.releases import activate
from marquee.client import (
    AsyncClient,
    Client,
    ItemMessage,
    ItemsRequest,
    PageRequest,
    RecommendAnswer,
    RecommendRequest,
    RefusedError,
    RetryPolicy,
    RowRequest,
    SimilarRequest,
    TimedOutError,
    UnreachableError,
)
from tests.support.bundles import N_ITEMS, publish_tiny
from tests.support.markdown import blocks
from tests.support.service_process import RunningService, running_service

BODY = RecommendRequest(user_id="u1", k=3)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("client")
    bundle = publish_tiny(folder / "bundles")
    publish_tiny(folder / "bundles", seed=1)
    activate(bundle)
    entries = [
        {"name": name, "sha256": hashlib.sha256(f"{name}-secret".encode()).hexdigest(), "scopes": scopes}
        for name, scopes in [("shop", ["recommend"]), ("admin", ["admin", "items"])]
    ]
    keys = folder / "keys.json"
    keys.write_text(json.dumps({"keys": entries}))
    settings = {
        "MARQUEE_KEYS": str(keys),
        "MARQUEE_DEADLINE_MS": "10000",
        "MARQUEE_ITEMS": str(folder / "items"),
    }
    with running_service(bundle.parent, folder, MARQUEE_WORKERS="2", **settings) as running:
        yield running


@pytest.fixture
def client(service: RunningService) -> Iterator[Client]:
    with Client(service.url, key="shop-secret", deadline_s=10) as client:
        yield client


@pytest.mark.server
def test_every_call_is_answered_as_the_service_answers(client: Client, service: RunningService) -> None:
    answer = client.recommend(BODY)
    assert (answer.source, answer.returned, len(answer.items)) == ("personal", 3, 3)
    first, second = client.recommend_batch([BODY, RecommendRequest(k=0)])
    assert isinstance(first, RecommendAnswer)
    assert first.items == answer.items
    assert isinstance(second, RefusedError)
    assert (second.status, second.field) == (422, "k")
    assert client.similar(SimilarRequest(item_id="i003", k=2)).source == "similar"
    facts = client.bundle()
    assert (facts.version, facts.n_items, "genre" in facts.filters) == (answer.version, None, True)
    page = client.page(PageRequest(user_id="u1", rows=[RowRequest(k=2), RowRequest(row="popular", k=2)]))
    assert [row.returned for row in page.rows] == [2, 2]
    assert page.cursor is not None
    assert (client.is_alive(), client.is_ready()) == (True, True)
    with pytest.raises(RefusedError, match="good for recommend, this needs admin"):
        client.releases()
    with Client(service.url, key="admin-secret", deadline_s=10) as operator:
        listed = operator.releases().releases
        assert [release.is_current for release in listed].count(True) == 1
        (other,) = [release.version for release in listed if not release.is_current]
        assert operator.activate(other).version == other
        with pytest.raises(RefusedError) as told:
            operator.activate("no such release")
        assert told.value.code == "not_found"


@pytest.mark.server
def test_example_of_the_operator_s_page_runs(service: RunningService) -> None:
    (block,) = blocks("docs/operating/requests.md", "python", "Asking from Python")
    code = block.text.replace("http://127.0.0.1:3000", service.url).replace('key=""', 'key="shop-secret"')
    code = code.replace("tea-01", "i001").replace("deadline_s=0.2", "deadline_s=10")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    source, _, rest = run.stdout.partition(" ")
    assert (source, len(json.loads(rest.splitlines()[0].replace("'", '"')))) == ("history", 3)


@pytest.mark.server
def test_items_come_and_go(client: Client, service: RunningService) -> None:
    with pytest.raises(RefusedError, match="this needs items"):
        client.put_items(ItemsRequest(items=[ItemMessage(item_id="new item/1")]))
    with Client(service.url, key="admin-secret", deadline_s=10) as operator:
        item = ItemMessage(item_id="new item/1", attributes={"genre": "drama"})
        (placed,) = operator.put_items(ItemsRequest(items=[item])).items
        assert (placed.item_id, placed.state) == ("new item/1", "live")
        for _ in range(2):  # none does more when it is repeated
            (placed,) = operator.withdraw_item("new item/1").items
            assert placed.state == "withdrawn"
        assert [item.item_id for item in operator.items("withdrawn").items] == ["new item/1"]
        assert operator.bundle().n_items == N_ITEMS


@pytest.mark.server
def test_items_are_imported_while_they_are_made(service: RunningService) -> None:
    with Client(service.url, key="admin-secret", deadline_s=10) as operator:
        before = operator.items("live").items
        made = (
            ItemMessage(item_id=f"import {n}" if n % 1000 else "", attributes={"genre": "drama"})
            for n in range(3000)
        )
        with Client(service.url, key="shop-secret") as shop, pytest.raises(RefusedError, match="needs items"):
            shop.import_items(ItemMessage(item_id=f"import {n}") for n in range(3000))
        answer = operator.import_items(made, deadline_s=60)
        assert (answer.taken, answer.rejected) == ({"live": 2997}, {"invalid_request": 3})
        assert [one.line for one in answer.rejected_lines] == [1, 1001, 2001]
        assert answer.n_kept >= 2997 + len(before)
        assert answer.max_kept >= answer.n_kept


@pytest.mark.server
def test_connections_are_kept(client: Client, service: RunningService) -> None:
    for _ in range(20):
        client.recommend(BODY)
    port = int(service.url.rpartition(":")[2])
    own = psutil.Process().net_connections("tcp")
    assert (
        len([one for one in own if one.raddr and one.raddr.port == port and one.status == "ESTABLISHED"]) <= 2
    )


@pytest.mark.server
def test_asyncio_asks_at_the_same_time(service: RunningService) -> None:
    async def ask_all() -> list[RecommendAnswer]:
        async with AsyncClient(service.url, key="shop-secret", deadline_s=10) as client:
            assert await client.is_ready()
            assert (await client.bundle()).kinds == ("click", "rating")
            return await asyncio.gather(*(client.recommend(BODY) for _ in range(200)))

    answers = asyncio.run(ask_all())
    assert len({answer.request_id for answer in answers}) == 200
    assert {answer.returned for answer in answers} == {3}


@contextmanager
def trickling(seconds_per_byte: float) -> Iterator[str]:
    """Runs a server that begins a reply at once and gives the rest of it byte by byte."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        ending = threading.Event()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                while not ending.wait(seconds_per_byte):
                    try:
                        connection.sendall(b" ")
                    except OSError:
                        return

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        ending.set()
        thread.join()


def test_reply_that_trickles_is_given_up_in_time() -> None:
    once = RetryPolicy(max_attempts=1)
    for url_of in (ask_sync, ask_async):
        with trickling(0.05) as url:
            started = time.monotonic()
            with pytest.raises(TimedOutError, match=r"no whole reply in 0\.3"):
                url_of(url, once)
            assert time.monotonic() - started < 5


def ask_sync(url: str, retries: RetryPolicy) -> None:
    with Client(url, deadline_s=0.3, retries=retries) as client:
        client.recommend(BODY)


def ask_async(url: str, retries: RetryPolicy) -> None:
    async def ask() -> None:
        async with AsyncClient(url, deadline_s=0.3, retries=retries) as client:
            await client.recommend(BODY)

    asyncio.run(ask())


def test_silence_is_told_after_every_attempt() -> None:
    with Client(f"http://127.0.0.1:{free_port()}") as client, pytest.raises(UnreachableError) as told:
        client.recommend(BODY)
    assert told.value.__notes__ == ["4 attempts are all that is allowed"]
    assert client.retries == {"unreachable": 3}
