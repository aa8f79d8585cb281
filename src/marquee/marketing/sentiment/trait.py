"""The trait `sentiment`: how much each customer's feedback praises, learned from its labelled part."""

from dataclasses import dataclass

import msgspec
import numpy as np
import polars as pl

from marquee.bundle.traits.pseudonyms import pseudonym
from marquee.core.arrays import BoolArray, Float64Array, IndexArray
from marquee.core.moments import day_text
from marquee.core.schema import Column, ColumnType
from marquee.data.declared_table import read_declared_table
from marquee.errors import DataError
from marquee.evaluation.probabilities.outcomes import JudgedOutcome, judge_outcome
from marquee.marketing.reading.customers import USER_ID, Customers, quality_notes
from marquee.marketing.sentiment.config import SentimentConfig
from marquee.marketing.sentiment.fitting import cross_score, fit_sentiment
from marquee.marketing.sentiment.weeks import SentimentWeek, sentiment_weeks
from marquee.marketing.traits import TraitContext, TraitResult
from marquee.marketing.versions import version_of

SENTIMENTS = "sentiments"
"""Folder of a run that holds its fitted sentiments."""

TEXT, PRAISES, TIMESTAMP = "text", "praises", "timestamp"


@dataclass(frozen=True)
class JudgedSentiment:
    """How good a sentiment is, and how it went over time.

    Attributes:
        outcome: On the labelled texts, each by a model that was fitted to others.
        n_labelled: Texts learned from.
        n_praise: Of these, those that praise.
        n_scored: All texts with a score.
        n_customers: Who wrote them.
        weeks: The series; empty without timestamps.
    """

    outcome: JudgedOutcome
    n_labelled: int
    n_praise: int
    n_scored: int
    n_customers: int
    weeks: tuple[SentimentWeek, ...]


def compute_sentiment(name: str, config: SentimentConfig, context: TraitContext) -> TraitResult:
    """Returns the mean probability of praise of each customer's texts.

    Raises:
        DataError: If the table cannot be read, a label is neither 0 nor 1, or too few texts are labelled.
    """
    rows, notes = _read_feedback(name, config, context.customers)
    labels = rows[PRAISES].to_numpy()
    is_labelled = np.isfinite(labels)
    texts = rows[TEXT].to_list()
    learned = [text for text, labelled in zip(texts, is_labelled.tolist(), strict=True) if labelled]
    praises = labels[is_labelled] == 1
    model = fit_sentiment(learned, praises)
    scores = model.score(texts)
    out_of_fold = cross_score(learned, praises, np.random.default_rng(context.seed))
    # A text is never shown by a model that knows its label.
    scores[is_labelled] = out_of_fold
    customers = rows[USER_ID].rank("dense").cast(pl.Int64).to_numpy()
    judged = JudgedSentiment(
        _judged(name, out_of_fold, praises, customers[is_labelled], context.seed),
        len(learned),
        int(praises.sum()),
        len(texts),
        rows[USER_ID].n_unique(),
        sentiment_weeks(rows[TIMESTAMP].to_numpy(), customers, scores) if TIMESTAMP in rows.columns else (),
    )
    odd = [week for week in judged.weeks if week.is_odd]
    return TraitResult(
        name=name,
        type="sentiment",
        version=version_of(name, model.version, context.version),
        values=_by_customer(name, rows[USER_ID], scores),
        judged=judged,
        cautions=(*notes, *[_odd_words(week) for week in odd]),
        files={f"{SENTIMENTS}/{name}.json": msgspec.json.encode(model)},
    )


def _read_feedback(
    name: str, config: SentimentConfig, customers: Customers
) -> tuple[pl.DataFrame, list[str]]:
    """Returns the texts of customers who may be scored: `user_id`, `text`, `praises`, perhaps `timestamp`."""
    columns = [
        Column(USER_ID, required=True),
        Column(TEXT, required=True),
        Column(PRAISES, ColumnType.number, always=True),
    ]
    if TIMESTAMP in config.feedback.columns:
        columns.append(Column(TIMESTAMP, ColumnType.timestamp, required=True))
    rows, quality = read_declared_table(
        config.feedback, customers.root, columns, {}, f"customers.traits.{name}", name="feedback"
    )
    notes = [f"feedback: {note}" for note in quality_notes(quality)]
    wrong = rows.with_row_index("row", offset=1).filter(~pl.col(PRAISES).is_in([0.0, 1.0]))
    if wrong.height:
        raise DataError(
            f"column praises must be 1 for praise, 0 for blame or empty, got {wrong[PRAISES][0]:g} in row "
            f"{wrong['row'][0]:,} and {wrong.height:,} such values; write praises: CASE WHEN stars >= 4 "
            "THEN 1 WHEN stars <= 2 THEN 0 END"
        )
    if customers.key:
        hashed = [pseudonym(one, customers.key) for one in rows[USER_ID].to_list()]
        rows = rows.with_columns(pl.Series(USER_ID, hashed, pl.String))
    allowed = customers.rows.select(USER_ID).filter(customers.may_be_scored)
    kept = rows.join(allowed, on=USER_ID, how="semi", maintain_order="left")
    if kept.height < rows.height:
        notes.append(
            f"{rows.height - kept.height:,} of {rows.height:,} texts are of nobody who is a customer and "
            "agreed to be scored: neither learned from nor scored"
        )
    return kept, notes


def _by_customer(name: str, ids: pl.Series, scores: Float64Array) -> pl.DataFrame:
    """Returns the mean score and number of texts of each customer, by id."""
    texts = pl.DataFrame({USER_ID: ids, name: scores})
    return texts.group_by(USER_ID).agg(pl.col(name).mean(), pl.len().alias(f"{name}_texts")).sort(USER_ID)


def _judged(
    name: str,
    scores: Float64Array,
    praises: BoolArray,
    customers: IndexArray,
    seed: int,
) -> JudgedOutcome:
    """Returns the labelled texts beside their scores, and beside the mean rate."""
    return judge_outcome(
        name,
        "Whether a text praises, each by a model that was fitted to others.",
        {"words and pieces of words": scores, "mean rate": np.full(len(scores), praises.mean())},
        praises,
        customers,
        {},
        np.random.default_rng(seed),
    )


def _odd_words(week: SentimentWeek) -> str:
    """Says that a week is unlike those before it."""
    direction = "better" if (week.z or 0.0) > 0 else "worse"
    return (
        f"feedback of the week of {day_text(week.start)} is {direction} than before: mean {week.mean:.2f}, "
        f"{abs(week.z or 0.0):.1f} spreads away"
    )
