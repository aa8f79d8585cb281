"""After an erasure and its pass no file holds the person, in any form: store, log, table, run, new release.

A person of a small market acts, is answered, is in a release, and is erased while the service runs.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import polars as pl
import pytest

from marquee.bundle.bundle import Bundle
from marquee.store.log.closed_days import close_days
from marquee.store.log.event_rows import EventLimits
from marquee.store.log.opening import open_event_log
from marquee.store.people.opening import open_users
from marquee.store.people.user_key import validate_key
from marquee.store.signing import write_key_pair
from marquee.world import World
from serving import erase, receipts
from tests.integration.test_loop import DAY, _untrained, run
from tests.support.people import AUTHORIZATION, KEY, handle, service_settings
from tests.support.service_process import RunningService, eventually, running_service
from tests.support.traces import PATH, PERSON, traces
from tests.support.world_log import tell_world
from training.judging.gate import GateConfig

PSEUDONYM = "5eed" * 8


@pytest.fixture(scope="module")
def home(tiny_world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A folder with a log, its days closed, and a release that knows the person; the end of the log."""
    home = tmp_path_factory.mktemp("erasure")
    person = tiny_world.events["user_id"].mode()[0]
    events = tiny_world.events.with_columns(pl.col("user_id").replace(person, PSEUDONYM))
    log = open_event_log(str(home / "log"))
    end = tell_world(log, replace(tiny_world, events=events))
    users = open_users(str(home / "log"))
    validate_key(users, KEY)
    users.name({handle(PERSON): PSEUDONYM})
    users.close()
    assert close_days(log, home / "log" / "closed", end + 12 * DAY, (), EventLimits())
    log.close()
    write_key_pair(home / "key")
    write_key_pair(home / "receipts")
    status, said = run(_untrained(home, end - 6 * DAY))
    assert status == 0, said
    return home, end


@pytest.fixture(scope="module")
def service(home: tuple[Path, int]) -> Iterator[RunningService]:
    settings = {
        **service_settings(home[0]),
        "MARQUEE_TRUSTED_KEYS": str(home[0] / "key.pub"),
        "MARQUEE_RECEIPT_KEY": str(home[0] / "receipts"),
        "MARQUEE_CLOSE_DAYS_EVERY_S": "0",
        "MARQUEE_LOG_REQUESTS": "1",
        "MARQUEE_WORKERS": "2",
        "MARQUEE_TRACES": f"file:{home[0] / 'traces'}",
    }
    (home[0] / "service").mkdir()
    with running_service(home[0] / "bundles" / "shop", home[0] / "service", **settings) as running:
        running.client.headers.update(AUTHORIZATION)
        yield running


def act(client: httpx.Client) -> list[int]:
    """Lets the person do one thing of each kind, and some that are rejected; returns the statuses."""
    asked = {"user_id": PERSON, "k": 3}
    # Until a worker has opened the store, its answers use nothing of anybody.
    assert eventually(lambda: client.post("/v1/recommend", json=asked).json()["tier"] == "personal")
    decided = client.post("/v1/recommend", json=asked).json()
    item, now = decided["items"][0]["item_id"], int(time.time())
    rows = [
        {
            "event_id": f"{kind}-of-the-person",
            "kind": kind,
            "item_id": item,
            "timestamp": now,
            "user_id": PERSON,
        }
        for kind in ("view", "click", "conversion")
    ]
    rows += [{**rows[0], "event_id": "rating-of-1", "kind": "rating", "value": 4.0}]
    rows += [{**rows[0], "event_id": "ahead", "timestamp": now + 200}]
    shown = {**rows[0], "event_id": "shown", "kind": "exposure", "decision_id": decided["decision_id"]}
    nobody = {**rows[1], "event_id": "of-nobody", "user_id": None, "decision_id": decided["decision_id"]}
    rejected = [
        {**rows[0], "event_id": "bad", "kind": PERSON},
        {**rows[0], "event_id": "bad", "timestamp": 1},
    ]
    answers = [
        client.post("/v1/events", json={"events": [*rows, shown, nobody, *rejected]}),
        client.post("/v1/recommend", json={"user_id": PERSON, "k": "no number"}),
        client.put(f"{PATH}/consent", json={"tier": "personal"}),
        client.put(f"{PATH}/consent", json={"tier": PERSON}),
        client.get(PATH),
        client.get(f"{PATH}?cursor=x"),
    ]
    assert (answers[0].json()["accepted"], sum(answers[0].json()["rejected"].values())) == (7, 2)
    assert len(answers[4].json()["events"]) > 7
    return [answer.status_code for answer in answers]


def test_no_file_holds_an_erased_person(
    home: tuple[Path, int], service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, end = home
    client, names = service.client, {"pseudonym": PSEUDONYM}
    assert act(client) == [200, 422, 200, 422, 200, 422]
    kept = [folder / "log", folder / "service"]
    assert {trace.split(" in ")[0] for trace in traces(*kept, **names)} == {"pseudonym"}
    time.sleep(0.2)  # the decision is written by a thread

    reply = client.delete(PATH)
    assert reply.status_code == 202
    assert [release["version"] for release in reply.json()["receipt"]["releases"]] == [
        Bundle.load(folder / "bundles" / "shop").version
    ]
    assert client.post("/v1/recommend", json={"user_id": PERSON, "k": 3}).json()["tier"] == "none"
    late = {
        "event_id": "late",
        "kind": "view",
        "item_id": "i",
        "timestamp": int(time.time()),
        "user_id": PERSON,
    }
    assert client.post("/v1/events", json={"events": [late]}).json()["rejected"] == {"erased": 1}

    for name, value in {
        **service_settings(folder),
        "MARQUEE_BUNDLE": str(folder / "bundles" / "shop"),
        "MARQUEE_RECEIPT_KEY": str(folder / "receipts"),
    }.items():
        monkeypatch.setenv(name, value)
    # A worker that reads just then puts the overwriting off: the command says so, and is repeated.
    assert any(erase.main(["settle_s=0"]) == 0 for _ in range(5))
    final = client.get(f"{PATH}/receipt")
    receipt = final.json()["receipt"]
    assert receipt["finished"] is not None
    assert receipt["events_in_files"] > 0
    assert receipt["decisions_in_files"] > 0
    assert receipt["events"] == 7
    assert receipt["decisions"] >= 1
    (folder / "receipt.json").write_bytes(final.content)
    assert (
        receipts.main(["verify", f"receipt={folder / 'receipt.json'}", f"key={folder / 'receipts.pub'}"]) == 0
    )
    assert traces(*kept, folder / "traces", folder / "receipt.json", **names) == []

    before = set(folder.rglob("*"))
    # Published whatever it is worth: its bytes are in question, not its answers.
    status, said = run(replace(_untrained(folder, end), gate=GateConfig()))
    assert status == 0, said
    new = folder / "new"
    for path in sorted(set(folder.rglob("*")) - before):
        if path.is_file() and not path.is_symlink():
            copy = new / path.relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    assert {path.name for path in new.rglob("*")} >= {"user_ids.json", "manifest.json", "dataset.json"}
    assert traces(new, **names) == []
