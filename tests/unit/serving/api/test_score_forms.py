"""Forms of every type of trait: scored over HTTP as the run scored its own customers, refused in words."""

import asyncio
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from marquee.bundle.traits.forms.files import NoForm, decode_form, encode_form
from marquee.bundle.traits.forms.text import TextForm
from marquee.data.table_config import TableConfig
from marquee.errors import BundleError
from marquee.marketing.reading.transactions import behaviour
from marquee.marketing.running import CustomersResult
from marquee.marketing.scoring.new_rows import score_new_rows
from serving.api.app import RecommendationApp
from serving.api.customers.asked import AskedCustomers
from serving.api.customers.followed import FollowedRun
from serving.api.customers.scoring import ScoreRoutes
from serving.api.recommend import Endpoints
from serving.config import Settings
from serving.http.guard import Guard, Key, Right
from tests.support.asgi import JSON_HEADERS, Response, no_bentoml, request
from tests.support.shop_tables import TRAITS, run_shop, write_feedback, write_purchases
from tests.support.surfaces import one_surface
from training.customers.folders import CustomersFolder

SECRET = "of the desk"
LEARNERS = {"by_regression": "t", "by_trees": "s"}


def write_users(folder: Path, n: int = 700) -> None:
    """Writes `users.csv`: a city, an age, an arm drawn by lot, and who visited."""
    rng = np.random.default_rng(3)
    age, is_mailed = rng.integers(18, 80, n), rng.random(n) < 0.5
    city = rng.choice(["oslo", "rome", "bonn"], n)
    visits = rng.random(n) < 0.2 + 0.3 * is_mailed * (age > 50)
    pl.DataFrame(
        {
            "who": [f"c{number:03}" for number in range(n)],
            "age": [None if number % 29 == 0 else int(one) for number, one in enumerate(age)],
            "city": city,
            "arm": np.where(is_mailed, "mail", "none"),
            "visit": visits.astype(int),
        }
    ).write_csv(folder / "users.csv")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[CustomersResult, Path]:
    """Returns a run with every type of trait, and its folder."""
    folder = tmp_path_factory.mktemp("shop")
    write_purchases(folder)
    write_feedback(folder)
    write_users(folder)
    uplift = {"type": "uplift", "outcome": "visit = 1", "treated": "arm = 'mail'", "n_resamples": 50}
    traits = {
        **TRAITS,
        "worth_past": {"type": "value", "max_miss": 1e-9, "margin": 0.5},
        "group": {"type": "segment"},
        "crowd": {"type": "segment", "by": "clusters", "columns": ["age", "city"], "k": 3, "min_size": 20},
        **{name: {**uplift, "learner": learner} for name, learner in LEARNERS.items()},
    }
    users = TableConfig(path="users.csv", columns={"user_id": "who"})
    result = run_shop(folder, users=users, traits=traits)
    written = CustomersFolder.open(str(folder / "runs"), "shop")
    written.write(result, "")
    return result, written.path


class Service:
    """The route over a run."""

    def __init__(self, where: Path) -> None:
        settings = Settings()
        self.followed = FollowedRun(where)
        self.routes = ScoreRoutes(AskedCustomers(self.followed, None))
        endpoints = Endpoints(settings, one_surface(settings))
        key = Key(name="desk", sha256=hashlib.sha256(SECRET.encode()).hexdigest(), scopes=[Right.users])
        self.app = RecommendationApp(no_bentoml, endpoints, settings, Guard([key]), [self.routes])

    def send(self, trait: str, columns: object, **more: object) -> Response:
        body = json.dumps({"columns": columns, **more}).encode()
        headers = {**JSON_HEADERS, "authorization": f"Bearer {SECRET}"}
        return asyncio.run(request(self.app, "POST", f"/v1/score/{trait}", body, headers))

    def score(self, trait: str, columns: object, **more: object) -> Any:
        reply = self.send(trait, columns, **more)
        assert reply.status == 200, reply.body
        return reply.json()


@pytest.fixture(scope="module")
def service(shop: tuple[CustomersResult, Path]) -> Iterator[Service]:
    service = Service(shop[1])
    yield service
    service.routes.close()


