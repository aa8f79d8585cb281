"""Users under pseudonyms: what holds for them at the next answer of every worker, and what is kept."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from marquee.bundle.manifest import UserNames
from marquee.core.ids import IdMap
from marquee.decision.recommender import Recommender
from marquee.errors import EventLogGoneError
from marquee.store.log.event_log import Decision
from marquee.store.log.log_rows import decision_row, logged_decision
from marquee.store.people.consent import Tier
from marquee.store.people.opening import open_users
from serving.recording.users import KeyedUsers
from tests.support.bundles import NOW, publish_tiny
from tests.support.people import KEY, handle
from tests.support.people_service import Worker, click

Workers = Callable[..., Worker]


@pytest.fixture(scope="module")
def recommender(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    return Recommender.load(publish_tiny(tmp_path_factory.mktemp("bundles")))


@pytest.fixture
def workers(recommender: Recommender, tmp_path: Path) -> Iterator[Workers]:
    made: list[Worker] = []

    def make(*given: Any, by: Recommender = recommender, **options: Any) -> Worker:
        made.append(Worker(by, tmp_path / "events", *given, **options))
        return made[-1]

    yield make
    for worker in made:
        worker.close()


def test_consent_put_on_one_worker_holds_on_the_other_at_its_next_answer(workers: Workers) -> None:
    first, second = workers(), workers()
    assert (second.ask(user_id="u1")["tier"], second.ask(user_id="u1")["source"]) == ("personal", "personal")
    for tier, source in [("none", "popular"), ("personal", "personal"), ("segment", "popular")]:
        response = first.consent("u1", tier)
        assert (response.status, response.json()["tier"]) == (200, tier)
        answer = second.ask(user_id="u1")
        assert (answer["tier"], answer["source"]) == (tier, source)
    assert second.ask(user_id="u2")["tier"] == "personal"
    assert first.counted('marquee_consents_total{tier="none"}') == 1
    assert second.counted('marquee_answers_by_tier_total{tier="segment"}') == 1


@pytest.mark.parametrize(
    ("default", "said", "asked", "expected"),
    [
        (Tier.personal, None, None, "personal"),
        (Tier.personal, None, "segment", "segment"),
        (Tier.personal, "segment", "none", "none"),
        (Tier.personal, "none", "personal", "none"),
        (Tier.segment, None, "personal", "segment"),
        (Tier.none, None, None, "none"),
        (Tier.none, "personal", None, "personal"),
        (Tier.none, "personal", "segment", "segment"),
    ],
)
def test_strictest_of_what_was_said_holds(
    workers: Workers, default: Tier, said: str | None, asked: str | None, expected: str
) -> None:
    worker = workers(default)
    if said is not None:
        worker.consent("u1", said)
    body = {} if asked is None else {"consent": asked}
    assert worker.ask(user_id="u1", **body)["tier"] == expected
    nobody = worker.ask(history=["i003"], **body)
    assert nobody["tier"] == max(
        default.value, asked or "personal", key=["personal", "segment", "none"].index
    )
    assert (nobody["source"] == "history") == (nobody["tier"] == "personal")


def test_segment_goes_by_declared_attributes_and_none_by_the_moment_alone(workers: Workers) -> None:
    worker = workers()
    told = {"user_id": "u1", "history": ["i004"], "features": {"surface": "home", "age": 20}}
    segment = worker.ask(consent="segment", **told)
    assert (segment["source"], segment["popular_in"]) == ("popular", "surface=home")
    none = worker.ask(consent="none", **told)
    assert (none["source"], "popular_in" in none) == ("popular", False)
    moment = worker.ask(consent="none", **told, context={"surface": "video"})
    assert moment["popular_in"] == "surface=video"
    # Nothing of the user shows: not what they had, nor that the bundle knows them.
    nobody = worker.ask(context={"surface": "video"}, consent="none")
    assert {**moment, "request_id": "", "decision_id": ""} == {**nobody, "request_id": "", "decision_id": ""}


def test_below_personal_no_profile_is_read_and_nobody_is_recorded(workers: Workers) -> None:
    worker = workers()
    worker.post(click("e1"))
    worker.consent("u1", "segment")
    answers = [
        worker.ask(user_id="u1", **more) for more in ({}, {"consent": "none"}, {"consent": "personal"})
    ]
    assert worker.counted('marquee_profiles_total{outcome="read"}') == 0
    assert worker.counted('marquee_profiles_total{outcome="unavailable"}') == 0
    assert [answer["tier"] for answer in answers] == ["segment", "none", "segment"]
    decisions = worker.written()
    assert [(one.user_id, one.tier, one.history) for one in decisions] == [
        (None, "segment", ()),
        (None, "none", ()),
        (None, "segment", ()),
    ]


def test_event_is_refused_by_the_consent_at_its_arrival(workers: Workers) -> None:
    worker = workers()
    assert worker.post(click("e1"))["accepted"] == 1
    worker.consent("u1", "segment")
    late = worker.post(
        click("e2", timestamp=NOW - 50), click("e3", user_id="u2"), click("e4", None, decision_id="d")
    )
    assert (late["accepted"], late["rejected"]) == (2, {"no_consent": 1})
    assert late["rejected_rows"] == [{"row": 0, "reason": "no_consent", "field": "user_id"}]
    worker.consent("u1", "personal")
    assert worker.post(click("e2", timestamp=NOW - 50))["accepted"] == 1
    assert worker.counted('marquee_rejected_events_total{reason="no_consent"}') == 1


def test_events_decisions_and_profiles_go_by_one_pseudonym(workers: Workers, tmp_path: Path) -> None:
    first, second = workers(), workers()
    asked = first.ask(user_id="somebody new")
    second.post(click("e1", "somebody new"))
    answer = first.ask(user_id="somebody new")
    assert (asked["source"], answer["source"]) == ("popular", "history")
    assert asked["unknown_user"] is answer["unknown_user"] is True
    kept = open_users(str(tmp_path / "events"))
    pseudonym = kept.find(handle("somebody new")).pseudonym
    kept.close()
    assert pseudonym is not None
    assert len(pseudonym) == 32
    (event,) = first.log.get().read(0, 10)
    assert event.event.user_id == pseudonym
    assert [one.user_id for one in first.written()] == [pseudonym, pseudonym]
    # A pseudonym that is sent as an id is somebody else.
    assert second.ask(user_id=pseudonym)["source"] == "popular"


def test_bundle_with_ids_of_the_operator_goes_on_working_until_an_erasure(
    workers: Workers, tmp_path: Path
) -> None:
    worker = workers()
    assert "unknown_user" not in worker.ask(user_id="u1")
    users = open_users(str(tmp_path / "events"))
    users.forget(handle("u1"), NOW)
    erased = worker.ask(user_id="u1")
    assert (erased["tier"], erased["source"]) == ("none", "popular")
    assert worker.post(click("e1"))["rejected"] == {"erased": 1}
    users.set_tier(handle("u1"), Tier.personal, NOW + 1)
    users.close()
    again = worker.ask(user_id="u1")
    assert (again["tier"], again["unknown_user"]) == ("personal", True)
    assert worker.post(click("e2"))["accepted"] == 1


def test_bundle_with_pseudonyms_knows_its_users_by_these(workers: Workers, tmp_path: Path) -> None:
    store = KeyedUsers(str(tmp_path / "events"), KEY)
    names = store.names_of(["u1", "u2"])
    store.close()
    ids = IdMap((str(names["u1"]), "u3", str(names["u2"]), "u4", "u5", "u6"))
    path = publish_tiny(tmp_path / "bundles", user_ids=ids, user_names=UserNames.pseudonyms)
    worker = workers(by=Recommender.load(path))
    assert worker.ask(user_id="u1")["source"] == "personal"
    assert worker.ask(user_id="u3")["unknown_user"] is True


def test_answer_uses_nothing_of_a_user_of_whom_it_is_not_known_what_they_said(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, other = workers(), workers()
    # Who never was here needs no look at the store; of whom something is held only that can tell.
    other.consent("u1", "personal")

    def gone(*_: object) -> None:
        raise EventLogGoneError("no disk")

    assert worker.keyed is not None
    monkeypatch.setattr(worker.keyed, "look_up", gone)
    answer = worker.ask(user_id="u1", history=["i003"])
    assert (answer["tier"], answer["source"], answer["profile"]) == ("none", "popular", "unavailable")
    assert worker.counted('marquee_profiles_total{outcome="unavailable"}') == 1
    assert [(one.user_id, one.tier) for one in worker.written()] == [(None, "none")]


def test_who_withdraws_before_their_answer_is_written_is_not_in_it(workers: Workers) -> None:
    worker = workers()
    assert worker.keyed is not None
    user = worker.keyed.look_up("somebody new")
    worker.ask(user_id="somebody new")
    assert len(worker.written()) == 1
    other = worker.keyed.look_up("stranger")
    worker.keyed.set_tier("stranger", Tier.none, NOW)
    arm = (("test", "1", "control"),)
    waiting = [
        decision_row(Decision(decision_id="a", time_ms=0, user_id=user.name, experiments=arm)),
        decision_row(Decision(decision_id="b", time_ms=0, user_id=other.name, experiments=arm)),
    ]
    first, second = worker.keyed.named(waiting)
    assert first.user_id == worker.log.get().read_decisions(0, 1)[0].decision.user_id
    assert second.user_id is None
    assert [logged_decision((1, *row)).decision.experiments for row in (first, second)] == [arm, ()]
    # Also who has a pseudonym, because they were known before.
    worker.keyed.set_tier("somebody new", Tier.none, NOW)
    assert [one.user_id for one in worker.keyed.named(waiting)] == [None, None]


def test_who_has_consented_against_a_stricter_default_is_on_record_from_the_first_answer(
    workers: Workers,
) -> None:
    worker = workers(Tier.none)
    worker.consent("somebody new", "personal")
    assert worker.ask(user_id="somebody new")["tier"] == "personal"
    (decision,) = worker.written()
    assert decision.user_id is not None
    assert worker.post(click("e1", None, decision_id=decision.decision_id))["accepted"] == 1
    (kept,) = worker.log.get().read(0, 10)
    assert kept.event.user_id == decision.user_id


def test_without_a_key_the_default_and_the_request_say_how_much(workers: Workers) -> None:
    worker = workers(has_key=False)
    assert worker.ask(user_id="u1")["tier"] == "personal"
    assert worker.ask(user_id="u1", consent="segment")["tier"] == "segment"
    assert worker.consent("u1", "none").error["code"] == "not_configured"
    assert worker.post(click("e1"))["accepted"] == 1
    assert [one.user_id for one in worker.written()] == ["u1", None]
    strict = workers(Tier.none, has_key=False)
    assert strict.ask(user_id="u1")["tier"] == "none"
    assert strict.post(click("e2"))["rejected"] == {"no_consent": 1}


@pytest.mark.parametrize(
    ("tier", "secret", "status", "code"),
    [
        ("everything", "people", 422, "invalid_request"),
        (None, "people", 422, "invalid_request"),
        ("none", "app", 403, "key_not_sufficient"),
        ("none", "nobody", 401, "key_needed"),
    ],
)
def test_refused_consent_changes_nothing(
    workers: Workers, tier: object, secret: str, status: int, code: str
) -> None:
    worker = workers()
    response = worker.consent("u1", tier, secret)
    assert (response.status, response.error["code"]) == (status, code)
    if status == 422:
        assert response.error["field"] == "tier"
    assert worker.ask(user_id="u1")["tier"] == "personal"


def test_user_whose_id_is_too_long_is_refused_without_its_id(workers: Workers) -> None:
    response = workers().consent("x" * 257, "none")
    assert (response.status, response.error["field"]) == (422, "user_id")
    assert "xxx" not in response.error["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/users/ann@example.org/consent", 405),
        ("GET", "/v2/users/ann@example.org", 404),
        ("PATCH", "/v1/users/ann@example.org", 405),
        ("PUT", "/v1/users/ann@example.org/consent", 422),
    ],
)
def test_no_error_repeats_the_id_in_a_path(workers: Workers, method: str, path: str, status: int) -> None:
    response = asyncio.run(workers().send(method, path, {"tier": "all"}, "people"))
    assert response.status == status
    assert b"ann" not in response.body


def test_users_of_a_body_of_events_are_found_together(workers: Workers) -> None:
    worker = workers()
    rows = [click(f"e{number}", f"user-{number}") for number in range(1_100)]
    assert worker.post(*rows)["accepted"] == 1_100
    assert worker.post(*rows)["repeated"] == 1_100
    named = {one.event.user_id for one in worker.log.get().read(0, 2_000)}
    assert len(named) == 1_100


def test_new_user_is_counted_under_the_pseudonym_that_they_get_and_never_under_their_handle(
    workers: Workers,
) -> None:
    worker = workers()
    assert worker.keyed is not None
    first, again = worker.keyed.look_up("new"), worker.keyed.look_up("new")
    assert not first.has_rows
    assert first.counted_as == again.counted_as
    # The answer is on record under a name that only the writer of decisions reads.
    worker.ask(user_id="new")
    (decision,) = worker.written()
    assert decision.user_id == first.counted_as == worker.keyed.look_up("new").name
    assert handle("new").hex() not in str(first.counted_as)


def test_who_comes_back_after_an_erasure_is_counted_as_somebody_new(workers: Workers) -> None:
    worker, other = workers(), workers()
    assert worker.keyed is not None
    assert other.keyed is not None
    # Drawn and never noted: another worker has named the user first.
    drawn = worker.keyed.look_up("u9").counted_as
    other.post(click("e1", "u9"))
    assert worker.keyed.look_up("u9").name != drawn
    assert other.erasures is not None
    other.erasures.erase("u9", NOW)
    assert other.consent("u9", "personal").status == 200
    assert worker.keyed.look_up("u9").counted_as not in (drawn, None)


def test_draws_of_new_users_are_forgotten_when_others_come(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.recording.users.N_DRAWN", 2)
    keyed = workers().keyed
    assert keyed is not None
    drawn = [keyed.look_up(user).counted_as for user in ("a", "b", "c", "b", "a")]
    assert drawn[1] == drawn[3]
    assert drawn[0] != drawn[4]
