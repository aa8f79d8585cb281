"""How often an answer that is drawn comes out otherwise when its scores are rounded otherwise.

    python -m benchmarks.ties          a minute

A model rounds otherwise in a batch than alone: two candidates that score alike then change places, and a draw
goes by place. Scores are moved by one unit in their last place or not at all, ranked again, and drawn again
from the same id, once with candidates by rank, as answers are drawn, and once by item.
"""

from typing import NamedTuple

import numpy as np

from marquee.core.arrays import FloatArray, IndexArray
from marquee.decision.arranging import CandidateTable, arrange
from marquee.decision.policies.choosing import build_chooser
from marquee.decision.policies.config import Exploration, PolicyName
from marquee.decision.reranking import Reranking

N_CANDIDATES, K, N_ANSWERS = 200, 10, 12_000
_RULES = Reranking()


class Found(NamedTuple):
    """How many answers changed: the order of their candidates, their items by rank, and by item."""

    order: int
    by_rank: int
    by_item: int


def _drawn(scores: FloatArray, exploration: Exploration, decision_id: str) -> IndexArray:
    """Returns which candidates an id draws, (k,)."""
    chooser = build_chooser(exploration, decision_id)
    return arrange(_RULES, CandidateTable(scores), K, 0, chooser).positions


def compare(exploration: Exploration, n_answers: int) -> Found:
    """Returns how many answers of a policy change with the rounding of their scores."""
    rng = np.random.default_rng(0)
    found = np.zeros(3, dtype=np.int64)
    for number in range(n_answers):
        scores = (rng.normal(size=N_CANDIDATES) * 0.2 + 1.0).astype(np.float32)
        moved = np.nextafter(scores, rng.choice([-np.inf, np.inf], N_CANDIDATES).astype(np.float32))
        rounded = np.where(rng.random(N_CANDIDATES) < 1 / 3, scores, moved)
        # Equal scores go by item, as in a search.
        ranks = [np.argsort(-each, kind="stable") for each in (scores, rounded)]
        by_rank = [
            rank[_drawn(each[rank], exploration, str(number))]
            for each, rank in zip((scores, rounded), ranks, strict=True)
        ]
        by_item = [_drawn(each, exploration, str(number)) for each in (scores, rounded)]
        found += [not np.array_equal(one, other) for one, other in (ranks, by_rank, by_item)]
    return Found(*found.tolist())


def main() -> None:
    """Prints what changes for each policy that draws by scores."""
    for policy in (PolicyName.softmax, PolicyName.epsilon):
        found = compare(Exploration(policy=policy), N_ANSWERS)
        print(
            f"{policy}: of {N_ANSWERS:,} answers {found.order} have candidates in another order, "
            f"{found.by_rank} have other items, {found.by_item} would have if draws went by item"
        )


if __name__ == "__main__":
    main()
