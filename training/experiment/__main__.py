"""Reads the table of an experiment and writes its report as page, Markdown and JSON."""

import time
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from marquee.evaluation.experiments.config import ExperimentConfig
from marquee.evaluation.experiments.exposure import arm_units, read_exposed
from marquee.evaluation.experiments.judging import judge_experiment
from marquee.evaluation.experiments.planning import plan_experiment
from marquee.evaluation.experiments.sample_ratio import validate_weights
from marquee.reports.evidence.experiment import experiment_page, plan_page
from marquee.reports.evidence.page import Page, write_page
from training.cli.command import command
from training.cli.console import open_console
from training.experiment.config import ExperimentCommandConfig, Mode


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
    # The table has no arms: everybody is put into the control arm, quoted as SQL has it.
    together = replace(config, arm="'" + config.control.replace("'", "''") + "'")
    exposed = read_exposed(together, now)
    units = arm_units(exposed, together, config.primary)[config.control]
    # As many as came in the past, where nobody says how many will come.
    per_day = config.units_per_day or (len(units) / len(exposed.days) if exposed.days else 0.0)
    return plan_page(
        config.name,
        plan_experiment(config.primary, units, config.minimum_effect, per_day, len(config.arms)),
    )


def show_page(page: Page, path: Path, console: Console) -> None:
    """Prints the findings and where the page is."""
    for finding in page.findings:
        console.print(f"{finding.title}: {finding.text}")
    for warning in page.warnings:
        console.print(f"note: {warning}")
    console.print(f"report {path}")


@command("experiment", ExperimentCommandConfig)
def main(config: ExperimentCommandConfig) -> None:
    """Judges or plans the experiment that the config declares."""
    page = {Mode.judge: judge, Mode.plan: plan}[config.mode](config.ab, time.time())
    name = "experiment" if config.mode is Mode.judge else "plan"
    show_page(page, write_page(page, Path(config.out) / config.ab.name, name), open_console())


if __name__ == "__main__":
    main()
