"""Rows on probabilities: churn, leads with a leak, and who buys again."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any  # a trait is plain YAML

import polars as pl

from benchmarks.rows import Measured, Row
from marquee.data.table_config import SourceType, TableConfig
from marquee.evaluation.probabilities.metrics import auc
from marquee.marketing.config import CustomersConfig
from marquee.marketing.probability.trait import JudgedProbability
from marquee.marketing.running import CustomersResult, Previous, run_customers

BANK = {"type": "probability", "outcome": "y = 'yes'"}
LEARNED_UP_TO, JUDGED_DAYS = "2011-09-09", 91


def rows(root: Path) -> Iterator[Row]:
    """Yields the rows."""
    yield Row(
        "churn, telco-churn, 5 folds",
        "AUC / calibration error: logistic 0.8453 / 0.013, with splines 0.8497 / 0.005, trees 0.8472",
        "be 0.847 or more, 0.015 or less",
        lambda: churn(root),
    )
    yield Row(
        "leads, bank-additional, without duration",
        "logistic 0.791, splines 0.795, trees 0.803; best half 0.83; in file order 0.748",
        "be 0.793 (logistic), 0.800 (chosen), 0.82 (best half); order named",
        lambda: leads(root),
    )
    yield Row(
        "leads, bank-additional, with duration",
        "AUC 0.935; duration alone 0.816",
        "name duration, and refuse the trait",
        lambda: leak(root),
    )
    yield Row(
        "leads, bank-full, with duration",
        "duration alone 0.805; highest honest column 0.769",
        "name duration alone, and refuse the trait",
        lambda: leak(root, "bank-full.csv"),
    )
    yield Row(
        "buys in 91 days, online-retail",
        "logistic on log R, F, M 0.737; BG/NBD expectation 0.730, its P(alive) 0.360",
        "be 0.735 or more on the 91 days behind what was learned",
        lambda: buys(root),
    )


def compute(config: CustomersConfig) -> CustomersResult:
    """Returns a run without one before it."""
    return run_customers(config, Previous())


def churn(root: Path) -> Measured:
    """Measures churn."""
    config = CustomersConfig(
        name="churn",
        root=str(root / "telco-churn"),
        users=TableConfig(path="Telco-Customer-Churn.csv", columns={"user_id": "customerID"}),
        traits={"leaves": {"type": "probability", "outcome": "Churn = 'Yes'"}},
    )
    own = judged(compute(config)).judged.sources[0]
    area, error = own.metrics["auc"].mean, own.metrics["calibration_error"].mean
    return Measured(
        f"AUC {area:.4f}, calibration error {error:.4f}, {own.name}", area >= 0.847 and error <= 0.015
    )


def bank(root: Path, trait: dict[str, Any], path: str = "bank-additional-full.csv") -> CustomersConfig:
    """Returns the config of the leads of a bank."""
    return CustomersConfig(
        name="leads",
        root=str(root / "bank-marketing"),
        users=TableConfig(path=path, separator=";"),
        traits={"buys": trait},
    )


def leads(root: Path) -> Measured:
    """Measures leads without the leak."""
    found = judged(compute(replace(bank(root, BANK), known_after=["duration"])))
    by_name = {source.name: source.metrics["auc"].mean for source in found.judged.sources}
    chosen, logistic = found.judged.sources[0].metrics["auc"].mean, by_name["logistic regression with bends"]
    half = next(row for row in found.lift if row.share == 0.5).gain.mean
    order = (
        "none"
        if found.ordered is None
        else f"p {found.ordered.p:.0e}, last fifth {found.ordered.auc_last:.3f}"
    )
    return Measured(
        f"logistic {logistic:.4f}, chosen {chosen:.4f} ({found.chosen}), best half {half:.3f}, order {order}",
        logistic >= 0.793 and chosen >= 0.800 and half >= 0.82 and found.ordered is not None,
    )


def leak(root: Path, path: str = "bank-additional-full.csv") -> Measured:
    """Measures whether the leak is named and refused."""
    result = compute(bank(root, BANK, path))
    found = judged(result)
    named = {leak.column: (leak.auc, leak.auc_without) for leak in found.leaks}
    honest = max(area for column, area in found.alone.items() if column != "duration")
    text = f"named {named}, highest other column {honest:.3f}, refused: {bool(result.traits[0].refused)}"
    return Measured(text, list(named) == ["duration"] and bool(result.traits[0].refused))


def retail(root: Path, as_of: str, **more: Any) -> CustomersConfig:  # noqa: ANN401 - keys of the config
    """Returns the config of the purchases of a gift shop."""
    return CustomersConfig(
        name="retail",
        root=str(root / "online-retail"),
        transactions=TableConfig(
            path="online_retail.csv.gz",
            columns={
                "user_id": "CustomerID",
                "timestamp": "InvoiceDate",
                "value": "Quantity * UnitPrice",
            },
            types={"Quantity": SourceType.float, "UnitPrice": SourceType.float},
            exclude={"no customer": "CustomerID IS NULL"},
        ),
        as_of=as_of,
        **more,
    )


def buys(root: Path) -> Measured:
    """Measures who buys in the 91 days behind what was learned."""
    trait = {"type": "probability", "outcome": f"conversion within {JUDGED_DAYS}d"}
    result = compute(retail(root, LEARNED_UP_TO, traits={"buys": trait}))
    later = compute(retail(root, "", traits={"buys": trait})).customers.transactions
    assert later is not None, "the config declares transactions"
    start = result.customers.as_of or 0.0
    came = later.rows.filter(
        (pl.col("timestamp") >= start) & (pl.col("timestamp") < start + JUDGED_DAYS * 86_400)
    )
    said = result.rows
    bought = said["user_id"].is_in(came["user_id"].unique().to_list()).to_numpy()
    area = auc(said["buys"].to_numpy(), bought)
    return Measured(f"AUC {area:.4f} of {len(bought):,} customers, {bought.mean():.3f} bought", area >= 0.735)


def judged(result: CustomersResult) -> JudgedProbability:
    """Returns how good the first trait is."""
    found = result.traits[0].judged
    assert isinstance(found, JudgedProbability), f"the first trait is a {type(found)}"
    return found
