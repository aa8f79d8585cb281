"""From validated tables to arrays: what a model is trained on and judged by. Knows no model.

Everything learned here (ids, vocabularies, statistics) is learned from the training part alone. Items of
the catalog that training never saw stand behind the others and have features only.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from marquee.core.arrays import BoolArray, FloatArray, IndexArray, TokenArray
from marquee.core.availability import Availability
from marquee.core.catalog import Catalog
from marquee.core.event_kinds import EventKinds
from marquee.core.histories import Interactions, gather
from marquee.core.ids import PADDING_INDEX, IdMap, Ids
from marquee.core.item_lists import ItemLists
from marquee.core.schema import TimeMeaning
from marquee.data.config import DataConfig
from marquee.data.order import Order
from marquee.data.query_features import (
    QueryFeatures,
    columns_of,
    fit_encoder,
    fit_query_features,
    found_again,
    with_context,
)
from marquee.data.reading.tables import Tables
from marquee.data.splits import Split
from marquee.errors import DataError
from marquee.features import FeatureArrays, FeatureEncoder

_BLOCK_USERS = 8192


@dataclass(frozen=True, slots=True)
class QueryArrays:
    """Queries as arrays; the fields are those of the model's query batch.

    Attributes:
        user_index: (n,) int64; 0 for an unknown user.
        tokens: (n, n_token_columns) int32.
        numeric: (n, n_numeric) float32.
        history_items: (n, length) int32, 0 = padding, on the left.
        history_kinds: (n, length) int32, 0 = padding.
    """

    user_index: IndexArray
    tokens: TokenArray
    numeric: FloatArray
    # Four bytes: of many users with long histories these are the largest arrays of all that is judged.
    history_items: TokenArray
    history_kinds: TokenArray

    def rows(self, rows: slice | IndexArray) -> "QueryArrays":
        """Returns some of the queries, in the order of `rows`."""
        return QueryArrays(
            self.user_index[rows],
            self.tokens[rows],
            self.numeric[rows],
            self.history_items[rows],
            self.history_kinds[rows],
        )

    def __len__(self) -> int:
        return len(self.user_index)


@dataclass(frozen=True)
class JudgedPart:
    """The users of validation or test: what was known of each, and what each did next.

    A query is a user at the moment of the part's first event. `known` is grouped by query, counted from 1,
    and not by user_index: a user who never stood in training may have a history here all the same.

    Attributes:
        user_ids: User of each query, n_queries names.
        queries: What the model is asked, n_queries rows.
        known: Events before the part, grouped by query row.
        targets: Items of the part for each query, as often as they occur; 0 for an item outside the catalog,
            which stands once, at its first event.
        target_times: When, aligned with `targets.item_index`, seconds.
        had_outside: Targets outside the catalog that the query's user had before, (n_targets,) bool.
        available: Which items could be shown to each query; None where every item always could be, or
            timestamps are no moments.
    """

    user_ids: tuple[str, ...]
    queries: QueryArrays
    known: Interactions
    targets: ItemLists
    target_times: IndexArray
    had_outside: BoolArray
    available: Availability | None = None

    def wanted(self, *, exclude_seen: bool) -> tuple[ItemLists, IndexArray]:
        """Returns the targets that may count, and their times.

        Args:
            exclude_seen: Leave out items outside the catalog that the user had before. Lists of exclusions
                cannot name them: to those all of them are item 0.
        """
        if not exclude_seen:
            return self.targets, self.target_times
        return self.targets.take(~self.had_outside), self.target_times[~self.had_outside]

    @property
    def seen(self) -> ItemLists:
        """Items that each query's user had before, which may be excluded from its answer."""
        return ItemLists.of_users(self.known, np.arange(1, len(self.user_ids) + 1))


@dataclass(frozen=True)
class KnownUsers:
    """Everybody that serving knows.

    Attributes:
        user_ids: Users of training, then the others.
        interactions: What each did, grouped by the index in `user_ids`.
        features: Of each, (len(user_ids) + 1) rows; row 0 is the unknown user.
        queries: Each user's question without request context, one row per user.
    """

    user_ids: Ids
    interactions: Interactions
    features: FeatureArrays
    queries: QueryArrays


