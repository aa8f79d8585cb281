"""Changes releases in every way while a real service answers, and checks every answer against its release.

    python -m benchmarks.release_changes            100,000 requests, about two minutes
    python -m benchmarks.release_changes --check    exit status 1 if one failed, or was mixed or wrong

Two workers, 16 connections that ask again at once. Meanwhile: releases are activated by route and by pointer,
taken back, tried on half of the users, shadowed, aborted, and damaged ones are published. Each answer's items
must be those that the release which it names gives to that request.
"""

import argparse
import asyncio
import hashlib
import json
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.serving import running
from benchmarks.serving_bundle import make_bundle
from marquee.bundle.releases import CURRENT, activate
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Request

N_REQUESTS = 100_000
N_ITEMS = 20_000
N_CONNECTIONS = 16
EF_SEARCH = 128
K = 10
PAUSE_S = 0.4
SECRET = "of this benchmark"
KEYS = {
    "keys": [
        {
            "name": "all",
            "sha256": hashlib.sha256(SECRET.encode()).hexdigest(),
            "scopes": ["recommend", "admin"],
        }
    ]
}
Expected = Mapping[str, Sequence[Sequence[str]]]
"""Version → number of the request → items of its answer."""


@dataclass
class Seen:
    """The replies that the callers got.

    Attributes:
        of_version: Right answers by the release that they name.
        failed: Replies that were none, first ones only.
        wrong: Answers whose items are not those of their release, first ones only.
        n_failed: How many there were.
        n_wrong: How many there were.
        latencies_ms: Of all replies.
    """

    of_version: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    n_failed: int = 0
    n_wrong: int = 0
    latencies_ms: list[float] = field(default_factory=list)

    @property
    def n(self) -> int:
        """How many requests were made."""
        return self.of_version.total() + self.n_failed + self.n_wrong

    def count(self, status: int, body: bytes, expected: Expected, number: int) -> None:
        """Counts one reply to the request of that number."""
        if status != 200:
            self.n_failed += 1
            self.failed.append(f"{status} {body[:200]!r}")
            return
        answer = json.loads(body)
        items = [item["item_id"] for item in answer["items"]]
        if items == expected[answer["version"]][number]:
            self.of_version[answer["version"]] += 1
        else:
            self.n_wrong += 1
            self.wrong.append(f"{answer['version']} gave {items}")


async def call(port: int, bodies: Sequence[bytes], expected: Expected, seen: Seen, n: int) -> None:
    """Asks over one connection, each request when the one before is answered, until n are made in all."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while seen.n < n:
        number = seen.n % len(bodies)
        started = time.perf_counter()
        try:
            writer.write(bodies[number])
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            body = await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            seen.n_failed += 1
            seen.failed.append(repr(error))
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            continue
        seen.latencies_ms.append((time.perf_counter() - started) * 1000)
        seen.count(int(head.split()[1]), body, expected, number)
    writer.close()


class Operator:
    """Changes releases, one way after the other, and remembers what came of it."""

    def __init__(self, port: int, first: Path, second: Path, damaged: Path) -> None:
        self._port = port
        self._first, self._second, self._damaged = first, second, damaged
        self.done: Counter[str] = Counter()
        self.ways: Sequence[Callable[[], None]] = (
            lambda: self._post("activate", self._second),
            lambda: self._post("canary", self._first, {"share": 0.5}),
            lambda: self._post("canary", self._first, {"share": 0.1}),
            lambda: self._post("activate", self._first),
            lambda: self._post("shadow", self._second, {"share": 0.5}),
            lambda: self._point("pointer to the second", self._second.name),
            lambda: self._point("pointer to a damaged release", self._damaged.name),
            lambda: self._point("pointer to nothing", "gone"),
            lambda: self._post("activate", self._damaged, expected=409),
            lambda: self._post("activate", self._first),
            lambda: self._post("canary", self._second, {"share": 0.5}),
            lambda: self._post("abort", self._second),
            lambda: self._post("activate", self._second),
            self._go_back,
            lambda: self._activate_as_publisher(self._second),
        )

    async def run(self, is_over: Callable[[], bool]) -> None:
        """Changes until it is over, in a thread: the callers go on."""
        number = 0
        while not is_over():
            await asyncio.to_thread(self.ways[number % len(self.ways)])
            await asyncio.sleep(PAUSE_S)
            number += 1

    def _post(self, action: str, release: Path | None, body: object = None, expected: int = 200) -> None:
        """Calls a route of the releases; raises RuntimeError if it answers with another status."""
        path = f"/v1/releases/{release.name}/{action}" if release else f"/v1/releases/{action}"
        headers = {"Authorization": f"Bearer {SECRET}", "Content-Type": "application/json"}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}{path}",
            data=b"" if body is None else json.dumps(body).encode(),
            headers=headers,
            method="POST",
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                status, text = reply.status, reply.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        if status != expected:
            raise RuntimeError(f"POST {path} gave {status}, expected {expected}: {text!r}")
        self.done[f"{action} by route" if expected == 200 else f"{action} by route, refused"] += 1

    def _go_back(self) -> None:
        """Goes back by route."""
        self._post("back", None)

    def _point(self, what: str, version: str) -> None:
        """Writes the pointer by hand, as no publisher of ours would."""
        aside = self._first.parent / ".by-hand"
        aside.write_text(f"{version}\n")
        aside.rename(self._first.parent / CURRENT)
        self.done[what] += 1

    def _activate_as_publisher(self, release: Path) -> None:
        """Activates as `training.publish` does."""
        activate(release)
        self.done["activate by command"] += 1


def http_request(body: Mapping[str, object]) -> bytes:
    """Returns the bytes of a request."""
    text = json.dumps(body).encode()
    head = (
        "POST /v1/recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {SECRET}\r\nContent-Length: {len(text)}\r\n\r\n"
    )
    return head.encode() + text


async def change_under_load(
    port: int, bodies: Sequence[bytes], expected: Expected, operator: Operator, n: int
) -> Seen:
    """Loads the service while the operator is at work, and returns the callers' answers."""
    seen = Seen()
    callers = [asyncio.ensure_future(call(port, bodies, expected, seen, n)) for _ in range(N_CONNECTIONS)]
    await operator.run(lambda: seen.n >= n or all(caller.done() for caller in callers))
    await asyncio.gather(*callers)
    return seen


