"""Explanations agree with answers of every policy, arm, creative and role of a release, on both stores."""

import gc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from marquee.bundle.releases import Candidate, Role, activate
from marquee.decision.experiments.assignment import Holdout
from marquee.decision.recommender import Recommender
from serving.api.explaining.messages import WhyAnswer
from serving.releases.answering import Loaded
from tests.support.bundles import publish_tiny
from tests.support.event_stores import postgres_server
from tests.support.experiment_service import Service
from tests.unit.serving.releases.test_experiments import versions

HOME, FEED = "home", "feed"
SURFACES = """
default: home
surfaces:
  home:
    bundle: {bundle}
    creatives:
      templates: [{{name: genre, template: "{{genre}}!"}}, {{name: more, template: "{{genre}} & more"}}]
      policy: {{name: thompson, floor: 0.1}}
  feed:
    bundle: {bundle}
    policy: {{name: thompson, prior_clicks: 1, prior_passes: 4, floor: 0.02}}
    reranking: {{freshness_weight: 0.2, diversity: mmr}}
"""
EXPERIMENTS = """
holdout: {{share: 0.05}}
experiments:
  releases: {{arms: {{old: {{weight: 0.5}}, new: {{weight: 0.5, release: {other}}}}}}}
  orders:
    surfaces: [home]
    arms:
      plain: {{weight: 0.5}}
      drawn: {{weight: 0.5, reranking: {{diversity: mmr}}, policy: {{name: softmax, floor: 0.2}}, k: 4}}
"""


@pytest.fixture(autouse=True)
def _unfrozen() -> Iterator[None]:
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three releases with counts of clicks; the first is current."""
    counts = pl.DataFrame(
        {
            "surface": [FEED] * 6 + [HOME] * 2,
            "item_id": [f"i{number:03d}" for number in range(1, 7)] + [None] * 2,
            "creative": [None] * 6 + ["genre", "more"],
            "shown": [60] * 6 + [500] * 2,
            "clicked": [2, 9, 14, 12, 5, 30, 20, 60],
        }
    )
    folder = tmp_path_factory.mktemp("bundles")
    paths = [publish_tiny(folder, seed=seed, has_item_bias=True, click_counts=counts) for seed in range(3)]
    activate(paths[0])
    return paths[0].parent


@pytest.fixture(params=["sqlite", "postgres"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield str(tmp_path / "log")
        return
    with postgres_server() as server:
        yield server.empty()


def body_of(number: int) -> tuple[str, dict[str, object]]:
    """Returns a path and a body."""
    body: dict[str, object] = {
        "user_id": f"u{number % 8}" if number % 3 else f"caller-{number}",
        "surface": FEED if number % 2 else HOME,
    }
    if number % 4:
        body["history"] = [
            {"item_id": f"i{1 + (number * place) % 27:03d}", "kind": "click"} for place in (3, 5)
        ]
    if number % 10 == 0:
        return "/v1/page", {**body, "rows": [{"k": 3}, {"row": "popular", "k": 2, "surface": FEED}]}
    if number % 15 == 1:
        del body["user_id"]
    return "/v1/recommend", body


def test_explanations_agree_whatever_answered(
    home: Path, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Users that the release knows and one that it does not.
    monkeypatch.setattr(Holdout, "includes", lambda _self, user: user in ("u1", "u4", "caller-9"))
    other, third = set(versions(home)) - {(home / "CURRENT").read_text().strip()}
    (tmp_path / "surfaces.yaml").write_text(SURFACES.format(bundle=home))
    text = EXPERIMENTS.format(other=other)
    service = Service("", tmp_path, text, where, surfaces=str(tmp_path / "surfaces.yaml"), events=where)
    channel = service.surfaces.channel(service.surfaces.named(HOME))
    canary = Loaded(Candidate(Role.canary, third, 0.4), Recommender.load(home / third))
    channel.state.set_candidate(Role.canary, canary)
    told: list[Any] = []
    for number in range(120):
        path, body = body_of(number)
        (answer,) = service.ask(body, path=path)
        told += [(answer.get("version"), row) for row in answer.get("rows", [answer])]
    seen: Counter[str] = Counter()
    for version, answer in told:
        reply = service.send("GET", f"/v1/why/{answer['decision_id']}")
        explained = msgspec.json.decode(reply.body, type=WhyAnswer)
        assert explained.replay.outcome == "agrees", (answer, explained.record, explained.replay)
        assert explained.record.release == version
        assert [one.item_id for one in explained.items] == [one["item_id"] for one in answer["items"]]
        creatives = [one.get("name") for one in answer.get("creatives", [])]
        assert [one.creative for one in explained.items] == creatives or not creatives
        arms = {one.experiment: one.arm for one in explained.record.experiments}
        if "experiments" in answer:
            assert arms == answer["experiments"]
        seen.update(f"{experiment} {arm}" for experiment, arm in arms.items())
        seen[explained.record.policy] += any(one.propensity < 1 for one in explained.items)
        seen["creatives"] += bool(creatives)
    service.written()
    expected = {"releases old", "releases new", "orders plain", "orders drawn", "canary canary"}
    assert expected <= seen.keys()
    assert {"canary control", "holdout held_out", "holdout served"} <= seen.keys()
    assert min(seen["thompson"], seen["softmax"], seen["creatives"]) > 10
