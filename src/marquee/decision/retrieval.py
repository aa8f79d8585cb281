"""Retrieves candidates: by the index for a query, by popularity without one, by likeness to an item.

Decides which requests share a search and in which order equal candidates stand. Leaves to others what is
allowed (see `constraints`) and which candidates become the answer (see `reranker`).
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np

from marquee.bundle.bundle import Bundle
from marquee.bundle.popularity import PopularItems
from marquee.core.arrays import FloatArray, IndexArray
from marquee.core.schema import AVAILABLE_FROM
from marquee.decision.arranging import SECONDS_PER_DAY
from marquee.decision.constraints import Candidates, Constraints
from marquee.decision.item_pool import Allowed, ItemPool
from marquee.decision.query_encoder import Queries
from marquee.decision.requests import Source
from marquee.decision.texts.asking import AskedText
from marquee.decision.texts.finding import joined, most_alike


@dataclass(frozen=True, slots=True)
class Chosen:
    """The content of answers to some requests, by item_index.

    Attributes:
        queries: Of the requests.
        constraints: One per request.
        rows: Per request the items in their order, what they rest on, and why on no more.
    """

    queries: Queries
    constraints: Sequence[Constraints]
    rows: Sequence[tuple[Candidates, Source, str | None]]


class Retriever:
    """Finds candidates among the items of a pool. Several threads may ask at a time.

    Args:
        bundle: Knows which items are popular.
        item_pool: The items of the bundle, and the live ones.
    """

    def __init__(self, bundle: Bundle, item_pool: ItemPool) -> None:
        self._item_pool = item_pool
        self._popular_items = PopularItems(bundle.popularity)
        self._context_popularity = bundle.context_popularity

    def over(self, item_pool: ItemPool) -> "Retriever":
        """Returns the same retriever for the same bundle with other live items."""
        other = copy(self)
        other._item_pool = item_pool
        return other

    def search(self, queries: Queries, constraints: Sequence[Constraints]) -> dict[int, Candidates]:
        """Returns row → candidates, at most `n_candidates` each; rows without any are absent.

        Args:
            queries: One made from nothing (`popular`) is not searched with.
            constraints: One per row.
        """
        found: dict[int, Candidates] = {}
        for rows in _group_by_mask(queries.sources, constraints):
            allowed = constraints[rows[0]].allowed
            result = self._item_pool.search(
                queries.searched(rows),
                # One search for all: as many as the most demanding row wants, cut for the others below.
                min(max(constraints[row].n_candidates for row in rows), allowed.n_allowed),
                allowed,
                [constraints[row].exclusions for row in rows],
            )
            for position, row in enumerate(rows):
                items = result.items[position, : constraints[row].n_candidates]
                # Padding stands only at the end.
                n_found = int(np.count_nonzero(items))
                candidates = Candidates(items[:n_found], result.scores[position, :n_found])
                if (text := queries.texts[row]) is not None:
                    candidates = self._with_words(candidates, text, constraints[row])
                if len(candidates.items):
                    found[row] = candidates
        return found

    def search_row(self, queries: Queries, row: int, constraints: Constraints) -> Candidates:
        """Returns the candidates of one row with other constraints, none where `search` finds none."""
        alone = queries.row(row)
        if (listed := constraints.listed) is not None:
            # Scored and not searched for: these items are known.
            scores, text = self._scores(alone.searched([0])[0], listed), alone.texts[0]
            return Candidates(listed, scores if text is None else scores + text.likeness_of(listed))
        return self.search(alone, [constraints]).get(0, Candidates.none())

    def _with_words(self, found: Candidates, text: AskedText, constraints: Constraints) -> Candidates:
        """Returns the best of the candidates of an embedding and of the items that share words."""
        items, likeness = most_alike(text, constraints.flags())
        # Of those found by their words the embedding has not told the score.
        alike = items, self._scores(text.embedding, items) + likeness
        return Candidates(*joined((found.items, found.scores), alike, constraints.n_candidates))

    def _scores(self, embedding: FloatArray, items: IndexArray) -> FloatArray:
        """Returns the inner products of a query with some items, (n,) float32, as a search gives them."""
        vectors = self._item_pool.table.vectors(items).astype(np.float64)
        scores = vectors @ -embedding.astype(np.float64)
        return 0.0 - scores.astype(np.float32)  # never -0.0

    def popular(self, constraints: Constraints) -> Candidates:
        """Returns the allowed items with the largest share of the interactions in the request's context."""
        request = constraints.request
        context = self._context_popularity.find(request.stated, request.timestamp)
        items, shares = self._popular_items.rank(constraints.flags(), constraints.n_candidates, context)
        return Candidates(items, shares, popular_in=context.name if context else None)

    def has_direction(self, item: int) -> bool:
        """Returns whether other items can be like one: False if it has no embedding."""
        return bool(self._item_pool.table.directions(np.array([item])).any())

    def similar(self, item: int, constraints: Constraints) -> Candidates:
        """Returns the allowed items with the highest cosine with one; equal ones by ascending item_index.

        Args:
            item: One for which `has_direction` holds.
            constraints: Of the request.
        """
        cosines = self._item_pool.cosines(item)
        assert cosines is not None, f"item {item} has no direction; ask has_direction first"
        items, k = np.flatnonzero(constraints.flags()), constraints.n_candidates
        cosines = cosines[items]
        if len(cosines) > k:
            # All that tie with the k-th best are kept: the sort below has the rule for ties.
            is_kept = cosines >= np.partition(cosines, -k)[-k]
            items, cosines = items[is_kept], cosines[is_kept]
        order = np.lexsort((items, -cosines))[:k]
        # A cosine is at most 1, its rounding may be more.
        return Candidates(items[order], np.clip(cosines[order], -1.0, 1.0))

    def newest(self, constraints: Constraints) -> Candidates:
        """Returns the allowed items that may be shown for the shortest time; equal ones by item_index.

        Items that could always be shown are not among them. The score is the moment in days since 1970.
        """
        items, k = np.flatnonzero(constraints.flags()), constraints.n_candidates
        days = self._item_pool.table.moments(AVAILABLE_FROM, items) / SECONDS_PER_DAY
        # NaN: it could always be shown, and so is not new.
        is_known = np.isfinite(days)
        items, days = items[is_known], days[is_known]
        if len(days) > k:  # as in `similar`: all that tie with the k-th are kept
            is_kept = days >= np.partition(days, -k)[-k]
            items, days = items[is_kept], days[is_kept]
        order = np.lexsort((items, -days))[:k]
        return Candidates(items[order], days[order].astype(np.float32))


def _group_by_mask(sources: Sequence[Source], constraints: Sequence[Constraints]) -> list[list[int]]:
    """Returns the rows that have something to search with and in, those with the same mask together."""
    groups: dict[Allowed, list[int]] = {}
    for row, source in enumerate(sources):
        allowed = constraints[row].allowed
        if source is not Source.popular and allowed.n_allowed:
            groups.setdefault(allowed, []).append(row)
    return list(groups.values())
