"""A real BentoML process over HTTP: what it answers, what it refuses, how it starts and how it ends."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from benchmarks.serving_schema import run_schemathesis
from demo.processes import free_port
from tests.support.bundles import N_ITEMS, publish_tiny
from tests.support.paths import ROOT
from tests.support.service_process import (
    RunningService,
    command,
    environment,
    raw_exchange,
    running_service,
    stop,
)

pytestmark = pytest.mark.server

MAX_BODY_BYTES = 200_000
BODY_TIMEOUT_MS = 1000
LIMITS = {
    "MARQUEE_WORKERS": "1",
    "MARQUEE_DEADLINE_MS": "10000",
    "MARQUEE_MAX_K": "100",
    "MARQUEE_MAX_BODY_BYTES": str(MAX_BODY_BYTES),
    "MARQUEE_BODY_TIMEOUT_MS": str(BODY_TIMEOUT_MS),
}
JSON_HEADERS = {"content-type": "application/json"}
POST_HEAD = b"POST /v1/recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_tiny(tmp_path_factory.mktemp("bundles")).parent


@pytest.fixture(scope="module")
def service(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with running_service(bundle, tmp_path_factory.mktemp("service"), **LIMITS) as running:
        yield running
        assert "Traceback" not in running.log.read_text(), "no request may make the service stumble"


def error_of(response: httpx.Response) -> dict[str, str]:
    """Returns the one error envelope."""
    assert response.headers["content-type"] == "application/json"
    body: dict[str, dict[str, str]] = response.json()
    assert set(body) == {"error"}
    assert body["error"]["request_id"] == response.headers["x-request-id"]
    return body["error"]


def item_ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


@pytest.mark.parametrize(
    ("body", "source"),
    [
        ({"user_id": "u1"}, "personal"),
        ({"user_id": "nobody", "history": ["i001"]}, "history"),
        ({"history": [{"item_id": "i001", "kind": "rating", "value": 5}, "i002"]}, "history"),
        ({"user_id": "nobody", "features": {"city": "oslo"}, "context": {"device": "phone"}}, "features"),
        ({"user_id": "nobody"}, "popular"),
        ({}, "popular"),
    ],
)
def test_answer_says_what_it_rests_on(service: RunningService, body: object, source: str) -> None:
    answer = service.answer("/v1/recommend", body)
    assert answer["source"] == source
    assert answer["returned"] == len(answer["items"]) == 10
    scores = [item["score"] for item in answer["items"]]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("kind", ["content", "ad"])
def test_only_items_of_the_wanted_kind_come_back(service: RunningService, kind: str) -> None:
    items = service.answer("/recommend", {"user_id": "u1", "kind": kind, "k": 3})["items"]
    assert [item["kind"] for item in items] == [kind] * 3


def test_excluded_and_seen_items_never_come_back(service: RunningService) -> None:
    body = {"history": ["i001", "i002"], "exclude": ["i003", "no such item"], "k": 100}
    answer = service.answer("/v1/recommend", body)
    assert not {"i001", "i002", "i003"} & set(item_ids(answer))
    seen_again = service.answer("/v1/recommend", {**body, "exclude_seen": False})
    assert {"i001", "i002"} <= set(item_ids(seen_again))


def test_fewer_items_than_wanted_come_with_a_reason(service: RunningService) -> None:
    answer = service.answer("/v1/recommend", {"user_id": "u1", "k": 100})
    assert answer["requested"] == 100
    assert answer["returned"] == len(answer["items"]) < N_ITEMS
    assert answer["short_reason"]


@pytest.mark.parametrize(("path", "question"), [("/v1/recommend", {}), ("/v1/similar", {"item_id": "i010"})])
def test_only_items_that_pass_the_filters_come_back(
    service: RunningService, path: str, question: dict[str, str]
) -> None:
    filters = {"tags": {"all_of": ["by 2", "by 5"], "none_of": ["by 7"]}, "year": {"max": 2010}}
    answer = service.answer(path, {**question, "k": 10, "filters": filters})
    assert sorted(item_ids(answer)) == (["i020"] if question else ["i010", "i020"])
    assert answer["unknown_filter_values"] == ["tags=by 7"]
    assert "of them do not pass the filters" in answer["short_reason"]


def test_filter_that_the_catalog_cannot_apply_fails_alone(service: RunningService) -> None:
    wrong = {"user_id": "u1", "filters": {"colour": {"any_of": ["red"]}}}
    error = error_of(service.client.post("/v1/recommend", json=wrong))
    assert (error["code"], error["field"]) == ("invalid_request", "filters.colour")
    assert error["message"].startswith(
        "filters.colour is no attribute of this catalog; use one of ['genre', "
    )
    answers = service.answer("/v1/recommend/batch", {"requests": [{"user_id": "u1"}, wrong]})["answers"]
    assert answers[0]["returned"] > 0
    assert answers[1]["error"]["field"] == "filters.colour"
    known = service.client.get("/v1/bundle").json()["filters"]
    assert known == {"genre": "text", "tags": "texts", "year": "number"}


def test_what_the_bundle_does_not_know_is_counted_and_named(service: RunningService) -> None:
    body = {"history": ["i001", "gone", "gone too"], "features": {"citty": "oslo"}}
    answer = service.answer("/v1/recommend", body)
    assert (answer["unknown_history"], answer["ignored_features"]) == (2, ["citty"])


def test_similar_items_are_found_and_unknown_ones_are_not(service: RunningService) -> None:
    answer = service.answer(
        "/v1/similar", {"item_id": "i003", "k": 3, "kind": "content", "exclude": ["i002"]}
    )
    assert answer["source"] == "similar"
    assert not {"i003", "i002"} & set(item_ids(answer))
    refused = service.post("/similar", {"item_id": "gone"})
    assert refused.status_code == 404
    assert "'gone'" in error_of(refused)["message"]


def test_batch_answers_each_request_as_if_it_came_alone(service: RunningService) -> None:
    bodies: list[object] = [{"user_id": "u1"}, {"k": 0}, {"history": ["i002"], "kind": "ad"}, None, {}]
    answers = service.answer("/v1/recommend/batch", {"requests": bodies})["answers"]
    assert [list(answer)[:1] == ["error"] for answer in answers] == [False, True, False, True, False]
    for position in (0, 2, 4):
        assert answers[position]["items"] == service.answer("/v1/recommend", bodies[position])["items"]


def test_bundle_tells_which_one_it_is(service: RunningService) -> None:
    facts = service.client.get("/v1/bundle").json()
    assert (facts["name"], facts["n_items"], facts["metrics"]) == ("tiny", N_ITEMS, {"ndcg@10": 0.25})
    assert facts["version"] == service.answer("/v1/recommend", {})["version"]


def test_health_and_pages_are_served(service: RunningService) -> None:
    for path in ("/livez", "/readyz", "/", "/docs.json", "/schema.json", "/static_content/swagger-ui.css"):
        assert service.client.get(path).status_code == 200, path


def test_concurrent_callers_get_their_own_answers(service: RunningService) -> None:
    bodies: list[object] = [{"user_id": f"u{i % 6 + 1}", "k": i % 7 + 1} for i in range(120)]
    alone = [service.answer("/v1/recommend", body)["items"] for body in bodies]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda body: service.answer("/v1/recommend", body)["items"], bodies))
    assert together == alone


@pytest.mark.parametrize(
    ("method", "path", "headers", "content", "status"),
    [
        ("POST", "/v1/recommend", JSON_HEADERS, b"{", 400),
        ("POST", "/v1/recommend", JSON_HEADERS, b"", 400),
        ("POST", "/v1/recommend", JSON_HEADERS, b'{"k": NaN}', 400),
        ("POST", "/v1/recommend", JSON_HEADERS, b'{"user_id": "\\ud800"}', 400),
        ("POST", "/v1/recommend", JSON_HEADERS, b'{"k": 0}', 422),
        ("POST", "/v1/recommend", JSON_HEADERS, b'{"k": 101}', 422),
        ("POST", "/v1/recommend", JSON_HEADERS, b'{"k": 18446744073709551617}', 422),
        ("POST", "/v1/recommend", JSON_HEADERS, b'{"k": "5"}', 422),
        ("POST", "/v1/recommend", JSON_HEADERS, b'{"features": {"age": 1e400}}', 422),
        ("POST", "/v1/recommend", JSON_HEADERS, b'{"timestamp": 1}', 422),
        ("POST", "/v1/recommend", JSON_HEADERS, b"[" * 10_000, 422),
        ("POST", "/v1/recommend/batch", JSON_HEADERS, b'{"requests": ' + b"[" * 10_000, 400),
        ("POST", "/v1/recommend?k=5", JSON_HEADERS, b"{}", 422),
        ("POST", "/v1/recommend", JSON_HEADERS, b" " * (MAX_BODY_BYTES + 1), 413),
        ("POST", "/v1/recommend", {"content-type": "text/plain"}, b"{}", 415),
        ("POST", "/v1/recommend", {"content-type": "multipart/form-data"}, b"{}", 415),
        ("POST", "/v1/recommend", {**JSON_HEADERS, "content-encoding": "gzip"}, b"\x1f\x8b", 415),
        ("GET", "/v1/recommend", {}, b"", 405),
        ("POST", "/readyz", JSON_HEADERS, b"{}", 405),
        ("GET", "/v1/nothing", {}, b"", 404),
        ("GET", "/static_content/../../etc/passwd", {}, b"", 404),
        ("GET", "/static_content/%2e%2e/%2e%2e/app.py", {}, b"", 404),
        ("POST", "/", JSON_HEADERS, b"{}", 405),
    ],
)
def test_wrong_request_is_refused_in_the_one_envelope(
    service: RunningService, method: str, path: str, headers: dict[str, str], content: bytes, status: int
) -> None:
    response = service.client.request(method, path, headers=headers, content=content)
    assert response.status_code == status, response.text
    assert error_of(response)["message"]


def test_request_id_of_the_caller_comes_back(service: RunningService) -> None:
    response = service.client.post("/v1/recommend", json={}, headers={"x-request-id": "trace-7"})
    assert response.headers["x-request-id"] == response.json()["request_id"] == "trace-7"


def test_large_body_is_refused_however_it_is_sent(service: RunningService) -> None:
    large = b" " * (MAX_BODY_BYTES + 1)
    chunked = (
        POST_HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n%b\r\n0\r\n\r\n" % (len(large), large)
    )
    asking = POST_HEAD + b"Expect: 100-continue\r\nContent-Length: 1000000000\r\n\r\n"
    endless = POST_HEAD + b"Content-Length: 1000000000\r\n\r\n" + large
    for data in (chunked, asking, endless):
        status, body = raw_exchange(service.url, data)
        assert (status, body["error"]["code"]) == (413, "body_too_large")


def test_slow_body_is_refused_in_time(service: RunningService) -> None:
    started = time.monotonic()
    status, body = raw_exchange(service.url, POST_HEAD + b"Content-Length: 100\r\n\r\n{")
    assert (status, body["error"]["code"]) == (408, "request_too_slow")
    assert BODY_TIMEOUT_MS / 1000 <= time.monotonic() - started < 5


def test_callers_that_leave_harm_nobody(service: RunningService) -> None:
    address = ("127.0.0.1", int(service.url.rpartition(":")[2]))
    for data in (b"", b"POST /v1/rec", POST_HEAD + b"Content-Length: 100\r\n\r\n{", b"\x16\x03\x01\x00"):
        for _ in range(20):
            with socket.create_connection(address) as connection:
                connection.sendall(data)
    assert service.answer("/v1/recommend", {"k": 1})["returned"] == 1


def test_unknown_paths_leave_no_trace_in_memory_and_metrics(service: RunningService) -> None:
    (worker,) = [
        child for child in psutil.Process(service.process.pid).children() if "worker" in str(child.cmdline())
    ]
    ask_for_unknown_paths(service, 500)
    service.client.get("/metrics")
    memory = worker.memory_info().rss
    lines = len(service.client.get("/metrics").text.splitlines())
    ask_for_unknown_paths(service, 5000)
    assert worker.memory_info().rss - memory < 4_000_000
    assert len(service.client.get("/metrics").text.splitlines()) == lines


def ask_for_unknown_paths(service: RunningService, n: int) -> None:
    """Asks for n paths that differ in method and name, many at once; every one must be answered."""
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        for first in range(0, n, 100):
            paths = [f"/unknown/{number}/{'x' * 100}" for number in range(first, first + 100)]
            connection.sendall(
                b"".join(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode() for path in paths)
            )
            received = b""
            while received.count(b"HTTP/1.1 ") < 100 or not received.endswith(b"}}"):
                received += connection.recv(1 << 20)
            assert received.count(b"HTTP/1.1 404 ") == 100


@pytest.mark.slow
def test_service_does_what_its_document_says(service: RunningService, tmp_path: Path) -> None:
    run = run_schemathesis(service.url, tmp_path, max_examples=40)
    assert run.is_faithful, run.output[-3000:]
    assert run.n_cases >= 300


def refusal_to_start(bundle: Path, folder: Path, **settings: str) -> str:
    """Starts a service that must refuse, and returns its output."""
    run = subprocess.run(
        command(free_port()),
        cwd=ROOT,
        env=environment(bundle, folder, **settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode != 0
    assert "Traceback" not in run.stdout + run.stderr
    return run.stdout + run.stderr


def test_damaged_bundle_refuses_to_start_by_the_file_s_name(bundle: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "bundles"
    shutil.copytree(bundle, damaged)
    (file,) = damaged.glob("*/item_vectors.npy")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert "item_vectors.npy" in refusal_to_start(damaged, tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"MARQUEE_BUNDLE": ""}, "one of MARQUEE_BUNDLE (the folder of a bundle) and MARQUEE_SURFACES"),
        ({"MARQUEE_WORKERS": "many"}, "MARQUEE_WORKERS must be an integer, got 'many'"),
    ],
    ids=["no bundle", "wrong setting"],
)
def test_wrong_settings_refuse_to_start(
    bundle: Path, tmp_path: Path, settings: dict[str, str], message: str
) -> None:
    assert message in refusal_to_start(bundle, tmp_path, **settings)


def test_two_workers_share_the_port_and_end_together(bundle: Path, tmp_path: Path) -> None:
    with running_service(bundle, tmp_path, MARQUEE_WORKERS="2") as running:
        assert running.answer("/v1/recommend", {"user_id": "u1"})["returned"] == 10
        family = psutil.Process(running.process.pid).children(recursive=True)
        workers = [child for child in family if "worker" in str(child.cmdline())]
        assert len(workers) == 2
        assert not [part.path for worker in workers for part in worker.memory_maps() if "torch" in part.path]
        stop(running.process)
    assert running.process.returncode in {0, -signal.SIGTERM}
    assert not psutil.wait_procs(family, timeout=5)[1]


def test_serving_process_loads_no_training_library() -> None:
    code = (
        "import sys, json; before = set(sys.modules); import serving.service;"
        "print(json.dumps(sorted(m.partition('.')[0] for m in set(sys.modules) - before)))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(json.loads(run.stdout))
    assert "marquee" in loaded
    assert not loaded & {
        "torch",
        "lightning",
        "hydra",
        "onnx",
        "tensorboard",
        "matplotlib",
        "sklearn",
        "training",
    }


def test_reranked_answer_says_so_and_unknown_attributes_are_refused(service: RunningService) -> None:
    body = {"user_id": "u1", "k": 6, "reranking": {"diversity": "dpp", "caps": {"genre": 3}}}
    answer = service.answer("/v1/recommend", body)
    assert answer["reranked"] == ["dpp", "caps"]
    genres = [int(item["item_id"][1:]) % 2 for item in answer["items"]]
    assert sorted(genres) == [0, 0, 0, 1, 1, 1]
    assert "reranked" not in service.answer("/v1/recommend", {"user_id": "u1"})
    refused = service.post("/v1/recommend", {"reranking": {"spacing": {"colour": 2}}})
    assert (refused.status_code, refused.json()["error"]["field"]) == (422, "reranking")
    parts = {"requests": [{"reranking": {"caps": {"colour": 1}}}, {"user_id": "u1"}]}
    first, second = service.answer("/v1/recommend/batch", parts)["answers"]
    assert first["error"]["field"] == "reranking"
    assert second["source"] == "personal"
