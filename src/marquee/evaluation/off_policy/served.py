"""A service as a candidate: how probable its policy finds answers that a log shows, place by place.

What a surface would do is asked of the recommender that answers it: its candidates, its rules and re-ranking,
its policy. Nothing is drawn.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from marquee.core.arrays import Float64Array
from marquee.decision.constraints import Constraints
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Request
from marquee.decision.reranker import spread_candidates

_BATCH = 256
"""Requests that pass the tower together."""


def spread_answers(
    recommender: Recommender, requests: Sequence[Request], answers: Sequence[Sequence[str]]
) -> Iterator[tuple[tuple[str, ...], Float64Array]]:
    """Yields the candidates of each request, and how probable each is at each place of a given answer.

    Args:
        recommender: Of the release that would answer.
        requests: With policy, rules and `decision_id`, from which all that is random follows.
        answers: Items that each request was shown, in their order; any, also unknown ones.

    Yields:
        Ids of the candidates, and their probabilities, (n_places, n_candidates), given the places above.
    """
    for start in range(0, len(requests), _BATCH):
        rows = slice(start, start + _BATCH)
        yield from _spread_batch(recommender, requests[rows], answers[rows])


def _spread_batch(
    recommender: Recommender, requests: Sequence[Request], answers: Sequence[Sequence[str]]
) -> Iterator[tuple[tuple[str, ...], Float64Array]]:
    """Yields the same for requests that pass tower and index together, as those of a service do."""
    queries = recommender.queries.encode(requests)
    pool, retriever = recommender.item_pool, recommender.retriever
    constraints = [Constraints.of(one, seen, pool) for one, seen in zip(requests, queries.seen, strict=True)]
    found = retriever.search(queries, constraints)

    for row, (own, shown) in enumerate(zip(constraints, answers, strict=True)):
        # As `Recommender` does: without candidates of a search, popular items are the candidates.
        look_further = partial(retriever.search_row, queries, row) if row in found else retriever.popular
        candidates = found.get(row) or look_further(own)
        indices = pool.table.encode(list(shown)).astype(np.int64)
        items, chances = spread_candidates(candidates, own, pool, look_further, indices)
        yield tuple(pool.table.decode(items)), chances
