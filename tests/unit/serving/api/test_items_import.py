"""Imports of items: judged line by line, read as they come, kept as far as they came."""

import asyncio
import errno
import hashlib
import json
import os
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from marquee.store.live_items import ItemLimits, LiveItem
from serving.api.app import RecommendationApp
from serving.api.items import GROUP_LINES, ItemRoutes
from serving.api.recommend import Endpoints
from serving.config import Settings
from serving.http.exchange import AsgiApp, Event, Receive
from serving.http.guard import Guard, Key, Right
from serving.releases.channel import Channel
from serving.releases.item_import import MAX_TOLD
from serving.releases.live_items import Change, LiveItemLimits, LiveItems
from serving.releases.surfaces import DEFAULT, Surface, Surfaces
from serving.telemetry.metrics import Metrics
from tests.support.asgi import Response, body_events, no_bentoml, request, scope
from tests.support.bundles import NOW, publish_tiny

PATH = "/v1/items/import"
HEADERS = {"content-type": "application/x-ndjson", "authorization": "Bearer editors"}
LINE_BYTES = 2000


@dataclass
class Service:
    """One process that takes imports.

    Attributes:
        app: What is asked.
        items: Its live items.
        channel: Whose they are.
    """

    app: AsgiApp
    items: LiveItems
    channel: Channel

    def ask(self, body: bytes | Sequence[Event], **headers: str) -> Response:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return asyncio.run(request(self.app, "POST", PATH, body, HEADERS | given))

    def answer(self, body: bytes | Sequence[Event]) -> Any:
        response = self.ask(body)
        assert response.status == 200, response.body
        return response.json()

    @property
    def kept(self) -> set[str]:
        return set(self.items.kept(self.channel)[1])


Start = Callable[..., Service]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_tiny(tmp_path_factory.mktemp("bundles")).parent


@pytest.fixture
def start(bundles: Path, tmp_path: Path) -> Iterator[Start]:
    """Returns a function that starts a service with room for so many items."""
    ends: list[Callable[[], None]] = []

    def start_service(max_items: int = 5000, folder: Path | None = tmp_path) -> Service:
        channel, metrics = Channel(bundles), Metrics()
        channel.load()
        limits = LiveItemLimits(1000, ItemLimits(max_items))
        items = LiveItems([channel], folder, limits, metrics, clock=lambda: NOW)
        items.open()
        settings = Settings(max_body_bytes=LINE_BYTES, body_timeout_ms=200)
        surface = Surface(name=DEFAULT, bundle="", settings=settings)
        surfaces = Surfaces((surface,), DEFAULT, {DEFAULT: channel})
        endpoints, routes = Endpoints(settings, surfaces), ItemRoutes(surfaces, items, settings)
        keys = [
            Key(name=name, sha256=hashlib.sha256(name.encode()).hexdigest(), scopes=[right])
            for name, right in (("editors", Right.items), ("shop", Right.recommend))
        ]
        app = RecommendationApp(no_bentoml, endpoints, settings, Guard(keys), [routes])
        ends.extend([endpoints.close, routes.close, channel.close])
        return Service(app, items, channel)

    yield start_service
    for end in ends:
        end()


def line(item_id: object, **fields: object) -> bytes:
    return json.dumps({"item_id": item_id, **fields}, ensure_ascii=False).encode() + b"\n"


def test_lines_are_taken_however_they_are_cut(start: Start) -> None:
    service = start()
    body = "\ufeff".encode() + line("ünï/€") + b"\r\n\n" + line("b", kind="ad")[:-1] + b"\r\n" + line("i001")
    body += line("last")[:-1]
    for size in (1, 7, len(body)):
        pieces = [body[place : place + size] for place in range(0, len(body), size)]
        answer = service.answer(body_events(*pieces))
        assert answer.pop("request_id")
        assert answer.pop("version") == service.items.kept(service.channel)[0].version
        assert answer == {
            "taken": {"live": 3, "in_release": 1},
            "rejected": {},
            "rejected_lines": [],
            "unknown_attributes": {},
            "unread_attributes": {},
            "n_kept": 4,
            "max_kept": 5000,
        }
    assert service.kept == {"ünï/€", "b", "i001", "last"}


def test_broken_line_costs_the_others_nothing(start: Start) -> None:
    service = start()
    broken = [
        (b'{"item_id": "x"\n', "malformed_request", None),
        (b'{"item_id": "\xff"}\n', "malformed_request", None),
        (line(7), "invalid_request", "item_id"),
        (line("x", price=3), "invalid_request", "price"),
        (line("x", available_from=1.5), "invalid_request", "available_from"),
        (line("x", available_from=9, available_until=5), "invalid_request", "available_until"),
        (line("x", attributes={"title": "x" * 1500}), "invalid_request", None),  # larger than an item may be
        (line("x", attributes={"title": "x" * LINE_BYTES}), "body_too_large", None),
        (b"[]\n", "invalid_request", None),
    ]
    body = b"".join(line(f"good{place}") + bad for place, (bad, _, _) in enumerate(broken)) + line("good")
    answer = service.answer(body)
    assert answer["taken"] == {"live": len(broken) + 1}
    assert answer["rejected"] == {"malformed_request": 2, "invalid_request": 6, "body_too_large": 1}
    told = [(one["line"], one["reason"], one.get("field")) for one in answer["rejected_lines"]]
    assert told == [(2 * place + 2, reason, field_) for place, (_, reason, field_) in enumerate(broken)]
    assert all(one["message"] for one in answer["rejected_lines"])
    assert service.kept == {"good", *(f"good{place}" for place in range(len(broken)))}


