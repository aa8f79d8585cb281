"""The keys of the command `experiment`."""

from dataclasses import dataclass
from enum import StrEnum

from marquee.evaluation.experiments.config import ExperimentConfig


class Mode(StrEnum):
    """The question asked."""

    judge = "judge"
    plan = "plan"


@dataclass(kw_only=True)
class ExperimentCommandConfig:
    """Which experiment, and what is wanted.

    The group is called `ab`: `experiment` is already the group of published training runs.

    Attributes:
        ab: The declaration.
        mode: `judge`, or `plan` from a table without arms.
        out: Folder of the reports.
    """

    ab: ExperimentConfig
    mode: Mode = Mode.judge
    out: str = "evidence"
