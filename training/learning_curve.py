"""`python -m training.learning_curve run=…`: would more data help?

Trains anew on fractions of the training events and puts the result into the run's report. What is judged lies
before the run's test part, which is not read: the run's validation part is predicted, and the checkpoint is
chosen before it.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
import polars as pl
from rich.console import Console

from marquee.core.schema import TimeMeaning
from marquee.data.reading.tables import Tables
from marquee.data.split_config import SplitConfig, SplitMethod
from marquee.data.splits import Split, split_events
from marquee.errors import ConfigError
from marquee.evaluation.analyses.retraining import RetrainingSeries
from training.cli.command import command
from training.cli.console import open_console
from training.config import TrainConfig
from training.judging.retraining import Plan, run_retrainings, show_series
from training.runs.folders import LEARNING_CURVE, RunFolder
from training.runs.prepare import read, require_trained_data


class Thinning(StrEnum):
    """How training data are made fewer.

    `time`: the latest events stay. `users`: all events of users drawn at random stay, and the others are
    new to the model.
    """

    time = "time"
    users = "users"


OF_WHAT = {Thinning.time: "events", Thinning.users: "users"}
KEPT = {
    Thinning.time: "the latest part of the training events",
    Thinning.users: "the events of some users drawn at random, the others being new to the model",
}


@dataclass(kw_only=True)
class LearningCurveConfig:
    """The settings of a learning curve: which run to train again, on which fractions.

    Attributes:
        run: Folder of the run, or `latest`.
        by: See `Thinning`.
        fractions: Of the training events or users, ascending.
    """

    run: str
    by: Thinning = Thinning.time
    fractions: list[float] = field(default_factory=lambda: [0.125, 0.25, 0.5, 1.0])

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError if a fraction is none."""
        fractions = list(self.fractions)
        if not fractions or sorted(set(fractions)) != fractions or not 0 < fractions[0] <= fractions[-1] <= 1:
            raise ConfigError(f"fractions must be ascending, above 0 and at most 1, got {fractions}")


def learning_curve(config: LearningCurveConfig, console: Console) -> RetrainingSeries:
    """Trains and judges on fractions of the data, and writes the result into the run's folder and report.

    Raises:
        ConfigError: If the latest events are asked for and the data do not say which these are, or the run
            has no validation part to predict.
    """
    folder = RunFolder.find(config.run)
    run_config = folder.read_config()
    if config.by is Thinning.time and run_config.data.time is not TimeMeaning.absolute:
        raise ConfigError(
            "by=time keeps the latest events, for which data.time=absolute is needed, got "
            f"{run_config.data.time}; choose by=users"
        )
    tables = read(run_config, folder.path, console)
    require_trained_data(tables, run_config, folder.path, "a learning curve")
    earlier, split = before_the_test_part(tables, run_config)
    plans = [
        Plan(
            label=f"{100 * fraction:g} % of {OF_WHAT[config.by]}",
            position=fraction,
            folder=f"{config.by}-{fraction:g}",
            # Without the test part from the start: nothing that is counted over all events can see it.
            tables=earlier,
            config=replace(
                run_config,
                data=replace(run_config.data, split=split),
                evaluation=replace(run_config.evaluation, test=True),
            ),
            choose=chooser(config.by, fraction, run_config.seed),
        )
        for fraction in config.fractions
    ]
    design = (
        f"Trained again on {KEPT[config.by]}, with the settings of this run. All trainings are judged on the "
        "same users, with their whole histories, by what came just before the test part; each chooses its "
        "checkpoint before that. The test part was not read for this. An item that a smaller part never saw "
        "and that no items table describes counts as a miss."
    )
    return run_retrainings(LEARNING_CURVE, design, plans, folder, run_config, console)


def before_the_test_part(tables: Tables, config: TrainConfig) -> tuple[Tables, SplitConfig]:
    """Returns the tables without the test part, and a split of them that judges the validation part.

    Raises:
        ConfigError: If the run has no validation part.
    """
    # With the validation part in training nothing would be left to predict.
    given = replace(config.data.split, fit_on_validation=False)
    split = split_events(tables.events, given, config.data.time)
    if split.validation.is_empty():
        raise ConfigError(
            "a learning curve predicts the validation part, got 0 events; "
            "train with data.split.validation_fraction above 0"
        )
    earlier = replace(tables, events=_relabelled(tables.events, split, given))
    if given.method in (SplitMethod.last_fraction, SplitMethod.random):
        # The same events as in the run, as a share of what is left without the test part.
        share = given.validation_fraction / (1 - given.test_fraction)
        return earlier, replace(given, test_fraction=share, validation_fraction=min(share, 1 - 2 * share))
    if split.cutoffs is None:
        return earlier, given
    # The new validation part is as long as the run's, and lies before it.
    length = split.cutoffs.test - split.cutoffs.validation
    moments = SplitConfig(
        validation_from=str(split.cutoffs.validation - length),
        test_from=str(split.cutoffs.validation),
        ask_after=given.ask_after,
    )
    return earlier, moments


def _relabelled(events: pl.DataFrame, split: Split, config: SplitConfig) -> pl.DataFrame:
    """Returns the events before the test part; where files say the split, validation becomes test."""
    # What is known when the test users are asked is of the test period as well.
    later = split.test if split.asked_test is None else pl.concat([split.test, split.asked_test])
    kept = events.join(later.select("event_id"), on="event_id", how="anti", maintain_order="left")
    if config.method is not SplitMethod.given:
        return kept
    is_judged = pl.col("event_id").is_in(split.validation["event_id"].implode())
    return kept.with_columns(split=pl.when(is_judged).then(pl.lit("test")).otherwise(pl.lit("train")))


def chooser(by: Thinning, fraction: float, seed: int) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Returns a function that keeps a fraction of some events; smaller fractions are parts of larger ones."""

    def latest(events: pl.DataFrame) -> pl.DataFrame:
        n = max(round(fraction * events.height), 1)
        # By place, not by a cutoff: events of one second would all stay or all go.
        rank = pl.col("timestamp").rank("ordinal", descending=True)
        return events.filter(rank <= n)

    def of_some_users(events: pl.DataFrame) -> pl.DataFrame:
        # Sorted: Polars gives unique values in any order, and the draw must be the same.
        users = np.array(sorted(events["user_id"].unique()), dtype=object)
        # The beginning of one permutation: a smaller share is a part of a larger one.
        drawn = np.random.default_rng(seed).permutation(users)[: max(round(fraction * len(users)), 1)]
        return events.filter(pl.col("user_id").is_in(drawn.tolist()))

    return latest if by is Thinning.time else of_some_users


@command("learning_curve", LearningCurveConfig)
def main(config: LearningCurveConfig) -> None:
    """Draws the learning curve of the run that the config names."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    console = open_console()
    show_series(learning_curve(config, console), RunFolder.find(config.run).path, console)


if __name__ == "__main__":
    main()
