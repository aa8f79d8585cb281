"""Inspects the judged model: chooses items to map, neighbourhoods to list, users whose targets to rank."""

from collections.abc import Mapping

import numpy as np

from marquee.core.arrays import BoolArray, FloatArray
from marquee.data.dataset import JudgedPart
from marquee.evaluation.analyses.item_map import (
    CatalogView,
    ModelInspection,
    map_items,
    most_telling,
    neighbourhoods,
)
from marquee.evaluation.analyses.mistakes import LostTarget, Mistakes, count_items, rank_groups, target_ranks
from marquee.evaluation.analyses.slices import MIN_USERS, by_popularity
from marquee.evaluation.evaluation import Evaluation
from marquee.index.ranking import ScoreBlock
from training.config import TrainConfig
from training.judging.describe import attribute_members, item_labels, training_counts
from training.runs.prepare import Prepared

# Enough for shares to within five points; exact ranks sort the whole catalog for each user.
MAX_RANKED = 500
SCORES_SORTED = 20_000_000  # bounds the time of exact ranks in a large catalog
N_LOST = 8


def inspect_model(
    prepared: Prepared,
    part: JudgedPart,
    evaluation: Evaluation,
    vectors: FloatArray,
    scores: ScoreBlock,
    config: TrainConfig,
) -> ModelInspection:
    """Returns the item map, neighbourhoods and mistakes of the model under judgement.

    Args:
        prepared: The data.
        part: Who was asked.
        evaluation: Of the model.
        vectors: Item embeddings, (n_items + 1, dim) float32.
        scores: Of the model, for a slice of the part's queries.
        config: Of the run.
    """
    dataset = prepared.dataset
    counts = training_counts(dataset)
    thirds = by_popularity(counts)
    attribute, members = most_telling(attribute_members(dataset, config), ("popularity", thirds))
    view = CatalogView(item_labels(dataset), counts, vectors, attribute, members)
    generator = np.random.default_rng(config.seed)
    return ModelInspection(
        map_items(view, generator),
        neighbourhoods(view, thirds, generator),
        _mistakes(part, evaluation, view, thirds, scores, config, generator),
    )


def _mistakes(
    part: JudgedPart,
    evaluation: Evaluation,
    view: CatalogView,
    thirds: Mapping[str, BoolArray],
    scores: ScoreBlock,
    config: TrainConfig,
    generator: np.random.Generator,
) -> Mistakes:
    """Counts the mistakes of the model; exact ranks are of users drawn at random."""
    n_items, queries = len(view.counts) - 1, evaluation.query_index
    # One user at least, however large the catalog.
    n_ranked = min(len(queries), MAX_RANKED, max(SCORES_SORTED // n_items, 1))
    # `target_ranks` takes queries in ascending order, and `rows` below must follow it.
    drawn = np.sort(generator.choice(queries, size=n_ranked, replace=False))
    excluded = part.seen if config.evaluation.exclude_seen else None
    ranks = target_ranks(scores, evaluation.targets, drawn, excluded, part.available)
    asked = evaluation.targets.rows(drawn)
    groups = {f"popularity: {name}": members for name, members in thirds.items()}
    # Popularity colours the map where no column tells more, and stands among the groups already.
    if view.attribute != "popularity":
        groups |= {f"{view.attribute}: {value}": members for value, members in view.members.items()}
    # Stable: equal ranks are frequent at the end, and the page must not change between runs.
    lowest = np.argsort(-ranks, kind="stable")[:N_LOST]
    k = config.evaluation.headline_k
    return Mistakes(
        k=k,
        n_users=n_ranked,
        n_items=n_items,
        ranks=rank_groups(ranks, asked.item_index, groups, MIN_USERS),
        lost=tuple(
            LostTarget(
                part.user_ids[drawn[asked.query_index[row]]],
                view.labels[item],
                int(ranks[row]),
                int(view.counts[item]),
            )
            for row, item in zip(lowest.tolist(), asked.item_index[lowest].tolist(), strict=True)
            # Rank 0 stands for an item outside the catalog: no model could have listed it.
            if ranks[row] > 0
        ),
        **count_items(evaluation, k, view.labels, view.counts),
    )
