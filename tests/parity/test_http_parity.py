"""The last rung of parity: what comes over HTTP is what `Recommender` answers, number by number."""

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from marquee.bundle.popularity import ContextPopularity
from marquee.core.catalog import ItemKind
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Answer, HistoryEvent, Request
from tests.support.bundles import N_ITEMS, N_USERS, publish_tiny
from tests.support.service_process import RunningService, running_service

pytestmark = pytest.mark.server

N_REQUESTS = 80
NOW = int(time.time())  # years after anything in the tiny catalog opens or closes


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Without a table by the hour: the clock may strike between two answers.
    return publish_tiny(tmp_path_factory.mktemp("bundles"), context_popularity=ContextPopularity())


@pytest.fixture(scope="module")
def service(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    limits = {"MARQUEE_WORKERS": "1", "MARQUEE_DEADLINE_MS": "10000"}
    with running_service(bundle, tmp_path_factory.mktemp("service"), **limits) as running:
        yield running


def item(rng: random.Random) -> str:
    return f"i{rng.randint(1, N_ITEMS + 2):03d}"  # two more than there are


def history_entry(rng: random.Random) -> str | dict[str, Any]:
    kinds = ["click", "rating", "exposure", None]
    entry = {"item_id": item(rng), "kind": rng.choice(kinds), "value": rng.choice([None, 1, 4.5])}
    return rng.choice([entry["item_id"], entry])  # type: ignore[return-value]  # a str, as made above


def body(seed: int) -> dict[str, Any]:
    """Returns a random request; every field is there or not."""
    rng = random.Random(seed)
    fields = {
        "user_id": rng.choice([*(f"u{user}" for user in range(1, N_USERS + 1)), "nobody", None]),
        "history": [history_entry(rng) for _ in range(rng.randint(0, 7))],
        "features": rng.choice(
            [{}, {"age": rng.choice([20, 35.5, None]), "city": rng.choice(["oslo", "x"])}]
        ),
        "context": rng.choice([{}, {"device": rng.choice(["phone", "desk", "watch"])}]),
        "k": rng.choice([1, 5, 10, 40]),
        "kind": rng.choice([None, "content", "ad"]),
        "exclude": [item(rng) for _ in range(rng.randint(0, 5))],
        "exclude_seen": rng.random() < 0.7,
    }
    return {name: value for name, value in fields.items() if rng.random() < 0.7}


def event(entry: str | dict[str, Any]) -> HistoryEvent:
    if isinstance(entry, str):
        return HistoryEvent(entry)
    return HistoryEvent(entry["item_id"], entry["kind"] or "", entry["value"])


def request(fields: dict[str, Any]) -> Request:
    """Returns the same request in the library's words."""
    changed = {
        **fields,
        "history": tuple(event(entry) for entry in fields.get("history", ())),
        "kind": ItemKind(fields["kind"]) if fields.get("kind") else None,
    }
    return Request(timestamp=NOW, **changed)


def told(answer: Answer) -> dict[str, Any]:
    """Returns the JSON that HTTP must give for an answer, request_id aside."""
    always = {
        "version": answer.version,
        "source": answer.source.value,
        "items": [{"item_id": i.item_id, "score": i.score, "kind": i.kind.value} for i in answer.items],
        "requested": answer.requested,
        "returned": len(answer.items),
        "tier": "personal",
    }
    sometimes = {
        "short_reason": answer.short_reason,
        "fallback_reason": answer.fallback_reason,
        "unknown_user": answer.unknown_user,
        "unknown_history": answer.unknown_history,
        "ignored_features": list(answer.ignored_features),
    }
    return always | {name: value for name, value in sometimes.items() if value}


def without_id(answer: dict[str, Any]) -> dict[str, Any]:
    assert answer.pop("request_id")
    return answer


def test_http_answers_are_the_recommender_s(service: RunningService, bundle: Path) -> None:
    bodies = [body(seed) for seed in range(N_REQUESTS)]
    recommender = Recommender.load(bundle)
    expected = [told(recommender.recommend([request(fields)])[0]) for fields in bodies]
    assert {answer["source"] for answer in expected} == {"personal", "history", "features", "popular"}
    assert any("short_reason" in answer for answer in expected)
    one_by_one = [without_id(service.answer("/v1/recommend", fields)) for fields in bodies]
    assert one_by_one == expected
    with ThreadPoolExecutor(16) as pool:
        at_once = list(pool.map(lambda fields: service.answer("/v1/recommend", fields), bodies))
    assert [without_id(answer) for answer in at_once] == expected
    in_a_batch = service.answer("/v1/recommend/batch", {"requests": bodies})["answers"]
    assert [without_id(answer) for answer in in_a_batch] == expected


def test_http_similar_items_are_the_recommender_s(service: RunningService, bundle: Path) -> None:
    recommender = Recommender.load(bundle)
    for number in range(1, N_ITEMS + 1):
        item_id = f"i{number:03d}"
        expected = recommender.similar(item_id, k=6, kind=ItemKind.content, exclude=("i001",), timestamp=NOW)
        body = {"item_id": item_id, "k": 6, "kind": "content", "exclude": ["i001"]}
        assert without_id(service.answer("/v1/similar", body)) == told(expected)
