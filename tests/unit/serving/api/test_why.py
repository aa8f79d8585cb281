"""Explanations over HTTP: true of answers made under load, and refused in words."""

import asyncio
import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

from marquee.decision.explaining.sentences import Words
from marquee.decision.policies.config import Exploration, PolicyName
from marquee.decision.recommender import Recommender
from marquee.decision.reranking import Reranking
from marquee.store.live_items import LiveItem
from marquee.store.log.closed_days import close_days
from marquee.store.log.decision_ids import decision_id
from marquee.store.log.event_log import Decision, LoggedDecision
from marquee.store.log.event_rows import EventLimits
from serving.api.answering.steering import Steering
from serving.api.app import RecommendationApp
from serving.api.explaining import why
from serving.api.explaining.decisions import KeptDecisions
from serving.api.explaining.releases import ReleasesToAsk
from serving.api.explaining.why import WhyRoutes
from serving.api.recommend import Endpoints
from serving.api.rules import RuleRoutes
from serving.config import Settings
from serving.http.guard import Guard, Key, Right
from serving.recording.opening import OpenedLog
from serving.recording.profiles import Profiles
from serving.recording.recorder import Recorder
from serving.recording.rules.following import Rules
from serving.recording.users import KeyedUsers, KnownUsers
from serving.releases.answering import Answering
from serving.releases.channel import Channel
from serving.releases.surfaces import Surface, Surfaces
from serving.telemetry.metrics import Metrics
from tests.support.asgi import JSON_HEADERS, Response, no_bentoml, request
from tests.support.bundles import NOW, publish_tiny
from tests.support.people import KEY

DAY = 86_400
HOME, FEED = "home", "feed"
EXPLORING = Exploration(policy=PolicyName.softmax, share=0.8, floor=0.1, temperature=0.5)
KEYS = {
    "desk": ("of the desk", [Right.users, Right.rules]),
    "app": ("of the app", [Right.recommend, Right.events]),
}


class Service:
    """Routes that ask and explain, over two surfaces of one bundle, one of which explores."""

    def __init__(
        self,
        home: Path,
        folder: Path | None,
        recommender: Recommender,
        *,
        users: KnownUsers | None = None,
        keep_days: int = 0,
        max_bytes: int = 10**9,
        words: Words | None = None,
    ) -> None:
        self.metrics, self.settings, self.now = Metrics(), Settings(), float(NOW)
        where = str(folder / "events") if folder else ""
        self.closed = folder / "closed" if folder else None
        self.log = OpenedLog(where, closed=self.closed) if where else None
        self.rules = Rules(where, self.metrics, clock=lambda: NOW) if where else None
        if self.rules and self.log:
            self.rules.open()
            self.log.get()
        self.channel = Channel(home)
        self.channel.state.answering = Answering(recommender)
        surfaces = (
            Surface(name=HOME, bundle=str(home), settings=self.settings),
            Surface(
                name=FEED,
                bundle=str(home),
                settings=self.settings,
                reranking=Reranking(freshness_weight=0.3, caps={"genre": 4}),
                exploration=EXPLORING,
                context={"surface": FEED},
            ),
        )
        self.surfaces = Surfaces(surfaces, HOME, {HOME: self.channel, FEED: self.channel})
        recorder = Recorder(self.log, self.metrics, clock=lambda: self.now, users=users) if self.log else None
        profiles = Profiles(self.log, self.metrics, 5.0, users=users) if self.log and users else None
        self.endpoints = Endpoints(
            self.settings,
            self.surfaces,
            clock=lambda: self.now,
            metrics=self.metrics,
            recorder=recorder,
            profiles=profiles,
            steering=Steering(self.rules),
        )
        self.why = WhyRoutes(
            KeptDecisions(self.log, users, keep_days, lambda: self.now),
            ReleasesToAsk(self.surfaces, max_bytes),
            self.rules,
            self.metrics,
            words,
        )
        rules = RuleRoutes(self.surfaces, self.rules, self.log, self.metrics, clock=lambda: NOW)
        keys = [
            Key(name=name, sha256=hashlib.sha256(secret.encode()).hexdigest(), scopes=rights)
            for name, (secret, rights) in KEYS.items()
        ]
        self.app = RecommendationApp(
            no_bentoml, self.endpoints, self.settings, Guard(keys), [self.why, rules]
        )

    async def send(
        self, method: str, path: str, body: object = None, *, key: str = "app", version: int = 0
    ) -> Response:
        headers = {**JSON_HEADERS, "authorization": f"Bearer {KEYS[key][0]}", "if-match": f'"{version}"'}
        text = b"" if body is None else json.dumps(body).encode()
        return await request(self.app, method, path, text, headers)

    def ask_together(self, asked: Sequence[tuple[str, object]]) -> list[Any]:
        async def all_of_them() -> list[Response]:
            return await asyncio.gather(*[self.send("POST", path, body) for path, body in asked])

        return [reply.json() for reply in asyncio.run(all_of_them())]

    def ask(self, **body: object) -> Any:
        (answer,) = self.ask_together([("/v1/recommend", {"k": 5, **body})])
        return answer

    def explain(self, name: str, key: str = "desk") -> Response:
        return asyncio.run(self.send("GET", f"/v1/why/{name}", key=key))

    def rows(self) -> Sequence[LoggedDecision]:
        assert self.log is not None
        return self.log.get().read_decisions(0, 10_000)

    def put_rules(self, *rules: object, version: int = 0) -> None:
        reply = asyncio.run(
            self.send("PUT", "/v1/rules", {"rules": list(rules)}, key="desk", version=version)
        )
        assert reply.status == 200, reply.body

    def counted(self, name: str) -> float:
        lines = self.metrics.exposition().decode().splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith(name))

    def close(self) -> None:
        self.endpoints.close()
        self.why.close()
        if self.rules:
            self.rules.close()
        if self.log:
            self.log.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_tiny(tmp_path_factory.mktemp("bundles"), has_item_bias=True).parent


