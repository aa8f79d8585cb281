"""Composes a page: one pass through the query tower for all of its rows, and no item twice.

```
user, lists ── one batch ── query tower ── row 1 ── row 2 ── …
                                             └────────┴── each excludes what stands above it
```

Decides what a row rests on where its kind finds nothing to go by. Leaves to others how candidates are found
(see `retrieval`) and ordered (see `reranker`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from marquee.core.arrays import IndexArray
from marquee.core.ids import PADDING_INDEX
from marquee.decision.constraints import Candidates, Constraints
from marquee.decision.item_pool import ItemPool
from marquee.decision.pages.rows import Row, RowKind
from marquee.decision.query_encoder import UNREAD, Queries
from marquee.decision.requests import Request, Source
from marquee.decision.reranker import rerank_candidates
from marquee.decision.retrieval import Retriever

_NOTHING: IndexArray = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Composed:
    """The items of one row.

    Attributes:
        candidates: The items, in the order of the row.
        constraints: What they keep.
        source: What they rest on.
        query: Row of the queries that they were found with.
        like: item_index of the item that a `similar` row rests on, 0 for other rows.
        fallback_reason: Why they rest on less than the row's kind promises, else None.
    """

    candidates: Candidates
    constraints: Constraints
    source: Source
    query: int = 0
    like: int = PADDING_INDEX
    fallback_reason: str | None = None


def requests_to_encode(user: Request, rows: Sequence[Row]) -> list[Request]:
    """Returns the requests that go through the tower for a page: the user, then each row's own query."""
    own = []
    for row in rows:
        if row.kind is RowKind.continued:
            # A list stands in place of the history: the row goes on with it, not with the user.
            own.append(replace(row.request, history=row.items))
        elif row.request.query is not None:
            asked = row.request
            own.append(replace(user, query=asked.query, history_weight=asked.history_weight))
    return [user, *own]


class PageComposer:
    """Composes the rows of one page, from the first to the last.

    Args:
        queries: Of `requests_to_encode`.
        item_pool: The items.
        retriever: Finds them.
    """

    def __init__(self, queries: Queries, item_pool: ItemPool, retriever: Retriever) -> None:
        self._queries = queries
        self._item_pool = item_pool
        self._retriever = retriever
        self._shown = _NOTHING
        self._n_own = 0

    def compose(self, row: Row) -> Composed:
        """Returns the next row of the page; what it shows no later one does."""
        composed = {
            RowKind.for_you: self._for_you,
            RowKind.similar: self._similar,
            RowKind.popular: self._popular,
            RowKind.new: self._new,
            RowKind.continued: self._continued,
        }[row.kind](row)
        # Whatever the kind of a later row: these are excluded from it.
        self._shown = np.concatenate((self._shown, composed.candidates.items))
        return composed

    def _for_you(self, row: Row, query: int = 0, hidden: IndexArray = _NOTHING) -> Composed:
        """Returns the best items for a query, popular ones if there is nothing to search with."""
        if row.request.query is not None:
            query = self._next_own()
        constraints = self._constraints(row, hidden)
        source, reason = self._queries.sources[query], UNREAD if self._queries.unread[query] else None
        look_further: Callable[[Constraints], Candidates] = partial(self._search, query)
        found = look_further(constraints)
        if not len(found.items):
            look_further = self._retriever.popular
            found = look_further(constraints)
            if source is not Source.popular and len(found.items):
                source, reason = Source.popular, f"the embedding of this {source} row is not finite"
        return self._composed(found, constraints, look_further, source, query=query, reason=reason)

    def _continued(self, row: Row) -> Composed:
        """Returns the row that follows a list; none of it comes back."""
        query = self._next_own()
        return self._for_you(row, query, self._queries.seen[query])

    def _next_own(self) -> int:
        """Returns the query of the next row that has one of its own."""
        # Row 0 of the queries is the user; the others follow in the order of their rows.
        self._n_own += 1
        return self._n_own

    def _popular(self, row: Row) -> Composed:
        """Returns the items that are popular in the context of the row."""
        constraints = self._constraints(row)
        look_further = self._retriever.popular
        return self._composed(look_further(constraints), constraints, look_further, Source.popular)

    def _new(self, row: Row) -> Composed:
        """Returns the items that have been shown for the shortest time."""
        constraints = self._constraints(row)
        look_further = self._retriever.newest
        return self._composed(look_further(constraints), constraints, look_further, Source.new)

    def _similar(self, row: Row) -> Composed:
        """Returns items like one, none if there is none that they could be like."""
        item = self._item_of(row)
        # The item itself is hidden: it would be the most alike.
        constraints = self._constraints(row, np.array([item]))
        if item == PADDING_INDEX:
            told = "the history holds no item" if row.item_id is None else f"{row.item_id!r} is no item"
            why = f"{told} of bundle {self._item_pool.bundle.version} that others could be like"
            return Composed(Candidates.none(), constraints, Source.similar, fallback_reason=why)
        source, reason = Source.similar, None
        look_further: Callable[[Constraints], Candidates] = partial(self._retriever.similar, item)
        if not self._retriever.has_direction(item):
            source, reason = (
                Source.popular,
                f"{self._item_pool.table.decode(np.array([item]))[0]!r} has no embedding",
            )
            look_further = self._retriever.popular
        found = look_further(constraints)
        return self._composed(found, constraints, look_further, source, like=item, reason=reason)

    def _item_of(self, row: Row) -> int:
        """Returns the item that a `similar` row rests on, 0 if there is none."""
        if row.item_id is not None:
            return self._item_pool.table.index(row.item_id)
        seen = self._queries.seen[0]
        known = seen[seen != PADDING_INDEX]
        # Oldest first: the last is the latest.
        return int(known[-1]) if len(known) else PADDING_INDEX

    def _constraints(self, row: Row, hidden: IndexArray = _NOTHING) -> Constraints:
        """Returns the constraints of a row: its own, and that nothing comes twice."""
        own = Constraints.of(row.request, self._queries.seen[0], self._item_pool)
        # What is on the page already counts for every kind of row, popular and new ones too.
        return replace(own, exclusions=np.concatenate((own.exclusions, hidden, self._shown)))

    def _search(self, query: int, constraints: Constraints) -> Candidates:
        """Returns the candidates of one query, none if it has nothing to search with."""
        return self._retriever.search_row(self._queries, query, constraints)

    def _composed(
        self,
        found: Candidates,
        constraints: Constraints,
        look_further: Callable[[Constraints], Candidates],
        source: Source,
        *,
        query: int = 0,
        like: int = PADDING_INDEX,
        reason: str | None = None,
    ) -> Composed:
        """Returns a row of candidates in the order that it wants."""
        chosen = rerank_candidates(found, constraints, self._item_pool, look_further)
        return Composed(chosen, constraints, source, query, like, reason)
