"""Live items over real releases: answered at once, followed by others, kept, taken whole or not at all."""

import asyncio
import errno
import hashlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marquee.bundle.releases import Role, activate
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Request
from marquee.errors import ItemsFullError, UnknownIdError
from marquee.store.live_items import ItemLimits, LiveItem
from serving.api.app import RecommendationApp
from serving.api.items import ItemRoutes
from serving.api.recommend import Endpoints
from serving.api.releases import ReleaseRoutes
from serving.config import Settings
from serving.http.errors import Refusal
from serving.http.exchange import Receive, Scope, Send
from serving.http.guard import Guard, Key, Right
from serving.releases.channel import Channel
from serving.releases.live_items import ItemState, LiveItemLimits, LiveItems
from serving.releases.surfaces import DEFAULT, Surface, Surfaces
from serving.telemetry.metrics import Metrics
from tests.support.asgi import JSON_HEADERS, Response, request
from tests.support.bundles import CREATED, N_ITEMS, NOW, make_tiny, publish_tiny, year_of

DRAMA = LiveItem(item_id="new", attributes={"genre": "drama"})
SECRET = "of the editors"


@dataclass
class Worker:
    """The objects that one process of a service holds.

    Attributes:
        channel: Its releases.
        items: Its live items.
        metrics: Its counters.
    """

    channel: Channel
    items: LiveItems
    metrics: Metrics

    def ids(self, **fields: Any) -> list[str]:
        answering = self.channel.answering
        assert answering is not None
        asked = Request(**{"timestamp": NOW, "user_id": "u1", "k": 100, "exclude_seen": False, **fields})
        return [item.item_id for item in answering.current.recommend([asked])[0].items]

    @property
    def current(self) -> Recommender:
        assert self.channel.recommender is not None
        return self.channel.recommender


