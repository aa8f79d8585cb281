"""Computes a probability: examples, audits, folds, the model on all of them, reasons, and how good it is."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from marquee.bundle.traits.columns import Column, encode
from marquee.bundle.traits.models import LogisticModel, Model, probabilities
from marquee.bundle.traits.trait import FittedTrait, reasons
from marquee.core.arrays import Float64Array
from marquee.errors import ConfigError
from marquee.evaluation.analyses.slices import Members
from marquee.evaluation.probabilities.outcomes import JudgedOutcome, judge_outcome
from marquee.marketing.conditions import read_expression
from marquee.marketing.probability.audits import Leak, Ordered, audit_leaks, audit_order
from marquee.marketing.probability.config import ProbabilityConfig
from marquee.marketing.probability.effects import Curve, OddsRatio, measure_effects
from marquee.marketing.probability.examples import Examples, make_examples
from marquee.marketing.probability.lift import LiftRow, measure_lift
from marquee.marketing.reading.customers import USER_ID
from marquee.marketing.scoring.encoding import take_rows
from marquee.marketing.scoring.folds import LOGISTIC, TREES, OutOfFold, compete, fit_model
from marquee.marketing.scoring.models import with_covariance
from marquee.marketing.traits import TraitContext, TraitResult
from marquee.marketing.versions import version_of

MAX_SLICE_VALUES = 12
_NAMES = {LOGISTIC: "logistic regression with bends", TREES: "boosted trees"}


@dataclass(frozen=True)
class JudgedProbability:
    """How good a probability is, and how it comes about.

    Attributes:
        outcome: The declared condition.
        n: Customers learned from.
        n_true: Of these, those with the outcome.
        n_to_score: Customers whose outcome is not known.
        chosen: The model.
        gain: AUC of the trees over that of the regression.
        z: Of their paired log losses.
        judged: Every model, out of fold; the first is the chosen one.
        alone: Column → AUC by it alone.
        leaks: Columns that tell too much.
        ordered: How the outcome changes along the file; None where it does not.
        lift: The first by probability.
        odds: Odds ratios, of the regression.
        curves: Odds along numbers, of the regression.
        weights: Column → weight of it in the chosen model: the mean of its moves of the logit, up or down.
    """

    outcome: str
    n: int
    n_true: int
    n_to_score: int
    chosen: str
    gain: float
    z: float
    judged: JudgedOutcome
    alone: Mapping[str, float]
    leaks: tuple[Leak, ...]
    ordered: Ordered | None
    lift: tuple[LiftRow, ...]
    odds: tuple[OddsRatio, ...]
    curves: tuple[Curve, ...]
    weights: Mapping[str, float]


def compute_probability(name: str, config: ProbabilityConfig, context: TraitContext) -> TraitResult:
    """Returns the probability of an outcome for every customer who may be scored.

    Raises:
        DataError: If the outcome cannot teach.
        ConfigError: If the declaration names something that is not there.
    """
    examples = make_examples(name, config, context.customers)
    leaks, alone = audit_leaks(
        examples.learned, examples.outcome, examples.ages, context.seed, config.known_before
    )
    kinds = (LOGISTIC, TREES) if config.model == "auto" else (config.model,)
    folds = compete(examples.learned, examples.outcome, examples.ages, context.seed, kinds)
    columns, model = fit_model(folds.chosen, examples.learned, examples.outcome, examples.ages, context.seed)
    version = version_of(name, config, context.version)
    fitted = FittedTrait(
        name=name,
        version=version,
        outcome=config.outcome,
        rate=float(examples.outcome.mean()),
        as_of=context.customers.as_of,
        columns=columns,
        model=model,
    )
    values, weights = _values(name, config, examples, folds, fitted, context)
    ordered = _ordered(examples)
    odds, curves = _effects(examples, columns, model, context.seed)
    judged = JudgedProbability(
        outcome=config.outcome,
        n=len(examples.outcome),
        n_true=int(examples.outcome.sum()),
        n_to_score=examples.to_score,
        chosen=_NAMES[folds.chosen],
        gain=folds.gain,
        z=folds.z,
        judged=_judged(name, config, examples, folds, context.seed),
        alone=alone,
        leaks=leaks,
        ordered=ordered,
        lift=measure_lift(folds.probability[folds.chosen], examples.outcome),
        odds=odds,
        curves=curves,
        weights=weights,
    )
    open_leaks = [leak for leak in leaks if not leak.is_accepted]
    return TraitResult(
        name=name,
        type="probability",
        version=version,
        values=values,
        judged=judged,
        cautions=(*examples.notes, *_cautions(judged)),
        refused=_refusal(open_leaks),
        fitted=fitted,
    )


def _ordered(examples: Examples) -> Ordered | None:
    """Returns how the outcome changes along the rows; None of a rule, whose rows are in the order of ids."""
    if not examples.same:
        return None
    by_time = take_rows(examples.learned, examples.order)
    return audit_order(by_time, examples.outcome[examples.order], examples.ages)


def _judged(
    name: str, config: ProbabilityConfig, examples: Examples, folds: OutOfFold, seed: int
) -> JudgedOutcome:
    """Returns how good every model is on rows that it did not see."""
    others = [kind for kind in folds.probability if kind != folds.chosen]
    sources = {_NAMES[kind]: folds.probability[kind] for kind in (folds.chosen, *others)}
    sources["mean rate"] = np.full(len(examples.outcome), examples.outcome.mean())
    return judge_outcome(
        name,
        f"{config.outcome}, each customer by models that were fitted on others.",
        sources,
        examples.outcome,
        np.arange(len(examples.outcome)),
        {column: _members(examples.slices[column]) for column in examples.slices.columns},
        np.random.default_rng(seed),
    )


def _members(column: pl.Series) -> Members:
    """Returns value → its rows; numbers in four parts of equal size."""
    if column.dtype == pl.Float64 and column.n_unique() > MAX_SLICE_VALUES:
        known = column.to_numpy()
        ends = np.nanquantile(known, [0.25, 0.5, 0.75])
        part = np.searchsorted(ends, known, side="right")
        return {f"quarter {number + 1}": (part == number) & ~np.isnan(known) for number in range(4)}
    texts = column.cast(pl.String).fill_null("(missing)")
    common = texts.value_counts(sort=True).sort("count", column.name, descending=[True, False])[column.name]
    return {value: (texts == value).to_numpy() for value in common.head(MAX_SLICE_VALUES).to_list()}


def _values(
    name: str,
    config: ProbabilityConfig,
    examples: Examples,
    folds: OutOfFold,
    fitted: FittedTrait,
    context: TraitContext,
) -> tuple[pl.DataFrame, dict[str, float]]:
    """Returns probability, reasons and value of each customer, and how much each column moves."""
    design = encode(fitted.columns, examples.scored)
    probability = probabilities(fitted.model.logits(design))
    if examples.same:
        # A row that was learned from is said by the models that did not see it.
        place = {one: row for row, one in enumerate(examples.scored_ids.to_list())}
        learned = np.array([place[one] for one in examples.ids.to_list()], dtype=np.int64)
        probability[learned] = folds.probability[folds.chosen]
    moved = fitted.model.contributions(design, fitted.columns)
    why = reasons(fitted.columns, moved)
    frame = pl.DataFrame(
        {
            USER_ID: examples.scored_ids,
            name: probability,
            f"{name}_reasons": pl.Series([", ".join(one) for one in why], dtype=pl.String),
        }
    )
    if config.margin:
        margin = _margin(name, config, context, frame[USER_ID])
        frame = frame.with_columns(pl.Series(f"{name}_value", _expected(margin, probability, config)))
    weight = np.abs(moved).mean(axis=0)
    names = [column.name for column in fitted.columns]
    order = np.argsort(-weight, kind="stable")
    return frame, {names[place]: float(weight[place]) for place in order.tolist()}


def _margin(name: str, config: ProbabilityConfig, context: TraitContext, ids: pl.Series) -> Float64Array:
    """Returns the margin per period of customers, NaN where it is not known."""
    key = f"customers.traits.{name}.margin"
    rows = context.customers.rows
    margin = rows.select(USER_ID, read_expression(config.margin, rows, key).alias("margin"))
    if not margin["margin"].dtype.is_numeric():
        raise ConfigError(f"{key} must be a number, got {config.margin!r}, which is {margin['margin'].dtype}")
    own = pl.DataFrame({USER_ID: ids}).join(margin, on=USER_ID, how="left", maintain_order="left")
    return own["margin"].cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _expected(margin: Float64Array, probability: Float64Array, config: ProbabilityConfig) -> pl.Series:
    """Returns margin × survival: the discounted sum over periods of the chance to still be there.

    Source:
        Fader and Hardie 2007, Journal of Interactive Marketing 21(1), equation 6, with one chance of
        leaving per customer that is the same in every period.
    """
    survival = (1 - probability) * (1 - config.discount)
    periods = np.arange(1, config.periods + 1)
    total = margin * (survival[:, None] ** periods).sum(axis=1)
    return pl.Series(total).fill_nan(None)


def _effects(
    examples: Examples, columns: list[Column], model: Model, seed: int
) -> tuple[tuple[OddsRatio, ...], tuple[Curve, ...]]:
    """Returns the effects by the regression: of trees there are none, so it is fitted beside them."""
    if not isinstance(model, LogisticModel):
        columns, model = fit_model(LOGISTIC, examples.learned, examples.outcome, examples.ages, seed)
    assert isinstance(model, LogisticModel), f"asked for a regression, got {type(model)}"
    return measure_effects(
        columns, with_covariance(model, encode(columns, examples.learned)), examples.learned
    )


def _cautions(judged: JudgedProbability) -> list[str]:
    """Returns the cautions on a probability."""
    said = [
        f"{leak.column} alone tells the outcome with AUC {leak.auc:.3f}; without it all others reach "
        f"{leak.auc_without:.3f}. Was it known before the outcome?"
        for leak in judged.leaks
    ]
    if judged.ordered is not None:
        found = judged.ordered
        said.append(
            f"Rows look ordered: the outcome rate runs from {min(found.rates):.3f} to {max(found.rates):.3f} "
            f"over tenths of the file (p {found.p:.1g}). Learned on the first four fifths and judged on the "
            f"last, AUC is {found.auc_last:.3f}, with {found.said:.3f} said and {found.came:.3f} came."
        )
    return said


def _refusal(leaks: list[Leak]) -> str:
    """Returns why a probability must not be used, an empty text if it may be."""
    if not leaks:
        return ""
    names = ", ".join(leak.column for leak in leaks)
    return (
        f"{names} would leak the outcome (AUC alone {max(leak.auc for leak in leaks):.3f}): list it under "
        "known_after if it was filled afterwards, or under known_before of the trait if it was not"
    )
