"""Value in the report: its models, the models beside what came, tenths of customers, how values spread."""

from dataclasses import asdict
from typing import Any  # of JSON

import numpy as np

from marquee.bundle.traits.purchases import PurchaseModel
from marquee.marketing.cells import MIN_CELL, suppressed
from marquee.marketing.traits import TraitResult
from marquee.marketing.value.customer_value import CustomerValues
from marquee.marketing.value.forecasts import ValueModels
from marquee.marketing.value.judging import JudgedForecast, JudgedValue
from marquee.marketing.value.trait import JudgedTrait
from marquee.reports.customers.figures import bar_figure
from marquee.reports.customers.parts import SUPPRESSED, Part, count_text
from marquee.reports.customers.value_figures import tenths_figure
from marquee.reports.evidence.page import Finding, Grid, Section, estimated, number, share

N_BARS = 12
_FORECAST_COLUMNS = (
    "forecast",
    "purchases",
    "off by",
    "error of a customer",
    "revenue",
    "off by",
    "best tenth holds",
)
_MODEL_COLUMNS = ("model", "r", "alpha, weeks", "a", "b", "log-likelihood", "mean chance to stop")


def value_part(trait: TraitResult) -> Part:
    """Returns the part of a value."""
    judged: JudgedTrait = trait.judged
    found = judged.found
    sections = [_models_section(trait.name, judged)]
    if found.judged is not None:
        sections.append(_holdout_section(trait.name, found.judged))
    sections.append(_spread_section(trait.name, judged))
    return Part(_finding(trait.name, judged), tuple(sections), _facts(judged))


def _finding(name: str, judged: JudgedTrait) -> Finding:
    """Returns the verdict in words."""
    found = judged.found
    if found.reasons:
        return Finding(
            f"{name}: past spend, no forecast",
            f"Values are past spend, spread over the horizon, as {found.reasons[0]}.",
            "undecided",
        )
    assert found.judged is not None, "models without a holdout are a reason for past spend"
    own = found.judged.forecasts[0]
    total = "" if own.money_miss is None else f", of revenue by {own.money_miss:+.0%}"
    return Finding(
        f"{name}: {'money' if judged.has_amounts else 'purchases'} to expect",
        f"{own.name} missed the number of purchases in the holdout of {found.judged.days} days by "
        f"{own.purchases_miss:+.0%}{total}; its best tenth of customers brought {share(own.top_share)}.",
        "better",
    )


def _models_section(name: str, judged: JudgedTrait) -> Section:
    """Returns the fitted models with the reasons against them."""
    found, config = judged.found, judged.config
    noun = (
        f"margin {config.margin:g} times amounts"
        if judged.has_amounts
        else "purchases, as there are no amounts"
    )
    texts = [
        f"Value is {noun} over {config.horizon_days} days, discounted by {config.discount:.0%} per year, of "
        f"{count_text(len(found.value))} customers with a purchase; it rests on: {found.basis}.",
        *[f"Not by the models, as {reason}." for reason in found.reasons],
        "The chance to be alive of these models is 1 for everybody who bought once under BG/NBD: it is no "
        "score of churn.",
    ]
    texts += [
        f"Left out: {one.count:,} transactions, {one.reason}, the first in row {one.first_row + 1:,}: "
        f"{one.first_value}."
        for one in found.rejected
    ]
    models = found.models
    spend = models.spend
    if spend is not None:
        texts.append(
            f"Amounts (Gamma-Gamma): p {number(spend.p)}, q {number(spend.q)}, gamma {number(spend.gamma)}; "
            "a customer of "
            f"whom nothing is known spends {number(spend.mean_spend)} per purchase; number and value of "
            "purchases "
            f"correlate by {number(models.correlation)}."
        )
    rows = tuple(_model_row(model, model is models.chosen) for model in (models.chosen, models.other))
    return Section(f"{name}: the models", tuple(texts), (Grid("Purchases", _MODEL_COLUMNS, rows),))


def _model_row(model: PurchaseModel, is_chosen: bool) -> tuple[str, ...]:
    """Returns the cells of one model of purchases."""
    return (
        f"{model.name}{' (used)' if is_chosen else ''}",
        *[f"{value:.4f}" for value in (model.r, model.alpha, model.a, model.b)],
        f"{model.log_likelihood:,.1f}",
        number(model.stop_probability),
    )


