"""The keys of the command `experiment`."""

from dataclasses import dataclass, field
from enum import StrEnum

from marquee.data.loop.attribution import AttributionConfig
from marquee.errors import ConfigError
from marquee.evaluation.experiments.config import ExperimentConfig


class Mode(StrEnum):
    """The question asked."""

    judge = "judge"
    plan = "plan"


@dataclass(kw_only=True)
class ExperimentCommandConfig:
    """Which experiment, and what is wanted.

    An experiment of a service is declared in the file of its service, any other one in the group `ab`:
    `experiment` is already the group of published training runs.

    Attributes:
        declared: Name of an experiment in `file`; `experiment=…` on the command line says the same.
        file: The file of experiments, which `MARQUEE_EXPERIMENTS` names to the service.
        table: Folder of a training table of the service's log.
        log: In place of `table`: the log itself, as it is now; as for the command `dataset`.
        cutoff: With `log`: first moment that is not read, as seconds or ISO 8601; empty for now.
        closed: Folder of its closed days; empty for `closed` in the folder of the log.
        users: Table of users, whose columns slices may name; empty for none, or the one that the command
            `dataset` has joined to `table`.
        users_id: Its column of ids.
        user_key: File of the key of a log that keeps users under pseudonyms.
        attribution: With `log`: how long after an exposure an event counts as having come of it.
        ab: In place of `declared`: the declaration of an experiment over any table.
        objective: File of the worths that a metric of the value `objective` counts, the one that
            `MARQUEE_OBJECTIVE` names to the service; empty for `configs/objective.yaml`.
        mode: `judge`, or `plan` from a table without arms.
        out: Folder of the reports.
    """

    declared: str = ""
    file: str = ""
    table: str = ""
    log: str = ""
    cutoff: str = ""
    closed: str = ""
    users: str = ""
    users_id: str = "user_id"
    user_key: str = ""
    attribution: AttributionConfig = field(default_factory=AttributionConfig)
    ab: ExperimentConfig | None = None
    objective: str = ""
    mode: Mode = Mode.judge
    out: str = "evidence"

    def __post_init__(self) -> None:
        if bool(self.declared) == (self.ab is not None):
            both = f"experiment={self.declared}" if self.declared else "neither"
            raise ConfigError(
                "experiment=… names one of the file of a service, ab=… the declaration of another one; got "
                f"{both if self.ab is None else f'{both} beside ab'}; give one of both"
            )
        if self.declared and not self.file:
            raise ConfigError(
                f"experiment={self.declared} is looked for in a file, got none; add "
                "file=experiments.yaml, or set MARQUEE_EXPERIMENTS"
            )
        if self.declared and bool(self.table) == bool(self.log):
            raise ConfigError(
                "an experiment of a service is judged by its log or by the table made of it, got "
                f"log={self.log!r} and table={self.table!r}; give one of both"
            )
