"""Rules over HTTP: put, read, raced, refused by their field, tried, and held by every worker at once."""

import asyncio
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from marquee.bundle.releases import Candidate, Role
from marquee.core.filters import Filters
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Request
from marquee.errors import EventLogGoneError
from marquee.store.log.event_log import Decision, EventLog, Place
from marquee.store.log.opening import open_event_log
from marquee.store.rules.opening import open_rule_store
from marquee.store.rules.rule import RuleSet
from marquee.store.rules.rule_store import RuleStore
from serving.api.answering.steering import Steering
from serving.api.app import RecommendationApp
from serving.api.recommend import Endpoints
from serving.api.rules import RuleRoutes
from serving.config import Settings
from serving.http.guard import Guard, Key, Right
from serving.recording.opening import OpenedLog
from serving.recording.recorder import Recorder
from serving.recording.rules.following import Rules
from serving.releases.answering import Answering, Loaded
from serving.releases.surface_file import SurfaceFile
from serving.releases.surfaces import Surfaces
from serving.telemetry.metrics import Metrics
from tests.support.asgi import JSON_HEADERS, Response, no_bentoml, request
from tests.support.bundles import NOW, publish_tiny
from tests.support.event_stores import event
from tests.support.recorded import decide_together
from tests.support.service_process import eventually
from tests.support.surfaces import one_surface

SECRET, OTHER = "of the merchandiser", "of the app"
PIN = {"id": "front", "pin": [{"item_id": "i024", "place": 1}]}


@pytest.fixture(scope="module")
def recommender(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    return Recommender.load(publish_tiny(tmp_path_factory.mktemp("bundles")))


class Worker:
    """One worker of a service: its routes over a folder that others use as well."""

    def __init__(
        self, recommender: Recommender, folder: Path | None, surfaces: Surfaces | None = None
    ) -> None:
        self.metrics, settings = Metrics(), Settings()
        where = str(folder) if folder else ""
        self.log = OpenedLog(where) if where else None
        self.rules = Rules(where, self.metrics, clock=lambda: NOW) if where else None
        if self.rules:
            self.rules.open()
        self.surfaces = surfaces = surfaces or one_surface(settings, recommender)
        self.endpoints = Endpoints(
            settings,
            surfaces,
            clock=lambda: NOW,
            metrics=self.metrics,
            recorder=Recorder(self.log, self.metrics, clock=lambda: NOW) if self.log else None,
            steering=Steering(self.rules),
        )
        self.routes = RuleRoutes(
            surfaces, self.rules, self.log, self.metrics, clock=lambda: NOW, sleep=lambda _s: None
        )
        keys = [
            Key(name=name, sha256=hashlib.sha256(secret.encode()).hexdigest(), scopes=rights)
            for name, secret, rights in (
                ("merch", SECRET, [Right.rules]),
                ("app", OTHER, [Right.recommend, Right.events]),
            )
        ]
        self.app = RecommendationApp(no_bentoml, self.endpoints, settings, Guard(keys), [self.routes])

    def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        secret: str = SECRET,
        version: object = None,
        query: str = "",
    ) -> Response:
        headers = {**JSON_HEADERS, "authorization": f"Bearer {secret}"}
        if version is not None:
            headers["if-match"] = f'"{version}"'
        text = b"" if body is None else json.dumps(body).encode()
        return asyncio.run(request(self.app, method, path, text, headers, query))

    def put(self, *rules: object, version: int = 0) -> Response:
        return self.send("PUT", "/v1/rules", {"rules": list(rules)}, version=version)

    def ask(self, path: str = "/v1/recommend", **body: object) -> Any:
        return self.send("POST", path, {"user_id": "u1", "k": 3, **body}, secret=OTHER).json()

    def counted(self, name: str) -> float:
        lines = self.metrics.exposition().decode().splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith(name))

    def decisions(self) -> list[Decision]:
        """Ends what records, and returns what is on record."""
        self.endpoints.close()
        assert self.log is not None
        return [logged.decision for logged in self.log.get().read_decisions(0, 10_000)]

    def close(self) -> None:
        self.endpoints.close()
        self.routes.close()
        if self.log:
            self.log.close()


@pytest.fixture
def worker(recommender: Recommender, tmp_path: Path) -> Iterator[Worker]:
    worker = Worker(recommender, tmp_path / "events")
    yield worker
    worker.close()


