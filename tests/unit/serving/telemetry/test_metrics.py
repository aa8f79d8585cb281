"""Counters: what they count, that no caller can multiply them, that dead workers leave no gauge."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from marquee.bundle.bundle import Bundle
from marquee.core.catalog import ItemKind
from marquee.decision.requests import Answer, Recommendation, Source
from serving.api.metrics import AnswerMetrics
from serving.http.metrics import OTHER, TrafficMetrics
from serving.releases.metrics import ItemMetrics, ReleaseMetrics
from serving.telemetry import metrics
from serving.telemetry.metrics import FOLDER_VARIABLE, MAX_RELEASES, Metrics
from tests.support.bundles import CREATED, publish_tiny

DEAD_PID = 2**22 + 1  # beyond the largest that Linux gives


def samples(counted: Metrics) -> dict[tuple[str, ...], float]:
    """Returns every sample by its name and its labels' values."""
    families = text_string_to_metric_families(counted.exposition().decode())
    return {(s.name, *sorted(s.labels.values())): s.value for family in families for s in family.samples}


def answer(source: Source, *, short: str | None = None, unknown: int = 0) -> Answer:
    items = (Recommendation("i", 1.0, ItemKind.content),)
    return Answer(
        items=items, source=source, version="7", requested=1, short_reason=short, unknown_history=unknown
    )


def test_replies_are_counted_by_route_and_status() -> None:
    counted = Metrics()
    traffic = counted.family(TrafficMetrics)
    for status in (200, 200, 503):
        traffic.count_reply("/v1/recommend", status, 0.003)
    found = samples(counted)
    assert found["marquee_requests_total", "/v1/recommend", "200"] == 2
    assert found["marquee_requests_total", "/v1/recommend", "503"] == 1
    assert found["marquee_request_seconds_count", "/v1/recommend"] == 3
    assert found["marquee_request_seconds_bucket", "/v1/recommend", "0.002"] == 0
    assert found["marquee_request_seconds_bucket", "/v1/recommend", "0.004"] == 3


def test_answers_are_counted_by_what_they_rest_on() -> None:
    counted = Metrics()
    answers = [
        answer(Source.personal),
        answer(Source.popular, short="few"),
        answer(Source.popular, unknown=3),
    ]
    for given, told in zip((False, True, True), answers, strict=True):
        counted.family(AnswerMetrics).count_answer(told, n_history=4, gave_something=given, surface="home")
    found = samples(counted)
    assert found["marquee_answers_total", "7", "home", "popular"] == 2
    assert found["marquee_answers_total", "7", "home", "personal"] == 1
    assert found["marquee_short_answers_total", "home"] == 1
    assert found["marquee_fallback_answers_total", "home"] == 2
    assert found["marquee_history_total",] == 12
    assert found["marquee_unknown_history_total",] == 3


def test_batches_are_counted_with_what_each_stage_took() -> None:
    counted = Metrics()
    answers = counted.family(AnswerMetrics)
    answers.count_batch(3, 0.02, {"encode": 0.001, "retrieve": 0.019})
    answers.count_waiting(0.0002, 0.3)
    found = samples(counted)
    assert (found["marquee_batch_size_sum",], found["marquee_model_seconds_sum",]) == (3, 0.02)
    assert found["marquee_stage_seconds_sum", "retrieve"] == 0.019
    assert found["marquee_stage_seconds_sum", "queue"] == 0.3
    assert found["marquee_stage_seconds_bucket", "0.0005", "read"] == 1
    assert found["marquee_stage_seconds_count", "rerank"] == 0


def test_connections_that_were_ended_are_counted_by_reason() -> None:
    counted = Metrics()
    traffic = counted.family(TrafficMetrics)
    traffic.count_end("too_many", 503)
    traffic.count_end("idle", 0)
    found = samples(counted)
    assert found["marquee_connections_ended_total", "too_many"] == 1
    assert found["marquee_connections_ended_total", "idle"] == 1
    assert found["marquee_requests_total", "503", OTHER] == 1


def test_only_the_latest_releases_are_told_apart() -> None:
    counted = Metrics()
    for number in range(MAX_RELEASES + 5):
        counted.family(ReleaseMetrics).show_ready([str(number)], CREATED + 1000 * number)
        told = replace(answer(Source.personal), version=str(number))
        counted.family(AnswerMetrics).count_answer(told, 0, gave_something=True, surface="home")
    releases = {key[1] for key in samples(counted) if key[0] == "marquee_answers_total"}
    assert releases == {str(number) for number in range(5, MAX_RELEASES + 5)}


def test_releases_that_are_ready_are_all_told_apart() -> None:
    """Also where there are more channels than releases that are told apart after their time."""
    counted = Metrics()
    names = [f"channel-{number}" for number in range(MAX_RELEASES + 5)]
    counted.family(ReleaseMetrics).show_ready(names, CREATED)
    for name in names:
        told = replace(answer(Source.personal), version=name)
        counted.family(AnswerMetrics).count_answer(told, 0, gave_something=True, surface="home")
    assert {key[1] for key in samples(counted) if key[0] == "marquee_answers_total"} == set(names)


def test_releases_are_counted_and_their_age_is_told(tmp_path: Path) -> None:
    counted = Metrics()
    releases, items = counted.family(ReleaseMetrics), counted.family(ItemMetrics)
    releases.count_taken(Bundle.load(publish_tiny(tmp_path)).manifest, CREATED + 9)
    releases.count_refused(is_final=True)
    releases.count_refused(is_final=False)
    found = samples(counted)
    assert found["marquee_release_changes_total", "taken"] == 1
    assert found["marquee_release_changes_total", "refused"] == 1
    assert found["marquee_release_changes_total", "postponed"] == 1
    assert found["marquee_release_created_seconds",] == CREATED
    items.show_index_change(CREATED + 5)
    assert samples(counted)["marquee_index_changed_seconds",] == CREATED + 5


COUNT = """
import os
from serving.http.metrics import TrafficMetrics
from serving.telemetry.metrics import Metrics
counted = Metrics()
counted.family(TrafficMetrics).count_reply("/v1/recommend", 200, 0.001)
print(counted.exposition().decode())
"""


def test_counters_of_all_workers_add_up(tmp_path: Path) -> None:
    environment = {**os.environ, FOLDER_VARIABLE: str(tmp_path)}
    for n_workers in (1, 2):
        run = subprocess.run(
            [sys.executable, "-c", COUNT], env=environment, capture_output=True, text=True, check=True
        )
        expected = f'marquee_requests_total{{route="/v1/recommend",status="200"}} {n_workers}.0'
        assert expected in run.stdout.splitlines()


def test_gauges_of_dead_workers_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    for pid in (DEAD_PID, os.getpid()):
        (tmp_path / f"gauge_livemin_{pid}.db").touch()
    metrics.forget_dead_workers()
    assert [file.name for file in tmp_path.glob("*.db")] == [f"gauge_livemin_{os.getpid()}.db"]
