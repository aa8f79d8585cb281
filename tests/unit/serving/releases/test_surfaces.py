"""Several surfaces in one service: what the file declares, and what a request gets that names one."""

import asyncio
import gc
import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from msgspec import UNSET

from marquee.bundle.popularity import ContextPopularity, PopularityConfig
from marquee.bundle.releases import Candidate, Role, activate
from marquee.core.catalog import ItemKind
from marquee.core.filters import Filters
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Answer, Request
from marquee.errors import BundleError, ConfigError
from serving.api.app import RecommendationApp
from serving.api.messages.requests import RecommendRequest
from serving.api.recommend import Endpoints
from serving.api.releases import ReleaseRoutes
from serving.config import Settings
from serving.http.errors import Refusal
from serving.http.exchange import Call, Scope
from serving.http.guard import Guard, Key, Right
from serving.releases.answering import Loaded
from serving.releases.surface_file import SurfaceFile
from serving.releases.surfaces import Surfaces
from serving.telemetry.metrics import Metrics
from tests.support.asgi import JSON_HEADERS, Response, request
from tests.support.bundles import make_tiny, publish_tiny
from tests.support.paths import ROOT

SECRET = "a secret of this test"


@pytest.fixture(autouse=True)
def _unfrozen() -> Iterator[None]:
    yield
    gc.unfreeze()


def read(text: str, folder: Path, **limits: int) -> SurfaceFile:
    path = folder / "surfaces.yaml"
    path.write_text(text, encoding="utf-8")
    return SurfaceFile.read(Settings(surfaces=str(path), **limits))  # type: ignore[arg-type]  # all are int


def test_example_in_the_repository_is_read() -> None:
    file = SurfaceFile.read(Settings(surfaces=str(ROOT / "examples" / "surfaces.yaml")))
    home, sponsored, culture = file.surfaces
    assert (file.default, home.name, sponsored.name, culture.name) == ("home", "home", "sponsored", "culture")
    # What `make demo` makes, and nothing else: the command at the head of the file must start.
    assert {surface.bundle for surface in file.surfaces} == {"bundles/world"}
    assert (home.k, home.kind, home.exclude_seen) == (12, None, True)
    assert (sponsored.kind, sponsored.k, sponsored.settings.max_k) == (ItemKind.ad, 3, 5)
    assert (culture.k, culture.exclude_seen, culture.settings.max_history) == (20, False, 200)
    assert culture.filters == Filters.of({"category": {"any_of": ["music", "film", "travel"]}})
    assert culture.own_filters == culture.filters & Filters.of({"tags": {"none_of": ["opera"]}})


def test_service_without_a_file_has_one_surface() -> None:
    file = SurfaceFile.read(Settings(bundle="bundles/world", max_k=7))
    (surface,) = file.surfaces
    assert (surface.name, file.default, surface.bundle, surface.k) == (
        "default",
        "default",
        "bundles/world",
        7,
    )


@pytest.mark.parametrize("settings", [Settings(), Settings(bundle="a", surfaces="b")])
def test_one_of_bundle_and_surfaces_must_be_set(settings: Settings) -> None:
    with pytest.raises(ConfigError, match=r"one of MARQUEE_BUNDLE .* and MARQUEE_SURFACES .* must be set"):
        SurfaceFile.read(settings)


def test_only_surface_is_the_default_one(tmp_path: Path) -> None:
    assert read("surfaces: {feed: {bundle: b}}", tmp_path).default == "feed"
    assert read("surfaces: {feed: {bundle: b}, home: {bundle: b}}", tmp_path).default == ""


