"""Answers requests with a bundle: embeds, searches under a mask, names the items, says what they rest on.

Decides what is allowed in an answer and when an answer falls back to what is popular. Leaves to others
how a request becomes a query (see `queries`), which items there are and how they are found (see `item_pool`),
and how the best of them become the answer (see `reranking`).

Does not return an item that is excluded, unavailable, of another kind, filtered out or withdrawn; returns
fewer instead and says why. Does not read the clock. Keeps nothing of a request.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from marquee.bundle.bundle import Bundle
from marquee.bundle.popularity import PopularItems
from marquee.core.arrays import BoolArray, FloatArray, IndexArray
from marquee.core.catalog import ItemKind
from marquee.core.filters import NO_FILTERS, Filters
from marquee.core.ids import PADDING_INDEX
from marquee.decision.arranging import CandidateTable, codes_of, rerank
from marquee.decision.item_pool import Allowed, ItemPool
from marquee.decision.query_encoder import Queries, QueryEncoder
from marquee.decision.requests import Answer, OnStage, Recommendation, Request, Source, Stage
from marquee.decision.reranking import MAX_CANDIDATES, Reranking
from marquee.errors import DataError, UnknownIdError
from marquee.store.live_items import LiveItem
from marquee.store.signing import TrustedKeys

_WIDENING_FACTOR = 5


class Recommender:
    """A loaded bundle that answers. Several threads may ask at a time.

    Attributes:
        bundle: What it answers from.
        item_pool: The items of the bundle, and the live ones.
        queries: Turns requests into query embeddings.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.item_pool = ItemPool(bundle)
        self.queries = QueryEncoder(self.item_pool)
        self._popular_items = PopularItems(bundle.popularity)

    @classmethod
    def load(cls, path: Path | str, trusted: TrustedKeys | None = None) -> "Recommender":
        """Returns the recommender of the bundle at `path`; see `Bundle.load`."""
        return cls(Bundle.load(path, trusted))

    def with_live_items(self, items: Mapping[str, LiveItem]) -> "Recommender":
        """Returns a recommender of the same bundle with these live items in place of others."""
        other = copy(self)
        other.item_pool = self.item_pool.with_live_items(items)
        other.queries = self.queries.over(other.item_pool)
        return other

    @property
    def version(self) -> str:
        """Version of the bundle."""
        return self.bundle.version

    def validate(self, request: Request) -> None:
        """Raises what `recommend` would raise, before a request could spoil a batch of good ones.

        Raises:
            FilterError: If the catalog cannot apply the filters.
            DataError: If re-ranking names an attribute that the catalog does not have.
        """
        if request.filters:
            self.bundle.catalog.validate_filters(request.filters)
        if request.reranks:
            self._table_of(request.reranking, _Candidates.nothing())

    def recommend(self, requests: Sequence[Request], on_stage: OnStage = lambda _stage: None) -> list[Answer]:
        """Returns an answer to each request, in their order.

        The tower runs once for all; the search once for all that share kind, filters and a period of
        availability. A request whose embedding is not finite is answered with what is popular, and the
        others are none the worse for it.

        Args:
            requests: Any number, each with its own k, kind, time, filters, exclusions and re-ranking.
            on_stage: Told of each stage when it has ended for all of them.

        Raises:
            FilterError: If the catalog cannot apply a request's filters.
            DataError: If re-ranking names an attribute that the catalog does not have (see `validate`).
        """
        if not requests:
            return []
        queries = self.queries.encode(requests)
        on_stage(Stage.encode)
        constraints_by_row = [
            self._constraints(request, seen) for request, seen in zip(requests, queries.seen, strict=True)
        ]
        found = self._search(
            queries.embeddings, self._by_mask(queries, constraints_by_row), constraints_by_row
        )
        on_stage(Stage.retrieve)
        chosen = [
            self._choose(queries, row, constraints, found.get(row))
            for row, constraints in enumerate(constraints_by_row)
        ]
        on_stage(Stage.rerank)
        answers = [
            self._named(
                of_row,
                constraints_by_row[row],
                source,
                fallback_reason=reason,
                unknown_history=queries.unknown_history[row],
                ignored_features=queries.ignored_features[row],
            )
            for row, (of_row, source, reason) in enumerate(chosen)
        ]
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
            item_id: Any item of the bundle, available or not, or a live one.
            timestamp: As in `Request`.
            k: How many items are wanted.
            kind: As in `Request`.
            filters: As in `Request`.
            exclude: As in `Request`.

        Raises:
            UnknownIdError: If neither the bundle nor a live item has that id.
            FilterError: If the catalog cannot apply the filters.
            DataError: If k is below 1.
        """
        item = self.item_pool.index(item_id)
        if item == PADDING_INDEX:
            raise UnknownIdError(
                f"item_id must be one of the {self.bundle.catalog.n_items} items of bundle {self.version}, "
                f"got {item_id!r}; ask for an item of the catalog"
            )
        if k < 1:
            raise DataError(f"k must be 1 or more, got {k}; ask for at least one item")
        constraints = _Constraints(
            k=k,
            kind=kind,
            n_available=self.item_pool.allowed(kind, timestamp).n_allowed,
            allowed=self.item_pool.allowed(kind, timestamp, filters),
            exclusions=np.append(self.item_pool.encode(exclude), item),
        )
        cosines = self.item_pool.cosines(item)
        if cosines is None:
            return self._named(
                self._popular(constraints),
                constraints,
                Source.popular,
                fallback_reason=f"{item_id!r} has no embedding",
            )
        return self._named(_most_similar(cosines, constraints), constraints, Source.similar)

    def _constraints(self, request: Request, seen: IndexArray) -> "_Constraints":
        """Returns what an answer to a request may hold."""
        exclusions = seen if request.exclude_seen else seen[:0]
        if request.exclude:
            exclusions = np.concatenate((exclusions, self.item_pool.encode(request.exclude)))
        available = self.item_pool.allowed(request.kind, request.timestamp)
        allowed = available
        if request.filters:
            allowed = self.item_pool.allowed(request.kind, request.timestamp, request.filters)
        return _Constraints(request.k, request.kind, available.n_allowed, allowed, exclusions, request)

    def _by_mask(self, queries: Queries, constraints_by_row: Sequence["_Constraints"]) -> list[list[int]]:
        """Returns the rows that have anything to search with and in, those with the same mask together."""
        groups: dict[Allowed, list[int]] = {}
        for row, constraints in enumerate(constraints_by_row):
            if queries.sources[row] is not Source.popular and constraints.allowed.n_allowed:
                groups.setdefault(constraints.allowed, []).append(row)
        return list(groups.values())

    def _search(
        self,
        embeddings: FloatArray,
        groups: Sequence[Sequence[int]],
        constraints_by_row: Sequence["_Constraints"],
    ) -> "dict[int, _Candidates]":
        """Returns the candidates by row, at most `n_candidates` each; rows without any are absent."""
        found: dict[int, _Candidates] = {}
        for members in groups:
            allowed = constraints_by_row[members[0]].allowed
            result = self.item_pool.search(
                embeddings[members],
                min(max(constraints_by_row[row].n_candidates for row in members), allowed.n_allowed),
                allowed,
                [constraints_by_row[row].exclusions for row in members],
            )
            for position, row in enumerate(members):
                items = result.items[position, : constraints_by_row[row].n_candidates]
                n_found = int(np.count_nonzero(items))
                if n_found:
                    found[row] = _Candidates(items[:n_found], result.scores[position, :n_found])
        return found

    def _search_one(self, embedding: FloatArray, constraints: "_Constraints") -> "_Candidates":
        """Returns what is found for one query, (1, dim), that has found something before."""
        return self._search(embedding, [[0]], [constraints])[0]

    def _choose(
        self, queries: Queries, row: int, constraints: "_Constraints", found: "_Candidates | None"
    ) -> "tuple[_Candidates, Source, str | None]":
        """Returns the items for one request of a batch, what they rest on, and why on no more.

        They are what was found, or else what is popular, in the order that the request wants.
        """
        source = queries.sources[row]
        reason = None
        look_further: Callable[[_Constraints], _Candidates] = partial(
            self._search_one, queries.embeddings[row : row + 1]
        )
        if found is None:
            look_further = self._popular
            found = self._popular(constraints)
            # The index leaves out what is popular only if no inner product with the query is a number.
            if source is not Source.popular and len(found.items):
                reason = f"the embedding of this {source} request is not finite"
                source = Source.popular
        if constraints.reranking is not None:
            found = self._reranked(constraints.reranking, constraints, found, look_further)
        return found, source, reason

    def _reranked(
        self,
        config: Reranking,
        constraints: "_Constraints",
        found: "_Candidates",
        look_further: "Callable[[_Constraints], _Candidates]",
    ) -> "_Candidates":
        """Returns the answer among what was found; looks further where the rules leave it short."""
        timestamp = constraints.request.timestamp if constraints.request else 0
        while True:
            chosen = rerank(config, self._table_of(config, found), constraints.k, timestamp)
            is_all = len(found.items) < constraints.n_candidates or constraints.n_candidates >= MAX_CANDIDATES
            if len(chosen) >= constraints.k or is_all:
                return replace(
                    found,
                    items=found.items[chosen],
                    scores=found.scores[chosen],
                    reranked=config.steps,
                    n_considered=len(found.items),
                )
            constraints = replace(
                constraints, n_widened=min(constraints.n_candidates * _WIDENING_FACTOR, MAX_CANDIDATES)
            )
            found = look_further(constraints)

    def _table_of(self, config: Reranking, found: "_Candidates") -> CandidateTable:
        """Returns what was found with all that re-ranking looks at."""
        items = found.items
        return CandidateTable(
            scores=found.scores,
            vectors=self.item_pool.directions(items) if config.diversity else None,
            codes={name: codes_of(self.item_pool.values(name, items)) for name in config.rule_attributes},
            births=self.item_pool.moments(config.freshness_attribute, items)
            if config.freshness_weight
            else None,
        )

    def _popular(self, constraints: "_Constraints") -> "_Candidates":
        """Returns the allowed items with the largest share of the interactions in the request's context."""
        context, request = None, constraints.request
        if request is not None:
            context = self.bundle.context_popularity.find(request.stated, request.timestamp)
        items, shares = self._popular_items.rank(constraints.flags(), constraints.n_candidates, context)
        return _Candidates(items, shares, popular_in=context.name if context else None)

    def _named(
        self,
        found: "_Candidates",
        constraints: "_Constraints",
        source: Source,
        *,
        fallback_reason: str | None = None,
        unknown_history: int = 0,
        ignored_features: tuple[str, ...] = (),
    ) -> Answer:
        """Returns what was found as an answer in the outside's words."""
        items = tuple(
            [
                Recommendation(item_id, score, ItemKind.ad if is_ad else ItemKind.content)
                for item_id, score, is_ad in zip(
                    self.item_pool.decode(found.items),
                    found.scores.tolist(),
                    self.item_pool.is_ad(found.items).tolist(),
                    strict=True,
                )
            ]
        )
        return Answer(
            items=items,
            source=source,
            version=self.version,
            requested=constraints.k,
            reranked=found.reranked,
            short_reason=constraints.short_reason(found),
            popular_in=found.popular_in,
            fallback_reason=fallback_reason,
            unknown_history=unknown_history,
            ignored_features=ignored_features,
            unknown_filter_values=constraints.allowed.unknown_values,
        )