@pytest.fixture(scope="module")
def recommender(home: Path) -> Recommender:
    (folder,) = [path for path in home.iterdir() if path.is_dir()]
    return Recommender.load(folder)


@pytest.fixture
def service(home: Path, recommender: Recommender, tmp_path: Path) -> Iterator[Service]:
    service = Service(home, tmp_path, recommender)
    yield service
    service.close()


def any_body(rng: np.random.Generator, number: int) -> tuple[str, dict[str, object]]:
    """Returns a path and a body: answers on both surfaces, similar items, pages."""
    items = [f"i{item:03d}" for item in rng.integers(1, 28, rng.integers(1, 6))]
    surface = FEED if number % 2 else HOME
    if number % 13 == 0:
        return "/v1/similar", {"item_id": "i007", "k": 4, "surface": surface}
    asked: dict[str, object] = {"surface": surface, "exclude": ["i003"] if number % 5 == 0 else []}
    if number % 3:
        asked["user_id"] = f"u{number % 8}"
    if number % 4:
        asked["history"] = [{"item_id": item, "kind": "click"} for item in items]
    if number % 6 == 0:
        asked |= {
            "features": {"age": 20 + number % 40, "name": "told to nobody"},
            "context": {"device": "phone"},
        }
    if number % 11 == 0:
        rows = [
            {"row": "for_you", "k": 3},
            {"row": "popular", "k": 2, "surface": FEED},
            {"row": "similar", "item_id": items[0], "k": 2},
            {"row": "similar", "k": 2},
            {"row": "new", "k": 1},
            {"row": "continued", "items": items, "k": 2},
        ]
        return "/v1/page", {**asked, "rows": rows}
    filters = {"year": {"min": 1995}} if number % 7 == 0 else {}
    return "/v1/recommend", {**asked, "k": 1 + number % 7, "filters": filters}


def decisions_in(answers: Sequence[Any]) -> dict[str, list[Any]]:
    """Returns the items of each decision in some answers."""
    parts = [part for answer in answers for part in answer.get("rows", [answer])]
    return {part["decision_id"]: part["items"] for part in parts}


def test_explanations_agree_with_the_answers_made_under_load(service: Service) -> None:
    live = {"fresh": LiveItem(item_id="fresh", attributes={"genre": "drama", "year": 2003})}
    service.channel.state.take_live_items(live)
    rng, decided = np.random.default_rng(3), dict[str, list[Any]]()
    for turn in range(4):
        pinned = {"id": "front", "pin": [{"item_id": f"i{2 + turn:03d}", "place": 2}]}
        gone = {"id": "gone", "block": {"items": [f"i{20 + turn:03d}"]}, "surfaces": [HOME]}
        up = {"id": "up", "boost": {"weight": 0.5, "filters": {"genre": {"any_of": ["drama"]}}}}
        service.put_rules(*[pinned, gone, up][: turn + 1], version=turn)
        asked = [any_body(rng, 40 * turn + number) for number in range(40)]
        decided |= decisions_in(service.ask_together(asked))
    assert len(decided) > 200
    replies = [(service.explain(name), items) for name, items in decided.items()]
    outcomes = [reply.json()["replay"]["outcome"] for reply, _ in replies]
    assert outcomes == ["agrees"] * len(decided)
    n_drawn = 0
    for reply, items in replies:
        told = reply.json()
        assert [(item["item_id"], item["score"]) for item in told["items"]] == [
            (item["item_id"], item["score"]) for item in items
        ]
        n_drawn += any(item["propensity"] < 1 for item in told["items"])
        # An empty answer has no places to be drawn or explained.
        assert all(item["because"] for item in told["items"])
    assert n_drawn > 50, "answers that explore are among them"
    assert service.counted('marquee_explanations_total{outcome="agrees"}') == len(decided)
    assert service.counted('marquee_explanations_total{outcome="differs"}') == 0


