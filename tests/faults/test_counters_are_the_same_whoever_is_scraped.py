"""A scrape shows the same series whichever worker answers it, and counts what failed inside a batch call."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from serving.api.messages.reading import reader
from serving.api.messages.requests import BatchRequest
from serving.api.recommend import Endpoints
from serving.config import Settings
from serving.http.exchange import Call
from serving.releases.surface_file import SurfaceFile
from serving.telemetry.metrics import FOLDER_VARIABLE, Metrics
from tests.support.bundles import CREATED, publish_tiny

ANSWERS = """
import sys
from marquee.decision.requests import Answer, Source
from serving.api.metrics import AnswerMetrics
from serving.releases.metrics import ReleaseMetrics
from serving.telemetry.metrics import Metrics

ready, now = sys.argv[1].split(","), float(sys.argv[2])
counted = Metrics()
counted.family(ReleaseMetrics).show_ready(ready, now)
answer = Answer(items=(), source=Source.popular, version=ready[-1], requested=0)
counted.family(AnswerMetrics).count_answer(answer, 0, gave_something=False, surface="home")
"""
SCRAPE = "from serving.telemetry.metrics import Metrics; print(Metrics().exposition().decode())"


def in_a_worker(folder: Path, code: str, *words: str) -> list[str]:
    """Runs code in a process of its own, as a worker of the service that `folder` belongs to."""
    ran = subprocess.run(
        [sys.executable, "-c", code, *words],
        env={**os.environ, FOLDER_VARIABLE: str(folder)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return ran.stdout.splitlines()


def test_worker_that_never_met_a_release_shows_what_others_counted_of_it(tmp_path: Path) -> None:
    in_a_worker(tmp_path, ANSWERS, "v1,v2", str(CREATED))  # has died by the time of the scrape
    lines = in_a_worker(tmp_path, SCRAPE)
    assert 'marquee_answers_total{release="v2",source="popular",surface="home"} 1.0' in lines


@pytest.fixture
def served(tmp_path: Path) -> "ServedOnce":
    return ServedOnce(tmp_path)


class ServedOnce:
    """One surface with a tiny release, asked without a server."""

    def __init__(self, tmp_path: Path) -> None:
        self.metrics = Metrics()
        self.settings = Settings(bundle=str(publish_tiny(tmp_path).parent))
        self.surfaces = SurfaceFile.read(self.settings).open(self.metrics, None)
        self.surfaces.load()

    def batch(self, body: dict[str, object], deadline_s: float) -> list[dict[str, object]]:
        """Returns the parts of the answer to a batch call."""
        endpoints = Endpoints(self.settings, self.surfaces, metrics=self.metrics)
        message = reader(BatchRequest)(json.dumps(body).encode())
        answer = asyncio.run(endpoints.recommend_batch(Call("id", 0.0, deadline_s=deadline_s), message))
        endpoints.close()
        parts: list[dict[str, object]] = json.loads(msgspec.json.encode(answer))["answers"]
        return parts


def test_parts_of_a_batch_call_are_counted_by_outcome(served: ServedOnce) -> None:
    parts = served.batch({"requests": [{"k": 1}, {"k": 0}, {"nonsense": 1}]}, deadline_s=5.0)
    assert ["error" in part for part in parts] == [False, True, True]
    text = served.metrics.exposition().decode()
    assert 'marquee_batch_parts_total{outcome="answered"} 1.0' in text
    assert 'marquee_batch_parts_total{outcome="invalid_request"} 2.0' in text


def test_part_that_is_too_late_is_counted_as_unavailable(served: ServedOnce) -> None:
    assert all("error" in part for part in served.batch({"requests": [{"k": 1}] * 3}, deadline_s=1e-9))
    assert 'marquee_batch_parts_total{outcome="unavailable"} 3.0' in served.metrics.exposition().decode()
