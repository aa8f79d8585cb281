"""A real `bentoml serve` process on a free loopback port, and the shortest way to ask it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from demo.processes import free_port
from tests.support.paths import ROOT

START_S = 60
STOP_S = 20


@dataclass(frozen=True)
class RunningService:
    """A service that answers at `url`.

    Attributes:
        client: Keeps its connections.
        process: The process that watches the workers.
        log: What they print.
    """

    url: str
    client: httpx.Client
    process: subprocess.Popen[bytes]
    log: Path

    def post(self, path: str, body: object) -> httpx.Response:
        return self.client.post(path, json=body)

    def answer(self, path: str, body: object) -> Any:
        response = self.post(path, body)
        assert response.status_code == 200, response.text
        return response.json()


def environment(bundle: Path, home: Path, **settings: str) -> dict[str, str]:
    """Returns the environment of a service: ours without our settings, telling nobody anything."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MARQUEE_")}
    own = {"MARQUEE_BUNDLE": str(bundle), "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "true"}
    return {**inherited, **own, **settings}


def command(port: int) -> list[str]:
    service = ["bentoml", "serve", "serving.service:MarqueeService"]
    return [sys.executable, "-m", *service, "--host", "127.0.0.1", "--port", str(port)]


@contextmanager
def running_service(bundle: Path, folder: Path, **settings: str) -> Iterator[RunningService]:
    """Runs a service until the block ends; `folder` receives its log and its BentoML home."""
    port = free_port()
    log = folder / "service.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command(port),
            cwd=ROOT,
            env=environment(bundle, folder / "bentoml", **settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        with httpx.Client(base_url=url, timeout=10, trust_env=False) as client:
            wait_until_ready(client, process, log)
            yield RunningService(url, client, process, log)
    finally:
        stop(process)


def wait_until_ready(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the service ended with {process.returncode}:\n{log.read_text()}"
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"the service was not ready within {START_S} s:\n{log.read_text()}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a service by its process id; kills it if it does not end by itself."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def eventually(holds: Callable[[], bool]) -> bool:
    """Returns whether a condition comes to hold in time."""
    deadline = time.monotonic() + START_S
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


@contextmanager
def starting(bundle: Path, folder: Path, **settings: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Starts a service without waiting for it; gives its port and the watching process."""
    port = free_port()
    with (folder / "service.log").open("wb") as output:
        process = subprocess.Popen(
            command(port),
            cwd=ROOT,
            env=environment(bundle, folder / "bentoml", **settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield port, process
    finally:
        stop(process)


def workers_of(running: RunningService) -> list[psutil.Process]:
    """Returns the processes that answer."""
    workers = []
    for child in psutil.Process(running.process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # a zombie is no worker either
            if "_bentoml_impl.worker" in str(child.cmdline()):
                workers.append(child)
    return workers


def raw_exchange(url: str, data: bytes, timeout_s: float = 10) -> tuple[int, Mapping[str, Any]]:
    """Sends bytes as they are and returns status and JSON of what comes back before the connection ends."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=timeout_s) as connection:
        connection.sendall(data)
        received = b""
        while b"\r\n\r\n" not in received or len(received.partition(b"\r\n\r\n")[2]) < _length(received):
            part = connection.recv(65536)
            if not part:
                break
            received += part
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def _length(received: bytes) -> int:
    """Returns the content length that a reply states."""
    head = received.partition(b"\r\n\r\n")[0].lower()
    return int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
