"""Rows on segments: fifths of recency, frequency and money, and clusters of user vectors."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

from benchmarks.customers.probabilities import compute
from benchmarks.customers.tables import Films, cdnow_sample, read_films
from benchmarks.rows import Measured, Row
from marquee.core.arrays import IndexArray
from marquee.data.table_config import TableConfig
from marquee.marketing.config import CustomersConfig
from marquee.marketing.segments.trait import JudgedSegments

CDNOW_CUT = "1997-10-01"
K = 10


def rows(root: Path) -> Iterator[Row]:
    """Yields the rows."""
    yield Row(
        "segments, RFM, CDNOW, later revenue",
        "champions hold 0.786 of the later revenue",
        "be 0.75 or more",
        lambda: champions(root),
    )
    yield Row(
        "segments, ml-100k user vectors",
        "segment popularity NDCG@10 0.172, global 0.119; NMI of seeds 0.75",
        "be 1.35 times the global one; NMI 0.70 or more; no segment under 100",
        lambda: clusters(root),
    )


def champions(root: Path) -> Measured:
    """Measures how much of the later revenue the champions bring."""
    purchases = cdnow_sample(root)
    with TemporaryDirectory() as folder:
        purchases.write_csv(Path(folder) / "cdnow.csv")
        config = CustomersConfig(
            name="cdnow",
            root=folder,
            transactions=TableConfig(path="cdnow.csv"),
            as_of=CDNOW_CUT,
            traits={"group": {"type": "segment"}},
        )
        result = compute(config)
    later = purchases.filter(pl.col("timestamp") >= CDNOW_CUT).group_by("user_id").agg(pl.col("value").sum())
    held = result.rows.join(later, on="user_id", how="left").with_columns(pl.col("value").fill_null(0.0))
    is_champion = pl.col("group").str.starts_with("champions")
    found = float(held.filter(is_champion)["value"].sum()) / float(held["value"].sum())
    n = held.filter(is_champion).height
    return Measured(f"{n:,} champions of {held.height:,} hold {found:.3f}", found >= 0.75)


def clusters(root: Path) -> Measured:
    """Measures popularity within segments beside that of all."""
    films = read_films(root)
    with TemporaryDirectory() as folder:
        pl.DataFrame({"user_id": films.user_ids}).write_csv(Path(folder) / "users.csv")
        vectors = pl.DataFrame({"user_id": films.user_ids, "vector": films.vectors.tolist()})
        vectors.write_parquet(Path(folder) / "vectors.parquet")
        config = CustomersConfig(
            name="films",
            root=folder,
            users=TableConfig(path="users.csv"),
            traits={"group": {"type": "segment", "by": "clusters", "vectors": "vectors.parquet"}},
        )
        result = compute(config)
    names = result.rows["group"].to_list()
    label = np.unique(names, return_inverse=True)[1].astype(np.int64)
    own, all_users = popularity_ndcg(films, label), popularity_ndcg(films, np.zeros_like(label))
    judged = result.traits[0].judged
    assert isinstance(judged, JudgedSegments), f"the first trait is a {type(judged)}"
    agreed = judged.agreement[judged.k]
    return Measured(
        f"k {judged.k}, NDCG@10 {own:.3f}, global {all_users:.3f} ({own / all_users:.2f} times), "
        f"NMI {agreed:.2f}, smallest {min(row.n for row in judged.rows)}",
        own >= 1.35 * all_users and agreed >= 0.70 and min(row.n for row in judged.rows) >= 100,
    )


def popularity_ndcg(films: Films, label: IndexArray) -> float:
    """Returns NDCG@10 of the most popular unseen films of each user's segment.

    Args:
        films: What users rated, and later rated.
        label: Segment of each user, (n_users,).
    """
    discount = 1 / np.log2(np.arange(2, K + 2))
    found = []
    for segment in np.unique(label):
        counts = films.seen[label == segment].sum(axis=0)
        for user in np.flatnonzero(label == segment):
            scores = np.where(films.seen[user], -1.0, counts)
            best = np.argsort(-scores, kind="stable")[:K]
            later = films.later[user]
            if later.any():
                ideal = discount[: min(K, int(later.sum()))].sum()
                found.append(float((later[best] * discount).sum() / ideal))
    return float(np.mean(found))
