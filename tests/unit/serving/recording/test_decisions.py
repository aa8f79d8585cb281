"""Answers on record: with an id, places, propensities and history; drawn only where they are recorded."""

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from marquee.bundle.releases import Candidate, Role
from marquee.decision.creatives.choosing import CreativeSet
from marquee.decision.policies.config import NO_EXPLORATION, Exploration, PolicyName
from marquee.decision.recommender import Recommender
from marquee.decision.requests import HistoryEvent, Request
from marquee.errors import ConfigError, EventLogGoneError
from marquee.store.log.event_log import Decision
from marquee.store.log.opening import open_event_log
from serving.api.app import RecommendationApp
from serving.api.recommend import Endpoints
from serving.config import Settings
from serving.http.guard import Guard
from serving.recording.opening import OpenedLog
from serving.recording.recorder import Recorder
from serving.releases.answering import Answering, Loaded
from serving.releases.channel import Channel
from serving.releases.surface_file import SurfaceFile
from serving.releases.surfaces import DEFAULT, Surface, Surfaces
from serving.telemetry.metrics import Metrics
from tests.support.asgi import no_bentoml, request
from tests.support.bundles import NOW, publish_tiny
from tests.support.service_process import eventually

SOFTMAX = Exploration(policy=PolicyName.softmax, temperature=0.5, floor=0.1, share=0.8)


@pytest.fixture(scope="module")
def recommender(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    return Recommender.load(publish_tiny(tmp_path_factory.mktemp("bundles")))


class Service:
    """The routes that ask, over a log of decisions."""

    def __init__(
        self,
        recommender: Recommender,
        log: OpenedLog | None,
        exploration: Exploration,
        creatives: CreativeSet | None = None,
    ) -> None:
        self.settings, self.metrics, self.log = Settings(), Metrics(), log
        self.channel = Channel("nowhere")
        self.channel.state.answering = Answering(recommender)
        surface = Surface(
            name=DEFAULT, bundle="", settings=self.settings, exploration=exploration, creatives=creatives
        )
        surfaces = Surfaces((surface,), DEFAULT, {DEFAULT: self.channel})
        self.recorder = Recorder(log, self.metrics, clock=lambda: NOW + 0.25) if log else None
        self.endpoints = Endpoints(
            self.settings, surfaces, clock=lambda: NOW, metrics=self.metrics, recorder=self.recorder
        )

    def ask(self, path: str, *bodies: object) -> list[Any]:
        async def send() -> list[Any]:
            app = RecommendationApp(no_bentoml, self.endpoints, self.settings, Guard([]))
            return [(await request(app, "POST", path, json.dumps(body).encode())).json() for body in bodies]

        return asyncio.run(send())

    def counted(self, name: str) -> float:
        lines = self.metrics.exposition().decode().splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith(name))

    def written(self) -> list[Decision]:
        """Ends the service, as draining does, and returns what is on record."""
        self.endpoints.close()
        assert self.log is not None
        return [logged.decision for logged in self.log.get().read_decisions(0, 10_000)]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[OpenedLog]:
    log = OpenedLog(str(tmp_path / "events"))
    yield log
    log.close()


def test_answer_is_on_record_with_all_that_made_it(recommender: Recommender, log: OpenedLog) -> None:
    service = Service(recommender, log, SOFTMAX)
    body = {"user_id": "u1", "history": ["i003", {"item_id": "i004"}], "k": 3}
    (answer,) = service.ask("/v1/recommend", body)
    (decision,) = service.written()
    assert answer["recorded"] is True
    assert answer["policy"] == "softmax"
    assert decision.decision_id == answer["decision_id"]
    assert uuid.UUID(decision.decision_id).version == 7
    assert decision.time_ms == NOW * 1000 + 250
    assert (decision.user_id, decision.request_id) == ("u1", answer["request_id"])
    assert (decision.release, decision.source) == (answer["version"], answer["source"])
    assert decision.policy == "softmax"
    assert decision.parameters == {"share": 0.8, "floor": 0.1, "temperature": 0.5}
    assert [place.item_id for place in decision.places] == [item["item_id"] for item in answer["items"]]
    assert [place.score for place in decision.places] == [item["score"] for item in answer["items"]]
    assert all(0 < place.propensity < 1 for place in decision.places)
    assert decision.history[-2:] == ("i003", "i004")
    assert len(decision.history) > 2  # what the bundle knows of u1 comes first
    assert service.counted('marquee_decisions_total{outcome="recorded"}') == 1
    assert service.counted('marquee_least_propensity_count{policy="softmax"}') == 1


