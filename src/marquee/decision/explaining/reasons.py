"""The causes of each item of an answer: its score without each event, each attribute, and what is added.

```
score     inner product of query and item; the query without an event or an attribute gives the score without
bias      the part of a score that is the item's own, whoever asks
freshness, boost    added to relevance, which is the score stretched to 0 … 1 over the candidates
```

One batch through the tower for all of it. An effect is what a score loses without its cause; effects of
several causes need not add up to the score, since a tower is no sum.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from marquee.core.arrays import FloatArray, IndexArray
from marquee.decision.arranging import freshness_of
from marquee.decision.encoding.ablations import Ablations
from marquee.decision.explaining.replaying import Replayed
from marquee.decision.item_pool import ItemPool
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Request, Source

_BY_QUERY = frozenset({Source.personal, Source.history, Source.features})


@dataclass(frozen=True, slots=True)
class ScoreWithout:
    """The score of one item without each cause; None where nothing would be left to go by.

    Attributes:
        events: Without each event of the history that was read, the oldest first.
        features: Without each attribute that says something, by source column.
        user: Without what was learned of the user; None also where nothing was.
    """

    events: tuple[float | None, ...] = ()
    features: Mapping[str, float | None] = field(default_factory=dict)
    user: float | None = None


@dataclass(frozen=True, slots=True)
class Bias:
    """The part of a score that is the item's own, whoever asks.

    Attributes:
        value: Of the item.
        average: Of all items of the release.
    """

    value: float
    average: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemReasons:
    """The causes of one item.

    Attributes:
        item_id: The item.
        score: Its score.
        without: The same without each cause.
        bias: None if the model has none, or was not asked.
        freshness: Gain for being new, in relevance.
        boost: Gain by rules, in relevance.
        is_pinned: Whether a rule put it at its place.
    """

    item_id: str
    score: float
    without: ScoreWithout
    bias: Bias | None
    freshness: float
    boost: float
    is_pinned: bool


@dataclass(frozen=True, slots=True)
class Reasons:
    """The causes of the items of an answer.

    Attributes:
        events: Items of the history that was read, the oldest first.
        items: In the order of the answer.
        relevance_scale: A gain of relevance is worth so much score; 0 where nothing was re-ranked.
    """

    events: tuple[str, ...]
    items: tuple[ItemReasons, ...]
    relevance_scale: float


def reasons_of(recommender: Recommender, replayed: Replayed) -> Reasons:
    """Returns the causes of the items of a replayed answer."""
    answer, item_pool = replayed.decided.answer, recommender.item_pool
    items = item_pool.table.encode([item.item_id for item in answer.items])
    without, biases = _scores_without(recommender, replayed, items)
    freshness, boosts = _gains(replayed.request, items, item_pool)
    pinned = _pinned(replayed)
    return Reasons(
        events=tuple(item_pool.table.decode(replayed.decided.read)),
        items=tuple(
            [
                ItemReasons(
                    item_id=item.item_id,
                    score=item.score,
                    without=without[place],
                    bias=biases[place],
                    freshness=freshness[place],
                    boost=boosts[place],
                    is_pinned=(place, item.item_id) in pinned,
                )
                for place, item in enumerate(answer.items)
            ]
        ),
        relevance_scale=_scale(replayed.decided.considered),
    )


def _scores_without(
    recommender: Recommender, replayed: Replayed, items: IndexArray
) -> tuple[list[ScoreWithout], list[Bias | None]]:
    """Returns the score without each cause, and the bias, of each item."""
    if replayed.decided.answer.source not in _BY_QUERY or not len(items):
        return [ScoreWithout()] * len(items), [None] * len(items)
    ablations = recommender.queries.without_each(replayed.query)
    own, table = recommender.item_pool.table.own, recommender.item_pool.table
    vectors = table.vectors(items).astype(np.float64)
    scores = ablations.embeddings.astype(np.float64) @ vectors.T  # (n_rows, n_items)
    without = [_without(ablations, column) for column in scores.T.tolist()]
    if not own.has_item_bias:
        return without, [None] * len(items)
    # The last coordinate of a query weighs the bias.
    weight = float(ablations.embeddings[0, -1])
    average = weight * float(own.index.item_vectors[1:, -1].mean())
    return without, [Bias(weight * bias, average) for bias in vectors[:, -1].tolist()]


def _without(ablations: Ablations, scores: Sequence[float]) -> ScoreWithout:
    """Returns the scores of one item by row of the ablations as what they are without."""
    # Without anything to go by there is no query: the output of the tower for nothing means nothing.
    left = [
        score if source in _BY_QUERY else None
        for score, source in zip(scores, ablations.sources, strict=True)
    ]
    first = 1 + ablations.n_events
    return ScoreWithout(
        events=tuple(left[1:first]),
        features=dict(zip(ablations.columns, left[first:], strict=False)),
        user=left[-1] if ablations.has_user else None,
    )


def _gains(request: Request, items: IndexArray, item_pool: ItemPool) -> tuple[list[float], list[float]]:
    """Returns the gain in relevance of each item for being new, and by rules."""
    config, nothing = request.reranking, [0.0] * len(items)
    freshness, boosts = nothing, nothing
    if config.freshness_weight:
        births = item_pool.table.moments(config.freshness_attribute, items)
        freshness = freshness_of(config, births, request.timestamp).tolist()
    if request.rules:
        boosts = item_pool.ruling(request.rules).boost_of(items).tolist()
    return freshness, boosts


def _pinned(replayed: Replayed) -> set[tuple[int, str]]:
    """Returns places, from 0, and items that rules pinned to them."""
    applied = set(replayed.decided.answer.rules)
    return {
        (pin.place - 1, pin.item_id) for rule, pin in replayed.request.rules.pins if rule.rule_id in applied
    }


def _scale(considered: FloatArray | None) -> float:
    """Returns the spread of the scores over which relevance was stretched, 0 without re-ranking."""
    if considered is None or not len(considered):
        return 0.0
    return float(np.ptp(considered.astype(np.float64)))
