"""The benchmark of attributes beside a sequence: what it pairs, and which arms it has."""

import numpy as np
import pytest

from benchmarks import sequences
from benchmarks.experiments import compose_config


def test_differences_are_paired_by_user() -> None:
    ids = np.random.default_rng(1).random((200, 2)) * 0.9
    found = {"films": ids + np.array([0.05, 0.0]), "none": ids}
    gains = sequences.differences(found, "none")
    assert list(gains) == ["films"]
    by_ndcg, by_hits = gains["films"]
    # Users differ by far more than the arms: only pairs tell a difference of 0.05 without an error.
    assert (by_ndcg.low, by_ndcg.high) == pytest.approx((0.05, 0.05))
    assert by_hits.mean == 0


def test_arms_differ_in_what_they_know_alone() -> None:
    common = [f"data={sequences.DATA}", *sequences.SETTINGS, *sequences.SPLIT, *sequences.ATTRIBUTES]
    configs = {arm: compose_config([*common, *overrides]) for arm, overrides in sequences.ARMS.items()}
    towers = {arm: config.model.towers() for arm, config in configs.items()}
    assert {arm: (t.item_features, t.query_features) for arm, t in towers.items()} == {
        "films and users": (True, True),
        "films": (True, False),
        "none": (False, False),
    }
    assert {(t.dim, t.n_heads, t.dropout, t.history_dropout, t.item_id_dropout) for t in towers.values()} == {
        (64, 1, 0.2, 0.0, 0.0)
    }
    assert not any(t.user_id for t in towers.values())
    assert {t.history_pooling for t in towers.values()} == {towers["none"].history_pooling}
