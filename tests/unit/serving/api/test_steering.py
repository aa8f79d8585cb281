"""Traits steer answers: rules for users, traits that a surface states, consent, erasure, dry runs."""

import asyncio
import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from marquee.bundle.traits.pseudonyms import pseudonym
from marquee.core.targeting.targeting import NO_CUSTOMERS, CustomerFacts
from marquee.errors import ConfigError
from marquee.store.people.consent import Tier
from serving.api.answering.steering import Steering
from serving.api.app import RecommendationApp
from serving.api.customers.deciding import CustomersAtDecision
from serving.api.customers.followed import FollowedRun
from serving.api.explaining.decisions import KeptDecisions
from serving.api.explaining.releases import ReleasesToAsk
from serving.api.explaining.why import WhyRoutes
from serving.api.recommend import Endpoints
from serving.api.rules import RuleRoutes
from serving.config import Settings
from serving.http.guard import Guard, Key, Right
from serving.recording.opening import OpenedLog
from serving.recording.profiles import Profiles
from serving.recording.recorder import Recorder
from serving.recording.rules.following import Rules
from serving.recording.users import KeyedUsers, PlainUsers
from serving.releases.surface_file import SurfaceFile
from serving.telemetry.metrics import Metrics
from tests.support.asgi import JSON_HEADERS, Response, no_bentoml, request
from tests.support.bundles import NOW, make_context_popularity, publish_tiny
from tests.support.customers_run import STARTED, write_run
from tests.support.people import KEY
from tests.support.service_process import eventually

SECRET = "key of all"
SURFACES = """
default: home
surfaces:
  home: {bundle: BUNDLE, traits: {city: town, segment: group, colour: town}}
  plain: {bundle: BUNDLE}
"""
ROWS = pl.DataFrame(
    {
        "user_id": ["u1", "u2", "new"],
        "leaves": [0.9, 0.2, None],
        "town": ["rome", "rome", "oslo"],
        "group": [None, None, "gold"],
    }
)
AUDIENCES = {"keep": {"u1": "contact", "u2": "holdout", "new": "contact"}, "few": {"u1": "contact"}}
RESCUE = {"id": "rescue", "pin": [{"item_id": "i024", "place": 1}], "users": {"where": "leaves >= 0.5"}}
CALL = {"id": "call", "block": {"items": ["i024"]}, "users": {"audiences": ["keep"]}}


