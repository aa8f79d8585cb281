"""Rows on audiences: who is like a list of seeds."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.customers.tables import read_films
from benchmarks.rows import Measured, Row
from marquee.marketing.audiences.lookalike import as_probability, auc_within, lookalike_scores

N_FILMS = 68


def rows(root: Path) -> Iterator[Row]:
    """Yields the rows."""
    yield Row(
        "lookalike, ml-100k, 68 films",
        "AUC within tenths of activity 0.589, activity 0.523 (over all 0.730)",
        "be 0.57 or more, and activity + 0.04",
        lambda: lookalike(root),
    )


def lookalike(root: Path) -> Measured:
    """Finds the other half of those who later rate a film, by one half of them."""
    films = read_films(root)
    activity = films.seen.sum(axis=1).astype(np.float64)
    length = np.linalg.norm(films.vectors, axis=1, keepdims=True)
    features = np.column_stack([films.vectors / length, np.log1p(activity)])
    found = []
    for film in np.argsort(-films.later.sum(axis=0), kind="stable")[:N_FILMS]:
        is_member = films.later[:, film]
        members = np.random.default_rng(int(film)).permutation(np.flatnonzero(is_member))
        is_seed = np.zeros(len(is_member), dtype=np.bool_)
        is_seed[members[: len(members) // 2]] = True
        score = lookalike_scores(features, is_seed)
        # Without seeds, and without those who have rated the film before.
        judged = ~is_seed & ~films.seen[:, film]
        own = activity[judged]
        found.append(
            (
                auc_within(score[judged], is_member[judged], own),
                auc_within(as_probability(own), is_member[judged], own),
            )
        )
    alike, active = np.mean(found, axis=0)
    text = f"AUC within tenths {alike:.3f}, activity {active:.3f}"
    return Measured(text, alike >= 0.57 and alike >= active + 0.04)
