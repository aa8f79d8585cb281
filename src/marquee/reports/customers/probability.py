"""A probability in the report: verdict, reliability, whom to contact first, odds, curves, slices."""

from dataclasses import asdict
from typing import Any  # of JSON

import numpy as np

from marquee.evaluation.intervals import Estimate, json_fields
from marquee.evaluation.probabilities.intervals import JudgedProbabilities
from marquee.marketing.cells import MIN_CELL, suppressed
from marquee.marketing.probability.audits import LEAK_AUC
from marquee.marketing.probability.trait import JudgedProbability
from marquee.marketing.traits import TraitResult
from marquee.reports.customers.figures import bar_figure, curve_figure, gain_figure
from marquee.reports.customers.parts import Part
from marquee.reports.evidence.page import Finding, Grid, Section, estimated, number, share
from marquee.reports.plots import reliability_figure

MAX_CURVES = 6
MAX_ODDS = 40
# Beyond these a probability may be read as one.
GOOD_ERROR, GOOD_AUC = 0.02, 0.6
_QUALITY_COLUMNS = (
    "model",
    "AUC",
    "calibration error",
    "said",
    "came",
    "said over came",
    "log loss over that of the rate",
)
_CONTACT_COLUMNS = (
    "customers",
    "contacts",
    "wins expected",
    "wins that came",
    "wins per contact",
    "lift",
    "share of all wins",
)


def probability_part(trait: TraitResult) -> Part:
    """Returns the part of a probability."""
    judged: JudgedProbability = trait.judged
    return Part(
        _finding(trait, judged),
        (
            _quality_section(trait.name, judged),
            _contacts_section(trait.name, judged),
            _effects_section(trait.name, judged),
            *_slices_section(trait.name, judged),
        ),
        _facts(judged),
    )


def _finding(trait: TraitResult, judged: JudgedProbability) -> Finding:
    """Returns the verdict in words."""
    if trait.refused:
        return Finding(f"{trait.name}: refused", f"{trait.refused}.", "worse")
    own = judged.judged.sources[0]
    area, error = own.metrics["auc"], own.metrics["calibration_error"]
    tenth = next(row for row in judged.lift if row.share == 0.1)
    if not area.low > 0.5:
        return Finding(
            f"{trait.name}: cannot be told",
            f"AUC {estimated(area)}: the columns say no more than chance of {judged.outcome}.",
            "undecided",
        )
    # By the lower end: of few customers chance alone makes an error that the best model has as well.
    is_right = error.low <= GOOD_ERROR
    can = "Can be read as a probability" if is_right else "Puts customers into an order"
    tone = "better" if is_right and area.mean >= GOOD_AUC else "undecided"
    return Finding(
        f"{trait.name}: {'a probability to use' if tone == 'better' else 'use with care'}",
        f"{can}: AUC {estimated(area)}, calibration error {number(error.mean)}, by {judged.chosen}. "
        f"The first tenth holds {share(tenth.gain.mean)} of those who fulfil {judged.outcome}, "
        f"{number(tenth.lift.mean)} times as many as a draw.",
        tone,
    )


def _quality_section(name: str, judged: JudgedProbability) -> Section:
    """Returns how good each model is, out of fold."""
    columns = (
        "model",
        "AUC",
        "calibration error",
        "said",
        "came",
        "said over came",
        "log loss over the rate's",
    )
    rows = tuple(_source_row(source) for source in judged.judged.sources)
    texts = [
        f"Learned from {judged.n:,} customers, of whom {share(judged.n_true / judged.n)} fulfil "
        f"`{judged.outcome}`; every number is of customers whom the model had not seen.",
        judged.judged.sentence,
    ]
    if judged.z:
        word = "clearly better" if judged.chosen.startswith("boosted") else "not clearly better"
        texts.append(
            f"Boosted trees are {word} than the regression: AUC {judged.gain:+.4f}, z {judged.z:.1f} of the "
            "paired log losses."
        )
    texts += [
        f"`{leak.column}` alone reaches AUC {leak.auc:.3f} ({LEAK_AUC} or more names it), all others without "
        f"it {leak.auc_without:.3f}. Known before the outcome? "
        f"{'The config says so.' if leak.is_accepted else ''}"
        for leak in judged.leaks
    ]
    figures = [
        reliability_figure(f"{name}: {source.name}", source.curve, is_own=source is judged.judged.sources[0])
        for source in judged.judged.sources
        # A constant has one bin and no curve.
        if len(source.curve) > 1
    ]
    if judged.ordered is not None:
        tenths = [f"tenth {place + 1}" for place in range(len(judged.ordered.rates))]
        figures.append(
            bar_figure("outcome along the file", tenths, judged.ordered.rates, judged.n_true / judged.n)
        )
    return Section(
        f"{name}: how far to believe it", tuple(texts), (Grid("Out of fold", columns, rows),), tuple(figures)
    )


