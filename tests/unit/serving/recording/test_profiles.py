"""A profile is the live end of the log: in the next answer, counted once, and never waited for."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from marquee.bundle.manifest import KnownUntil
from marquee.core.event_kinds import EventKind
from marquee.decision.recommender import Recommender
from marquee.decision.requests import HistoryEvent, Request
from marquee.errors import EventLogGoneError
from marquee.store.log.event_log import EventLog, ProfileEvent
from marquee.store.log.latest_events import Freshness
from serving.api.app import RecommendationApp
from serving.api.recommend import Endpoints
from serving.config import Settings
from serving.http.guard import Guard
from serving.recording.opening import OpenedLog
from serving.recording.profiles import Profiles, Wanted, with_profile
from serving.recording.recorder import Recorder
from serving.telemetry.metrics import Metrics
from tests.support.asgi import no_bentoml, request
from tests.support.bundles import CREATED, NOW, publish_tiny
from tests.support.event_stores import event
from tests.support.service_process import eventually
from tests.support.surfaces import one_surface

EVERYTHING = KnownUntil()


@pytest.fixture(scope="module")
def recommender(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    return Recommender.load(publish_tiny(tmp_path_factory.mktemp("bundles")))


@pytest.fixture
def log(tmp_path: Path) -> Iterator[OpenedLog]:
    log = OpenedLog(str(tmp_path / "events"))
    log.get()  # the thread of profiles opens it too, and whoever comes second is refused meanwhile
    yield log
    log.close()


class Service:
    """The routes that ask, over an event log."""

    def __init__(self, recommender: Recommender, log: OpenedLog, budget_s: float = 5.0) -> None:
        self.metrics = Metrics()
        self.profiles = Profiles(log, self.metrics, budget_s)
        self.endpoints = Endpoints(
            Settings(),
            one_surface(Settings(), recommender),
            clock=lambda: NOW,
            metrics=self.metrics,
            recorder=Recorder(log, self.metrics, clock=lambda: NOW),
            profiles=self.profiles,
        )

    def ask(self, **body: object) -> Any:
        app = RecommendationApp(no_bentoml, self.endpoints, Settings(), Guard([]))
        text = json.dumps({"k": 5, **body}).encode()
        return asyncio.run(request(app, "POST", "/v1/recommend", text)).json()

    def counted(self, outcome: str) -> float:
        lines = self.metrics.exposition().decode().splitlines()
        name = f'marquee_profiles_total{{outcome="{outcome}"}}'
        return next(float(line.split()[-1]) for line in lines if line.startswith(name))


@pytest.fixture
def service(recommender: Recommender, log: OpenedLog) -> Iterator[Service]:
    service = Service(recommender, log)
    yield service
    service.endpoints.close()


def item_ids(answer: Any) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def test_event_is_in_the_next_answer(service: Service, log: OpenedLog) -> None:
    before = service.ask(user_id="somebody new")
    clicked = item_ids(before)[0]
    log.get().append([event("e1", user_id="somebody new", item_id=clicked, timestamp=CREATED + 1)])
    after = service.ask(user_id="somebody new")
    assert (before["source"], after["source"]) == ("popular", "history")
    assert clicked not in item_ids(after)
    assert "profile" not in after
    assert service.counted("read") == 2


def test_answer_is_that_to_the_same_history_told(
    service: Service, log: OpenedLog, recommender: Recommender
) -> None:
    events = [
        event("e1", item_id="i003", timestamp=CREATED + 1),
        event("e2", item_id="i004", kind="rating", value=4.0, timestamp=CREATED + 2),
        event("e3", item_id="i005", kind="exposure", decision_id="d", timestamp=CREATED + 3),
        event("e4", item_id="no item of the bundle", timestamp=CREATED + 4),
    ]
    log.get().append(events)
    history = (
        HistoryEvent("i003", "click"),
        HistoryEvent("i004", "rating", 4.0),
        HistoryEvent("no item of the bundle", "click"),
        HistoryEvent("i006"),
    )
    told = Request(timestamp=NOW, user_id="u1", k=5, history=history)
    (expected,) = recommender.recommend([told])
    answer = service.ask(user_id="u1", history=["i006"])
    assert item_ids(answer) == [item.item_id for item in expected.items]


def test_what_the_bundle_knows_does_not_count_again(service: Service, log: OpenedLog) -> None:
    log.get().append([event("e1", user_id="somebody new", item_id="i003", timestamp=CREATED)])
    assert service.ask(user_id="somebody new")["source"] == "popular"


def test_nobody_named_has_no_profile(service: Service) -> None:
    service.ask(history=["i003"])
    assert service.counted("read") == service.counted("unavailable") == 0


def did(item_id: str, kind: str = "click") -> ProfileEvent:
    return ProfileEvent(item_id, kind, None)


@pytest.mark.parametrize(
    ("profile", "history", "expected"),
    [
        ([did("a"), did("b")], ("b", "c"), ["a", "b", "c"]),
        ([did("a"), did("a")], ("a",), ["a", "a"]),
        ([did("a", "view")], (HistoryEvent("a", "click"),), ["a", "a"]),
        ([did("a", "click")], (HistoryEvent("a", "click"),), ["a"]),
        ([did("a")], (), ["a"]),
        ([], ("a",), ["a"]),
    ],
    ids=["told-as-well", "told-once-of-two", "other-kind", "same-kind", "not-told", "no-profile"],
)
def test_what_a_request_tells_as_well_counts_once(
    profile: list[ProfileEvent], history: tuple[Any, ...], expected: list[str]
) -> None:
    merged = with_profile(Request(timestamp=NOW, history=history), profile, "click")
    found = [one if isinstance(one, str) else one.item_id for one in merged.history]
    assert found == expected


def test_profile_beside_ids_is_told_by_ids_where_these_say_as_much() -> None:
    def merged(*profile: ProfileEvent) -> tuple[object, ...]:
        return with_profile(Request(timestamp=NOW, history=("x", "y")), profile, "click").history

    assert merged(did("a"), did("b")) == ("a", "b", "x", "y")
    for other in (did("a", "view"), ProfileEvent("a", "click", 2.0)):
        assert merged(other, did("b")) == (
            HistoryEvent(*other),
            HistoryEvent("b", "click"),
            HistoryEvent("x"),
            HistoryEvent("y"),
        )


def test_every_kind_of_event_is_one_that_a_history_may_hold() -> None:
    for kind in EventKind:
        with_profile(Request(timestamp=NOW), [did("a", kind.value)], "click")


class Hanging:
    """A log that answers when it is told to."""

    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.n_asked = 0

    def freshness(self, _user_id: str) -> None:
        return None

    def read_profile(self, *_: object) -> list[ProfileEvent]:
        self.n_asked += 1
        self.may_answer.wait(30)
        return [did("a")]

    def append_decision_rows(self, _rows: object) -> None:
        pass

    def close(self) -> None:
        pass


def test_store_that_hangs_costs_the_profile_and_nothing_else(recommender: Recommender) -> None:
    hanging: Any = Hanging()
    service = Service(recommender, OpenedLog("", lambda _where: hanging), budget_s=0.01)
    assert [service.ask(user_id="u1")["profile"] for _ in range(3)] == ["unavailable"] * 3
    assert hanging.n_asked == 1  # the others did not wait behind it
    assert service.counted("unavailable") == 3
    hanging.may_answer.set()
    assert eventually(lambda: "profile" not in service.ask(user_id="u1"))
    service.endpoints.close()


def test_store_that_is_gone_is_told_in_the_log_once(
    recommender: Recommender, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(_where: str) -> Any:
        raise EventLogGoneError("no database")

    service = Service(recommender, OpenedLog("", gone))
    answers = [service.ask(user_id="u1") for _ in range(3)]
    service.endpoints.close()
    assert [answer["profile"] for answer in answers] == ["unavailable"] * 3
    assert all(answer["items"] for answer in answers)
    assert caplog.text.count("profiles cannot be read") == 1


def test_profiles_of_a_batch_are_read_together(log: OpenedLog) -> None:
    log.get().append([event("e1"), event("e2", user_id="u2", item_id="b"), event("e3", item_id="c")])
    profiles = Profiles(log, Metrics(), budget_s=5.0)
    found = read(profiles, ("u1", EVERYTHING), ("nobody", EVERYTHING), ("u2", EVERYTHING))
    profiles.close()
    assert found == [[did("a"), did("c")], [], [did("b")]]


def read(profiles: Profiles, *wanted: tuple[str, KnownUntil]) -> list[Any]:
    return [one.profile for one in profiles.read([Wanted(*one) for one in wanted])]


class Counting:
    """A log that counts its reads, as a worker has it."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.n_read = 0

    def freshness(self, user_id: str) -> Freshness | None:
        return self.log.freshness(user_id)

    def read_profile(self, *given: Any) -> list[ProfileEvent]:
        self.n_read += bool(given[0])  # the first read of a thread is of nobody
        return self.log.read_profile(*given)


