"""Interactions of any size for `train_speed`, built in arrays: no files, no ids beyond numbers.

Items are drawn by a power law from a number that does not depend on the catalog's size, spread evenly over
the whole: a larger catalog then has more items that nobody met, as large catalogs have, and what a batch
touches stays about the same.
"""

import numpy as np
import polars as pl

from marquee.core.arrays import IndexArray
from marquee.core.catalog import Catalog
from marquee.core.event_kinds import EventKinds, KindConfig
from marquee.core.histories import Interactions
from marquee.core.ids import IdMap
from marquee.core.schema import TimeMeaning
from marquee.data.dataset import Dataset
from marquee.data.query_features import QueryFeatures
from marquee.features import FeatureArrays, FeatureEncoder

N_ACTIVE = 2_000  # items that interactions are drawn from, at most
EVENTS_PER_USER = 24  # as in Gowalla
EXPONENT = 0.8  # probability of an item ~ 1 / rank ** EXPONENT


def synthesize(n_interactions: int, n_items: int, *, history_length: int, seed: int = 0) -> Dataset:
    """Returns the training part of about `n_interactions` events over a catalog of `n_items`."""
    rng = np.random.default_rng(seed)
    n_users = max(n_interactions // EVENTS_PER_USER, 1)
    train = Interactions(
        offsets=np.concatenate(([0], np.arange(n_users + 1) * EVENTS_PER_USER)),
        item_index=_draw(n_users * EVENTS_PER_USER, n_items, rng).astype(np.int32),
        kind_index=np.ones(n_users * EVENTS_PER_USER, dtype=np.int32),
        timestamp=np.tile(np.arange(EVENTS_PER_USER), n_users),
        weight=np.ones(n_users * EVENTS_PER_USER, dtype=np.float32),
    )
    item_ids = _numbers(n_items)
    nothing = FeatureEncoder.fit({}, {})
    return Dataset(
        user_ids=_numbers(n_users),
        item_ids=item_ids,
        n_trained_items=n_items,
        kinds=EventKinds({"click": KindConfig()}),
        train=train,
        train_context=None,
        query_features=QueryFeatures(nothing, (0, 0), None, _no_features(n_users)),
        item_encoder=nothing,
        item_features=_no_features(n_items),
        items=pl.DataFrame({"item_id": item_ids.ids}).with_columns(kind=pl.lit("content")),
        catalog=Catalog.build(None, item_ids),
        time=TimeMeaning.none,
        history_length=history_length,
    )


def _draw(n: int, n_items: int, rng: np.random.Generator) -> IndexArray:
    """Returns item indices by the power law, (n,) int64 in 1 … n_items."""
    n_active = min(N_ACTIVE, n_items)
    probability = np.arange(1, n_active + 1) ** -EXPONENT
    rank = np.searchsorted(np.cumsum(probability / probability.sum()), rng.random(n)).clip(max=n_active - 1)
    spread = 1 + np.arange(n_active) * (n_items // n_active)
    return np.asarray(rng.permutation(spread)[rank])


def _numbers(n: int) -> IdMap:
    """Returns ids for n rows."""
    return IdMap(tuple(map(str, range(n))))


def _no_features(n: int) -> FeatureArrays:
    """Returns n rows without features, and the one of padding."""
    return FeatureArrays(np.zeros((n + 1, 0), dtype=np.int32), np.zeros((n + 1, 0), dtype=np.float32))
