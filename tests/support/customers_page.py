"""A report of customers with a probability, segments, an uplift and an audience, for whoever opens one."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

from marquee.data.table_config import TableConfig
from marquee.marketing.config import AudienceConfig, CustomersConfig
from marquee.marketing.running import Previous, run_customers
from marquee.reports.customers.page import customers_page
from marquee.reports.evidence.page import render_page
from tests.support.customers import customer_table

N = 600
TRAITS = {
    "leaves": {"type": "probability", "outcome": "left = 'yes'", "model": "logistic"},
    "group": {"type": "segment", "by": "clusters", "columns": ["plan", "fee"], "value": "fee"},
    "mail": {"type": "uplift", "outcome": "visit = 1", "treated": "arm = 'mail'", "n_resamples": 50},
}


@cache
def customers_html() -> str:
    """Returns the page."""
    rng = np.random.default_rng(0)
    mailed = rng.random(N) < 0.5
    table = customer_table(N).drop("chance")
    visits = rng.random(N) < 0.2 + 0.2 * mailed * (table["plan"] == "monthly").to_numpy()
    table = table.with_columns(
        pl.Series("arm", np.where(mailed, "mail", "none")), pl.Series("visit", visits.astype(int))
    )
    with TemporaryDirectory() as folder:
        table.write_csv(Path(folder) / "customers.csv")
        config = CustomersConfig(
            name="shop",
            root=folder,
            users=TableConfig(path="customers.csv", columns={"user_id": "customer"}),
            protected=["plan"],
            use_protected=True,
            traits=TRAITS,
            audiences={"keep": AudienceConfig(where="leaves > 0.3", order="leaves", holdout=0.2)},
        )
        return render_page(customers_page("shop", run_customers(config, Previous())))
