"""`python -m training.train data=… key=value …`: from a table of events to a checkpoint and a report."""

import logging
import sys

from rich.console import Console

from training.choices import register_schemas
from training.cli.command import EXIT_INTERRUPTED, command
from training.cli.console import open_console
from training.config import TrainConfig
from training.runs.folders import RunFolder

register_schemas()


def train(config: TrainConfig, console: Console) -> RunFolder:
    """Runs a config and returns the folder with all that came out; exits if a person interrupted it."""
    # Not at the top: completion on TAB composes configs, and need not wait for Lightning and the report.
    from training.fitting.fit import fit, validate_hardware
    from training.judging.judge import judge, show_judgement
    from training.judging.writing import peak_memory_mb, report
    from training.runs.prepare import prepare

    if config.resume:
        folder = RunFolder.find(config.resume)
        config = folder.read_config()
    validate_hardware(config.trainer)
    if not config.resume:
        folder = RunFolder.open(config)
    console.print(f"run {folder.path}", highlight=False)
    prepared = prepare(config, folder.path, console)
    fitted = fit(prepared.dataset, prepared.validation, config, folder.path)
    if fitted.interrupted:
        console.print(
            f"interrupted after {fitted.epochs} epochs; continue with "
            f"`python -m training.train resume={folder.path}`",
            highlight=False,
            soft_wrap=True,
        )
        sys.exit(EXIT_INTERRUPTED)
    try:
        judgement = judge(prepared, fitted.model, config, console)
    except KeyboardInterrupt:
        console.print(
            f"interrupted while judging; the model is kept, judge it with "
            f"`python -m training.evaluate run={folder.path}`",
            highlight=False,
            soft_wrap=True,
        )
        sys.exit(EXIT_INTERRUPTED)
    page = report(prepared, judgement, config, folder)
    show_judgement(judgement, config, console)
    console.print(f"peak memory {peak_memory_mb():,.0f} MiB\nreport {page}", highlight=False, soft_wrap=True)
    return folder


@command("train", TrainConfig)
def main(config: TrainConfig) -> None:
    """Trains the composed config."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    train(config, open_console())


if __name__ == "__main__":
    main()
