"""Forms and audiences of a run of customers over HTTP: as the commands say, and refused in words."""

import asyncio
import hashlib
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from marquee.bundle.traits.run import CustomersRun
from marquee.store.people.consent import Tier
from serving.api.app import RecommendationApp
from serving.api.customers.asked import AskedCustomers
from serving.api.customers.audiences import AudienceRoutes
from serving.api.customers.followed import FollowedRun
from serving.api.customers.scoring import ScoreRoutes
from serving.api.recommend import Endpoints
from serving.config import Settings
from serving.http.guard import Guard, Key, Right
from serving.recording.users import KeyedUsers
from tests.support.asgi import JSON_HEADERS, Response, no_bentoml, request
from tests.support.customers import copied_run, served_table, write_runs
from tests.support.people import KEY
from tests.support.people_service import Worker
from tests.support.surfaces import one_surface
from training.score.__main__ import main as score

FORM = {"plan": "monthly", "months": 3, "fee": 74.5, "since": "2025-12-01"}
NOW = 4_000_000_000  # behind every run


class Service:
    """The two routes over a run, with or without what users said."""

    def __init__(
        self, where: Path | None, users: KeyedUsers | None = None, tier: Tier = Tier.personal
    ) -> None:
        settings = Settings()
        self.followed = FollowedRun(where, start=lambda work: work()) if where else None
        asked = AskedCustomers(self.followed, users, tier)
        self.routes = (ScoreRoutes(asked), AudienceRoutes(asked))
        keys = [
            Key(name=name, sha256=hashlib.sha256(name.encode()).hexdigest(), scopes=[right])
            for name, right in (("people", Right.users), ("app", Right.recommend))
        ]
        endpoints = Endpoints(settings, one_surface(settings))
        self.app = RecommendationApp(no_bentoml, endpoints, settings, Guard(keys), self.routes)

    def send(self, method: str, path: str, body: object = None, key: str = "people") -> Response:
        path, _, query = path.partition("?")
        headers = {**JSON_HEADERS, "authorization": f"Bearer {key}"}
        content = b"" if body is None else json.dumps(body).encode()
        return asyncio.run(request(self.app, method, path, content, headers, query))

    def score(self, columns: object, **more: object) -> Response:
        return self.send("POST", "/v1/score/leaves", {"columns": columns, **more})

    def audience(self, query: str = "", name: str = "keep") -> Any:
        reply = self.send("GET", f"/v1/audiences/{name}?{query}")
        assert reply.status == 200, reply.body
        return reply.json()

    def close(self) -> None:
        for one in self.routes:
            one.close()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder in which the command has run twice, the second time without some who had left."""
    folder = tmp_path_factory.mktemp("shop")
    return write_runs(folder, served_table(), served_table()[60:])


@pytest.fixture(scope="module")
def service(shop: Path) -> Iterator[Service]:
    service = Service(shop / "latest")
    yield service
    service.close()


@pytest.fixture
def users(tmp_path: Path) -> Iterator[KeyedUsers]:
    users = KeyedUsers(str(tmp_path / "events"), KEY)
    yield users
    users.close()


def test_form_is_scored_as_the_command_scores_its_row(
    shop: Path, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = [
        ("two years ", 7, 61.0),
        ("unseen", 12, None),
        (None, 1, 1e6),
        ("NA", 70, -3.5),
        ("yearly", 0, 0.0),
    ]
    extra = pl.DataFrame(
        [
            {
                "customer": f"x{place} {since}",
                "months": months,
                "fee": fee,
                "plan": plan,
                "left": None,
                "since": since,
                "agreed": "personal",
            }
            for place, (plan, months, fee) in enumerate(odd)
            for since in ("2024-01-31", None)
        ],
        schema=served_table(1).schema,
    )
    rows = pl.concat([served_table(120, seed=1), extra])
    rows.drop("left").write_csv(tmp_path / "new.csv")
    monkeypatch.setattr(sys, "argv", ["score", f"run={shop / 'latest'}", f"path={tmp_path / 'new.csv'}"])
    score()
    offline = pl.read_csv(tmp_path / "new.csv.scores.csv")
    for row, said, why in zip(
        rows.drop("customer", "left").to_dicts(), offline["leaves"], offline["leaves_reasons"], strict=True
    ):
        answer = service.score(row).json()
        assert answer["value"] == pytest.approx(said, abs=1e-6)
        signs = ["+" if one["contribution"] > 0 else "-" for one in answer["reasons"]]
        named = [sign + one["column"] for sign, one in zip(signs, answer["reasons"], strict=True)]
        assert named == [one for one in (why or "").split(", ") if one]
        texts = {name: None if value is None else str(value) for name, value in row.items()}
        assert service.score(texts).json()["value"] == answer["value"], "a form of texts is the same form"


def test_answer_says_what_it_rests_on(service: Service) -> None:
    answer = service.score({**FORM, "left": None}).json()
    trait = CustomersRun.open(service.followed.current.folder).traits["leaves"]  # type: ignore[union-attr] # it has one
    assert (answer["trait"], answer["version"], answer["as_of"]) == ("leaves", trait.version, 1772323200.0)
    moves = [abs(one["contribution"]) for one in answer["reasons"]]
    assert moves == sorted(moves, reverse=True)
    assert len(moves) == 3


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"fee": "much"}, "columns.fee", "fee must be a number or null, got 'much'"),
        ({"fee": True}, "columns.fee", "fee must be a number or null, got True"),
        ({"plan": ["monthly"]}, "columns.plan", "plan must be a text, a number or null, got a list"),
        ({"since": "yesterday"}, "columns.since", "since must be a day as 2026-03-01 or null"),
        ({"mnths": 3}, "columns.mnths", "has no column 'mnths'; did you mean 'months'?"),
    ],
)
def test_wrong_column_is_422_and_named(
    service: Service, changes: dict[str, object], field: str, words: str
) -> None:
    reply = service.score({**FORM, **changes})
    assert (reply.status, reply.error["code"], reply.error["field"]) == (422, "invalid_request", field)
    assert words in reply.error["message"]


def test_missing_column_is_422_and_named(service: Service) -> None:
    reply = service.score({name: value for name, value in FORM.items() if name != "months"})
    assert (reply.status, reply.error["field"]) == (422, "columns.months")
    assert "months is missing" in reply.error["message"]


def test_unknown_trait_and_audience_are_404_with_the_list(service: Service) -> None:
    reply = service.send("POST", "/v1/score/nothing", {"columns": FORM})
    assert (reply.status, reply.error["code"]) == (404, "not_found")
    assert "the traits that score are ['leaves'], got 'nothing'" in reply.error["message"]
    reply = service.send("GET", "/v1/audiences/..%2Fkeep")
    assert (reply.status, reply.error["code"]) == (404, "not_found")
    assert "the audiences are ['few', 'keep']" in reply.error["message"]


def test_who_may_not_ask_is_refused(service: Service) -> None:
    for method, path, body in (
        ("POST", "/v1/score/leaves", {"columns": FORM}),
        ("GET", "/v1/audiences/keep", None),
    ):
        assert service.send(method, path, body, key="app").error["code"] == "key_not_sufficient"


def test_service_without_a_run_says_what_to_set() -> None:
    service = Service(None)
    for reply in (service.score(FORM), service.send("GET", "/v1/audiences/keep")):
        assert (reply.status, reply.error["code"]) == (501, "not_configured")
        assert "MARQUEE_TRAITS" in reply.error["message"]
    service.close()


@pytest.mark.parametrize("tier", ["segment", "none"])
def test_consent_below_personal_is_refused(shop: Path, users: KeyedUsers, tier: str) -> None:
    service = Service(shop / "latest", users)
    users.set_tier("u1", Tier(tier), 7)
    for reply in (service.score(FORM, consent=tier), service.score(FORM, user_id="u1", consent="personal")):
        assert (reply.status, reply.error["code"]) == (403, "consent_needed")
        assert f"needs consent of the tier personal, got {tier}" in reply.error["message"]
    assert service.score(FORM, user_id="u2").status == 200
    service.close()


def test_consent_column_of_the_form_counts_as_in_the_table(service: Service) -> None:
    for said, status in (("personal", 200), (" Personal ", 200), ("segment", 403), ("", 403), (None, 403)):
        assert service.score({**FORM, "agreed": said}).status == status, said
    assert service.score({**FORM, "agreed": "personal"}, consent="none").status == 403
    assert service.score({**FORM, "agreed": "none"}, consent="personal").status == 403
    reply = service.score({**FORM, "agreed": "yes"})
    assert (reply.status, reply.error["field"]) == (422, "columns.agreed")


def test_default_tier_holds_where_nobody_said_anything(shop: Path) -> None:
    service = Service(shop / "latest", tier=Tier.none)
    assert service.score(FORM).status == 403
    assert service.score(FORM, consent="personal").status == 200
    service.close()


def test_pages_hold_every_member_in_order(shop: Path, service: Service) -> None:
    pages = [service.audience("limit=50")]
    while "cursor" in pages[-1]:
        pages.append(service.audience(f"limit=50&cursor={pages[-1]['cursor']}"))
    told = [member for page in pages for member in page["members"]]
    file = pl.read_csv(shop / "latest" / "audiences" / "keep.csv")
    assert told == file.select("user_id", "group", "position").to_dicts()
    assert len(pages) == -(-file.height // 50) > 2


def test_changes_since_the_run_before_lead_to_the_members_of_now(shop: Path, service: Service) -> None:
    first, last = sorted(path for path in shop.iterdir() if not path.is_symlink())
    before = Service(first)
    old = before.audience()
    answer = service.audience(f"since={old['token']}")
    before.close()
    assert answer["run"] == last.name
    assert len({one["delivery_id"] for one in answer["changes"]}) == len(answer["changes"]) > 0
    members = {one["user_id"] for one in old["members"]}
    for change in answer["changes"] * 2:
        (members.add if change["change"] == "added" else members.discard)(change["user_id"])
    assert members == {one["user_id"] for one in service.audience()["members"]}
    assert service.audience(f"since={answer['token']}")["changes"] == []
    nobody = CustomersRun(first).manifest.audiences["keep"].before
    from_nothing = service.audience(f"since={nobody}")["changes"]
    assert {one["user_id"] for one in from_nothing if one["change"] == "added"} == members


def test_token_and_cursor_of_what_is_not_kept_are_410(service: Service) -> None:
    for query in ("since=ffffffffffffffff", "cursor=20200101-000000-000.50"):
        reply = service.send("GET", f"/v1/audiences/keep?{query}")
        assert (reply.status, reply.error["code"]) == (410, "cursor_expired")
    for query, field in (("cursor=here", "cursor"), ("limit=0", "limit"), ("limit=1001", "limit")):
        reply = service.send("GET", f"/v1/audiences/keep?{query}")
        assert (reply.status, reply.error["field"]) == (422, field)


def test_audience_below_its_floor_is_told_to_nobody(service: Service) -> None:
    reply = service.send("GET", "/v1/audiences/few")
    assert (reply.status, reply.error["code"]) == (409, "audience_refused")
    assert "has 5 members and needs 100" in reply.error["message"]


def test_who_was_erased_or_withdrew_is_not_named(shop: Path, users: KeyedUsers) -> None:
    service = Service(shop / "latest", users)
    erased, withdrew, *others = [one["user_id"] for one in service.audience()["members"]]
    users.store().forget(users.handle_of(erased), NOW)
    users.set_tier(withdrew, Tier.segment, NOW)
    assert [one["user_id"] for one in service.audience()["members"]] == others
    nobody = CustomersRun(sorted(shop.iterdir())[0]).manifest.audiences["keep"].before
    added = {
        one["user_id"] for one in service.audience(f"since={nobody}")["changes"] if one["change"] == "added"
    }
    assert added == set(others)
    service.close()


def test_who_said_nothing_is_named_as_far_as_the_default_lets_them(shop: Path, tmp_path: Path) -> None:
    users = KeyedUsers(str(tmp_path / "events"), KEY, Tier.segment)
    service = Service(shop / "latest", users, Tier.segment)
    assert service.audience()["members"] == []
    plain = Service(shop / "latest", None, Tier.segment)
    assert plain.audience()["members"] == []
    agreed = Service(shop / "latest").audience()["members"][0]["user_id"]
    users.set_tier(agreed, Tier.personal, NOW)
    assert [one["user_id"] for one in service.audience()["members"]] == [agreed]
    users.close()
    service.close()
    plain.close()


def test_user_is_told_their_traits_until_they_are_erased(shop: Path, tmp_path: Path) -> None:
    worker = Worker(object(), tmp_path / "events", run=FollowedRun(shop / "latest"))  # type: ignore[arg-type] # nobody asks it
    rows = pl.read_parquet(shop / "latest" / "traits.parquet")
    first = rows.row(0, named=True)
    told = worker.user("GET", first["user_id"]).json()["traits"]
    assert told["values"] == {name: value for name, value in first.items() if name != "user_id"}
    assert (told["run"], told["as_of"]) == ((shop / "latest").resolve().name, 1772323200.0)
    assert worker.user("GET", "c00003").json()["traits"] is None, "who is not in the last table"
    assert worker.keyed is not None
    worker.keyed.store().forget(worker.keyed.handle_of(first["user_id"]), NOW)
    assert worker.user("GET", first["user_id"]).json()["traits"] is None
    worker.close()


def test_next_run_is_taken_and_a_broken_one_leaves_the_one_before(shop: Path, tmp_path: Path) -> None:
    first = sorted(path for path in shop.iterdir() if not path.is_symlink())[0]
    shutil.copytree(first, tmp_path / first.name)
    latest = tmp_path / "latest"
    latest.write_text(first.name, encoding="utf-8")  # a file, as on file systems without links
    service = Service(latest)
    followed = service.followed
    assert followed is not None
    next_one = copied_run(shop, tmp_path)
    latest.write_text(next_one.name, encoding="utf-8")
    followed.refresh()
    assert followed.current.name == next_one.name
    broken = Path(shutil.copytree(next_one, tmp_path / "20990102-000000-000"))
    (broken / "traits" / "leaves.json").write_bytes(b"{}")
    latest.write_text(broken.name, encoding="utf-8")
    followed.refresh()
    assert followed.current.name == next_one.name
    assert np.isfinite(service.score(FORM).json()["value"])
    latest.unlink()
    followed.refresh()
    assert service.score(FORM).status == 200
    service.close()


def test_run_that_is_read_for_long_does_not_replace_a_later_one(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, last = sorted(path for path in shop.iterdir() if not path.is_symlink())
    for run in (first, last):
        shutil.copytree(run, tmp_path / run.name)
    later, latest = copied_run(shop, tmp_path), tmp_path / "latest"
    latest.write_text(first.name, encoding="utf-8")
    followed = FollowedRun(latest, start=lambda work: work())
    open_run = CustomersRun.open

    def open_slowly(where: Path) -> CustomersRun:
        run = open_run(where)
        if where.name == last.name:  # the later one is read before this one is
            latest.write_text(later.name, encoding="utf-8")
            followed.refresh()
        return run

    monkeypatch.setattr(CustomersRun, "open", open_slowly)
    latest.write_text(last.name, encoding="utf-8")
    followed.refresh()
    assert followed.current.name == later.name
