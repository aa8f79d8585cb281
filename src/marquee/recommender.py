"""Answers requests with a bundle: embeds, searches under a mask, names the items, says what they rest on.

Decides what is allowed in an answer and when an answer falls back to what is popular. Leaves to others
how a request becomes a query (see `queries`) and how items are found (see `index`).

Does not return an item that is excluded, unavailable, of another kind or filtered out; returns fewer instead
and says why. Does not read the clock. Keeps nothing of a request.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from marquee.ann import inner_products
from marquee.bundle import Bundle
from marquee.catalog import BoolArray, ItemKind, ItemMask
from marquee.errors import DataError, UnknownIdError
from marquee.filters import NO_FILTERS, Filters
from marquee.histories import FloatArray
from marquee.ids import PADDING_INDEX, IndexArray
from marquee.popularity import Context
from marquee.queries import Queries, QueryEncoder
from marquee.requests import Answer, HistoryEvent, OnStage, Recommendation, Request, Source, Stage
from marquee.signing import TrustedKeys

__all__ = ["Answer", "HistoryEvent", "Recommendation", "Recommender", "Request", "Source"]

_FIRST_LOOK = 8
_WIDENING_FACTOR = 8


class Recommender:
    """A loaded bundle that answers. Several threads may ask at a time.

    Attributes:
        bundle: What it answers from.
        queries: Turns requests into query embeddings.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.queries = QueryEncoder(bundle)
        self._by_popularity: IndexArray = np.argsort(-bundle.popularity[1:], kind="stable") + 1

    @classmethod
    def load(cls, path: Path | str, trusted: TrustedKeys | None = None) -> "Recommender":
        """Returns the recommender of the bundle at `path`; see `Bundle.load`."""
        return cls(Bundle.load(path, trusted))

    @property
    def version(self) -> str:
        """Version of the bundle."""
        return self.bundle.version

    def recommend(self, requests: Sequence[Request], on_stage: OnStage = lambda _stage: None) -> list[Answer]:
        """Returns an answer to each request, in their order.

        The tower runs once for all; the search once for all that share kind, filters and a period of
        availability. A request whose embedding is not finite is answered with what is popular, and the
        others are none the worse for it.

        Args:
            requests: Any number, each with its own k, kind, time, filters and exclusions.
            on_stage: Told of each stage when it has ended for all of them.

        Raises:
            FilterError: If the catalog cannot apply a request's filters (see `Catalog.validate_filters`).
        """
        if not requests:
            return []
        queries = self.queries.encode(requests)
        on_stage(Stage.encode)
        wishes = [self._wish(request, seen) for request, seen in zip(requests, queries.seen, strict=True)]
        found = self._search(queries, wishes)
        on_stage(Stage.retrieve)
        answers = [self._answer(queries, row, wish, found.get(row)) for row, wish in enumerate(wishes)]
        on_stage(Stage.compose)
        return answers

    def similar(
        self,
        item_id: str,
        *,
        timestamp: int,
        k: int = 10,
        kind: ItemKind | None = None,
        filters: Filters = NO_FILTERS,
        exclude: Collection[str] = (),
    ) -> Answer:
        """Returns the items most like an item, by the cosine of their embeddings, never the item itself.

        The bias of an item says how much it is liked, not what it is like: it does not count here.

        Args:
            item_id: Any item of the bundle, available or not.
            timestamp: As in `Request`.
            k: How many items are wanted.
            kind: As in `Request`.
            filters: As in `Request`.
            exclude: As in `Request`.

        Raises:
            UnknownIdError: If the bundle does not know the item.
            FilterError: If the catalog cannot apply the filters.
            DataError: If k is below 1.
        """
        item = self.bundle.catalog.item_ids.index(item_id)
        if item == PADDING_INDEX:
            raise UnknownIdError(
                f"item_id must be one of the {self.bundle.catalog.n_items} items of bundle {self.version}, "
                f"got {item_id!r}; ask for an item of the catalog"
            )
        if k < 1:
            raise DataError(f"k must be 1 or more, got {k}; ask for at least one item")
        catalog = self.bundle.catalog
        wish = _Wish(
            k=k,
            kind=kind,
            n_available=catalog.allowed(kind, timestamp).n_allowed,
            allowed=catalog.allowed(kind, timestamp, filters),
            exclusions=np.append(catalog.item_ids.encode(exclude), item),
        )
        if self._norms[item] == 0.0:
            return self._named(
                self._popular(wish), wish, Source.popular, fallback_reason=f"{item_id!r} has no embedding"
            )
        return self._named(self._most_similar(item, wish), wish, Source.similar)

    def _wish(self, request: Request, seen: IndexArray) -> "_Wish":
        """Returns what an answer to a request may hold."""
        catalog = self.bundle.catalog
        exclusions = seen if request.exclude_seen else seen[:0]
        if request.exclude:
            exclusions = np.concatenate((exclusions, catalog.item_ids.encode(request.exclude)))
        available = catalog.allowed(request.kind, request.timestamp)
        allowed = available
        if request.filters:
            allowed = catalog.allowed(request.kind, request.timestamp, request.filters)
        return _Wish(request.k, request.kind, available.n_allowed, allowed, exclusions, request)

    def _search(self, queries: Queries, wishes: Sequence["_Wish"]) -> dict[int, "_Found"]:
        """Returns what the index finds, by row; only rows for which it finds anything."""
        groups: dict[ItemMask, list[int]] = {}
        for row, wish in enumerate(wishes):
            if queries.sources[row] is not Source.popular and wish.allowed.n_allowed:
                groups.setdefault(wish.allowed, []).append(row)
        found: dict[int, _Found] = {}
        for allowed, members in groups.items():
            result = self.bundle.index.search(
                queries.embeddings[members],
                min(max(wishes[row].k for row in members), allowed.n_allowed),
                allowed,
                [wishes[row].exclusions for row in members],
            )
            for position, row in enumerate(members):
                items, scores = result.items[position, : wishes[row].k], result.scores[position]
                n_found = int(np.count_nonzero(items))
                if n_found:
                    found[row] = _Found(items[:n_found], scores[:n_found])
        return found

    def _answer(self, queries: Queries, row: int, wish: "_Wish", found: "_Found | None") -> Answer:
        """Returns the answer to one request of a batch: what was found, or what is popular."""
        source = queries.sources[row]
        reason = None
        if found is None:
            found = self._popular(wish)
            # The index leaves out what is popular only if no inner product with the query is a number.
            if source is not Source.popular and len(found.items):
                reason = f"the embedding of this {source} request is not finite"
                source = Source.popular
        return self._named(
            found,
            wish,
            source,
            fallback_reason=reason,
            unknown_history=queries.unknown_history[row],
            ignored_features=queries.ignored_features[row],
        )

    def _popular(self, wish: "_Wish") -> "_Found":
        """Returns the allowed items with the largest share of the interactions in the wish's context."""
        context, flags = self._context(wish), wish.flags
        if context is None:
            items = self._most_popular(flags, wish)
            return _Found(items, self.bundle.popularity[items])
        listed = context.items[flags[context.items]][: wish.k]
        shares = context.shares[flags[context.items]][: wish.k]
        flags[context.items] = False
        others = self._most_popular(flags, wish)
        items = np.concatenate((listed.astype(np.int64), others))
        shares = np.concatenate((shares, np.float32(context.rest) * self.bundle.popularity[others]))
        order = np.lexsort((items, -shares))[: wish.k]
        return _Found(items[order], shares[order], popular_in=context.name)

    def _context(self, wish: "_Wish") -> Context | None:
        """Returns the context in which a request asks, None if there is no table of one."""
        request = wish.request
        if request is None:
            return None
        return self.bundle.context_popularity.find({**request.features, **request.context}, request.timestamp)

    def _most_popular(self, flags: BoolArray, wish: "_Wish") -> IndexArray:
        """Returns the items with the largest share of all interactions, of those that `flags` allow."""
        order = self._by_popularity
        n_looked = _FIRST_LOOK * (wish.k + len(wish.exclusions))
        items = order[:n_looked][flags[order[:n_looked]]]
        while len(items) < wish.k and n_looked < len(order):
            n_looked *= _WIDENING_FACTOR
            items = order[:n_looked][flags[order[:n_looked]]]
        return items[: wish.k]

    def _most_similar(self, item: int, wish: "_Wish") -> "_Found":
        """Returns the allowed items with the highest cosine; equal ones by ascending item_index."""
        vectors = self.bundle.index.item_vectors
        query = vectors[item] / self._norms[item]
        if self.bundle.manifest.has_item_bias:
            query[-1] = 0.0
        candidates = np.flatnonzero(wish.flags)
        norms = self._norms[candidates]
        cosines = inner_products(query, vectors)[candidates] / np.where(norms == 0.0, 1.0, norms)
        if len(cosines) > wish.k:
            is_kept = cosines >= np.partition(cosines, -wish.k)[-wish.k]
            candidates, cosines = candidates[is_kept], cosines[is_kept]
        order = np.lexsort((candidates, -cosines))[: wish.k]
        return _Found(candidates[order], np.clip(cosines[order], -1.0, 1.0))

    @cached_property
    def _norms(self) -> FloatArray:
        """Norms of the embeddings without the bias, (n_items + 1,) float32."""
        vectors = self.bundle.index.item_vectors
        n_columns = vectors.shape[1] - int(self.bundle.manifest.has_item_bias)
        norms: FloatArray = np.sqrt(np.einsum("nd,nd->n", vectors[:, :n_columns], vectors[:, :n_columns]))
        return norms

    def _named(
        self,
        found: "_Found",
        wish: "_Wish",
        source: Source,
        *,
        fallback_reason: str | None = None,
        unknown_history: int = 0,
        ignored_features: tuple[str, ...] = (),
    ) -> Answer:
        """Returns what was found as an answer in the outside's words."""
        catalog = self.bundle.catalog
        items = tuple(
            [
                Recommendation(item_id, score, ItemKind.ad if is_ad else ItemKind.content)
                for item_id, score, is_ad in zip(
                    catalog.item_ids.decode(found.items.tolist()),
                    found.scores.tolist(),
                    catalog.is_ad[found.items].tolist(),
                    strict=True,
                )
            ]
        )
        return Answer(
            items=items,
            source=source,
            version=self.version,
            requested=wish.k,
            short_reason=wish.short_reason(len(items)),
            popular_in=found.popular_in,
            fallback_reason=fallback_reason,
            unknown_history=unknown_history,
            ignored_features=ignored_features,
            unknown_filter_values=wish.allowed.unknown_values,
        )


