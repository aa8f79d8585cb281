"""Finds the declaration of what a click, a conversion and revenue are worth."""

from marquee.ads.objective import Objective, read_objective
from training.cli.menu import CONFIGS

DECLARED = "objective.yaml"


def objective_of(path: str) -> Objective:
    """Returns the objective of a file; that of `configs/objective.yaml` where none is named.

    Raises:
        ConfigError: If the file cannot be read, or a worth is none.
    """
    return read_objective(path or CONFIGS / DECLARED)
