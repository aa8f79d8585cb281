"""Campaigns over HTTP: created, read, changed by version, refused by their field, tried; what they spent."""

import asyncio
import hashlib
import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marquee.core.targeting.targeting import CustomerFacts
from marquee.decision.recommender import Recommender
from marquee.errors import CampaignError
from marquee.store.campaigns.campaign import Creative, Exclusions, Targeting
from marquee.store.log.event_log import Decision
from serving.api.app import RecommendationApp
from serving.api.campaigns.campaigns import CampaignRoutes
from serving.api.campaigns.checking import validate_on
from serving.api.campaigns.messages import CampaignChange, CampaignMessage
from serving.api.campaigns.trying import CampaignTrials
from serving.api.customers.deciding import NOBODY
from serving.api.recommend import Endpoints
from serving.config import Settings
from serving.http.guard import Guard, Key, Right
from serving.recording.ads.spending import Spending
from serving.recording.opening import OpenedLog
from serving.recording.users import PlainUsers
from serving.telemetry.metrics import Metrics
from tests.support.asgi import JSON_HEADERS, Response, no_bentoml, request
from tests.support.bundles import NOW, make_tiny, publish_tiny
from tests.support.campaigns import campaign
from tests.support.event_stores import decision, event
from tests.support.ledgers import Shop, open_test_ledger
from tests.support.markdown import blocks, commands
from tests.support.surfaces import one_surface

SECRET, OTHER = "of the marketer", "of the app"
SPRING = {
    "campaign_id": "spring",
    "advertiser": "Acme",
    "payer": "Acme GmbH",
    "starts": NOW - 100,
    "ends": NOW + 864_000,
    "total_budget": 100,
    "bid_type": "cpc",
    "bid": 0.4,
    "creatives": [{"item_id": "i024"}],
}


