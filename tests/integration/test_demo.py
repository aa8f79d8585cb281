"""`python -m demo`, whole: a small market becomes a report, a bundle and answers."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from demo.processes import ROOT

SMALL = (
    "data.world.n_days=30",
    "data.world.n_users=300",
    "data.world.n_content=120",
    "data.world.n_ads=40",
    "data.world.n_campaigns=20",
    "data.world.n_advertisers=10",
    "trainer.epochs=2",
)


@pytest.mark.slow
@pytest.mark.server
def test_demo_goes_from_events_to_answers(tmp_path: Path) -> None:
    folders = [f"{key}={tmp_path / name}" for key, name in (("data.root", "data"), ("runs", "runs"))]
    command = [
        sys.executable,
        "-m",
        "demo",
        "data=world",
        *folders,
        f"bundles={tmp_path / 'bundles'}",
        *SMALL,
    ]
    store = tmp_path / "bentoml"
    environment = {**os.environ, "BENTOML_HOME": str(store)}
    ran = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert list(store.glob("models/*/*/manifest.json"))  # registered as a BentoML model too
    for heading in (
        "content for a known user",
        "content for an unknown user",
        "ads for an anonymous history",
        "content for the same user",
    ):
        assert heading in ran.stdout
    named = dict(re.findall(r"^(report|bundle) +(/.+)$", ran.stdout, flags=re.MULTILINE))
    assert "<html" in Path(named["report"]).read_text(encoding="utf8")
    assert (Path(named["bundle"]) / "manifest.json").is_file()
    assert "wrong:" not in ran.stdout
    assert re.search(
        r"^The loop has published: the running service answers by", ran.stdout, flags=re.MULTILINE
    )
    assert re.search(r"^[0-5] of 5 belong to the trend", ran.stdout, flags=re.MULTILINE)
    assert re.search(r"│ same +│ +\d+ / \d+ │.*│ \+0\.000 │", ran.stdout), "the A/A test beside its truth"
    assert re.search(r"│ order +│ +\d+ / \d+ │.*│ \+\d\.\d+ │", ran.stdout), "and the A/B test"
    assert re.search(r"the best order would\s+earn|not identifiable", ran.stdout), "an arm before it is shown"
    assert "alarm: propensity has shifted" in ran.stdout
    assert "its sections: Purpose, Data" in ran.stdout
    assert re.search(r"is an ad on behalf of [\w ]+, paid by [\w ]+ Ltd: 0\.\d+ an? \w+;", ran.stdout)
    assert re.search(r"a-small-budget: \d+ ads shown, \d+ charged, 0\.0\d+ of 0\.051", ran.stdout)
    assert re.search(r"^[\d,]+ impressions for [\d.]+; 0\.\d+ is left", ran.stdout, flags=re.MULTILINE)
    assert "does a click lead to a purchase?" in ran.stdout
    assert re.search(r"champions", ran.stdout)
    audience = re.search(r"^audience of the first leads: (.+)$", ran.stdout, flags=re.MULTILINE)
    assert audience is not None
    assert len(Path(audience[1]).read_text(encoding="utf8").splitlines()) == 201
    assert re.search(r"^model reaches ndcg@10 .*popularity.*item_knn", ran.stdout, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("data=no-such-data", "data must be one of .*world.*, got 'no-such-data'"),
        ("movielens-100k", "must have the form key=value, got 'movielens-100k'"),
    ],
    ids=["unknown data", "no key"],
)
def test_wrong_argument_is_told_before_anything_starts(argument: str, expected: str) -> None:
    command = [sys.executable, "-m", "demo", argument]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert re.search(f"demo failed: .*{expected}", ran.stderr)
