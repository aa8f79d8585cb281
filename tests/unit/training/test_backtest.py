"""Which data the trainings of a back-test and of a learning curve may see, and what they are judged on."""

import polars as pl
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from marquee.data.config import DataConfig
from marquee.data.reading.tables import Tables
from marquee.data.split_config import SplitConfig, SplitMethod
from marquee.data.splits import Cutoffs, split_events
from marquee.data.table_config import TableConfig
from marquee.errors import ConfigError
from tests.support.paths import CONFIGS
from tests.support.small_config import small_config
from training.backtest import BacktestConfig, window_starts
from training.config import TrainConfig
from training.learning_curve import LearningCurveConfig, Thinning, before_the_test_part, chooser

DAY_S = 24 * 60 * 60


def _events(n_users: int = 20, n_days: int = 40) -> pl.DataFrame:
    """Every user has one event a day, each of another item; times differ between users."""
    rows = [
        (f"{user}-{day}", f"u{user:02}", f"i{day}", day * DAY_S + user, "click", 1.0)
        for day in range(n_days)
        for user in range(n_users)
    ]
    names = ["event_id", "user_id", "item_id", "timestamp", "kind", "value"]
    return pl.DataFrame(rows, schema=names, orient="row")


def _tables(events: pl.DataFrame) -> Tables:
    return Tables(events, None, None, quality=None)  # type: ignore[arg-type] # nobody reads it here


def _config(split: SplitConfig) -> TrainConfig:
    is_given = split.method is SplitMethod.given
    table = TableConfig(paths={"train": "a", "test": "b"}) if is_given else TableConfig(path="events.parquet")
    return small_config(DataConfig(name="days", events=table, split=split))


def test_windows_follow_each_other_and_end_where_the_test_part_begins() -> None:
    cutoffs = Cutoffs(validation=30 * DAY_S, test=34 * DAY_S)
    config = BacktestConfig(run="", n_windows=3, window_days=5)
    assert window_starts(_events(), cutoffs, config) == (
        (19 * DAY_S, 24 * DAY_S, 29 * DAY_S),
        5 * DAY_S,
    )


def test_a_window_is_as_long_as_the_test_part_unless_told() -> None:
    cutoffs = Cutoffs(validation=30 * DAY_S, test=34 * DAY_S)
    _, length = window_starts(_events(), cutoffs, BacktestConfig(run="", n_windows=1))
    assert length == 5 * DAY_S + 20  # the last event is 19 s into day 39


def test_windows_that_leave_nothing_to_train_on_are_refused() -> None:
    cutoffs = Cutoffs(validation=30 * DAY_S, test=34 * DAY_S)
    with pytest.raises(
        ConfigError, match=r"got 6 windows of 5 days in the 30 days before the test part; lower"
    ):
        window_starts(_events(), cutoffs, BacktestConfig(run="", n_windows=6, window_days=5))


@pytest.mark.parametrize("wrong", [{"n_windows": 0}, {"window_days": -1.0}])
def test_impossible_windows_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="n_windows must be 1 or more and window_days 0 or more, got"):
        BacktestConfig(run="", **wrong)  # type: ignore[arg-type] # one of them is whole


@pytest.mark.parametrize(
    "split",
    [
        SplitConfig(validation_fraction=0.1, test_fraction=0.1),
        SplitConfig(method=SplitMethod.leave_last, n=2),
        SplitConfig(method=SplitMethod.last_fraction, validation_fraction=0.1, test_fraction=0.2),
        SplitConfig(method=SplitMethod.given),
    ],
    ids=lambda split: split.method.value,
)
def test_a_learning_curve_judges_the_validation_part_and_sees_nothing_of_the_test_part(
    split: SplitConfig,
) -> None:
    events = _events()
    if split.method is SplitMethod.given:
        day = pl.col("timestamp") // DAY_S
        part = pl.when(day >= 36).then(pl.lit("test")).when(day >= 32).then(pl.lit("validation"))
        events = events.with_columns(split=part.otherwise(pl.lit("train")))
    config = _config(split)
    run = split_events(events, split)
    earlier, shifted = before_the_test_part(_tables(events), config)
    assert _ids(earlier.events) == _ids(run.train) | _ids(run.validation)
    trial = split_events(earlier.events, shifted)
    assert _ids(trial.test) == _ids(run.validation)
    assert not trial.validation.is_empty()
    assert _ids(trial.train) | _ids(trial.validation) == _ids(run.train)


def test_a_learning_curve_needs_a_validation_part() -> None:
    config = _config(SplitConfig(validation_fraction=0.0))
    with pytest.raises(
        ConfigError, match=r"got 0 events; train with data\.split\.validation_fraction above 0"
    ):
        before_the_test_part(_tables(_events()), config)


def test_the_latest_events_stay() -> None:
    events = _events()
    kept = chooser(Thinning.time, 0.25, seed=0)(events)
    assert kept.height == events.height // 4
    assert kept["timestamp"].min() == events["timestamp"].sort()[-kept.height]


def test_some_users_stay_whole_and_smaller_parts_lie_in_larger_ones() -> None:
    events = _events()
    few, many = (chooser(Thinning.users, fraction, seed=3)(events) for fraction in (0.25, 0.5))
    assert few["user_id"].n_unique() == 5
    assert few.height == 5 * 40
    assert _ids(few) < _ids(many)


@pytest.mark.parametrize("fractions", [[], [0.5, 0.25], [0.0, 1.0], [0.5, 1.5]])
def test_impossible_fractions_are_refused(fractions: list[float]) -> None:
    with pytest.raises(ConfigError, match=r"fractions must be ascending, above 0 and at most 1, got \["):
        LearningCurveConfig(run="", fractions=fractions)


def _ids(events: pl.DataFrame) -> set[str]:
    return set(events["event_id"])


@pytest.mark.parametrize(
    ("name", "override", "expected"),
    [
        ("backtest", "n_windows=5", BacktestConfig(run="runs/x", n_windows=5)),
        ("learning_curve", "by=users", LearningCurveConfig(run="runs/x", by=Thinning.users)),
    ],
)
def test_the_command_line_reaches_the_config(name: str, override: str, expected: object) -> None:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        composed = compose(name, overrides=["run=runs/x", override])
    assert OmegaConf.to_object(composed) == expected