Start = Callable[..., Worker]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Returns a function that starts a worker over the bundles and the items below `tmp_path`."""
    if not (tmp_path / "bundles").exists():
        publish_tiny(tmp_path / "bundles")
    workers: list[Worker] = []

    def start_worker(max_items: int = 100, folder: Path | None = tmp_path / "items") -> Worker:
        channel, metrics = Channel(tmp_path / "bundles" / "tiny"), Metrics()
        channel.load()
        items = LiveItems(
            [channel], folder, LiveItemLimits(of_file=ItemLimits(max_items)), metrics, clock=lambda: NOW
        )
        items.open()
        workers.append(Worker(channel, items, metrics))
        return workers[-1]

    yield start_worker
    for worker in workers:
        worker.items.close()
        worker.channel.close()


def test_item_is_answered_at_once_and_by_others_when_they_look(start: Start) -> None:
    here, there = start(), start()
    change = here.items.put(here.channel, [DRAMA])
    assert [(placed.item_id, placed.state) for placed in change.items] == [("new", ItemState.live)]
    assert (change.version, change.n_kept) == (here.current.version, 1)
    assert "new" in here.ids()
    assert "new" not in there.ids()
    there.items.refresh()
    assert there.ids() == here.ids()


def test_items_are_kept_when_a_worker_starts_again(start: Start) -> None:
    before = start()
    before.items.put(before.channel, [DRAMA])
    before.items.withdraw(before.channel, "i007")
    again = start()
    assert again.ids() == before.ids()
    assert "new" in again.ids()
    assert "i007" not in again.ids()


def test_withdrawn_item_is_gone_and_comes_back_when_it_is_posted(start: Start) -> None:
    worker = start()
    for item_id, state in (("i007", ItemState.in_release), ("new", ItemState.live)):
        item = LiveItem(item_id=item_id, attributes={"genre": "drama"})
        worker.items.put(worker.channel, [item])
        assert item_id in worker.ids()
        for _ in range(2):  # once more does no harm
            change = worker.items.withdraw(worker.channel, item_id)
            assert change.items[0].state is ItemState.withdrawn
            assert item_id not in worker.ids()
        assert worker.items.put(worker.channel, [item]).items[0].state is state
        assert item_id in worker.ids()


def test_item_that_nobody_knows_cannot_be_withdrawn(start: Start) -> None:
    worker = start()
    with pytest.raises(UnknownIdError, match=r"no item 'nobody', neither in release .* nor live"):
        worker.items.withdraw(worker.channel, "nobody")


def test_update_changes_what_an_item_is(start: Start) -> None:
    worker = start()
    worker.items.put(worker.channel, [DRAMA])
    comedy = LiveItem(item_id="new", attributes={"genre": "comedy"})
    worker.items.put(worker.channel, [comedy])
    items = worker.current.item_pool.table.encode(["new"])
    assert worker.current.item_pool.table.values("genre", items) == ["comedy"]
    assert worker.items.put(worker.channel, [comedy]).n_kept == 1


def test_what_the_release_makes_nothing_of_is_named(start: Start) -> None:
    worker = start()
    item = LiveItem(item_id="new", attributes={"genre": "drama", "year": "soon", "colour": "red"})
    (placed,) = worker.items.put(worker.channel, [item]).items
    assert (placed.unknown_attributes, placed.unread_attributes) == (("colour",), ("year",))


def test_item_yields_to_the_release_that_holds_it(start: Start, tmp_path: Path) -> None:
    worker = start()
    first = worker.current.bundle.path
    worker.items.put(worker.channel, [LiveItem(item_id="i025", attributes={"genre": "drama"})])
    worker.items.withdraw(worker.channel, "i007")
    assert worker.current.item_pool.table.index("i025") == N_ITEMS + 1
    second = publish_larger(tmp_path)
    assert worker.channel.refresh()
    assert worker.current.bundle.path == second
    assert worker.current.item_pool.n_added == 0
    assert worker.current.item_pool.table.index("i025") == N_ITEMS + 1, "now it is one of the bundle's own"
    assert "i007" not in worker.ids(), "what was withdrawn stays so"
    activate(first)
    assert worker.channel.refresh()
    assert worker.current.item_pool.n_added == 1
    assert "i025" in worker.ids()


def publish_larger(tmp_path: Path) -> Path:
    """Publishes a release with one more item, i025."""
    contents = make_tiny(1, n_items=N_ITEMS + 1).contents
    fields = {name: getattr(contents, name) for name in contents.__dataclass_fields__}
    return publish_tiny(tmp_path / "bundles", seed=1, **fields)


def test_candidates_answer_with_live_items_too(start: Start, tmp_path: Path) -> None:
    worker = start()
    worker.items.put(worker.channel, [DRAMA])
    second = publish_tiny(tmp_path / "bundles", seed=1)
    activate(worker.current.bundle.path)
    worker.channel.name_candidate(second.name, Role.canary, 1.0)
    worker.items.withdraw(worker.channel, "i007")
    answering = worker.channel.answering
    assert answering is not None
    assert answering.choose("anybody") is answering.candidates[Role.canary].recommender
    assert answering.candidates[Role.canary].recommender.item_pool.table.index("new") == N_ITEMS + 1
    assert answering.candidates[Role.canary].recommender.item_pool.n_withdrawn == 1
    assert not worker.channel.refresh(), "a change of items is no change of releases"


def test_full_disk_is_refused_and_answers_go_on(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = start()
    worker.items.put(worker.channel, [DRAMA])
    before = worker.ids()

    def fail(_descriptor: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fail)
        with pytest.raises(Refusal, match="the disk has no room for 1 changes of items") as caught:
            worker.items.put(worker.channel, [LiveItem(item_id="more")])
        with pytest.raises(Refusal):
            worker.items.withdraw(worker.channel, "i007")
    assert caught.value.status == 507
    assert worker.ids() == before == start().ids()
    worker.items.put(worker.channel, [LiveItem(item_id="more")])
    assert {"more"} == set(worker.ids()) - set(before)
    text = worker.metrics.exposition().decode()
    assert 'marquee_item_changes_total{outcome="refused"} 2.0' in text
    assert 'marquee_item_changes_total{outcome="taken"} 2.0' in text
    assert 'marquee_live_items{bundle="tiny",state="added"} 2.0' in text


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mounts a disk of 64 KB, where that is allowed."""
    disk = tmp_path / "items"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_disk_that_is_really_full_loses_nothing(start: Start, small_disk: Path) -> None:
    worker = start(max_items=10_000)
    attributes = {"genre": "drama", "title": "x" * 1000}
    n_taken = 0

    def put_until_refused() -> None:
        nonlocal n_taken
        while n_taken < 200:
            worker.items.put(worker.channel, [LiveItem(item_id=f"n{n_taken}", attributes=attributes)])
            n_taken += 1

    with pytest.raises(Refusal, match="the disk has no room") as caught:
        put_until_refused()
    assert caught.value.status == 507
    assert 10 < n_taken < 64
    kept = {f"n{number}" for number in range(n_taken)}
    for one in (worker, start(max_items=10_000)):
        assert {item_id for item_id in one.ids() if item_id.startswith("n")} == kept
    assert (small_disk / "tiny.items").stat().st_size <= 65_536