def _holdout_section(name: str, judged: JudgedValue) -> Section:
    """Returns the forecasts beside what came, and the tenths."""
    texts = (
        f"Fitted to all but the last {judged.days} days, of {count_text(judged.n_customers)} customers known "
        "by then. In "
        f"those days they made {judged.purchases:,.0f} purchases"
        + (f" for {judged.money:,.0f}." if judged.money is not None else "."),
        f"Had one known, the best tenth would hold {share(judged.best_share)} of it.",
    )
    beside = (*judged.forecasts, judged.other)
    grids = [Grid("Expected and came", _FORECAST_COLUMNS, tuple(map(_forecast_row, beside)))]
    figures: tuple[str, ...] = ()
    hidden = suppressed([tenth.n_customers for tenth in judged.tenths])
    if not any(hidden):
        figures = (
            tenths_figure(
                f"{name}: expected and came",
                [tenth.expected for tenth in judged.tenths],
                [tenth.came for tenth in judged.tenths],
            ),
        )
    rows = tuple(
        (f"{place + 1} of {len(hidden)}", SUPPRESSED, SUPPRESSED, SUPPRESSED)
        if is_hidden
        else (
            f"{place + 1} of {len(hidden)}",
            f"{tenth.n_customers:,}",
            number(tenth.expected),
            estimated(tenth.came),
        )
        for place, (tenth, is_hidden) in enumerate(zip(judged.tenths, hidden, strict=True))
    )
    grids.append(
        Grid("By expected value, the highest first", ("group", "customers", "expected", "came"), rows)
    )
    return Section(f"{name}: the holdout", texts, tuple(grids), figures)


def _forecast_row(one: JudgedForecast) -> tuple[str, ...]:
    """Returns the cells of one forecast."""
    return (
        one.name,
        f"{one.purchases:,.0f}",
        f"{one.purchases_miss:+.1%}",
        number(one.mean_error),
        number(one.money),
        number(None) if one.money_miss is None else f"{one.money_miss:+.1%}",
        share(one.top_share),
    )


def _spread_section(name: str, judged: JudgedTrait) -> Section:
    """Returns how values spread over the customers."""
    values = np.sort(judged.found.value)[::-1]
    labels, counts = value_bars(values)
    total = float(values.sum())
    tenth = float(values[: max(len(values) // 10, 1)].sum()) / total if total > 0 else 0.0
    text = f"All together {number(total)}; the first tenth holds {share(tenth)}."
    if len(values) < MIN_CELL:
        return Section(f"{name}: how it spreads", (f"Fewer than {MIN_CELL} customers: not shown.",))
    return Section(
        f"{name}: how it spreads", (text,), (), (bar_figure(f"{name}: customers by value", labels, counts),)
    )


def value_bars(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[list[str], list[float]]:
    """Returns ranges of value with how many customers lie in each; ranges of too few are joined.

    Args:
        values: Of the customers, (n,).

    Returns:
        Labels and counts, the lowest range first; each count is 0 or at least the floor, unless there are
        fewer in all.
    """
    top = float(np.quantile(values, 0.95)) or float(values.max()) or 1.0
    edges = [*np.linspace(0.0, top, N_BARS), np.inf]
    counts, _ = np.histogram(values, edges)
    bars: list[tuple[float, float, int]] = []
    start, waiting = 0.0, 0
    for high, count in zip(edges[1:], counts.tolist(), strict=True):
        waiting += count
        # A range of a few people is joined to the next: alone it would show them.
        if waiting == 0 or waiting >= MIN_CELL:
            bars.append((start, high, waiting))
            start, waiting = high, 0
    while bars and 0 < waiting < MIN_CELL:
        start, _, count = bars.pop()
        waiting += count
    if waiting:
        bars.append((start, np.inf, waiting))
    labels = [
        f"{number(low)} to {number(high)}" if np.isfinite(high) else f"{number(low)} and more"
        for low, high, _ in bars
    ]
    return labels, [float(count) for _, _, count in bars]


def _facts(judged: JudgedTrait) -> dict[str, Any]:
    """Returns everything as numbers."""
    found: CustomerValues = judged.found
    return {
        "basis": found.basis,
        "reasons": list(found.reasons),
        "n_customers": len(found.value) if len(found.value) >= MIN_CELL else None,
        "total": float(found.value.sum()),
        "config": asdict(judged.config),
        "models": _models_facts(found.models),
        "rejected": [asdict(one) for one in found.rejected],
        "n_merged": found.n_merged,
        "holdout": None if found.judged is None else _holdout_facts(found.judged),
    }


def _models_facts(models: ValueModels) -> dict[str, Any]:
    """Returns the parameters."""
    return {
        "chosen": asdict(models.chosen),
        "other": asdict(models.other),
        "spend": None if models.spend is None else asdict(models.spend),
        "correlation": models.correlation,
    }


def _holdout_facts(judged: JudgedValue) -> dict[str, Any]:
    """Returns the holdout in numbers; tenths of too few people are left out."""
    hidden = suppressed([tenth.n_customers for tenth in judged.tenths])
    return {
        "days": judged.days,
        "purchases": judged.purchases,
        "money": judged.money,
        "best_share": judged.best_share,
        "models": _models_facts(judged.models),
        "forecasts": [asdict(one) for one in judged.forecasts],
        "other_model": asdict(judged.other),
        "tenths": [
            asdict(one) for one, is_hidden in zip(judged.tenths, hidden, strict=True) if not is_hidden
        ],
    }
