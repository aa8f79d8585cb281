"""Purchases of a small shop, with groups of customers that are there by construction."""

import numpy as np
import polars as pl


def purchases(n: int = 600, days: int = 300, seed: int = 0) -> pl.DataFrame:
    """Returns `user_id`, a day as `timestamp`, `value`: a third buys often, a third did, a third once."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(n):
        kind = user % 3
        if kind == 0:
            at = np.arange(rng.integers(0, 8), days, 7)
        elif kind == 1:
            at = np.arange(rng.integers(0, 8), days // 3, 14)
        else:
            at = rng.integers(0, days, 1)
        value = rng.gamma(4, 10, len(at)).round(2)
        rows += [(f"u{user:04d}", int(day), float(one)) for day, one in zip(at, value, strict=True)]
    table = pl.DataFrame(rows, schema=["user_id", "day", "value"], orient="row")
    start = pl.date(2026, 1, 1)
    return table.select(
        "user_id", (start + pl.duration(days=pl.col("day"))).cast(pl.String).alias("timestamp"), "value"
    )
