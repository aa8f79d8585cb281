"""Where no two users differ, nothing says how far others would: no detectable size, no deviation."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from marquee.core.arrays import Float64Array
from marquee.core.item_lists import ItemLists
from marquee.evaluation import EvaluationTask, evaluate
from marquee.evaluation.analyses.retraining import Retraining, RetrainingSeries
from marquee.evaluation.comparison import paired_test
from marquee.evaluation.intervals import Estimate
from marquee.reports.verdict import judge_against


@pytest.mark.parametrize("differences", [np.zeros(4), np.full(4, 0.25)], ids=["nobody differs", "all alike"])
def test_paired_test_states_no_detectable_size(differences: Float64Array) -> None:
    test = paired_test(differences, np.random.default_rng(0))
    assert test.detectable is None
    assert "NaN" not in json.dumps(asdict(test))


def test_verdict_of_an_evaluation_without_hits_says_why_there_is_no_size() -> None:
    # 4 users whose only target nobody can list: it stands last for every model.
    task = EvaluationTask(ItemLists.of([[9]] * 4), n_items=9, ks=(2,))
    scores = np.tile(np.arange(10, 0, -1, dtype=np.float32), (4, 1))
    scorers = {name: lambda rows: scores[rows].copy() for name in ("model", "popularity")}
    verdict = judge_against(evaluate(scorers, task, np.random.default_rng(0)), "ndcg@2")
    assert "no size of a true difference can be stated" in verdict.sentence
    assert "a true difference of" not in verdict.sentence.replace("size of a true difference", "")


def test_one_retraining_has_no_deviation() -> None:
    one = Retraining("first", 1.0, 10, 4, 4, 1.0, {"model": Estimate(0.5, 0.4, 0.6)}, {})
    assert RetrainingSeries("ndcg@10", "model", "", (one,)).spread("model").deviation is None
