"""Learns on validation how many passes a model wants, for a last fit that validation joins.

Passes are counted where they can be judged: on the training part alone. Then all events are fitted as long.
Does not choose anything else.
"""

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from marquee.data.reading.tables import Tables
from training.config import TrainConfig
from training.fitting.callbacks import MONITOR, read_epochs
from training.fitting.fit import EPOCHS_FILE, fit
from training.fitting.linear_part import add_linear_part
from training.fitting.probing import choose_bias_scale, settle_and_probe
from training.fitting.ranks.team import Team
from training.runs.prepare import part

ON_VALIDATION = "on_validation"
"""Name of the folder within a run that the first fit lies in."""


def wants_passes(config: TrainConfig) -> bool:
    """Returns whether a last fit was asked for and nobody has said how long."""
    return config.data.split.fit_on_validation and "trainer.epochs" in config.left_open


def learn_passes(
    tables: Tables, config: TrainConfig, folder: Path, console: Console, team: Team | None = None
) -> TrainConfig | None:
    """Returns the config with the passes that ranked validation users best; None if a person interrupted it.

    Where there is nobody to validate, passes stay open.

    Args:
        tables: Of the run.
        config: Of the run, which fits validation too.
        folder: Of the run; what was interrupted goes on from its checkpoint there.
        console: Shows both.
        team: The processes that train; None for those that each fit starts for itself.
    """
    apart = replace(config.data, split=replace(config.data.split, fit_on_validation=False))
    console.print("first fit: validation apart, to learn how many passes are best", highlight=False)
    prepared = part(tables, replace(config, data=apart), console)
    if prepared.validation is None:
        return config
    inside = folder / ON_VALIDATION
    inside.mkdir(exist_ok=True)
    opened = replace(config, data=apart)
    found = settle_and_probe(opened, prepared.dataset, prepared.validation, inside, console, team)
    fitted = fit(prepared.dataset, prepared.validation, found, inside, team=team)
    if fitted.interrupted:
        return None
    found = choose_bias_scale(fitted.model, found, prepared.dataset, prepared.validation, console)
    found = add_linear_part(fitted.model, found, prepared.dataset, prepared.validation, inside, console)
    ranked = [row for row in read_epochs(inside / EPOCHS_FILE) if row[MONITOR]]
    best = max(ranked, key=lambda row: float(row[MONITOR]))
    console.print(
        f"first fit: ndcg@{config.evaluation.headline_k} {float(best[MONITOR]):.4f} on validation after "
        f"{best['epoch']} of {fitted.epochs} passes, the best of them\n"
        f"last fit: training and validation, {best['epoch']} passes",
        highlight=False,
    )
    split = replace(found.data.split, fit_on_validation=True)
    return replace(
        found,
        data=replace(found.data, split=split),
        trainer=replace(found.trainer, epochs=int(best["epoch"])),
    )
