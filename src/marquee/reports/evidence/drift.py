"""The page of drift: alarms first, then every column beside what chance makes."""

from dataclasses import asdict
from typing import Any  # of JSON

from marquee.core.moments import moment_text
from marquee.evaluation.drift.labels import LabelQuality
from marquee.evaluation.drift.watching import Drift
from marquee.reports.evidence.figures import against_chance_figure
from marquee.reports.evidence.page import Finding, Grid, Page, Section, estimated, number, share

DRIFT_FORMAT = 1
MAX_HOURS_SHOWN = 20
MAX_BARS = 20


def drift_page(drift: Drift, reference: str, current: str) -> Page:
    """Returns the page of what changed.

    Args:
        drift: The comparison.
        reference: Name of the reference, for people.
        current: Name of the current table.
    """
    alarms = drift.alarms
    # All alarms in one finding: a reader with one minute sees all of them.
    findings = [Finding(f"{len(alarms)} alarms", "; ".join(alarms) + ".", "worse")] if alarms else []
    quiet = Finding("Quiet", "Nothing has shifted by more than matters and chance allows.", "better")
    sections = [_columns_section(drift)]
    sections += [_labels_section(drift)] if drift.labels is not None else []
    sections += [_measures_section(drift)] if drift.measures else []
    return Page(
        title="Drift",
        note=f"{current}, {drift.n_current:,} rows, beside {reference}, {drift.n_reference:,} rows.",
        findings=tuple(findings or [quiet]),
        sections=tuple(sections),
        facts=drift_facts(drift),
        warnings=drift.notes,
    )


def drift_facts(drift: Drift) -> dict[str, Any]:
    """Returns everything as numbers, ready for JSON."""
    return {
        "drift_format": DRIFT_FORMAT,
        "alarms": list(drift.alarms),
        "n_reference": drift.n_reference,
        "n_current": drift.n_current,
        "columns": [{**asdict(column), "has_drifted": column.has_drifted} for column in drift.columns],
        "broken": dict(drift.broken),
        "unjudged": dict(drift.unjudged),
        "labels": None if drift.labels is None else asdict(drift.labels),
        "measures": [asdict(measure) for measure in drift.measures],
        "notes": list(drift.notes),
    }


def _columns_section(drift: Drift) -> Section:
    """Returns every column, most shifted first."""
    # Most shifted first: the figure shows only the first `MAX_BARS`.
    ordered = sorted(drift.columns, key=lambda column: -column.index)
    rows = tuple(
        (
            column.name,
            number(column.index),
            number(column.by_chance),
            "shifted" if column.has_drifted else "as before",
            column.largest,
            share(column.reference_share),
            share(column.current_share),
        )
        for column in ordered
    )
    columns = ("column", "index", "chance makes up to", "is", "most in", "before", "now")
    texts = ["An alarm needs an index that matters and that chance does not make of samples of this size."]
    texts += [f"{name} is broken: {reason}." for name, reason in drift.broken.items()]
    texts += [f"{name} was not judged: {reason}." for name, reason in drift.unjudged.items()]
    shown = ordered[:MAX_BARS]
    figure = against_chance_figure(
        "stability index",
        {column.name: column.index for column in shown},
        # Both bounds must be passed for an alarm, so the mark is the larger one.
        {column.name: max(column.by_chance, column.matters) for column in shown},
    )
    grid = Grid("Population stability index", columns, rows)
    return Section("Columns", tuple(texts), (grid,) if rows else (), (figure,) if rows else ())


def _labels_section(drift: Drift) -> Section:
    """Returns the score beside what came."""
    assert drift.labels is not None, "the caller looked"
    sides = (("before", drift.labels.reference), ("now", drift.labels.current))
    rows = tuple(_label_row(name, quality) for name, quality in sides if quality is not None)
    columns = ("when", "matured labels", "came", "said per outcome that came", "AUC")
    return Section("Labels", (), (Grid(drift.score, columns, rows),))


def _label_row(name: str, quality: LabelQuality) -> tuple[str, ...]:
    """Returns the cells of a table's labels."""
    # Labels of one outcome alone have no AUC.
    auc = "\u2013" if quality.auc is None else estimated(quality.auc)
    return name, f"{quality.n:,}", f"{quality.n_positive:,}", estimated(quality.calibration_ratio), auc


def _measures_section(drift: Drift) -> Section:
    """Returns the odd hours."""
    texts = tuple(
        f"{measure.name}: {len(measure.odd)} odd hours, {measure.n_unjudged} not judged for want of earlier "
        "weeks."
        for measure in drift.measures
    )
    rows = tuple(
        (
            f"{moment_text(hour.timestamp)} {measure.name}",
            number(hour.value),
            number(hour.usual),
            number(hour.z),
        )
        for measure in drift.measures
        for hour in sorted(measure.odd, key=lambda hour: -abs(hour.z))[:MAX_HOURS_SHOWN]
    )
    grid = Grid("Odd hours, UTC", ("hour", "value", "usual", "robust z"), rows)
    return Section("Hours", texts, (grid,) if rows else ())
