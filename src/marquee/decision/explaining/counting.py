"""How many items each stage of a decision left, and how many each of its filters took away.

Counted anew on the release and the live items at hand: they are no part of the record, which would grow by
them with every answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from marquee.core.arrays import BoolArray, IndexArray
from marquee.core.filters import Clause, Filters
from marquee.core.ids import PADDING_INDEX
from marquee.decision.constraints import Constraints
from marquee.decision.item_pool import ItemPool
from marquee.decision.requests import Decided, Request


class Step(StrEnum):
    """A stage that items can fall out at, in this order."""

    items = "items"  # all there are: of the release, and live ones
    available = "available"  # may be shown at this time, and are not withdrawn
    kind = "kind"  # content or ads, as was asked
    filters = "filters"  # pass the filters of request and surface
    rules = "rules"  # no rule blocks them
    exclusions = "exclusions"  # were not seen before, and are not excluded by the request
    candidates = "candidates"  # were considered
    answer = "answer"  # are in the answer


@dataclass(frozen=True, slots=True)
class StageCount:
    """The items that a stage left."""

    stage: Step
    n_left: int


@dataclass(frozen=True, slots=True)
class FilterCount:
    """The available items of the wanted kind that one filter would take away alone."""

    clause: Clause
    n_removed: int


@dataclass(frozen=True, slots=True)
class Counts:
    """The items of a decision by stage.

    Attributes:
        stages: From all items to the answer.
        filters: In the order of the clauses.
        n_seen: Items that may be shown and were left out because the user had them.
        n_excluded: The same because the request excluded them, or a page showed them above.
    """

    stages: tuple[StageCount, ...]
    filters: tuple[FilterCount, ...]
    n_seen: int
    n_excluded: int


def count_stages(request: Request, seen: IndexArray, decided: Decided, item_pool: ItemPool) -> Counts:
    """Returns the items of a decision by stage.

    Args:
        request: As it was asked.
        seen: item_index of what its user had.
        decided: The outcome.
        item_pool: The items.
    """
    if request.like_item is not None:
        # Whoever asks for items like one is nobody, and is not shown that one.
        seen = item_pool.table.encode([request.like_item])
    constraints = Constraints.of(request, seen, item_pool)
    n_left = int(np.count_nonzero(constraints.flags()))
    n_candidates = min(constraints.n_candidates, n_left)
    if decided.considered is not None:
        n_candidates = len(decided.considered)
    numbers = {
        Step.items: item_pool.table.n_own + item_pool.table.n_added,
        Step.available: item_pool.allowed(None, request.timestamp).n_allowed,
        Step.kind: constraints.n_available,
        Step.filters: constraints.unblocked.n_allowed,
        Step.rules: constraints.allowed.n_allowed,
        Step.exclusions: n_left,
        Step.candidates: n_candidates,
        Step.answer: len(decided.answer.items),
    }
    allowed = constraints.allowed.flags()
    return Counts(
        stages=tuple([StageCount(step, n) for step, n in numbers.items()]),
        filters=tuple(_count_filters(request, item_pool)),
        n_seen=_n_among(allowed, seen) if request.exclude_seen else 0,
        n_excluded=_n_among(allowed, item_pool.table.encode(request.exclude)),
    )


def _count_filters(request: Request, item_pool: ItemPool) -> Sequence[FilterCount]:
    """Returns how many of the available items of the wanted kind each clause takes away alone."""
    if not request.filters:
        return []
    available = item_pool.allowed(request.kind, request.timestamp).flags()
    table = item_pool.table
    counts = []
    for clause in request.filters.clauses:
        # Not by a mask of the catalog: it keeps those, and answers would lose theirs to these.
        alone = Filters((clause,))
        passing = table.own.catalog.passing(alone)
        if table.added is not None:
            passing = np.concatenate((passing, table.added.catalog.passing(alone)[1:]))
        counts.append(FilterCount(clause, int(np.count_nonzero(available & ~passing))))
    return counts


def _n_among(allowed: BoolArray, items: IndexArray) -> int:
    """Returns how many different ones of some items are allowed."""
    distinct = np.unique(items)
    return int(np.count_nonzero(allowed[distinct[distinct != PADDING_INDEX]]))
