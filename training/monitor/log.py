"""Holds a later log against the statistics that a bundle carries."""

from dataclasses import replace
from pathlib import Path
from typing import Any  # of JSON

import polars as pl

from marquee.bundle.bundle import Bundle
from marquee.bundle.manifest import REFERENCE_FILE
from marquee.core.schema import Column, ColumnType
from marquee.data.declared_table import read_declared_table
from marquee.errors import DataError
from marquee.evaluation.drift.config import DriftConfig
from marquee.evaluation.drift.log_view import as_watched
from marquee.evaluation.drift.reference import Reference
from marquee.evaluation.drift.scored import LABEL, SCORE
from marquee.evaluation.drift.watching import Drift, compare
from training.monitor.scores import score_log

TIME = "timestamp"
_NEEDED = (
    Column("user_id", required=True),
    Column("item_id", required=True),
    Column(TIME, ColumnType.timestamp, required=True),
    Column("kind", required=True),
    Column("value", ColumnType.number),
    Column("position", ColumnType.integer),
    Column("propensity", ColumnType.number),
)


def is_bundle(config: DriftConfig) -> bool:
    """Returns whether the reference is a folder: a table is a file, or a pattern of files."""
    return (Path(config.root) / config.reference).is_dir()


def watch_log(config: DriftConfig) -> Drift:
    """Compares a later log with the statistics of a bundle.

    Args:
        config: Its reference is a bundle, or the folder of its versions.

    Raises:
        BundleError: If there is no sound bundle.
        DataError: If the bundle has no statistics, or the log cannot be read.
    """
    bundle = Bundle.load(Path(config.root) / config.reference)
    if REFERENCE_FILE not in bundle.manifest.files:
        raise DataError(
            f"bundle {bundle.manifest.version} must carry reference statistics, got none; export it again, "
            "or compare two tables"
        )
    reference = Reference.from_json((bundle.path / REFERENCE_FILE).read_text(encoding="utf-8"))
    events, notes = _read_events(config)
    data: Any = bundle.manifest.config["data"]
    view = as_watched(events, data, bundle.catalog)
    own = replace(config, time=TIME, score=SCORE, label=LABEL)
    # A bundle of before this has none, and its log is watched without.
    if SCORE not in reference.bins:
        return compare(replace(config, time=TIME), reference, view.rows, view.hours, notes)
    scored = score_log(bundle, events, data, config.score)
    if isinstance(scored, str):
        reference = replace(
            reference,
            bins={name: bins for name, bins in reference.bins.items() if name != SCORE},
            unusable={**reference.unusable, SCORE: scored},
        )
        return compare(replace(config, time=TIME), reference, view.rows, view.hours, notes)
    return compare(own, reference, view.rows, view.hours, notes, scored)


def _read_events(config: DriftConfig) -> tuple[pl.DataFrame, list[str]]:
    """Returns the events of a log with all their columns, and what the readers say of them."""
    rows, quality = read_declared_table(
        replace(config.table, path=config.current),
        Path(config.root),
        list(_NEEDED),
        {},
        "drift",
        config.max_rejected_fraction,
        keep_rest=True,
    )
    return rows, [*quality.notes, *(f"{config.current}: rejected {reject}" for reject in quality.rejects)]
