"""After an erasure nothing is left of what campaigns, exchange and experiments held of a person.

Somebody new sees ads with caps, bids are made for them at an exchange, and they are in an experiment, at a
service of two workers. All of it is told to them, and then erased.
"""

import base64
import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from marquee.store.ledger.opening import open_ledger
from marquee.store.people.opening import open_users
from serving import erase
from tests.support.bundles import publish_tiny
from tests.support.exchange_service import BANNER, write_declared
from tests.support.people import AUTHORIZATION, SECRET, handle, service_settings
from tests.support.service_process import RunningService, eventually, running_service
from tests.support.traces import PATH, PERSON, traces

RIGHTS = ["recommend", "events", "metrics", "admin", "users", "rules", "campaigns", "openrtb"]
EXPERIMENT = """
experiments:
  variety:
    arms: {control: {weight: 0.5}, varied: {weight: 0.5, reranking: {diversity: mmr}}}
"""
WRITTEN_S = 0.3  # decisions are written by a thread
N_ANSWERS = 4


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("ads")
    bundle = publish_tiny(folder / "bundles")
    (folder / "surfaces.yaml").write_text(
        f"surfaces:\n  home: {{bundle: {bundle}, slots: {{first: 1, every: 2, floor: 5000}}}}\n"
    )
    (folder / "experiments.yaml").write_text(EXPERIMENT)
    said = service_settings(folder)
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    keys = {"keys": [{"name": "test", "sha256": digest, "scopes": RIGHTS}]}
    Path(said["MARQUEE_KEYS"]).write_text(json.dumps(keys))
    return {
        **said,
        "MARQUEE_BUNDLE": "",
        "MARQUEE_SURFACES": str(folder / "surfaces.yaml"),
        "MARQUEE_EXPERIMENTS": str(folder / "experiments.yaml"),
        "MARQUEE_EXCHANGE": str(write_declared(folder, rates={"USD": 1.0}, vendor_id=None)),
        "MARQUEE_LOG_REQUESTS": "1",
        "MARQUEE_TRACES": f"file:{folder / 'traces'}",
        "MARQUEE_WORKERS": "2",
        "MARQUEE_CLOSE_DAYS_EVERY_S": "0",
    }


@pytest.fixture(scope="module")
def service(settings: dict[str, str]) -> Iterator[RunningService]:
    folder = Path(settings["MARQUEE_EVENTS"]).parent
    (folder / "service").mkdir()
    with running_service(folder / "bundles", folder / "service", **settings) as running:
        running.client.headers.update(AUTHORIZATION)
        book(running.client)
        yield running


def book(client: httpx.Client) -> None:
    """Books a campaign with a cap that is never reached here."""
    now = int(time.time())
    campaign = {
        "campaign_id": "spring",
        "advertiser": "by-spring",
        "payer": "payer",
        "starts": now - 3600,
        "ends": now + 86_400,
        "total_budget": 100,
        "bid": "20",
        "delivery": "fast",
        "creatives": [{"item_id": "i008"}],
        "frequency_caps": [{"per": "campaign", "limit": 50, "window_s": 86_400}],
    }
    client.post("/v1/campaigns", json=campaign).raise_for_status()


def has_ad(client: httpx.Client, user_id: str) -> bool:
    """Returns whether an answer to somebody has an ad."""
    reply = client.post("/v1/recommend", json={"user_id": user_id, "k": 4}).raise_for_status().json()
    return bool(reply.get("ads"))


def act(url: str) -> list[dict[str, Any]]:
    """Lets somebody new see ads, and bids be made for them; returns the answers."""
    answers: list[dict[str, Any]] = []
    with httpx.Client(base_url=url, headers=AUTHORIZATION, trust_env=False) as client:
        # A worker that has not opened a store yet uses nothing of anybody, and sells nothing that is capped.
        while len(answers) < N_ANSWERS:
            answer = client.post("/v1/recommend", json={"user_id": PERSON, "k": 4}).raise_for_status().json()
            answers += [answer] if answer.get("ads") else []
        time.sleep(WRITTEN_S)
        (ad,) = answers[0]["ads"]
        said = {"item_id": ad["item_id"], "timestamp": int(time.time()), "user_id": PERSON}
        rows = [
            {**said, "event_id": "seen", "kind": "exposure", "decision_id": answers[0]["decision_id"]},
            {**said, "event_id": "bad", "kind": PERSON},
        ]
        counted = client.post("/v1/events", json={"events": rows}).raise_for_status().json()
        assert (counted["accepted"], sum(counted["rejected"].values())) == (1, 1)
        wanted = {"id": "r", "at": 2, "cur": ["EUR"], "imp": [{"id": "1", "banner": BANNER}]}
        bid = client.post("/v1/openrtb2/auction", json={**wanted, "user": {"buyeruid": PERSON}})
        assert bid.status_code == 200, bid.text
    return answers


def test_nothing_of_an_erased_person_is_left_with_campaigns_exchange_and_experiments(
    settings: dict[str, str], service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, client = settings["MARQUEE_EVENTS"], service.client
    folder = Path(where).parent
    # Until both workers follow the campaign, by users of their own.
    assert eventually(lambda: all(has_ad(client, f"warm-{number}") for number in range(6)))
    answers = act(service.url)
    assert all(len(answer["ads"]) == 1 and answer["experiments"] for answer in answers)

    def told() -> Any:
        return client.get(PATH).raise_for_status().json()

    # The ledger follows the log within seconds.
    assert eventually(lambda: len(told()["ads"]["charges"]) == N_ANSWERS + 1)
    held = told()
    # Also those of the first answers, before the person had a pseudonym in the store; and the bid.
    assert [(one["per"], one["of"]) for one in held["ads"]["shown"]] == [("campaign", ["spring"])] * (
        N_ANSWERS + 1
    )
    states = sorted(one["state"] for one in held["ads"]["charges"])
    assert states == ["charged"] + ["open"] * N_ANSWERS
    ours = {answer["decision_id"] for answer in answers}
    assert all("variety" in one["more"] for one in held["decisions"] if one["decision_id"] in ours)
    users = open_users(where)
    name = users.find(handle(PERSON)).pseudonym
    users.close()
    assert name is not None
    spent = accounts(where)

    assert client.delete(PATH).status_code == 202
    for variable, value in settings.items():
        monkeypatch.setenv(variable, value)
    # A worker that reads just then puts the overwriting off.
    assert any(erase.main(["settle_s=0"]) == 0 for _ in range(5))

    further = {"pseudonym": name, "pseudonym in base64": base64.b64encode(name.encode()).decode()}
    assert traces(folder / "log", folder / "service", folder / "traces", **further) == []
    # The handle stays on the tombstone and on receipts, and leads nowhere from there.
    hexadecimal = {"handle": handle(PERSON).hex()}
    found = traces(*(folder / "log" / f"{one}.db" for one in ("events", "decisions", "ledger", "shown")))
    assert found == [] == traces(folder / "service", folder / "traces", **hexadecimal)
    after = told()
    assert (after["ads"], after["events"], after["decisions"]) == ({"shown": [], "charges": []}, [], [])
    # What was charged stays charged.
    assert (accounts(where).charged, spent.charged) == (5, 5)  # the floor of a thousand is 5000


def accounts(where: str) -> Any:
    """Returns the account of the flight."""
    ledger = open_ledger(where)
    (flight, *_) = ledger.accounts("spring")
    ledger.close()
    return flight
