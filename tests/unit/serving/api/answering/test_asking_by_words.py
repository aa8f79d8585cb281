"""Words over HTTP: found, mixed, refused by field, never on record, and told by every counter."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from marquee.bundle.publishing import publish
from marquee.decision.policies.config import NO_EXPLORATION
from marquee.decision.recommender import Recommender
from marquee.decision.trials.questions import may_be_asked_again
from marquee.errors import ConfigError
from serving.api.messages.requests import MAX_QUERY_LENGTH
from serving.config import Settings
from serving.releases.surface_file import SurfaceFile
from tests.support.bundles import CREATED, publish_tiny
from tests.support.texts import titled_contents, unknown_word
from tests.unit.serving.api.test_why import FEED, Service

SECRET = "blue kettle for aunt Wilhelmina"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish(titled_contents(), tmp_path_factory.mktemp("bundles"), "titled", created=CREATED).parent


@pytest.fixture(scope="module")
def recommender(home: Path) -> Recommender:
    (folder,) = [path for path in home.iterdir() if path.is_dir()]
    return Recommender.load(folder)


@pytest.fixture
def service(home: Path, recommender: Recommender, tmp_path: Path) -> Iterator[Service]:
    service = Service(home, tmp_path, recommender)
    yield service
    service.close()


def refused(service: Service, body: dict[str, Any], path: str = "/v1/recommend") -> Any:
    reply = asyncio.run(service.send("POST", path, body))
    assert reply.status == 422, reply.body
    return reply.error


def ids(answer: Any) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def test_words_find_what_is_named_with_filters_and_paging(service: Service) -> None:
    answer = service.ask(query="tepot no 16", exclude_seen=False)
    assert (answer["source"], ids(answer)[0]) == ("query", "i016")
    filtered = service.ask(query="red lamp", filters={"genre": {"any_of": ["comedy"]}}, k=3)
    assert {int(item[1:]) % 2 for item in ids(filtered)} == {0}
    first = service.ask(query="red lamp", k=3, paging=True)
    second = service.ask(query="red lamp", k=3, paging=True, cursor=first["cursor"])
    assert ids(service.ask(query="red lamp", k=6)) == [*ids(first), *ids(second)]


def test_words_stand_in_batches_and_rows(service: Service) -> None:
    batch = {"requests": [{"query": "red lamp", "k": 2}, {"query": "?"}, {"user_id": "u1", "k": 1}]}
    page = {"user_id": "u1", "rows": [{"query": "red lamp", "name": "found", "k": 3}, {"k": 2}]}
    answered, rows = service.ask_together([("/v1/recommend/batch", batch), ("/v1/page", page)])
    first, second, third = answered["answers"]
    assert (first["source"], third["source"]) == ("query", "personal")
    assert second["error"]["field"] == "query"
    found = rows["rows"][0]
    assert (found["source"], found["because"], found["name"]) == ("query", "Found by your words", "found")
    error = refused(service, {"rows": [{"row": "new", "query": "lamp"}]}, "/v1/page")
    assert error["field"] == "rows[0]"
    assert "query belongs to a row of kind for_you" in error["message"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "query is not as expected"),
        ("x" * (MAX_QUERY_LENGTH + 1), "query is not as expected"),
        (7, "query is not as expected"),
        ("?!", "query must hold a letter or a digit, got 2 characters without"),
    ],
)
def test_words_that_are_none_are_refused_by_field(service: Service, query: object, message: str) -> None:
    error = refused(service, {"query": query})
    assert (error["code"], error["field"]) == ("invalid_request", "query")
    assert message in error["message"]


def test_release_without_texts_is_told_with_what_to_do(tmp_path: Path) -> None:
    home = publish_tiny(tmp_path / "bundles")
    plain = Service(home.parent, None, Recommender.load(home))
    try:
        error = refused(plain, {"query": "lamp"})
        assert error["field"] == "query"
        assert "declare a feature of type text for the items" in error["message"]
        assert refused(plain, {"rows": [{"query": "lamp"}]}, "/v1/page")["field"] == "query"
    finally:
        plain.close()


def test_words_are_on_no_record_and_why_says_so(service: Service, tmp_path: Path) -> None:
    answer = service.ask(query=SECRET, user_id="u1")
    (page,) = service.ask_together([("/v1/page", {"rows": [{"query": SECRET}]})])
    names = [answer["decision_id"], page["rows"][0]["decision_id"]]
    service.endpoints.close()
    assert len(service.rows()) == 2
    for logged in service.rows():
        decision = logged.decision
        assert decision.source == "query"
        assert decision.asked["by_words"] is True
        assert not may_be_asked_again(decision)
        assert "Wilhelmina" not in repr(logged)
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"Wilhelmina" not in path.read_bytes()
    for name in names:
        told = service.explain(name).json()
        assert told["replay"]["outcome"] == "not_recorded"
        assert "asked by words, which are not kept" in told["replay"]["why"]
        assert {(one["cause"], one["because"]) for one in told["items"]} == {("query", "Fits your words")}


def test_answers_by_words_have_their_own_label(service: Service) -> None:
    service.ask(query="red lamp")
    service.ask(query=unknown_word())
    version = service.ask(query="lamp")["version"]
    by_words = f'marquee_answers_total{{release="{version}",source="query",surface="home"}}'
    assert service.counted(by_words) == 2.0
    assert service.counted('marquee_fallback_answers_total{surface="home"}') == 1.0


def test_surface_says_what_the_user_counts_beside_words(service: Service, tmp_path: Path, home: Path) -> None:
    path = tmp_path / "surfaces.yaml"
    path.write_text(
        f"default: a\nsurfaces:\n  a: {{bundle: {home}, history_weight: 0}}\n  b: {{bundle: {home}}}\n"
    )
    alone, mixed = SurfaceFile.read(Settings(surfaces=str(path))).surfaces
    assert (alone.history_weight, mixed.history_weight) == (0.0, 2.0)
    path.write_text(f"default: a\nsurfaces:\n  a: {{bundle: {home}, history_weight: -1}}\n")
    with pytest.raises(ConfigError, match="history_weight"):
        SurfaceFile.read(Settings(surfaces=str(path)))
    by_words, with_user = (
        service.ask(query="red lamp", user_id=user, exclude_seen=False, k=12) for user in (None, "u1")
    )
    assert ids(by_words) != ids(with_user)
    surfaces = service.surfaces
    surface = surfaces.named(FEED)
    surfaces._surfaces[FEED] = replace(
        surface, reranking=None, exploration=NO_EXPLORATION, history_weight=0.0
    )
    same = service.ask(query="red lamp", user_id="u1", exclude_seen=False, k=12, surface=FEED)
    assert ids(same) == ids(by_words)


def test_consent_leaves_words_and_takes_the_user(service: Service) -> None:
    asked = {"query": "red lamp", "user_id": "u1", "history": ["i003"], "k": 12}
    for tier in ("none", "segment"):
        answer = service.ask(**asked, consent=tier)
        assert (answer["source"], answer["tier"]) == ("query", tier)
        assert ids(answer) == ids(service.ask(query="red lamp", k=12))
    service.endpoints.close()
    logged = json.dumps([repr(one.decision.asked) for one in service.rows()])
    assert "i003" not in logged