def ids(answer: Any) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def test_rules_put_on_one_worker_hold_on_the_other_at_its_next_answer(
    worker: Worker, recommender: Recommender, tmp_path: Path
) -> None:
    other = Worker(recommender, tmp_path / "events")
    plain = ids(other.ask(k=24))
    for version in range(6):
        item = plain[version]
        pinned = {"id": "front", "pin": [{"item_id": item, "place": 1}]}
        gone = {"id": "gone", "block": {"items": [plain[-1 - version]]}}
        assert worker.put(pinned, gone, version=version).status == 200
        answer = other.ask(k=24)
        assert ids(answer)[0] == item
        assert plain[-1 - version] not in ids(answer)
        assert answer["rules"] == ["front", "gone"]
        assert "rules_not_applied" not in answer
    worker.put(version=6)
    assert ids(other.ask(k=24)) == plain
    other.close()


def test_set_is_read_as_it_was_put_with_who_and_when(worker: Worker) -> None:
    rules: list[dict[str, object]] = [
        {
            "id": "spring",
            "author": "anna",
            "note": "fair",
            "from": NOW,
            "until": NOW + 9,
            "surfaces": ["default"],
            "pin": PIN["pin"],
        },
        {"id": "recall", "block": {"items": ["i001", "i002"]}},
        {
            "id": "drama",
            "boost": {"weight": 0.5, "filters": {"genre": {"any_of": ["drama"]}, "year": {"min": 1990}}},
        },
    ]
    put = worker.put(*rules).json()
    assert put == worker.send("GET", "/v1/rules").json()
    assert (put["version"], put["changed"], put["changed_by"]) == (1, NOW, "merch")
    # A rule that names no author is the key's.
    assert put["rules"] == [rules[0], *[{**rule, "author": "merch"} for rule in rules[1:]]]
    assert worker.counted('marquee_rules{kind="pin"}') == 1
    assert worker.counted("marquee_rules_version") == 1
    assert worker.counted("marquee_rules_next_end_seconds") == NOW + 9
    assert worker.counted('marquee_rule_changes_total{outcome="taken"}') == 1


def test_set_from_another_version_is_refused_with_the_current_one(worker: Worker) -> None:
    first = worker.put(PIN).json()
    lost = worker.put({"id": "late", "block": {"items": ["i001"]}}, version=0)
    assert lost.status == 412
    told = lost.json()
    assert told["error"]["code"] == "rules_changed"
    assert told["current"] == first
    assert worker.send("GET", "/v1/rules").json() == first
    assert worker.counted('marquee_rule_changes_total{outcome="lost_race"}') == 1
    # The same once more, as a client that got no reply sends it, is no lost race.
    assert worker.put(PIN, version=0).json() == first
    assert worker.send("PUT", "/v1/rules", {"rules": []}).error["code"] == "version_needed"
    assert worker.send("PUT", "/v1/rules", {"rules": []}, version="x").status == 428


BLOCK = {"items": ["i001"]}


