"""The price of a surface's rules, and the file that they are read from."""

from pathlib import Path

import numpy as np
import pytest

from marquee.core.catalog import ItemKind
from marquee.core.filters import Filters
from marquee.core.item_lists import ItemLists
from marquee.decision.reranking import Diversity, Reranking
from marquee.errors import ConfigError
from marquee.evaluation.analyses.served_surfaces import SurfaceRules, compare_surface
from training.judging.surfaces import read_surfaces

SURFACES = """
surfaces:
  home:
    bundle: {line}
    defaults: {{k: 12, exclude_seen: false, filters: {{year: {{min: 1990}}}}}}
    filters: {{genre: {{any_of: [drama]}}}}
    reranking: {{diversity: mmr, caps: {{genre: 2}}}}
  sponsored: {{bundle: {line}/v1, kind: ad}}
  other: {{bundle: elsewhere}}
"""


def test_cost_is_what_the_rules_lose_against_the_same_users() -> None:
    targets = ItemLists.of([[1]] * 50 + [[2]] * 50)
    lists = {
        "served": np.tile([2, 0], (100, 1)),  # finds the targets of half of the users, at the first place
        "plain": np.tile([1, 2], (100, 1)),
        "exact": np.tile([2, 3], (100, 1)),
    }
    found = compare_surface(SurfaceRules(name="s"), lists, targets, "mrr@2", np.random.default_rng(0))
    assert found.served.mean == 0.5
    assert found.cost.mean == pytest.approx(0.5 - (0.5 * 1 + 0.5 / 2))
    assert found.cost.low < found.cost.mean < found.cost.high
    assert (found.overlap, found.n_short, found.is_within_tolerance) == (0.5, 100, False)


def test_rules_say_what_they_do() -> None:
    assert SurfaceRules(name="s").words == "no rules"
    rules = SurfaceRules(
        name="s",
        kind=ItemKind.ad,
        filters=Filters.of({"genre": {"any_of": ["drama"]}}),
        reranking=Reranking(caps={"genre": 1}),
        exclude_seen=False,
    )
    assert rules.words == "only ad; filtered by genre; re-ranked by caps; with items seen before"


@pytest.mark.parametrize("bundle", ["line", "line/v1"])
def test_surfaces_of_a_bundle_are_read_with_their_defaults(
    tmp_path: Path, bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "surfaces.yaml").write_text(SURFACES.format(line="line"), encoding="utf-8")
    found = {rules.name: rules for rules in read_surfaces("surfaces.yaml", bundle)}
    assert "other" not in found
    assert found["home"] == SurfaceRules(
        name="home",
        filters=Filters.of({"year": {"min": 1990}, "genre": {"any_of": ["drama"]}}),
        reranking=Reranking(diversity=Diversity.mmr, caps={"genre": 2}),
        exclude_seen=False,
    )
    if bundle == "line/v1":
        assert found["sponsored"] == SurfaceRules(name="sponsored", kind=ItemKind.ad)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("surfaces: [1]", "must hold a mapping `surfaces`"),
        ("surfaces: {home: 3}", "must hold a mapping `surfaces`"),
        ("surfaces: {home: {bundle: elsewhere}}", "no surface of .* is of bundle .*elsewhere"),
        ("surfaces: {home: {bundle: b, kind: poem}}", "surfaces.home in .*: 'poem' is not a valid ItemKind"),
        ("surfaces: {home: {bundle: b, reranking: {vigour: 1}}}", "surfaces.home in .*vigour"),
        ("surfaces: {home: {bundle: b, filters: {genre: {like: 1}}}}", "surfaces.home in .*like"),
        ("{", "surfaces must name a file of surfaces"),
    ],
)
def test_files_that_are_none_are_refused(
    tmp_path: Path, text: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("surfaces.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        read_surfaces("surfaces.yaml", "b")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r"got 'nowhere.yaml'"):
        read_surfaces("nowhere.yaml", "b")
