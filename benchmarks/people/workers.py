"""Rules and consent put on one worker of a real service, and the next answer of the other."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from socket import socket
from typing import Any

from benchmarks.rows import Measured, Row
from marquee.store.people.consent import Tier
from tests.support.bundles import publish_tiny
from tests.support.people import AUTHORIZATION, service_settings
from tests.support.service_process import RunningService, running_service, workers_of

N_WORKERS, N_PUTS = 2, 300
MOST_CONNECTIONS = 64
EXPERIMENTS = "experiments: {sizes: {arms: {plain: {weight: 0.5}, varied: {weight: 0.5}}}}"


def rows(_root: Path) -> Iterator[Row]:
    """Yields the rows."""
    yield Row(
        "rules and consent put on one worker, answered by the other",
        "PRAGMA data_version, microseconds",
        f"the next answer, {N_PUTS} of {N_PUTS} each; no arm below personal",
        measure_next_answers,
    )


@dataclass(frozen=True)
class Connection:
    """A connection that one worker holds.

    Attributes:
        worker: Its process.
        http: The connection.
        socket: What it began with: another one could lead to another worker.
    """

    worker: int
    http: HTTPConnection
    socket: socket

    def send(self, method: str, path: str, body: object, version: int = 0) -> Any:  # noqa: ANN401  # JSON
        """Returns the answer to a request that must succeed."""
        headers = {**AUTHORIZATION, "content-type": "application/json", "if-match": f'"{version}"'}
        self.http.request(method, path, json.dumps(body), headers)
        reply = self.http.getresponse()
        text = reply.read()
        assert reply.status == 200, text
        assert self.http.sock is self.socket, "the worker must keep the connection, got another one"
        return json.loads(text)

    def answer(self) -> Any:  # noqa: ANN401  # JSON
        """Returns an answer for the one user."""
        return self.send("POST", "/v1/recommend", {"user_id": "u1", "k": 5})


def measure_next_answers() -> Measured:
    """Counts answers of a worker that keep to what was put on the other a moment before."""
    n_consents = n_rules = n_in_arms = n_above = 0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "experiments.yaml").write_text(EXPERIMENTS)
        settings = service_settings(folder) | {
            "MARQUEE_WORKERS": str(N_WORKERS),
            "MARQUEE_EXPERIMENTS": str(folder / "experiments.yaml"),
        }
        bundle = publish_tiny(folder / "bundles")
        service = stack.enter_context(running_service(bundle, folder, **settings))
        one, other = connections(service, stack)
        for number in range(N_PUTS):
            # Both read the user and the rules before: what they remember must not be believed.
            writer, reader = (one, other) if number % 2 else (other, one)
            before = reader.answer()
            tier = list(Tier)[number % 3]
            writer.send("PUT", "/v1/users/u1/consent", {"tier": tier})
            answer = reader.answer()
            n_consents += answer["tier"] == tier
            n_in_arms += "experiments" in answer
            n_above += "experiments" in answer and tier is not Tier.personal
            shown = [item["item_id"] for item in before["items"]]
            blocked = shown[number % len(shown)]
            rule = {"id": f"r{number}", "block": {"items": [blocked]}}
            writer.send("PUT", "/v1/rules", {"rules": [rule]}, number)
            items = [item["item_id"] for item in reader.answer()["items"]]
            n_rules += blocked not in items and len(items) == len(shown)
    return Measured(
        f"consent {n_consents}, rules {n_rules} of {N_PUTS}, processes {one.worker} and {other.worker}; "
        f"{n_in_arms} in an arm, {n_above} of them below personal",
        n_consents == n_rules == N_PUTS and n_in_arms > 0 and n_above == 0,
    )


def connections(service: RunningService, stack: ExitStack) -> list[Connection]:
    """Returns a connection to each worker; the workers share out what comes, so some are tried."""
    found: dict[int, Connection] = {}
    workers = workers_of(service)
    host, _, port = service.url.removeprefix("http://").partition(":")
    for _ in range(MOST_CONNECTIONS):
        http = stack.enter_context(closing(HTTPConnection(host, int(port), timeout=10)))
        # The reply to a request says that a worker has it, and not the queue of the system.
        http.request("GET", "/livez")
        http.getresponse().read()
        ours = http.sock.getsockname()[1]
        for worker in workers:
            held = worker.net_connections("tcp")
            if any(each.raddr and each.raddr.port == ours for each in held):
                found.setdefault(worker.pid, Connection(worker.pid, http, http.sock))
        if len(found) == N_WORKERS:
            return list(found.values())
    raise AssertionError(f"{N_WORKERS} workers must take connections, got {len(found)}")
