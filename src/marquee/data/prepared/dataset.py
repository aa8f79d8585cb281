"""The data set of prepared data: the same arrays that `Dataset.prepare` makes of whole tables."""

import numpy as np
import polars as pl

from marquee.core.catalog import Catalog
from marquee.core.event_kinds import EventKinds
from marquee.core.schema import TimeMeaning
from marquee.data.config import DataConfig
from marquee.data.dataset import Dataset, catalog_frame
from marquee.data.order import Order
from marquee.data.prepared.folder import PreparedFolder
from marquee.data.prepared.layout import TRAINED
from marquee.data.query_features import columns_of, fit_encoder, fit_query_features
from marquee.data.splits import Split


def read_dataset(folder: PreparedFolder, config: DataConfig, split: Split) -> Dataset:
    """Returns the data set of prepared data.

    Args:
        folder: Where it lies.
        config: How it is declared; it must be what was prepared.
        split: The events in parts; read only where the context of a request has features.

    Raises:
        ConfigError: If the declaration is another than the one that was prepared.
    """
    folder.manifest.require_declared(config, folder.path)
    kinds = EventKinds(config.kinds)
    user_ids, item_ids = folder.user_ids(), folder.item_ids()
    n_trained = folder.manifest.n_items[TRAINED]
    items = catalog_frame(folder.table("items"), item_ids)
    item_encoder = fit_encoder(config.features.item, items.head(n_trained))
    interactions = folder.interactions(kinds, ("train",), folder.n_users)
    has_context = bool(config.features.context)
    train = split.train.filter(pl.col("kind").is_in(list(config.kinds))) if has_context else pl.DataFrame()
    query_features = fit_query_features(config, folder.table("users"), user_ids, train)
    context = query_features.encode_context(train)
    if context is not None:
        # As interactions stand: by user, then by time.
        order = np.lexsort((train["timestamp"].to_numpy(), user_ids.encode(train["user_id"])))
        context = context.take(order)
    return Dataset(
        user_ids=user_ids,
        item_ids=item_ids,
        n_trained_items=n_trained,
        kinds=kinds,
        train=interactions,
        train_context=context,
        query_features=query_features,
        item_encoder=item_encoder,
        item_features=item_encoder.encode(columns_of(items, item_encoder), len(items)).with_padding_row(),
        items=items,
        catalog=Catalog.build(items, item_ids),
        time=config.time,
        history_length=config.history_length,
        has_order=config.time is not TimeMeaning.none or config.order is not Order.none,
    )
