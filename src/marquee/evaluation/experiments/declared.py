"""From the file of a service's experiments to what judges one of them: declared once, for both."""

import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from marquee.data.table_config import TableConfig
from marquee.decision.experiments.assignment import HOLDOUT, Experiment, Unit
from marquee.decision.experiments.declaring import DeclaredExperiment, DeclaredHoldout, ExperimentFile
from marquee.errors import ConfigError
from marquee.evaluation.experiments.config import ExperimentConfig, MetricConfig
from marquee.evaluation.experiments.sequences import TUNED_FOR

EXPOSURES = "events/*.shown-*.parquet"
"""Where a training table of an event log has its exposures."""

FAILED_RELEASE = "failed_release"
"""The column of those exposures that the current release gave in place of one that failed."""

# The table calls each answer a request; rows of a page are answers of their own, drawn by one request.
_UNITS = {Unit.user_id: "user_id", Unit.request_id: "asked_id"}


def declared_config(path: Path, name: str, table: Path) -> ExperimentConfig:
    """Returns the config that judges an experiment of a file over the training table of the service's log.

    Args:
        path: The file that `MARQUEE_EXPERIMENTS` names.
        name: Of the experiment, or `holdout` for the whole programme.
        table: Folder of the training table.

    Raises:
        ConfigError: If the file or the experiment is none, or nothing to judge it by was declared.
    """
    file = ExperimentFile.read(path)
    try:
        if name == HOLDOUT and file.holdout is not None:
            return _holdout(file.holdout, table)
        if name not in file.experiments:
            known = [*file.experiments, *([HOLDOUT] if file.holdout else [])]
            raise ConfigError(f"experiment must be one of {known} of that file, got {name!r}; correct it")
        return _experiment(file.experiments[name], name, table)
    except ConfigError as error:
        raise ConfigError(f"experiments.{name} in {path}: {error}") from error


def with_users(config: ExperimentConfig, users: Path, unit: str = "user_id") -> ExperimentConfig:
    """Returns the declaration with a table of what is known of users, so that slices may name its columns."""
    # Absolute: it need not lie in the folder of the training table.
    return replace(config, users=TableConfig(path=str(users.resolve())), users_unit=unit)


def before_it_ran(config: ExperimentConfig, now: float) -> ExperimentConfig:
    """Returns the declaration over everybody in a log, whatever arm they were in, to plan by.

    Of an experiment with start and end the time before it is taken, as long as it lasts: in longer, people
    would do more than they will in the experiment. Rows of still earlier are the past of these people.

    Args:
        config: Of the experiment.
        now: The present, seconds since 1970.
    """
    start, end = config.moment(config.start), config.moment(config.end)
    until = now if start is None else min(now, start)
    is_bounded = start is not None and end is not None
    # Everybody is put into the control arm, quoted as SQL has it.
    control = "'" + config.control.replace("'", "''") + "'"
    return replace(
        config,
        arm=control,
        table=config.read_table,
        experiment="",
        phase="",
        surfaces=[],
        start=_moment_text(until - (end - start)) if is_bounded else "",  # type: ignore[operator]  # neither is None
        end=_moment_text(until) if config.start or config.end else "",
    )


def _experiment(declared: DeclaredExperiment, name: str, table: Path) -> ExperimentConfig:
    """Returns the config of an experiment."""
    experiment = declared.experiment(name)
    return replace(
        _config(declared, name, experiment.shares, table),
        phase=experiment.seed,
        surfaces=list(experiment.surfaces),
        unit=_UNITS[experiment.unit],
        start=_moment_text(experiment.start),
        end=_moment_text(experiment.end),
        coverage=_share_of_units(experiment),
    )


def _holdout(declared: DeclaredHoldout, table: Path) -> ExperimentConfig:
    """Returns the config of the holdout: those held out are the control of the whole programme."""
    holdout = declared.holdout()
    return replace(_config(declared, HOLDOUT, holdout.shares, table), phase=holdout.seed)


def _config(
    declared: DeclaredExperiment | DeclaredHoldout, name: str, shares: dict[str, float], table: Path
) -> ExperimentConfig:
    """Returns the keys that both kinds have."""
    if not declared.metrics:
        raise ConfigError(
            "an experiment is judged by metrics, got none; add metrics: {clicks: {value: clicked_at IS NOT "
            "NULL}}"
        )
    return ExperimentConfig(
        name=name,
        root=str(table),
        table=TableConfig(path=EXPOSURES),
        arms=shares,
        metrics={
            metric: MetricConfig(
                value=one.value,
                per=one.per,
                better=one.better,
                winsorise=one.winsorise,
                quantiles=list(one.quantiles),
            )
            for metric, one in declared.metrics.items()
        },
        guardrails=list(declared.guardrails),
        slices=list(declared.slices),
        unit=_UNITS[Unit.user_id],
        experiment=name,
        stood_in=FAILED_RELEASE if _tells_failures(table) else "",
        time="timestamp",
        zone=declared.zone,
        window_days=declared.window_days,
        minimum_effect=declared.minimum_effect,
        tuned_for=declared.tuned_for or TUNED_FOR,
    )


def _tells_failures(table: Path) -> bool:
    """Returns whether a training table tells which releases failed; one of an earlier version does not."""
    made = sorted(table.glob(EXPOSURES))
    # One that is still to be made will tell.
    return not made or FAILED_RELEASE in pl.read_parquet_schema(made[0])


def _share_of_units(experiment: Experiment) -> float:
    """Returns which share of all units takes part."""
    low, high = experiment.layer_range
    return experiment.coverage * (high - low)


def _moment_text(seconds: float) -> str:
    """Returns a moment as a config has it, empty where it is open."""
    return "" if math.isinf(seconds) else datetime.fromtimestamp(seconds, UTC).isoformat()
