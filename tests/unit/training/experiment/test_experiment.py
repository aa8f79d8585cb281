"""The command `experiment`: a file of a few lines becomes a report, and mistakes become words."""

import json
import sys
from pathlib import Path

import pytest

from training.experiment.__main__ import main

BUTTON = """\
name: button
root: {folder}
table: {{path: rows.csv}}
arms: {arms}
metrics: {{orders: {{value: orders}}}}
minimum_effect: 0.5
units_per_day: 10
"""


def run(
    monkeypatch: pytest.MonkeyPatch, folder: Path, *overrides: str, arms: str = "{old: 0.5, new: 0.5}"
) -> int:
    """Returns the exit status of the command over a small table."""
    rows = [f"u{row},{'new' if row % 2 else 'old'},{row % 5}" for row in range(400)]
    (folder / "rows.csv").write_text("\n".join(["unit,arm,orders", *rows]))
    (folder / "tests" / "ab").mkdir(parents=True, exist_ok=True)
    (folder / "tests" / "ab" / "button.yaml").write_text(BUTTON.format(folder=folder, arms=arms))
    given = ["ab=button", f"out={folder / 'out'}", *overrides]
    monkeypatch.setattr(sys, "argv", ["experiment", "--config-dir", str(folder / "tests"), *given])
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_a_table_and_a_few_lines_become_a_report(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, tmp_path) == 0
    facts = json.loads((tmp_path / "out" / "button" / "experiment.json").read_text())
    assert facts["n_units"] == {"new": 200, "old": 200}
    assert "new: go on" in capsys.readouterr().out


def test_plan_needs_no_arms_in_the_table(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, tmp_path, "mode=plan", "ab.arm=nothing") == 0
    facts = json.loads((tmp_path / "out" / "button" / "plan.json").read_text())
    assert facts["n_units"] == 400
    assert facts["variance"] == pytest.approx(2.0, abs=0.01)  # of 0, 1, 2, 3, 4
    assert "126 units per arm" in capsys.readouterr().out  # 2 · 2.005 · (2.8016 / 0.5)²


@pytest.mark.parametrize(
    ("arms", "overrides", "said"),
    [
        ("{old: 0.5, new: 0.4}", (), "must each lie in (0, 1] and sum to 1"),
        ("{old: 1.0}", (), "needs two arms or more"),
        ("{old: 0.5, other: 0.5}", (), "arms that were not declared, {'new': 200} rows"),
        ("{old: 0.5, new: 0.5}", ("ab.metrics.orders.value=sales",), "has no column 'sales'"),
        ("{old: 0.5, new: 0.5}", ("ab.table.path=none.csv",), "none.csv"),
        ("{old: 0.5, new: 0.5}", ("ab.weights=3",), "Key 'weights' not in 'ExperimentConfig'"),
    ],
)
def test_mistakes_are_told_in_words(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arms: str,
    overrides: tuple[str, ...],
    said: str,
) -> None:
    assert run(monkeypatch, tmp_path, *overrides, arms=arms) == 2
    words = capsys.readouterr().err
    assert said in words
    assert "Traceback" not in words