@dataclass(frozen=True, slots=True)
class _Wish:
    """How many items are wanted and which may be returned.

    Attributes:
        k: How many.
        kind: Of which kind, None for both.
        n_available: How many items of that kind are available.
        allowed: Those of them that pass the filters.
        exclusions: Items that must not be returned all the same, any order, 0 and repetition possible.
        request: What was asked, None where it was not for a user.
    """

    k: int
    kind: ItemKind | None
    n_available: int
    allowed: ItemMask
    exclusions: IndexArray
    request: Request | None = None

    @property
    def flags(self) -> BoolArray:
        """True = may be returned, (n_items + 1,) bool."""
        flags = self.allowed.flags.copy()
        flags[self.exclusions] = False
        return flags

    def short_reason(self, n_returned: int) -> str | None:
        """Returns why there are fewer items than wanted, None if there are not."""
        if n_returned >= self.k:
            return None
        n_excluded = int(np.count_nonzero(self.allowed.flags[np.unique(self.exclusions)]))
        what = "items" if self.kind is None else f"items of kind {self.kind}"
        n_filtered = self.n_available - self.allowed.n_allowed
        filtered = f", {n_filtered} of them do not pass the filters" if n_filtered else ""
        rest = "the others" if n_filtered else "them"
        return (
            f"{self.n_available} {what} are available at this time{filtered} and {n_excluded} of {rest} are "
            f"excluded, which leaves {n_returned} of the {self.k} requested"
        )


@dataclass(frozen=True, slots=True)
class _Found:
    """Items and scores, best first.

    Attributes:
        items: item_index, (n_found,) int64, never 0.
        scores: (n_found,) float32, finite.
        popular_in: As in `Answer`.
    """

    items: IndexArray
    scores: FloatArray
    popular_in: str | None = None