@pytest.mark.parametrize("user_id", ["u1", "somebody new", None])
@pytest.mark.parametrize(
    "history",
    [
        [],
        ["i003", "i004"],
        ["i003", "no item", "i004"],
        [{"item_id": "i003", "kind": "view"}, {"item_id": "i004"}],
        [f"i{number:03}" for number in range(1, 23)],  # more than is read
        ["no item"],
    ],
)
def test_history_on_record_is_what_the_tower_was_fed(
    recommender: Recommender, log: OpenedLog, user_id: str | None, history: list[Any]
) -> None:
    service = Service(recommender, log, NO_EXPLORATION)
    service.ask("/v1/recommend", {"history": history, **({"user_id": user_id} if user_id else {})})
    (decision,) = service.written()
    given = tuple([one if isinstance(one, str) else HistoryEvent(**one) for one in history])
    (decided,) = recommender.decide([Request(timestamp=NOW, user_id=user_id, history=given)])
    assert decision.history == tuple(recommender.item_pool.table.decode(decided.read))


def test_decision_that_no_text_can_hold_is_told_and_holds_up_no_other(
    recommender: Recommender, log: OpenedLog, caplog: pytest.LogCaptureFixture
) -> None:
    service = Service(recommender, log, NO_EXPLORATION)
    assert service.recorder is not None
    assert not service.recorder.record(Decision(decision_id="odd", time_ms=NOW, asked={"k": object()}))
    assert service.recorder.record(Decision(decision_id="good", time_ms=NOW))
    assert [one.decision_id for one in service.written()] == ["good"]
    assert service.counted('marquee_decisions_total{outcome="unrecorded"}') == 1
    assert "decision odd cannot be written" in caplog.text


def test_each_part_of_a_batch_and_similar_items_are_on_record(
    recommender: Recommender, log: OpenedLog
) -> None:
    service = Service(recommender, log, NO_EXPLORATION)
    parts = [{"user_id": "u1", "k": 2}, {"k": "wrong"}, {"user_id": "u2", "k": 2}]
    (batch,) = service.ask("/v1/recommend/batch", {"requests": parts})
    (similar,) = service.ask("/v1/similar", {"item_id": "i001", "k": 2})
    first, wrong, last = batch["answers"]
    assert "error" in wrong
    decisions = service.written()
    assert [one.decision_id for one in decisions] == [a["decision_id"] for a in (first, last, similar)]
    assert len({one.decision_id for one in decisions}) == 3
    assert decisions[1].request_id == f"{batch['request_id']}.2"
    assert decisions[2].source == "similar"
    assert {one.policy for one in decisions} == {"greedy"}
    assert {place.propensity for one in decisions for place in one.places} == {1.0}


