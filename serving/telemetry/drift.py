"""The latest report of drift as gauges: a schedule writes it, and every scrape reads it.

The report is one file for all workers, so its gauges are made of the file and not counted by any of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

MAX_COLUMNS = 50
"""Columns that are told apart, those that shifted most: a table may have hundreds."""


class _Column(msgspec.Struct):
    name: str
    index: float
    has_drifted: bool


class _Measure(msgspec.Struct):
    name: str
    odd: Sequence[Mapping[str, object]]


class _Mean(msgspec.Struct):
    mean: float


class _Quality(msgspec.Struct):
    calibration_ratio: _Mean


class _Labels(msgspec.Struct):
    current: _Quality


class _Report(msgspec.Struct):
    """The fields of `drift.json` that gauges are made of."""

    alarms: Sequence[str]
    columns: Sequence[_Column]
    broken: Mapping[str, str]
    measures: Sequence[_Measure]
    labels: _Labels | None = None


class DriftGauges(Collector):
    """Reads the report at each scrape.

    Args:
        path: `drift.json` of `python -m training.monitor`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yields the gauges; of a report that cannot be read its time alone, as 0: it is older than any."""
        seen = GaugeMetricFamily(
            "marquee_drift_report_seconds",
            "When the report of drift was written, seconds since 1970 UTC; 0 where it cannot be read.",
        )
        try:
            written = self._path.stat().st_mtime
            report = msgspec.json.decode(self._path.read_bytes(), type=_Report)
        # No scrape fails for want of a report: the alarm on its age says that it is missing.
        except (OSError, msgspec.DecodeError):
            seen.add_metric([], 0.0)
            yield seen
            return
        seen.add_metric([], written)
        yield seen
        yield from _gauges(report)


def _gauges(report: _Report) -> Iterator[GaugeMetricFamily]:
    """Yields the gauges of a report."""
    yield GaugeMetricFamily(
        "marquee_drift_alarms", "Alarms of the report of drift.", value=float(len(report.alarms))
    )
    index = GaugeMetricFamily(
        "marquee_drift_index",
        "Population stability index of a column, those that shifted most.",
        labels=["column"],
    )
    for column in sorted(report.columns, key=lambda one: (not one.has_drifted, -one.index))[:MAX_COLUMNS]:
        index.add_metric([column.name], column.index)
    yield index
    yield GaugeMetricFamily(
        "marquee_drift_broken_columns",
        "Columns that can no longer be compared with the reference.",
        value=float(len(report.broken)),
    )
    odd = GaugeMetricFamily(
        "marquee_drift_odd_hours",
        "Hours of a measure that are odd for their hour of the week.",
        labels=["measure"],
    )
    for measure in report.measures:
        odd.add_metric([measure.name], float(len(measure.odd)))
    yield odd
    if report.labels is not None:
        yield GaugeMetricFamily(
            "marquee_drift_calibration_ratio",
            "What is said per outcome that came, on labels that have matured; 1 is right.",
            value=report.labels.current.calibration_ratio.mean,
        )