@pytest.mark.parametrize(
    ("rule", "field", "words"),
    [
        (
            {"block": {"filters": {"colour": {"any_of": ["red"]}}}},
            "rules[0].block.filters.colour",
            "no attribute",
        ),
        (
            {"boost": {"weight": 1, "filters": {"year": {"any_of": ["x"]}}}},
            "rules[0].boost.filters.year",
            "number",
        ),
        ({"block": {"filters": {"year": {"min": "x"}}}}, "rules[0].block.filters[...].min", ""),
        ({"block": BLOCK, "surfaces": ["default", "cellar"]}, "rules[0].surfaces[1]", "got 'cellar'"),
        ({"block": {"items": ["i001", "nothing"]}}, "rules[0].block.items[1]", "got 'nothing'"),
        ({"pin": [{"item_id": "nothing", "place": 1}]}, "rules[0].pin[0].item_id", "got 'nothing'"),
        ({"block": BLOCK, "from": 9, "until": 9}, "rules[0].until", "after from"),
        (
            {"pin": [{"item_id": "i001", "place": 1}, {"item_id": "i002", "place": 1}]},
            "rules[0].pin[1].place",
            "must be free",
        ),
        ({"pin": [{"item_id": "i001", "place": 0}]}, "rules[0].pin[0].place", ">= 1"),
        ({"boost": {"weight": 1.5, "items": ["i001"]}}, "rules[0].boost.weight", "<= 1"),
        ({"block": BLOCK, "boost": {"weight": 1, "items": ["i001"]}}, "rules[0].boost", "one of pin"),
        ({}, "rules[0]", "one of pin"),
        ({"block": {}}, "rules[0].block", "items or filters"),
        ({"block": BLOCK, "colour": "red"}, "rules[0].colour", "no such field"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_rule_is_refused_with_its_field_and_nothing_is_changed(
    worker: Worker, rule: dict[str, object], field: str, words: str
) -> None:
    held = worker.put(PIN).json()
    for method, path, version in (("PUT", "/v1/rules", 1), ("POST", "/v1/rules/dry_run", None)):
        refused = worker.send(method, path, {"rules": [{"id": "r", **rule}]}, version=version)
        assert refused.status == 422
        assert refused.error["field"] == field
        assert words in refused.error["message"]
    assert worker.send("GET", "/v1/rules").json() == held


def test_rules_need_a_right_that_no_other_includes(worker: Worker, recommender: Recommender) -> None:
    for method, path in (("GET", "/v1/rules"), ("PUT", "/v1/rules"), ("GET", "/v1/rules/history")):
        assert worker.send(method, path, secret=OTHER).status == 403
    open_app = RecommendationApp(no_bentoml, worker.endpoints, Settings(), Guard([]), [worker.routes])
    response = asyncio.run(request(open_app, "GET", "/v1/rules"))
    assert response.error["code"] == "key_needed"
    nowhere = Worker(recommender, None)
    assert nowhere.send("GET", "/v1/rules").error["code"] == "not_configured"
    assert nowhere.put(PIN).error["code"] == "not_configured"
    nowhere.close()


def test_history_tells_who_changed_what_page_by_page(worker: Worker) -> None:
    worker.put(PIN)
    worker.put({**PIN, "note": "why"}, {"id": "gone", "block": BLOCK}, version=1)
    worker.put(version=2)
    (latest, middle, first) = worker.send("GET", "/v1/rules/history").json()["changes"]
    assert [one["version"] for one in (latest, middle, first)] == [3, 2, 1]
    assert (middle["added"], middle["edited"], middle["removed"]) == (["gone"], ["front"], [])
    assert latest["removed"] == ["front", "gone"]
    assert len(middle["rules"]) == 2
    page = worker.send("GET", "/v1/rules/history", query="limit=1&before=3").json()["changes"]
    assert page == [middle]
    for limit in ("0", f"{1:020d}9999", "1" * 5000):
        assert worker.send("GET", "/v1/rules/history", query=f"limit={limit}").error["field"] == "limit"


def test_decision_records_the_rules_that_were_applied_and_why_others_were_not(worker: Worker) -> None:
    refused = {"id": "no", "pin": [{"item_id": "i001", "place": 2}]}
    worker.put(PIN, refused)
    answer = worker.ask(exclude=["i001"])
    (decision,) = worker.decisions()
    assert answer["rules"] == ["front"]
    assert answer["rules_not_applied"] == [
        {"rule_id": "no", "why": "'i001' was seen, or is excluded by the request"}
    ]
    assert decision.rules == ("front",)
    assert decision.rules_not_applied == (("no", "'i001' was seen, or is excluded by the request"),)
    assert decision.rules_version == 1
    assert decision.places[0] == Place("i024", answer["items"][0]["score"], 1.0)
    assert worker.counted("marquee_rules_applied_total") == 1
    assert worker.counted("marquee_rules_not_applied_total") == 1


def test_rules_hold_for_batches_similar_items_and_pages(worker: Worker) -> None:
    worker.put(PIN)
    rows = [{"row": "popular", "k": 2}, {"row": "for_you", "k": 2}]
    bodies: dict[str, object] = {
        "/v1/recommend/batch": {"requests": [{"user_id": "u1"}, {"k": 2}]},
        "/v1/similar": {"item_id": "i001", "k": 2},
        "/v1/page": {"user_id": "u1", "rows": rows},
    }
    told = [worker.send("POST", path, body, secret=OTHER).json() for path, body in bodies.items()]
    (first, second), similar, page = told[0]["answers"], told[1], told[2]
    for answer in (first, second, similar, page["rows"][0]):
        assert ids(answer)[0] == "i024"
        assert answer["rules"] == ["front"]
    assert page["rows"][1]["rules_not_applied"][0]["rule_id"] == "front"
    shown = [item for row in page["rows"] for item in ids(row)]
    assert shown.count("i024") == 1


def test_rules_of_a_row_are_those_of_the_surface_that_it_names(
    recommender: Recommender, tmp_path: Path
) -> None:
    bundle, file = recommender.bundle.path, tmp_path / "surfaces.yaml"
    file.write_text(f"default: home\nsurfaces: {{home: {{bundle: {bundle}}}, default: {{bundle: {bundle}}}}}")
    surfaces = SurfaceFile.read(Settings(surfaces=str(file))).open(Metrics(), None)
    surfaces.load()
    worker = Worker(recommender, tmp_path / "events", surfaces)
    assert worker.put(PIN | {"surfaces": ["default"]}).status == 200
    rows = [{"row": "popular", "k": 2, "surface": "default"}, {"row": "popular", "k": 2}]
    told = worker.send("POST", "/v1/page", {"rows": rows}, secret=OTHER).json()["rows"]
    assert [row.get("rules") for row in told] == [["front"], None]
    worker.close()
    surfaces.close()


def test_shadow_is_compared_without_rules(worker: Worker, recommender: Recommender) -> None:
    other = Recommender(recommender.bundle)
    shadow = Loaded(Candidate(Role.shadow, "other", 1.0), other)
    (channel,) = worker.surfaces.channels
    channel.state.answering = Answering(recommender, {Role.shadow: shadow})
    worker.put(PIN, {"id": "gone", "block": {"filters": {"genre": {"any_of": ["drama"]}}}})
    assert ids(worker.ask(k=5))[0] == "i024"
    assert eventually(lambda: worker.counted('marquee_shadow_requests_total{outcome="compared"}') == 1)
    assert worker.counted("marquee_shadow_overlap_sum") == 1.0


def test_thread_sees_that_the_store_is_gone_while_nothing_is_put(tmp_path: Path) -> None:
    folder, metrics = tmp_path / "events", Metrics()
    rules = Rules(str(folder), metrics, clock=lambda: NOW)
    rules.open()
    folder.rename(tmp_path / "elsewhere")
    rules.current()  # nothing was put, and nothing is read
    assert b"marquee_rules_stale_total 0.0" in metrics.exposition()
    rules.watch(interval_s=0.01)
    assert eventually(lambda: b"marquee_rules_stale_total 0.0" not in metrics.exposition())
    assert rules.current().version == 0
    (tmp_path / "elsewhere").rename(folder)
    rules.close()


class Sick:
    """A store in a network that goes away."""

    is_remote = True

    def __init__(self, store: RuleStore) -> None:
        self.store, self.is_gone, self.n_asked = store, False, 0
        self.answers = threading.Event()
        self.answers.set()

    def current(self) -> RuleSet:
        self.n_asked += 1
        self.answers.wait(10)
        if self.is_gone:
            raise EventLogGoneError("no network")
        return self.store.current()

    read = current

    def close(self) -> None:
        self.store.close()


def test_rules_that_were_known_go_on_while_the_store_is_away(tmp_path: Path) -> None:
    store = open_rule_store(str(tmp_path))
    sick, metrics = Sick(store), Metrics()
    rules = Rules("", metrics, budget_s=5, open_store=lambda _where: sick, clock=lambda: NOW)  # type: ignore[arg-type,return-value]
    rules.open()
    store.replace([], 0, "ops", 1)
    assert rules.current().version == 1
    sick.is_gone = True
    assert rules.current().version == 1
    sick.is_gone = False
    store.replace([], 1, "ops", 1)
    assert rules.current().version == 2
    assert b"marquee_rules_stale_total 1.0" in metrics.exposition()
    rules.close()


def test_database_that_hangs_is_waited_for_once(tmp_path: Path) -> None:
    store = open_rule_store(str(tmp_path))
    sick = Sick(store)
    rules = Rules("", Metrics(), budget_s=0.02, open_store=lambda _where: sick, clock=lambda: NOW)  # type: ignore[arg-type,return-value]
    rules.open()
    store.replace([], 0, "ops", 1)
    sick.answers.clear()
    assert [rules.current().version for _ in range(3)] == [0, 0, 0]
    assert sick.n_asked == 2  # at the start, and by the first of the three
    sick.answers.set()
    assert eventually(lambda: rules.current().version == 1)
    rules.close()


def test_answer_does_not_go_by_what_the_thread_began_to_read_before_a_change(tmp_path: Path) -> None:
    store = open_rule_store(str(tmp_path))
    sick, metrics = Sick(store), Metrics()
    rules = Rules("", metrics, budget_s=5, open_store=lambda _where: sick, clock=lambda: NOW)  # type: ignore[arg-type,return-value]
    rules.open()
    sick.answers.clear()
    thread = threading.Thread(target=rules.current)
    thread.start()
    assert eventually(lambda: sick.n_asked == 2)
    store.replace([], 0, "ops", 1)
    threading.Timer(0.05, sick.answers.set).start()
    assert rules.current().version == 1
    thread.join(10)
    assert b"marquee_rules_stale_total 0.0" in metrics.exposition()
    rules.close()


def fill(log: EventLog, item_ids: list[str]) -> None:
    """Puts 40 decisions of three items on record, half of whose first items were clicked."""
    decisions = [
        Decision(
            decision_id=f"d{number}",
            time_ms=NOW * 1000,
            source="similar" if number % 10 == 9 else "history",
            surface="gone" if number % 10 == 8 else None,
            places=tuple(Place(item, 1.0, 1.0) for item in item_ids),
            history=("i003", "i004"),
        )
        for number in range(40)
    ]
    log.append_decisions(decisions)
    clicks = [
        event(f"e{n}", item_id=item_ids[0], decision_id=f"d{n}", timestamp=NOW) for n in range(0, 40, 2)
    ]
    log.append(clicks)


def test_dry_run_tells_what_a_set_would_change_and_changes_nothing(
    worker: Worker, recommender: Recommender
) -> None:
    assert worker.log is not None
    (plain,) = recommender.recommend([Request(timestamp=NOW, k=3, history=("i003", "i004"))])
    shown = [item.item_id for item in plain.items]
    fill(worker.log.get(), shown)
    last = {"id": "front", "pin": [{"item_id": shown[2], "place": 1}]}
    new = {"id": "new", "pin": [{"item_id": "i024", "place": 3}]}
    answer = worker.send("POST", "/v1/rules/dry_run", {"rules": [last, new], "sample": 30}).json()
    assert (answer["version"], answer["asked"], answer["left_out"]) == (0, 24, 6)
    # These hold no request: what they filtered by nobody knows, and the answer says so.
    assert answer["requests_unknown"] == 24
    assert answer["changed"] == 24
    assert answer["applied"] == {"front": 24, "new": 24}
    assert answer["gaining"] == [{"item_id": "i024", "before": 0, "after": 24}]
    assert answer["losing"] == [{"item_id": shown[1], "before": 24, "after": 0}]
    clicks = answer["predicted_clicks"]
    # The first place is clicked every second time, whose item is an average one for its place. The item that
    # takes it was never clicked where nobody clicks, and so is an average one as well.
    assert clicks == {"before": 24 * 0.5, "after": 24 * 0.5, "clicks": 20}
    assert worker.send("GET", "/v1/rules").json()["version"] == 0
    # With the rules that are tried in force, the same set changes nothing.
    worker.put(last, new)
    again = worker.send("POST", "/v1/rules/dry_run", {"rules": [last, new], "sample": 30}).json()
    assert (again["changed"], again["gaining"], again["losing"]) == (0, [], [])
    later = {"rules": [{**new, "from": NOW + 50}], "sample": 5, "timestamp": NOW + 40}
    assert worker.send("POST", "/v1/rules/dry_run", later).json()["applied"] == {}


def test_dry_run_asks_what_the_request_asked(worker: Worker, recommender: Recommender) -> None:
    assert worker.log is not None
    asked = Request(timestamp=NOW, k=3, user_id="u1", filters=Filters.of({"year": {"max": 1995}}))
    (answered,) = recommender.recommend([asked])
    passing = {item.item_id for item in recommender.recommend([replace(asked, k=24)])[0].items}
    (other, *_) = (name for name in recommender.bundle.catalog.item_ids.ids if name not in passing)
    decided = decide_together(recommender, [replace(asked, decision_id=f"d{number}") for number in range(3)])
    # A filter by what this release lacks: nobody can ask it.
    gone = {**decided[2].asked, "filters": [{"attribute": "colour", "any_of": ["red"]}]}
    worker.log.get().append_decisions([*decided[:2], replace(decided[2], asked=gone)])
    pins = [{"item_id": answered.items[2].item_id, "place": 1}, {"item_id": other, "place": 2}]
    rules = [{"id": f"pin {pin['place']}", "pin": [pin]} for pin in pins]
    answer = worker.send("POST", "/v1/rules/dry_run", {"rules": rules}).json()
    assert (answer["asked"], answer["left_out"], answer["changed"]) == (2, 1, 2)
    assert answer["requests_unknown"] == 0
    # What the request filters out stands in no answer, pinned or not.
    assert answer["applied"] == {"pin 1": 2}


def test_dry_run_of_an_empty_log_predicts_nothing(worker: Worker) -> None:
    answer = worker.send("POST", "/v1/rules/dry_run", {"rules": [PIN]}).json()
    assert (answer["asked"], answer["changed"]) == (0, 0)
    assert answer["predicted_clicks"] is None


def test_store_of_rules_lies_beside_the_event_log(worker: Worker, tmp_path: Path) -> None:
    worker.put(PIN)
    other = open_rule_store(str(tmp_path / "events"))
    assert [rule.rule_id for rule in other.current().rules] == ["front"]
    other.close()
    open_event_log(str(tmp_path / "events")).close()
