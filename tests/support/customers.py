"""A small table of customers whose chance to leave is known, and the command over it."""

import shutil
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from training.customers.__main__ import main

CHURN = """\
name: churn
root: {folder}
users: {{path: customers.csv, columns: {{user_id: customer}}}}
traits:
  leaves: {{type: probability, outcome: "left = 'yes'"}}
audiences:
  keep: {{where: "leaves >= 0.4 AND plan = 'monthly'", order: leaves, holdout: 0.2}}
"""


def customer_table(n: int = 800, seed: int = 0) -> pl.DataFrame:
    """Returns customers with `chance`, the true probability of leaving."""
    rng = np.random.default_rng(seed)
    months, fee = rng.integers(1, 72, n), rng.normal(60, 20, n).round(2)
    plan = rng.choice(["monthly", "yearly", "two years"], n, p=[0.5, 0.3, 0.2])
    logit = 0.8 - 0.05 * months + 0.02 * (fee - 60) + np.where(plan == "monthly", 1.0, -0.5)
    chance = 1 / (1 + np.exp(-logit))
    left = np.where(rng.random(n) < chance, "yes", "no")
    return pl.DataFrame(
        {
            "customer": [f"c{row:05d}" for row in range(n)],
            "months": months,
            "fee": fee,
            "plan": plan,
            "left": left,
            "chance": chance,
        }
    )


def run_command(
    monkeypatch: pytest.MonkeyPatch, folder: Path, config: str = CHURN, *overrides: str, name: str = "churn"
) -> int:
    """Returns the exit status of the command over a config that stands in `folder`."""
    (folder / "shop" / "customers").mkdir(parents=True, exist_ok=True)
    (folder / "shop" / "customers" / f"{name}.yaml").write_text(
        config.format(folder=folder), encoding="utf-8"
    )
    given = ["--config-dir", str(folder / "shop"), f"customers={name}", f"out={folder / 'runs'}", *overrides]
    monkeypatch.setattr(sys, "argv", ["customers", *given])
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


SERVED = """\
name: churn
root: {folder}
users: {{path: customers.csv, columns: {{user_id: customer}}}}
as_of: 2026-03-01
consent: agreed
traits:
  leaves: {{type: probability, outcome: "left = 'yes'"}}
audiences:
  keep: {{where: "leaves >= 0.4 AND plan = 'monthly'", order: leaves, holdout: 0.2}}
  few: {{where: "leaves >= 0.4", order: leaves, top: 5}}
"""


def served_table(n: int = 800, seed: int = 0) -> pl.DataFrame:
    """Returns customers with a date and gaps."""
    rows = customer_table(n, seed).drop("chance")
    since = pl.date(2026, 3, 1) - pl.duration(days=30 * pl.col("months"))
    gaps = pl.when(pl.int_range(n) % 11 > 0).then("fee").alias("fee")
    return rows.with_columns(gaps, since.cast(pl.String).alias("since"), agreed=pl.lit("personal"))


def write_runs(folder: Path, *tables: pl.DataFrame) -> Path:
    """Returns the folder of a run of `SERVED` over each table, and of `latest`."""
    with pytest.MonkeyPatch.context() as patch:
        for rows in tables:
            rows.write_csv(folder / "customers.csv")
            # `few` is below the floor: everything else is written.
            assert run_command(patch, folder, SERVED) == 2
    return folder / "runs" / "churn"


def copied_run(shop: Path, folder: Path) -> Path:
    """Returns a copy of the last run, to be spoilt."""
    return Path(shutil.copytree((shop / "latest").resolve(), folder / "20990101-000000-000"))
