"""Ads that a request may be answered with: found by relevance under a mask, and how likely each is clicked.

Decides which ads are candidates. Leaves to others what each bids (see `marquee.ads`), and whether a place is
sold at all.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from marquee.core.arrays import Float64Array, IndexArray
from marquee.core.catalog import ItemKind
from marquee.decision.constraints import Candidates, Constraints
from marquee.decision.item_pool import ItemPool
from marquee.decision.policies.config import NO_EXPLORATION
from marquee.decision.probabilities.scoring import ProbabilityScorer
from marquee.decision.query_encoder import Queries
from marquee.decision.requests import AdCandidates, AdSearch, Request
from marquee.decision.reranking import NO_RERANKING
from marquee.decision.retrieval import Retriever

PRIOR_CLICKS, PRIOR_SHOWN = 1.0, 100.0
"""Added to the counts of an ad where a bundle has no click head: a click in a hundred until more is known."""

_NOTHING: Float64Array = np.zeros(0)


class _Chances(NamedTuple):
    """Probabilities of a click, and of a conversion after an impression, (n,) float64 each."""

    click: Float64Array
    conversion: Float64Array


class AdFinder:
    """Finds ads among the items of a pool. Several threads may ask at a time.

    Args:
        item_pool: The items of a bundle, and the live ones.
        retriever: Finds candidates.
        scorer: Asks the click head of the bundle; None where it has none.
    """

    def __init__(self, item_pool: ItemPool, retriever: Retriever, scorer: ProbabilityScorer | None) -> None:
        self._item_pool = item_pool
        self._retriever = retriever
        self._scorer = scorer

    def find(
        self, request: Request, search: AdSearch, queries: Queries, row: int, content: Candidates
    ) -> AdCandidates:
        """Returns the ads that may stand in the answer to a request.

        Args:
            request: What is asked.
            search: Which ads may be found, and where they would stand.
            queries: The batch that the request was encoded in.
            row: Of the request in it.
            content: The answer without ads.
        """
        found = self._found(request, search, queries, row)
        # All at one place: an ad is compared with content, and ads with each other, as if they stood there.
        place = search.places[0] + 1 if search.places else 1
        chances = self._chances(request, queries, row, found.items, place)
        is_whole = np.isfinite(chances.click) & np.isfinite(chances.conversion)
        items = found.items[is_whole]
        displaced = content.items[[one for one in search.places if one < len(content.items)]]
        of_content, n_unknown = _sure_where_broken(self._chances(request, queries, row, displaced, place))
        return AdCandidates(
            items,
            self._item_pool.table.decode(items),
            found.scores[is_whole],
            chances.click[is_whole],
            chances.conversion[is_whole],
            of_content.click,
            of_content.conversion,
            int(np.count_nonzero(~is_whole)) + n_unknown,
        )

    def _found(self, request: Request, search: AdSearch, queries: Queries, row: int) -> Candidates:
        """Returns the most relevant ads, or the most popular where there is nothing to go by."""
        asked = replace(
            request,
            kind=ItemKind.ad,
            k=search.n_candidates,
            reranking=NO_RERANKING,
            exploration=NO_EXPLORATION,
            # How often somebody sees an ad is for its caps to say.
            exclude_seen=False,
        )
        constraints = Constraints.of(asked, queries.seen[row], self._item_pool)
        allowed = self._item_pool.among(constraints.allowed, search.creatives(self._item_pool.table))
        # Pins and boosts arrange content; blocks are in the mask.
        constraints = replace(constraints, allowed=allowed, ruling=None)
        if not allowed.n_allowed:
            return Candidates.none()
        found = self._retriever.search_row(queries, row, constraints)
        return found if len(found.items) else self._retriever.popular(constraints)

    def _chances(
        self, request: Request, queries: Queries, row: int, items: IndexArray, place: int
    ) -> _Chances:
        """Returns the probabilities of items at a place, from 1."""
        if not len(items):
            return _Chances(_NOTHING, _NOTHING)
        if self._scorer is None:
            return self._counted(request, items)
        places = self._scorer.place(request.surface, place, len(items))
        said = self._scorer.probabilities(request, queries, row, items, places)
        click = said.click.astype(np.float64)
        # The head says how many clicks convert; a conversion is paid for by the impression that led to it.
        return _Chances(click, click * said.conversion.astype(np.float64))

    def _counted(self, request: Request, items: IndexArray) -> _Chances:
        """Returns probabilities by how often each item was shown and clicked on the surface."""
        table = self._item_pool.bundle.click_counts
        clicked = shown = np.zeros(len(items))
        if table is not None:
            clicked, shown = table.on(request.surface).of(items)
        click = (clicked + PRIOR_CLICKS) / (shown + PRIOR_SHOWN)
        return _Chances(click, click * PRIOR_CLICKS / PRIOR_SHOWN)


def _sure_where_broken(chances: _Chances) -> tuple[_Chances, int]:
    """Returns probabilities of content, and how many were not finite.

    Nobody can tell what such content is worth: it counts as sure to be clicked, and keeps its place.
    """
    is_whole = np.isfinite(chances.click) & np.isfinite(chances.conversion)
    sure = _Chances(np.where(is_whole, chances.click, 1.0), np.where(is_whole, chances.conversion, 1.0))
    return sure, int(np.count_nonzero(~is_whole))
