"""Asks the head of a bundle about candidates of a request, live items among them.

Decides what of a user the head may read: under a tier other than `personal` neither embedding nor past. Does
not decide what becomes of a probability that is not finite (see `ClickProbabilities.is_finite`).
"""

from collections.abc import Sequence

import numpy as np

from marquee.bundle.clicks.head import Asker, ClickHead, ClickProbabilities, ScoredItems
from marquee.core.arrays import FloatArray, IndexArray
from marquee.core.catalog import ItemKind
from marquee.core.ids import PADDING_INDEX
from marquee.decision.item_pool import ItemPool
from marquee.decision.new_items import encode_items
from marquee.decision.query_encoder import Queries
from marquee.decision.requests import Request
from marquee.store.live_items import LiveItem
from marquee.store.people.consent import Tier

_Row = tuple[LiveItem, IndexArray, FloatArray]


class ProbabilityScorer:
    """Asks the head of a bundle. Several threads may ask at a time.

    Args:
        item_pool: The bundle, which must have a head, and the live items.
    """

    def __init__(self, item_pool: ItemPool) -> None:
        head = item_pool.bundle.click_head
        assert head is not None, "a scorer needs a bundle with a click head; see `Recommender.probabilities`"
        self.head: ClickHead = head
        self._item_pool = item_pool
        # Written by whichever thread comes first; two that come together write the same.
        self._live: dict[str, _Row] = {}

    def over(self, item_pool: ItemPool) -> "ProbabilityScorer":
        """Returns the same scorer for the same bundle with other live items."""
        other = ProbabilityScorer(item_pool)
        other._live = self._live
        return other

    def places(self, surface: str | None, positions: Sequence[int]) -> IndexArray:
        """Returns the numbers of positions, from 1, on a surface, (n,) int64."""
        return np.array([self.head.places.index(surface, position) for position in positions], np.int64)

    def place(self, surface: str | None, position: int, n: int) -> IndexArray:
        """Returns the number of one position n times: see `places`."""
        return np.full(n, self.head.places.index(surface, position), dtype=np.int64)

    def probabilities(
        self, request: Request, queries: Queries, row: int, items: IndexArray, places: IndexArray
    ) -> ClickProbabilities:
        """Returns the probabilities of candidates.

        Args:
            request: Whose candidates they are.
            queries: The batch that the request was encoded in.
            row: Of the request in it.
            items: item_index of the pool, (n,); never 0.
            places: Where each would stand, (n,): see `places`.
        """
        asker = asker_of(request, queries, row)
        return self.head.probabilities(asker, self.candidates(items), places)

    def candidates(self, items: IndexArray) -> ScoredItems:
        """Returns items of the pool as the head reads them: the same for every place and user."""
        n_own = self._item_pool.table.n_own
        is_live = items > n_own
        if not is_live.any():
            return self.head.own_items(items)
        found = self.head.own_items(np.where(is_live, PADDING_INDEX, items))
        found.vectors[is_live] = self._item_pool.table.vectors(items[is_live])
        for place, item_id in zip(
            np.flatnonzero(is_live).tolist(), self._item_pool.table.decode(items[is_live]), strict=True
        ):
            _, found.slots[place], found.numbers[place] = self._live_row(item_id)
        return found

    def _live_row(self, item_id: str) -> _Row:
        """Returns the features of a live item, encoded once."""
        item = self._item_pool.live_item(item_id)
        row = self._live.get(item_id)
        if row is None or row[0] is not item:
            features = encode_items(self._item_pool.bundle, [item])
            slots, numbers = self.head.item_rows(features, np.array([item.kind is ItemKind.ad]))
            row = self._live[item_id] = (item, slots[0], numbers[0])
        return row


def asker_of(request: Request, queries: Queries, row: int) -> Asker:
    """Returns the part of a request that the head may read."""
    is_personal = request.tier is Tier.personal
    # Of a request with nothing to go by the embedding is zeros, which would be a score as any other.
    has_embedding = queries.is_embedded[row]
    return Asker(
        user=queries.users[row] if is_personal else PADDING_INDEX,
        embedding=queries.embeddings[row] if is_personal and has_embedding else None,
        tokens=queries.features[row].tokens,
        timestamp=request.timestamp,
    )