WRONG = {
    "no YAML": ("surfaces: [", "must name a file of surfaces"),
    "nothing": ("", "Expected `object`, got `null`"),
    "no surface": ("surfaces: {}", "length >= 1"),
    "no bundle": ("surfaces: {a: {k: 3}}", r"unknown field `k` - at `\$\.surfaces\[\.\.\.\]`"),
    "misspelt key": ("surfaces: {a: {bundle: b, filter: {}}}", "unknown field `filter`"),
    "wrong type": ("surfaces: {a: {bundle: b, defaults: {k: ten}}}", "Expected `int"),
    "name": ("surfaces: {'a b': {bundle: b}}", "matching regex"),
    "default that is none": (
        "default: c\nsurfaces: {a: {bundle: b}}",
        r"default in .* must be one of \['a'\]",
    ),
    "wider limit": (
        "surfaces: {a: {bundle: b, limits: {max_k: 501}}}",
        r"surfaces\.a\.limits\.max_k in .* must be at most MARQUEE_MAX_K \(500\), got 501",
    ),
    "k beyond its limit": (
        "surfaces: {a: {bundle: b, defaults: {k: 6}, limits: {max_k: 5}}}",
        r"surfaces\.a\.defaults\.k in .* must be at most its max_k \(5\), got 6",
    ),
    "two kinds": (
        "surfaces: {a: {bundle: b, kind: ad, defaults: {kind: content}}}",
        r"surfaces\.a\.defaults\.kind in .* must be its kind ad, got content",
    ),
    "filter": ("surfaces: {a: {bundle: b, filters: {genre: {is: [x]}}}}", r"surfaces\.a in .*filters\.genre"),
    "re-ranking key": (
        "surfaces: {a: {bundle: b, reranking: {divers: mmr}}}",
        r"surfaces\.a in .*reranking\.divers is unknown, expected one of",
    ),
    "re-ranking value": (
        "surfaces: {a: {bundle: b, reranking: {diversity_weight: 3}}}",
        r"surfaces\.a in .*diversity_weight must be between",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_file_stops_the_start_and_says_where(tmp_path: Path, what: str) -> None:
    text, message = WRONG[what]
    with pytest.raises(ConfigError, match=message):
        read(text, tmp_path)


def test_missing_file_stops_the_start() -> None:
    with pytest.raises(ConfigError, match="must name a file of surfaces, got nowhere"):
        SurfaceFile.read(Settings(surfaces="nowhere"))


class Served:
    """A service of three surfaces over two bundles, without a server."""

    def __init__(self, folder: Path) -> None:
        self.content, self.ads = publish_tiny(folder, "content"), publish_tiny(folder, "ads", seed=5)
        text = f"""
default: home
surfaces:
  home: {{bundle: {self.content.parent}, defaults: {{k: 4}}}}
  feed: {{bundle: {self.content.parent}, defaults: {{exclude_seen: false}}, limits: {{max_k: 6}},
         filters: {{genre: {{any_of: [drama]}}}}}}
  sponsored: {{bundle: {self.ads.parent}, kind: ad, defaults: {{k: 2}}}}
"""
        self.file = read(text, folder)
        self.surfaces: Surfaces = self.file.open(Metrics(), None)
        self.surfaces.load()
        key = Key(
            name="admin",
            sha256=hashlib.sha256(SECRET.encode()).hexdigest(),
            scopes=[Right.admin, Right.recommend, Right.metrics],
        )
        settings = Settings()
        self.endpoints = Endpoints(settings, self.surfaces)
        self.routes = ReleaseRoutes(self.surfaces)
        self.app = RecommendationApp(nothing_else, self.endpoints, settings, Guard([key]), [self.routes])

    def send(self, method: str, path: str, body: object = None, query: str = "") -> Response:
        text = b"" if body is None else json.dumps(body).encode()
        headers = {**JSON_HEADERS, "authorization": f"Bearer {SECRET}"}
        return asyncio.run(request(self.app, method, path, text, headers, query))

    def answer(self, **body: object) -> Any:
        response = self.send("POST", "/v1/recommend", body)
        assert response.status == 200, response.body
        return response.json()

    def close(self) -> None:
        self.endpoints.close()
        self.routes.close()


async def nothing_else(_scope: Scope, _receive: object, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path)
    yield made
    made.close()


def test_each_surface_answers_from_its_bundle_with_its_defaults(served: Served) -> None:
    home, sponsored = served.answer(user_id="u1"), served.answer(user_id="u1", surface="sponsored")
    assert (home["version"], home["requested"]) == (served.content.name, 4)
    assert (sponsored["version"], sponsored["requested"]) == (served.ads.name, 2)
    assert {item["kind"] for item in sponsored["items"]} == {"ad"}
    assert served.answer(user_id="u1", surface="home") | {"request_id": ""} == home | {"request_id": ""}


def test_what_a_request_says_counts_before_the_defaults(served: Served) -> None:
    answer = served.answer(surface="home", k=3, kind="ad", user_id="u1")
    assert (answer["requested"], {item["kind"] for item in answer["items"]}) == (3, {"ad"})


def test_filters_of_a_surface_hold_beside_those_of_the_request(served: Served) -> None:
    odd = {f"i{number:03d}" for number in range(1, 25, 2)}  # of genre drama
    for more in ({}, {"filters": {"genre": {"none_of": ["horror"]}}}):
        answer = served.answer(surface="feed", user_id="u1", k=6, **more)
        assert answer["items"]
        assert {item["item_id"] for item in answer["items"]} <= odd
    none = served.answer(surface="feed", user_id="u1", filters={"genre": {"none_of": ["drama"]}})
    assert none["items"] == []


def test_seen_items_come_back_where_the_surface_says_so(served: Served) -> None:
    body: dict[str, Any] = {"history": [f"i{number:03d}" for number in range(1, 25)], "k": 5}
    assert served.answer(surface="home", **body)["returned"] == 0
    assert served.answer(surface="feed", **body)["returned"] == 5
    assert served.answer(surface="feed", exclude_seen=True, **body)["returned"] == 0


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({"surface": "gone"}, "surface", "must be one of ['home', 'feed', 'sponsored'], got 'gone'"),
        ({"surface": "feed", "k": 7}, "k", "from 1 to 6, got 7"),
        ({"surface": "sponsored", "kind": "content"}, "kind", "shows items of kind ad, got kind content"),
    ],
)
def test_what_a_surface_does_not_do_is_refused(
    served: Served, body: dict[str, object], field: str, message: str
) -> None:
    refused = served.send("POST", "/v1/recommend", body)
    assert (refused.status, refused.error["field"]) == (422, field)
    assert message in refused.error["message"]