class Service:
    """A worker with a run of customers, rules, a log, and users under pseudonyms or under their ids."""

    def __init__(self, bundle: Path, folder: Path, *, has_key: bool = True, pseudonyms: str = "") -> None:
        self.metrics, self.settings = Metrics(), Settings(surfaces=str(folder / "surfaces.yaml"))
        (folder / "surfaces.yaml").write_text(SURFACES.replace("BUNDLE", str(bundle)))
        self.runs = folder / "runs"
        rows = ROWS
        if pseudonyms:
            hashed = [pseudonym(one, b"x" * 16) for one in ROWS["user_id"]]
            rows = ROWS.with_columns(user_id=pl.Series(hashed))
        write_run(self.runs / "1", rows, AUDIENCES, pseudonyms=pseudonyms, refused=("few",))
        (self.runs / "latest").symlink_to("1")
        self.followed = FollowedRun(self.runs / "latest", start=lambda work: work())
        self.log = OpenedLog(str(folder / "events"))
        self.log.get()
        self.keyed = KeyedUsers(str(folder / "events"), KEY) if has_key else None
        users = self.keyed or PlainUsers()
        users.look_up("")
        self.rules = Rules(str(folder / "events"), self.metrics, clock=lambda: NOW)
        self.rules.open()
        surfaces = SurfaceFile.read(self.settings).open(self.metrics, None)
        surfaces.load()
        self.surfaces = surfaces
        at_decision = CustomersAtDecision(self.followed)
        self.endpoints = Endpoints(
            self.settings,
            surfaces,
            clock=lambda: NOW,
            metrics=self.metrics,
            recorder=Recorder(self.log, self.metrics, clock=lambda: NOW, users=users),
            profiles=Profiles(self.log, self.metrics, 5.0, users=users),
            steering=Steering(self.rules, at_decision),
        )
        self.routes = (
            RuleRoutes(
                surfaces,
                self.rules,
                self.log,
                self.metrics,
                at_decision,
                users,
                clock=lambda: NOW,
                sleep=lambda _s: None,
            ),
            WhyRoutes(
                KeptDecisions(self.log, users, 0, lambda: float(NOW)),
                ReleasesToAsk(surfaces, 10**9),
                self.rules,
                self.metrics,
            ),
        )
        rights = [Right.rules, Right.recommend, Right.users]
        keys = [Key(name="all", sha256=hashlib.sha256(SECRET.encode()).hexdigest(), scopes=rights)]
        self.app = RecommendationApp(no_bentoml, self.endpoints, self.settings, Guard(keys), self.routes)

    def send(self, method: str, path: str, body: object = None, version: int = 0) -> Response:
        headers = {**JSON_HEADERS, "authorization": f"Bearer {SECRET}", "if-match": f'"{version}"'}
        content = b"" if body is None else json.dumps(body).encode()
        return asyncio.run(request(self.app, method, path, content, headers))

    def put(self, *rules: object, version: int = 0) -> Response:
        return self.send("PUT", "/v1/rules", {"rules": rules}, version)

    def ask(self, user_id: str | None, **body: object) -> Any:
        reply = self.send("POST", "/v1/recommend", {"user_id": user_id, "k": 3, **body})
        assert reply.status == 200, reply.body
        return reply.json()

    def why(self, answer: Any) -> Any:
        path = f"/v1/why/{answer['decision_id']}"
        assert eventually(lambda: self.send("GET", path).status == 200)
        return self.send("GET", path).json()

    def dry_run(self, n_decisions: int, *rules: object) -> Any:
        log = self.log.get()
        assert eventually(lambda: len(log.read_decisions(0, 100)) == n_decisions)
        return self.send("POST", "/v1/rules/dry_run", {"rules": rules}).json()

    def close(self) -> None:
        self.endpoints.close()
        for one in self.routes:
            one.close()
        self.surfaces.close()
        self.log.close()
        if self.keyed:
            self.keyed.close()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    by_segment = replace(
        make_context_popularity(24),
        columns=("segment", "surface"),
        values=(("segment", "gold"), ("surface", "home"), ("surface", "video")),
    )
    return publish_tiny(tmp_path_factory.mktemp("bundles"), context_popularity=by_segment)


@pytest.fixture
def service(bundle: Path, tmp_path: Path) -> Iterator[Service]:
    service = Service(bundle, tmp_path)
    yield service
    service.close()


def applied(answer: Any) -> list[str]:
    return list(answer.get("rules", ()))


def test_rule_holds_for_those_alone_whose_traits_meet_its_condition(service: Service) -> None:
    assert service.put(RESCUE).status == 200
    assert service.ask("u1")["items"][0]["item_id"] == "i024"
    assert [applied(service.ask(user)) for user in ("u1", "u2", "new", "nobody", None)] == [
        ["rescue"], [], [], [], [],
    ]  # fmt: skip
    page = {"user_id": "u1", "rows": [{"row": "popular", "k": 2}]}
    assert applied(service.send("POST", "/v1/page", page).json()["rows"][0]) == ["rescue"]
    batch = {"requests": [{"user_id": "u2"}, {"user_id": "u1"}]}
    told = service.send("POST", "/v1/recommend/batch", batch).json()["answers"]
    assert [applied(one) for one in told] == [[], ["rescue"]]


def test_rule_for_an_audience_leaves_alone_whoever_is_held_back(service: Service) -> None:
    assert service.put(CALL).status == 200
    shown = [one["item_id"] for one in service.ask("u1", k=24)["items"]]
    assert "i024" not in shown
    assert "i024" in [one["item_id"] for one in service.ask("u2", k=24)["items"]]


def test_pin_for_some_users_stands_before_the_one_for_everybody(service: Service) -> None:
    other = service.ask("u2")["items"][2]["item_id"]
    everybody = {"id": "all", "pin": [{"item_id": other, "place": 1}]}
    assert service.put(everybody, RESCUE).status == 200
    answer = service.ask("u1")
    assert answer["items"][0]["item_id"] == "i024"
    assert answer["rules_not_applied"] == [{"rule_id": "all", "why": "place 1 is that of 'rescue'"}]
    assert service.ask("u2")["items"][0]["item_id"] == other
    twice = {**RESCUE, "id": "twice"}
    assert service.put(RESCUE, twice, version=1).error["field"] == "rules[1].pin[0].place"


