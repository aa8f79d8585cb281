"""How a judged model ages, and why the sections over time are not there where they are not."""

import numpy as np

from marquee.core.schema import TimeMeaning
from marquee.evaluation.analyses.ageing import Ageing, age_metric, first_times
from marquee.evaluation.analyses.slices import MIN_USERS
from training.config import TrainConfig
from training.judging.judge import Judgement
from training.runs.folders import BACKTEST, LEARNING_CURVE, RunFolder
from training.runs.prepare import Prepared


def age(prepared: Prepared, judgement: Judgement, config: TrainConfig) -> Ageing | None:
    """Returns the headline metric by the time since training; None where no cutoff parts the two."""
    if _without_cutoff(prepared, config):
        return None
    evaluation, part = judgement.evaluation, judgement.part
    times = first_times(evaluation.targets, *part.wanted(exclude_seen=config.evaluation.exclude_seen))
    cutoffs = prepared.split.cutoffs
    assert cutoffs is not None, "expected a split with cutoffs"
    # With the validation part in training, age counts from the later of the two moments.
    trained_until = cutoffs.test if config.data.split.fit_on_validation else cutoffs.validation
    metric = f"ndcg@{config.evaluation.headline_k}"
    # The run's seed: the same run judged twice must write the same intervals.
    return age_metric(evaluation, metric, times, trained_until, np.random.default_rng(config.seed))


def absences(
    prepared: Prepared, config: TrainConfig, run: RunFolder, part_name: str, *, has_aged: bool
) -> dict[str, str]:
    """Returns section → why it is not there and what brings it, in words.

    Args:
        prepared: The data.
        config: Of the run.
        run: Its folder.
        part_name: The part judged.
        has_aged: Whether there is something to say of the model's ageing.
    """
    without_cutoff = _without_cutoff(prepared, config)
    found = {}
    if not has_aged:
        found["ageing"] = without_cutoff or (
            f"Not there: the {part_name} part has fewer than two days with {MIN_USERS} users or more."
        )
    if not run.trials_file(BACKTEST).is_file():
        found[BACKTEST] = without_cutoff or (
            "Not there yet: it trains the model again at each cutoff, so it is made on demand. To put it "
            f"here: `python -m training.backtest run={run.path} n_windows=3`"
        )
    if not run.trials_file(LEARNING_CURVE).is_file():
        # Without moments there is no latest part of the events to keep.
        by = "" if config.data.time is TimeMeaning.absolute else " by=users"
        found[LEARNING_CURVE] = (
            "Not there yet: it trains the model again on each share of the data, so it is made on demand. "
            f"To put it here: `python -m training.learning_curve run={run.path}{by}`"
        )
    return found


def _without_cutoff(prepared: Prepared, config: TrainConfig) -> str:
    """Returns why there is no moment that parts training from what came later, empty if there is one."""
    if config.data.time is not TimeMeaning.absolute:
        return (
            f"Not there: the data set has no moments in time (data.time={config.data.time}), so there is no "
            "cutoff that is the same for everybody."
        )
    if prepared.split.cutoffs is None:
        return (
            f"Not there: the split (data.split.method={config.data.split.method}) gives the model no common "
            "training cutoff to count from. Split by time (data.split.method=time) to see how it ages."
        )
    return ""