def test_request_must_name_a_surface_where_there_is_no_default(served: Served) -> None:
    surfaces = Surfaces(served.file.surfaces, "", {})
    with pytest.raises(Refusal, match=r"must be one of \['home', 'feed', 'sponsored'\], got none"):
        surfaces.named(UNSET)


def test_parts_of_a_batch_may_name_different_surfaces(served: Served) -> None:
    body = {"requests": [{"user_id": "u1"}, {"surface": "sponsored"}, {"surface": "gone"}, {"user_id": "u2"}]}
    first, second, third, fourth = served.send("POST", "/v1/recommend/batch", body).json()["answers"]
    assert [first["version"], second["version"]] == [served.content.name, served.ads.name]
    assert third["error"]["field"] == "surface"
    assert (fourth["version"], fourth["requested"]) == (served.content.name, 4)
    assert fourth | {"request_id": ""} == served.answer(user_id="u2") | {"request_id": ""}


def test_similar_items_are_those_of_the_surface(served: Served) -> None:
    body = {"item_id": "i001", "surface": "sponsored"}
    answer = served.send("POST", "/v1/similar", body).json()
    assert (answer["version"], answer["requested"]) == (served.ads.name, 2)
    assert {item["kind"] for item in answer["items"]} == {"ad"}


def test_surfaces_of_one_bundle_share_what_is_loaded(served: Served) -> None:
    assert list(served.surfaces.channels.values()) == [("home", "feed"), ("sponsored",)]


def test_releases_of_every_bundle_are_listed_and_changed_apart(served: Served) -> None:
    newer = publish_tiny(served.ads.parents[1], "ads", seed=6)
    listed = served.send("GET", "/v1/releases").json()["releases"]
    assert {(one["version"], *one["surfaces"]) for one in listed} == {
        (served.content.name, "home", "feed"),
        (served.ads.name, "sponsored"),
        (newer.name, "sponsored"),
    }
    path = f"/v1/releases/{newer.name}/activate"
    assert served.send("POST", path).status == 404, "the default surface has no such release"
    assert served.send("POST", path, query="surface=gone").status == 422
    changed = served.send("POST", path, query="surface=sponsored").json()
    assert changed == {"version": newer.name, "canary": None, "shadow": None}
    assert served.answer(surface="sponsored")["version"] == newer.name
    assert served.answer(surface="feed")["version"] == served.content.name
    assert (
        served.send("POST", "/v1/releases/back", query="surface=sponsored").json()["version"]
        == served.ads.name
    )
    assert served.send("POST", "/v1/releases/back").status == 409


