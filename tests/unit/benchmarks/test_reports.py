"""A small share of what `python -m benchmarks.reports --check` measures, with the seed fixed."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import click_probabilities, reports
from marquee.errors import DataError

N_WORLDS = 200
SLACK = 0.03  # of 200 worlds in place of 1,000


@pytest.mark.slow
@pytest.mark.parametrize(
    "world", [reports.WORLDS[0], reports.WORLDS[2], reports.WORLDS[6]], ids=lambda w: w.name
)
def test_intervals_hold_the_truth_of_simulated_worlds(world: reports.MetricWorld) -> None:
    covered, _ = reports.coverage(world, N_WORLDS, np.random.default_rng(0))
    assert 0.93 - SLACK <= covered <= 0.97 + SLACK


@pytest.mark.slow
def test_alike_models_are_rarely_told_apart_and_the_stated_size_is_mostly_found() -> None:
    generator = np.random.default_rng(0)
    assert reports.false_positives(N_WORLDS, generator) <= 0.05 + SLACK
    assert 0.80 - 3 * SLACK <= reports.power(N_WORLDS, generator) <= 0.80 + 3 * SLACK


@pytest.mark.slow
def test_a_verdict_on_alike_baselines_is_rarely_more_than_undecided() -> None:
    verdicts, any_one = reports.false_verdicts(60, np.random.default_rng(0))
    assert verdicts <= any_one <= 0.05 + 2 * SLACK


def test_a_line_outside_its_tolerance_fails_the_check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = reports.Line("good", 0.95, 0.93, 0.97), reports.Line("bad", 0.5, 0.93, 0.97)
    monkeypatch.setattr(reports, "speed_lines", lambda: iter(()))
    for lines, arguments, status in (([good], ["--check"], 0), ([good, bad], ["--check"], 1), ([bad], [], 0)):
        monkeypatch.setattr("sys.argv", ["reports", *arguments])
        monkeypatch.setattr(reports, "measure", lambda _, lines=lines: iter(lines))
        assert reports.main() == status
        assert ("OUTSIDE" in capsys.readouterr().out) is (bad in lines)


def test_a_campaign_is_judged_as_given_and_calibrated_beside_scikit_learn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    generator = np.random.default_rng(0)
    truth = generator.beta(1, 9, 4000)
    said = np.clip(2 * truth, 0, 1)  # twice too much
    lines = [
        f"{int(click)} {price} {probability!r}"
        for click, price, probability in zip(
            generator.random(4000) < truth, generator.integers(1, 300, 4000), said.tolist(), strict=True
        )
    ]
    path = tmp_path / "auctions.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["click_probabilities", str(path), "--check"])
    assert click_probabilities.main() == 0
    said_on_screen = capsys.readouterr().out
    assert "as given" in said_on_screen
    judged, _ = click_probabilities.judge_auctions(click_probabilities.read_auctions(path))
    given, logistic, *_ = judged.sources
    assert given.metrics["calibration_ratio"].low > 1.5
    assert logistic.metrics["calibration_ratio"].low < 1 < logistic.metrics["calibration_ratio"].high


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must hold `click price probability` per line"):
        click_probabilities.read_auctions(tmp_path / "nothing.txt")