def test_each_row_of_a_page_is_a_decision_of_its_own(recommender: Recommender, log: OpenedLog) -> None:
    service = Service(recommender, log, SOFTMAX)
    rows = [
        {"row": "for_you", "k": 3},
        {"row": "popular", "k": 2},
        {"row": "similar", "item_id": "i001", "k": 2},
        {"row": "continued", "items": ["i005", "i006"], "k": 2},
    ]
    (page,) = service.ask("/v1/page", {"user_id": "u1", "history": ["i003"], "rows": rows})
    decisions = service.written()
    assert [one.decision_id for one in decisions] == [row["decision_id"] for row in page["rows"]]
    for number, (told, kept) in enumerate(zip(page["rows"], decisions, strict=True)):
        assert (told["recorded"], told["policy"], kept.policy) == (True, "softmax", "softmax")
        assert [place.item_id for place in kept.places] == [item["item_id"] for item in told["items"]]
        assert all(0 < place.propensity < 1 for place in kept.places)
        assert (kept.user_id, kept.request_id) == ("u1", f"{page['request_id']}.{number}")
        assert (kept.source, kept.release) == (told["source"], page["version"])
    for_you, popular, similar, continued = (one.history for one in decisions)
    assert for_you[-1] == "i003"
    assert popular == similar == ()
    assert continued[-2:] == ("i005", "i006")
    shown = [place.item_id for one in decisions for place in one.places]
    assert len(shown) == len(set(shown)), "no item stands on a page twice, drawn or not"


def test_page_says_nothing_of_a_record_where_there_is_none(recommender: Recommender) -> None:
    service = Service(recommender, None, NO_EXPLORATION)
    (page,) = service.ask("/v1/page", {"user_id": "u1", "rows": [{"row": "for_you", "k": 2}]})
    service.endpoints.close()
    assert not {"decision_id", "recorded", "policy"} & set(page["rows"][0])
    assert "profile" not in page


def test_answers_are_as_before_where_nothing_is_recorded(recommender: Recommender) -> None:
    service = Service(recommender, None, NO_EXPLORATION)
    (answer,) = service.ask("/v1/recommend", {"user_id": "u1"})
    service.endpoints.close()
    assert not {"decision_id", "recorded", "policy"} & set(answer)


def test_first_place_is_drawn_as_often_as_its_propensity_says(
    recommender: Recommender, log: OpenedLog
) -> None:
    service = Service(recommender, log, SOFTMAX)
    n_asked = 400
    service.ask("/v1/recommend", *[{"user_id": "u1", "k": 2}] * n_asked)
    firsts = [one.places[0] for one in service.written()]
    propensity_of = {place.item_id: place.propensity for place in firsts}
    assert len(propensity_of) > 1
    for item_id, times in Counter(place.item_id for place in firsts).items():
        expected = propensity_of[item_id]
        deviation = (n_asked * expected * (1 - expected)) ** 0.5
        assert abs(times - n_asked * expected) < 5 * deviation
    assert {place.propensity for place in firsts} == set(propensity_of.values())


class Refusing:
    """A log that has no room for decisions."""

    def append_decision_rows(self, _rows: object) -> None:
        raise EventLogGoneError("no disk")

    def close(self) -> None:
        pass


def test_answers_go_on_unrecorded_and_greedy_where_the_store_refuses(
    recommender: Recommender, caplog: pytest.LogCaptureFixture
) -> None:
    refusing: Any = Refusing()
    service = Service(recommender, OpenedLog("", lambda _where: refusing), SOFTMAX)
    assert service.recorder is not None
    service.ask("/v1/recommend", {"user_id": "u1", "k": 5})
    recorder = service.recorder
    assert eventually(lambda: not recorder.begin().may_explore)  # once the writer has met the store
    (answer,) = service.ask("/v1/recommend", {"user_id": "u1", "k": 5})
    service.endpoints.close()
    (greedy,) = recommender.recommend([Request(timestamp=NOW, user_id="u1", k=5)])
    assert answer["recorded"] is False
    assert answer["policy"] == "greedy"
    assert [item["item_id"] for item in answer["items"]] == [item.item_id for item in greedy.items]
    # What was told as recorded and lost as the service ended, and what was refused.
    assert service.counted('marquee_decisions_total{outcome="unrecorded"}') == 2
    assert service.counted('marquee_decisions_total{outcome="recorded"}') == 0
    assert "are lost" in caplog.text