@dataclass(frozen=True)
class Fitted:
    """The fitted names of a model: which rows its tables have, and how attributes become features.

    Attributes:
        user_ids: Users of the training part.
        item_ids: Items of the training part.
        query_encoder: Of user features, then context features.
        item_encoder: Of item features.
    """

    user_ids: IdMap
    item_ids: IdMap
    query_encoder: FeatureEncoder
    item_encoder: FeatureEncoder


@dataclass(frozen=True)
class Dataset:
    """All that training, judging and export need of the data.

    Attributes:
        user_ids: Users of the training part.
        item_ids: Items of the training part, then the rest of the catalog.
        n_trained_items: Items of the training part.
        kinds: Event kinds that count.
        train: Interactions of the training part.
        train_context: Context features of each training interaction, in the order of `train`.
        query_features: Of users and context.
        item_encoder: Of items.
        item_features: (n_items + 1) rows; row 0 is padding.
        items: One row per item of `item_ids`, in that order; only `item_id` and `kind` where no table is.
        catalog: The same items as serving sees them: what may be shown, and when.
        time: What timestamps say.
        history_length: Longest history a model sees.
        has_order: Whether the places of a user's events say which came first.
    """

    user_ids: Ids
    item_ids: IdMap
    n_trained_items: int
    kinds: EventKinds
    train: Interactions
    train_context: FeatureArrays | None
    query_features: QueryFeatures
    item_encoder: FeatureEncoder
    item_features: FeatureArrays
    items: pl.DataFrame
    catalog: Catalog
    time: TimeMeaning
    history_length: int
    has_order: bool = True

    @classmethod
    def prepare(
        cls, tables: Tables, split: Split, config: DataConfig, fitted: Fitted | None = None
    ) -> "Dataset":
        """Returns the data set of `split.train` and the catalog of `tables`.

        Args:
            tables: As they are now.
            split: Their events in parts.
            config: How they are declared.
            fitted: Of a model that is trained already, whose rows must be found again; None to learn ids,
                vocabularies and statistics from the training part.

        Raises:
            DataError: If no training event counts as an interaction.
            MissingColumnError: If a feature is declared, or was trained on, whose column is not there.
        """
        kinds = EventKinds(config.kinds)
        train = split.train.filter(pl.col("kind").is_in(list(config.kinds)))
        if train.is_empty():
            raise DataError(
                f"no training event counts: got kinds {sorted(split.train['kind'].unique())}, "
                f"expected some of {list(config.kinds)}; add the kind under data.kinds"
            )
        user_ids = IdMap.fit(train["user_id"]) if fitted is None else fitted.user_ids
        trained = IdMap.fit(train["item_id"]) if fitted is None else fitted.item_ids
        item_ids = trained if tables.items is None else trained.extend(tables.items["item_id"])
        items = catalog_frame(tables.items, item_ids)
        if fitted is None:
            # A value that only new items have would get a row that nothing trains.
            item_encoder = fit_encoder(config.features.item, items.head(len(trained)))
        else:
            item_encoder = found_again(fitted.item_encoder, items)
            # A trained model has no rows for others.
            train = train.filter(
                pl.col("user_id").is_in(list(user_ids.ids)), pl.col("item_id").is_in(list(item_ids.ids))
            )
        interactions, order = _group(train, user_ids, item_ids, kinds)
        query_features = fit_query_features(
            config, tables.users, user_ids, train, None if fitted is None else fitted.query_encoder
        )
        context = query_features.encode_context(train)
        return cls(
            user_ids=user_ids,
            item_ids=item_ids,
            n_trained_items=len(trained),
            kinds=kinds,
            train=interactions,
            # `_group` has sorted the events: the context must follow.
            train_context=None if context is None else context.take(order),
            query_features=query_features,
            item_encoder=item_encoder,
            item_features=item_encoder.encode(columns_of(items, item_encoder), len(items)).with_padding_row(),
            items=items,
            catalog=Catalog.build(items, item_ids),
            time=config.time,
            history_length=config.history_length,
            has_order=config.time is not TimeMeaning.none or config.order is not Order.none,
        )

    @property
    def n_users(self) -> int:
        """Users of the training part."""
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        """Items of the catalog."""
        return len(self.item_ids)

    @property
    def query_encoder(self) -> FeatureEncoder:
        """Of user features, then context features."""
        return self.query_features.encoder

    @property
    def user_features(self) -> FeatureArrays:
        """Of the users of training, (n_users + 1) rows; row 0 is the unknown user."""
        return self.query_features.of_users

    def judged_part(self, before: pl.DataFrame, part: pl.DataFrame) -> JudgedPart:
        """Returns the queries, histories and targets of one part of the split.

        Args:
            before: Canonical events up to the part: what may be known.
            part: Canonical events of the part: what is to be predicted.
        """
        counts = pl.col("kind").is_in(list(self.kinds.configs))
        part = part.filter(counts)
        # By query and not by user_index: all newcomers share index 0.
        rows = IdMap.fit(part["user_id"])
        # Those columns alone that histories are made of: every other one would be copied for nothing.
        before = before.select("user_id", "item_id", "kind", "value", "timestamp").filter(
            counts, pl.col("user_id").is_in(rows.ids)
        )
        known, _ = _group(before, rows, self.item_ids, self.kinds)
        first = part.sort("timestamp", maintain_order=True).unique(
            "user_id", keep="first", maintain_order=True
        )
        first = pl.DataFrame({"user_id": rows.ids}).join(
            first, on="user_id", how="left", maintain_order="left"
        )
        user_index = self.user_ids.encode(rows.ids)
        features = with_context(
            self.query_features.encode_users(rows.ids), self.query_features.encode_context(first)
        )
        history_items, history_kinds = self._histories(known)
        targets, order = _group(part, rows, self.item_ids, self.kinds)
        is_repeated, had_before = _outside_catalog(targets, part[order], before)
        targets = targets.take(~is_repeated)
        return JudgedPart(
            user_ids=rows.ids,
            queries=QueryArrays(user_index, features.tokens, features.numeric, history_items, history_kinds),
            known=known,
            targets=ItemLists.of_users(targets, np.arange(1, len(rows) + 1)),
            target_times=targets.timestamp,  # every row is a query: none is left out
            had_outside=had_before[~is_repeated],
            available=self._availability(first["timestamp"]),
        )

    def _availability(self, moments: pl.Series) -> Availability | None:
        """Returns the items that could be shown at each moment; None where all always could."""
        if not self.catalog.has_windows or self.time is not TimeMeaning.absolute:
            return None
        windows = self.catalog.available_from, self.catalog.available_until
        return Availability(*windows, moments.to_numpy().astype(np.int64))

    def item_groups(self) -> dict[str, BoolArray]:
        """Returns the groups of items that a report tells apart, (n_items + 1,) bool each.

        Content and ads where there are both, and items that training never saw where there are any.
        """
        is_ad = np.concatenate([[False], (self.items["kind"] == "ad").to_numpy()])
        # Padding is in no group.
        is_item = np.arange(self.n_items + 1) > 0
        groups = {"content": is_item & ~is_ad, "ad": is_ad} if is_ad.any() else {}
        if self.n_trained_items < self.n_items:
            groups["unseen in training"] = np.arange(self.n_items + 1) > self.n_trained_items
        return groups

    def known_users(self, events: pl.DataFrame) -> "KnownUsers":
        """Returns all users of `events`, as serving knows them at the end of the table.

        Users that training never saw come behind those of training: they have no learned vector, but a
        history and features.
        """
        events = events.filter(pl.col("kind").is_in(list(self.kinds.configs)))
        user_ids = self.user_ids.extend(events["user_id"])
        interactions, _ = _group(events, user_ids, self.item_ids, self.kinds)
        user_index = np.arange(1, len(user_ids) + 1)
        unknown = self.query_features.of_users.take(np.zeros(1, dtype=np.int64))
        features = self.query_features.encode_users(user_ids.column())
        history_items, history_kinds = self._histories(interactions)
        return KnownUsers(
            user_ids=user_ids,
            interactions=interactions,
            features=FeatureArrays(
                np.concatenate([unknown.tokens, features.tokens]),
                np.concatenate([unknown.numeric, features.numeric]),
            ),
            queries=QueryArrays(
                # Users beyond those of training have no learned vector.
                np.where(user_index <= self.n_users, user_index, PADDING_INDEX),
                features.tokens,
                features.numeric,
                history_items,
                history_kinds,
            ),
        )

    def _histories(self, interactions: Interactions) -> tuple[TokenArray, TokenArray]:
        """Returns items and kinds of each user's latest events, from user 1 on, (n_users, length) int32 each.

        Items outside the catalog are left out, as in serving: no model can say anything of them.
        """
        is_usable = interactions.item_index != PADDING_INDEX
        usable = interactions if is_usable.all() else interactions.take(is_usable)
        shape = (usable.n_users, self.history_length)
        items, kinds = np.empty(shape, dtype=np.int32), np.empty(shape, dtype=np.int32)
        # In blocks: the positions of all events of all users would take twice what comes of them.
        for start in range(0, len(items), _BLOCK_USERS):
            users = np.arange(start + 1, min(start + _BLOCK_USERS, len(items)) + 1)
            positions = usable.windows(users, self.history_length)
            items[start : start + _BLOCK_USERS] = gather(usable.item_index, positions)
            kinds[start : start + _BLOCK_USERS] = gather(usable.kind_index, positions)
        return items, kinds


