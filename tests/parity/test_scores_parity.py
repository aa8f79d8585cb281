"""Scores that lie in files are what the service answers over HTTP with the same bundle, for 1,000 users."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from marquee.bundle.popularity import ContextPopularity
from marquee.bundle.publishing import publish
from tests.support.bundles import make_tiny
from tests.support.mini_shop import run
from tests.support.service_process import RunningService, running_service
from training.score.__main__ import main

pytestmark = pytest.mark.server

N_USERS = 1000
PER_CALL = 100
SURFACES: dict[str, dict[str, object]] = {
    "plain": {},
    "shelf": {
        "defaults": {"k": 6, "exclude_seen": False},
        "filters": {"genre": {"any_of": ["drama"]}},
        "reranking": {"diversity": "mmr", "caps": {"year": 1}, "n_candidates": 15},
    },
    "short": {"kind": "ad", "defaults": {"k": 9}, "filters": {"genre": {"any_of": ["comedy"]}}},
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Without a table by the hour: the clock may strike between two answers.
    contents = replace(make_tiny(n_users=N_USERS).contents, context_popularity=ContextPopularity())
    return publish(contents, tmp_path_factory.mktemp("bundles"), "tiny", created=1_700_000_000)


@pytest.fixture(scope="module")
def surfaces(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("surfaces") / "surfaces.yaml"
    declared = {name: {"bundle": str(bundle), **fields} for name, fields in SURFACES.items()}
    path.write_text(yaml.safe_dump({"surfaces": declared}), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def service(surfaces: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    limits = {"MARQUEE_WORKERS": "1", "MARQUEE_DEADLINE_MS": "10000", "MARQUEE_SURFACES": str(surfaces)}
    with running_service(Path(), tmp_path_factory.mktemp("service"), MARQUEE_BUNDLE="", **limits) as running:
        yield running


def told(row: dict[str, Any]) -> dict[str, Any]:
    """Returns the part of an answer over HTTP that a row of scores holds."""
    items = [{"item_id": id_, "score": score} for id_, score in zip(row["items"], row["scores"], strict=True)]
    said = {"source": row["source"], "version": row["version"], "items": items}
    return said | ({"short_reason": row["short_reason"]} if row["short_reason"] else {})


def shortened(answer: dict[str, Any]) -> dict[str, Any]:
    said = {name: answer[name] for name in ("source", "version", "short_reason") if name in answer}
    return said | {"items": [{name: item[name] for name in ("item_id", "score")} for item in answer["items"]]}


@pytest.mark.parametrize("surface", SURFACES)
def test_scores_are_the_answers_over_http(
    service: RunningService,
    bundle: Path,
    surfaces: Path,
    surface: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = [f"bundle={bundle}", f"to={tmp_path / 'scores'}", f"surfaces={surfaces}", f"surface={surface}"]

    assert run(monkeypatch, main, *given, "buckets=3", "cluster.processes=1") == 0

    rows = pl.read_parquet(tmp_path / "scores" / "parts" / "*.parquet").rows(named=True)
    assert {row["user_id"] for row in rows} == {f"u{number}" for number in range(1, N_USERS + 1)}
    for first in range(0, N_USERS, PER_CALL):
        some = rows[first : first + PER_CALL]
        asked = [{"user_id": row["user_id"], "surface": surface} for row in some]
        answers = service.answer("/v1/recommend/batch", {"requests": asked})["answers"]
        assert [shortened(answer) for answer in answers] == [told(row) for row in some]
    assert any(row["short_reason"] for row in rows) == (surface == "short")
