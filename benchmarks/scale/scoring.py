"""Scores in batches: top 10 of a catalog for each user, on one core, as the tasks of the command do it.

Users have histories near some clusters of the items; a tower makes a query of each; every item of the catalog
is compared (`exact=true`), so that nothing is missed, or the graph of the bundle is asked. A filter leaves a
part of the items; what users had is left out; items are named; the part is written.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from benchmarks.rows import Measured, Row
from benchmarks.scale.sizes import SIZES
from benchmarks.serving_bundle import DIM, Users, clustered_vectors, make_contents, make_query_tower
from marquee.bundle.publishing import publish
from marquee.core.catalog import Catalog
from marquee.core.histories import Interactions
from marquee.index.building import build_index
from marquee.index.faiss_index import IndexConfig
from training.score.parts import score_part
from training.score.terms import ScoreTerms

K = 10
LEAST_PER_SECOND = 4_000
N_EVENTS = 20
N_CATEGORIES = 10
FILTERS: dict[str, dict[str, dict[str, object]]] = {
    "no filter": {},
    "filter that leaves 90 %": {"category": {"none_of": ["c1"]}},
    "filter that leaves 50 %": {"category": {"none_of": ["c1", "c2", "c3", "c4", "c5"]}},
}


def rows(_root: Path) -> Iterator[Row]:
    """Yields the rows."""
    yield Row(
        f"top {K} of {SIZES.scored_items:,} items per user and core",
        "exact 1,905/s; HNSW 5,143/s at recall 0.9999",
        f">= {LEAST_PER_SECOND:,}/s with filters and names",
        _per_second,
    )


def _per_second() -> Measured:
    """Returns how many users a core scores in a second, with each filter; the slowest counts."""
    with tempfile.TemporaryDirectory() as name:
        bundle = _publish(Path(name))
        speeds = {words: _speed(bundle, Path(name), filters) for words, filters in FILTERS.items()}
    text = "; ".join(f"{words} {speed:,.0f}/s" for words, speed in speeds.items())
    return Measured(f"exact, {text}", min(speeds.values()) >= LEAST_PER_SECOND)


def _speed(bundle: Path, folder: Path, filters: dict[str, dict[str, object]]) -> float:
    """Returns users per second of processor time of a part, bundle and names being loaded."""
    terms = ScoreTerms(timestamp=0, k=K, filters=[filters] if filters else [], exact=True)
    said = msgspec.json.encode(terms).decode()
    spent = []
    # The first run loads the bundle, which a worker does once for all of its parts.
    for attempt in range(3):
        out = folder / f"part-{attempt}.parquet"
        began = time.process_time()
        score_part(
            out,
            [bundle / "manifest.json"],
            bucket=0,
            n_buckets=1,
            terms=said,
            has_users=False,
            has_leave_out=False,
            keys="",
        )
        spent.append(time.process_time() - began)
    frame = pl.read_parquet(out)
    assert frame["items"].list.len().min() == K, "every list is full"
    return frame.height / min(spent[1:])


def _publish(folder: Path) -> Path:
    """Returns a bundle whose items have a category, and whose users have histories."""
    # A task has one thread; another would be another core.
    assert os.environ.get("OMP_NUM_THREADS") == "1", "set OMP_NUM_THREADS=1: the row is of one core"
    rng = np.random.default_rng(0)
    n_users, n_items = SIZES.scored_users, SIZES.scored_items
    vectors, cluster = clustered_vectors(rng, n_items)
    hidden, output = (0.1 * rng.standard_normal((DIM, DIM), dtype=np.float32) for _ in range(2))
    index = build_index(vectors, IndexConfig())
    tower = make_query_tower(hidden, output)
    contents = make_contents(rng, tower, vectors, index, 1.0, Users(n=n_users, n_events=0))
    by_cluster = np.argsort(cluster[1:], kind="stable") + 1
    starts = rng.integers(0, n_items - N_EVENTS, n_users)
    items = by_cluster[starts[:, None] + np.arange(N_EVENTS)].ravel()
    item_ids = contents.catalog.item_ids
    categories = [f"c{number % N_CATEGORIES}" for number in range(n_items)]
    contents = replace(
        contents,
        interactions=Interactions.group(
            user_index=np.arange(1, n_users + 1).repeat(N_EVENTS),
            item_index=items,
            kind_index=np.ones(len(items), dtype=np.int64),
            timestamp=np.arange(len(items)),
            weight=np.ones(len(items), dtype=np.float32),
            n_users=n_users,
        ),
        catalog=Catalog.build(pl.DataFrame({"item_id": item_ids.ids, "category": categories}), item_ids),
    )
    return publish(contents, folder, "scores", created=int(time.time()))