@pytest.mark.parametrize("tier", ["segment", "none"])
def test_below_personal_no_trait_of_the_user_is_read(service: Service, tier: str) -> None:
    service.put(RESCUE)
    plain = service.ask(None, consent=tier)["items"]
    answer = service.ask("u1", consent=tier)
    assert (applied(answer), answer["items"], answer["tier"]) == ([], plain, tier)
    assert service.keyed is not None
    service.keyed.set_tier("u1", Tier(tier), NOW)
    assert applied(service.ask("u1")) == []


def test_segment_tier_knows_what_the_request_declares_and_no_trait(service: Service) -> None:
    assert service.ask("new", consent="segment")["popular_in"] == "surface=home"
    declared = service.ask("new", consent="segment", features={"segment": "gold"})
    assert declared["popular_in"] == "segment=gold"


def test_erased_user_has_no_traits_until_a_later_run(service: Service) -> None:
    service.put(RESCUE)
    assert service.keyed is not None
    users = service.keyed.store()
    users.forget(KEY.handle("u1"), STARTED + 1)
    service.keyed.set_tier("u1", Tier.personal, STARTED + 2)
    assert applied(service.ask("u1")) == []
    users.forget(KEY.handle("u2"), STARTED - 1)
    service.keyed.set_tier("u2", Tier.personal, STARTED + 2)
    service.put({**RESCUE, "users": {"where": "leaves < 0.5"}}, version=1)
    assert applied(service.ask("u2")) == ["rescue"]


def test_next_run_steers_the_next_answer_and_a_trait_that_it_lacks_is_said(service: Service) -> None:
    service.put(RESCUE, CALL)
    rows = ROWS.with_columns(leaves=1 - pl.col("leaves"))
    write_run(service.runs / "2", rows, AUDIENCES)
    write_run(service.runs / "3", rows.drop("leaves"), AUDIENCES)
    for number, expected in (("2", {"u1": ["call"], "u2": ["rescue"]}), ("3", {"u1": ["call"], "u2": []})):
        (service.runs / "latest").unlink()
        (service.runs / "latest").symlink_to(number)
        service.followed.refresh()
        assert {user: applied(service.ask(user, k=24)) for user in expected} == expected
    untold = service.ask("u2")["rules_not_applied"]
    assert untold == [
        {"rule_id": "rescue", "why": "the run of customers 3 has no trait 'leaves', it has ['group', 'town']"}
    ]


@pytest.mark.parametrize(
    ("users", "field", "told"),
    [
        ({"where": "leave > 1"}, "rules[0].users", "no trait 'leave', did you mean 'leaves'"),
        ({"where": "leaves >"}, "rules[0].users.where", "a trait, a number or a 'text'"),
        ({"where": "town > 1"}, "rules[0].users", "compared with a text, got a number"),
        ({"audiences": ["few"]}, "rules[0].users", "tells no audience 'few'"),
        ({}, "rules[0].users.where", "no audience"),
    ],
)
def test_rule_whose_users_cannot_be_told_is_refused(
    service: Service, users: object, field: str, told: str
) -> None:
    for method, path in (("PUT", "/v1/rules"), ("POST", "/v1/rules/dry_run")):
        error = service.send(method, path, {"rules": [{**RESCUE, "users": users}]}).error
        assert (error["field"], told in error["message"]) == (field, True), error


def test_rules_for_users_are_read_as_they_were_put(service: Service) -> None:
    service.put(RESCUE, {**CALL, "users": {"where": "town = 'oslo'", "audiences": ["keep"]}})
    told = service.send("GET", "/v1/rules").json()["rules"]
    assert [one["users"] for one in told] == [
        {"where": "leaves >= 0.5"},
        {"where": "town = 'oslo'", "audiences": ["keep"]},
    ]


def test_why_tells_the_rule_of_a_trait_also_when_the_trait_has_changed(service: Service) -> None:
    gold = {**RESCUE, "users": {"where": "\"group\" = 'gold'"}}
    service.put(gold, CALL)
    answer = service.ask("new")
    write_run(service.runs / "2", ROWS.with_columns(group=pl.lit("")))
    (service.runs / "latest").unlink()
    (service.runs / "latest").symlink_to("2")
    service.followed.refresh()
    told = service.why(answer)
    assert told["replay"]["outcome"] == "agrees"
    assert told["record"]["rules_for_users"] == [
        {"rule_id": "rescue", "where": "\"group\" = 'gold'"},
        {"rule_id": "call", "audiences": ["keep"]},
    ]
    assert "rules_for_users" not in service.why(service.ask("new"))["record"]


