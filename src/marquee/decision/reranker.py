"""Re-ranks the candidates of a request, with more of them where its rules leave the answer short.

Decides how far to look. Leaves to others how candidates are ordered (see `arranging`), by whom they are drawn
(see `policies`) and where they come from (see `retrieval`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from marquee.core.arrays import Float64Array, IndexArray
from marquee.decision.arranging import NO_PINS, CandidateTable, arrange, codes_of, spreads_of
from marquee.decision.constraints import Candidates, Constraints
from marquee.decision.item_pool import ItemPool
from marquee.decision.policies.choosing import GREEDY, build_chooser
from marquee.decision.policies.config import PolicyName
from marquee.decision.policies.thompson import ClickCounts
from marquee.decision.requests import Request
from marquee.decision.reranking import MAX_CANDIDATES, NO_RERANKING, Reranking
from marquee.decision.rules.pinning import standing_pins
from marquee.decision.rules.ruling import PinnedItem, Ruling
from marquee.errors import DataError

# Few rounds up to `MAX_CANDIDATES`: each one searches again.
_WIDENING_FACTOR = 5


def rerank_candidates(
    found: Candidates,
    constraints: Constraints,
    item_pool: ItemPool,
    look_further: Callable[[Constraints], Candidates],
) -> Candidates:
    """Returns the candidates that become the answer, in its order; `found` itself if nothing changes it.

    Args:
        found: Best first.
        constraints: Of the request.
        item_pool: Holds the vectors and attributes of the candidates.
        look_further: Returns more candidates for constraints that consider more, or others.

    Raises:
        DataError: If re-ranking names an attribute that the catalog does not have.
    """
    if constraints.ruling is None:
        return _reranked(found, constraints, item_pool, look_further)
    pins = constraints.ruling.pins
    standing = standing_pins(pins, constraints.k, lambda item: constraints.reason_against(item, item_pool))
    chosen = _reranked(found, constraints, item_pool, look_further, standing.pins)
    applied, moved = standing.seated(chosen.items.tolist())
    return replace(
        chosen,
        rules=(*chosen.rules, *applied),
        rules_not_applied=(*standing.refused, *moved, *constraints.ruling.idle),
    )


def _reranked(
    found: Candidates,
    constraints: Constraints,
    item_pool: ItemPool,
    look_further: Callable[[Constraints], Candidates],
    pins: Sequence[PinnedItem] = (),
) -> Candidates:
    """Returns the candidates that become the answer, with some of them at places of their own."""
    if constraints.reranking is None and not pins:
        return found.first(constraints.k)
    seen = _consider(found, constraints, item_pool, look_further, pins)
    request = constraints.request
    if not request.explores:
        assert seen.best is not None, "an answer that is not drawn is the best one"
        return _chosen(seen, seen.best)
    chooser = build_chooser(
        request.exploration, request.decision_id, click_counts(request, seen.listed, item_pool)
    )
    drawn = arrange(seen.config, seen.table, constraints.k, request.timestamp, chooser, seen.pinned)
    return replace(_chosen(seen, drawn.positions), propensities=drawn.propensities)


def spread_candidates(
    found: Candidates,
    constraints: Constraints,
    item_pool: ItemPool,
    look_further: Callable[[Constraints], Candidates],
    shown: IndexArray,
) -> tuple[IndexArray, Float64Array]:
    """Returns the candidates that an answer is chosen among, and their probabilities at each place of one.

    Args:
        found: As in `rerank_candidates`, and so are constraints, item_pool and look_further.
        constraints: As above.
        item_pool: As above.
        look_further: As above.
        shown: item_index at each place of the answer, (n_places,); any item.

    Returns:
        item_index of the candidates, (n_candidates,), and (n_places, n_candidates), given the places above.
    """
    pins: Sequence[PinnedItem] = ()
    if constraints.ruling is not None:
        reason = partial(constraints.reason_against, item_pool=item_pool)
        pins = standing_pins(constraints.ruling.pins, constraints.k, reason).pins
    seen = _consider(found, constraints, item_pool, look_further, pins)
    request, items = constraints.request, seen.listed.items
    chooser = build_chooser(
        request.exploration, request.decision_id, click_counts(request, seen.listed, item_pool)
    )
    place_of = {item: place for place, item in enumerate(items.tolist())}
    positions = np.array([place_of.get(item, -1) for item in shown.tolist()], dtype=np.int64)
    return items, spreads_of(seen.config, seen.table, positions, request.timestamp, chooser, seen.pinned)


class _Considered(NamedTuple):
    """The candidates that an answer is chosen among.

    Attributes:
        listed: The candidates; those that only pins bring stand behind.
        n_ranked: How many of them are compared.
        constraints: With which they were found.
        config: How they are re-ranked.
        table: They with what re-ranking reads.
        pinned: Position of a candidate by place.
        best: The answer that is not drawn; None where nothing asked for it.
    """

    listed: Candidates
    n_ranked: int
    constraints: Constraints
    config: Reranking
    table: CandidateTable
    pinned: Mapping[int, int]
    best: IndexArray | None


def _consider(
    found: Candidates,
    constraints: Constraints,
    item_pool: ItemPool,
    look_further: Callable[[Constraints], Candidates],
    pins: Sequence[PinnedItem],
) -> _Considered:
    """Returns the candidates that an answer is chosen among, with more where rules leave it short."""
    config = constraints.reranking or NO_RERANKING
    request = constraints.request
    missing = _missing_pins(pins, found, constraints, look_further) if pins else Candidates.none()
    while True:
        # Behind all others: they take part in no comparison.
        listed, n_ranked = found.followed_by(missing), len(found.items)
        pinned = _positions(pins, listed)
        table = replace(candidate_table(config, listed, item_pool, constraints.ruling), n_ranked=n_ranked)
        is_all = len(found.items) < constraints.n_candidates or constraints.n_candidates >= MAX_CANDIDATES
        best: IndexArray | None = None
        # Trap: were it the drawn list that decides how far to look, its propensities would be those of lists
        # that happened to be long enough (test_how_far_to_look_does_not_depend_on_what_is_drawn).
        if not (request.explores and (is_all or not config.rule_attributes)):
            best = arrange(config, table, constraints.k, request.timestamp, GREEDY, pinned).positions
            if not (len(best) >= constraints.k or is_all):
                # Caps and spacing left places empty: candidates further down may fill them.
                n_widened = min(constraints.n_candidates * _WIDENING_FACTOR, MAX_CANDIDATES)
                constraints = replace(constraints, n_widened=n_widened)
                found = look_further(constraints)
                continue
        return _Considered(listed, n_ranked, constraints, config, table, pinned, best)


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


def _missing_pins(
    pins: Sequence[PinnedItem],
    found: Candidates,
    constraints: Constraints,
    look_further: Callable[[Constraints], Candidates],
) -> Candidates:
    """Returns the pinned items that are no candidates, with the scores that they would have as such."""
    known = set(found.items.tolist())
    items = np.array([pin.item for pin in pins if pin.item not in known], dtype=np.int64)
    if not len(items):
        return Candidates.none()
    scored = look_further(constraints.alone(items))
    score_of = dict(zip(scored.items.tolist(), scored.scores.tolist(), strict=True))
    # Not each has one: the newest items are found by a birth, which a pinned one may lack.
    scores = np.array([score_of.get(item, 0.0) for item in items.tolist()], dtype=np.float32)
    return Candidates(items, scores)


def _positions(pins: Sequence[PinnedItem], listed: Candidates) -> Mapping[int, int]:
    """Returns where the item of each pinned place stands among the candidates."""
    if not pins:
        return NO_PINS
    position_of = {item: position for position, item in enumerate(listed.items.tolist())}
    return {pin.place: position_of[pin.item] for pin in pins}


def _chosen(seen: _Considered, positions: IndexArray) -> Candidates:
    """Returns the candidates at some positions; only the first `n_ranked` were compared."""
    found, ruling = seen.listed, seen.constraints.ruling
    ranked = found.items[: seen.n_ranked]
    return replace(
        found,
        items=found.items[positions],
        scores=found.scores[positions],
        reranked=seen.config.steps,
        n_considered=len(found.items),
        considered=found.scores[: seen.n_ranked],
        # A boost of what is pinned and was no candidate moves nothing.
        rules=tuple(ruling.boosting(ranked)) if ruling is not None and ruling.boosts else (),
    )


def candidate_table(
    config: Reranking, found: Candidates, item_pool: ItemPool, ruling: Ruling | None = None
) -> CandidateTable:
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
        boosts=ruling.boost_of(items) if ruling is not None and ruling.boosts else None,
    )
