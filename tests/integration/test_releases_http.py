"""Releases of a real service with two workers: changed under load, refused when bad, guarded by keys."""

import hashlib
import json
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from marquee.bundle.releases import activate
from tests.support.bundles import DIM, N_USERS, publish_tiny
from tests.support.service_process import RunningService, running_service

pytestmark = pytest.mark.server

N_CALLERS = 4
N_CHANGES = 10
ADMIN = {"authorization": "Bearer admin-secret"}
SHOP = {"authorization": "Bearer shop-secret"}
BODY = {"user_id": "u1", "k": 5, "kind": "content"}


@dataclass(frozen=True)
class Served:
    """A service, and the folder of its releases."""

    running: RunningService
    first: Path
    second: Path


def keys_file(folder: Path) -> Path:
    entries = [
        {"name": name, "sha256": hashlib.sha256(f"{name}-secret".encode()).hexdigest(), "scopes": scopes}
        for name, scopes in [("shop", ["recommend"]), ("admin", ["admin", "metrics"])]
    ]
    file = folder / "keys.json"
    file.write_text(json.dumps({"keys": entries}))
    return file


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("releases")
    first, second = publish_tiny(folder / "bundles"), publish_tiny(folder / "bundles", seed=1)
    activate(first)
    settings = {
        "MARQUEE_WORKERS": "2",
        "MARQUEE_KEYS": str(keys_file(folder)),
        "MARQUEE_RELEASE_POLL_MS": "50",
        "MARQUEE_DEADLINE_MS": "10000",
        "MARQUEE_DRAIN_FILE": str(folder / "drain"),
    }
    with running_service(first.parent, folder, **settings) as running:
        yield Served(running, first, second)
        assert "secret" not in running.log.read_text(), "no key may reach the log"


def change(served: Served, release: Path, action: str = "activate", body: object = None) -> httpx.Response:
    path = f"/v1/releases/{release.name}/{action}"
    return served.running.client.post(path, headers=ADMIN, json=body)


def metric(served: Served, name: str) -> float:
    text = served.running.client.get("/metrics", headers=ADMIN).text
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))


def put(path: Path, content: bytes) -> None:
    """Writes a file at once, as publishing does: a worker that met it half written would refuse it twice."""
    beside = path.parents[1] / f"{path.name}.new"
    beside.write_bytes(content)
    beside.replace(path)


