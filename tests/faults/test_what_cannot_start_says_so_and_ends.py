"""The process that can refuse the start makes a worker's checks; health pages answer at once.

Workers that hang are replaced, and workers end with the process that watches them.
"""

import fcntl
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import psutil
import pytest

from marquee.errors import ConfigError
from serving.config import Settings
from serving.settings import declarations
from tests.support.quiet_bentoml import bentoml, service
from tests.support.service_process import (
    RunningService,
    eventually,
    running_service,
    starting,
    workers_of,
)

pytestmark = pytest.mark.server

PATIENCE_S = 60.0


def test_setting_that_no_worker_could_use_stops_the_start(bundle: Path, tmp_path: Path) -> None:
    with starting(bundle, tmp_path, MARQUEE_TRACES="bogus") as (_, process):
        assert process.wait(PATIENCE_S) == 1
    log = (tmp_path / "service.log").read_text()
    assert "MARQUEE_TRACES must be console, file:<path> or otlp, got 'bogus'" in log
    assert "Traceback" not in log


INTEGERS = [name for name, each in declarations(Settings).items() if each.bounds.endswith("or more")]


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("text", ["9" * 13, "9" * 400, "9" * 5000, "1e3", " 7", "", "nan", "-1"])
def test_number_that_no_timer_or_limit_could_take_is_refused(name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f"MARQUEE_{name.upper()} must be"):
        Settings.from_environment({f"MARQUEE_{name.upper()}": text})


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of BentoML's own making
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"traces": "file:/nope/x"}, "MARQUEE_TRACES must name a file to write, got /nope/x"),
        ({"items": "/proc/x"}, "MARQUEE_ITEMS must name a folder that can be written, got /proc/x"),
        ({"keys": "/nope/x"}, "MARQUEE_KEYS must name a file of keys, got '/nope/x'"),
        ({"events": "mysql://x"}, "must be a folder or begin with postgresql://, got an address of 'mysql'"),
    ],
    ids=["traces", "items", "keys", "events"],
)
def test_what_a_worker_refuses_to_start_with_the_watching_process_refuses(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], message: str
) -> None:
    given: dict[str, Any] = {"bundle": str(bundle), **settings}
    monkeypatch.setattr(service, "SETTINGS", Settings(**given))
    with pytest.raises(bentoml.exceptions.BentoMLConfigException, match=message):
        cast(Any, service.MarqueeService).inner.verify_bundle()


def test_service_none_of_whose_workers_can_start_ends(bundle: Path, tmp_path: Path) -> None:
    home = tmp_path / "bundles"
    shutil.copytree(bundle, home / bundle.name)
    with (
        (home / bundle.name / "manifest.json").open("rb") as manifest,
        starting(home / bundle.name, tmp_path, MARQUEE_WORKERS="1") as (port, process),
    ):
        fcntl.flock(manifest, fcntl.LOCK_EX)  # one worker loads at a time: this one never comes to it
        # The bundle goes bad between the look of the watching process and that of its worker.
        assert eventually(lambda: is_listening(port))
        (home / bundle.name / "manifest.json").unlink()
        for worker in psutil.Process(process.pid).children():
            worker.kill()
        assert process.wait(PATIENCE_S) == 1
    assert "no worker could load its release" in (tmp_path / "service.log").read_text()


def test_health_pages_answer_while_the_bundle_loads(bundle: Path, tmp_path: Path) -> None:
    with (
        (bundle / "manifest.json").open("rb") as manifest,
        starting(bundle, tmp_path, MARQUEE_WORKERS="2") as (port, _),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):
        fcntl.flock(manifest, fcntl.LOCK_EX)  # one worker loads at a time: none comes to it

        def status(path: str) -> int:
            try:
                return client.get(path).status_code
            except httpx.TransportError:
                return 0

        assert eventually(lambda: status("/livez") == 200)
        assert status("/readyz") == 503
        loading = client.post("/v1/recommend", json={})
        assert (loading.status_code, loading.headers["connection"]) == (503, "close")
        assert 'marquee_heartbeat_seconds{thread="event loop"}' in client.get("/metrics").text
        fcntl.flock(manifest, fcntl.LOCK_UN)
        assert eventually(lambda: status("/readyz") == 200)


def is_listening(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def watched(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service of two workers that is about to be ill-treated."""
    settings = {"MARQUEE_WORKERS": "2", "MARQUEE_HANG_TIMEOUT_MS": "3000"}
    with running_service(bundle, tmp_path_factory.mktemp("watched"), **settings) as running:
        assert eventually(lambda: n_ready(running) == 2)
        yield running


def n_ready(running: RunningService) -> int:
    """Returns how many workers have taken their release so far, those that have ended included."""
    taken = [
        line
        for line in running.client.get("/metrics").text.splitlines()
        if line.startswith('marquee_release_changes_total{outcome="taken"')
    ]
    return int(sum(float(line.split()[-1]) for line in taken))


def pids(running: RunningService) -> set[int]:
    return {worker.pid for worker in workers_of(running)}


def test_worker_that_hangs_is_replaced(watched: RunningService) -> None:
    before = pids(watched)
    hung = min(before)
    os.kill(hung, signal.SIGSTOP)
    watched.client.close()  # its connection may lead to the one that hangs
    assert eventually(lambda: hung not in pids(watched) and len(pids(watched)) == 2)
    assert f"worker {hung} has not run its event loop for 3 s" in watched.log.read_text()


def test_hangup_replaces_all_workers_and_fails_no_request(watched: RunningService) -> None:
    before = pids(watched)
    watched.process.send_signal(signal.SIGHUP)
    codes = set()
    deadline = time.monotonic() + PATIENCE_S
    while pids(watched) & before or len(pids(watched)) != 2:
        assert time.monotonic() < deadline
        codes.add(httpx.post(f"{watched.url}/v1/recommend", json={}, trust_env=False).status_code)
    assert codes == {200}
    shared = watched.log.parent / "bentoml" / "prometheus_multiproc_dir"
    counters = list(shared.glob("counter_*.db"))
    assert len(counters) <= 4, "two live, one has just ended, and all that ended before share a file"


def test_workers_end_when_nobody_watches_them(watched: RunningService) -> None:
    workers = workers_of(watched)
    watched.process.kill()
    assert psutil.wait_procs(workers, timeout=PATIENCE_S)[1] == []
    with socket.socket() as again:  # the port is free for the next service
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", int(watched.url.rpartition(":")[2])))
