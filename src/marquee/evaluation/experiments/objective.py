"""The objective of the operator as a metric of an experiment: the worths of the one declaration."""

from dataclasses import replace

from marquee.ads.objective import Objective
from marquee.errors import ConfigError
from marquee.evaluation.experiments.config import ExperimentConfig

WORD = "objective"
"""The value of a metric that stands for the worths of the declaration."""


def asks_for_objective(config: ExperimentConfig) -> bool:
    """Returns whether a metric of an experiment is the objective."""
    return any(one.value == WORD for one in config.metrics.values())


def with_objective(config: ExperimentConfig, objective: Objective) -> ExperimentConfig:
    """Returns an experiment whose metrics with the value `objective` count the worths of an exposure.

    Args:
        config: The declaration.
        objective: The worths.

    Raises:
        ConfigError: If the table is none of a service's log: no other one is known to say what came of an
            exposure.
    """
    if asks_for_objective(config) and not config.experiment:
        raise ConfigError(
            f"a metric of the value {WORD!r} is of an experiment of the service, whose table says what came "
            f"of each exposure, got {config.name!r} over a table of its own; write its columns into value"
        )
    value = (
        f"{objective.click!r} * CAST(clicked_at IS NOT NULL AS DOUBLE)"
        f" + {objective.conversion!r} * CAST(converted_at IS NOT NULL AS DOUBLE)"
        f" + {objective.revenue!r} * COALESCE(revenue, 0.0)"
    )
    metrics = {
        name: replace(one, value=value) if one.value == WORD else one for name, one in config.metrics.items()
    }
    return replace(config, metrics=metrics)
