"""Published tables as the rows of the benchmark need them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from marquee.core.arrays import BoolArray, Float64Array

N_FACTORS = 32
LATER_SHARE = 0.2


@dataclass(frozen=True)
class Films:
    """Users of ml-100k, what they rated, and what they rated later.

    Attributes:
        user_ids: (n_users,).
        seen: The first four fifths of each user's ratings, (n_users, n_films) bool.
        later: The others, (n_users, n_films) bool.
        vectors: Of users, by a truncated singular value decomposition of `seen`, (n_users, N_FACTORS).
    """

    user_ids: list[str]
    seen: BoolArray
    later: BoolArray
    vectors: Float64Array


def read_films(root: Path) -> Films:
    """Returns the ratings of ml-100k, parted by time within each user."""
    table = pl.read_csv(
        root / "ml-100k/u.data",
        separator="\t",
        has_header=False,
        new_columns=["user", "item", "rating", "time"],
    ).sort("user", "time", "item")
    place = pl.int_range(pl.len()).over("user")
    is_later = (place >= (pl.len() * (1 - LATER_SHARE)).floor()).over("user")
    table = table.with_columns(is_later.alias("later"))
    n_users, n_items = int(table["user"].max()), int(table["item"].max())  # type: ignore[arg-type] # of numbers
    seen, later = (np.zeros((n_users, n_items), dtype=np.bool_) for _ in range(2))
    for matrix, part in ((seen, False), (later, True)):
        own = table.filter(pl.col("later") == part)
        matrix[own["user"].to_numpy() - 1, own["item"].to_numpy() - 1] = True
    users, values, _ = np.linalg.svd(seen.astype(np.float64), full_matrices=False)
    return Films(
        [str(user + 1) for user in range(n_users)],
        seen,
        later,
        users[:, :N_FACTORS] * values[:N_FACTORS],
    )


def cdnow_sample(root: Path) -> pl.DataFrame:
    """Returns the purchases of the CDNOW sample: `user_id`, `timestamp` as a day, `value`."""
    lines = pl.read_csv(root / "cdnow/CDNOW_sample.txt", has_header=False).to_series()
    parts = lines.str.extract_all(r"\S+")
    return pl.DataFrame(
        {
            "user_id": parts.list.get(1),
            "timestamp": parts.list.get(2).str.to_date("%Y%m%d").cast(pl.String),
            "value": parts.list.get(4).cast(pl.Float64),
        }
    )