@dataclass(frozen=True, slots=True)
class _Constraints:
    """How many items are wanted and which may be returned.

    Attributes:
        k: How many.
        kind: Of which kind, None for both.
        n_available: How many items of that kind are available.
        allowed: Those of them that pass the filters.
        exclusions: Items that must not be returned all the same, any order, 0 and repetition possible.
        request: What was asked, None where it was not for a user.
        n_widened: How many candidates are considered where the usual number was too few.
    """

    k: int
    kind: ItemKind | None
    n_available: int
    allowed: Allowed
    exclusions: IndexArray
    request: Request | None = None
    n_widened: int = 0

    @property
    def reranking(self) -> Reranking | None:
        """How the candidates become the answer, None if they are it."""
        return self.request.reranking if self.request and self.request.reranks else None

    @property
    def n_candidates(self) -> int:
        """How many of the best items are considered."""
        config = self.reranking
        return self.k if config is None else max(self.k, config.n_candidates, self.n_widened)

    def flags(self) -> BoolArray:
        """Returns which items may be returned, (n_items + m + 1,) bool: a copy to be written to."""
        flags = self.allowed.flags()
        flags[self.exclusions] = False
        return flags

    def short_reason(self, found: "_Candidates") -> str | None:
        """Returns why there are fewer items than wanted, None if there are not."""
        n_returned = len(found.items)
        if n_returned >= self.k:
            return None
        if n_returned < found.n_considered:
            return (
                f"caps and spacing permit {n_returned} of the {found.n_considered} best items that may be "
                f"returned, {self.k} were requested"
            )
        n_excluded = int(np.count_nonzero(self.allowed.flags()[np.unique(self.exclusions)]))
        what = "items" if self.kind is None else f"items of kind {self.kind}"
        n_filtered = self.n_available - self.allowed.n_allowed
        filtered = f", {n_filtered} of them do not pass the filters" if n_filtered else ""
        rest = "the others" if n_filtered else "them"
        return (
            f"{self.n_available} {what} are available at this time{filtered} and {n_excluded} of {rest} are "
            f"excluded, which leaves {n_returned} of the {self.k} requested"
        )


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Items and scores, best first.

    Attributes:
        items: item_index, (n_found,) int64, never 0.
        scores: (n_found,) float32, finite.
        popular_in: As in `Answer`.
        reranked: As in `Answer`.
        n_considered: Among how many candidates re-ranking chose, 0 if there was none.
    """

    items: IndexArray
    scores: FloatArray
    popular_in: str | None = None
    reranked: tuple[str, ...] = ()
    n_considered: int = 0

    @classmethod
    def nothing(cls) -> "_Candidates":
        """Returns that nothing was found."""
        return cls(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))


def _most_similar(cosines: FloatArray, constraints: _Constraints) -> _Candidates:
    """Returns the allowed items with the highest cosine; equal ones by ascending item_index."""
    candidates = np.flatnonzero(constraints.flags())
    cosines = cosines[candidates]
    if len(cosines) > constraints.k:
        is_kept = cosines >= np.partition(cosines, -constraints.k)[-constraints.k]
        candidates, cosines = candidates[is_kept], cosines[is_kept]
    order = np.lexsort((candidates, -cosines))[: constraints.k]
    return _Candidates(candidates[order], np.clip(cosines[order], -1.0, 1.0))
