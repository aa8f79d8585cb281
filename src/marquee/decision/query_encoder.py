"""Requests in, query embeddings out: looks up what the bundle knows of each user and runs the query tower.

Decides what an answer is made from and what a user has seen. Leaves the choice of items to
`recommender`. Histories are cut in `histories`, features encoded in `features`, ids mapped in `ids`, as
in training.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, fields, replace
from itertools import repeat
from typing import cast

import numpy as np
import numpy.typing as npt

from marquee.core.arrays import FloatArray, IndexArray
from marquee.core.histories import gather, window_positions
from marquee.core.ids import PADDING_INDEX
from marquee.decision.encoding.ablations import Ablations
from marquee.decision.encoding.query_features import FeatureRow, QueryFeatures
from marquee.decision.item_pool import ItemPool
from marquee.decision.requests import HistoryEvent, Request, Source
from marquee.decision.texts.asking import AskedText, TextAsker
from marquee.features import FeatureArrays
from marquee.store.people.consent import Tier

UNREAD = "no item's text has a word of the query, or a part of one"
"""Reason why an answer rests on less than the words that were asked for."""

# Attributes alone say too little: scaled to the words they would bring what is popular.
_OF_USER = frozenset({Source.personal, Source.history})
_NO_ITEMS: IndexArray = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Queries:
    """Query embeddings of a batch, with what each was made from.

    Attributes:
        embeddings: Of the users, (batch, dim) float32; not to be used where `is_embedded` is False.
        is_embedded: Whether there was anything to make an embedding from.
        sources: What each answer will rest on; `popular` if there was nothing to go by.
        texts: Words that are searched with in place of the embedding; None for none.
        unread: Whether words were given of which no item's text has any piece.
        seen: Items of the stored and the given history, one int64 array per request.
        unknown_users: Whether each named a user whom the bundle does not know.
        unknown_history: Events given whose item the bundle does not know.
        ignored_features: Names given that nothing in the bundle reads.
        read: Items of the history that the tower was fed, oldest first, one int64 array per request.
        users: user_index of each, 0 for an unknown one.
        features: Row of user and context features of each.
    """

    embeddings: FloatArray
    is_embedded: tuple[bool, ...]
    sources: tuple[Source, ...]
    texts: tuple[AskedText | None, ...]
    unread: tuple[bool, ...]
    seen: tuple[IndexArray, ...]
    unknown_users: tuple[bool, ...]
    unknown_history: tuple[int, ...]
    ignored_features: tuple[tuple[str, ...], ...]
    read: tuple[IndexArray, ...]
    users: tuple[int, ...]
    features: tuple[FeatureArrays, ...]

    def row(self, row: int) -> "Queries":
        """Returns the queries with one row alone."""
        taken = {one.name: getattr(self, one.name)[row : row + 1] for one in fields(self)}
        return Queries(**taken)

    def searched(self, rows: Sequence[int]) -> FloatArray:
        """Returns the vectors that the index is searched with for some rows, (n_rows, dim) float32."""
        texts = [self.texts[row] for row in rows]
        found = self.embeddings[rows]  # a copy
        for place, text in enumerate(texts):
            if text is not None:
                found[place] = text.embedding
        return found


class QueryEncoder:
    """Embeds requests with a bundle's query tower.

    Args:
        item_pool: The bundle, and the live items that may stand in a history.
    """

    def __init__(self, item_pool: ItemPool) -> None:
        bundle = item_pool.bundle
        self._item_pool = item_pool
        self._bundle = bundle
        inputs = bundle.query_tower.inputs
        self._takes_user = "user_vector" in inputs
        self._takes_history = "history_vectors" in inputs or "history_kinds" in inputs
        self._takes_features = "tokens" in inputs or "numeric" in inputs
        self._texts = None if bundle.texts is None else TextAsker(bundle.texts, item_pool)
        self._features = QueryFeatures(bundle.query_features, bundle.user_features, bundle.columns)
        configs = bundle.manifest.kinds.configs
        whole = [kind for kind, config in configs.items() if not config.edges]
        rows = bundle.manifest.kinds.encode(whole, [None] * len(whole)).tolist()
        # Kinds whose row depends on no value are looked up in a dict, without NumPy.
        self._row_of_whole_kind: dict[str, int] = dict(zip(whole, rows, strict=True))
        self._parted_kinds = configs.keys() - self._row_of_whole_kind.keys()
        self._first_kind = next(iter(configs))
        self._row_of_first_kind = int(bundle.manifest.kinds.encode([self._first_kind], [None])[0])
        if self._first_kind in self._parted_kinds:
            self._parted_kinds |= {""}
        else:
            self._row_of_whole_kind[""] = self._row_of_whole_kind[self._first_kind]

    def over(self, item_pool: ItemPool) -> "QueryEncoder":
        """Returns the same encoder for the same bundle with other live items in histories."""
        other = copy(self)
        other._item_pool = item_pool
        other._texts = None if self._texts is None else self._texts.over(item_pool)
        return other

    def encode(self, requests: Sequence[Request]) -> Queries:
        """Returns the queries of a batch of at least one request; all pass the tower together."""
        bundle = self._bundle
        users = [bundle.user_ids.index(request.user_id or "") for request in requests]
        histories = [self._history(request, user) for request, user in zip(requests, users, strict=True)]
        features = [
            self._features.encode(request, user) for request, user in zip(requests, users, strict=True)
        ]
        sources = tuple(
            [
                # Attributes that a tier lets through choose a list of popular items, and feed no tower.
                self._source(user, history, row) if request.tier is Tier.personal else Source.popular
                for request, user, history, row in zip(requests, users, histories, features, strict=True)
            ]
        )
        embeddings = self._embed(users, histories, features, sources)
        texts = self._ask(requests, embeddings, sources)
        return Queries(
            embeddings=embeddings,
            is_embedded=tuple([source is not Source.popular for source in sources]),
            sources=tuple(
                [
                    source if text is None else Source.query
                    for source, text in zip(sources, texts, strict=True)
                ]
            ),
            texts=texts,
            unread=tuple(
                [
                    text is None and request.query is not None
                    for text, request in zip(texts, requests, strict=True)
                ]
            ),
            seen=tuple([history.seen for history in histories]),
            unknown_users=tuple(
                [
                    user == PADDING_INDEX and request.user_id is not None
                    for request, user in zip(requests, users, strict=True)
                ]
            ),
            unknown_history=tuple([history.n_unknown for history in histories]),
            ignored_features=tuple([row.ignored for row in features]),
            read=tuple([history.items if self._takes_history else _NO_ITEMS for history in histories]),
            users=tuple(users),
            features=tuple([row.arrays for row in features]),
        )

    def _ask(
        self, requests: Sequence[Request], embeddings: FloatArray, sources: Sequence[Source]
    ) -> tuple[AskedText | None, ...]:
        """Returns the words of each request as they are searched with, None where there are none to go by."""
        if self._texts is None:
            return (None,) * len(requests)
        return tuple(
            [
                None
                if request.query is None
                else self._texts.ask(
                    request.query, embeddings[row] if source in _OF_USER else None, request.history_weight
                )
                for row, (request, source) in enumerate(zip(requests, sources, strict=True))
            ]
        )

    def seen(self, request: Request) -> IndexArray:
        """Returns item_index of what the user of a request had, stored and given, (n_seen,) int64."""
        return self._events(request, self._bundle.user_ids.index(request.user_id or "")).seen

    def without_each(self, request: Request) -> Ablations:
        """Returns the query of a request without each thing that it rests on; all pass the tower together.

        An event less means that the one before the window moves up, as if it had never been.
        """
        user = self._bundle.user_ids.index(request.user_id or "")
        events, row = self._events(request, user), self._features.encode(request, user)
        whole, has_user = self._latest(events), self._has_vector(user)
        n_events = len(whole.items) if self._takes_history else 0
        first = len(events.items) - n_events
        columns = self._features.telling_columns(row) if self._takes_features else ()
        variants = [
            (user, whole, row),
            *((user, self._latest(events.without(first + n)), row) for n in range(n_events)),
            *((user, whole, self._features.without(row, column)) for column in columns),
            *([(PADDING_INDEX, whole, row)] if has_user else []),
        ]
        users, histories, rows = (list(column) for column in zip(*variants, strict=True))
        sources = tuple(map(self._source, users, histories, rows))
        return Ablations(self._embed(users, histories, rows, sources), sources, n_events, columns, has_user)

    def _embed(
        self,
        users: Sequence[int],
        histories: Sequence["_History"],
        features: Sequence[FeatureRow],
        sources: Sequence[Source],
    ) -> FloatArray:
        """Returns the query embeddings, (batch, dim) float32; zeros if no request has anything to go by."""
        bundle = self._bundle
        if all(source is Source.popular for source in sources):
            # Nothing is searched with these: the tower need not run.
            return np.zeros((len(users), bundle.index.dim), dtype=np.float32)
        arrays: dict[str, npt.NDArray[np.generic]] = {}
        if self._takes_user:
            arrays["user_vector"] = bundle.user_vectors[users]  # (batch, user_dim)
        if self._takes_features:
            # int32 in the bundle, for half of the bytes; the graph takes int64.
            arrays["tokens"] = np.concatenate([row.arrays.tokens for row in features]).astype(np.int64)
            arrays["numeric"] = np.concatenate([row.arrays.numeric for row in features])
        if self._takes_history:
            arrays |= self._history_arrays(histories)
        return bundle.query_tower.run(arrays)

    def _source(self, user: int, history: "_History", features: FeatureRow) -> Source:
        """Returns the strongest signal that the query tower can use of a request."""
        has_history = self._takes_history and len(history.items) > 0
        has_features = self._takes_features and features.says_something
        if user != PADDING_INDEX and (has_history or has_features or self._has_vector(user)):
            return Source.personal
        if has_history:
            return Source.history
        return Source.features if has_features else Source.popular

    def _has_vector(self, user: int) -> bool:
        """Returns True if the model learned something of a user; one that came after training has zeros."""
        return self._takes_user and bool(self._bundle.user_vectors[user].any())

    def _history(self, request: Request, user: int) -> "_History":
        """Returns the latest of the stored history of the user followed by the given one."""
        return self._latest(self._events(request, user))

    def _latest(self, history: "_History") -> "_History":
        """Returns a history cut to what the tower is fed."""
        length = self._bundle.manifest.history_length
        # Not `replace`, which costs several times as much: every request comes here.
        return _History(history.items[-length:], history.kinds[-length:], history.seen, history.n_unknown)

    def _events(self, request: Request, user: int) -> "_History":
        """Returns all that could be fed of the stored history of the user followed by the given one."""
        items, kinds = self._given_history(request.history)
        # Before the stored history joins: only what the caller named is reported.
        n_unknown = len(items) - int(np.count_nonzero(items))
        if user != PADDING_INDEX:
            stored_items, stored_kinds = self._stored_history(user)
            items, kinds = np.concatenate((stored_items, items)), np.concatenate((stored_kinds, kinds))
        # Before unusable events go: the model is not fed them, but the user has had the item.
        seen = items
        if np.count_nonzero(items) < len(items) or np.count_nonzero(kinds) < len(kinds):
            is_usable = (items != PADDING_INDEX) & (kinds != PADDING_INDEX)
            items, kinds = items[is_usable], kinds[is_usable]
        return _History(items=items, kinds=kinds, seen=seen, n_unknown=n_unknown)

    def _stored_history(self, user: int) -> tuple[IndexArray, IndexArray]:
        """Returns items and kinds that the bundle knows of a user."""
        bundle = self._bundle
        start, end = bundle.history_offsets[user : user + 2].tolist()
        return (
            bundle.history_items[start:end].astype(np.int64),
            bundle.history_kinds[start:end].astype(np.int64),
        )

    def _given_history(self, history: tuple[HistoryEvent | str, ...]) -> tuple[IndexArray, IndexArray]:
        """Returns items and kinds of a given history; 0 where the bundle does not know or count them."""
        if not history:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        if type(history[0]) is str:  # then all are ids, of the first kind: a request holds no mixture
            items = self._item_pool.table.encode(cast("tuple[str, ...]", history))
            return items, np.full(len(items), self._row_of_first_kind)
        item_ids, names, values = zip(*cast("tuple[HistoryEvent, ...]", history), strict=True)
        if self._parted_kinds.isdisjoint(names):
            rows = map(self._row_of_whole_kind.get, names, repeat(PADDING_INDEX))
            kinds = np.fromiter(rows, dtype=np.int64, count=len(names))
        else:
            kinds = self._bundle.manifest.kinds.encode([name or self._first_kind for name in names], values)
        return self._item_pool.table.encode(item_ids), kinds

    def _history_arrays(self, histories: Sequence["_History"]) -> dict[str, npt.NDArray[np.generic]]:
        """Returns the history inputs of the tower, as long as the longest history."""
        if len(histories) == 1:  # needs no padding
            alone = histories[0]
            vectors = self._item_pool.table.vectors(alone.items[None])  # (1, length, dim)
            return {"history_vectors": vectors, "history_kinds": alone.kinds[None]}
        sizes = np.array([len(history.items) for history in histories], dtype=np.int64)
        ends = np.cumsum(sizes)
        positions = window_positions(ends - sizes, ends, int(sizes.max()))  # (batch, length)
        items = gather(np.concatenate([history.items for history in histories]), positions)
        kinds = gather(np.concatenate([history.kinds for history in histories]), positions)
        return {
            "history_vectors": self._item_pool.table.vectors(items.astype(np.int64, copy=False)),
            "history_kinds": kinds,
        }


@dataclass(frozen=True, slots=True)
class _History:
    """The history of one request.

    Attributes:
        items: item_index of the events that the tower is fed, oldest first, (length,) int64.
        kinds: Their kinds, never 0.
        seen: item_index of all events, (n_events,) int64; 0 for an unknown item.
        n_unknown: Given events whose item is unknown.
    """

    items: IndexArray
    kinds: IndexArray
    seen: IndexArray
    n_unknown: int

    def without(self, position: int) -> "_History":
        """Returns the history without the event at a position."""
        return replace(self, items=np.delete(self.items, position), kinds=np.delete(self.kinds, position))