def wait_until(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


@dataclass
class Load:
    """Callers that ask until they are told to stop, and check every answer against the release it names."""

    url: str
    expected: dict[str, list[dict[str, Any]]]
    seen: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    ending: threading.Event = field(default_factory=threading.Event)

    def ask(self) -> None:
        with httpx.Client(base_url=self.url, timeout=15, trust_env=False, headers=SHOP) as client:
            while not self.ending.is_set():
                try:
                    response = client.post("/v1/recommend", json=BODY)
                    answer = response.json()
                    assert response.status_code == 200, response.text
                    assert answer["items"] == self.expected[answer["version"]], answer
                    self.seen[answer["version"]] += 1
                except (AssertionError, httpx.HTTPError) as error:
                    self.wrong.append(repr(error))


def test_releases_change_under_load_without_a_failed_or_mixed_answer(served: Served) -> None:
    expected = {}
    for release in (served.first, served.second):
        assert change(served, release).status_code == 200
        wait_until(partial(is_answering, served, release))
        expected[release.name] = ask(served)["items"]
    assert expected[served.first.name] != expected[served.second.name]
    load = Load(served.running.url, expected)
    callers = [threading.Thread(target=load.ask) for _ in range(N_CALLERS)]
    for caller in callers:
        caller.start()
    for number in range(N_CHANGES):
        now, other = (served.first, served.second)[:: 1 - 2 * (number % 2)]
        assert change(served, now).status_code == 200
        for action, body in (("canary", {"share": 0.5}), ("abort", None)):
            assert change(served, other, action, body).status_code == 200
            time.sleep(0.15)
    load.ending.set()
    for caller in callers:
        caller.join()
    assert load.wrong == []
    assert set(load.seen) == set(expected)
    assert load.seen.total() > 500


def ask(served: Served) -> dict[str, Any]:
    """Returns one answer, over a connection of its own: any worker may give it."""
    response = httpx.post(f"{served.running.url}/v1/recommend", json=BODY, headers=SHOP, trust_env=False)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def versions(served: Served) -> set[str]:
    return {ask(served)["version"] for _ in range(8)}


def is_answering(served: Served, release: Path) -> bool:
    return versions(served) == {release.name}


def test_every_worker_follows_the_pointer(served: Served) -> None:
    for release in (served.first, served.second):
        activate(release)  # as a publisher on the same machine does
        wait_until(partial(is_answering, served, release))


def versions_of_users(served: Served) -> list[dict[str, str]]:
    """Returns the versions that answer each of 30 users over eight connections: any worker may answer."""
    found = []
    for _ in range(8):
        with httpx.Client(base_url=served.running.url, trust_env=False, headers=SHOP) as client:
            users = [f"user-{number}" for number in range(30)]
            answers = [client.post("/v1/recommend", json={"user_id": user}).json() for user in users]
            found.append({user: answer["version"] for user, answer in zip(users, answers, strict=True)})
    return found


def test_canary_answers_the_same_users_on_every_worker(served: Served) -> None:
    assert change(served, served.first).status_code == 200
    wait_until(partial(is_answering, served, served.first))
    assert change(served, served.second, "canary", {"share": 0.5}).status_code == 200
    both = {served.first.name, served.second.name}
    wait_until(lambda: all(set(one.values()) == both for one in versions_of_users(served)))
    first, *others = versions_of_users(served)
    assert others == [first] * 7
    assert change(served, served.second, "abort").status_code == 200
    wait_until(partial(is_answering, served, served.first))


DAMAGES = ["a byte", "another folder", "no rollout", "a pointer to nothing"]


@pytest.mark.parametrize("what", DAMAGES)
def test_damage_is_refused_by_every_worker_and_the_old_release_answers(served: Served, what: str) -> None:
    assert change(served, served.first).status_code == 200
    wait_until(partial(is_answering, served, served.first))
    before, home = n_refused(served), served.first.parent
    if what == "no rollout":
        put(home / "ROLLOUT", b"\xff")
    elif what == "a pointer to nothing":
        put(home / "CURRENT", b"gone\n")
    else:
        source = publish_tiny(home.parents[1] / "elsewhere", seed=3 + DAMAGES.index(what))
        version = Path(shutil.copytree(source, home / ("v2" if what == "another folder" else source.name)))
        if what == "a byte":
            (version / "popularity.npy").write_bytes((version / "popularity.npy").read_bytes()[:-1] + b"\1")
        activate(version)
    if what == "a pointer to nothing":  # what it names may come: no verdict, but every worker says so
        wait_until(lambda: metric(served, "marquee_workers_behind") == 2)
    else:
        wait_until(lambda: n_refused(served) == before + 2)
    assert versions(served) == {served.first.name}
    put(home / "ROLLOUT", b"{}")
    assert change(served, served.first).status_code == 200
    wait_until(lambda: metric(served, "marquee_workers_behind") == 0)


def test_worker_that_is_killed_comes_back_on_the_release_before_a_damaged_one(served: Served) -> None:
    assert change(served, served.first).status_code == 200
    damaged = publish_tiny(served.first.parents[2] / "aside", seed=9)
    version = Path(shutil.copytree(damaged, served.first.parent / damaged.name))
    (version / "popularity.npy").chmod(0o644)
    (version / "popularity.npy").write_bytes(b"no array")
    put(served.first.parent / "CURRENT", f"{version.name}\n".encode())
    wait_until(lambda: metric(served, "marquee_workers_behind") == 2)
    family = psutil.Process(served.running.process.pid).children(recursive=True)
    worker = next(child for child in family if "worker" in str(child.cmdline()))
    worker.kill()
    wait_until(lambda: "answers in place of the one that CURRENT" in served.running.log.read_text(), 40)
    assert versions(served) == {served.first.name}
    assert served.running.client.get("/readyz").json() == {"status": "ready", "behind": ["tiny"]}
    assert change(served, served.first).status_code == 200


def n_refused(served: Served) -> float:
    return metric(served, 'marquee_release_changes_total{outcome="refused"}')


def test_bad_release_changes_nothing_and_is_counted_by_every_worker(served: Served) -> None:
    assert change(served, served.first).status_code == 200
    wait_until(partial(is_answering, served, served.first))
    before = n_refused(served)
    no_numbers = np.full((N_USERS + 1, DIM), np.nan, dtype=np.float32)
    third = publish_tiny(served.first.parents[1], seed=2, user_vectors=no_numbers)
    wait_until(lambda: n_refused(served) == before + 2)
    assert change(served, third).status_code == 409
    assert n_refused(served) == before + 3
    assert versions(served) == {served.first.name}
    assert "a release was refused" in served.running.log.read_text()
    assert change(served, served.first).status_code == 200


def test_memory_stays_flat_over_many_changes(served: Served) -> None:
    family = psutil.Process(served.running.process.pid).children(recursive=True)
    workers = [child for child in family if "worker" in str(child.cmdline())]
    sizes = []
    for number in range(40):
        assert change(served, (served.first, served.second)[number % 2]).status_code == 200
        sizes.append(sum(worker.memory_full_info().uss for worker in workers))
    assert min(sizes[-5:]) - min(sizes[10:15]) < 8_000_000


def test_workers_use_one_thread_for_numbers(served: Served) -> None:
    family = psutil.Process(served.running.process.pid).children(recursive=True)
    for worker in [child for child in family if "worker" in str(child.cmdline())]:
        environment = worker.environ()
        assert environment["OMP_NUM_THREADS"] == environment["OPENBLAS_NUM_THREADS"] == "1"


def test_keys_guard_a_real_service(served: Served) -> None:
    assert httpx.get(f"{served.running.url}/v1/releases", trust_env=False).status_code == 401
    assert served.running.client.post("/v1/recommend", json=BODY).status_code == 401
    assert served.running.client.post("/v1/recommend", json=BODY, headers=ADMIN).status_code == 403
    assert served.running.client.get("/readyz").status_code == 200


def test_counters_of_both_workers_are_one_page(served: Served) -> None:
    before = metric(served, 'marquee_requests_total{route="/v1/recommend",status="200"}')
    for _ in range(30):
        ask(served)
    assert metric(served, 'marquee_requests_total{route="/v1/recommend",status="200"}') == before + 30


def test_draining_service_says_so_on_every_worker(served: Served) -> None:
    drain = served.first.parents[2] / "drain"
    drain.touch()
    codes = {httpx.get(f"{served.running.url}/readyz", trust_env=False).status_code for _ in range(8)}
    drain.unlink()
    assert codes == {503}
    assert ask(served)["returned"] == 5


def test_every_line_of_the_service_s_log_is_json(served: Served) -> None:
    lines = [line for line in served.running.log.read_text().splitlines() if '"message":' in line]
    messages = [json.loads(line)["message"] for line in lines]
    assert any(message.endswith(" answers") for message in messages)
