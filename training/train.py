"""`python -m training.train data=… key=value …`: from a table of events to a checkpoint and a report."""

import gc
import logging
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from hydra.core.hydra_config import HydraConfig
from rich.console import Console

from marquee.errors import ConfigError
from training.choices import register_schemas
from training.cli.command import EXIT_INTERRUPTED, command
from training.cli.console import open_console
from training.config import TrainConfig
from training.runs.folders import RunFolder

if TYPE_CHECKING:
    from training.fitting.ranks.team import Team

register_schemas()

# How long and where: they change no weights of the epochs that have run.
MAY_STAND_BESIDE_RESUME = (
    "trainer.epochs",
    "trainer.steps",
    "trainer.accelerator",
    "trainer.threads",
    "trainer.devices",
    "trainer.nodes",
    "trainer.tables",
    "trainer.restarts",
    "data.root",
)


def train(config: TrainConfig, console: Console, longer: Sequence[str] = ()) -> RunFolder:
    """Runs a config and returns the folder with all that came out; exits if a person interrupted it.

    Args:
        config: Of the run; of a resumed one only `resume` is read.
        console: Shows where everything lies, and the table.
        longer: `key=value` on top of the config of a resumed run: those of `MAY_STAND_BESIDE_RESUME`.
    """
    # Not at the top: completion on TAB composes configs, and need not wait for Lightning and the report.
    from training.fitting.building import validate_hardware
    from training.fitting.ranks.team import open_team

    folder = RunFolder.find(config.resume) if config.resume else None
    if folder is not None:
        # Its own config names no run to go on with.
        config = folder.read_config(longer)
        # Before anything is written or read: a missing GPU is told in a second.
        validate_hardware(config.trainer)
        folder.write_config(config)
    else:
        # Before the folder: what cannot run must not become `latest`.
        validate_hardware(config.trainer)
    with open_team(config.trainer) as team:
        if folder is None:
            # What a launcher starts again goes on where it was.
            earlier = "" if team is None else team.earlier_run()
            folder = RunFolder.find(earlier) if earlier else RunFolder.open(config)
            config = folder.read_config() if earlier else config
        if team is not None:
            team.tell_run(folder.path)
        _train(folder, config, console, team)
    return folder


