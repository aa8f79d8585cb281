"""`python -m training.backtest run=… n_windows=3`: would the model have done as well at earlier times?

Trains and judges anew at successive cutoffs (rolling origin) and puts the result into the run's report. All
windows lie before the run's test part, which is not read.

Source: Tashman 2000, International Journal of Forecasting 16(4), "rolling origin".
"""

import logging
from dataclasses import dataclass, replace

import polars as pl
from rich.console import Console

from marquee.core.moments import day_text
from marquee.core.schema import TimeMeaning
from marquee.data.reading.tables import Tables
from marquee.data.split_config import SplitConfig, SplitMethod
from marquee.data.splits import Cutoffs, split_events
from marquee.errors import ConfigError
from marquee.evaluation.analyses.retraining import RetrainingSeries
from training.cli.command import command
from training.cli.console import open_console
from training.config import TrainConfig
from training.judging.retraining import Plan, run_retrainings, show_series
from training.runs.folders import BACKTEST, RunFolder
from training.runs.prepare import read, require_trained_data

DAY_S = 24 * 60 * 60


@dataclass(kw_only=True)
class BacktestConfig:
    """The settings of a backtest: which run to train again, and how often.

    Attributes:
        run: Folder of the run, or `latest`.
        n_windows: Cutoffs, one after the other; the last window ends where the run's test part begins.
        window_days: What each model is judged on; 0 for as long as the run's test part.
    """

    run: str
    n_windows: int = 3
    window_days: float = 0.0

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError if a number is out of range."""
        if self.n_windows < 1 or self.window_days < 0:
            raise ConfigError(
                "n_windows must be 1 or more and window_days 0 or more, got "
                f"{self.n_windows} and {self.window_days}"
            )


def backtest(config: BacktestConfig, console: Console) -> RetrainingSeries:
    """Trains and judges at successive cutoffs, and writes the result into the run's folder and report.

    Raises:
        ConfigError: If the run's split is not by time, or so many windows do not fit before its test part.
    """
    folder = RunFolder.find(config.run)
    run_config = folder.read_config()
    data = run_config.data
    if data.time is not TimeMeaning.absolute or data.split.method is not SplitMethod.time:
        raise ConfigError(
            f"a back-test needs cutoffs in time, got data.time={data.time} and "
            f"data.split.method={data.split.method}; train with data.split.method=time, where "
            "the data have times"
        )
    tables = read(run_config, folder.path, console)
    require_trained_data(tables, run_config, folder.path, "a back-test")
    cutoffs = split_events(tables.events, data.split, data.time).cutoffs
    assert cutoffs is not None, "expected the cutoffs of a split by time, got none"
    starts, window_s = window_starts(tables.events, cutoffs, config)
    plans = [
        _plan(number, start, window_s, cutoffs, tables, run_config)
        for number, start in enumerate(starts, start=1)
    ]
    design = (
        f"Trained again at {len(plans)} cutoff{'s' if len(plans) > 1 else ''} with the settings of this run, "
        f"each model judged on the {window_s / DAY_S:.3g} days after its cutoff and choosing its checkpoint "
        "before it. The windows lie before the test part, which was not read for this; the settings were "
        "chosen with their events at hand."
    )
    return run_retrainings(BACKTEST, design, plans, folder, run_config, console)


def window_starts(
    events: pl.DataFrame, cutoffs: Cutoffs, config: BacktestConfig
) -> tuple[tuple[int, ...], int]:
    """Returns the cutoff of each window, oldest first, and the windows' length, in seconds.

    Args:
        events: All events of the run.
        cutoffs: Of the run.
        config: See `BacktestConfig`.

    Raises:
        ConfigError: If a window would leave no events to train on.
    """
    first, last = int(events["timestamp"].min()), int(events["timestamp"].max())  # type: ignore[arg-type] # integers
    # One second at least: the test part may be empty.
    window_s = round(config.window_days * DAY_S) or max(last + 1 - cutoffs.test, 1)
    # Each window chooses its checkpoint on a validation part of the run's length, which needs room as well.
    room_s = cutoffs.test - first - (cutoffs.test - cutoffs.validation)
    if config.n_windows * window_s >= room_s:
        raise ConfigError(
            f"windows and a validation part must leave events to train on, got {config.n_windows} windows of "
            f"{window_s / DAY_S:.3g} days in the {room_s / DAY_S:.3g} days before the test part; lower "
            "n_windows or window_days"
        )
    # From the test part backwards: the latest window is nearest to what the model will serve.
    starts = tuple(cutoffs.test - number * window_s for number in range(config.n_windows, 0, -1))
    return starts, window_s


def _plan(
    number: int, start: int, window_s: int, cutoffs: Cutoffs, tables: Tables, config: TrainConfig
) -> Plan:
    """Returns the training of one window, with nothing in sight that comes after it."""
    split = SplitConfig(
        # As long as the run's: a checkpoint chosen on other events would be another experiment.
        validation_from=str(start - (cutoffs.test - cutoffs.validation)),
        test_from=str(start),
        fit_on_validation=config.data.split.fit_on_validation,
        ask_after=config.data.split.ask_after,
    )
    return Plan(
        label=f"{day_text(start)} to {day_text(start + window_s)}",
        position=float(number),
        folder=f"{start}-{start + window_s}",
        # Cut before the split: whatever counts over all events, such as items known, must not look ahead.
        tables=replace(tables, events=tables.events.filter(pl.col("timestamp") < start + window_s)),
        config=replace(
            config,
            data=replace(config.data, split=split),
            # `test` of a window is what it is judged on; the run's own test part lies behind all windows.
            evaluation=replace(config.evaluation, test=True),
        ),
    )


@command("backtest", BacktestConfig)
def main(config: BacktestConfig) -> None:
    """Back-tests the run that the config names."""
    # Lightning tells of its hardware at every training, of which there are many here.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    console = open_console()
    series = backtest(config, console)
    show_series(series, RunFolder.find(config.run).path, console)
    spread = series.spread(series.model)
    console.print(
        f"over {len(series.retrainings)} windows: mean {spread.mean:.4f}, "
        + ("" if spread.deviation is None else f"deviation {spread.deviation:.4f}, ")
        + f"{spread.low:.4f} to {spread.high:.4f}",
        highlight=False,
    )


if __name__ == "__main__":
    main()
