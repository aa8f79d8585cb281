"""The constraints of one answer, and the candidates that keep them.

Decides which items a request excludes and how an answer explains that it is short. Leaves to others where
candidates come from (see `retrieval`) and their final order (see `reranker`).
"""

from dataclasses import dataclass

import numpy as np

from marquee.core.arrays import BoolArray, Float64Array, FloatArray, IndexArray
from marquee.core.catalog import ItemKind
from marquee.decision.item_pool import Allowed, ItemPool
from marquee.decision.requests import Request
from marquee.decision.reranking import Reranking


@dataclass(frozen=True, slots=True)
class Constraints:
    """How many items are wanted and which may be returned.

    Attributes:
        k: How many items are wanted.
        kind: Of which kind, None for both.
        n_available: Number of available items of that kind.
        allowed: Those of them that pass the filters.
        exclusions: Items that must not be returned all the same, any order, 0 and repetition possible.
        request: The request.
        n_widened: Number of candidates to consider where the usual number was too few.
    """

    k: int
    kind: ItemKind | None
    n_available: int
    allowed: Allowed
    exclusions: IndexArray
    request: Request
    n_widened: int = 0

    @classmethod
    def of(cls, request: Request, seen: IndexArray, item_pool: ItemPool) -> "Constraints":
        """Returns the constraints of a request whose user has seen some items, (n_seen,) int64."""
        # The item that others are to be like is no answer, whether it was seen or not.
        exclusions = seen if request.exclude_seen or request.like_item is not None else seen[:0]
        if request.exclude:
            exclusions = np.concatenate((exclusions, item_pool.table.encode(request.exclude)))
        # Without filters first: a short answer tells how many items they took away.
        available = item_pool.allowed(request.kind, request.timestamp)
        allowed = available
        if request.filters:
            allowed = item_pool.allowed(request.kind, request.timestamp, request.filters)
        return cls(request.k, request.kind, available.n_allowed, allowed, exclusions, request)

    @property
    def reranking(self) -> Reranking | None:
        """How the candidates become the answer, None if they are it."""
        return self.request.reranking if self.request.reranks else None

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

    def short_reason(self, found: "Candidates") -> str | None:
        """Returns why there are fewer items than wanted, None if there are enough."""
        n_returned = len(found.items)
        if n_returned >= self.k:
            return None
        # There were candidates enough: caps and spacing refused them.
        if n_returned < found.n_considered:
            return (
                f"caps and spacing permit {n_returned} of the {found.n_considered} best items that may be "
                f"returned, {self.k} were requested"
            )
        # Of what is allowed alone, each once: an item that is filtered out anyway took no place.
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
class Candidates:
    """Items and scores, best first.

    Attributes:
        items: item_index, (n_candidates,) int64, never 0.
        scores: (n_candidates,) float32, finite.
        popular_in: As in `Answer`.
        reranked: As in `Answer`.
        n_considered: Number of candidates that re-ranking chose among, 0 without re-ranking.
        propensities: As in `Decided`.
    """

    items: IndexArray
    scores: FloatArray
    popular_in: str | None = None
    reranked: tuple[str, ...] = ()
    n_considered: int = 0
    propensities: Float64Array | None = None

    @classmethod
    def none(cls) -> "Candidates":
        """Returns no candidates."""
        return cls(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))
