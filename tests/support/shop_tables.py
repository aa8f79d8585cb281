"""Tables of a small shop as CSV: purchases with a weekly pattern, and feedback, a part of it labelled."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
import yaml

from marquee.data.table_config import TableConfig
from marquee.marketing.config import CustomersConfig
from marquee.marketing.running import CustomersResult, Previous, run_customers
from marquee.reports.customers.page import customers_page
from marquee.reports.evidence.page import render_page
from tests.support.paths import ROOT

EXAMPLE = ROOT / "examples" / "my-shop"
N_CUSTOMERS = 700
N_DAYS = 400
_GOOD, _BAD = ("lovely", "great", "zippy", "sturdy", "works"), ("awful", "broken", "clunky", "late", "flimsy")

TRANSACTIONS: dict[str, object] = {
    "path": "purchases.csv",
    "columns": {"user_id": "who", "timestamp": "when", "value": "CAST(amount AS DOUBLE)"},
}
TRAITS: dict[str, object] = {
    "worth": {"type": "value", "horizon_days": 180, "holdout_days": 150},
    "mood": {
        "type": "sentiment",
        "feedback": {
            "path": "feedback.csv",
            "columns": {
                "user_id": "who",
                "text": "comment",
                "praises": "CASE WHEN stars = '5' THEN 1 WHEN stars = '1' THEN 0 END",
                "timestamp": "when",
            },
        },
    },
    "sales": {"type": "forecast", "days": 14},
}


def write_purchases(folder: Path, seed: int = 0) -> None:
    """Writes `purchases.csv`: who, when, how much; twice as many on Saturdays, nothing on Sundays."""
    generator = np.random.default_rng(seed)
    lines = ["who,when,amount"]
    # 2024-01-01 is a Monday.
    weekday = np.arange(N_DAYS) % 7
    busy = np.where(weekday == 5, 2.0, np.where(weekday == 6, 0.0, 1.0))
    for customer in range(N_CUSTOMERS):
        rate = generator.gamma(1.2, 1 / 40)
        stops, mean = generator.beta(1.0, 4.0), generator.gamma(6.0, 5.0)
        days = np.flatnonzero(generator.random(N_DAYS) < rate * busy)
        # Somebody is a customer from the first purchase on, which all make in the first weeks.
        days = np.unique([int(generator.choice(np.flatnonzero(busy[:60]))), *days.tolist()])
        for day in days.tolist():
            moment = np.datetime64("2024-01-01T12:00:00") + np.timedelta64(day, "D")
            lines.append(f"c{customer:03},{moment},{generator.gamma(4.0, mean / 4):.2f}")
            if generator.random() < stops:
                break
    lines += ["c000,2024-03-05T12:00:00,-5.00", "c001,2024-03-06T12:00:00,0.00"]
    (folder / "purchases.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_feedback(folder: Path, seed: int = 0, n: int = 600) -> None:
    """Writes `feedback.csv`: who, what, stars (often none), when; the last week is of bad parcels alone."""
    generator = np.random.default_rng(seed)
    lines = ["who,comment,stars,when"]
    for number in range(n):
        is_last_week = number >= n - 60
        praises = generator.random() < 0.6 and not is_last_week
        word = str(generator.choice(_GOOD if praises else _BAD))
        stars = "" if number % 3 == 0 else str(5 if praises else 1)
        day = 42 if is_last_week else int(number * 42 / (n - 60))
        moment = np.datetime64("2024-11-04T09:00:00") + np.timedelta64(day, "D")
        lines.append(
            f"c{number % N_CUSTOMERS:03},the parcel is {word} and came in {number} hours,{stars},{moment}"
        )
    (folder / "feedback.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def shop_config(folder: Path, **changes: object) -> CustomersConfig:
    """Returns the declaration of the shop: value, sentiment and forecast."""
    declared: dict[str, object] = {
        "name": "shop",
        "root": str(folder),
        "transactions": msgspec.convert(TRANSACTIONS, TableConfig),
        "traits": TRAITS,
    }
    return CustomersConfig(**{**declared, **changes})  # type: ignore[arg-type]


def run_shop(folder: Path, **changes: object) -> CustomersResult:
    """Returns the customers of the shop."""
    return run_customers(shop_config(folder, **changes), Previous())


@cache
def shop_page() -> str:
    """Returns the page of the example shop, with values, a sentiment, segments and a forecast."""
    declared = yaml.safe_load((EXAMPLE / "customers" / "shop.yaml").read_text(encoding="utf-8"))
    churn = yaml.safe_load((EXAMPLE / "customers" / "churn.yaml").read_text(encoding="utf-8"))
    # The trees of a probability are tested elsewhere, and are most of the time.
    churn["traits"]["leaves"]["model"] = "logistic"
    config = msgspec.convert({**declared, "root": str(EXAMPLE)}, CustomersConfig)
    result = run_customers(config, Previous())
    leaves = run_customers(msgspec.convert({**churn, "root": str(EXAMPLE)}, CustomersConfig), Previous())
    return render_page(customers_page("shop", replace(result, traits=(*result.traits, *leaves.traits))))