@pytest.fixture(scope="module")
def recommender(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    return Recommender.load(publish_tiny(tmp_path_factory.mktemp("bundles")))


class Worker:
    """One worker of a service: its routes over a folder that others use as well."""

    def __init__(self, recommender: Recommender, folder: Path | None) -> None:
        self.metrics, settings = Metrics(), Settings()
        self.log = OpenedLog(str(folder)) if folder else None
        surfaces = one_surface(settings, recommender)
        self.spending = (
            Spending(
                str(folder),
                self.log,
                self.metrics,
                open_store=open_test_ledger,
                clock=lambda: NOW,
                steady=lambda: NOW,
            )
            if self.log
            else None
        )
        if self.spending:
            self.spending.campaigns.open()
        self.routes = CampaignRoutes(
            surfaces,
            self.spending,
            settings.currency,
            self.metrics,
            NOBODY,
            CampaignTrials(self.log, NOBODY, PlainUsers()) if self.log else None,
            clock=lambda: NOW,
        )
        keys = [
            Key(name=name, sha256=hashlib.sha256(secret.encode()).hexdigest(), scopes=[right])
            for name, secret, right in (("anna", SECRET, Right.campaigns), ("app", OTHER, Right.rules))
        ]
        endpoints = Endpoints(settings, surfaces, metrics=self.metrics)
        self.app = RecommendationApp(no_bentoml, endpoints, settings, Guard(keys), [self.routes])

    def send(
        self,
        method: str,
        path: str = "",
        body: object = None,
        *,
        version: object = None,
        secret: str = SECRET,
        query: str = "",
    ) -> Response:
        headers = {**JSON_HEADERS, "authorization": f"Bearer {secret}"}
        if version is not None:
            headers["if-match"] = f'"{version}"'
        text = b"" if body is None else json.dumps(body).encode()
        return asyncio.run(request(self.app, method, f"/v1/campaigns{path}", text, headers, query))

    def create(self, **changes: object) -> Response:
        return self.send("POST", "", {**SPRING, **changes})


@pytest.fixture
def worker(recommender: Recommender, tmp_path: Path) -> Iterator[Worker]:
    opened = Worker(recommender, tmp_path)
    yield opened
    opened.routes.close()


def told(response: Response, status: int = 200) -> Any:
    assert response.status == status, response.body
    return response.json()


def test_campaign_is_created_read_listed_and_known_to_the_next_worker(
    worker: Worker, recommender: Recommender, tmp_path: Path
) -> None:
    made = told(worker.create())
    assert made["campaign"].items() >= SPRING.items()
    told_of = [made[name] for name in ("version", "state", "changed_by", "currency")]
    assert told_of == [1, "active", "anna", "EUR"]
    other = Worker(recommender, tmp_path)
    read = told(other.send("GET", "/spring"))
    assert read.pop("delivery")["looked_at"] == 0
    assert read == made
    told(other.create(campaign_id="autumn"))
    other.routes.close()
    first = told(worker.send("GET", query="limit=1"))
    assert [one["campaign"]["campaign_id"] for one in first["campaigns"]] == ["autumn"]
    rest = told(worker.send("GET", query=f"limit=1&after={first['after']}"))
    assert [one["campaign"]["campaign_id"] for one in rest["campaigns"]] == ["spring"]
    assert "after" not in rest


def test_patch_changes_only_the_fields_that_are_named(worker: Worker) -> None:
    before = told(worker.create(daily_budget=5, targeting={"devices": ["phone"]}))["campaign"]
    changed = told(worker.send("PATCH", "/spring", {"bid": "0.55", "daily_budget": None}, version=1))
    kept = {name: value for name, value in before.items() if name != "daily_budget"}
    assert changed["campaign"] == {**kept, "bid": 0.55}
    assert (changed["version"], changed["change"]) == (2, "patched")
    # Whole, not merged: what is not said of a field that is named is its default.
    changed = told(worker.send("PATCH", "/spring", {"targeting": {"geography": ["DE"]}}, version=2))
    assert changed["campaign"]["targeting"] == {"geography": ["DE"]}


def test_put_replaces_all_but_the_state(worker: Worker) -> None:
    told(worker.create(note="first", daily_budget=5))
    told(worker.send("POST", "/spring/pause", version=1))
    put = told(worker.send("PUT", "/spring", SPRING, version=2))
    assert (put["state"], put["version"]) == ("paused", 3)
    assert {"note", "daily_budget"}.isdisjoint(put["campaign"])
    other = worker.send("PUT", "/autumn", SPRING, version=3)
    assert other.error["field"] == "campaign_id"


def test_state_goes_its_way_and_an_end_is_for_good(worker: Worker) -> None:
    told(worker.create())
    states = [
        told(worker.send("POST", f"/spring/{word}", version=version))["state"]
        for version, word in enumerate(("pause", "resume", "end"), 1)
    ]
    assert states == ["paused", "active", "ended"]
    for method, path, body in (("POST", "/spring/resume", None), ("PATCH", "/spring", {"bid": 1})):
        refused = worker.send(method, path, body, version=4)
        assert (refused.status, refused.error["field"]) == (422, "state")
    history = told(worker.send("GET", "/spring/history", query="limit=3"))["changes"]
    assert [one["change"] for one in history] == ["ended", "resumed", "paused"]
    assert told(worker.send("GET", "/spring/history", query="before=2"))["changes"][0]["change"] == "created"


def test_stale_version_is_refused_with_the_campaign_as_it_is(worker: Worker) -> None:
    told(worker.create())
    told(worker.send("PATCH", "/spring", {"bid": 1}, version=1))
    refused = worker.send("PATCH", "/spring", {"bid": 2}, version=1)
    assert (refused.status, refused.json()["error"]["code"]) == (409, "campaign_changed")
    assert refused.json()["current"]["campaign"]["bid"] == 1
    assert worker.create(bid=2).status == 409
    assert told(worker.send("GET", "/spring"))["version"] == 2
    assert worker.send("PATCH", "/spring", {"bid": 2}).status == 428
    assert worker.send("PATCH", "/winter", {"bid": 2}, version=1).status == 404
    assert worker.send("GET", "/winter").status == 404


def test_call_that_is_repeated_is_no_lost_race(worker: Worker) -> None:
    first = told(worker.create())
    assert told(worker.create()) == first
    changed = told(worker.send("PATCH", "/spring", {"bid": 1}, version=1))
    assert told(worker.send("PATCH", "/spring", {"bid": 1}, version=1)) == changed
    assert changed["version"] == 2


WRONG = {
    "ends before it begins": ({"ends": NOW - 200}, "ends", f"got {NOW - 200}"),
    "daily above total": ({"daily_budget": 101}, "daily_budget", "got 101000000"),
    "cap without window": ({"frequency_caps": [{"per": "ad", "limit": 1}]}, "frequency_caps[0]", "window_s"),
    "cap of no window": (
        {"frequency_caps": [{"per": "ad", "limit": 1, "window_s": 0}]},
        "frequency_caps[0].window_s",
        "got 0",
    ),
    "unknown attribute": (
        {"targeting": {"attributes": {"shoe_size": {"min": 3}}}},
        "targeting.attributes.shoe_size",
        "one of",
    ),
    "unknown zone": ({"timezone": "Mars/Olympus"}, "timezone", "got 'Mars/Olympus'"),
    "unknown item": ({"creatives": [{"item_id": "gone"}]}, "creatives[0].item_id", "got 'gone'"),
    "unknown surface": ({"surfaces": ["moon"]}, "surfaces[0]", "got 'moon'"),
    "unknown trait": ({"targeting": {"users": {"where": "leaves > 1"}}}, "targeting.users", "leaves"),
    "unknown audience": ({"exclusions": {"audiences": ["all"]}}, "exclusions.audiences[0]", "got 'all'"),
    "unknown category": (
        {"exclusions": {"categories": ["news"]}},
        "exclusions.categories[0]",
        "got 'news'",
    ),
    "unknown segment": ({"targeting": {"segments": ["loyal"]}}, "targeting.segments[0]", "got 'loyal'"),
    "unknown segment that is excluded": (
        {"exclusions": {"segments": ["lost"]}},
        "exclusions.segments[0]",
        "there is none, got 'lost'",
    ),
    "negative": ({"bid": -0.4}, "bid", "got -0.4"),
    "not a number": ({"total_budget": "NaN"}, "total_budget", "got 'NaN'"),
    "infinite": ({"daily_budget": "Infinity"}, "daily_budget", "got 'Infinity'"),
    "negative cost": ({"bid": None, "target_cost": -1}, "target_cost", "got -1"),
    "negative budget of a day": ({"daily_budget": "-0.5"}, "daily_budget", "got '-0.5'"),
    "sub-millionth budget": ({"total_budget": "1.0000005"}, "total_budget", "got '1.0000005'"),
    "sub-millionth": ({"bid": 0.0000001}, "bid", "got 1e-07"),
    "unknown field": ({"budget": 3}, "budget", "no such field"),
}


@pytest.mark.parametrize(("changes", "field", "message"), WRONG.values(), ids=WRONG)
def test_campaign_that_cannot_be_is_refused_by_its_field(
    worker: Worker, changes: dict[str, object], field: str, message: str
) -> None:
    for refused in (
        worker.create(**changes),
        worker.send("POST", "/dry_run", {"campaign": {**SPRING, **changes}}),
    ):
        assert refused.status == 422, refused.body
        assert refused.error["field"].removeprefix("campaign.") == field
        assert message in refused.error["message"]
    assert told(worker.send("GET"))["campaigns"] == []


def test_categories_and_segments_are_those_of_items_and_customers(tmp_path: Path) -> None:
    catalog = make_tiny(0).contents.catalog
    with_category = replace(
        catalog, attributes=catalog.attributes.with_columns(pl.col("tags").alias("category"))
    )
    recommender = Recommender.load(publish_tiny(tmp_path, catalog=with_category))
    facts = CustomerFacts("run", {"segment": "text"}, segments=frozenset(("loyal", "lost")))
    known = campaign(
        creatives=(Creative(item_id="i024"),),
        targeting=Targeting(segments=("loyal",)),
        exclusions=Exclusions(categories=("by 2", "by 5"), segments=("lost",)),
    )
    validate_on(known, {"home": [recommender]}, facts)
    for exclusions, field, expected in (
        (Exclusions(categories=("by 2", "by 7")), "categories[1]", "one of ['by 2', 'by 3', 'by 5']"),
        (Exclusions(segments=("loyal", "gone")), "segments[1]", "one of ['lost', 'loyal']"),
    ):
        with pytest.raises(CampaignError) as refused:
            validate_on(replace(known, exclusions=exclusions), {"home": [recommender]}, facts)
        assert refused.value.field == f"exclusions.{field}"
        assert expected in str(refused.value)


def test_nan_of_json_is_no_json(worker: Worker) -> None:
    assert worker.create(bid=float("nan")).status == 400


WHOLE = {
    **SPRING,
    "timezone": "Europe/Berlin",
    "daily_budget": "5.5",
    "creatives": [{"item_id": "i024", "hours": [{"days": ["sat"], "from_hour": 1, "until_hour": 3}]}],
    "surfaces": ["home"],
    "targeting": {
        "attributes": {"age": {"min": 18}},
        "geography": ["DE"],
        "devices": ["phone"],
        "hours": [{"from_hour": 7, "until_hour": 22}],
    },
    "frequency_caps": [{"per": "campaign", "limit": 3, "window_s": 60}],
    "exclusions": {"surfaces": [], "advertisers": ["Rival"]},
    "delivery": "even",
    "priority": "auction",
    "note": "as it was agreed",
}
STRANGE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.sampled_from(["", "\0", "ü" * 300, 0, -1, 10**400, "1e400", "0.0000001", [], {}, [[]], [None]]),
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_campaign_of_any_values_is_taken_or_refused_by_its_field(worker: Worker, data: st.DataObject) -> None:
    said = deepcopy(WHOLE)
    for _ in range(data.draw(st.integers(1, 3))):
        part: Any = said
        key = data.draw(st.sampled_from(sorted(part)))
        while isinstance(part[key], dict | list) and part[key] and data.draw(st.booleans()):
            part = part[key]
            key = data.draw(st.sampled_from(sorted(part) if isinstance(part, dict) else range(len(part))))
        part[key] = deepcopy(data.draw(STRANGE))
    reply = worker.send("POST", "/dry_run", {"campaign": said})
    assert reply.status in (200, 422), reply.body
    if reply.status == 422:
        assert reply.error["field"].startswith("campaign"), reply.body
        assert "got" in reply.error["message"] or "xpected" in reply.error["message"], reply.body


def test_trial_tells_at_how_many_of_the_latest_decisions_it_could_be_shown(worker: Worker) -> None:
    assert worker.log is not None
    worker.log.get().append_decisions(list(_decisions()))
    tried = told(
        worker.send("POST", "/dry_run", {"campaign": {**SPRING, "targeting": {"devices": ["phone"]}}})
    )
    assert (tried["asked"], tried["eligible"], tried["not_eligible"]) == (11, 6, {"devices": 5})
    # Ten decisions apart by an hour each: 6 in 10 hours.
    assert tried["eligible_per_day"] == pytest.approx(6 * 24 / 10)
    assert tried["eligible_in_flight"] == pytest.approx(6 * 24 / 10 * 10)
    assert tried["affordable"] == 250
    capped = {"frequency_caps": [{"per": "ad", "limit": 1, "window_s": 60}]}
    tried = told(worker.send("POST", "/dry_run", {"campaign": {**SPRING, **capped}, "sample": 4}))
    assert (tried["asked"], tried["eligible"], tried["not_eligible"]) == (4, 2, {"cap_needs_user": 2})


def test_what_was_spent_is_told_in_all_and_by_day(worker: Worker) -> None:
    assert worker.log is not None
    assert worker.spending is not None
    told(worker.create(daily_budget=50))
    ledger, log = worker.spending._ledger.get(), worker.log.get()
    shop = Shop(log, ledger, worker.spending.campaigns.current(), NOW * 1000)
    lease = ledger.lease(shop.request(1_000_000, 1_000_000), shop.now_ms)
    assert lease is not None
    shop.sell("d1", lease.number, 400_000)
    shop.click("d1")
    worker.spending.follow()
    answer = told(worker.send("GET", "/spring"))
    assert answer["spent"] == {
        "budget": 100,
        "charged": 0.4,
        "held": 0.6,
        "sold": 1,
        "billed": 1,
        "unbilled_events": 0,
        "unbilled": 0,
    }
    assert answer["days"] == [{**answer["spent"], "budget": 50, "day": "2023-11-14"}]
    assert "marquee_ads_charged_millionths_total 400000.0" in worker.metrics.exposition().decode()


def test_only_a_key_for_campaigns_may_book(worker: Worker, recommender: Recommender) -> None:
    assert worker.send("GET", secret=OTHER).status == 403
    without = Worker(recommender, None)
    assert without.send("GET").error["code"] == "not_configured"
    assert without.create().error["code"] == "not_configured"
    assert without.send("POST", "/dry_run", {"campaign": SPRING}).error["code"] == "not_configured"
    without.routes.close()


def test_every_field_of_a_campaign_can_be_changed() -> None:
    assert CampaignChange.__struct_fields__ == tuple(
        name for name in CampaignMessage.__struct_fields__ if name != "campaign_id"
    )


def _decisions() -> Iterator[Decision]:
    """Yields eleven decisions, an hour apart; every second by phone, and for somebody who is known."""
    for number in range(11):
        device = "phone" if number % 2 == 0 else "desktop"
        yield decision(
            f"d{number}",
            time_ms=(NOW - number * 3600) * 1000,
            surface=None,
            tier="personal" if number % 2 == 0 else "segment",
            asked={"timestamp": NOW, "context": {"device": device}},
            sales=(),
        )


def test_events_of_content_cost_no_campaign_anything(worker: Worker) -> None:
    assert worker.log is not None
    assert worker.spending is not None
    told(worker.create())
    worker.log.get().append([event("e1", decision_id=None)])
    worker.spending.follow()
    assert "spent" not in told(worker.send("GET", "/spring"))


def test_commands_of_the_page_on_campaigns_do_what_it_says(worker: Worker) -> None:
    page = "docs/operating/campaigns.md"
    # The others are answers.
    body = json.loads(blocks(page, "json")[0].text)
    # Items and a run of customers of its own: those of this service have other names.
    body["creatives"] = [{**one, "item_id": f"i0{20 + n}"} for n, one in enumerate(body["creatives"])]
    assert body["targeting"].pop("users")
    states, versions = [], []
    for block in blocks(page, "sh"):
        for words in commands(block):
            if words[:3] == ["python", "-m", "training.simulate"]:
                continue  # tests/unit/training/simulate types these
            assert words[0] == "curl", words
            (url,) = [word for word in words if word.startswith("http://127.0.0.1:3000/v1/campaigns")]
            method = words[words.index("-X") + 1] if "-X" in words else "GET"
            given = words[words.index("-d") + 1] if "-d" in words else None
            sent = body if given == "@campaign.json" else None if given is None else json.loads(given)
            matched = [word.removeprefix("If-Match: ").strip('"') for word in words if "If-Match" in word]
            version = matched[0] if matched else None
            path = url.removeprefix("http://127.0.0.1:3000/v1/campaigns")
            answer = told(worker.send(method, path, sent, version=version))
            states.append(answer["change"])
            versions.append(answer["version"])
    assert states == ["created", "created", "patched", "paused"]
    assert versions == [1, 1, 2, 3]
