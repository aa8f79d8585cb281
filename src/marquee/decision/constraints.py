"""The constraints of one answer, and the candidates that keep them.

Decides which items a request excludes and how an answer explains that it is short. Leaves to others where
candidates come from (see `retrieval`) and their final order (see `reranker`).
"""

from dataclasses import dataclass, replace

import numpy as np

from marquee.core.arrays import BoolArray, Float64Array, FloatArray, IndexArray
from marquee.core.catalog import ItemKind
from marquee.core.ids import PADDING_INDEX
from marquee.decision.item_pool import Allowed, ItemPool
from marquee.decision.requests import Request, RuleNotApplied
from marquee.decision.reranking import MAX_CANDIDATES, NO_RERANKING, Reranking
from marquee.decision.rules.ruling import Ruling

# Candidates that rules boost among, where neither request nor surface re-ranks.
_BOOSTED_PER_ITEM, _MIN_BOOSTED = 4, 50


@dataclass(frozen=True, slots=True)
class Constraints:
    """How many items are wanted and which may be returned.

    Attributes:
        k: How many items are wanted.
        kind: Of which kind, None for both.
        n_available: Number of available items of that kind.
        allowed: Those of them that pass the filters and are not blocked.
        unblocked: Those that pass the filters; the same object where no rule blocks.
        exclusions: Items that must not be returned all the same, any order, 0 and repetition possible.
        request: The request.
        ruling: The rules that hold, None for none.
        n_widened: Number of candidates to consider where the usual number was too few.
        listed: The only items that are asked for, few, which may be returned; None for all that may.
    """

    k: int
    kind: ItemKind | None
    n_available: int
    allowed: Allowed
    unblocked: Allowed
    exclusions: IndexArray
    request: Request
    ruling: Ruling | None = None
    n_widened: int = 0
    listed: IndexArray | None = None

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
        unblocked, ruling = allowed, None
        if request.rules:
            ruling = item_pool.ruling(request.rules)
            allowed = item_pool.without_blocked(unblocked, ruling)
        n_available = available.n_allowed
        return cls(request.k, request.kind, n_available, allowed, unblocked, exclusions, request, ruling)

    @property
    def reranking(self) -> Reranking | None:
        """How the candidates become the answer, None if they are it."""
        boosts = self.ruling is not None and self.ruling.boosts
        return self.request.reranking if boosts or self.request.reranks else None

    @property
    def n_candidates(self) -> int:
        """How many of the best items are considered."""
        config = self.reranking
        # Those that are pinned may be among the best, and leave as many places to others.
        least = self.k + (len(self.ruling.pins) if self.ruling is not None else 0)
        if config is None:
            return least
        if config is NO_RERANKING:
            # Rules alone re-rank here: a search for hundreds would cost more than all that they do.
            return max(least, min(_BOOSTED_PER_ITEM * self.k, MAX_CANDIDATES), _MIN_BOOSTED, self.n_widened)
        return max(least, config.n_candidates, self.n_widened)

    def reason_against(self, item: int, item_pool: ItemPool) -> str | None:
        """Returns why an item may not be returned, the weightiest reason first; None if it may.

        Args:
            item: item_index, 0 for an item that there is not.
            item_pool: The items.
        """
        if self.allowed.permits(item):
            # Last, as a request may exclude what nobody may have.
            return "was seen, or is excluded by the request" if (self.exclusions == item).any() else None
        if item == PADDING_INDEX:
            return f"is no item of release {item_pool.bundle.version}"
        if self.ruling is not None and self.ruling.is_blocked(item):
            return "is blocked by a rule"
        if not item_pool.allowed(None, self.request.timestamp).permits(item):
            return "is withdrawn, or not available at this time"
        if not item_pool.allowed(self.kind, self.request.timestamp).permits(item):
            return f"is not of kind {self.kind}"
        return "does not pass the filters of the request"

    def alone(self, items: IndexArray) -> "Constraints":
        """Returns the constraints of a request for some items alone, which may be returned."""
        return replace(self, k=len(items), listed=items, ruling=None)

    def applied(self, found: "Candidates") -> tuple[str, ...]:
        """Returns the ids of the rules that had an effect on an answer, in the order of their set."""
        if self.ruling is None:
            return ()
        blocking: list[str] = []
        if self.ruling.active.blocks:
            blocking = self.ruling.blocking(self.unblocked.own, self.unblocked.added)
        return self.ruling.in_order([*blocking, *found.rules])

    def flags(self) -> BoolArray:
        """Returns which items may be returned, (n_items + m + 1,) bool: a copy to be written to."""
        flags = self.allowed.flags()
        if self.listed is not None:
            flags.fill(False)
            flags[self.listed] = True
        else:
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
        n_filtered = self.n_available - self.unblocked.n_allowed
        n_blocked = self.unblocked.n_allowed - self.allowed.n_allowed
        filtered = f", {n_filtered} of them do not pass the filters" if n_filtered else ""
        if n_blocked:
            filtered += f", rules block {n_blocked} of {'the others' if n_filtered else 'them'}"
        rest = "the others" if n_filtered or n_blocked else "them"
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
        considered: As in `Decided`.
        rules: Ids of the rules that pin or boost and had an effect.
        rules_not_applied: As in `Answer`.
    """

    items: IndexArray
    scores: FloatArray
    popular_in: str | None = None
    reranked: tuple[str, ...] = ()
    n_considered: int = 0
    propensities: Float64Array | None = None
    considered: FloatArray | None = None
    rules: tuple[str, ...] = ()
    rules_not_applied: tuple[RuleNotApplied, ...] = ()

    def first(self, k: int) -> "Candidates":
        """Returns the k best."""
        return self if len(self.items) <= k else replace(self, items=self.items[:k], scores=self.scores[:k])

    def followed_by(self, others: "Candidates") -> "Candidates":
        """Returns these and then others."""
        if not len(others.items):
            return self
        items = np.concatenate((self.items, others.items))
        return replace(self, items=items, scores=np.concatenate((self.scores, others.scores)))

    @classmethod
    def none(cls) -> "Candidates":
        """Returns no candidates."""
        return cls(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))
