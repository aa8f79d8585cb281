"""The last words of a training: silent where the model is clearly better, and otherwise what to try."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from marquee.core.item_lists import ItemLists
from marquee.evaluation.evaluation import Evaluation, EvaluationTask, evaluate
from tests.support.small_config import small_config
from tests.support.small_data import write_shop
from training.config import TrainConfig
from training.judging.advice import advice
from training.judging.judge import Judgement

N_USERS, N_ITEMS = 200, 20


@cache
def evaluation(**shares: float) -> Evaluation:
    """Models that find the target of such a share of the users."""
    targets = ItemLists.of([[1 + user % N_ITEMS] for user in range(N_USERS)])
    draw = np.random.default_rng(0)
    scorers = {}
    for name, share in shares.items():
        scores = draw.random((N_USERS, N_ITEMS + 1)).astype(np.float32)
        found = np.arange(N_USERS) % 20 < share * 20
        scores[np.arange(N_USERS), targets.item_index] = np.where(found, 2.0, -1.0)
        scorers[name] = lambda rows, scores=scores: scores[rows].copy()
    return evaluate(scorers, EvaluationTask(targets, N_ITEMS, (10,)), draw, n_resamples=200)


def said(config: TrainConfig, **shares: float) -> list[str]:
    # Of a judgement the advice reads two fields.
    judgement = Judgement("validation", None, evaluation(**shares), {}, {}, None, 1.0)  # type: ignore[arg-type]
    return list(advice(judgement, config))


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    return small_config(write_shop(Path(tmp_path_factory.mktemp("shop"))))


def test_a_model_that_is_clearly_better_needs_no_advice(config: TrainConfig) -> None:
    assert said(config, model=0.9, popularity=0.2, item_knn=0.4, als=0.5) == []


def test_a_model_that_is_worse_is_told_before_the_export(config: TrainConfig) -> None:
    first, *others = said(config, model=0.4, popularity=0.2, item_knn=0.9, als=0.2)
    assert first.startswith("before you export: on validation the model is worse than item_knn (")
    assert "als" not in first
    assert any("training.tune" in line for line in others)
    assert any("gate=baselines" in line for line in others)


def test_a_tie_is_not_enough(config: TrainConfig) -> None:
    first, *_ = said(config, model=0.5, popularity=0.2, item_knn=0.5, als=0.5)
    assert "is not clearly better than item_knn" in first
    assert "is not clearly better than als" in first


def test_popularity_is_not_what_a_model_must_be_worth(config: TrainConfig) -> None:
    assert said(config, model=0.5, popularity=0.9) == []


def test_advice_names_what_the_config_has_not_tried(config: TrainConfig) -> None:
    shares = {"model": 0.4, "popularity": 0.2, "item_knn": 0.9}
    assert any("model.item_neighbours=20" in line for line in said(config, **shares))
    model = replace(config.model, item_neighbours=20)  # type: ignore[call-arg] # a two-tower
    assert not any("item_neighbours" in line for line in said(replace(config, model=model), **shares))
