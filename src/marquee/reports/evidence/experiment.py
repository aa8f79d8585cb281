"""The page of an experiment: shares, health, effects, guardrails, slices, days, and what to do."""

from dataclasses import asdict
from math import ceil, isfinite
from typing import Any  # of JSON

from marquee.decision.experiments.declaring import Better
from marquee.evaluation.experiments.effects import Effect
from marquee.evaluation.experiments.judging import ExperimentResult, JudgedArm, JudgedMetric, Quantile
from marquee.evaluation.experiments.planning import ExperimentPlan
from marquee.evaluation.experiments.sample_ratio import MISMATCH_P_VALUE
from marquee.evaluation.experiments.verdict import Conclusion
from marquee.evaluation.intervals import Estimate
from marquee.reports.evidence.figures import effect_figure, sequence_figure
from marquee.reports.evidence.page import (
    Finding,
    Grid,
    Page,
    Section,
    estimated,
    interval,
    number,
    share,
    signed_number,
)
from marquee.reports.verdict import p_in_words

EXPERIMENT_FORMAT = 1

_TONES = {
    Conclusion.ship: "better",
    Conclusion.stop: "worse",
    Conclusion.go_on: "undecided",
    Conclusion.cannot_tell: "undecided",
}
_COLUMNS = (
    "arm",
    "control",
    "arm has",
    "difference",
    "fixed 95 %",
    "always valid 95 %",
    "relative",
    "p, corrected",
    "found from",
)


def experiment_page(result: ExperimentResult) -> Page:
    """Returns the page of an experiment; with a mismatch of shares it shows no effect."""
    config, exposed = result.config, result.exposed
    n_units = sum(exposed.n_units().values())
    period = f", {exposed.days[0]} to {exposed.days[-1]} ({config.zone})" if exposed.days else ""
    # Which of the two intervals may be read depends on it, so it stands at the top.
    end = "the declared end is reached" if exposed.is_final else "still running: read the always-valid ends"
    sections = [_ratio_section(result), _health_section(result)]
    # Nothing was computed: empty sections would read as no effect.
    if not result.ratio.is_mismatch:
        sections += [_effects_section(result), _guardrails_section(result), _slices_section(result)]
        sections += [_days_section(result)] if result.days else []
    sections.append(_verdict_section(result))
    return Page(
        title=f"Experiment {config.name}",
        note=f"{n_units:,} units in {len(config.arms)} arms{period}; {end}.",
        findings=tuple(_finding(arm) for arm in result.arms),
        sections=tuple(sections),
        facts=experiment_facts(result),
        warnings=exposed.notes,
    )


def experiment_facts(result: ExperimentResult) -> dict[str, Any]:
    """Returns everything as numbers, ready for JSON."""
    return {
        "experiment_format": EXPERIMENT_FORMAT,
        "name": result.config.name,
        "is_final": result.exposed.is_final,
        "n_units": result.exposed.n_units(),
        "days": list(result.exposed.days),
        "left_out": dict(result.exposed.left_out),
        "notes": list(result.exposed.notes),
        "sample_ratio": {**asdict(result.ratio), "is_mismatch": result.ratio.is_mismatch},
        "causes": [asdict(cause) for cause in result.causes],
        "metrics": [asdict(metric) for metric in result.metrics],
        "slices": [asdict(part) for part in result.slices],
        "small_slices": list(result.small_slices),
        "sequence": [asdict(day) for day in result.days],
        "arms": [asdict(arm) for arm in result.arms],
    }


def _finding(judged: JudgedArm) -> Finding:
    """Returns the verdict on an arm."""
    verdict = judged.verdict
    text = verdict.reason
    if judged.days_more is not None:
        days = round(judged.days_more)
        text += f"; about {days} more {'day is' if days == 1 else 'days are'} likely to tell"
    return Finding(f"{judged.arm}: {verdict.conclusion}", f"{text}.", _TONES[verdict.conclusion])


def _ratio_section(result: ExperimentResult) -> Section:
    """Returns the shares of the arms, and where they stray."""
    ratio = result.ratio
    rows = tuple(
        (arm, f"{ratio.observed[arm]:,}", f"{ratio.expected[arm]:,.0f}", share(seen), share(declared))
        for arm, (seen, declared) in ratio.shares().items()
    )
    grids = [Grid("Units by arm", ("arm", "units", "expected", "share", "declared"), rows)]
    if not ratio.is_mismatch:
        said = f"The arms hold the declared shares ({p_in_words(ratio.p_value)})."
        return Section("Shares of the arms", (said,), tuple(grids))
    # Of all parts listed, those beyond chance: the others would send the reader to the wrong place.
    strays = [cause for cause in result.causes if cause.p_value < MISMATCH_P_VALUE]
    said = (
        f"The arms do not hold the declared shares: {p_in_words(ratio.p_value)}, below "
        f"{MISMATCH_P_VALUE:g}. Units are lost or counted twice, and not at random, so no effect is shown."
    )
    where = (
        f"{len(strays)} of the parts below stray: begin there."
        if strays
        else "No part strays by itself: look at how units are drawn and logged in all of them."
    )
    if result.causes:
        arms = tuple(ratio.observed)
        parts = tuple(
            (cause.part, *(f"{cause.n_units[arm]:,}" for arm in arms), p_in_words(cause.p_value))
            for cause in result.causes
        )
        grids.append(Grid("By part, worst first; p-values corrected", ("part", *arms, "p"), parts))
    return Section("Shares of the arms", (said, where), tuple(grids))


