"""Everything that an experiment says, in the order in which it may be said: shares, health, effects, verdict.

Where the arms do not hold the declared shares of units, no effect is computed at all: the place where units
are lost is named instead, as far as slices and days tell.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

from marquee.decision.experiments.declaring import Better
from marquee.errors import DataError
from marquee.evaluation.comparison import holm
from marquee.evaluation.experiments.adjustment import AdjustedArm
from marquee.evaluation.experiments.config import ExperimentConfig
from marquee.evaluation.experiments.effects import (
    Effect,
    MetricEffects,
    corrected,
    measure_effects,
    quantile_effect,
)
from marquee.evaluation.experiments.exposure import Exposed, arm_units
from marquee.evaluation.experiments.planning import plan
from marquee.evaluation.experiments.sample_ratio import SampleRatio, sample_ratio, validate_weights
from marquee.evaluation.experiments.units import ArmUnits, cap_at
from marquee.evaluation.experiments.verdict import Conclusion, Measured, Verdict, decide
from marquee.evaluation.intervals import Estimate, widening

MAX_CAUSES = 10
MIN_SLICE_UNITS = 50
_MAX_DAYS_SHOWN = 120


@dataclass(frozen=True, slots=True)
class Quantile:
    """The difference of a quantile between an arm and the control, with its fixed interval."""

    arm: str
    quantile: float
    difference: Estimate


@dataclass(frozen=True, slots=True)
class JudgedMetric:
    """One metric of an experiment.

    Attributes:
        name: Of the metric.
        better: Which way it should go.
        effects: Adjusted for the past where that is known, p-values corrected over metrics and arms; None
            where nothing can be tested.
        plain: The same without adjustment.
        capped: The same with sums capped at `cap`; None if none was declared.
        cap: Largest sum of a unit.
        quantiles: Quantiles over units.
        reasons: Why something could not be tested, one sentence each.
    """

    name: str
    better: Better
    effects: MetricEffects | None
    plain: MetricEffects | None
    capped: MetricEffects | None
    cap: float | None
    quantiles: tuple[Quantile, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cause:
    """A part of the units whose shares stray; `p_value` is corrected for all parts that were seen."""

    part: str
    n_units: Mapping[str, int]
    p_value: float


@dataclass(frozen=True, slots=True)
class JudgedSlice:
    """The first metric on a part of the units; intervals are widened for having looked at all parts."""

    part: str
    n_units: int
    differences: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class SequenceDay:
    """The first metric as it could be read on a day: arm → difference with its always-valid interval."""

    day: str
    differences: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class JudgedArm:
    """The verdict on an arm, and in how many days more will tell; None if that cannot be said."""

    arm: str
    verdict: Verdict
    days_more: float | None


@dataclass(frozen=True)
class ExperimentResult:
    """All of it.

    Attributes:
        config: The declaration.
        exposed: Units, and what was left out.
        ratio: Shares of the arms.
        causes: Where shares stray, worst first, if they do; whatever its p-value.
        metrics: In the declared order; empty where shares stray.
        slices: Of the first metric.
        small_slices: Parts with too few units to show.
        days: Of the first metric.
        arms: The verdicts.
    """

    config: ExperimentConfig
    exposed: Exposed
    ratio: SampleRatio
    causes: tuple[Cause, ...]
    metrics: tuple[JudgedMetric, ...]
    slices: tuple[JudgedSlice, ...]
    small_slices: tuple[str, ...]
    days: tuple[SequenceDay, ...]
    arms: tuple[JudgedArm, ...]


def judge_experiment(config: ExperimentConfig, exposed: Exposed) -> ExperimentResult:
    """Judges an experiment.

    Raises:
        DataError: If weights are wrong.
    """
    validate_weights(config.arms)
    ratio = sample_ratio(exposed.n_units(), config.arms)
    # Effects are not computed at all, so none can be shown by mistake.
    if ratio.is_mismatch:
        verdict = Verdict(
            Conclusion.cannot_tell,
            f"the arms do not hold the declared shares (p = {ratio.p_value:.1g}): no effect is shown",
        )
        arms = tuple(JudgedArm(arm, verdict, None) for arm in list(config.arms)[1:])
        return ExperimentResult(config, exposed, ratio, _causes(config, exposed), (), (), (), (), arms)
    metrics = _judge_metrics(config, exposed)
    slices, small = _judge_slices(config, exposed)
    return ExperimentResult(
        config,
        exposed,
        ratio,
        (),
        metrics,
        slices,
        small,
        _judge_days(config, exposed),
        tuple(_judge_arm(arm, config, exposed, ratio, metrics) for arm in list(config.arms)[1:]),
    )


def _causes(config: ExperimentConfig, exposed: Exposed) -> tuple[Cause, ...]:
    """Returns the parts of the units whose shares stray most."""
    units = exposed.rows.unique("unit", keep="first", maintain_order=True)
    columns = [*config.slices, *(["exposed_day"] if exposed.days else [])]
    found = []
    for column in columns:
        for (value,), part in units.partition_by(column, as_dict=True).items():
            counts = dict(part["arm"].value_counts().iter_rows())
            if len(part) < MIN_SLICE_UNITS:
                continue
            # A part may lack an arm: `sample_ratio` takes a missing one for 0 units.
            ratio = sample_ratio(counts, config.arms)
            found.append(Cause(f"{column.replace('_', ' ')} = {value}", ratio.observed, ratio.p_value))
    p_values = holm([cause.p_value for cause in found])
    together = [replace(cause, p_value=p) for cause, p in zip(found, p_values, strict=True)]
    return tuple(sorted(together, key=lambda cause: cause.p_value)[:MAX_CAUSES])


def _judge_metrics(config: ExperimentConfig, exposed: Exposed) -> tuple[JudgedMetric, ...]:
    """Returns every metric, p-values corrected over all of them and all arms."""
    judged = [_judge_metric(name, config, exposed) for name in config.metrics]
    tested = [metric.effects for metric in judged if metric.effects is not None]
    # By name: metrics that could not be tested are missing there, and do not count in Holm's method.
    together = {effects.name: effects for effects in corrected(tested)}
    return tuple(replace(metric, effects=together.get(metric.name)) for metric in judged)


def _judge_metric(name: str, config: ExperimentConfig, exposed: Exposed) -> JudgedMetric:
    """Returns one metric; what cannot be tested says why, and stops no other."""
    metric, control, tuned_for = config.metrics[name], config.control, config.tuned_for
    try:
        units = arm_units(exposed, config, name)
        effects = measure_effects(name, units, control, tuned_for)
    except DataError as error:
        return JudgedMetric(name, metric.better, None, None, None, None, (), (str(error),))
    # Without the past: shows beside the adjusted effect what the adjustment did.
    bare = {arm: replace(own, before=None) for arm, own in units.items()}
    capped, cap, reasons = None, None, []
    if metric.winsorise is not None:
        cap = cap_at(list(units.values()), metric.winsorise)
        try:
            capped = measure_effects(name, {a: u.capped(cap) for a, u in units.items()}, control, tuned_for)
        except DataError as error:
            reasons.append(f"capped at {cap:g}: {error}")
    # Of the sums as they are: a quantile has no adjustment for the past.
    quantiles, failed = _quantiles(bare, control, metric.quantiles)
    return JudgedMetric(
        name,
        metric.better,
        effects,
        measure_effects(name, bare, control, tuned_for),
        capped,
        cap,
        quantiles,
        (*reasons, *failed),
    )


def _quantiles(
    units: Mapping[str, ArmUnits], control: str, wanted: Sequence[float]
) -> tuple[tuple[Quantile, ...], list[str]]:
    """Returns the declared quantiles of every arm, and why others are not shown."""
    found, reasons = [], []
    for arm, own in units.items():
        for quantile in wanted if arm != control else ():
            try:
                difference = quantile_effect(units[control].numerator, own.numerator, quantile)
                found.append(Quantile(arm, quantile, Estimate(*difference)))
            except DataError as error:
                reasons.append(str(error))
    return tuple(found), reasons


def _judge_slices(
    config: ExperimentConfig, exposed: Exposed
) -> tuple[tuple[JudgedSlice, ...], tuple[str, ...]]:
    """Returns the first metric by part, and the names of parts that are too small."""
    parts: dict[str, pl.DataFrame] = {}
    for column in config.slices:
        # A unit's first value: one that changes during the test must not place it in two parts.
        first = exposed.rows.with_columns(pl.col(column).first().over("unit"))
        for (value,), rows in sorted(first.partition_by(column, as_dict=True).items()):
            parts[f"{column} = {value}"] = rows
    effects: dict[str, MetricEffects] = {}
    sizes, small = {}, []
    for part, rows in parts.items():
        units = arm_units(exposed, config, config.primary, rows)
        sizes[part] = sum(map(len, units.values()))
        if len(units) < len(config.arms) or min(map(len, units.values())) < MIN_SLICE_UNITS:
            small.append(part)
            continue
        try:
            effects[part] = measure_effects(config.primary, units, config.control, config.tuned_for)
        except DataError:
            small.append(part)
    # All parts are looked at: any may be picked for what it shows.
    wider = widening(sum(len(found.effects) for found in effects.values()))
    judged = tuple(
        JudgedSlice(part, sizes[part], {effect.arm: _widened(effect, wider) for effect in found.effects})
        for part, found in effects.items()
    )
    return judged, tuple(small)


def _widened(effect: Effect, factor: float) -> Estimate:
    """Returns the difference with a fixed interval that is longer by a factor."""
    reach = factor * (effect.high - effect.difference)
    return Estimate(effect.difference, effect.difference - reach, effect.difference + reach)


def _judge_days(config: ExperimentConfig, exposed: Exposed) -> tuple[SequenceDay, ...]:
    """Returns the first metric as it could be read at the end of each day."""
    found = []
    for day in exposed.days[-_MAX_DAYS_SHOWN:]:
        # As it was read that day: later rows of the same units do not count yet.
        so_far = exposed.rows.filter(pl.col("__day") <= day)
        try:
            units = arm_units(exposed, config, config.primary, so_far)
            effects = measure_effects(config.primary, units, config.control, config.tuned_for).effects
        except DataError:
            continue  # too few units yet
        found.append(
            SequenceDay(day, {e.arm: Estimate(e.difference, e.always_low, e.always_high) for e in effects})
        )
    return tuple(found)


def _judge_arm(
    arm: str,
    config: ExperimentConfig,
    exposed: Exposed,
    ratio: SampleRatio,
    metrics: Sequence[JudgedMetric],
) -> JudgedArm:
    """Returns the verdict on an arm."""
    measured = {metric.name: _measured(metric, arm) for metric in metrics}
    primary = measured[config.primary]
    if primary is None:
        reasons = next(metric.reasons for metric in metrics if metric.name == config.primary)
        return JudgedArm(arm, Verdict(Conclusion.cannot_tell, "; ".join(reasons)), None)
    guards = [found for name in config.guardrails if (found := measured[name]) is not None]
    verdict = decide(
        ratio,
        primary,
        guards,
        minimum_effect=config.minimum_effect,
        is_final=exposed.is_final,
        doubt=exposed.doubts.get(config.primary, ""),
    )
    more = days_more(config, exposed, metrics[0], arm) if verdict.conclusion is Conclusion.go_on else None
    return JudgedArm(arm, verdict, more)


def _measured(metric: JudgedMetric, arm: str) -> Measured | None:
    """Returns the effect of an arm on a metric, None where it could not be tested."""
    effects = () if metric.effects is None else metric.effects.effects
    own = next((effect for effect in effects if effect.arm == arm), None)
    return None if own is None else Measured(metric.name, own, metric.better is Better.less)


def days_more(config: ExperimentConfig, exposed: Exposed, metric: JudgedMetric, arm: str) -> float | None:
    """Returns after how many days more the confidence sequence is likely to tell, None if that is unknown.

    The true effect is taken to be the smallest that matters, or the one seen where none was declared.
    """
    if metric.effects is None or not exposed.days:
        return None
    effect = next(effect for effect in metric.effects.effects if effect.arm == arm)
    size = config.minimum_effect or abs(effect.difference)
    # Per unit: the variance of a metric is that over the number of units.
    variance = sum(own.variance * own.n_units for own in _pair(metric.effects, config, arm)) / 2
    per_day = sum(exposed.n_units().values()) / len(exposed.days)
    if not (size and variance and math.isfinite(variance)):
        return None
    needed = plan(
        variance, size, per_day, weights=list(config.arms.values()), tuned_for=config.tuned_for
    ).days_always
    # The verdict is to go on, so at least one day more.
    return max(1.0, needed - len(exposed.days))


def _pair(effects: MetricEffects, config: ExperimentConfig, arm: str) -> tuple[AdjustedArm, AdjustedArm]:
    """Returns the control and an arm, adjusted; they stand in the order control, then the others."""
    # `measure_effects` puts the control first, wherever it is declared.
    order = [config.control, *(effect.arm for effect in effects.effects)]
    return effects.adjustment.arms[0], effects.adjustment.arms[order.index(arm)]