def test_canary_is_begun_promoted_and_aborted_over_http(served: Served) -> None:
    newer = publish_tiny(served.content.parents[1], "content", seed=1)
    activate(served.content)
    path = f"/v1/releases/{newer.name}"
    begun = served.send("POST", f"{path}/canary", {"share": 0.5}).json()
    assert begun == {
        "version": served.content.name,
        "canary": {"version": newer.name, "share": 0.5},
        "shadow": None,
    }
    versions = {user: served.answer(user_id=user)["version"] for user in map(str, range(40))}
    assert set(versions.values()) == {served.content.name, newer.name}
    assert {user: served.answer(user_id=user)["version"] for user in versions} == versions
    assert served.send("POST", f"{path}/abort").json()["canary"] is None
    assert {served.answer(user_id=user)["version"] for user in versions} == {served.content.name}
    assert served.send("POST", f"{path}/abort").status == 409
    served.send("POST", f"{path}/canary", {"share": 0.5})
    assert served.send("POST", f"{path}/activate").json() == {
        "version": newer.name,
        "canary": None,
        "shadow": None,
    }


def test_shadow_is_compared_and_never_answers(served: Served) -> None:
    newer = publish_tiny(served.content.parents[1], "content", seed=1)
    activate(served.content)
    begun = served.send("POST", f"/v1/releases/{newer.name}/shadow", {"share": 1.0}).json()
    assert begun["shadow"] == {"version": newer.name, "share": 1.0}
    assert {served.answer(user_id=str(user))["version"] for user in range(10)} == {served.content.name}
    deadline = 200
    while 'outcome="compared"} 10.0' not in (text := served.send("GET", "/metrics").body.decode()):
        deadline -= 1
        assert deadline, text
        asyncio.run(asyncio.sleep(0.05))
    assert "marquee_shadow_overlap_count 10.0" in text


@pytest.mark.parametrize(
    "body", [{}, {"share": 0}, {"share": 1.1}, {"share": "0.5"}, {"share": 0.5, "more": 1}]
)
def test_share_that_is_none_is_refused(served: Served, body: dict[str, object]) -> None:
    newer = publish_tiny(served.content.parents[1], "content", seed=1)
    assert served.send("POST", f"/v1/releases/{newer.name}/canary", body).status == 422


def test_share_must_be_sent(served: Served) -> None:
    newer = publish_tiny(served.content.parents[1], "content", seed=1)
    assert served.send("POST", f"/v1/releases/{newer.name}/canary").status == 400


class Failing(Recommender):
    """Fails on everything, as a candidate may that passed its golden requests."""

    def recommend(self, *_: object) -> list[Answer]:
        raise ZeroDivisionError("of no use")


def test_current_release_answers_for_a_canary_that_fails(served: Served) -> None:
    surface = served.surfaces.named("home")
    channel = served.surfaces.channel(surface)
    answering = served.surfaces.answering(surface)
    failing = Failing(answering.current.bundle)
    canary = Loaded(Candidate(Role.canary, "v2", 1.0), failing)
    channel.state.answering = answering.with_candidate(Role.canary, canary)
    assert served.answer(user_id="u1")["version"] == served.content.name
    assert "marquee_canary_failures_total 1.0" in served.send("GET", "/metrics").body.decode()


def test_release_of_an_arm_that_fails_counts_as_no_canary(served: Served, tmp_path: Path) -> None:
    surface = served.surfaces.named("home")
    channel = served.surfaces.channel(surface)
    other = publish_tiny(tmp_path, "arm", seed=7)
    channel.state.set_arm(other.name, Failing.load(other))
    arm = replace(surface, release=other.name)
    served.surfaces._surfaces["home"] = arm
    assert served.answer(user_id="u1")["version"] == served.content.name
    told = served.send("GET", "/metrics").body.decode()
    assert "marquee_canary_failures_total 0.0" in told
    assert "marquee_arm_failures_total 1.0" in told


