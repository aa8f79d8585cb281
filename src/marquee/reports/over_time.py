"""Views and figures of the sections over time: ageing, back-test and learning curve."""

from marquee.evaluation.analyses.ageing import Ageing
from marquee.evaluation.analyses.retraining import RetrainingSeries
from marquee.reports.plots import lines_figure
from marquee.reports.tables import Row, Table
from marquee.reports.verdict import signed


def ageing_views(ageing: Ageing | None, reason: str) -> dict[str, object]:
    """Returns the tables of a model's ageing, or why there are none."""
    if ageing is None:
        return {"ageing": None, "reason": reason}
    # With the users of each period: its interval is read with them.
    columns = tuple(f"{ageing.unit} {period.number} · {period.n_users:,}" for period in ageing.periods)
    first = ageing.periods[0]
    return {
        "ageing": ageing,
        "reason": reason,
        "by_period": Table(
            ageing.metric,
            columns,
            tuple(Row(name, tuple(p.estimates[name] for p in ageing.periods)) for name in first.estimates),
        ),
        "difference_by_period": Table(
            f"{ageing.model} minus …",
            columns,
            tuple(
                Row(name, tuple(p.differences[name] for p in ageing.periods)) for name in first.differences
            ),
        ),
    }


def ageing_figures(ageing: Ageing | None) -> dict[str, list[str]]:
    """Returns the metric of every model over the time since training."""
    if ageing is None:
        return {"age_figures": []}
    figure = lines_figure(
        ageing.metric,
        f"{ageing.unit}s since training",
        {float(period.number): str(period.number) for period in ageing.periods},
        {name: [p.estimates[name] for p in ageing.periods] for name in ageing.periods[0].estimates},
        ageing.model,
    )
    return {"age_figures": [figure]}


BACKTEST, LEARNING_CURVE = "backtest", "learning_curve"
ACROSS = {BACKTEST: "window, oldest first", LEARNING_CURVE: "share of the training data"}


def series_views(name: str, series: RetrainingSeries | None, reason: str) -> dict[str, object]:
    """Returns the tables of a series of retrainings, or why there is none.

    Args:
        name: Of the section.
        series: What to show.
        reason: Why there is nothing to show, in words.
    """
    if series is None:
        return {"series": None, "reason": reason}
    is_alike = name == BACKTEST
    is_spread = is_alike and len(series.retrainings) > 1
    return {
        "series": series,
        "reason": reason,
        "by_retraining": Table(
            series.metric,
            tuple(retraining.label for retraining in series.retrainings),
            tuple(
                Row(model, tuple(t.estimates[model] for t in series.retrainings)) for model in series.names
            ),
        ),
        # Of one size, their spread shows how far chance moves a result; a learning curve mixes sizes.
        "spreads": {model: series.spread(model) for model in series.names} if is_spread else {},
        "n_better": {model: series.n_better(model) for model in series.names if model != series.model},
        "course": "" if is_alike or len(series.retrainings) < 2 else _course(series),
    }


def _course(series: RetrainingSeries) -> str:
    """Returns how a learning curve goes, in words."""
    # The last step says whether more data would still help.
    first, before, last = series.retrainings[0], series.retrainings[-2], series.retrainings[-1]
    means = [retraining.estimates[series.model].mean for retraining in (first, before, last)]
    return (
        f"{series.metric} goes from {means[0]:.4f} with {first.label} to {means[2]:.4f} with {last.label}; "
        f"the last step added {signed(means[2] - means[1])}."
    )


def series_figures(name: str, series: RetrainingSeries | None) -> dict[str, list[str]]:
    """Returns the metric of every model over the retrainings.

    Args:
        name: Of the section.
        series: What to draw; one retraining alone makes no figure.
    """
    if series is None or len(series.retrainings) < 2:
        return {"retraining_figures": []}
    figure = lines_figure(
        series.metric,
        ACROSS[name],
        {retraining.position: f"{retraining.position:.3g}" for retraining in series.retrainings},
        {model: [retraining.estimates[model] for retraining in series.retrainings] for model in series.names},
        series.model,
        is_logarithmic=name == LEARNING_CURVE,  # from a quarter to a half is as far as from a half to all
    )
    return {"retraining_figures": [figure]}
