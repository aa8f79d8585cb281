"""Work in the background survives whatever it meets, ends in bounded time, and shows that it lives."""

import asyncio
import errno
import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from marquee.bundle.releases import activate
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Answer, Request
from marquee.errors import BundleBusyError, BundleError
from serving.api.app import RecommendationApp
from serving.api.recommend import Endpoints
from serving.api.releases import ReleaseRoutes
from serving.config import Settings
from serving.http.exchange import Receive, Scope, Send
from serving.http.guard import Guard, Key, Right
from serving.releases import following
from serving.releases.channel import Channel
from serving.releases.loading import Loader, LoadLimits
from serving.releases.metrics import CandidateMetrics
from serving.releases.shadow import Shadow
from serving.releases.surface_file import SurfaceFile
from serving.telemetry.background import Background, ThreadMetrics
from serving.telemetry.metrics import Metrics
from tests.support.asgi import JSON_HEADERS, Response, request
from tests.support.bundles import DIM, NOW, publish_tiny
from tests.support.counters import samples
from tests.support.service_process import running_service

WAIT_S = 20.0
FOR_EVER_MS = 600_000
SECRET = "a secret of an operator"
KEY = Key(name="operator", sha256=hashlib.sha256(SECRET.encode()).hexdigest(), scopes=[Right.admin])
AS_OPERATOR = {"authorization": f"Bearer {SECRET}"}


def eventually(is_so: Callable[[], bool]) -> bool:
    """Waits until something is so; False if it does not come to be."""
    deadline = time.monotonic() + WAIT_S
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.02)
    return is_so()


def test_turn_that_fails_ends_no_thread_and_shows_no_heartbeat() -> None:
    metrics = Metrics()
    outcomes = iter([PermissionError("refused"), RuntimeError("unforeseen"), None])

    def work() -> None:
        error = next(outcomes, None)
        if error is not None:
            raise error

    background = Background("look", work, 0.0, metrics.family(ThreadMetrics), clock=lambda: 100.0)
    assert [background.turn() for _ in range(3)] == [False, False, True]
    assert samples(metrics)["marquee_heartbeat_seconds", "look"] == 100
    assert samples(metrics)["marquee_thread_failures_total", "look"] == 2


def test_release_is_followed_after_its_folder_could_not_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, metrics = publish_tiny(tmp_path), Metrics()
    channel = Channel(first.parent, metrics)
    channel.load()
    with monkeypatch.context() as patched:

        def refused(_path: Path) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

        patched.setattr(following, "_stamp", refused)
        channel.watch(0.01)
        failures = ("marquee_thread_failures_total", "releases of tiny")
        assert eventually(lambda: samples(metrics).get(failures, 0) >= 2)
    second = publish_tiny(tmp_path, seed=1)
    assert eventually(lambda: channel.recommender is not None and channel.recommender.version == second.name)
    channel.close()


