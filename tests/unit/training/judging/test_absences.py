"""Why a section over time is not in a report, in words that say what to do."""

from pathlib import Path

import polars as pl
import pytest

from marquee.core.schema import TimeMeaning
from marquee.data.config import DataConfig
from marquee.data.split_config import SplitConfig, SplitMethod
from marquee.data.splits import Cutoffs, Split
from marquee.data.table_config import TableConfig
from tests.support.small_config import small_config
from training.config import TrainConfig
from training.judging.ageing import absences
from training.runs.folders import BACKTEST, LEARNING_CURVE, RunFolder
from training.runs.prepare import Prepared

BY_USER = SplitConfig(method=SplitMethod.leave_last)


def _absences(
    folder: Path, split: SplitConfig, time: TimeMeaning, *, has_aged: bool = False
) -> dict[str, str]:
    nothing = pl.DataFrame()
    cutoffs = Cutoffs(1, 2) if split.method is SplitMethod.time else None
    prepared = Prepared(None, Split(nothing, nothing, nothing, "", cutoffs), None, None, None)  # type: ignore[arg-type] # only the split is read
    return absences(prepared, _config(split, time), RunFolder(folder), "test", has_aged=has_aged)


def _config(split: SplitConfig, time: TimeMeaning) -> TrainConfig:
    return small_config(DataConfig(name="set", events=TableConfig(path="a.csv"), time=time, split=split))


@pytest.mark.parametrize("time", [TimeMeaning.none, TimeMeaning.order])
def test_data_without_moments_have_neither_age_nor_windows(time: TimeMeaning, tmp_path: Path) -> None:
    found = _absences(tmp_path, BY_USER, time)
    for name in ("ageing", BACKTEST):
        assert found[name].startswith(f"Not there: the data set has no moments in time (data.time={time})")
    assert found[LEARNING_CURVE].endswith(f"`python -m training.learning_curve run={tmp_path} by=users`")


def test_a_split_by_user_has_neither_age_nor_windows_and_the_reason_names_the_way_out(tmp_path: Path) -> None:
    found = _absences(tmp_path, BY_USER, TimeMeaning.absolute)
    for name in ("ageing", BACKTEST):
        assert "data.split.method=leave_last" in found[name]
        assert "Split by time (data.split.method=time)" in found[name]


def test_a_short_part_is_named_as_the_reason(tmp_path: Path) -> None:
    found = _absences(tmp_path, SplitConfig(), TimeMeaning.absolute)
    assert "the test part has fewer than two days with 50 users" in found["ageing"]
    assert f"`python -m training.backtest run={tmp_path} n_windows=3`" in found[BACKTEST]


def test_what_is_there_needs_no_reason(tmp_path: Path) -> None:
    for name in (BACKTEST, LEARNING_CURVE):
        RunFolder(tmp_path).trials_file(name).write_text("{}", encoding="utf-8")
    assert _absences(tmp_path, SplitConfig(), TimeMeaning.absolute, has_aged=True) == {}