def test_item_that_the_release_cannot_embed_is_found_among_the_others(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = start()
    recommender = service.items.kept(service.channel)[0]
    monkeypatch.setattr(recommender.bundle.item_tower, "inputs", ("id_vector",))
    answer = service.answer(line("i001") + line("new") + line("i002") + b"{\n")
    assert answer["taken"] == {"in_release": 2}
    assert [(one["line"], one["reason"]) for one in answer["rejected_lines"]] == [
        (2, "invalid_request"),
        (4, "malformed_request"),
    ]


def test_of_an_item_that_comes_twice_the_last_line_counts(start: Start) -> None:
    service = start()
    answer = service.answer(line("a", kind="ad") + line("b") + line("a", attributes={"genre": "drama"}))
    assert answer["taken"] == {"live": 3}
    kept = service.items.kept(service.channel)[1]["a"]
    assert (kept.kind, kept.attributes) == ("content", {"genre": "drama"})


def test_attributes_that_say_nothing_are_counted(start: Start) -> None:
    service = start()
    body = line("a", attributes={"colour": 1, "year": "soon"}) + line("b", attributes={"colour": 1})
    answer = service.answer(body)
    assert (answer["unknown_attributes"], answer["unread_attributes"]) == ({"colour": 2}, {"year": 1})
    body = b"".join(line("a", attributes={f"a{n}-{m}": 1 for m in range(50)}) for n in range(9))
    # Of the lines of one item only the last one counts: ids of their own let every name be seen.
    body += b"".join(line(f"c{n}", attributes={f"a{n}-{m}": 1 for m in range(50)}) for n in range(9))
    assert len(service.answer(body)["unknown_attributes"]) == MAX_TOLD


def test_what_fits_is_kept_when_there_is_no_room_for_all(start: Start) -> None:
    service = start(max_items=10)
    service.answer(line("n03"))
    body = b"".join(line(f"n{number:02d}") for number in range(20)) + line("n05", kind="ad")
    answer = service.answer(body)
    assert answer["taken"] == {"live": 11}, "what is kept already may still change"
    assert answer["rejected"] == {"no_room": 10}
    assert [one["line"] for one in answer["rejected_lines"]] == list(range(11, 21))
    assert "room for 10 live items" in answer["rejected_lines"][0]["message"]
    assert service.kept == {f"n{number:02d}" for number in range(10)}
    assert service.items.kept(service.channel)[1]["n05"].kind == "ad"


def test_full_disk_is_told_in_the_counts_and_asked_once(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, n_written = start(), 0
    service.answer(line("before"))

    def fail(_descriptor: int, _data: bytes) -> int:
        nonlocal n_written
        n_written += 1
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fail)
        answer = service.answer(b"".join(line(f"n{number}") for number in range(3 * GROUP_LINES)))
    assert (answer["taken"], answer["rejected"]) == ({}, {"no_room": 3 * GROUP_LINES})
    assert len(answer["rejected_lines"]) == MAX_TOLD
    assert n_written == 1
    assert service.kept == {"before"}


def test_disk_that_fails_otherwise_refuses_and_says_what_stays(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = start()
    put, n_groups = service.items.put, 0

    def fail_at_second(channel: Channel, items: Sequence[LiveItem]) -> Change:
        nonlocal n_groups
        n_groups += 1
        if n_groups > 1:
            monkeypatch.setattr(os, "write", fail)
        return put(channel, items)

    def fail(_descriptor: int, _data: bytes) -> int:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(service.items, "put", fail_at_second)
        response = service.ask(b"".join(line(f"n{number}") for number in range(2 * GROUP_LINES)))
    monkeypatch.undo()
    assert (response.status, response.error["code"]) == (503, "unavailable")
    n_kept = len(service.kept)
    assert 0 < n_kept < 2 * GROUP_LINES
    assert f"{n_kept} lines were taken before and stay" in response.error["message"]


def streamed(service: Service, pieces: Iterable[bytes], last: Event | None) -> Response:
    """Returns the response to a body that is made while it is read, and ends with an event; None: never."""
    remaining = iter(pieces)
    sent: list[Event] = []

    async def receive() -> Event:
        piece = next(remaining, None)
        if piece is not None:
            return {"type": "http.request", "body": piece, "more_body": True}
        if last is None:
            await asyncio.Event().wait()
        assert last is not None
        return last

    async def send(event: Event) -> None:
        sent.append(event)

    async def ask(given: Receive) -> None:
        await asyncio.wait_for(service.app(scope("POST", PATH, HEADERS), given, send), timeout=60)

    asyncio.run(ask(receive))
    if not sent:
        return Response(0, {}, b"")
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Response(sent[0]["status"], headers, sent[1]["body"])


END: Event = {"type": "http.request", "body": b"", "more_body": False}


def test_body_is_never_held(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    service, sizes = start(), []
    put = service.items.put

    def measured(channel: Channel, items: Sequence[LiveItem]) -> Change:
        sizes.append((len(items), sum(len(item.to_line()) for item in items)))
        return put(channel, items)

    monkeypatch.setattr(service.items, "put", measured)
    n_lines, endless = 5000, 20
    piece = b"x" * 2**20

    def pieces() -> Iterator[bytes]:
        for number in range(n_lines):
            yield line(f"n{number % 50}", attributes={"title": "x" * 100})
        for _ in range(endless):  # one line of 20 MiB
            yield piece
        yield b"\n" + line("last")

    service.answer(line("warm"))
    tracemalloc.start()
    answer = streamed(service, pieces(), END).json()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert answer["taken"] == {"live": n_lines + 1}
    assert answer["rejected"] == {"body_too_large": 1}
    assert max(n_items for n_items, _ in sizes) <= GROUP_LINES
    assert max(n_bytes for _, n_bytes in sizes) <= 3 * LINE_BYTES
    assert peak < 8 * 2**20


def test_group_never_holds_more_lines_than_one_change_may(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = start()
    monkeypatch.setattr("serving.api.items.GROUP_LINES", 7)
    put, sizes = service.items.put, []

    def measured(channel: Channel, items: Sequence[LiveItem]) -> Change:
        sizes.append(len(items))
        return put(channel, items)

    monkeypatch.setattr(service.items, "put", measured)
    assert service.answer(b"".join(line(f"n{n}") for n in range(16)))["taken"] == {"live": 16}
    assert sizes == [7, 7, 2]


def test_what_was_applied_stays_when_the_caller_leaves(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    service = start()
    caplog.set_level("INFO")
    pieces = (line(f"n{number}") for number in range(GROUP_LINES))
    assert streamed(service, pieces, {"type": "http.disconnect"}).status == 0
    n_kept = len(service.kept)
    assert n_kept == GROUP_LINES
    (record,) = [record for record in caplog.records if record.getMessage() == "items imported"]
    assert vars(record)["facts"]["items"] == {"live": n_kept}


def test_body_that_stops_is_refused_and_what_was_applied_stays(start: Start) -> None:
    service = start()
    response = streamed(service, (line(f"n{number}") for number in range(GROUP_LINES)), None)
    assert (response.status, response.headers["connection"]) == (408, "close")
    n_kept = len(service.kept)
    assert n_kept == GROUP_LINES
    assert f"{n_kept} lines were taken before and stay" in response.error["message"]


def test_lines_that_came_whole_before_a_body_stops_are_taken_and_the_place_is_told(start: Start) -> None:
    service = start()
    pieces = [line("n1"), b"{broken\n", line("n2") + line("n3")[:-5]]
    message = streamed(service, pieces, None).error["message"]
    assert service.kept == {"n1", "n2"}
    assert "2 lines were taken before and stay, 1 were rejected; send what follows line 3" in message


def test_pieces_without_a_byte_are_no_progress(start: Start) -> None:
    async def ask() -> Response:
        async def receive() -> Event:
            await asyncio.sleep(0.01)
            return {"type": "http.request", "body": b"", "more_body": True}

        sent: list[Event] = []

        async def send(event: Event) -> None:
            sent.append(event)

        await asyncio.wait_for(start().app(scope("POST", PATH, HEADERS), receive, send), timeout=10)
        return Response(sent[0]["status"], {}, sent[1]["body"])

    assert asyncio.run(ask()).status == 408


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content_type": "application/jsonl; charset=utf-8"}, 200),
        ({"content_type": "application/json"}, 415),
        ({"content_encoding": "gzip"}, 415),
        ({"authorization": "Bearer shop"}, 403),
    ],
)
def test_only_lines_of_those_who_may_are_read(start: Start, headers: dict[str, str], status: int) -> None:
    assert start().ask(line("a"), **headers).status == status


def test_item_may_be_named_like_the_path(start: Start) -> None:
    service = start()
    assert service.answer(line("import"))["taken"] == {"live": 1}
    response = asyncio.run(request(service.app, "DELETE", PATH, b"", HEADERS))
    assert response.json()["items"] == [{"item_id": "import", "state": "withdrawn"}]
    response = asyncio.run(request(service.app, "GET", PATH, b"", HEADERS))
    assert (response.status, response.headers["allow"]) == (405, "POST")


def test_service_that_keeps_no_items_says_so(start: Start) -> None:
    response = start(folder=None).ask(line("a"))
    assert (response.status, response.error["code"]) == (501, "not_configured")
