"""A forecast in the report: whether there is a pattern, past errors, the fan, and the profile of the week."""

from dataclasses import asdict
from typing import Any  # of JSON

import numpy as np

from marquee.core.moments import day_text
from marquee.marketing.forecast.profile import weekly_profile
from marquee.marketing.forecast.series import SECONDS_PER_DAY
from marquee.marketing.forecast.trait import JudgedForecasts
from marquee.marketing.traits import TraitResult
from marquee.reports.customers.figures import bar_figure
from marquee.reports.customers.parts import Part
from marquee.reports.customers.value_figures import fan_figure
from marquee.reports.evidence.page import Finding, Grid, Section, number, share

PAST_WEEKS = 8
WEEKDAYS = ("Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday")
_ERROR_COLUMNS = ("forecast", "error by step", "error of the sum")


def forecast_part(trait: TraitResult) -> Part:
    """Returns the part of a forecast."""
    judged: JudgedForecasts = trait.judged
    return Part(
        _finding(trait.name, judged),
        (_past_section(trait.name, judged), _ahead_section(trait.name, judged)),
        _facts(judged),
    )


def _noun(judged: JudgedForecasts) -> str:
    """Returns the noun for the sum."""
    return "revenue" if judged.config.of == "amount" else "purchases"


def _finding(name: str, judged: JudgedForecasts) -> Finding:
    """Returns the upshot in words."""
    found = judged.forecast
    span = (
        "" if found.total_low is None else f" (80 %: {number(found.total_low)} to {number(found.total_high)})"
    )
    return Finding(
        f"{name}: {number(found.total)} in {judged.config.days} days",
        f"Expected {_noun(judged)} of the coming {judged.config.days} days: {number(found.total)}{span}. "
        f"{found.verdict}",
        "better" if found.has_pattern else "undecided",
    )


def _past_section(name: str, judged: JudgedForecasts) -> Section:
    """Returns the errors of forecasts made in the past."""
    tested = judged.forecast.backtest
    step = "days" if judged.past.step == SECONDS_PER_DAY else "hours"
    texts = [
        f"At the end of each of {tested.n_origins} past weeks the same was forecast from what lay before it. "
        "Errors are "
        "shares of what came.",
        judged.forecast.verdict,
    ]
    if tested.coverage is not None:
        texts.append(
            f"The interval, drawn from earlier errors alone, held {share(tested.coverage)} of {step}; it "
            "means 80 %."
        )
    rows = tuple(
        (label, share(one.by_step), share(one.of_sum))
        for label, one in (
            ("level and profile of the week", tested.profile),
            ("level alone", tested.level),
            ("last week's values", tested.last_week),
        )
    )
    return Section(f"{name}: in the past", tuple(texts), (Grid("Errors", _ERROR_COLUMNS, rows),))


def _ahead_section(name: str, judged: JudgedForecasts) -> Section:
    """Returns the coming steps, the fan and the profile."""
    found, past = judged.forecast, judged.past
    shown = past.values[-PAST_WEEKS * past.period :]
    first = len(past.values) - len(shown)
    figures = [
        fan_figure(
            f"{name}: {_noun(judged)}, and what to expect",
            list(zip(past.moments(first, len(shown)).tolist(), shown.tolist(), strict=True)),
            list(zip(found.moments.tolist(), found.expected.tolist(), strict=True)),
            None
            if found.low is None or found.high is None
            else list(zip(found.low.tolist(), found.high.tolist(), strict=True)),
        )
    ]
    if found.has_pattern:
        figures.append(_week_figure(name, judged))
    grid = Grid("By day", ("day", "expected", "80 % interval"), _day_rows(judged))
    return Section(
        f"{name}: ahead", (f"Days are those of {judged.config.time_zone}.",), (grid,), tuple(figures)
    )


def _week_figure(name: str, judged: JudgedForecasts) -> str:
    """Returns the share of each weekday."""
    past = judged.past
    profile = weekly_profile(past.values, past.period)
    # The profile begins at the step after the past; the epoch, a Thursday, numbers the weekdays.
    days = past.moments(len(past.values), past.period) // SECONDS_PER_DAY % 7
    shares = np.bincount(days, profile, minlength=7) / max(float(profile.sum()), 1e-12)
    order = [4, 5, 6, 0, 1, 2, 3]
    return bar_figure(
        f"{name}: share of each weekday",
        [WEEKDAYS[day] for day in order],
        [float(shares[day]) for day in order],
        1 / 7,
    )


def _day_rows(judged: JudgedForecasts) -> tuple[tuple[str, ...], ...]:
    """Returns a row per day; hours are added up, and their intervals are not, as they do not add."""
    found = judged.forecast
    per_day = SECONDS_PER_DAY // judged.past.step
    rows = []
    for start in range(0, len(found.expected) - per_day + 1, per_day):
        ends = number(None)
        if per_day == 1 and found.low is not None and found.high is not None:
            ends = f"{number(float(found.low[start]))} to {number(float(found.high[start]))}"
        total = float(found.expected[start : start + per_day].sum())
        rows.append((day_text(int(found.moments[start])), number(total), ends))
    return tuple(rows)


def _facts(judged: JudgedForecasts) -> dict[str, Any]:
    """Returns everything as numbers."""
    found = judged.forecast
    tested = found.backtest
    return {
        "config": asdict(judged.config),
        "time_zone": judged.config.time_zone,
        "moments": found.moments.tolist(),
        "expected": found.expected.tolist(),
        "low": None if found.low is None else found.low.tolist(),
        "high": None if found.high is None else found.high.tolist(),
        "total": found.total,
        "total_low": found.total_low,
        "total_high": found.total_high,
        "has_pattern": found.has_pattern,
        "verdict": found.verdict,
        "n_past_forecasts": tested.n_origins,
        "coverage": tested.coverage,
        "errors": [asdict(one) for one in (tested.profile, tested.level, tested.last_week)],
    }
