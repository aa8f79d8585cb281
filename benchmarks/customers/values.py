"""Rows on value: the published fits of CDNOW from raw transactions, and a shop whose customers never stop."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np

from benchmarks.rows import Measured, Row
from marquee.bundle.traits.purchases import Dropout, PurchaseModel, Purchases
from marquee.data.table_config import SourceType, TableConfig, TableFormat
from marquee.marketing.config import CustomersConfig
from marquee.marketing.running import Previous, run_customers
from marquee.marketing.value.judging import JudgedValue
from marquee.marketing.value.purchases import fit_purchases
from marquee.marketing.value.trait import JudgedTrait

WEEKS_39 = 273
PUBLISHED = {"r": (0.2426, 0.002), "alpha": (4.4136, 0.005), "a": (0.7930, 0.002), "b": (2.4262, 0.002)}
PUBLISHED_SPEND = {"p": 6.25, "q": 3.744, "gamma": 15.44}
LOG_LIKELIHOODS: dict[Dropout, float] = {"bg": -9582.4, "mbg": -9582.1}
FIXED_WIDTH = {
    "user_id": "SUBSTR(line, 2, 5)",
    "timestamp": "SUBSTR(line, 13, 8)",
    "value": "CAST(TRIM(SUBSTR(line, 25)) AS DOUBLE)",
}
RETAIL = {
    "user_id": "CustomerID",
    "timestamp": "InvoiceDate",
    "value": "Quantity * UnitPrice",
}


def rows(root: Path) -> Iterator[Row]:
    """Yields the rows."""
    yield Row(
        "CDNOW sample, 39 weeks: BG/NBD",
        "r, alpha, a, b 0.2426, 4.4136, 0.7930, 2.4262; log-likelihood -9582.4, MBG/NBD -9582.1",
        "be within 0.002 (alpha 0.005), 0.1, the fits under 2 s",
        partial(published_fit, root),
    )
    yield Row(
        "CDNOW sample, 39 weeks: Gamma-Gamma",
        "6.25, 3.744, 15.44",
        "be within 0.02",
        partial(published_spend, root),
    )
    yield Row(
        "CDNOW sample, the next 39 weeks",
        "1,653 orders of 1,882; top tenth 0.502 of revenue, by past spend 0.481",
        "miss the orders by 15 % at most; top tenth 0.50 or more",
        partial(holdout, root),
    )
    yield Row(
        "value, online-retail, 91 days",
        "nobody is found to die; 56 % of the revenue that came",
        "say both, and take past spend",
        partial(nobody_dies, root),
    )


def judged_cdnow(root: Path) -> JudgedValue:
    """Returns the models of CDNOW, fitted to the first 39 weeks and judged on the next."""
    found = _value(_cdnow(root), {"holdout_days": WEEKS_39}).found.judged
    assert found is not None, "78 weeks hold a holdout of 39"
    return found


def published_fit(root: Path) -> Measured:
    """Measures the parameters of both models of purchases."""
    models = judged_cdnow(root).models
    by_dropout = {model.dropout: model for model in (models.chosen, models.other)}
    model = by_dropout["bg"]
    seconds = _fit_seconds()
    inside = all(abs(getattr(model, name) - value) <= by for name, (value, by) in PUBLISHED.items())
    near = all(abs(by_dropout[one].log_likelihood - value) <= 0.1 for one, value in LOG_LIKELIHOODS.items())
    return Measured(
        f"{_parameters(model)}; {model.log_likelihood:.1f}, {by_dropout['mbg'].log_likelihood:.1f}; "
        f"{seconds:.2f} s",
        inside and near and seconds < 2,
    )


def _parameters(model: PurchaseModel) -> str:
    """Returns the four parameters as text."""
    return ", ".join(f"{value:.4f}" for value in (model.r, model.alpha, model.a, model.b))


def _fit_seconds() -> float:
    """Returns how long both fits take on 2,357 customers of the same sizes."""
    generator = np.random.default_rng(0)
    ages = generator.uniform(27, 39, 2357)
    purchases = Purchases(generator.poisson(1.0, 2357).astype(float), ages * generator.random(2357), ages)
    started = perf_counter()
    fit_purchases(purchases, "bg")
    fit_purchases(purchases, "mbg")
    return perf_counter() - started


def published_spend(root: Path) -> Measured:
    """Measures the parameters of the model of amounts."""
    spend = judged_cdnow(root).models.spend
    assert spend is not None, "CDNOW has amounts"
    off = max(abs(getattr(spend, name) - value) for name, value in PUBLISHED_SPEND.items())
    return Measured(f"{spend.p:.3f}, {spend.q:.3f}, {spend.gamma:.3f}", off <= 0.02)


def holdout(root: Path) -> Measured:
    """Measures the holdout of CDNOW beside the baselines."""
    judged = judged_cdnow(root)
    own, rate, past = judged.forecasts
    text = (
        f"{own.name} {own.purchases:,.0f} orders of {judged.purchases:,.0f}, revenue "
        f"{own.money_miss or 0:+.0%}; top tenth "
        f"{own.top_share:.3f}, by past spend {past.top_share:.3f}, best {judged.best_share:.3f}; x / T "
        f"{rate.purchases:,.0f} orders; {judged.other.name} {judged.other.purchases:,.0f} orders, the two "
        f"told apart by a z of {judged.models.told_apart:.2f}"
    )
    return Measured(text, abs(own.purchases_miss) <= 0.15 and own.top_share >= 0.50)


def nobody_dies(root: Path) -> Measured:
    """Measures whether a shop whose customers never stop is told from one that the models describe."""
    found = _value(_retail(root), {"horizon_days": 91}).found
    reasons = " | ".join(found.reasons)
    said = "finds nobody who stops" in reasons and "expected 56% of the revenue" in reasons
    return Measured(f"{found.basis}: {reasons}", found.basis == "past spend" and said)


def _value(config: CustomersConfig, settings: dict[str, object]) -> JudgedTrait:
    """Returns the value of a declared table."""
    config.traits = {"worth": {"type": "value", **settings}}
    judged: JudgedTrait = run_customers(config, Previous()).traits[0].judged
    return judged


def _cdnow(root: Path) -> CustomersConfig:
    """Returns the declaration of the sample, whose columns have a fixed width."""
    table = TableConfig(
        path="cdnow/CDNOW_sample.txt",
        format=TableFormat.csv,
        separator="\t",
        header=False,
        names=["line"],
        columns=FIXED_WIDTH,
        timestamp_format="%Y%m%d",
    )
    return CustomersConfig(
        name="cdnow", root=str(root), transactions=table, traits={"worth": {"type": "value"}}
    )


def _retail(root: Path) -> CustomersConfig:
    """Returns the declaration of the shop; rows without a customer are counted as excluded."""
    table = TableConfig(
        path="online-retail/online_retail.csv.gz",
        columns=RETAIL,
        types={"Quantity": SourceType.float, "UnitPrice": SourceType.float},
        exclude={"no customer": "CustomerID IS NULL OR CustomerID = ''"},
    )
    return CustomersConfig(
        name="retail", root=str(root), transactions=table, traits={"worth": {"type": "value"}}
    )
