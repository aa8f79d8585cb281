"""Reads the table of an experiment, or the log of a service, and writes its report."""

import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from marquee.evaluation.experiments.config import ExperimentConfig
from marquee.evaluation.experiments.declared import before_it_ran, declared_config, with_users
from marquee.evaluation.experiments.exposure import arm_units, read_exposed
from marquee.evaluation.experiments.judging import judge_experiment
from marquee.evaluation.experiments.objective import asks_for_objective, with_objective
from marquee.evaluation.experiments.planning import plan_experiment
from marquee.evaluation.experiments.sample_ratio import validate_weights
from marquee.reports.evidence.experiment import experiment_page, plan_page
from marquee.reports.evidence.page import Page, write_page
from training.cli.command import command
from training.cli.console import open_console
from training.cli.objective import objective_of
from training.dataset import DatasetConfig, write_dataset
from training.experiment.config import ExperimentCommandConfig, Mode
from training.looping.user_table import USERS_TABLE


def judge(config: ExperimentConfig, now: float) -> Page:
    """Returns the page of what came of an experiment.

    Raises:
        DataError: If the table cannot be judged.
    """
    validate_weights(config.arms)  # before a large table is read
    return experiment_page(judge_experiment(config, read_exposed(config, now)))


def plan(config: ExperimentConfig, now: float) -> Page:
    """Returns the page of what an experiment needs; the table has no arms yet.

    Raises:
        DataError: If there is nothing to plan with.
    """
    validate_weights(config.arms)
    together = before_it_ran(config, now)
    exposed = read_exposed(together, now)
    units = arm_units(exposed, together, config.primary)[config.control]
    # As many as came in the past, where nobody says how many will come.
    came = config.units_per_day or (len(units) / len(exposed.days) if exposed.days else 0.0)
    planned = plan_experiment(
        config.primary,
        units,
        config.minimum_effect,
        came * config.coverage,
        list(config.arms.values()),
        config.tuned_for,
    )
    return plan_page(config.name, planned)


@contextmanager
def declaration(config: ExperimentCommandConfig, now: float, console: Console) -> Iterator[ExperimentConfig]:
    """Gives what is judged; a table that is made of a log is there as long as the block runs.

    Raises:
        ConfigError: If the file, the experiment or the log is none.
        DataError: If the log holds nothing.
        EventLogError: If the log cannot be reached.
    """
    if config.ab is not None:
        yield config.ab
        return
    file = Path(config.file)
    if config.table:
        yield _with_users(
            declared_config(file, config.declared, Path(config.table)), config, Path(config.table)
        )
        return
    with tempfile.TemporaryDirectory(prefix="marquee-experiment-") as folder:
        to = Path(folder) / "table"
        # First: a name that is misspelt must not be found after the whole log was read.
        found = declared_config(file, config.declared, to)
        asked = DatasetConfig(
            log=config.log,
            closed=config.closed,
            cutoff=config.cutoff or str(int(now)),
            to=str(to),
            attribution=config.attribution,
            # A log of pseudonyms is joined by them, one of plain ids below.
            users=config.users if config.user_key else "",
            users_id=config.users_id,
            user_key=config.user_key,
        )
        write_dataset(asked, console)
        yield _with_users(found, config, to)


def _with_users(declared: ExperimentConfig, config: ExperimentCommandConfig, table: Path) -> ExperimentConfig:
    """Returns a declaration with the table of users, if there is one."""
    joined = table / USERS_TABLE
    if joined.is_file():
        return with_users(declared, joined)
    return with_users(declared, Path(config.users), config.users_id) if config.users else declared


def show_page(page: Page, path: Path, console: Console) -> None:
    """Prints the findings and where the page is."""
    for finding in page.findings:
        console.print(f"{finding.title}: {finding.text}")
    for warning in page.warnings:
        console.print(f"note: {warning}")
    console.print(f"report {path}")


def own_words(arguments: list[str]) -> list[str]:
    """Returns the arguments with `experiment=…` as Hydra can take it.

    To Hydra `experiment` is the folder of published training runs, in which it would look for a file.
    """
    return [re.sub(r"^experiment=", "declared=", argument) for argument in arguments]


@command("experiment", ExperimentCommandConfig)
def run(config: ExperimentCommandConfig) -> None:
    """Judges or plans the experiment that the config declares."""
    console, now = open_console(), time.time()
    with declaration(config, now, console) as found:
        declared = found
        if asks_for_objective(found):
            declared = with_objective(found, objective_of(config.objective))
        page = {Mode.judge: judge, Mode.plan: plan}[config.mode](declared, now)
    name = "experiment" if config.mode is Mode.judge else "plan"
    show_page(page, write_page(page, Path(config.out) / declared.name, name), console)


def main() -> None:
    """Runs the command of the command line."""
    sys.argv[1:] = own_words(sys.argv[1:])
    run()


if __name__ == "__main__":
    main()
