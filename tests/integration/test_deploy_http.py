"""A service as it runs in a container: dead workers are replaced, and the alarms speak of what it counts."""

import os
import re
import signal
import time
from collections import defaultdict
from collections.abc import Iterator

import psutil
import pytest

from marquee.client import Client, RecommendRequest
from tests.bundles import publish_tiny
from tests.service_process import RunningService, running_service
from tests.unit.test_deploy import RULES

pytestmark = pytest.mark.server

SELECTOR = re.compile(r"\b(marquee_\w+)(?:\{([^}]*)\})?")
SAMPLE = re.compile(r"(?m)^(marquee_\w+)(?:\{(.*)\})? ")
LABEL = re.compile(r'(\w+)="([^"]*)"')


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("container")
    bundle = publish_tiny(folder / "bundles").parent
    with running_service(bundle, folder, MARQUEE_WORKERS="2", BENTOML_CONTAINERIZED="true") as running:
        yield running


def worker_ids(service: RunningService) -> set[int]:
    family = psutil.Process(service.process.pid).children(recursive=True)
    return {
        one.pid for one in family if one.status() != psutil.STATUS_ZOMBIE and "worker" in str(one.cmdline())
    }


def test_dead_worker_is_replaced_in_a_container(service: RunningService) -> None:
    before = worker_ids(service)
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    deadline = time.monotonic() + 40
    while len(worker_ids(service) - {victim}) < len(before):
        assert time.monotonic() < deadline, "the worker was not replaced"
        time.sleep(0.1)


def test_alarms_speak_of_what_the_service_counts(service: RunningService) -> None:
    with Client(service.url, deadline_s=10) as client:
        assert client.recommend(RecommendRequest(k=100)).short_reason
    labels: dict[str, set[str]] = defaultdict(set)
    for name, text in SAMPLE.findall(service.client.get("/metrics").text):
        labels[name] |= {label for label, _ in LABEL.findall(text)}
    named = [(name, text) for rule in RULES for name, text in SELECTOR.findall(rule["expr"])]
    assert len(named) > 8
    assert sorted({name for name, _ in named} - set(labels)) == []
    wrong = [
        (name, label) for name, text in named for label, _ in LABEL.findall(text) if label not in labels[name]
    ]
    assert wrong == []
