"""The cost of a request, estimated before it is answered, in plain requests.

A plain request asks for ten items and takes about 0.15 ms of the model's thread. The constants say how much
of each costs one more, measured with 10,000 items and vectors of 64 numbers: a limit needs the order of
magnitude and no more.
"""

from collections.abc import Sequence
from dataclasses import replace

from marquee.core.filters import Clause
from marquee.decision.pages.rows import Row
from marquee.decision.requests import Request

_BASE = 0.5  # what is left of a plain request for k, history and the like: those up to usual sizes are plain
_ITEMS = 250.0
_HISTORY = 1000.0
_EXCLUDED = 1000.0
_FILTER_VALUES = 100.0
_CANDIDATES = 75.0
_WORDS = 1.0  # one plain request
_COMPARED_PAIRS = 5000.0


def cost_of(request: Request) -> float:
    """Estimates the cost of a request in plain requests, 1 or more.

    Args:
        request: Within the operator's limits.
    """
    cost = _BASE + request.k / _ITEMS + len(request.history) / _HISTORY + len(request.exclude) / _EXCLUDED
    cost += _WORDS if request.query is not None else 0.0
    cost += sum(map(_n_values, request.filters.clauses)) / _FILTER_VALUES
    if request.reranks:
        n_candidates = max(request.k, request.reranking.n_candidates)
        cost += n_candidates / _CANDIDATES
        if request.reranking.diversity is not None:  # every place is compared with every candidate
            cost += request.k * n_candidates / _COMPARED_PAIRS
    return max(1.0, cost)


def cost_of_page(user: Request, rows: Sequence[Row]) -> float:
    """Returns the cost of a page, in plain requests: the user once, and each row."""
    return cost_of(user) + sum(cost_of(replace(row.request, history=row.items)) for row in rows)


def _n_values(clause: Clause) -> int:
    """Returns how many values a clause of a filter compares an item with."""
    return 1 + len(clause.any_of) + len(clause.all_of) + len(clause.none_of)
