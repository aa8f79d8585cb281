"""Pages and cursors over HTTP: nothing comes twice, old cursors are told, rows are refused by their place."""

import asyncio
import base64
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from marquee.store.live_items import LiveItem
from serving.api.app import RecommendationApp
from serving.api.messages.cursors import MAX_SHOWN, Cursor, write_cursor
from serving.api.recommend import Endpoints
from serving.config import Settings
from serving.http.guard import Guard
from serving.releases.channel import Channel
from serving.releases.surface_file import SurfaceFile
from serving.telemetry.metrics import Metrics
from tests.support.asgi import Response, request
from tests.support.bundles import N_ITEMS, NOW, OPENS, publish_tiny

PERIOD = range(OPENS, OPENS + 20)
SURFACES = """
default: home
surfaces:
  home: {bundle: BUNDLES/tiny, defaults: {k: 4}}
  ads: {bundle: BUNDLES/tiny, kind: ad, defaults: {k: 2}, limits: {max_k: 3}}
  other: {bundle: BUNDLES/other}
"""


@dataclass
class Served:
    """An application over two real bundles.

    Attributes:
        app: The application.
        channel: The releases of the default surface.
        bundles: Where they are.
    """

    app: RecommendationApp
    channel: Channel
    bundles: Path

    def ask(self, path: str, body: dict[str, Any]) -> Response:
        return asyncio.run(request(self.app, "POST", path, json.dumps(body).encode()))

    def pages_of(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Gives the answers to a request and to those that its cursors make, until there is none."""
        answer = self.ask(path, body).json()
        yield answer
        while "cursor" in answer:
            answer = self.ask(path, {**body, "cursor": answer["cursor"]}).json()
            yield answer


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    bundles = tmp_path / "bundles"
    publish_tiny(bundles)
    publish_tiny(bundles, "other")
    file = tmp_path / "surfaces.yaml"
    file.write_text(SURFACES.replace("BUNDLES", str(bundles)))
    settings = Settings(surfaces=str(file), max_rows=4)
    surfaces = SurfaceFile.read(settings).open(Metrics(), None)
    surfaces.load()
    endpoints = Endpoints(settings, surfaces, clock=lambda: NOW)
    app = RecommendationApp(asyncio.sleep, endpoints, settings, Guard(()))  # type: ignore[arg-type]  # never asked
    yield Served(app, surfaces.channel(surfaces.named("home")), bundles)
    endpoints.close()
    surfaces.close()


def items_of(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def test_page_tells_rows_in_words_and_nothing_twice(served: Served) -> None:
    rows = [
        {"row": "for_you", "k": 3},
        {"row": "similar", "name": "because", "item_id": "i002"},
        {"row": "popular", "surface": "ads"},
        {"row": "continued", "items": ["i003"], "k": 1},
    ]
    answer = served.ask("/v1/page", {"user_id": "u1", "rows": rows}).json()
    told = [(row["row"], row["because"], row["returned"]) for row in answer["rows"]]
    assert told == [
        ("for_you", "Chosen for you", 3),
        ("similar", "Similar to i002", 4),
        ("popular", "Popular now", 2),
        ("continued", "To go on with your list", 1),
    ]
    assert (answer["rows"][1]["name"], answer["rows"][1]["like_item"]) == ("because", "i002")
    assert {item["kind"] for item in answer["rows"][2]["items"]} == {"ad"}
    shown = [item_id for row in answer["rows"] for item_id in items_of(row)]
    assert len(shown) == len(set(shown)) == 10


def test_cursor_of_a_page_repeats_nothing_until_there_is_nothing(served: Served) -> None:
    body = {"user_id": "u1", "rows": [{"k": 3}, {"row": "popular", "k": 3}]}
    pages = list(served.pages_of("/v1/page", body))
    shown = [item_id for page in pages for row in page["rows"] for item_id in items_of(row)]
    everything = served.ask("/v1/recommend", {"user_id": "u1", "k": N_ITEMS}).json()
    assert sorted(shown) == sorted(items_of(everything))
    assert len(pages) > 2


def test_cursor_of_a_request_goes_on_in_the_same_order(served: Served) -> None:
    body = {"user_id": "u1", "k": 5, "paging": True}
    pages = list(served.pages_of("/v1/recommend", body))
    everything = served.ask("/v1/recommend", {"user_id": "u1", "k": N_ITEMS}).json()
    assert [item_id for page in pages for item_id in items_of(page)] == items_of(everything)
    assert "cursor" not in everything  # nobody asked for it


def test_live_items_stand_in_cursors_too(served: Served) -> None:
    live = {"new": LiveItem(item_id="new", attributes={"genre": "drama"})}
    served.channel.state.take_live_items(live)
    pages = list(served.pages_of("/v1/recommend", {"user_id": "u1", "k": 2, "paging": True}))
    assert [item_id for page in pages for item_id in items_of(page)].count("new") == 1


def test_cursor_of_a_release_that_is_gone_is_refused_in_words(served: Served) -> None:
    body = {"user_id": "u1", "k": 2, "paging": True}
    cursor = served.ask("/v1/recommend", body).json()["cursor"]
    publish_tiny(served.bundles, seed=1)
    assert served.channel.refresh()
    for path, asked in (("/v1/recommend", body), ("/v1/page", {"rows": [{}]})):
        response = served.ask(path, {**asked, "cursor": cursor})
        assert (response.status, response.error["code"]) == (410, "cursor_expired")
        assert "begin anew, without the cursor" in response.error["message"]
    batch = served.ask("/v1/recommend/batch", {"requests": [{**body, "cursor": cursor}, body]}).json()[
        "answers"
    ]
    assert batch[0]["error"]["code"] == "cursor_expired"
    assert batch[1]["returned"] == 2


def packed(body: bytes) -> str:
    return base64.urlsafe_b64encode(zlib.compress(zlib.crc32(body).to_bytes(4, "little") + body)).decode()


def test_what_is_no_cursor_is_refused(served: Served) -> None:
    version = served.ask("/v1/recommend", {}).json()["version"]
    bomb = packed(msgspec.msgpack.encode((version, bytes(10_000_000), ())))
    beyond = packed(msgspec.msgpack.encode((version, (N_ITEMS + 1).to_bytes(4, "little"), ())))
    zero = packed(msgspec.msgpack.encode((version, bytes(4), ())))
    odd = packed(msgspec.msgpack.encode((version, b"abc", ())))
    good = served.ask("/v1/recommend", {"paging": True, "k": 1}).json()["cursor"]
    for text in (
        "",
        "x",
        "é",
        good[:-4],
        good[4:],
        packed(b"x"),
        packed(b'"a"'),
        bomb,
        beyond,
        zero,
        odd,
        "A" * 20_000,
    ):
        response = served.ask("/v1/recommend", {"cursor": text})
        assert response.status == 422, text[:40]
        assert response.error["field"] == "cursor"


def test_cursor_is_bounded(served: Served) -> None:
    recommender = served.channel.recommender
    assert recommender is not None
    text = write_cursor(recommender.item_pool, recommender.version, ["i001"] * MAX_SHOWN)
    assert text is not None
    assert Cursor.read(text).shown(recommender.item_pool) == ("i001",)
    assert write_cursor(recommender.item_pool, recommender.version, ["i001"] * (MAX_SHOWN + 1)) is None
    live = {name: LiveItem(item_id=name) for name in (f"{number:0200x}" for number in range(1000))}
    many = recommender.with_live_items(live).item_pool
    assert write_cursor(many, recommender.version, list(live)) is None


@pytest.mark.parametrize(
    ("rows", "field", "message"),
    [
        ([{}] * 5, "rows", "at most 4 rows, got 5"),
        ([{}, {"k": 0}], "rows[1].k", "k must be an integer from 1 to 500, got 0"),
        ([{"surface": "ads", "k": 4}], "rows[0].k", "from 1 to 3, got 4"),
        ([{"surface": "ads", "kind": "content"}], "rows[0].kind", "shows items of kind ad"),
        ([{"surface": "other"}], "rows[0].surface", "one of the bundle of 'home', got 'other' of another"),
        ([{"row": "popular", "items": ["a"]}], "rows[0]", "items belong to a row of kind continued"),
        ([{"filters": {"nothing": {"min": 1}}}], "filters.nothing", "nothing"),
        ([], "rows", "length >= 1"),
    ],
)
def test_row_that_cannot_be_answered_is_refused_by_its_place(
    served: Served, rows: list[dict[str, Any]], field: str, message: str
) -> None:
    response = served.ask("/v1/page", {"user_id": "u1", "rows": rows})
    assert (response.status, response.error["field"]) == (422, field)
    assert message in response.error["message"]