def _health_section(result: ExperimentResult) -> Section:
    """Returns the rows and units left out, by reason."""
    rows = tuple((reason, f"{n:,}") for reason, n in result.exposed.left_out.items())
    if not rows:
        return Section("Exposure", ("Every row counts, and every unit was in one arm.",))
    return Section("Exposure", (), (Grid("Left out", ("what", "how many"), rows),))


def _effects_section(result: ExperimentResult) -> Section:
    """Returns every metric with both intervals, raw, adjusted and capped."""
    texts = [
        "Each arm minus the control. The fixed interval holds if it is read once, at the declared end; the "
        "always-valid one holds however often it is read. `found from` is the true difference that this "
        "test finds in 80 % of the cases. P-values are corrected by Holm's method over metrics and arms."
    ]
    grids, figures = [], []
    for metric in result.metrics:
        texts += [f"{metric.name}: {reason}." for reason in metric.reasons]
        texts += _adjustment_words(metric)
        grids += _metric_grids(metric)
        if metric.effects is not None:
            figures.append(
                effect_figure(metric.name, {effect.arm: _both(effect) for effect in metric.effects.effects})
            )
    return Section("Effects", tuple(texts), tuple(grids), tuple(figures))


def _both(effect: Effect) -> tuple[Estimate, Estimate]:
    """Returns a difference with its fixed and with its always-valid interval."""
    return (
        Estimate(effect.difference, effect.low, effect.high),
        Estimate(effect.difference, effect.always_low, effect.always_high),
    )


def _adjustment_words(metric: JudgedMetric) -> list[str]:
    """Says what the past took away, and whether the arms differed before."""
    if metric.effects is None:
        return []
    adjustment = metric.effects.adjustment
    if not adjustment.is_on:
        return [f"{metric.name}: nothing is known of the units before, or it does not vary: not adjusted."]
    return [
        f"{metric.name}: what units did before takes away {adjustment.removed:.1%} of the variance; the arms "
        f"{'differed' if adjustment.differed_before < 0.001 else 'did not differ'} before "
        f"({p_in_words(adjustment.differed_before)})."
    ]


def _metric_grids(metric: JudgedMetric) -> list[Grid]:
    """Returns the tables of a metric: what decides first."""
    if metric.effects is None:
        return []
    # The caption says so: an adjusted difference is not that of the two means beside it.
    is_adjusted = metric.effects.adjustment.is_on
    adjusted = ", adjusted for the past" if is_adjusted else ""
    # What decides stands first; the others show what adjusting and capping did.
    grids = [_effects_grid(metric.name + adjusted, metric.effects.effects)]
    # Without a past both would be the same table.
    if is_adjusted and metric.plain is not None:
        grids.append(_effects_grid(f"{metric.name}, not adjusted, p not corrected", metric.plain.effects))
    if metric.capped is not None:
        caption = f"{metric.name}, sums of units capped at {number(metric.cap)}, p not corrected"
        grids.append(_effects_grid(caption, metric.capped.effects))
    if metric.quantiles:
        rows = tuple(_quantile_row(found) for found in metric.quantiles)
        columns = ("arm", "quantile", "difference", "fixed 95 %")
        grids.append(Grid(f"{metric.name}, quantiles over units", columns, rows))
    return grids


def _quantile_row(found: Quantile) -> tuple[str, ...]:
    """Returns the cells of the difference of a quantile."""
    ends = interval(found.difference.low, found.difference.high)
    return found.arm, f"{found.quantile:g}", signed_number(found.difference.mean), ends


def _effects_grid(caption: str, effects: tuple[Effect, ...]) -> Grid:
    """Returns one line per arm."""
    return Grid(caption, _COLUMNS, tuple(_effect_row(effect) for effect in effects))


def _effect_row(effect: Effect) -> tuple[str, ...]:
    """Returns the cells of an effect."""
    return (
        effect.arm,
        number(effect.control),
        number(effect.treated),
        signed_number(effect.difference),
        interval(effect.low, effect.high),
        interval(effect.always_low, effect.always_high),
        share(effect.relative),
        p_in_words(effect.p_value),
        number(effect.detectable),
    )


