"""A run is back-tested and its learning curve drawn: into its report, without reading the test part again."""

import json
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from rich.console import Console

from marquee.data.split_config import SplitConfig, SplitMethod
from marquee.errors import ConfigError
from marquee.evaluation.analyses.retraining import RetrainingSeries
from marquee.world import World
from tests.support.small_config import small_config
from tests.support.small_data import write_tiny_world
from training.backtest import BacktestConfig, backtest
from training.judging.retraining import RETRAINING_FILE
from training.learning_curve import LearningCurveConfig, Thinning, learning_curve
from training.runs.folders import RunFolder
from training.train import train

QUIET = Console(quiet=True)


@dataclass(frozen=True)
class Tried:
    """A run with all its retrainings, and how its report read before them."""

    run: RunFolder
    before: str
    windows: RetrainingSeries
    curve: RetrainingSeries

    def page(self) -> str:
        return (self.run.path / "report.html").read_text(encoding="utf-8")


def _windows(run: RunFolder) -> BacktestConfig:
    return BacktestConfig(run=str(run.path), n_windows=2, window_days=3)


def _curve(run: RunFolder) -> LearningCurveConfig:
    return LearningCurveConfig(run=str(run.path), by=Thinning.users, fractions=[0.5, 1.0])


@pytest.fixture(scope="module")
def tried(tiny_world: World, tmp_path_factory: pytest.TempPathFactory) -> Tried:
    folder = tmp_path_factory.mktemp("tried")
    data = write_tiny_world(tiny_world, folder / "world")
    run = train(small_config(data, str(folder / "runs")), QUIET)
    before = (run.path / "report.html").read_text(encoding="utf-8")
    return Tried(run, before, backtest(_windows(run), QUIET), learning_curve(_curve(run), QUIET))


def test_the_report_says_first_how_to_get_them_and_then_what_they_found(tried: Tried) -> None:
    for command in ("training.backtest", "training.learning_curve"):
        assert f"python -m {command} run={tried.run.path}" in tried.before
        assert f"python -m {command}" not in tried.page()
    for series in (tried.windows, tried.curve):
        for retraining in series.retrainings:
            assert f'<th scope="row">{retraining.label}</th>' in tried.page()


def test_json_and_markdown_follow(tried: Tried) -> None:
    written = json.loads((tried.run.path / "evaluation.json").read_text(encoding="utf-8"))
    assert RetrainingSeries.from_json_dict(written["backtest"]) == tried.windows
    assert RetrainingSeries.from_json_dict(written["learning_curve"]) == tried.curve
    assert set(written["absent"]) <= {"ageing"}
    markdown = (tried.run.path / "report.md").read_text(encoding="utf-8")
    assert tried.windows.design in markdown


def test_the_test_part_is_read_once_all_the_same(tried: Tried) -> None:
    assert (tried.run.path / "readings.txt").read_text(encoding="utf-8").count("test\t") == 1
    assert len(re.findall("read .* times for this run", tried.page())) == 0


def test_windows_lie_before_the_test_part_and_grow(tried: Tried) -> None:
    first, second = tried.windows.retrainings
    assert 0 < first.n_train_events < second.n_train_events
    assert first.label.partition(" to ")[2] == second.label.partition(" to ")[0]


def test_a_learning_curve_judges_the_same_users_and_targets(tried: Tried) -> None:
    few, many = tried.curve.retrainings
    assert few.n_train_events < many.n_train_events
    assert (few.n_users, few.n_targets) == (many.n_users, many.n_targets)


def test_what_is_done_is_not_done_again(tried: Tried) -> None:
    results = sorted(tried.run.path.glob(f"*/*/{RETRAINING_FILE}"))
    assert len(results) == 4
    written = [path.stat().st_mtime_ns for path in results]
    assert backtest(_windows(tried.run), QUIET) == tried.windows
    assert learning_curve(_curve(tried.run), QUIET) == tried.curve
    assert [path.stat().st_mtime_ns for path in results] == written


def test_trials_of_other_settings_are_made_anew(tried: Tried, tmp_path: Path) -> None:
    copy = RunFolder(tmp_path / "copy")
    shutil.copytree(tried.run.path, copy.path)
    config = copy.read_config()
    copy.write_config(replace(config, examples=replace(config.examples, batch_size=8)))
    again = backtest(replace(_windows(copy), n_windows=1), QUIET)
    (retraining,) = again.retrainings
    assert retraining.label == tried.windows.retrainings[1].label
    assert retraining.estimates != tried.windows.retrainings[1].estimates


def test_a_back_test_without_cutoffs_in_time_is_refused(tried: Tried, tmp_path: Path) -> None:
    run, config = RunFolder(tmp_path), tried.run.read_config()
    split = SplitConfig(method=SplitMethod.leave_last)
    run.write_config(replace(config, data=replace(config.data, split=split)))
    with pytest.raises(ConfigError, match=r"needs cutoffs in time, got data\.time=absolute and .*leave_last"):
        backtest(_windows(run), QUIET)


def test_the_latest_events_of_data_without_moments_are_refused(tried: Tried, tmp_path: Path) -> None:
    run, config = RunFolder(tmp_path), tried.run.read_config()
    split = SplitConfig(method=SplitMethod.leave_last)
    data = replace(config.data, split=split, time=type(config.data.time)("order"))
    examples = replace(config.examples, half_life_days=0.0)
    run.write_config(replace(config, data=data, examples=examples))
    with pytest.raises(ConfigError, match=r"by=time keeps the latest events.* got order; choose by=users"):
        learning_curve(replace(_curve(run), by=Thinning.time), QUIET)
