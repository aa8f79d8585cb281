"""Scores many users with a loaded bundle: by the stages that answer requests, into columns.

Users pass tower and index some hundreds at a time; the names of all items are taken at once at the end. Does
not draw places, record decisions, or know of live items.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
import polars as pl

from marquee.core.arrays import FloatArray, IndexArray
from marquee.decision.batch.terms import AskedUser, BatchTerms
from marquee.decision.recommender import Recommender
from marquee.decision.retrieval import Chosen

USERS_AT_ONCE = 256
"""More pass neither the tower nor the index quicker."""

SCORE_SCHEMA = pl.Schema(
    {
        "user_id": pl.String(),
        "items": pl.List(pl.String()),
        "scores": pl.List(pl.Float32()),
        "source": pl.String(),
        "version": pl.String(),
        "short_reason": pl.String(),
        "fallback_reason": pl.String(),
        "popular_in": pl.String(),
        "unknown_user": pl.Boolean(),
        "unknown_history": pl.Int32(),
    }
)
"""The columns of scores; each is what `Answer` has under the name, items and scores best first."""


def score_users(recommender: Recommender, users: Iterable[AskedUser], terms: BatchTerms) -> pl.DataFrame:
    """Returns a row of `SCORE_SCHEMA` for each user, in their order.

    Args:
        recommender: Without live items.
        users: Any number.
        terms: What holds for all of them.

    Raises:
        FilterError: If the catalog cannot apply the filters.
        DataError: If re-ranking names an attribute that the catalog does not have.
    """
    scorer = _Columns(recommender, terms.k)
    for some in _batches(users):
        scorer.add(some, recommender.choose([terms.request_of(user) for user in some]))
    return scorer.frame()


def _batches(users: Iterable[AskedUser]) -> Iterator[Sequence[AskedUser]]:
    """Yields the users, some hundreds at a time."""
    waiting = iter(users)
    while some := list(islice(waiting, USERS_AT_ONCE)):
        yield some


class _Columns:
    """The answers so far, by item_index."""

    def __init__(self, recommender: Recommender, k: int) -> None:
        self._recommender = recommender
        self._k = k
        self._items: list[IndexArray] = []
        self._scores: list[FloatArray] = []
        self._others: dict[str, list[object]] = {
            name: [] for name in SCORE_SCHEMA if name not in {"items", "scores", "version"}
        }

    def add(self, users: Sequence[AskedUser], chosen: Chosen) -> None:
        """Adds the answers of some users."""
        items = np.zeros((len(users), self._k), dtype=np.int64)
        scores = np.zeros((len(users), self._k), dtype=np.float32)
        others, queries = self._others, chosen.queries
        for row, (found, source, reason) in enumerate(chosen.rows):
            items[row, : len(found.items)] = found.items
            scores[row, : len(found.items)] = found.scores
            others["source"].append(source.value)
            others["short_reason"].append(chosen.constraints[row].short_reason(found))
            others["fallback_reason"].append(reason)
            others["popular_in"].append(found.popular_in)
        others["user_id"] += [user.user_id for user in users]
        others["unknown_user"] += queries.unknown_users
        others["unknown_history"] += queries.unknown_history
        self._items.append(items)
        self._scores.append(scores)

    def frame(self) -> pl.DataFrame:
        """Returns all answers with the names of their items."""
        if not self._items:
            return pl.DataFrame(schema=SCORE_SCHEMA)
        items, scores = np.concatenate(self._items), np.concatenate(self._scores)
        # Row 0 has no name: what an answer lacks at its end becomes null, and goes.
        names = pl.Series([None, *self._recommender.bundle.catalog.item_ids.ids], dtype=pl.String)
        is_there = items.ravel() > 0
        flat = pl.DataFrame(
            {"items": names.gather(items.ravel()), "scores": scores.ravel(), "is_there": is_there}
        )
        flat = flat.select("items", scores=pl.when("is_there").then("scores"))
        lists = flat.select(
            pl.all().reshape((-1, self._k)).arr.to_list().list.drop_nulls(),
        )
        rest = pl.DataFrame(self._others, schema={name: SCORE_SCHEMA[name] for name in self._others})
        whole = rest.hstack(lists).with_columns(version=pl.lit(self._recommender.version))
        return whole.select(SCORE_SCHEMA.names()).cast(SCORE_SCHEMA)
