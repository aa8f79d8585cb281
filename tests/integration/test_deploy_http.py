"""The counters of a running service: the alarms speak of it, and it has its place on the disk."""

import re
from collections import defaultdict
from collections.abc import Iterator

import pytest

from marquee.client import Client, RecommendRequest
from tests.support.alerts import RULES
from tests.support.bundles import publish_tiny
from tests.support.service_process import RunningService, running_service

pytestmark = pytest.mark.server

SELECTOR = re.compile(r"\b(marquee_\w+)(?:\{([^}]*)\})?")
SAMPLE = re.compile(r"(?m)^(marquee_\w+)(?:\{(.*)\})? ")
LABEL = re.compile(r'(\w+)="([^"]*)"')


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("alarms")
    bundle = publish_tiny(folder / "bundles").parent
    (folder / "drift.json").write_text('{"alarms": [], "columns": [], "broken": {}, "measures": []}')
    (folder / "experiments.yaml").write_text(
        "experiments: {order: {arms: {a: {weight: 0.5}, b: {weight: 0.5, k: 3}}}}"
    )
    kept = {
        "MARQUEE_EXPERIMENTS": str(folder / "experiments.yaml"),
        "MARQUEE_ITEMS": str(folder / "items"),
        "MARQUEE_EVENTS": str(folder / "events"),
        "MARQUEE_DRIFT": str(folder / "drift.json"),
    }
    with running_service(bundle, folder, MARQUEE_WORKERS="1", **kept) as running:
        yield running


def test_alarms_speak_of_what_the_service_counts(service: RunningService) -> None:
    with Client(service.url, deadline_s=10) as client:
        assert client.recommend(RecommendRequest(user_id="u1", k=100)).short_reason
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


def test_every_shared_file_has_its_place_on_the_disk(service: RunningService) -> None:
    files = list(service.log.parent.joinpath("bentoml").rglob("*.db"))
    assert len(files) >= 3
    assert [file.name for file in files if file.stat().st_blocks * 512 < file.stat().st_size] == []