@pytest.fixture
def counting(log: OpenedLog) -> Iterator[tuple[Counting, Profiles]]:
    counting: Any = Counting(log.get())
    opened = OpenedLog("", lambda _where: counting)
    opened.get()
    profiles = Profiles(opened, Metrics(), budget_s=5.0)
    yield counting, profiles
    profiles.close()


def test_profile_is_read_again_only_when_its_user_has_done_something(
    counting: tuple[Counting, Profiles], log: OpenedLog
) -> None:
    counted, profiles = counting
    log.get().append([event("e1"), event("e2", user_id="u2")])
    assert [read(profiles, ("u1", EVERYTHING)) for _ in range(3)] == [[[did("a")]]] * 3
    assert counted.n_read == 1
    log.get().append([event("e3", user_id="u2")])
    read(profiles, ("u1", EVERYTHING))
    assert counted.n_read == 1
    log.get().append([event("e4", item_id="b")])
    assert read(profiles, ("u1", EVERYTHING)) == [[did("a"), did("b")]]
    assert counted.n_read == 2


def test_nothing_is_read_of_who_did_nothing_since_the_release(
    counting: tuple[Counting, Profiles], log: OpenedLog
) -> None:
    counted, profiles = counting
    log.get().append([event("e1")])
    known = KnownUntil(sequence=log.get().last_sequence())
    assert read(profiles, ("u1", known), ("nobody", EVERYTHING)) == [[], []]
    assert counted.n_read == 0
    # Another release, of an older state: it knows less of the same user.
    assert read(profiles, ("u1", EVERYTHING)) == [[did("a")]]


def test_profiles_in_memory_are_bounded(
    counting: tuple[Counting, Profiles], log: OpenedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.recording.profiles.N_REMEMBERED", 2)
    counted, profiles = counting
    log.get().append([event(f"e{i}", user_id=f"u{i}") for i in range(3)])
    for user in ("u0", "u1", "u0", "u2", "u0"):  # u1 was asked for longest ago
        read(profiles, (user, EVERYTHING))
    assert counted.n_read == 3
    read(profiles, ("u1", EVERYTHING))
    assert counted.n_read == 4


def test_profile_in_memory_goes_with_the_rows_of_its_user(
    counting: tuple[Counting, Profiles], log: OpenedLog
) -> None:
    _, profiles = counting
    log.get().append([event("e1")])
    assert read(profiles, ("u1", EVERYTHING)) == [[did("a")]]
    log.get().removal.erase_user("u1", "erasure")
    assert read(profiles, ("u1", EVERYTHING)) == [[]]
