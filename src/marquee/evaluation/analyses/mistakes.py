"""Counts the errors of a judged model: targets ranked low, items shown in vain, items missed.

Looks at the lists and targets of one evaluation, and at exact ranks beyond the lists for some of its users.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from marquee.core.arrays import BoolArray, IndexArray
from marquee.core.availability import Availability
from marquee.core.ids import PADDING_INDEX
from marquee.core.item_lists import ItemLists
from marquee.evaluation.evaluation import Evaluation
from marquee.index.ranking import ScoreBlock


@dataclass(frozen=True, slots=True)
class GroupRanks:
    """Where the targets of a group of items stand in the rankings.

    Attributes:
        group: E.g. `popularity: tail`.
        n_targets: How many were looked at.
        median_rank: Half of them stand at least as high.
        in_10: Share among the first 10.
        in_100: Share among the first 100.
    """

    group: str
    n_targets: int
    median_rank: float
    in_10: float
    in_100: float


@dataclass(frozen=True, slots=True)
class LostTarget:
    """A target far down the ranking.

    Attributes:
        user: The user's id.
        label: The item that the user turned to.
        rank: Where it stands.
        n_events: Its training events.
    """

    user: str
    label: str
    rank: int
    n_events: int


@dataclass(frozen=True, slots=True)
class ItemErrors:
    """One item over all lists.

    Attributes:
        label: Its title or id.
        n_shown: Lists that hold it.
        n_wanted: Users that turned to it.
        n_hits: Users that turned to it and whose list holds it.
        n_events: Its training events.
    """

    label: str
    n_shown: int
    n_wanted: int
    n_hits: int
    n_events: int


@dataclass(frozen=True)
class Mistakes:
    """Errors of one model, by group of items, by target and by item.

    Attributes:
        k: Length of the lists that are counted.
        n_users: Users whose targets were ranked exactly.
        n_items: Items of the catalog: the lowest rank there is.
        ranks: By group of items, the worst median first.
        lost: The targets that stand lowest.
        over_recommended: Most shown without being wanted, first.
        missed: Most wanted without being shown, first.
    """

    k: int
    n_users: int
    n_items: int
    ranks: tuple[GroupRanks, ...]
    lost: tuple[LostTarget, ...]
    over_recommended: tuple[ItemErrors, ...]
    missed: tuple[ItemErrors, ...]


def target_ranks(
    scores: ScoreBlock,
    targets: ItemLists,
    queries: IndexArray,
    excluded: ItemLists | None = None,
    available: Availability | None = None,
) -> IndexArray:
    """Returns the rank of each target of some queries, 1 for the best, by the rules of `ranking.rank`.

    Args:
        scores: Of the model.
        targets: `Evaluation.targets`.
        queries: The queries to rank, ascending, (n,) int64.
        excluded: Items that are not ranked for a query.
        available: When items could be shown.

    Returns:
        (n_targets of these queries,) int64, in the order of `targets.rows(queries)`; 0 for an item outside
        the catalog.
    """
    ranks = []
    # Query by query: a rank beyond the list needs a sort of the whole row.
    for query in queries.tolist():
        # A copy: the masks below write into it, and the block may be the scorer's own array.
        row = scores(slice(query, query + 1)).copy()  # (1, n_items + 1)
        row[:, PADDING_INDEX] = -np.inf
        if excluded is not None:
            row[0, excluded.item_index[excluded.offsets[query] : excluded.offsets[query + 1]]] = -np.inf
        if available is not None:
            available.mask_scores(row, np.array([query]))
        # Equal scores go by item index, as in `ranking.rank`.
        order = np.lexsort((np.arange(row.shape[1]), -row[0]))
        rank_of = np.empty(row.shape[1], dtype=np.int64)
        rank_of[order] = np.arange(1, row.shape[1] + 1)
        rank_of[PADDING_INDEX] = 0
        ranks.append(rank_of[targets.item_index[targets.offsets[query] : targets.offsets[query + 1]]])
    return np.concatenate(ranks) if ranks else np.zeros(0, dtype=np.int64)


def count_items(
    evaluation: Evaluation, k: int, labels: Sequence[str], counts: IndexArray, n: int = 10
) -> dict[str, tuple[ItemErrors, ...]]:
    """Returns the items that the lists show most in vain, and those that are wanted most in vain.

    Args:
        evaluation: Gives lists and targets.
        k: Places of a list that count.
        labels: Title or id of each item, n_items + 1.
        counts: Training events of each item, (n_items + 1,) int64.
        n: How many of each kind, if there are that many.

    Returns:
        `over_recommended` and `missed`, the most frequent first.
    """
    queries, size = evaluation.query_index, len(counts)
    items = evaluation.models[evaluation.model].lists.items[queries, :k]
    targets = evaluation.targets.rows(queries)
    shown = np.bincount(items.ravel(), minlength=size)
    wanted = np.bincount(targets.item_index, minlength=size)
    hits = np.bincount(items[targets.contains(items)], minlength=size)
    # Empty places, and targets outside the catalog, are no items.
    shown[PADDING_INDEX] = wanted[PADDING_INDEX] = 0
    in_vain = {"over_recommended": shown - hits, "missed": wanted - hits}
    return {
        name: tuple(
            ItemErrors(
                labels[item],
                int(shown[item]),
                int(wanted[item]),
                int(hits[item]),
                int(counts[item]),
            )
            for item in np.argsort(-times, kind="stable")[:n].tolist()
            if times[item] > 0
        )
        for name, times in in_vain.items()
    }


def rank_groups(
    ranks: IndexArray, items: IndexArray, groups: Mapping[str, BoolArray], min_targets: int
) -> tuple[GroupRanks, ...]:
    """Returns where the targets of each group stand, the worst median first; small groups are left out.

    Args:
        ranks: From `target_ranks`, (n,) int64.
        items: The targets, (n,) int64.
        groups: Name → its items, (n_items + 1,) bool.
        min_targets: Targets that a group must have.
    """
    found = []
    for name, members in groups.items():
        # Rank 0 is a target outside the catalog: the model could not rank it.
        of_group = ranks[members[items] & (ranks > 0)]
        if len(of_group) >= min_targets:
            found.append(
                GroupRanks(
                    name,
                    len(of_group),
                    float(np.median(of_group)),
                    float((of_group <= 10).mean()),
                    float((of_group <= 100).mean()),
                )
            )
    return tuple(sorted(found, key=lambda group: -group.median_rank))
