"""The command `off_policy`: a value, or exit status 3 where the log cannot speak."""

import json
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from training.off_policy.__main__ import main


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, *overrides: str) -> int:
    """Returns the exit status of the command over a small log."""
    rng = np.random.default_rng(0)
    action = rng.integers(0, 2, 2000)
    rows = {
        "action": action,
        "propensity": 0.5,
        "reward": (rng.random(2000) < 0.2 + 0.3 * action).astype(int),
    }
    pl.DataFrame(rows).with_columns(target=0.1 + 0.8 * pl.col("action")).write_csv(folder / "log.csv")
    given = ["ope=table", "ope.table.path=log.csv", f"ope.root={folder}", f"out={folder / 'out'}"]
    monkeypatch.setattr(sys, "argv", ["off_policy", *given, *overrides])
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_better_candidate_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, tmp_path) == 0
    assert "Earns more: the candidate would have earned 0.4" in capsys.readouterr().out
    facts = json.loads((tmp_path / "out" / "off_policy.json").read_text())
    assert facts["verdict"] == "identifiable"
    assert facts["estimates"]["self_normalised"]["low"] < 0.47 < facts["estimates"]["self_normalised"]["high"]


def test_log_that_cannot_speak_shows_no_number(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, tmp_path, "ope.target=''", "+ope.candidate.other=1.0") == 3
    assert "Not identifiable" in capsys.readouterr().out
    facts = json.loads((tmp_path / "out" / "off_policy.json").read_text())
    assert facts["estimates"] is None
    assert "Values" not in (tmp_path / "out" / "off_policy.md").read_text()
