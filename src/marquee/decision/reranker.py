"""Re-ranks the candidates of a request, with more of them where its rules leave the answer short.

Decides how far to look. Leaves to others how candidates are ordered (see `arranging`), by whom they are drawn
(see `policies`) and where they come from (see `retrieval`).
"""

from collections.abc import Callable
from dataclasses import replace

from marquee.core.arrays import IndexArray
from marquee.decision.arranging import CandidateTable, arrange, codes_of, rerank
from marquee.decision.constraints import Candidates, Constraints
from marquee.decision.item_pool import ItemPool
from marquee.decision.policies.choosing import build_chooser
from marquee.decision.policies.config import PolicyName
from marquee.decision.policies.thompson import ClickCounts
from marquee.decision.requests import Request
from marquee.decision.reranking import MAX_CANDIDATES, Reranking
from marquee.errors import DataError

# Few rounds up to `MAX_CANDIDATES`: each one searches again.
_WIDENING_FACTOR = 5


def rerank_candidates(
    found: Candidates,
    constraints: Constraints,
    item_pool: ItemPool,
    look_further: Callable[[Constraints], Candidates],
) -> Candidates:
    """Returns the candidates that become the answer, in its order; `found` itself without re-ranking.

    Args:
        found: Best first.
        constraints: Of the request.
        item_pool: Holds the vectors and attributes of the candidates.
        look_further: Returns more candidates for constraints that consider more.

    Raises:
        DataError: If re-ranking names an attribute that the catalog does not have.
    """
    config = constraints.reranking
    if config is None:
        return found
    request = constraints.request
    while True:
        table = candidate_table(config, found, item_pool)
        is_all = len(found.items) < constraints.n_candidates or constraints.n_candidates >= MAX_CANDIDATES
        # Trap: were it the drawn list that decides how far to look, its propensities would be those of lists
        # that happened to be long enough (test_how_far_to_look_does_not_depend_on_what_is_drawn).
        if request.explores and (is_all or not config.rule_attributes):
            return _drawn(found, constraints, config, table, item_pool)
        chosen = rerank(config, table, constraints.k, request.timestamp)
        if len(chosen) >= constraints.k or is_all:
            if request.explores:
                return _drawn(found, constraints, config, table, item_pool)
            return _chosen(found, config, chosen)
        # Caps and spacing left places empty: candidates further down may fill them.
        n_widened = min(constraints.n_candidates * _WIDENING_FACTOR, MAX_CANDIDATES)
        constraints = replace(constraints, n_widened=n_widened)
        found = look_further(constraints)


def click_counts(request: Request, found: Candidates, item_pool: ItemPool) -> ClickCounts | None:
    """Returns the counts of earlier exposures of the candidates on the surface of a request.

    Returns:
        None for a policy that does not ask.

    Raises:
        DataError: If the policy asks and the bundle does not say.
    """
    if not (request.explores and request.exploration.policy is PolicyName.thompson):
        return None
    table = item_pool.bundle.click_counts
    if table is None:
        raise DataError(
            f"policy thompson draws by click counts, got none in bundle {item_pool.bundle.version}; publish "
            "one of python -m training.loop, and choose softmax until then"
        )
    # Live items are beyond the items of the bundle: none of them was ever counted.
    return ClickCounts(*table.on(request.surface).of(found.items))


def _drawn(
    found: Candidates, constraints: Constraints, config: Reranking, table: CandidateTable, item_pool: ItemPool
) -> Candidates:
    """Returns the candidates that the policy of the request draws, with their propensities."""
    request = constraints.request
    counts = click_counts(request, found, item_pool)
    chooser = build_chooser(request.exploration, request.decision_id, counts)
    drawn = arrange(config, table, constraints.k, request.timestamp, chooser)
    return replace(_chosen(found, config, drawn.positions), propensities=drawn.propensities)


def _chosen(found: Candidates, config: Reranking, positions: IndexArray) -> Candidates:
    """Returns the candidates at some positions."""
    return replace(
        found,
        items=found.items[positions],
        scores=found.scores[positions],
        reranked=config.steps,
        n_considered=len(found.items),
    )


def candidate_table(config: Reranking, found: Candidates, item_pool: ItemPool) -> CandidateTable:
    """Returns the candidates with the columns that re-ranking reads.

    Raises:
        DataError: If re-ranking names an attribute that the catalog does not have.
    """
    items = found.items
    # None where nothing reads it, like the vectors: fetching a column of all candidates costs.
    births = item_pool.table.moments(config.freshness_attribute, items) if config.freshness_weight else None
    return CandidateTable(
        scores=found.scores,
        vectors=item_pool.table.directions(items) if config.diversity else None,
        codes={name: codes_of(item_pool.table.values(name, items)) for name in config.rule_attributes},
        births=births,
    )