def test_user_that_no_store_can_hold_keeps_no_other_off_the_record(
    recommender: Recommender, log: OpenedLog
) -> None:
    service = Service(recommender, log, NO_EXPLORATION)
    service.ask("/v1/recommend", {"user_id": "a\0b"}, {"user_id": "u2"})
    assert [one.user_id for one in service.written()] == ["a�b", "u2"]


def test_shadow_compares_what_neither_has_drawn(recommender: Recommender, log: OpenedLog) -> None:
    service = Service(recommender, log, Exploration(policy=PolicyName.epsilon, epsilon=1.0))

    other = Recommender(recommender.bundle)
    shadow = Loaded(Candidate(Role.shadow, "other", 1.0), other)
    service.channel.state.answering = Answering(recommender, {Role.shadow: shadow})
    (answer,) = service.ask("/v1/recommend", {"user_id": "u1", "k": 5})
    (greedy,) = recommender.recommend([Request(timestamp=NOW, user_id="u1", k=5)])
    assert [item["item_id"] for item in answer["items"]] != [item.item_id for item in greedy.items]
    assert eventually(lambda: service.counted('marquee_shadow_requests_total{outcome="compared"}') == 1)
    service.endpoints.close()
    assert service.counted("marquee_shadow_overlap_sum") == 1.0


def surfaces_of(tmp_path: Path, declared: str, **settings: Any) -> SurfaceFile:
    path = tmp_path / "surfaces.yaml"
    path.write_text(f"default: a\nsurfaces:\n  a: {{bundle: b, policy: {declared}}}\n  b: {{bundle: b}}\n")
    return SurfaceFile.read(Settings(surfaces=str(path), **settings))


def test_surface_declares_its_policy_and_a_setting_that_of_the_others(tmp_path: Path) -> None:
    declared = "{name: softmax, temperature: 0.5, floor: 0.1, share: 0.8}"
    own, other = surfaces_of(tmp_path, declared, events="e", policy="{name: epsilon, epsilon: 0.3}").surfaces
    assert own.exploration == SOFTMAX
    assert other.exploration == Exploration(policy=PolicyName.epsilon, epsilon=0.3)


@pytest.mark.parametrize(
    ("policy", "problem"),
    [
        ("{name: softmax, warmth: 1}", "policy.warmth is unknown"),
        (
            "{share: 0.5}",
            r"policy.name must be one of .'greedy', .*'thompson'., got None",
        ),
        ("{name: bandit}", "got 'bandit'"),
        ("{name: softmax, share: 2}", "share must be between"),
        ("{name: softmax, share: much}", "policy is not as expected"),
    ],
    ids=["misspelt", "nameless", "unknown", "out-of-range", "type"],
)
def test_policy_that_is_none_is_refused_with_its_place(tmp_path: Path, policy: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        surfaces_of(tmp_path, policy, events="e")
    with pytest.raises(ConfigError, match=f"MARQUEE_POLICY.*{problem}"):
        SurfaceFile.read(Settings(bundle="b", events="e", policy=policy))


def test_policy_without_a_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="MARQUEE_EVENTS"):
        surfaces_of(tmp_path, "{name: softmax}")


def test_default_policy_that_is_no_mapping_is_refused() -> None:
    with pytest.raises(ConfigError, match="MARQUEE_POLICY must be like"):
        SurfaceFile.read(Settings(bundle="b", events="e", policy="softmax"))


def test_what_was_decided_can_be_read_by_another_worker(
    recommender: Recommender, log: OpenedLog, tmp_path: Path
) -> None:
    service = Service(recommender, log, SOFTMAX)
    (answer,) = service.ask("/v1/recommend", {"user_id": "u1"})
    service.written()
    other = open_event_log(str(tmp_path / "events"))
    assert other.find_decision(answer["decision_id"]) is not None
    other.close()
