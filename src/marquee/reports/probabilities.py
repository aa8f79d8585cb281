"""Views and figures of the section on probabilities: sources in numbers, reliability curve, slices."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from marquee.evaluation.analyses.slices import MIN_USERS
from marquee.evaluation.probabilities.intervals import MIN_OUTCOMES, JudgedProbabilities
from marquee.evaluation.probabilities.outcomes import JudgedOutcome, SlicedProbabilities
from marquee.reports.content import ReportContent
from marquee.reports.plots import reliability_figure
from marquee.reports.tables import Row, Table

TITLES = {
    "click": "Is what is shown clicked?",
    "next_item": "Is what is listed the next item?",
}

MEANINGS = {
    "said": "mean probability",
    "came": "share that came true",
    "ratio": "said over came: above 1 says too much",
    "log loss": "surprise at what came, in nats: the logarithm of 1 over its probability; lower is better",
    "normalised entropy": "log loss over that of the mean rate: 1 is no better than the mean rate",
    "AUC": "how often one that came true stands above one that did not; 0.5 is chance",
    "calibration error": "how far said is from came, on average over bins of equal size (ECE)",
    "by chance": "what the calibration error would be if every probability were true",
}

COLUMNS = tuple(MEANINGS)


@dataclass(frozen=True)
class OutcomeView:
    """One outcome as the templates see it."""

    title: str
    judged: JudgedOutcome
    sources: Table
    slices: tuple[Table, ...]


def probability_views(content: ReportContent) -> Mapping[str, object]:
    """Returns the tables of each outcome."""
    return {
        "outcomes": [
            OutcomeView(
                # An outcome of the caller's own has no title here: its name stands in.
                title=TITLES.get(outcome.name, outcome.name),
                judged=outcome,
                sources=_sources(outcome),
                slices=tuple(
                    _table(column.name + _left_out(column), column.slices, of=column.name)
                    for column in outcome.columns
                    # A column of suppressed slices alone is shown, to say so.
                    if column.slices or column.n_suppressed
                ),
            )
            for outcome in content.outcomes
        ],
        "probability_meanings": MEANINGS,
    }


def probability_figures(content: ReportContent) -> Mapping[str, object]:
    """Returns the reliability curves of each outcome: name of the outcome → one figure per source."""
    return {
        "probability_figures": {
            outcome.name: [
                reliability_figure(source.name, source.curve, is_own=source is outcome.sources[0])
                for source in outcome.sources
                # A constant, such as the mean rate, has one bin and no curve.
                if len(source.curve) > 1
            ]
            for outcome in content.outcomes
        }
    }


def _sources(outcome: JudgedOutcome) -> Table:
    """Returns one line per source, the first one marked."""
    # The first source is the one under judgement, the others are its references.
    table = _table("source", outcome.sources)
    first, *others = table.rows
    return replace(table, rows=(replace(first, is_marked=True), *others))


def _table(title: str, judged: tuple[JudgedProbabilities, ...], of: str = "source") -> Table:
    """Returns one line per source or slice."""
    return Table(title, COLUMNS, tuple(_row(one) for one in judged), of=of)


def _row(judged: JudgedProbabilities) -> Row:
    """Returns the numbers of one source or slice, in the order of `COLUMNS`."""
    metrics = judged.metrics
    return Row(
        # With its size: a number of few events must be read with that.
        f"{judged.name} · {judged.n:,}",
        (
            judged.mean_probability,
            judged.rate,
            metrics["calibration_ratio"],
            metrics["log_loss"],
            metrics["normalised_entropy"],
            metrics["auc"],
            metrics["calibration_error"],
            judged.calibration_error_by_chance,
        ),
    )


def _left_out(column: SlicedProbabilities) -> str:
    """Says which slices of a column are not shown, and why."""
    said = ""
    if column.n_suppressed:
        said += (
            f"; {column.n_suppressed} with fewer than {MIN_USERS} users, or fewer than {MIN_OUTCOMES} of "
            "either outcome, suppressed"
        )
    return said + (f"; the largest {len(column.slices)} shown" if column.n_beyond else "")