def test_what_is_on_record_is_told_as_it_was(service: Service) -> None:
    answer = service.ask(
        user_id="u1",
        surface=FEED,
        history=["i003"],
        features={"age": 31, "email": "a@b.c"},
        kind="content",
        filters={"year": {"min": 1996}},
    )
    told = service.explain(answer["decision_id"]).json()
    record = told["record"]
    assert record["release"] == answer["version"]
    assert (record["source"], record["surface"], record["k"]) == ("personal", FEED, 5)
    assert (record["policy"], record["parameters"]["temperature"]) == ("softmax", 0.5)
    assert record["history"][-1] == "i003"
    assert record["features"] == {"age": 31}, "what no release reads is not on record"
    assert record["kind"] == "content"
    assert told["stages"][0] == {"stage": "items", "n_left": 24}
    assert told["stages"][-1]["n_left"] == 5
    assert told["filters"] == [{"attribute": "year", "condition": {"min": 1996}, "n_removed": 4}]
    first = told["items"][0]
    assert len(first["without_events"]) == len(record["history"])
    assert set(first["without_features"]) >= {"age", "city"}
    assert told["replay"]["largest_difference"] <= 1e-5


@pytest.mark.parametrize("name", ["nobody", decision_id(NOW * 1000, b"0123456789"), "a" * 300])
def test_unknown_decision_is_404(service: Service, name: str) -> None:
    reply = service.explain(name)
    assert (reply.status, reply.error["code"]) == (404, "not_found")


def test_decision_past_retention_is_410(home: Path, recommender: Recommender, tmp_path: Path) -> None:
    service = Service(home, tmp_path, recommender, keep_days=30)
    answer = service.ask(user_id="u1")
    assert service.explain(answer["decision_id"]).status == 200
    service.now += 30 * DAY
    assert service.explain(answer["decision_id"]).status == 200
    service.now += 1
    reply = service.explain(answer["decision_id"])
    assert (reply.status, reply.error["code"]) == (410, "decision_expired")
    service.close()


def test_erased_user_s_decision_is_unknown_at_once_and_no_id_is_told(
    home: Path, recommender: Recommender, tmp_path: Path
) -> None:
    keyed = KeyedUsers(str(tmp_path / "events"), KEY)
    service = Service(home, tmp_path, recommender, users=keyed)
    known, new = (service.ask(user_id=name, history=["i003"])["decision_id"] for name in ("u1", "someone"))
    told = service.explain(new)
    assert told.json()["replay"]["outcome"] == "agrees"
    assert b"someone" not in told.body
    # This bundle knows users by the operator's own ids, and the record holds none.
    assert service.explain(known).json()["replay"]["outcome"] == "user_unknown"
    (name,) = {row.decision.user_id for row in service.rows() if row.decision.decision_id == new}
    assert name is not None
    # Rows are left: files of closed days hold them until the next pass.
    keyed.store().forget(keyed.handle_of("someone"), NOW)
    reply = service.explain(new)
    assert (reply.status, reply.error["code"]) == (404, "not_found")
    assert service.explain(known).status == 200
    service.close()
    keyed.close()


def test_tiers_below_personal_are_explained_without_a_user(service: Service) -> None:
    for tier in ("segment", "none"):
        answer = service.ask(user_id="u1", history=["i003"], features={"age": 31}, consent=tier)
        told = service.explain(answer["decision_id"]).json()
        assert told["replay"]["outcome"] == "agrees"
        assert (told["record"]["tier"], told["record"]["source"]) == (tier, "popular")
        assert "history" not in told["record"]
        assert ("features" in told["record"]) == (tier == "segment")
        assert not any("without_events" in item for item in told["items"])


def test_who_may_not_ask_is_refused(service: Service) -> None:
    answer = service.ask(user_id="u1")
    reply = service.explain(answer["decision_id"], key="app")
    assert (reply.status, reply.error["code"]) == (403, "key_not_sufficient")