def _train(folder: RunFolder, config: TrainConfig, console: Console, team: "Team | None") -> None:
    """Trains in a run folder, and judges what came of it; see `train`.

    Args:
        folder: Of the run.
        config: Of the run.
        console: Shows where everything lies, and the table.
        team: The processes that train; None for this one alone.
    """
    from training.fitting.callbacks import read_epochs
    from training.fitting.fit import EPOCHS_FILE, fit
    from training.fitting.linear_part import add_linear_part
    from training.fitting.probabilities.run import fit_head_of_run
    from training.fitting.probing import choose_bias_scale, settle_and_probe
    from training.judging.advice import advice
    from training.judging.judge import judge, part_to_judge, show_judgement
    from training.judging.writing import peak_memory_mb, report
    from training.runs.passes import learn_passes, wants_passes
    from training.runs.prepare import part, read

    # To tell a run that was finished already from one that went on.
    n_before = len(read_epochs(folder.path / EPOCHS_FILE))
    console.print(f"run {folder.path}", highlight=False)
    tables = read(config, folder.path, console)
    if wants_passes(config):
        config = learn_passes(tables, config, folder.path, console, team) or _end_interrupted(
            folder, 0, console
        )
    prepared = part(tables, config, console)
    # All of them are in the parts of the split: they must not be held twice while the model learns.
    del tables
    part_to_judge(prepared, config)  # what cannot be judged is told before it is trained
    config = settle_and_probe(config, prepared.dataset, prepared.validation, folder.path, console, team)
    # Whoever reads the run later finds what was chosen, and not that it was left open.
    folder.write_config(config)
    fitted = fit(prepared.dataset, prepared.validation, config, folder.path, team=team)
    # Lightning's trainer and module refer to each other: the moments of the optimizer would stay until Python
    # finds them, beside the baselines, which is where a run holds most.
    gc.collect()
    if n_before and fitted.epochs <= n_before and not fitted.interrupted:
        console.print(
            f"nothing was left to train: the run had its {n_before} epochs, or stopped early; "
            "trainer.epochs=… beside resume trains longer"
        )
    if fitted.interrupted:
        _end_interrupted(folder, fitted.epochs, console)
    config = choose_bias_scale(fitted.model, config, prepared.dataset, prepared.validation, console)
    config = add_linear_part(
        fitted.model, config, prepared.dataset, prepared.validation, folder.path, console
    )
    folder.write_config(config)
    if config.evaluation.test:
        # It has chosen what it could, and nobody reads it from here on.
        prepared = replace(prepared, validation=None)
    head = fit_head_of_run(prepared.dataset, prepared.split, fitted.model, config, folder.path)
    if isinstance(head, str) and head:
        console.print(f"no probabilities of clicks: {head}", highlight=False, soft_wrap=True)
    try:
        judgement = judge(
            prepared, fitted.model, config, console, head=None if isinstance(head, str) else head
        )
    # Training shut down by itself above; here only the judgement is lost.
    except KeyboardInterrupt:
        console.print(
            f"interrupted while judging; the model is kept, judge it with "
            f"`python -m training.evaluate {shlex.quote(f'run={folder.path}')}`",
            highlight=False,
            soft_wrap=True,
        )
        sys.exit(EXIT_INTERRUPTED)
    page = report(prepared, judgement, config, folder)
    show_judgement(judgement, config, console)
    for line in advice(judgement, config):
        console.print(line, highlight=False, soft_wrap=True)
    console.print(f"peak memory {peak_memory_mb():,.0f} MiB\nreport {page}", highlight=False, soft_wrap=True)


def _end_interrupted(folder: RunFolder, n_epochs: int, console: Console) -> NoReturn:
    """Says how to go on, and ends the command."""
    console.print(
        f"interrupted after {n_epochs} epochs; continue with "
        f"`python -m training.train {shlex.quote(f'resume={folder.path}')}`",
        highlight=False,
        soft_wrap=True,
    )
    sys.exit(EXIT_INTERRUPTED)


@command("train", TrainConfig)
def main(config: TrainConfig) -> None:
    """Trains the composed config."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    if _is_follower(config):
        return
    given = HydraConfig.get().overrides.task
    train(config, open_console(), beside_resume(given) if config.resume else ())


def _is_follower(config: TrainConfig) -> bool:
    """Returns whether a launcher made this process one behind the first; if so, trains as that one says."""
    if "RANK" not in os.environ:
        return False
    from training.fitting.ranks.place import Place
    from training.fitting.ranks.team import require_place
    from training.runs.following import follow

    place = Place.of_environment(os.environ)
    if place is None or place.size == 1:
        return False
    if not config.resume:  # whose own config says how many
        require_place(place, config.trainer)
    if place.rank:
        follow(os.environ)
    return place.rank > 0


def beside_resume(given: Sequence[str]) -> list[str]:
    """Returns the settings that a resumed run takes; raises ConfigError if others are given."""
    # Hydra's signs for adding and removing are no part of the key.
    keys = [(override.partition("=")[0].lstrip("+~"), override) for override in given]
    others = [key for key, _ in keys if key not in ("resume", *MAY_STAND_BESIDE_RESUME)]
    if others:
        raise ConfigError(
            f"resume goes on with the run's own config, got {', '.join(others)} beside it; leave these out "
            f"({', '.join(MAY_STAND_BESIDE_RESUME)} may be given), or start a new run with start=earlier_run"
        )
    return [override for key, override in keys if key != "resume"]


if __name__ == "__main__":
    main()