def catalog_frame(items: pl.DataFrame | None, item_ids: IdMap) -> pl.DataFrame:
    """Returns one row per item in the order of its index; an item without a row of its own is content."""
    frame = pl.DataFrame({"item_id": item_ids.ids})
    if items is None:
        return frame.with_columns(kind=pl.lit("content"))
    joined = frame.join(items, on="item_id", how="left", maintain_order="left")
    return joined.with_columns(pl.col("kind").fill_null("content"))


def _group(
    events: pl.DataFrame, user_ids: Ids, item_ids: IdMap, kinds: EventKinds
) -> tuple[Interactions, IndexArray]:
    """Returns events as interactions, and the row of `events` that each interaction came from."""
    kind_index, weight = kinds.encode_columns(events["kind"], events["value"])
    user_index = user_ids.encode(events["user_id"])
    timestamp = events["timestamp"].to_numpy().astype(np.int64)
    interactions = Interactions.group(
        user_index,
        item_ids.encode(events["item_id"]),
        kind_index,
        timestamp,
        weight,
        n_users=len(user_ids),
    )
    # The keys that `Interactions.group` sorts by: rows and interactions must stay aligned.
    return interactions, np.lexsort((timestamp, user_index))


def _outside_catalog(
    targets: Interactions, events: pl.DataFrame, before: pl.DataFrame
) -> tuple[BoolArray, BoolArray]:
    """Tells items outside the catalog apart by their ids: their index is 0 for all of them.

    Args:
        targets: Events of the part judged.
        events: The same events as a table, row by row.
        before: Events of the same users before the part.

    Returns:
        Which targets repeat an item outside the catalog for the same user, and which are such an item that
        the user had before; (n_targets,) bool each.
    """
    is_outside = targets.item_index == PADDING_INDEX
    is_repeated, was_had = np.zeros_like(is_outside), np.zeros_like(is_outside)
    # Of these events alone, which are few or none: all pairs of both tables would take more than the tables.
    pairs = events.select("user_id", "item_id").filter(is_outside)
    if pairs.is_empty():
        return is_repeated, was_had
    had = before.join(pairs, on=["user_id", "item_id"], how="semi").select("user_id", "item_id").unique()
    is_had = pairs.join(had.with_columns(had=True), on=had.columns, how="left", maintain_order="left")["had"]
    is_repeated[is_outside] = ~pairs.select(pl.struct(pl.all()).is_first_distinct()).to_series().to_numpy()
    was_had[is_outside] = is_had.fill_null(False).to_numpy()
    return is_repeated, was_had
