"""Sentiment in the report: how good it is, and how it went by week. No text of a customer stands in it."""

from dataclasses import asdict
from typing import Any  # of JSON

from marquee.core.moments import day_text
from marquee.evaluation.intervals import json_fields
from marquee.marketing.cells import MIN_CELL
from marquee.marketing.sentiment.trait import JudgedSentiment
from marquee.marketing.sentiment.weeks import SentimentWeek
from marquee.marketing.traits import TraitResult
from marquee.reports.customers.parts import SUPPRESSED, Part, count_text
from marquee.reports.customers.value_figures import series_figure
from marquee.reports.evidence.page import Finding, Grid, Section, estimated, number, share
from marquee.reports.plots import reliability_figure

GOOD_AUC = 0.8
_WEEK_COLUMNS = ("week of", "texts", "mean probability of praise", "beside the weeks before")
_QUALITY_COLUMNS = ("score", "AUC", "calibration error", "said", "came")


def sentiment_part(trait: TraitResult) -> Part:
    """Returns the part of a sentiment."""
    judged: JudgedSentiment = trait.judged
    sections = [_quality_section(trait.name, judged)]
    if judged.weeks:
        sections.append(_weeks_section(trait.name, judged.weeks))
    return Part(_finding(trait.name, judged), tuple(sections), _facts(judged))


def _finding(name: str, judged: JudgedSentiment) -> Finding:
    """Returns the verdict in words."""
    area = judged.outcome.sources[0].metrics["auc"]
    good = area.low > GOOD_AUC
    return Finding(
        f"{name}: {'tells praise from blame' if good else 'use with care'}",
        f"AUC {estimated(area)} on texts that it had not seen; {judged.n_scored:,} texts of "
        f"{count_text(judged.n_customers)} customers are scored.",
        "better" if good else "undecided",
    )


def _quality_section(name: str, judged: JudgedSentiment) -> Section:
    """Returns how good the score is, out of fold."""
    rows = tuple(
        (
            source.name,
            estimated(source.metrics["auc"]),
            estimated(source.metrics["calibration_error"]),
            share(source.mean_probability),
            share(source.rate),
        )
        for source in judged.outcome.sources
    )
    text = (
        f"Learned from {judged.n_labelled:,} labelled texts, of which "
        f"{share(judged.n_praise / judged.n_labelled)} "
        "praise; every number is of texts that the model had not seen."
    )
    own = judged.outcome.sources[0]
    figure = reliability_figure(f"{name}: said and came", own.curve, is_own=True)
    return Section(
        f"{name}: how far to believe it", (text,), (Grid("Out of fold", _QUALITY_COLUMNS, rows),), (figure,)
    )


def _weeks_section(name: str, weeks: tuple[SentimentWeek, ...]) -> Section:
    """Returns the series; weeks of few people are suppressed."""
    shown = [week for week in weeks if week.n_customers >= MIN_CELL]
    rows = tuple(
        (day_text(week.start), f"{week.n_texts:,}", number(week.mean), _beside(week))
        if week.n_customers >= MIN_CELL
        else (day_text(week.start), f"of fewer than {MIN_CELL} people", SUPPRESSED, SUPPRESSED)
        for week in weeks
    )
    figures: tuple[str, ...] = ()
    if len(shown) > 1:
        figures = (
            series_figure(
                f"{name}: by week",
                [(one.start, one.mean, one.error) for one in shown],
                [one.is_odd for one in shown],
            ),
        )
    return Section(f"{name}: by week", (), (Grid("Weeks", _WEEK_COLUMNS, rows),), figures)


def _beside(week: SentimentWeek) -> str:
    """Says how a week stands beside those before it."""
    if week.z is None:
        return "too few weeks before it"
    return f"{week.z:+.1f} spreads{': odd' if week.is_odd else ''}"


def _facts(judged: JudgedSentiment) -> dict[str, Any]:
    """Returns everything as numbers."""
    return {
        "n_labelled": judged.n_labelled,
        "n_praise": judged.n_praise,
        "n_scored": judged.n_scored,
        "metrics": {source.name: json_fields(source.metrics) for source in judged.outcome.sources},
        "weeks": [asdict(week) for week in judged.weeks if week.n_customers >= MIN_CELL],
    }
