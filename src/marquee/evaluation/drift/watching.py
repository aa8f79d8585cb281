"""Compares a current table with a reference: every column by itself, so that a broken one stops no other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from marquee.core.arrays import BoolArray, Float64Array
from marquee.core.moments import day_text
from marquee.core.schema import Column, ColumnType
from marquee.data.declared_table import read_declared_table
from marquee.errors import DataError
from marquee.evaluation.drift.config import DriftConfig
from marquee.evaluation.drift.hours import OddHour, odd_hours
from marquee.evaluation.drift.labels import (
    LabelDrift,
    LabelQuality,
    compare_labels,
    lost_labels,
    measure_labels,
)
from marquee.evaluation.drift.reference import Hours, Reference
from marquee.evaluation.drift.stability import Stability, compare_column

SECONDS_PER_DAY = 86_400
LONG_AGO_DAYS = 90


@dataclass(frozen=True, slots=True)
class WatchedMeasure:
    """A measure by hour: which hours are odd, and how many had too few earlier weeks."""

    name: str
    odd: tuple[OddHour, ...]
    n_unjudged: int


@dataclass(frozen=True)
class Drift:
    """The changes between two tables.

    Attributes:
        n_reference: Rows of the reference.
        n_current: Rows now.
        columns: Each column beside its reference, the score last.
        score: Name of the score; empty for none.
        broken: Column → why it cannot be compared any more: that is an alarm.
        unjudged: Column, or part of the report → why there is nothing to compare: that is none.
        labels: Probabilities beside what came; None without labels.
        measures: By hour.
        notes: What to know, one sentence each.
    """

    n_reference: int
    n_current: int
    columns: tuple[Stability, ...]
    score: str
    broken: Mapping[str, str]
    unjudged: Mapping[str, str]
    labels: LabelDrift | None
    measures: tuple[WatchedMeasure, ...]
    notes: tuple[str, ...]

    @property
    def alarms(self) -> tuple[str, ...]:
        """Each alarm in a sentence; empty where all is quiet."""
        found = [
            f"{column.name} has shifted: index {column.index:.2f}, chance makes up to {column.by_chance:.2f}"
            f"; {column.largest} went from {column.reference_share:.1%} to {column.current_share:.1%}"
            for column in self.columns
            if column.has_drifted
        ]
        found += [f"{name} is broken: {reason}" for name, reason in self.broken.items()]
        if self.labels is not None and self.labels.is_miscalibrated:
            ratio = self.labels.current.calibration_ratio
            found.append(
                f"calibration: {ratio.mean:.2f} is said per outcome that came ({ratio.low:.2f} to "
                f"{ratio.high:.2f}), 1 is right"
            )
        if self.labels is not None and self.labels.is_worse_ordered:
            before, now = self.labels.reference, self.labels.current
            assert before is not None, "an order is worse than another"
            assert before.auc is not None, "an order is worse than another"
            assert now.auc is not None, "an order is worse than another"
            found.append(
                f"AUC fell from {before.auc.mean:.3f} to {now.auc.mean:.3f} ({now.auc.low:.3f} to "
                f"{now.auc.high:.3f})"
            )
        for measure in self.measures:
            if measure.odd:
                worst = max(measure.odd, key=lambda hour: abs(hour.z))
                found.append(
                    f"{measure.name} is odd in {len(measure.odd)} hours, worst {worst.value:.4g} where "
                    f"{worst.usual:.4g} is usual"
                )
        return tuple(found)


def watch(config: DriftConfig) -> Drift:
    """Compares the two tables that a config declares.

    Raises:
        DataError: If a table cannot be read.
    """
    reference, notes = read_watched(config, config.reference)
    current, now_notes = read_watched(config, config.current)
    return compare_tables(config, reference, current, (*notes, *now_notes))


def compare_tables(
    config: DriftConfig, reference: pl.DataFrame, current: pl.DataFrame, notes: Sequence[str] = ()
) -> Drift:
    """Compares two tables.

    Args:
        config: Which columns mean what.
        reference: What was learned from.
        current: What comes in now.
        notes: What is known of the tables already.
    """
    special = {config.score, config.label, config.time, *config.measures}
    names = config.features or [name for name in reference.columns if name not in special]
    names = [*names, *([config.score] if config.score else [])]
    fitted = Reference.fit(reference, names, config.time)
    unjudged = dict(fitted.unusable)
    before: LabelQuality | None = None
    if config.label:
        try:
            # By itself: labels of now are judged even where those of before are not known.
            before = measure_labels(*_matured(config, reference), np.random.default_rng(config.seed))
        except DataError as error:
            unjudged["labels of the reference"] = str(error)
    hours = {}
    for name in config.measures:
        if name not in reference.columns:
            unjudged[name] = "the reference table has no such column"
        elif name not in current.columns:
            unjudged[name] = "the current table has no such column"
        else:
            hours[name] = tuple(_by_hour(rows, config.time, name) for rows in (reference, current))
    fitted = replace(
        fitted, unusable=unjudged, labels=before, hours={name: one[0] for name, one in hours.items()}
    )
    return compare(config, fitted, current, {name: one[1] for name, one in hours.items()}, notes)


def compare(
    config: DriftConfig,
    reference: Reference,
    current: pl.DataFrame,
    hours: Mapping[str, Hours],
    notes: Sequence[str] = (),
    scored: pl.DataFrame | None = None,
) -> Drift:
    """Compares a table with the statistics of another one.

    Args:
        config: What matters, and which columns are score, label and time.
        reference: The statistics; each column that they hold is compared.
        current: What comes in now.
        hours: Measures of now by hour, those of the reference by name.
        notes: What is known already.
        scored: Rows with score, label and time, where they are not those of the table; a log is scored in
            parts.
    """
    with_score = current if scored is None else scored
    # Seeded: the same two tables raise the same alarms.
    generator = np.random.default_rng(config.seed)
    columns: list[Stability] = []
    broken: dict[str, str] = {}
    unjudged = dict(reference.unusable)
    n_together = len(reference.bins) + len(reference.unusable)
    for name, bins in reference.bins.items():
        rows = with_score if name == config.score else current
        if name not in rows.columns:
            # The reference had it: what learned from it now lacks it.
            broken[name] = f"the current table has no such column, it has {rows.columns}"
            continue
        try:
            counts = bins.count(rows[name])
            # All columns share the level, also those that cannot be judged.
            columns.append(compare_column(bins, counts, generator, n_together, config.matters))
        except DataError as error:
            broken[name] = str(error)
    labels: LabelDrift | None = None
    if config.label:
        try:
            probability, came = _matured(config, with_score)
            if reason := lost_labels(probability, came):
                # Not merely unjudged: nobody clicking any more is what a broken log looks like.
                broken["labels"] = reason
            else:
                now = measure_labels(probability, came, generator)
                labels = compare_labels(reference.labels, now, config.tolerance)
        except DataError as error:
            unjudged["labels"] = str(error)
    return Drift(
        n_reference=reference.n_rows,
        n_current=current.height,
        columns=tuple(columns),
        score=config.score,
        broken=broken,
        unjudged=unjudged,
        labels=labels,
        measures=tuple(
            WatchedMeasure(name, *odd_hours(before.time, before.values, hours[name].time, hours[name].values))
            for name, before in reference.hours.items()
            if name in hours
        ),
        notes=(*notes, *_time_notes(config, reference, current)),
    )


def read_watched(config: DriftConfig, path: str) -> tuple[pl.DataFrame, list[str]]:
    """Returns a table with all its columns, and what the readers say of it."""
    columns = [Column(config.time, ColumnType.timestamp)] if config.time else []
    rows, quality = read_declared_table(
        replace(config.table, path=path),
        Path(config.root),
        columns,
        {},
        "drift",
        config.max_rejected_fraction,
        keep_rest=True,
    )
    return rows, [*quality.notes, *(f"{path}: rejected {reject}" for reject in quality.rejects)]


def _matured(config: DriftConfig, rows: pl.DataFrame) -> tuple[Float64Array, BoolArray]:
    """Returns score and outcome of the rows whose label has matured, (n,) each."""
    missing = [name for name in (config.score, config.label) if name not in rows.columns]
    if missing:
        raise DataError(f"there is no column {missing[0]!r}, there are {rows.columns}")
    if config.maturity_days:
        # Counted from the last row, for nothing here reads a clock; a younger label is open, not 0.
        last = pl.col(config.time).max() - round(config.maturity_days * SECONDS_PER_DAY)
        rows = rows.filter(pl.col(config.time) <= last)
    both = rows.select(
        pl.col(config.score).cast(pl.Float64, strict=False).alias("score"),
        pl.col(config.label).cast(pl.Float64, strict=False).alias("label"),
    ).drop_nulls()
    wrong = both.filter(~pl.col("label").is_in([0.0, 1.0]))
    if len(wrong):
        raise DataError(f"{len(wrong):,} labels are neither 0 nor 1, such as {wrong['label'][0]:g}")
    return both["score"].to_numpy(), both["label"].to_numpy() == 1.0


def _by_hour(rows: pl.DataFrame, time: str, name: str) -> Hours:
    """Returns the mean of a column by hour."""
    return Hours.of(rows, time, pl.col(name).cast(pl.Float64, strict=False).mean())


def _time_notes(config: DriftConfig, reference: Reference, current: pl.DataFrame) -> list[str]:
    """Returns whether the two tables follow each other, and how far apart they are."""
    if not config.time or config.time not in current.columns:
        return []
    last, first = reference.last, current[config.time].min()
    if last is None or not isinstance(first, int):
        return [f"no row has a moment in {config.time}"]
    if last >= first:
        return [
            f"the reference reaches to {day_text(last)}, the current table begins on {day_text(first)}: they "
            "overlap, which hides drift"
        ]
    days = (first - last) / SECONDS_PER_DAY
    if days <= LONG_AGO_DAYS:
        return []
    return [f"the reference ends {days:.0f} days before the current table begins: it may be too old"]