def test_service_without_a_log_explains_nothing(home: Path, recommender: Recommender) -> None:
    service = Service(home, None, recommender)
    reply = service.explain(decision_id(NOW * 1000, b"0123456789"))
    assert (reply.status, reply.error["code"]) == (501, "not_configured")
    service.close()


def test_decision_that_is_just_being_written_is_waited_for(service: Service) -> None:
    assert service.log is not None
    find, n_looks = service.log.find_decision, 0

    def slow(name: str) -> Decision | None:
        nonlocal n_looks
        n_looks += 1
        return find(name) if n_looks > 2 else None

    service.log.find_decision = slow  # type: ignore[method-assign, assignment]  # a store that is behind
    answer = service.ask(user_id="u1")
    assert service.explain(answer["decision_id"]).status == 200
    assert n_looks > 2


def test_too_many_at_once_are_refused(service: Service) -> None:
    """Those that wait are answered; the others are told to come back."""
    answer, go_on = service.ask(user_id="u1"), Event()
    assert service.log is not None
    find = service.log.find_decision

    def blocked(name: str) -> Decision | None:
        go_on.wait(10)
        return find(name)

    service.log.find_decision = blocked  # type: ignore[method-assign, assignment]  # a store that takes its time

    async def ask_many() -> list[Response]:
        path = f"/v1/why/{answer['decision_id']}"
        many = [
            asyncio.create_task(service.send("GET", path, key="desk")) for _ in range(why.MAX_WAITING + 3)
        ]
        done, _ = await asyncio.wait(many, return_when=asyncio.FIRST_COMPLETED)
        go_on.set()
        assert {task.result().status for task in done} == {503}
        return await asyncio.gather(*many)

    statuses = [reply.status for reply in asyncio.run(ask_many())]
    assert sorted(statuses) == [200] * why.MAX_WAITING + [503] * 3


def test_decision_of_a_closed_day_is_explained(service: Service) -> None:
    answer = service.ask(user_id="u1", surface=FEED)
    assert service.log is not None
    assert service.closed is not None
    service.endpoints.close()
    later = NOW + 60 * DAY
    close_days(service.log.get(), service.closed, later, [], EventLimits(horizon=DAY))
    assert service.log.get().find_decision(answer["decision_id"]) is None
    assert service.explain(answer["decision_id"]).json()["replay"]["outcome"] == "agrees"


def test_release_that_answers_no_more_is_loaded_within_the_bound(
    recommender: Recommender, home: Path, tmp_path: Path
) -> None:
    releases = tmp_path / "tiny"
    shutil.copytree(home, releases)
    service = Service(releases, tmp_path, recommender)
    answer = service.ask(user_id="u1")
    other = Recommender.load(publish_tiny(tmp_path / "other", "tiny", seed=5))
    service.channel.state.answering = Answering(other)
    told = service.explain(answer["decision_id"]).json()
    assert told["replay"]["outcome"] == "agrees"
    assert told["stages"]
    service.channel.state.take_live_items({"fresh": LiveItem(item_id="fresh", attributes={"genre": "drama"})})
    assert service.explain(answer["decision_id"]).json()["replay"]["live_items_changed"] is True
    service.close()
    bounded = Service(releases, tmp_path, recommender, max_bytes=100)
    bounded.channel.state.answering = Answering(other)
    told = bounded.explain(answer["decision_id"]).json()
    assert told["replay"]["outcome"] == "release_gone"
    assert [item["item_id"] for item in told["items"]] == [item["item_id"] for item in answer["items"]]
    assert {item["because"] for item in told["items"]} == {"Chosen for you"}
    assert not {"stages", "filters", "n_seen", "relevance_scale"} & set(told)
    assert bounded.counted('marquee_explanations_total{outcome="release_gone"}') == 1
    bounded.close()


def test_link_in_the_folder_of_releases_leads_nowhere(
    recommender: Recommender, home: Path, tmp_path: Path
) -> None:
    releases = tmp_path / "tiny"
    releases.mkdir()
    (releases / recommender.version).symlink_to(home / recommender.version)
    service = Service(releases, tmp_path, recommender)
    answer = service.ask(user_id="u1")
    service.channel.state.answering = Answering(
        Recommender.load(publish_tiny(tmp_path / "other", "tiny", seed=5))
    )
    assert service.explain(answer["decision_id"]).json()["replay"]["outcome"] == "release_gone"
    service.close()


def test_operator_s_words_are_told(home: Path, recommender: Recommender, tmp_path: Path) -> None:
    words = Words({**Words().sentences, "popular_in": "Populaire"})
    service = Service(home, tmp_path, recommender, words=words)
    told = service.explain(service.ask()["decision_id"]).json()
    assert {item["because"] for item in told["items"]} == {"Populaire"}
    service.close()
