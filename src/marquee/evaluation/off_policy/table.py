"""Reads logged decisions from a table, with a candidate's probabilities, and estimates its value."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from marquee.core.arrays import Float64Array
from marquee.core.schema import Column, ColumnType
from marquee.data.declared_table import MAX_REJECTED_FRACTION, read_declared_table
from marquee.data.table_config import TableConfig
from marquee.errors import ConfigError, DataError
from marquee.evaluation.off_policy.estimators import LoggedDecisions, Value, estimate_value
from marquee.evaluation.off_policy.policy import OffPolicyChoice
from marquee.evaluation.off_policy.reward_model import predict_rewards
from marquee.evaluation.off_policy.weights import validate_propensities

OUTSIDE = "(outside)"


@dataclass(kw_only=True)
class OffPolicyConfig(OffPolicyChoice):
    """A table of logged decisions and a candidate.

    Attributes:
        table: The file: one row per decision.
        root: Where its path starts.
        action: Column of what was done.
        propensity: Column of the probability with which it was done, by the policy that did it.
        reward: Column of what came of it.
        user: Column of the user; empty if each row is one.
        target: Column of the probability with which the candidate would have done it.
        candidate: In place of target: action → probability, the same for every decision; `uniform` is
            `{"*": 1}`. Actions that the log does not hold count as without support.
        clip: Largest weight; null for no bound.
        seed: Of the folds of the reward model.
        max_rejected_fraction: Of the rows that may be wrong.
    """

    table: TableConfig
    root: str = "."
    action: str = "action"
    propensity: str = "propensity"
    reward: str = "reward"
    user: str = ""
    target: str = ""
    candidate: dict[str, float] = field(default_factory=dict)
    clip: float | None = None
    seed: int = 0
    max_rejected_fraction: float = MAX_REJECTED_FRACTION

    def __post_init__(self) -> None:
        # Neither leaves nothing to judge, both might disagree.
        if bool(self.target) == bool(self.candidate):
            raise ConfigError(
                f"give either target, a column, or candidate, probabilities by action; got {self.target!r} "
                f"and {dict(self.candidate)}"
            )
        if self.candidate and (
            min(self.candidate.values()) < 0 or abs(sum(self.candidate.values()) - 1) > 1e-6
        ):
            raise ConfigError(
                f"the candidate's probabilities must be 0 or more and sum to 1, got {dict(self.candidate)}"
            )
        if self.clip is not None and not self.clip > 0:
            raise ConfigError(f"clip must be above 0, got {self.clip}; null for no bound")


@dataclass(frozen=True)
class EstimatedCandidate:
    """The value of a candidate, and what its estimate rests on.

    Attributes:
        value: Estimates and support.
        n_users: Users of the log.
        n_actions: Actions of the log.
        notes: What to know, one sentence each.
    """

    value: Value
    n_users: int
    n_actions: int
    notes: tuple[str, ...]


def estimate_candidate(config: OffPolicyConfig) -> EstimatedCandidate:
    """Estimates a candidate from a table.

    Raises:
        DataError: If the table cannot be read, or its propensities cannot be used: the message counts them.
    """
    columns, expressions = _columns(config)
    rows, quality = read_declared_table(
        config.table, Path(config.root), columns, expressions, "ope", config.max_rejected_fraction
    )
    # Not filled with 0: an outcome that is still open would count as none.
    n_without = rows["reward"].null_count()
    if n_without:
        raise DataError(
            f"{n_without:,} of {rows.height:,} decisions have no reward; write 0 where nothing came, or "
            "leave out those whose outcome is still open"
        )
    propensity = rows["propensity"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    # Before anything is fitted: the message counts all that are wrong.
    validate_propensities(propensity)
    log, n_actions = _decisions(config, rows, propensity)
    notes = [*quality.notes, *(f"rejected: {reject}" for reject in quality.rejects)]
    return EstimatedCandidate(
        estimate_value(log, config.clip), len(np.unique(log.user)), n_actions, tuple(notes)
    )


def _columns(config: OffPolicyConfig) -> tuple[list[Column], dict[str, str]]:
    """Returns the columns that are needed, and what each is made of."""
    columns = [
        Column("action", required=True),
        Column("propensity", ColumnType.number),
        Column("reward", ColumnType.number),
    ]
    expressions = {"action": config.action, "propensity": config.propensity, "reward": config.reward}
    if config.user:
        columns.append(Column("user", required=True))
        expressions["user"] = config.user
    if config.target:
        columns.append(Column("target", ColumnType.number))
        expressions["target"] = config.target
    return columns, expressions


def _decisions(
    config: OffPolicyConfig, rows: pl.DataFrame, propensity: Float64Array
) -> tuple[LoggedDecisions, int]:
    """Returns the decisions with the candidate's probabilities, and how many actions there are."""
    reward = rows["reward"].to_numpy().astype(np.float64)
    n = rows.height
    # Numbered from 0; without a column each decision is of a user of its own.
    user = (
        np.unique(rows["user"].to_numpy(), return_inverse=True)[1].astype(np.int64)
        if config.user
        else np.arange(n)
    )
    names, action = np.unique(rows["action"].to_numpy(), return_inverse=True)
    if config.target:
        # Of the action taken alone: without those of the others there is no expected reward, so no model.
        target = rows["target"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        return LoggedDecisions(reward, propensity, target, user), len(names)
    probabilities, outside = _candidate(config.candidate, names.tolist())
    predicted = predict_rewards(action, reward, user, len(names), np.random.default_rng(config.seed))
    # Actions outside of the log have no reward to predict: the mean stands in, and their share is reported.
    expected = predicted @ probabilities + outside * float(reward.mean())
    return (
        LoggedDecisions(
            reward,
            propensity,
            probabilities[action],
            user,
            unsupported=np.full(n, outside),
            predicted=predicted[np.arange(n), action],
            expected=expected,
        ),
        len(names),
    )


def _candidate(declared: dict[str, float], names: list[str]) -> tuple[Float64Array, float]:
    """Returns the candidate's probability of each action of the log, and of all others together."""
    place = {name: number for number, name in enumerate(names)}
    probabilities, outside = np.zeros(len(names)), 0.0
    for name, probability in declared.items():
        if name == "*":
            # Over the actions of the log: others are not known here.
            probabilities += probability / len(names)
        elif name in place:
            probabilities[place[name]] += probability
        else:
            outside += probability
    return probabilities, outside
