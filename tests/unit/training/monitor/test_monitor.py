"""The command `monitor`: quiet, or an alarm and exit status 2, with a page either way."""

import json
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from training.monitor.__main__ import main


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, shift: float, *overrides: str) -> int:
    """Returns the exit status of the command over two small tables."""
    rng = np.random.default_rng(0)
    for name, moved in (("before", 0.0), ("now", shift)):
        n = 800
        score = rng.uniform(0.1, 0.5, n)
        rows = {"x": rng.normal(moved, 1, n), "score": score, "label": (rng.random(n) < score).astype(int)}
        pl.DataFrame(rows).write_csv(folder / f"{name}.csv", separator=";")
    given = ["reference=before.csv", "current=now.csv", f"root={folder}", "table.separator=';'"]
    given += ["score=score", "label=label", f"out={folder / 'out'}", *overrides]
    monkeypatch.setattr(sys, "argv", ["monitor", *given])
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_stable_tables_end_well(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, tmp_path, 0.0) == 0
    assert "quiet" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "drift.json").read_text())["alarms"] == []
    assert "Nothing has shifted" in (tmp_path / "out" / "drift.html").read_text()


def test_shift_ends_with_an_alarm_and_a_page(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, tmp_path, 1.5) == 2
    assert "alarm: x has shifted: index" in capsys.readouterr().out
    facts = json.loads((tmp_path / "out" / "drift.json").read_text())
    assert [column["name"] for column in facts["columns"] if column["has_drifted"]] == ["x"]
    assert facts["labels"]["current"]["n"] == 800
    assert "1 alarms" in (tmp_path / "out" / "drift.md").read_text()


def test_missing_file_is_told_in_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, tmp_path, 0.0, "current=none.csv") == 2
    words = capsys.readouterr().err
    assert "none.csv" in words
    assert "Traceback" not in words
