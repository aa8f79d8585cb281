"""Compares the answers of a surface, by its filters and re-ranking, with the plain ranking.

A surface's rules move its answers away from the best by score, on purpose; what that costs is measured here.
What must not differ is the search beneath: the same rules over an exact search give the reference.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from marquee.core.arrays import IndexArray
from marquee.core.catalog import ItemKind
from marquee.core.filters import NO_FILTERS, Filters
from marquee.core.ids import PADDING_INDEX
from marquee.core.item_lists import ItemLists
from marquee.decision.reranking import NO_RERANKING, Reranking
from marquee.evaluation.intervals import Estimate, estimate_means
from marquee.evaluation.metrics import METRICS

MIN_OVERLAP = 0.9
"""Share of the places that must be filled alike for two sets of lists to count as the same."""


@dataclass(frozen=True, kw_only=True)
class SurfaceRules:
    """Filters and re-ranking by which a surface changes an answer.

    Attributes:
        name: Of the surface.
        kind: Only content or only ads; None for both.
        filters: What the items' attributes must be.
        reranking: How the best items become the answer.
        exclude_seen: Whether what was seen is left out.
    """

    name: str
    kind: ItemKind | None = None
    filters: Filters = NO_FILTERS
    reranking: Reranking = field(default=NO_RERANKING)
    exclude_seen: bool = True

    @property
    def words(self) -> str:
        """The rules, for a reader."""
        filtered = ", ".join(clause.attribute for clause in self.filters.clauses)
        said = {
            f"only {self.kind}": self.kind is not None,
            f"filtered by {filtered}": bool(filtered),
            f"re-ranked by {', '.join(self.reranking.steps)}": bool(self.reranking.steps),
            "with items seen before": not self.exclude_seen,
        }
        return "; ".join(rule for rule, holds in said.items() if holds) or "no rules"


@dataclass(frozen=True)
class ServedSurface:
    """The judged users asked on a surface.

    Attributes:
        name: Of the surface.
        rules: In words.
        served: Mean of the metric over its answers.
        cost: Its answers minus those without its rules, paired.
        overlap: Share of the places that the same rules over an exact search fill alike.
        n_short: Answers with fewer items than asked for.
    """

    name: str
    rules: str
    served: Estimate
    cost: Estimate
    overlap: float
    n_short: int

    @property
    def is_within_tolerance(self) -> bool:
        """Whether the search beneath the rules finds what it should."""
        return self.overlap >= MIN_OVERLAP


def compare_surface(
    rules: SurfaceRules,
    lists: Mapping[str, IndexArray],
    targets: ItemLists,
    metric: str,
    generator: np.random.Generator,
) -> ServedSurface:
    """Returns how a surface's answers do.

    Args:
        rules: Of the surface.
        lists: `served`: its answers; `exact`: those of the same rules over an exact search; `plain`: answers
            without rules. (n_queries, k) int64 each, 0 where an answer is short.
        targets: Of each query.
        metric: E.g. `ndcg@10`.
        generator: Draws the users of each resample.
    """
    measure = METRICS[metric.split("@", maxsplit=1)[0]]
    served, plain = (measure(targets.contains(lists[name]), targets.sizes) for name in ("served", "plain"))
    # Paired: both lists are of the same users, whose own spread cancels.
    columns = np.stack([served, served - plain], axis=1)
    mean, cost = estimate_means(columns, generator, is_difference=np.array([False, True]))
    return ServedSurface(
        name=rules.name,
        rules=rules.words,
        served=mean,
        cost=cost,
        # By the same rules over an exact search: what rules change on purpose is no fault of the index.
        overlap=overlap_of(lists["served"], lists["exact"]),
        n_short=int(np.count_nonzero((lists["served"] == PADDING_INDEX).any(axis=1))),
    )


def overlap_of(lists: IndexArray, reference: IndexArray) -> float:
    """Returns the share of the reference's items that the lists beside them hold, in any order.

    Args:
        lists: (n_queries, k) int64; 0 is no item.
        reference: (n_queries, k) int64.

    Example:
        >>> overlap_of(np.array([[1, 2], [3, 0]]), np.array([[2, 9], [3, 0]]))
        0.6666666666666666
    """
    # (n_queries, k, k)
    is_shared = (lists[:, :, None] == reference[:, None, :]) & (lists != PADDING_INDEX)[:, :, None]
    return float(is_shared.any(axis=2).sum() / max(int(np.count_nonzero(reference)), 1))