def _guardrails_section(result: ExperimentResult) -> Section:
    """Returns whether an arm worsens what it must not."""
    guards = [metric for metric in result.metrics if metric.name in result.config.guardrails]
    if not guards:
        return Section("Guardrails", ("None was declared.",))
    rows = []
    for metric in guards:
        for effect in () if metric.effects is None else metric.effects.effects:
            fixed, always = _both(effect)
            # The fixed interval holds at the declared end alone.
            read = fixed if result.exposed.is_final else always
            low, high = read.low, read.high
            # Worse and not worse each need the whole interval on one side of 0; else nothing can be told.
            is_worse = low > 0 if metric.better is Better.less else high < 0
            is_kept = low >= 0 if metric.better is Better.more else high <= 0
            said = "worse" if is_worse else "not worse" if is_kept else "cannot tell"
            rows.append((metric.name, effect.arm, interval(low, high), said))
    # Said, for a guardrail that was not tested guards nothing.
    texts = tuple(f"{metric.name} could not be tested." for metric in guards if metric.effects is None)
    grid = Grid("What no arm may worsen", ("metric", "arm", "difference", "is"), tuple(rows))
    return Section("Guardrails", texts, (grid,) if rows else ())


def _slices_section(result: ExperimentResult) -> Section:
    """Returns the first metric by part."""
    texts = []
    if result.small_slices:
        texts.append(f"Too few units to show: {', '.join(result.small_slices)}.")
    if not result.slices:
        return Section("Slices", (*texts, "None is shown."))
    texts.append("Intervals are widened for having looked at all parts, and hold at the declared end.")
    rows = tuple(
        (part.part, arm, f"{part.n_units:,}", signed_number(found.mean), interval(found.low, found.high))
        for part in result.slices
        for arm, found in part.differences.items()
    )
    columns = ("part", "arm", "units", "difference", "95 % of all together")
    return Section("Slices", tuple(texts), (Grid(result.config.primary, columns, rows),))


def _days_section(result: ExperimentResult) -> Section:
    """Returns the first metric as it could be read each day."""
    figures = []
    for arm in list(result.config.arms)[1:]:
        known = [(day.day, day.differences[arm]) for day in result.days if arm in day.differences]
        # One day is no course.
        if len(known) > 1:
            days, estimates = zip(*known, strict=True)
            figures.append(sequence_figure(f"{result.config.primary}, {arm} minus control", days, estimates))
    last = result.days[-1]
    rows = tuple((arm, estimated(found)) for arm, found in last.differences.items())
    caption = f"{result.config.primary} at the end of {last.day}"
    grid = Grid(caption, ("arm", "difference, always valid"), rows)
    return Section("Day by day", (), (grid,), tuple(figures))


def _verdict_section(result: ExperimentResult) -> Section:
    """Returns the verdict on each arm: the last word, for it rests on all that stands above."""
    rows = tuple(
        (judged.arm, judged.verdict.conclusion, judged.verdict.reason, _days_more(judged))
        for judged in result.arms
    )
    columns = ("arm", "verdict", "for", "days more that are likely to tell")
    return Section("Verdict", (), (Grid("By arm", columns, rows),))


def _days_more(judged: JudgedArm) -> str:
    """Returns in how many days more an arm is likely to be told, a dash where that is unknown."""
    return number(None) if judged.days_more is None else _days(judged.days_more)


def plan_page(name: str, planned: ExperimentPlan) -> Page:
    """Returns the page of a plan: how many units and days an effect needs."""
    # The middle one is the effect that was declared: the others are half and double.
    _, wanted, _ = planned.effects
    fixed, always = wanted.plan.n_units, wanted.plan.n_units_always
    rows = tuple(
        (
            number(found.effect),
            f"{found.plan.n_units:,}",
            _days(found.plan.days),
            f"{found.plan.n_units_always:,}",
            _days(found.plan.days_always),
        )
        for found in planned.effects
    )
    columns = ("effect", "units per arm, one look", "days", "units per arm, daily looks", "days")
    return Page(
        title=f"Plan of {name}",
        note=(
            f"{planned.metric} is {number(planned.mean)} over {planned.n_units:,} units, standard deviation "
            f"{number(planned.variance**0.5)}; what they did before takes away {planned.removed:.1%} of the "
            f"variance; {number(planned.units_per_day)} units a day in {planned.n_arms} arms."
        ),
        findings=(
            Finding(
                f"{fixed:,} units per arm",
                f"find an effect of {number(wanted.effect)} in 80 % of the cases if they are read once, at "
                f"the end ({_days(wanted.plan.days)} days); with a look every day {always:,} per arm "
                f"({_days(wanted.plan.days_always)} days).",
            ),
        ),
        sections=(Section("Sizes", (), (Grid(planned.metric, columns, rows),)),),
        facts=asdict(planned),
    )


def _days(days: float) -> str:
    """Returns a number of days, rounded up; a dash where no unit comes."""
    # Up: a day that has begun must be run to its end.
    return number(float(ceil(days)) if isfinite(days) else None)
