"""The card of a run: its facts, the gaps and leaks of its users, and the words of people."""

import json
import sys
from pathlib import Path

import pytest
from rich.console import Console

from marquee.bundle.bundle import Bundle
from marquee.bundle.manifest import CARD_FILES
from marquee.errors import ConfigError
from marquee.world import World
from tests.support.small_config import small_config
from tests.support.small_data import write_tiny_world
from training.card.__main__ import main
from training.export import ExportConfig, export
from training.train import train

WORDS = ("purpose", "not_for", "data_source", "consent", "erasures", "limits", "owner", "objection")


@pytest.fixture(scope="module")
def run_folder(tiny_world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("card")
    data = write_tiny_world(tiny_world, folder / "world")
    return train(small_config(data, str(folder / "runs")), Console(quiet=True)).path


def write_card(monkeypatch: pytest.MonkeyPatch, run: Path, *overrides: str) -> int:
    """Returns the exit status of the command."""
    monkeypatch.setattr(sys, "argv", ["card", f"run={run}", *overrides])
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_card_holds_facts_words_gaps_and_leaks(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alarms = run_folder / "drift.json"
    alarms.write_text(json.dumps({"alarms": ["month has shifted"]}))
    tried = run_folder / "experiment.json"
    arms = [{"arm": "new", "verdict": {"conclusion": "ship"}}]
    tried.write_text(json.dumps({"name": "button", "arms": arms}))
    given = [f"card.{word}='words on {word}'" for word in WORDS]
    given += ["protected=[region]", f"drift={alarms}", f"experiments=[{tried}]"]
    assert write_card(monkeypatch, run_folder, *given) == 0
    card = json.loads((run_folder / "card.json").read_text())
    judged = json.loads((run_folder / "evaluation.json").read_text())
    assert card["facts"]["verdict"] == judged["verdict"]["sentence"]
    assert card["facts"]["protocol"]["data fingerprint"] == judged["protocol"]["fingerprint"]
    (gaps,) = card["facts"]["gaps"]
    n_users = sum(group["n"] for group in gaps["groups"]) + sum(gaps["small"].values())
    assert n_users == judged["evaluation"]["counts"]["n_queries"]
    assert card["facts"]["leaks"] or "region" in card["facts"]["unaudited"]
    said = (run_folder / "card.md").read_text()
    assert "temperature:" in said
    # The worths that the run was judged by, verbatim, as they stand in its report.
    assert judged["objective"]["verbatim"] == "click 0.02, conversion 1, revenue 1, diversity 0"
    assert "objective:\n  click: 0.02\n  conversion: 1.0\n" in said
    assert judged["objective"]["verbatim"] in (run_folder / "report.md").read_text()
    assert all(f"words on {word}" in said for word in WORDS)
    assert "month has shifted" in said
    assert "button: new: ship" in said


def test_card_travels_in_the_bundle_and_not_once_it_is_old(
    run_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert write_card(monkeypatch, run_folder, "card=world") == 0
    assert "bundles of before do not carry it: marquee export run=" in " ".join(
        capsys.readouterr().out.split()
    )
    config = ExportConfig(run=str(run_folder), bundles=str(tmp_path))
    bundle = export(config, Console(width=200))
    assert "in the bundle" in capsys.readouterr().out
    for name in CARD_FILES:
        assert (bundle / name).read_bytes() == (run_folder / name).read_bytes()
    assert Bundle.load(bundle).manifest.files.keys() >= CARD_FILES
    numbers = run_folder / "evaluation.json"
    judged = json.loads(numbers.read_text())
    judged["protocol"]["created"] = "2031-01-01T00:00:00+00:00"
    before = numbers.read_text()
    numbers.write_text(json.dumps(judged))
    with pytest.raises(ConfigError, match="the run was judged again 2031-01-01"):
        export(config, Console(quiet=True))
    numbers.write_text(before)


def test_card_without_words_is_not_written(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (run_folder / "card.json").unlink(missing_ok=True)
    assert write_card(monkeypatch, run_folder) == 2
    assert "the card has no words for purpose, not_for" in capsys.readouterr().err
    assert not (run_folder / "card.json").exists()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("protected=[shoe_size]", "the users table has no column 'shoe_size'"),
        ("drift=nothing.json", "the card needs nothing.json"),
    ],
)
def test_missing_facts_are_named(
    run_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    override: str,
    said: str,
) -> None:
    assert write_card(monkeypatch, run_folder, "card=world", override) == 2
    assert said in capsys.readouterr().err
