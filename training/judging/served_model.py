"""Scores of the release that is served, for the users of a part that its successor is judged on.

Both models then stand in one evaluation: the same users with the same histories, the same targets and
exclusions, ranked by the same code. The numbers in a manifest are of another part: they say nothing of this.
"""

from dataclasses import replace

import numpy as np

from marquee.bundle.bundle import Bundle
from marquee.core.arrays import FloatArray
from marquee.core.ids import PADDING_INDEX
from marquee.data.dataset import JudgedPart
from marquee.decision.item_pool import ItemPool
from marquee.decision.query_encoder import QueryEncoder
from marquee.decision.requests import Request, Source
from marquee.evaluation.analyses.served import rewind
from marquee.features import FeatureArrays
from marquee.index.ranking import ScoreBlock
from training.config import TrainConfig
from training.judging.replay import requests_of
from training.runs.prepare import Prepared


def served_scores(bundle: Bundle, prepared: Prepared, part: JudgedPart, config: TrainConfig) -> ScoreBlock:
    """Returns the scores of a bundle's model, over the catalog of a data set.

    Whoever has a history by now is asked with it, also a user that the bundle does not know: the service
    reads it from its log. An item that the bundle lacks is never returned; where it has nothing to go by, it
    answers what is popular.

    Args:
        bundle: As published.
        prepared: The data.
        part: Who is asked.
        config: Of the model under judgement.

    Raises:
        DataError: If the bundle counts other kinds of events.
    """
    dataset = prepared.dataset
    known = rewind(
        _with_users(bundle, part.user_ids), part.user_ids, part.known, dataset.item_ids, dataset.kinds
    )
    encoder = QueryEncoder(ItemPool(known))
    events = prepared.split.test if config.evaluation.test else prepared.split.validation
    requests = requests_of(events, part, np.arange(len(part.user_ids)), config)
    # (n_items + 1,): the bundle's row of each item of the data set, padding for those that it lacks.
    row_of_item = np.concatenate([[PADDING_INDEX], bundle.catalog.item_ids.encode(dataset.item_ids.ids)])
    vectors, popularity = bundle.index.item_vectors[row_of_item], bundle.popularity[row_of_item]

    def score(rows: slice) -> FloatArray:
        asked: list[Request] = requests[rows]
        queries = encoder.encode(asked)
        scores: FloatArray = queries.embeddings @ vectors.T  # (n_rows, n_items + 1)
        is_popular = np.array([source is Source.popular for source in queries.sources])
        # As the service answers where a user has nothing to go by.
        scores[is_popular] = popularity
        # The bundle cannot return them: a score of 0 would rank them among its own.
        scores[:, row_of_item == PADDING_INDEX] = -np.inf
        return scores

    return score


def _with_users(bundle: Bundle, user_ids: tuple[str, ...]) -> Bundle:
    """Adds rows for further users to a bundle; only their events are known."""
    extended = bundle.user_ids.extend(user_ids)
    n_new = len(extended) - len(bundle.user_ids)
    # Row 0 holds the features of an unknown user.
    nobody = bundle.user_features.take(np.zeros(n_new, dtype=np.int64))
    return replace(
        bundle,
        user_ids=extended,
        user_vectors=np.concatenate(
            [bundle.user_vectors, np.zeros((n_new, bundle.user_vectors.shape[1]), dtype=np.float32)]
        ),
        user_features=FeatureArrays(
            np.concatenate([bundle.user_features.tokens, nobody.tokens]),
            np.concatenate([bundle.user_features.numeric, nobody.numeric]),
        ),
    )
