"""Probabilities of a click on what a log shows, beside the clicks that came: the score that is watched.

A reference and what is held against it have them by the same names, whoever says them: the head of a run, the
head of a bundle, or a column of the log.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import polars as pl

from marquee.core.arrays import BoolArray, Float64Array
from marquee.errors import DataError
from marquee.evaluation.drift.bins import Bins
from marquee.evaluation.drift.labels import measure_labels
from marquee.evaluation.drift.reference import Reference

SCORE, LABEL = "click probability", "clicked"


def scored_rows(probability: Float64Array, is_clicked: BoolArray, timestamp: pl.Series) -> pl.DataFrame:
    """Returns exposures as they are watched.

    Args:
        probability: Of a click, (n,), in [0, 1]; NaN where nobody says one.
        is_clicked: (n,).
        timestamp: Of each, (n,) seconds.
    """
    return pl.DataFrame(
        {
            "timestamp": timestamp,
            SCORE: pl.Series(probability).cast(pl.Float64).fill_nan(None),
            LABEL: is_clicked.astype(np.float64),
        }
    )


def with_score(reference: Reference, scored: pl.DataFrame | str, generator: np.random.Generator) -> Reference:
    """Returns statistics that hold a score as well.

    Args:
        reference: Of everything else.
        scored: See `scored_rows`; or why there are none.
        generator: Draws resamples of the calibration.
    """
    unusable: Mapping[str, str] = reference.unusable
    if isinstance(scored, str):
        return replace(reference, unusable={**unusable, SCORE: scored})
    try:
        bins = {**reference.bins, SCORE: Bins.fit(scored[SCORE])}
    except DataError as error:
        return replace(reference, unusable={**unusable, SCORE: str(error)})
    both = scored.drop_nulls()
    try:
        labels = measure_labels(both[SCORE].to_numpy(), both[LABEL].to_numpy() == 1.0, generator)
    except DataError as error:
        # The score can be watched all the same.
        return replace(reference, bins=bins, unusable={**unusable, "labels of the reference": str(error)})
    return replace(reference, bins=bins, labels=labels)