def make_releases(folder: Path) -> tuple[Path, Path, Path, list[list[str]]]:
    """Returns two releases of one channel, a damaged third one, and histories to ask with."""
    first, second, third = (make_bundle(folder, N_ITEMS, EF_SEARCH, seed) for seed in range(3))
    vectors = bytearray((third.folder / "item_vectors.npy").read_bytes())
    vectors[-1] ^= 1
    (third.folder / "item_vectors.npy").chmod(0o644)  # files of a version are read-only
    (third.folder / "item_vectors.npy").write_bytes(vectors)
    activate(first.folder)
    return first.folder, second.folder, third.folder, first.histories


def answers(release: Path, histories: Sequence[Sequence[str]]) -> list[list[str]]:
    """Returns the items that a release gives to each history."""
    requests = [Request(timestamp=int(time.time()), k=K, history=tuple(history)) for history in histories]
    found = Recommender.load(release).recommend(requests)
    return [[item.item_id for item in answer.items] for answer in found]


def report(seen: Seen, operator: Operator, seconds: float) -> bool:
    """Prints what was seen; returns whether not one request failed and not one answer was wrong."""
    latencies = sorted(seen.latencies_ms)
    print(f"{seen.n:,} requests in {seconds:.0f} s, {operator.done.total()} changes:")
    for what, times in operator.done.items():
        print(f"  {times:>4} x {what}")
    for version, n in seen.of_version.items():
        print(f"{n:>9,} right answers of {version}")
    print(f"{seen.n_failed:>9,} failed (allowed: 0) {seen.failed[:3]}")
    print(f"{seen.n_wrong:>9,} mixed or wrong (allowed: 0) {seen.wrong[:3]}")
    print(
        f"latency ms: p50 {latencies[len(latencies) // 2]:.1f}, "
        f"p99 {latencies[len(latencies) * 99 // 100]:.1f}, largest {latencies[-1]:.1f}; "
        f"{seen.n / seconds:.0f} requests/s"
    )
    return not seen.n_failed and not seen.n_wrong and len(seen.of_version) == 2


def main() -> int:
    """Prints measured beside required; returns the exit status."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--requests", type=int, default=N_REQUESTS)
    parser.add_argument("--check", action="store_true", help="exit status 1 outside the tolerances")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first, second, damaged, histories = make_releases(folder / "bundles")
        expected = {release.name: answers(release, histories) for release in (first, second)}
        bodies = [http_request({"history": history, "k": K}) for history in histories]
        keys = folder / "keys.json"
        keys.write_text(json.dumps(KEYS))
        settings = {
            "MARQUEE_KEYS": str(keys),
            "MARQUEE_RELEASE_POLL_MS": "100",
            "MARQUEE_DEADLINE_MS": "30000",
        }
        with running("this service", first.parent, folder, **settings) as server:
            operator = Operator(server.port, first, second, damaged)
            started = time.perf_counter()
            seen = asyncio.run(change_under_load(server.port, bodies, expected, operator, options.requests))
            is_within = report(seen, operator, time.perf_counter() - started)
    return int(options.check and not is_within)


if __name__ == "__main__":
    sys.exit(main())