def test_why_of_a_row_knows_its_rules_and_the_traits_that_were_stated(service: Service) -> None:
    service.put({**RESCUE, "users": {"where": "\"group\" = 'gold'"}})
    rows = [{"row": "popular", "k": 2}, {"row": "for_you", "k": 2}]
    page = service.send("POST", "/v1/page", {"user_id": "new", "rows": rows}).json()
    popular, own = (service.why(row) for row in page["rows"])
    for told in (popular, own):
        assert told["replay"]["outcome"] == "agrees", told["replay"]
        assert told["record"]["features"] == {"city": "oslo", "segment": "gold"}
    assert popular["record"]["rules"] == ["rescue"]
    assert popular["record"]["rules_for_users"][0]["rule_id"] == "rescue"


def test_surface_states_the_traits_that_it_declares(service: Service) -> None:
    stated = service.ask("u1", surface="plain", features={"city": "rome"})
    assert service.ask("u1")["items"] == stated["items"] != service.ask("u1", surface="plain")["items"]
    # The request stands above the trait.
    assert service.ask("u1", features={"city": "oslo"})["items"] != stated["items"]
    # Neither asked for nor recorded: the release reads no column of that name.
    assert "ignored_features" not in service.ask("u1")
    assert service.why(service.ask("u1"))["record"]["features"] == {"city": "rome"}


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        (NO_CUSTOMERS, "traits.city needs a run of customers, got 'town' and none"),
        (CustomerFacts("r7", {"town": "text"}), "traits.segment must be one of the traits .*'town'.* r7"),
    ],
)
def test_start_names_the_trait_that_a_surface_wants_and_no_run_has(
    service: Service, facts: CustomerFacts, told: str
) -> None:
    file = SurfaceFile.read(service.settings)
    with pytest.raises(ConfigError, match=told):
        file.validate_traits(facts)
    file.validate_traits(service.followed.at_hand.facts)


def test_trait_chooses_the_list_of_what_is_popular(service: Service) -> None:
    rows = [{"row": "popular", "k": 1}, {"row": "popular", "k": 1, "surface": "plain"}]
    page = service.send("POST", "/v1/page", {"user_id": "new", "rows": rows}).json()
    assert [row.get("popular_in") for row in page["rows"]] == ["segment=gold", "surface=home"]


@pytest.mark.parametrize("has_key", [True, False])
def test_dry_run_finds_the_customers_of_decisions(bundle: Path, tmp_path: Path, has_key: bool) -> None:
    service = Service(bundle, tmp_path, has_key=has_key)
    for user in ("u1", "u2", "u1", "nobody", None):
        service.ask(user, surface="plain")
    rows = [{"row": "popular", "k": 2}]
    service.send("POST", "/v1/page", {"user_id": "u1", "surface": "plain", "rows": rows})
    told = service.dry_run(6, RESCUE)
    assert (told["asked"], told["changed"], told["applied"]) == (6, 3, {"rescue": 3})
    assert told["users_untold"] == 0
    service.close()


def test_dry_run_says_whose_users_it_cannot_tell(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_KEY", "x" * 16)
    service = Service(bundle, tmp_path, pseudonyms="SHOP_KEY")
    service.put(RESCUE)
    assert applied(service.ask("u1")) == ["rescue"]
    service.ask(None)
    told = service.dry_run(2, RESCUE)
    assert (told["asked"], told["users_untold"], told["applied"]) == (2, 1, {})
    service.close()


def test_dry_run_asks_a_row_by_its_own_kind(service: Service) -> None:
    rows = [
        {"row": "popular", "k": 3},
        {"row": "continued", "k": 2, "items": ["i003", "i004"]},
        {"row": "new", "k": 1},
    ]
    body = {"history": ["i005", "i009"], "surface": "plain", "rows": rows}
    page = service.send("POST", "/v1/page", body).json()["rows"]
    popular = [one["item_id"] for one in page[0]["items"]]
    pinned = {"id": "first", "pin": [{"item_id": popular[0], "place": 1}]}
    told = service.dry_run(3, pinned)
    # What is popular stands where it stood: only a row that is asked as another question would differ.
    assert (told["asked"], told["left_out"], told["changed"]) == (2, 1, 0)
    assert told["applied"] == {"first": 1}
