"""The objective on the exposures of a judged part: what came of them, beside what the click head says."""

import numpy as np
import polars as pl

from marquee.core.event_kinds import EventKind
from marquee.data.exposures import PAIR, Exposures, missing_for_clicks, read_exposures
from marquee.evaluation.probabilities.objective import JudgedObjective, judge_objective
from training.cli.objective import objective_of
from training.config import TrainConfig
from training.fitting.probabilities.run import HeadOfRun
from training.judging.head_outcomes import head_says, why_not_judged
from training.runs.prepare import Prepared


def objective_of_part(
    prepared: Prepared, config: TrainConfig, head: HeadOfRun | None
) -> JudgedObjective | None:
    """Returns the worth of the exposures of the judged part; None where it has none.

    Args:
        prepared: The data.
        config: Of the run.
        head: Of the run; None where it has none.

    Raises:
        ConfigError: If the objective cannot be read.
    """
    split = prepared.split
    name, frame = ("test", split.test) if config.evaluation.test else ("validation", split.validation)
    if missing_for_clicks(frame):
        return None
    shown = read_exposures(frame, prepared.dataset.item_ids)
    if not len(shown):
        return None
    objective, said = objective_of(config.objective), None
    if head is not None and not why_not_judged(head, shown, split.events, 0):
        chances = head_says(head, shown.frame)
        said = objective.click * chances[:, 0] + objective.conversion * chances[:, 0] * chances[:, 1]
    return judge_objective(
        objective,
        name,
        shown.is_clicked,
        _is_converted(shown, split.events),
        np.unique(shown.frame["user_id"].to_numpy(), return_inverse=True)[1],
        np.random.default_rng(config.seed),
        said,
    )


def _is_converted(shown: Exposures, events: pl.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Returns whether a conversion names the request and item of each exposure, (n,)."""
    converted = events.filter(pl.col("kind") == EventKind.conversion).select(PAIR).unique()
    marked = shown.frame.select(PAIR).join(
        converted.with_columns(is_converted=True), on=list(PAIR), how="left", maintain_order="left"
    )
    return marked["is_converted"].fill_null(value=False).to_numpy()
