"""Limits count work, not requests: who sends expensive ones is charged for them and keeps nobody else out."""

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from benchmarks.serving_bundle import make_bundle
from tests.support.service_process import RunningService, running_service

pytestmark = pytest.mark.server

EXPENSIVE = {
    "k": 500,
    "exclude_seen": False,
    "reranking": {"diversity": "dpp", "n_candidates": 1000},
}
N_PLAIN = 60


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("busy")
    made = make_bundle(folder / "bundles", 2000, 32)
    keys = [
        {"name": name, "sha256": hashlib.sha256(name.encode()).hexdigest(), "scopes": ["recommend"], **rate}
        for name, rate in (("greedy", {}), ("modest", {}), ("rated", {"requests_per_s": 50, "burst": 50}))
    ]
    (folder / "keys.json").write_text(json.dumps({"keys": keys}))
    settings = {"MARQUEE_WORKERS": "1", "MARQUEE_KEYS": str(folder / "keys.json")}
    with running_service(made.folder, folder, **settings) as running:
        yield running


def ask(running: RunningService, key: str, path: str, body: object) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.post(f"{running.url}{path}", json=body, headers=headers, trust_env=False, timeout=30)


def test_expensive_requests_of_one_caller_shut_nobody_else_out(busy: RunningService) -> None:
    is_over = threading.Event()
    n_expensive = Counter[int]()

    def repeat() -> None:
        while not is_over.is_set():
            response = ask(busy, "greedy", "/v1/recommend/batch", {"requests": [EXPENSIVE] * 50})
            n_expensive[response.status_code] += 1

    callers = [threading.Thread(target=repeat) for _ in range(3)]
    for caller in callers:
        caller.start()
    try:
        codes = Counter(ask(busy, "modest", "/v1/recommend", {}).status_code for _ in range(N_PLAIN))
    finally:
        is_over.set()
        for caller in callers:
            caller.join()
    assert n_expensive[200] > 0
    assert codes[200] >= 0.95 * N_PLAIN, codes


def test_expensive_request_uses_up_more_of_a_rate_than_a_plain_one(busy: RunningService) -> None:
    assert [ask(busy, "rated", "/v1/recommend", {}).status_code for _ in range(3)] == [200] * 3
    assert ask(busy, "rated", "/v1/recommend", EXPENSIVE).status_code == 200
    refused = ask(busy, "rated", "/v1/recommend", {})
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_requests")
    assert int(refused.headers["retry-after"]) >= 1