def _source_row(source: JudgedProbabilities) -> tuple[str, ...]:
    """Returns the cells of one model."""
    metrics = source.metrics
    return (
        source.name,
        estimated(metrics["auc"]),
        estimated(metrics["calibration_error"]),
        share(source.mean_probability),
        share(source.rate),
        estimated(metrics["calibration_ratio"]),
        estimated(metrics["normalised_entropy"]),
    )


def _contacts_section(name: str, judged: JudgedProbability) -> Section:
    """Returns expected wins per contacts made, with gain and lift."""
    shown = [row for row in judged.lift if row.n >= MIN_CELL]
    rows = tuple(
        (
            f"first {row.share:.0%}",
            f"{row.n:,}",
            f"{row.expected:,.0f}",
            f"{row.wins:,}",
            _percent(row.rate),
            estimated(row.lift),
            _percent(row.gain),
        )
        for row in shown
    )
    figure = gain_figure(
        f"{name}: gain",
        [row.share for row in shown],
        [(row.gain.mean, row.gain.low, row.gain.high) for row in shown],
    )
    grid = Grid("Contacts and wins", _CONTACT_COLUMNS, rows)
    text = "Most likely first; whom to keep may be the least likely, whom to win back the most likely."
    return Section(f"{name}: whom first", (text,), (grid,), (figure,))


def _percent(estimate: Estimate) -> str:
    """Returns a share with its interval in percent."""
    return f"{share(estimate.mean)} ({share(estimate.low)} to {share(estimate.high)})"


def _effects_section(name: str, judged: JudgedProbability) -> Section:
    """Returns odds ratios and curves."""
    order = list(judged.weights)
    place = {column: number for number, column in enumerate(order)}
    odds = sorted(judged.odds, key=lambda one: place.get(one.column, len(order)))[:MAX_ODDS]
    rows = tuple(
        (
            f"{one.column}: {one.value}",
            one.reference,
            number(one.ratio),
            f"{number(one.low)} to {number(one.high)}",
            "cannot be told from 1"
            if one.low <= 1 <= one.high
            else ("more likely" if one.ratio > 1 else "less likely"),
        )
        for one in odds
    )
    columns = ("value", "beside", "odds ratio", "95 % interval", "outcome is")
    curves = sorted(judged.curves, key=lambda one: place.get(one.column, len(order)))[:MAX_CURVES]
    figures = [
        bar_figure(f"{name}: what moves it", order[:12], [judged.weights[column] for column in order[:12]]),
        *[
            curve_figure(curve.column, curve.at, curve.ratio, curve.low, curve.high)
            for curve in curves
            if len(curve.at) > 1
        ],
    ]
    texts = (
        "By the regression, all else equal. It says what goes together and not what would change if "
        "somebody were changed.",
        f"Columns used: {', '.join(order)}.",
    )
    return Section(f"{name}: what goes with it", texts, (Grid("Odds ratios", columns, rows),), tuple(figures))


def _slices_section(name: str, judged: JudgedProbability) -> list[Section]:
    """Returns the probability on parts of the customers; small ones are suppressed."""
    grids = []
    for column in judged.judged.columns:
        shown = [part.n for part in column.slices]
        # The rest too is a cell: all less those shown.
        hidden = suppressed([*shown, judged.n - sum(shown)])[:-1]
        rows = tuple(
            (
                part.name,
                f"{part.n:,}",
                share(part.mean_probability),
                share(part.rate),
                estimated(part.metrics["auc"]),
            )
            for part, is_hidden in zip(column.slices, hidden, strict=True)
            if not is_hidden
        )
        n_hidden = sum(hidden) + column.n_suppressed
        left = f"; {n_hidden} suppressed for want of people or outcomes" if n_hidden else ""
        grids.append(Grid(column.name + left, ("value", "customers", "said", "came", "AUC"), rows))
    return [Section(f"{name}: by group", judged.judged.worst, tuple(grids))] if grids else []


def _facts(judged: JudgedProbability) -> dict[str, Any]:
    """Returns everything as numbers."""
    outcome = judged.judged.to_json_dict()
    outcome.pop("columns", None)
    return {
        "outcome": judged.outcome,
        "n": judged.n,
        "n_true": judged.n_true,
        "n_to_score": judged.n_to_score,
        "chosen": judged.chosen,
        "trees_gain_auc": judged.gain,
        "trees_z": judged.z,
        "judged": outcome,
        "auc_alone": dict(judged.alone),
        "leaks": [asdict(leak) for leak in judged.leaks],
        "ordered": None if judged.ordered is None else asdict(judged.ordered),
        "lift": [json_fields(row) for row in judged.lift if row.n >= MIN_CELL],
        "odds_ratios": [
            {key: value for key, value in asdict(one).items() if key != "n"} for one in judged.odds
        ],
        "curves": [asdict(curve) for curve in judged.curves],
        "weights": {name: value for name, value in judged.weights.items() if np.isfinite(value)},
    }