def test_answers_of_a_batch_are_each_of_one_release(served: Served) -> None:
    """Jobs of a canary, of the current release and of another surface go through the model together."""
    newer = publish_tiny(served.content.parents[1], "content", seed=1)
    activate(served.content)
    served.send("POST", f"/v1/releases/{newer.name}/canary", {"share": 0.5})
    users = [str(number) for number in range(30)]
    body = {"requests": [{"user_id": user, "history": ["i001", "i002"]} for user in users]}
    answers = served.send("POST", "/v1/recommend/batch", body).json()["answers"]
    recommenders = {path.name: Recommender.load(path) for path in (served.content, newer)}
    assert {answer["version"] for answer in answers} == recommenders.keys()
    now = served.endpoints._now()
    for user, answer in zip(users, answers, strict=True):
        asked = Request(timestamp=now, k=4, user_id=user, history=("i001", "i002"))
        (expected,) = recommenders[answer["version"]].recommend([asked])
        assert [item["item_id"] for item in answer["items"]] == [item.item_id for item in expected.items]


def test_release_that_does_not_fit_its_surface_is_refused(tmp_path: Path) -> None:
    home = publish_tiny(tmp_path, "content").parent
    file = read(f"surfaces: {{a: {{bundle: {home}, filters: {{brand: {{any_of: [x]}}}}}}}}", tmp_path)
    surfaces = file.open(Metrics(), None)
    with pytest.raises(BundleError, match=r"does not fit surface 'a': filters\.brand is no attribute"):
        surfaces.load()


def test_surface_is_told_to_a_model_that_asks_for_it(tmp_path: Path) -> None:
    """The popular items of a surface come first there, for those of whom nothing is known."""
    tiny = make_tiny().contents
    events = pl.DataFrame(
        {"item_id": ["i020"] * 60 + ["i011"] * 60, "surface": ["feed"] * 60 + ["home"] * 60}
    )
    config = PopularityConfig(by=["surface"], min_events=50)
    tables = ContextPopularity.fit(events, tiny.catalog.item_ids, tiny.popularity, config)
    home = publish_tiny(tmp_path, "content", context_popularity=tables).parent
    file = read(f"surfaces: {{feed: {{bundle: {home}}}, home: {{bundle: {home}}}}}", tmp_path)
    surfaces = file.open(Metrics(), None)
    surfaces.load()
    endpoints = Endpoints(Settings(), surfaces)
    for name, item_id in (("feed", "i020"), ("home", "i011")):
        answer = recommended(endpoints, RecommendRequest(surface=name, k=1))
        assert (answer["popular_in"], answer["items"][0]["item_id"]) == (f"surface={name}", item_id)
        assert "ignored_features" not in answer
    told = RecommendRequest(surface="feed", k=1, context={"surface": "home"})
    assert recommended(endpoints, told)["popular_in"] == "surface=home"
    endpoints.close()


def recommended(endpoints: Endpoints, message: RecommendRequest) -> Any:
    """Returns the JSON of the answer to a message."""
    answer = asyncio.run(endpoints.recommend(Call("id", 0.0, deadline_s=5.0), message))
    return msgspec.json.decode(msgspec.json.encode(answer))


def test_surface_that_no_model_asks_for_is_not_told(tmp_path: Path) -> None:
    home = publish_tiny(tmp_path, "content", context_popularity=ContextPopularity()).parent
    surfaces = read(f"surfaces: {{feed: {{bundle: {home}}}}}", tmp_path).open(Metrics(), None)
    surfaces.load()
    endpoints = Endpoints(Settings(), surfaces)
    assert "ignored_features" not in recommended(endpoints, RecommendRequest())
    endpoints.close()


def test_bundle_of_a_surface_is_told(served: Served) -> None:
    for query, name in (("surface=sponsored", "ads"), ("", "content")):
        assert served.send("GET", "/v1/bundle", query=query).json()["name"] == name
    for query in ("surface=gone", "surface="):
        assert served.send("GET", "/v1/bundle", query=query).status == 422


def test_nobody_is_ready_before_every_surface_is(tmp_path: Path) -> None:
    made = Served(tmp_path)
    assert made.send("GET", "/readyz").status == 200
    made.surfaces.channel(made.surfaces.named("sponsored")).state.answering = None
    assert made.send("GET", "/readyz").status == 503
    made.close()


def test_document_lists_the_surfaces(served: Served) -> None:
    schemas = served.send("GET", "/docs.json").json()["components"]["schemas"]
    assert schemas["RecommendRequest"]["properties"]["surface"]["enum"] == ["home", "feed", "sponsored"]
