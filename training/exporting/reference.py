"""Makes the statistics that travel in a bundle, which later logs are held against."""

import numpy as np
import polars as pl

from marquee.data.exposures import missing_for_clicks, read_exposures
from marquee.evaluation.drift.log_view import as_watched, fit_log
from marquee.evaluation.drift.reference import Reference
from marquee.evaluation.drift.scored import scored_rows, with_score
from training.config import TrainConfig, as_plain
from training.fitting.probabilities.run import HeadOfRun
from training.judging.head_outcomes import click_probabilities
from training.runs.prepare import Prepared


def reference_statistics(prepared: Prepared, config: TrainConfig, head: HeadOfRun | None) -> Reference:
    """Returns the statistics of the last part of the events, with hours of all of them.

    The last part, for it is most like the first log after the release, and the head has not learned from it.

    Args:
        prepared: The data.
        config: Of the run.
        head: Of the run; None where it has none.
    """
    split = prepared.split
    parts = (split.test, split.validation, prepared.events)
    later = next(part for part in parts if not part.is_empty())
    data = as_plain(config)["data"]
    assert isinstance(data, dict), "a config is mappings of mappings"
    catalog = prepared.dataset.catalog
    view, whole = (as_watched(events, data, catalog) for events in (later, prepared.events))
    fitted = fit_log(view, whole.hours)
    # Without exposures nothing is scored, by nobody: that is no part that could not be judged.
    if missing := missing_for_clicks(later):
        return fitted if head is None else with_score(fitted, missing, np.random.default_rng(config.seed))
    return with_score(fitted, _scored(prepared, later, head), np.random.default_rng(config.seed))


def _scored(prepared: Prepared, later: pl.DataFrame, head: HeadOfRun | None) -> pl.DataFrame | str:
    """Returns the probabilities of the last part beside its clicks, or why there are none."""
    if head is None:
        return "the bundle has no click head; train it with probabilities=cross"
    judged = read_exposures(later, prepared.dataset.item_ids)
    return scored_rows(click_probabilities(head, judged), judged.is_clicked, judged.frame["timestamp"])