def endless_tower() -> bytes:
    """Returns a query tower that adds 0 to the user's vector, 2 ** 62 times."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["goes"]), helper.make_node("Identity", ["x"], ["y"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("goes", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
        ],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["n", "true", "user_vector"], ["query_embedding"], body=body)],
        "endless",
        [helper.make_tensor_value_info("user_vector", TensorProto.FLOAT, ["batch", DIM])],
        [helper.make_tensor_value_info("query_embedding", TensorProto.FLOAT, ["batch", DIM])],
        [numpy_helper.from_array(np.array(2**62), "n"), numpy_helper.from_array(np.array(True), "true")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


@pytest.fixture
def endless(tmp_path: Path) -> tuple[Path, Path]:
    """A release that answers, and one beside it whose model never comes to an end."""
    first = publish_tiny(tmp_path)
    second = publish_tiny(tmp_path, seed=1, query_tower=endless_tower())
    activate(first)
    return first, second


def test_release_that_never_answers_is_refused_in_time(endless: tuple[Path, Path]) -> None:
    first, second = endless
    channel = Channel(first.parent, loader=Loader(limits=LoadLimits(rehearsal_s=0.3)))
    channel.load()
    with pytest.raises(BundleError, match=r"did not answer its golden requests within 0\.3 s"):
        channel.activate(second.name)
    assert channel.recommender is not None
    assert channel.recommender.version == first.name
    is_ended = [thread for thread in threading.enumerate() if thread.name == "loading"]
    assert eventually(lambda: not any(thread.is_alive() for thread in is_ended)), "nothing computes on"


def test_list_and_end_wait_for_no_release_that_is_being_loaded(endless: tuple[Path, Path]) -> None:
    first, second = endless
    channel = Channel(first.parent, loader=Loader(limits=LoadLimits(rehearsal_s=600)))
    channel.load()
    errors: list[Exception] = []

    def activate_it() -> None:
        try:
            channel.activate(second.name)
        except BundleBusyError as error:
            errors.append(error)

    thread = threading.Thread(target=activate_it)
    thread.start()
    assert eventually(lambda: any(one.name == "loading" for one in threading.enumerate()))
    assert {one.version for one in channel.listed()} == {first.name, second.name}
    channel.close()
    thread.join(WAIT_S)
    assert not thread.is_alive()
    assert "the service is ending" in str(errors[0])


async def lifespan(_scope: Scope, receive: Receive, _send: Send) -> None:
    """Stands in for the application of BentoML, which lives until the server ends it."""
    await receive()


def activating(app: RecommendationApp, version: str) -> "asyncio.Task[Response]":
    """Begins to activate a release."""
    return asyncio.create_task(post(app, f"{version}/activate"))


async def post(app: RecommendationApp, path: str) -> Response:
    headers = {**JSON_HEADERS, **AS_OPERATOR}
    return await asyncio.wait_for(request(app, "POST", f"/v1/releases/{path}", b"", headers), WAIT_S)


@pytest.fixture
def rehearsing(endless: tuple[Path, Path]) -> RecommendationApp:
    """A service that rehearses for as long as a model likes."""
    settings = Settings(bundle=str(endless[0].parent), release_rehearsal_ms=FOR_EVER_MS)
    surfaces = SurfaceFile.read(settings).open(Metrics(), None)
    surfaces.load()
    return RecommendationApp(
        lifespan, Endpoints(settings, surfaces), settings, Guard([KEY]), (ReleaseRoutes(surfaces),)
    )


@pytest.fixture
def server_told() -> Iterator[list[int]]:
    """Stands in for the server's own handler of SIGTERM."""
    told: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: told.append(number))
    yield told
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("change", ["{first}/activate", "{second}/abort", "back"])
def test_change_beside_one_that_never_ends_is_refused_and_the_end_ends_both(
    rehearsing: RecommendationApp, endless: tuple[Path, Path], server_told: list[int], change: str
) -> None:
    first, second = endless

    async def play() -> tuple[Response, Response]:
        is_over = asyncio.Event()

        async def receive() -> dict[str, str]:
            await is_over.wait()
            return {"type": "lifespan.shutdown"}

        living = asyncio.create_task(rehearsing({"type": "lifespan"}, receive, never_sent))
        long = activating(rehearsing, second.name)
        await asyncio.sleep(0)  # the change begins
        other = await post(rehearsing, change.format(first=first.name, second=second.name))
        os.kill(os.getpid(), signal.SIGTERM)
        ended = await long  # before the server ends the lifespan: it waits for running calls first
        is_over.set()
        await living
        return other, ended

    other, ended = asyncio.run(play())
    for response, reason in ((other, "another change of tiny is at work"), (ended, "the service is ending")):
        assert (response.status, response.error["code"]) == (409, "release_busy")
        assert reason in response.error["message"]
    assert server_told == [signal.SIGTERM]


async def never_sent(message: object) -> None:
    raise AssertionError(f"the lifespan says nothing, got {message}")


def test_change_may_be_sent_again_once_the_other_has_ended(
    rehearsing: RecommendationApp, endless: tuple[Path, Path]
) -> None:
    first, _ = endless

    async def play() -> list[int]:
        return [(await post(rehearsing, f"{first.name}/activate")).status for _ in range(2)]

    assert asyncio.run(play()) == [200, 200]


@pytest.mark.server
def test_service_that_rehearses_for_ever_ends_when_it_is_told(
    endless: tuple[Path, Path], tmp_path: Path
) -> None:
    first, second = endless
    keys = tmp_path / "keys.json"
    keys.write_bytes(msgspec.json.encode({"keys": [KEY]}))
    settings = {
        "MARQUEE_WORKERS": "1",
        "MARQUEE_RELEASE_REHEARSAL_MS": str(FOR_EVER_MS),
        "MARQUEE_KEYS": str(keys),
    }
    with running_service(first.parent, tmp_path, **settings) as running:
        outcomes: list[httpx.Response] = []

        def activate_it() -> None:
            path = f"{running.url}/v1/releases/{second.name}/activate"
            outcomes.append(httpx.post(path, headers=AS_OPERATOR, timeout=WAIT_S, trust_env=False))

        thread = threading.Thread(target=activate_it)
        thread.start()
        assert eventually(lambda: "was asked for" in running.log.read_text())
        other = running.client.post("/v1/releases/back", headers=AS_OPERATOR)
        assert other.json()["error"]["code"] == "release_busy"
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(WAIT_S) in {0, -signal.SIGTERM}
        thread.join(WAIT_S)
    assert "the service is ending" in outcomes[0].json()["error"]["message"]


class Odd(Recommender):
    """Answers with something that is no answer."""

    def recommend(self, *_: object) -> list[Answer]:
        return [None]  # type: ignore[list-item]  # on purpose


def test_shadow_survives_what_no_candidate_should_do(tmp_path: Path) -> None:
    metrics = Metrics()
    shadow = Shadow(metrics.family(CandidateMetrics), metrics.family(ThreadMetrics), sleep=lambda _: None)
    bundle = Recommender.load(publish_tiny(tmp_path)).bundle
    good, odd, request = Recommender(bundle), Odd(bundle), Request(timestamp=NOW, user_id="u1", k=3)
    (answer,) = good.recommend([request])
    shadow.offer(odd, request, answer)
    shadow.offer(good, request, answer)
    compared = ("marquee_shadow_requests_total", "compared")
    assert eventually(lambda: samples(metrics)[compared] == 1)
    assert samples(metrics)["marquee_shadow_requests_total", "failed"] == 1
    assert samples(metrics)["marquee_heartbeat_seconds", "shadow"] > 0
    shadow.close()
