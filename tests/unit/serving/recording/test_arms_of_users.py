"""Arms of experiments follow what users have said, at the next answer of every worker."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from marquee.decision.experiments.assignment import Experiment, Holdout
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Request
from marquee.store.people.consent import Tier
from serving.recording.profiles import Profiles
from serving.recording.users import KeyedUsers, KnownUser
from serving.releases.arms.experiments import ArmSettings, Experiments
from tests.support.bundles import publish_tiny
from tests.support.people_service import Worker

Workers = Callable[..., Worker]
SHORT = Experiments(
    (Experiment(name="sizes", arms=("ten", "three"), weights=(0.0, 1.0)),),
    {"sizes": {"ten": ArmSettings({}), "three": ArmSettings({"k": 3})}},
)
IN_ARM = {"sizes": "three"}


@pytest.fixture(scope="module")
def recommender(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    return Recommender.load(publish_tiny(tmp_path_factory.mktemp("bundles")))


@pytest.fixture
def workers(recommender: Recommender, tmp_path: Path) -> Iterator[Workers]:
    made: list[Worker] = []

    def make(default: Tier = Tier.personal, experiments: Experiments = SHORT, **more: Any) -> Worker:
        made.append(Worker(recommender, tmp_path / "events", default, experiments=experiments, **more))
        return made[-1]

    yield make
    for worker in made:
        worker.close()


def asked(worker: Worker, **body: object) -> tuple[Any, int]:
    """Returns the arms that an answer tells, and how many items it holds."""
    answer = worker.recommend(**{"user_id": "u1", **body})
    return answer.get("experiments", {}), answer["returned"]


@pytest.mark.parametrize("tier", ["segment", "none"])
def test_who_lets_less_be_known_is_in_no_arm_at_the_next_answer_of_every_worker(
    workers: Workers, tier: str
) -> None:
    first, second = workers(), workers()
    assert asked(first) == asked(second) == (IN_ARM, 3)
    first.consent("u1", tier)
    assert [asked(second), asked(first)] == [({}, 10)] * 2
    page = second.page(user_id="u1", rows=[{"row": "popular"}])
    batch = second.batch({"user_id": "u1"}, {"user_id": "u2"})
    assert len(page["rows"][0]["items"]) == 10
    assert [(one.get("experiments"), one["returned"]) for one in batch] == [(None, 10), (IN_ARM, 3)]
    second.consent("u1", "personal")
    assert [asked(first), asked(second)] == [(IN_ARM, 3)] * 2
    first.written()
    recorded = [(decision.user_id is None, decision.experiments == ()) for decision in second.written()]
    # Also of who withdrew before the answer was written.
    assert len(recorded) == 9
    assert all(is_nobodys == is_in_none for is_nobodys, is_in_none in recorded)
    assert recorded.count((True, True)) >= 4


def test_who_has_consented_against_a_stricter_default_stays_in_one_arm(workers: Workers) -> None:
    halves = Experiments(
        (Experiment(name="halves", arms=("a", "b"), weights=(0.5, 0.5)),),
        {"halves": {"a": ArmSettings({}), "b": ArmSettings({"k": 3})}},
    )
    worker = workers(Tier.none, halves)
    names = [f"user-{number}" for number in range(20)]
    for name in names:
        worker.consent(name, "personal")
    # Another worker, which has read nobody yet.
    other = workers(Tier.none, halves)
    arms = [asked(other, user_id=name)[0]["halves"] for name in names]
    assert set(arms) == {"a", "b"}
    assert [asked(worker, user_id=name)[0]["halves"] for name in names] == arms
    assert asked(other, user_id="somebody else") == ({}, 10)
    assert asked(other, user_id=names[0], consent="segment") == ({}, 10)


def test_who_is_held_out_and_lets_nothing_be_known_is_held_out_no_more(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Holdout, "includes", lambda _self, _user: True)
    worker = workers(experiments=Experiments(holdout=Holdout(share=0.05)))
    assert asked(worker)[0] == {"holdout": "held_out"}
    worker.consent("u1", "none")
    assert asked(worker)[0] == {}


def test_arm_that_was_drawn_before_the_user_withdrew_is_neither_told_nor_recorded(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, other = workers(), workers()
    before = Profiles.before

    def withdrawn(self: Profiles, requests: Sequence[Request], *more: Any) -> Any:
        other.consent("u1", "none")
        return before(self, requests, *more)

    monkeypatch.setattr(Profiles, "before", withdrawn)
    assert asked(worker)[0] == {}
    (decision,) = worker.written()
    assert (decision.tier, decision.user_id, decision.experiments) == ("none", None, ())


def test_store_that_hangs_costs_users_their_arm_and_no_request_its_answer(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = workers(budget_s=0.005)
    worker.consent("u1", "personal")
    look_up, calls = KeyedUsers.look_up, []

    def slow(self: KeyedUsers, user_id: str) -> KnownUser:
        calls.append(user_id)
        time.sleep(0.2 if len(calls) == 1 else 0)
        return look_up(self, user_id)

    monkeypatch.setattr(KeyedUsers, "look_up", slow)
    assert asked(worker) == ({}, 10)
