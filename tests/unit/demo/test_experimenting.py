"""The experiments of the demo: a crowd that clicks as its market says, and reports held against the truth."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from demo.experimenting import EXPERIMENTS, Crowd, wrong_reports
from marquee.decision.experiments.declaring import ExperimentFile
from marquee.world import World, WorldConfig, simulate


@pytest.fixture(scope="module")
def market() -> World:
    return simulate(WorldConfig(seed=3, n_users=60, n_content=40, n_ads=20, n_campaigns=20, n_days=10))


def test_each_person_clicks_own_items_as_often_as_the_market_says(market: World) -> None:
    crowd = Crowd.of(market)
    asked = market.market.requests.take(crowd.requests)
    assert market.users["user_id"].gather(asked.user).to_list() == list(crowd.users)
    items = market.items["item_id"].to_list()
    rng = np.random.default_rng(0)
    slates = [[items[row] for row in rng.permutation(len(items))[: rng.integers(0, 6)]] for _ in crowd.users]
    expected, clicked = crowd.respond(slates)
    for person, slate in enumerate(slates):
        alone, of_alone = crowd.respond([slate if other == person else [] for other in range(len(slates))])
        assert expected[person] == pytest.approx(alone.sum())
        assert clicked[person] == of_alone[person] == [item for item in slate if item in clicked[person]]
    n_clicks = sum(map(len, clicked))
    assert abs(n_clicks - expected.sum()) < 4 * expected.sum() ** 0.5


def report(difference: float, *, is_mismatch: bool = False) -> dict[str, Any]:
    effect = {"difference": difference, "always_high": difference + 0.1}
    metrics = [{"effects": {"effects": [effect]}}]
    return {"sample_ratio": {"is_mismatch": is_mismatch, "observed": {"a": 9, "b": 1}}, "metrics": metrics}


def test_report_far_from_the_truth_is_wrong() -> None:
    assert wrong_reports({"order": report(0.25)}, {"order": 0.35}) == []
    (far,) = wrong_reports({"order": report(0.25)}, {"order": 0.45})
    assert far == "experiment order says 0.250, the truth is 0.450"
    (lost,) = wrong_reports({"order": report(0.25, is_mismatch=True)}, {"order": 0.25})
    assert lost == "experiment order lost people on the way: {'a': 9, 'b': 1}"
    untested = {**report(0.0), "metrics": [{"effects": None, "reasons": ["no variance"]}]}
    assert "could not be tested: ['no variance']" in wrong_reports({"same": untested}, {"same": 0.0})[0]


def test_declarations_are_as_the_service_reads_them(tmp_path: Path) -> None:
    (tmp_path / "experiments.yaml").write_text(EXPERIMENTS, encoding="utf8")
    declared = ExperimentFile.read(tmp_path / "experiments.yaml").experiments
    assert [one.experiment(name).arms for name, one in declared.items()] == [
        ("one", "other"),
        ("drawn", "best"),
    ]