def forms_of(result: CustomersResult) -> list[dict[str, Any]]:
    """Returns the form of every customer, by the table of purchases."""
    purchases = result.customers.transactions
    assert purchases is not None
    behaved = behaviour(purchases.rows, purchases.as_of, purchases.has_values)
    days = purchases.rows.with_columns(day=pl.col("timestamp") // 86_400)
    days = days.group_by("user_id", "day").agg(pl.col("value").sum()).sort("user_id", "day")
    repeats = days.group_by("user_id", maintain_order=True).agg(repeat_value=pl.col("value").slice(1).mean())
    return behaved.join(repeats, on="user_id").sort("user_id").to_dicts()


@pytest.mark.parametrize("trait", ["worth", "worth_past"])
def test_value_of_a_form_is_that_of_the_run(
    shop: tuple[CustomersResult, Path], service: Service, trait: str
) -> None:
    offline = {row["user_id"]: row for row in shop[0].rows.to_dicts()}
    assert {"worth": "model", "worth_past": "past spend"}[trait] == next(
        one.judged.found.basis for one in shop[0].traits if one.name == trait
    )
    wanted = {
        "worth": ("orders", "recency_days", "tenure_days", "repeat_value"),
        "worth_past": ("orders", "total_value"),
    }[trait]
    for form in forms_of(shop[0])[:80]:
        answer = service.score(trait, {name: form[name] for name in wanted})
        own = offline[form["user_id"]]
        assert answer["value"] == pytest.approx(own[trait], rel=1e-9, abs=1e-6)
        assert answer["parts"]["purchases"] == pytest.approx(own[f"{trait}_purchases"], abs=1e-6)


def test_segment_of_a_form_is_that_of_the_run(shop: tuple[CustomersResult, Path], service: Service) -> None:
    offline = dict(shop[0].rows.select("user_id", "group").iter_rows())
    forms = forms_of(shop[0])
    said = {
        form["user_id"]: service.score("group", {name: form[name] for name in ("recency_days", "orders")})[
            "value"
        ]
        for form in forms[:120]
    }
    assert said == {user: offline[user] for user in said}
    assert len(set(said.values())) > 3
    # Nobody has bought so often: still a segment, and that of the best.
    best = service.score("group", {"recency_days": 0.5, "orders": 900})
    assert (best["value"], best["parts"]) == (
        service.score("group", {"recency_days": 1, "orders": 90})["value"],
        {"r": 5.0, "f": 5.0},
    )


@pytest.mark.parametrize("trait", ["crowd", *LEARNERS])
def test_form_of_attributes_is_scored_as_the_command_scores_a_table(
    shop: tuple[CustomersResult, Path], service: Service, trait: str
) -> None:
    rows = shop[0].customers.rows.head(60)
    form = service.followed.current.forms[trait]
    assert not isinstance(form, NoForm)
    texts = rows.with_columns(pl.exclude("user_id").cast(pl.String))
    offline = score_new_rows(texts, [form])
    for columns, own in zip(rows.drop("user_id").to_dicts(), offline.to_dicts(), strict=True):
        answer = service.score(trait, columns)
        if trait == "crowd":
            assert answer["value"] == own[trait]
        else:
            assert answer["value"] == pytest.approx(own[trait], abs=1e-9)
        for part, number in answer["parts"].items():
            assert number == pytest.approx(own[f"{trait}_{part}"], abs=1e-9)
    # By models that had seen them, whoever was in the experiment; clusters are the same ones.
    values = shop[0].rows[trait].head(60)
    if trait == "crowd":
        assert offline[trait].to_list() == values.to_list()
    else:
        assert np.corrcoef(offline[trait].to_numpy(), values.to_numpy())[0, 1] > 0.5


def test_text_of_a_form_is_scored_as_the_run_scores_it(service: Service) -> None:
    good, bad = (service.score("mood", {"text": one}) for one in ("the parcel is great", "broken again"))
    form = service.followed.current.forms["mood"]
    assert isinstance(form, TextForm)
    assert good["value"] == form.model.score(["the parcel is great"])[0] > 0.5 > bad["value"]
    assert good["version"] == form.model.version
    assert service.send("mood", {"text": "x" * 2001}).error["field"] == "columns.text"


def test_trait_that_no_form_can_score_says_why(service: Service) -> None:
    error = service.send("sales", {}).error
    assert error["code"] == "not_found"
    assert "which no form can be scored by: it forecasts the sales of the shop" in error["message"]
    known = ["by_regression", "by_trees", "crowd", "group", "mood", "worth", "worth_past"]
    assert f"the traits that score are {known}" in error["message"]


@pytest.mark.parametrize(
    ("trait", "columns", "field", "told"),
    [
        ("worth", {"orders": 0}, "orders", "a whole number from 1, got 0"),
        ("worth", {"orders": 1.5}, "orders", "a whole number from 1, got 1.5"),
        ("worth", {"orders": None}, "orders", "a number from 0, got none"),
        ("worth", {"recency_days": 0}, "recency_days", "1 or more"),
        ("worth", {"recency_days": 300}, "tenure_days", "recency_days or more, got 200"),
        ("worth", {"orders": 1}, "tenure_days", "where there is one order, got 200"),
        ("worth", {"repeat_value": -3}, "repeat_value", "a number from 0, got -3"),
        ("group", {"orders": None}, "orders", "a number from 1, got nan"),
        ("group", {"recency_days": -1}, "recency_days", "a number from 0, got -1"),
    ],
)
def test_form_that_cannot_be_is_refused_with_its_field(
    service: Service, trait: str, columns: dict[str, object], field: str, told: str
) -> None:
    whole = {"orders": 3, "recency_days": 20, "tenure_days": 200, "repeat_value": 9.5} | columns
    sent = whole if trait == "worth" else {name: whole[name] for name in ("orders", "recency_days")}
    error = service.send(trait, sent).error
    assert (error["code"], error["field"]) == ("invalid_request", f"columns.{field}")
    assert told in error["message"]


def test_segment_needs_less_consent_than_what_is_said_of_one_person(service: Service) -> None:
    form = {"orders": 3, "recency_days": 20}
    assert service.send("group", form, consent="segment").status == 200
    assert service.send("group", form, consent="none").error["code"] == "consent_needed"
    refused = service.send("mood", {"text": "fine"}, consent="segment").error
    assert "mood is a sentiment of one person and needs consent of the tier personal" in refused["message"]


def test_form_of_another_release_ends_the_start_and_vectors_say_why(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is no form that this release reads"):
        decode_form(b'{"type": "oracle", "name": "x"}', tmp_path)
    told = NoForm("crowd", "it is made of vectors of users, which no form holds")
    assert decode_form(encode_form(told), tmp_path) == told