def test_disk_that_fails_otherwise_is_no_promise(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = start()

    def fail(_descriptor: int, _data: bytes) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "write", fail)
    with pytest.raises(Refusal, match="could not be written") as caught:
        worker.items.put(worker.channel, [DRAMA])
    assert caught.value.status == 503


def test_there_is_room_for_so_many_and_releases_make_room(start: Start) -> None:
    worker = start(max_items=2)
    worker.items.put(worker.channel, [LiveItem(item_id="i001"), DRAMA])
    worker.items.put(worker.channel, [LiveItem(item_id="more")])  # in place of what the release holds anyway
    with pytest.raises(ItemsFullError, match="room for 2 live items"):
        worker.items.put(worker.channel, [LiveItem(item_id="too many")])
    assert {"new", "more"} <= set(worker.ids())
    assert "too many" not in worker.ids()


def test_release_that_knows_ids_alone_takes_no_new_items(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = start()
    monkeypatch.setattr(worker.current.bundle.item_tower, "inputs", ("id_vector",))
    with pytest.raises(Refusal, match="knows items by their ids alone, got 1 new ones"):
        worker.items.put(worker.channel, [DRAMA])
    assert worker.items.put(worker.channel, [LiveItem(item_id="i001")]).items[0].state is ItemState.in_release


def test_service_without_a_folder_says_so(start: Start) -> None:
    worker = start(folder=None)
    with pytest.raises(Refusal, match="keeps no live items; start it with MARQUEE_ITEMS") as caught:
        worker.items.put(worker.channel, [DRAMA])
    assert caught.value.status == 501
    with pytest.raises(Refusal, match="keeps no live items"):
        worker.items.withdraw(worker.channel, "i001")


def test_file_that_cannot_be_read_leaves_what_is_known(start: Start, tmp_path: Path) -> None:
    worker = start()
    worker.items.put(worker.channel, [DRAMA])
    (tmp_path / "items" / "tiny.items").unlink()
    with pytest.raises(FileNotFoundError):  # which the thread that follows survives and tells
        worker.items.refresh()
    assert "new" in worker.ids()


def test_damaged_line_is_told_in_the_log(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    worker = start()
    with (tmp_path / "items" / "tiny.items").open("ab") as file:
        file.write(b"no item\n")
    worker.items.refresh()
    assert "1 damaged lines among the live items of tiny" in caplog.text


def surfaces_of(worker: Worker, settings: Settings) -> Surfaces:
    """Returns one surface that a worker answers for."""
    surface = Surface(name=DEFAULT, bundle="", settings=settings)
    return Surfaces((surface,), DEFAULT, {DEFAULT: worker.channel})


async def no_bentoml(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise AssertionError("nothing of BentoML's is asked for here")


Ask = Callable[..., Response]


@pytest.fixture
def ask(start: Start) -> Iterator[Ask]:
    """Returns a function that sends one request to the routes of a worker."""
    worker, settings = start(), Settings(max_batch=3)
    surfaces = Surfaces(
        (Surface(name=DEFAULT, bundle="", settings=settings),), DEFAULT, {DEFAULT: worker.channel}
    )
    endpoints, releases = Endpoints(settings, surfaces, clock=lambda: NOW), ReleaseRoutes(surfaces)
    routes = ItemRoutes(surfaces, worker.items, settings)
    keys = [
        Key(name=name, sha256=hashlib.sha256(secret.encode()).hexdigest(), scopes=[right])
        for name, secret, right in (("editors", SECRET, Right.items), ("shop", "shop", Right.recommend))
    ]
    app = RecommendationApp(no_bentoml, endpoints, settings, Guard(keys), [releases, routes])

    def send(method: str, path: str, body: object = None, secret: str = SECRET, query: str = "") -> Response:
        text = b"" if body is None else json.dumps(body).encode()
        headers = {**JSON_HEADERS, "authorization": f"Bearer {secret}"}
        return asyncio.run(request(app, method, path, text, headers, query))

    yield send
    endpoints.close()
    routes.close()
    releases.close()


@pytest.mark.parametrize("prefix", ["/v1", ""])
def test_items_come_and_go_over_http(ask: Ask, prefix: str) -> None:
    body = {"items": [{"item_id": "a/b ü", "kind": "ad", "attributes": {"genre": "drama", "colour": 1}}]}
    response = ask("POST", f"{prefix}/items", body)
    assert response.status == 200
    answer = response.json()
    assert answer.pop("request_id") == response.headers["x-request-id"]
    assert answer.pop("version")
    assert answer == {
        "items": [{"item_id": "a/b ü", "state": "live", "unknown_attributes": ["colour"]}],
        "n_kept": 1,
        "max_kept": 100,
    }
    found = ask("POST", "/v1/recommend", {"user_id": "u1", "kind": "ad", "k": 100}, "shop").json()
    assert "a/b ü" in [item["item_id"] for item in found["items"]]
    similar = ask("POST", "/v1/similar", {"item_id": "a/b ü"}, "shop")
    assert similar.status == 200
    gone = ask("DELETE", f"{prefix}/items/a/b ü")
    assert gone.json()["items"] == [{"item_id": "a/b ü", "state": "withdrawn"}]
    found = ask("POST", "/v1/recommend", {"user_id": "u1", "kind": "ad", "k": 100}, "shop").json()
    assert "a/b ü" not in [item["item_id"] for item in found["items"]]


@pytest.mark.parametrize(
    ("item", "field"),
    [
        ({}, "items[0]"),
        ({"item_id": ""}, "items[0].item_id"),
        ({"item_id": "a", "kind": "film"}, "items[0].kind"),
        ({"item_id": "a", "price": 3}, "items[0].price"),
        ({"item_id": "a", "available_from": 1.5}, "items[0].available_from"),
        ({"item_id": "a", "available_from": 1e300}, "items[0].available_from"),
        ({"item_id": "a", "available_from": 1767225600000}, "items[0].available_from"),
        ({"item_id": "a", "available_until": 1767225600000.0}, "items[0].available_until"),
        ({"item_id": "a", "available_from": 9, "available_until": 5}, "items[0].available_until"),
        ({"item_id": "a", "attributes": {"x": {}}}, "items[0].attributes[...]"),
        ({"item_id": "a", "attributes": {f"a{number}": 1 for number in range(201)}}, "items[0].attributes"),
    ],
)
def test_item_that_is_none_is_refused_with_its_field(ask: Ask, item: object, field: str) -> None:
    response = ask("POST", "/v1/items", {"items": [item]})
    assert (response.status, response.error.get("field")) == (422, field)


def test_items_are_taken_all_or_none(ask: Ask) -> None:
    ids = [{"item_id": "a"}, {"item_id": "b"}, {"item_id": "a"}]
    assert "must be distinct, got 'a' twice" in ask("POST", "/v1/items", {"items": ids}).error["message"]
    many = [{"item_id": str(number)} for number in range(4)]
    assert "at most 3 items, got 4" in ask("POST", "/v1/items", {"items": many}).error["message"]
    assert ask("POST", "/v1/items", {"items": []}).status == 422
    found = ask("POST", "/v1/recommend", {"k": 100}, "shop").json()
    assert {item["item_id"][0] for item in found["items"]} == {"i"}, "nothing but the release's own"


def test_whole_moments_may_be_written_as_json_likes(ask: Ask) -> None:
    body = {"items": [{"item_id": "a", "available_from": float(NOW + 5), "available_until": None}]}
    assert ask("POST", "/v1/items", body).status == 200


@pytest.mark.parametrize(
    ("method", "path", "secret", "status"),
    [
        ("POST", "/v1/items", "shop", 403),
        ("POST", "/v1/items", "nobody's", 401),
        ("DELETE", "/v1/items/i001", "shop", 403),
        ("PATCH", "/v1/items", SECRET, 405),
        ("PATCH", "/v1/items/i001", "shop", 403),
        ("GET", "/v1/items", "shop", 403),
        ("POST", "/v1/items/i001", SECRET, 405),
        ("DELETE", "/v1/items/nobody", SECRET, 404),
        ("DELETE", "/v1/items/", SECRET, 404),
    ],
)
def test_wrong_door_is_refused(ask: Ask, method: str, path: str, secret: str, status: int) -> None:
    response = ask(method, path, {"items": [{"item_id": "a"}]}, secret)
    assert response.status == status
    assert response.error["message"]


def test_routes_of_a_service_without_keys_are_closed(start: Start) -> None:
    worker, settings = start(), Settings()
    surfaces = Surfaces(
        (Surface(name=DEFAULT, bundle="", settings=settings),), DEFAULT, {DEFAULT: worker.channel}
    )
    endpoints, releases = Endpoints(settings, surfaces), ReleaseRoutes(surfaces)
    app = RecommendationApp(no_bentoml, endpoints, settings, Guard(()), [releases])
    response = asyncio.run(request(app, "DELETE", "/v1/items/i001"))
    assert (response.status, response.error["code"]) == (401, "key_needed")
    endpoints.close()
    releases.close()


def test_end_that_is_past_is_said(start: Start) -> None:
    worker = start()
    over = LiveItem(item_id="over", available_until=int(NOW) - 1, attributes={"genre": "drama"})
    placed = worker.items.put(worker.channel, [over, DRAMA]).items
    assert placed[0].caution == f"its time is over: available_until is {NOW - 1}, and it is {NOW}"
    assert placed[1].caution is None
    assert "over" not in worker.ids()


def listed(ask: Ask, query: str) -> tuple[list[dict[str, Any]], int]:
    """Returns all items that the pages of a query list, and how many pages there were."""
    items: list[dict[str, Any]] = []
    cursor, n_pages = "", 0
    while True:
        page = ask("GET", "/v1/items", query=f"{query}{cursor}").json()
        items += page["items"]
        n_pages += 1
        if "cursor" not in page:
            return items, n_pages
        cursor = f"&cursor={page['cursor']}"


def test_items_are_listed_page_by_page(ask: Ask) -> None:
    body = {"items": [{"item_id": name, "attributes": {"genre": "drama"}} for name in ("c", "a", "b")]}
    assert ask("POST", "/v1/items", body).status == 200
    assert ask("DELETE", "/v1/items/b").status == 200
    assert ask("DELETE", "/v1/items/i007").status == 200
    live, n_pages = listed(ask, "limit=1")
    assert ([item["item_id"] for item in live], n_pages) == (["a", "c"], 2)
    assert live[0] == {"item_id": "a", "state": "live", "kind": "content", "attributes": {"genre": "drama"}}
    withdrawn, _ = listed(ask, "state=withdrawn")
    assert withdrawn == [{"item_id": name, "state": "withdrawn"} for name in ("b", "i007")]
    own, n_pages = listed(ask, "state=in_release&limit=2")
    assert [item["item_id"] for item in own] == [f"i{n:03d}" for n in range(1, N_ITEMS + 1) if n != 7]
    assert n_pages == N_ITEMS // 2
    assert own[3]["kind"] == "ad"
    assert own[4]["available_from"] == NOW - 10
    assert own[1]["attributes"] == {"genre": "comedy", "tags": ["by 2"], "year": 1992}


@pytest.mark.parametrize(
    "query",
    ["state=gone", "limit=0", "limit=x", "limit=9999", "limit=0000000019999", "state=in_release&cursor=no"],
)
def test_page_of_items_that_is_none_is_refused(ask: Ask, query: str) -> None:
    response = ask("GET", "/v1/items", query=query)
    assert (response.status, response.error["field"]) == (
        422,
        query.rsplit("&", maxsplit=1)[-1].split("=", maxsplit=1)[0],
    )


def test_item_of_the_release_is_changed_and_stays_so(start: Start, ask: Ask) -> None:
    of_sale = {"user_id": "u1", "k": 100, "exclude_seen": False, "filters": {"year": {"min": 3000}}}
    assert ask("POST", "/v1/recommend", of_sale, "shop").json()["items"] == []
    there = start()
    response = ask("PATCH", "/v1/items/i003", {"attributes": {"year": 3001}})
    assert response.status == 200
    assert response.json()["items"] == [{"item_id": "i003", "state": "changed"}]
    found = ask("POST", "/v1/recommend", of_sale, "shop").json()["items"]
    assert [item["item_id"] for item in found] == ["i003"]
    own = ask("GET", "/v1/items", query="state=in_release&cursor=i002&limit=1").json()["items"]
    assert own[0]["attributes"]["year"] == 3001
    assert listed(ask, "state=live") == ([], 1)
    assert ask("PATCH", "/v1/items/i001", {"available_until": NOW}).status == 200
    there.items.refresh()
    for worker in (there, start()):  # one that follows, one that starts again
        assert worker.current.item_pool.table.values("year", np.array([3])) == [3001]
        assert "i001" not in worker.ids()


def test_live_item_is_changed_and_embedded_anew(start: Start) -> None:
    worker = start()
    worker.items.put(worker.channel, [DRAMA])
    table = worker.current.item_pool.table
    before = table.vectors(table.encode(["new"]))
    (placed,) = worker.items.change(worker.channel, "new", {"genre": "comedy"}).items
    table = worker.current.item_pool.table
    assert placed.state is ItemState.changed
    assert table.values("genre", table.encode(["new"])) == ["comedy"]
    assert (table.vectors(table.encode(["new"])) != before).any()


def test_changed_item_is_withdrawn_and_posted_again(start: Start) -> None:
    worker = start()
    worker.items.change(worker.channel, "i003", {"year": 3001})
    worker.items.withdraw(worker.channel, "i003")
    assert "i003" not in worker.ids()
    with pytest.raises(Refusal, match="'i003' is withdrawn; post it again, then change it"):
        worker.items.change(worker.channel, "i003", {"year": 3002})
    worker.items.put(worker.channel, [LiveItem(item_id="i003")])
    assert "i003" in worker.ids()
    assert worker.current.item_pool.table.values("year", np.array([3])) == [3001]


def test_newer_release_overrides_a_change_and_the_older_keeps_it(start: Start, tmp_path: Path) -> None:
    worker = start()
    first = worker.current.bundle.path
    worker.items.change(worker.channel, "i003", {"year": 3001})
    publish_tiny(tmp_path / "bundles", seed=NOW + 1 - CREATED)
    assert worker.channel.refresh()
    assert worker.current.item_pool.table.values("year", np.array([3])) == [year_of(3)]
    activate(first)
    assert worker.channel.refresh()
    assert worker.current.item_pool.table.values("year", np.array([3])) == [3001]


def test_changes_make_room_only_for_a_release_made_later(start: Start, tmp_path: Path) -> None:
    worker = start(max_items=2)
    for item_id in ("i001", "i002"):
        worker.items.change(worker.channel, item_id, {"year": 3001})
    with pytest.raises(ItemsFullError):
        worker.items.change(worker.channel, "i003", {"year": 3001})
    assert worker.current.item_pool.table.values("year", np.array([1, 2, 3])) == [3001, 3001, year_of(3)]
    publish_tiny(tmp_path / "bundles", seed=NOW + 1 - CREATED)
    assert worker.channel.refresh()
    worker.items.put(worker.channel, [DRAMA])  # a release made later has values of its own
    assert "new" in worker.ids()


@pytest.mark.parametrize(
    ("item_id", "change", "field", "words"),
    [
        (
            "i003",
            {"attributes": {"genre": "opera"}},
            "attributes.genre",
            "rests on 'genre'",
        ),
        ("i003", {"attributes": {"colour": "red"}}, "attributes.colour", "there is no attribute 'colour'"),
        ("i003", {"attributes": {"year": "soon"}}, "attributes.year", "holds Int64, got 'soon'"),
        ("i003", {"attributes": {"available_until": 9}}, "attributes.available_until", "is no attribute"),
        ("i006", {"available_from": NOW + 99}, "available_from", "from 1700000199 until 1700000110"),
        ("i003", {"available_until": 1767225600000}, "available_until", "divide milliseconds"),
        ("i003", {"kind": "ad"}, "kind", "kind"),
        ("i003", {}, None, "must name a moment or an attribute"),
    ],
)
def test_change_that_cannot_be_is_refused_with_its_field(
    ask: Ask, item_id: str, change: object, field: str | None, words: str
) -> None:
    response = ask("PATCH", f"/v1/items/{item_id}", change)
    assert (response.status, response.error.get("field")) == (422, field)
    assert words in response.error["message"]
    assert ask("PATCH", "/v1/items/nobody", {"available_until": 9}).status == 404
    own = ask("GET", "/v1/items", query="state=in_release&cursor=i002&limit=1").json()["items"]
    assert (own[0]["attributes"]["genre"], own[0]["attributes"]["year"]) == ("drama", year_of(3))
    assert "available_until" not in own[0]
