"""Creatives in the service: said with the answer, drawn by the bandit, on record, counted by the loop."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from marquee.data.loop.attribution import AttributionConfig
from marquee.data.loop.counting import count_shown
from marquee.data.loop.log_source import LogSource
from marquee.data.loop.loop_table import write_loop_table
from marquee.decision.creatives.choosing import CreativeSet, read_creatives
from marquee.decision.policies.config import NO_EXPLORATION, Exploration, PolicyName
from marquee.decision.recommender import Recommender
from marquee.errors import BundleError, ConfigError
from marquee.store.log.event_log import Event
from serving.config import Settings
from serving.recording.opening import OpenedLog
from serving.releases.surface_file import SurfaceFile
from serving.releases.surfaces import DEFAULT, Surface
from tests.support.bundles import NOW, publish_tiny
from tests.unit.serving.recording.test_decisions import Service

DECLARED: list[dict[str, object]] = [
    {"name": "genre", "template": "{genre} & more"},
    {"name": "loud", "template": "{genre}!"},
    {"name": "long", "template": "{genre}", "max_length": 1},
]
THOMPSON = Exploration(policy=PolicyName.thompson, floor=0.02)


def counted(shown: dict[str, int], clicked: dict[str, int]) -> pl.DataFrame:
    """Returns counts of creatives as the loop hands them to a bundle."""
    items = pl.DataFrame({"surface": [DEFAULT], "item_id": ["i001"], "shown": [1], "clicked": [0]})
    creatives = pl.DataFrame(
        {
            "surface": [DEFAULT] * len(shown),
            "creative": list(shown),
            "shown": list(shown.values()),
            "clicked": [clicked[name] for name in shown],
        }
    )
    return pl.concat([items, creatives], how="diagonal")


@pytest.fixture(scope="module")
def recommender(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    counts = counted({"genre": 500, "loud": 500}, {"genre": 5, "loud": 60})
    return Recommender.load(publish_tiny(tmp_path_factory.mktemp("bundles"), click_counts=counts))


@pytest.fixture
def log(tmp_path: Path) -> Iterator[OpenedLog]:
    log = OpenedLog(str(tmp_path / "events"))
    yield log
    log.close()


def service_with(recommender: Recommender, log: OpenedLog | None, creatives: CreativeSet) -> Service:
    return Service(recommender, log, NO_EXPLORATION, creatives)


def test_answer_says_each_item_escaped_and_the_record_by_which_creative(
    recommender: Recommender, log: OpenedLog
) -> None:
    service = service_with(recommender, log, read_creatives(DECLARED))
    (answer,) = service.ask("/v1/recommend", {"user_id": "u1", "k": 4})
    (decision,) = service.written()
    genres = recommender.item_pool.table.values(
        "genre", recommender.item_pool.table.encode([item["item_id"] for item in answer["items"]])
    )
    assert [one["item_id"] for one in answer["creatives"]] == [item["item_id"] for item in answer["items"]]
    for one, genre in zip(answer["creatives"], genres, strict=True):
        if genre is None:
            assert "name" not in one
        else:
            assert (one["name"], one["text"]) == ("genre", f"{genre} & more")
    assert decision.creatives == tuple(one.get("name", "") for one in answer["creatives"])
    assert decision.creative_propensities == (1.0,) * 4


def test_bandit_draws_the_creative_that_was_clicked_and_logs_its_propensity(
    recommender: Recommender, log: OpenedLog
) -> None:
    service = service_with(recommender, log, read_creatives(DECLARED, THOMPSON))
    answers = service.ask("/v1/recommend", *[{"k": 3}] * 60)
    decisions = {one.decision_id: one for one in service.written()}
    drawn: Counter[str] = Counter()
    for answer in answers:
        decision = decisions[answer["decision_id"]]
        said = answer["creatives"]
        assert decision.creatives == tuple(one.get("name", "") for one in said)
        assert decision.creative_propensities == tuple(one.get("propensity", 1.0) for one in said)
        drawn.update(decision.creatives)
    # Twelve clicks for one: the floor alone leaves the other one a hundredth.
    assert drawn["loud"] > 0.9 * (drawn["loud"] + drawn["genre"])
    assert drawn["long"] == 0


def test_what_is_not_on_record_is_not_drawn(recommender: Recommender) -> None:
    service = service_with(recommender, None, read_creatives(DECLARED, THOMPSON))
    answers = service.ask("/v1/recommend", *[{"k": 3}] * 20)
    names = {one["name"] for answer in answers for one in answer["creatives"] if "name" in one}
    assert names == {"genre"}
    service.endpoints.close()


def test_rows_of_a_page_have_creatives_and_their_own_records(
    recommender: Recommender, log: OpenedLog
) -> None:
    service = service_with(recommender, log, read_creatives(DECLARED, THOMPSON))
    body = {"user_id": "u1", "rows": [{"row": "for_you", "k": 3}, {"row": "popular", "k": 2}]}
    (page,) = service.ask("/v1/page", body)
    decisions = {one.decision_id: one for one in service.written()}
    for row in page["rows"]:
        assert [one["item_id"] for one in row["creatives"]] == [item["item_id"] for item in row["items"]]
        assert {one["name"] for one in row["creatives"]} <= {"genre", "loud"}
        record = decisions[row["decision_id"]]
        assert record.creatives == tuple(one["name"] for one in row["creatives"])
        assert record.creative_propensities == tuple(one.get("propensity", 1.0) for one in row["creatives"])


def test_surface_without_creatives_says_nothing_of_them(recommender: Recommender, log: OpenedLog) -> None:
    service = Service(recommender, log, NO_EXPLORATION)
    (answer,) = service.ask("/v1/recommend", {"k": 3})
    (decision,) = service.written()
    assert "creatives" not in answer
    assert decision.creatives == ()


def test_loop_counts_creatives_as_they_were_shown_and_clicked(
    recommender: Recommender, log: OpenedLog, tmp_path: Path
) -> None:
    service = service_with(recommender, log, read_creatives(DECLARED))
    answers = service.ask("/v1/recommend", *[{"user_id": f"u{n}", "k": 4} for n in range(1, 6)])
    decisions = service.written()
    first = [(answer["decision_id"], answer["creatives"][0]) for answer in answers]
    log.get().append(
        [
            Event(
                event_id=f"e{number}",
                kind="click",
                item_id=one["item_id"],
                timestamp=NOW + 5,
                sent_timestamp=NOW + 5,
                received=NOW + 5,
                decision_id=decision_id,
            )
            for number, (decision_id, one) in enumerate(first)
        ]
    )
    config = AttributionConfig(click_window_hours=1, conversion_window_days=1)
    write_loop_table(LogSource(log.get(), tmp_path / "closed"), NOW + 3 * 86_400, tmp_path / "table", config)
    counts = count_shown(tmp_path / "table").filter(pl.col("creative").is_not_null())
    shown = Counter(name for decision in decisions for name in decision.creatives if name)
    clicked = Counter(one["name"] for _, one in first if "name" in one)
    assert {row["creative"]: row["shown"] for row in counts.to_dicts()} == dict(shown)
    assert {row["creative"]: row["clicked"] for row in counts.to_dicts()} == dict(clicked)


def test_template_of_a_field_that_no_item_has_does_not_fit_the_release(recommender: Recommender) -> None:
    creatives = read_creatives([{"name": "price", "template": "{prize}"}])
    surface = Surface(name="home", bundle="", settings=Settings(), creatives=creatives)
    with pytest.raises(BundleError, match=r"does not fit surface 'home'.*no attribute 'prize'"):
        surface.validate(recommender)


@pytest.mark.parametrize(
    ("creatives", "words"),
    [
        ("{templates: []}", "length >= 1"),
        ("{templates: [{name: a, template: plain}]}", "names no field"),
        ("{templates: [{name: a, template: '{t}'}], drawing: {}}", "unknown field `drawing`"),
        ("{templates: [{name: a, template: '{t}'}], policy: {name: thompson}}", "must be on record"),
    ],
)
def test_wrong_creatives_stop_the_start_and_say_where(tmp_path: Path, creatives: str, words: str) -> None:
    path = tmp_path / "surfaces.yaml"
    path.write_text(f"surfaces: {{home: {{bundle: b, creatives: {creatives}}}}}", encoding="utf-8")
    with pytest.raises(ConfigError, match=words):
        SurfaceFile.read(Settings(surfaces=str(path)))


def test_declared_creatives_are_those_of_the_surface(tmp_path: Path) -> None:
    path = tmp_path / "surfaces.yaml"
    declared = {"templates": DECLARED, "policy": {"name": "thompson", "floor": 0.02}}
    path.write_text(
        json.dumps({"surfaces": {"home": {"bundle": "b", "creatives": declared}}}), encoding="utf-8"
    )
    (surface,) = SurfaceFile.read(Settings(surfaces=str(path), events=str(tmp_path))).surfaces
    assert surface.creatives == read_creatives(DECLARED, THOMPSON)
