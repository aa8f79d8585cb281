import json

import numpy as np
import pytest

from marquee.core.arrays import FloatArray
from marquee.core.availability import Availability
from marquee.core.item_lists import ItemLists
from marquee.errors import DataError, ShapeError
from marquee.evaluation.evaluation import Evaluation, EvaluationTask, evaluate
from marquee.evaluation.intervals import Estimate
from marquee.index.ranking import ScoreBlock

N_ITEMS = 4
SCORES = np.array([[0, 4, 3, 2, 1], [0, 1, 2, 3, 4], [0, 4, 3, 2, 1]], dtype=np.float32)
# Lists at 2 without exclusions: [1, 2], [4, 3], [1, 2].


def _scorer(scores: FloatArray) -> ScoreBlock:
    return lambda rows: scores[rows].copy()


def _evaluate(
    targets: list[list[int]],
    excluded: list[list[int]] | None = None,
    ks: tuple[int, ...] = (1, 2),
    groups: dict[str, list[int]] | None = None,
    available: Availability | None = None,
    **scores: FloatArray,
) -> Evaluation:
    members = {name: np.isin(np.arange(N_ITEMS + 1), items) for name, items in (groups or {}).items()}
    task = EvaluationTask(
        targets=ItemLists.of(targets),
        n_items=N_ITEMS,
        ks=ks,
        excluded=None if excluded is None else ItemLists.of(excluded),
        item_groups=members,
        available=available,
    )
    scorers = {name: _scorer(value) for name, value in (scores or {"model": SCORES}).items()}
    return evaluate(scorers, task, np.random.default_rng(0), n_resamples=200)


def test_each_user_has_the_value_of_the_own_list() -> None:
    evaluation = _evaluate([[1], [3], [3, 4]])
    values = evaluation.models["model"].values
    assert values["recall@1"].tolist() == [1, 0, 0]
    assert values["recall@2"].tolist() == [1, 1, 0]
    assert values["mrr@2"].tolist() == [1, 0.5, 0]


def test_estimates_are_means_within_their_intervals() -> None:
    estimates = _evaluate([[1], [3], [3, 4]]).models["model"].estimates
    assert estimates["recall@2"].mean == pytest.approx(2 / 3)
    assert all(0 <= e.low <= e.mean <= e.high <= 1 for e in estimates.values())


def test_coverage_is_of_the_lists_of_all_users() -> None:
    assert _evaluate([[1], [3], [3]]).models["model"].coverage == {"coverage@1": 2 / 4, "coverage@2": 4 / 4}


def test_users_without_targets_are_left_out_and_counted() -> None:
    evaluation = _evaluate([[1], [], [3]])
    assert evaluation.query_index.tolist() == [0, 2]
    assert (evaluation.counts.n_queries, evaluation.counts.n_queries_without_targets) == (2, 1)
    assert evaluation.models["model"].values["recall@2"].tolist() == [1, 0]
    assert evaluation.models["model"].coverage["coverage@2"] == 2 / 4


def test_a_target_outside_the_catalog_is_a_miss_and_counted() -> None:
    evaluation = _evaluate([[1, 0], [0], [1]])
    assert evaluation.models["model"].values["recall@2"].tolist() == [0.5, 0, 1]
    assert evaluation.counts.n_targets_outside_catalog == 2


def test_excluded_items_are_neither_listed_nor_wanted() -> None:
    evaluation = _evaluate([[1, 2], [3], [1]], excluded=[[1], [], [1]])
    model = evaluation.models["model"]
    assert model.lists.items[0].tolist() == [2, 3]
    assert model.values["recall@2"].tolist() == [
        1,
        1,
    ]  # item 2 alone for the first user; the last is left out
    assert evaluation.counts.n_targets_excluded == 2
    assert evaluation.counts.n_queries_without_targets == 1


def test_items_out_of_their_time_are_neither_listed_nor_wanted() -> None:
    # Item 1 opens at 10, item 3 closes at 10; the users are asked at 5, 20 and 5.
    opens, closes = np.array([0, 10, 0, 0, 0]), np.array([99, 99, 99, 10, 99])
    available = Availability(opens, closes, np.array([5, 20, 5]))
    evaluation = _evaluate([[1, 2, 0], [3, 4], [1]], excluded=[[], [4], []], available=available)
    model = evaluation.models["model"]
    assert model.lists.items[:2].tolist() == [[2, 3], [2, 1]]
    assert model.values["recall@2"].tolist() == [0.5]  # item 2, and one outside the catalog
    counts = evaluation.counts
    assert (counts.n_targets_unavailable, counts.n_targets_excluded) == (3, 1)
    assert (counts.n_targets_outside_catalog, counts.n_queries_without_targets) == (1, 2)
    assert counts.mean_items_unavailable == 1.0


def test_baselines_too_are_held_to_what_could_be_shown() -> None:
    available = Availability(np.array([0, 9, 0, 0, 0]), np.full(5, 99), np.array([1, 1, 1]))
    evaluation = _evaluate([[2], [3], [3]], available=available, model=SCORES, popularity=SCORES[[0, 0, 0]])
    for model in evaluation.models.values():
        assert 1 not in model.lists.items


def test_a_target_that_is_named_twice_counts_once() -> None:
    evaluation = _evaluate([[1, 1, 3], [4], [2]])
    assert evaluation.models["model"].values["recall@1"].tolist() == [0.5, 1, 0]
    assert evaluation.counts.n_targets == 4


def test_groups_look_at_their_targets_alone() -> None:
    evaluation = _evaluate([[1, 3], [3], [2]], groups={"ad": [3, 4]})
    values = evaluation.models["model"].values["recall@2|ad"]
    assert values[:2].tolist() == [0, 1]  # item 3 is not in [1, 2], but in [4, 3]
    assert np.isnan(values[2])  # no ad among the targets
    assert evaluation.models["model"].estimates["recall@2|ad"].mean == 0.5


def test_a_group_without_targets_has_no_number() -> None:
    evaluation = _evaluate([[1], [1], [2]], groups={"ad": [4]})
    assert np.isnan(evaluation.models["model"].estimates["ndcg@2|ad"].mean)
    text = json.dumps(evaluation.to_json_dict(), allow_nan=False)
    assert json.loads(text)["models"]["model"]["metrics"]["ndcg@2|ad"]["mean"] is None


def test_differences_are_the_first_model_minus_each_other() -> None:
    evaluation = _evaluate([[1], [3], [3]], model=SCORES, other=np.tile(SCORES[:1], (3, 1)))
    assert list(evaluation.differences) == ["other"]
    expected = 2 / 3 - 1 / 3
    assert evaluation.differences["other"]["recall@2"].mean == pytest.approx(expected)


def test_equal_models_differ_by_exactly_nothing() -> None:
    evaluation = _evaluate([[1], [3], [3]], model=SCORES, other=SCORES)
    assert set(evaluation.differences["other"].values()) == {Estimate(0.0, 0.0, 0.0)}


def test_one_seed_gives_one_result() -> None:
    first, again = (_evaluate([[1], [3], [3]]).to_json_dict() for _ in range(2))
    assert first == again


def test_progress_names_the_model() -> None:
    seen: list[tuple[str, int, int]] = []
    task = EvaluationTask(ItemLists.of([[1]]), N_ITEMS, (1,))
    scorers = {"a": _scorer(SCORES[:1]), "b": _scorer(SCORES[:1])}
    evaluate(scorers, task, np.random.default_rng(0), progress=lambda *done: seen.append(done))
    assert seen == [("a", 1, 1), ("b", 1, 1)]


def test_ties_at_the_cutoff_are_reported_as_a_share() -> None:
    scores = np.array([[0, 1, 1, 1, 0], [0, 4, 3, 2, 1]], dtype=np.float32)
    assert _evaluate([[1], [1]], model=scores).models["model"].tied_fraction == 0.5


def test_json_states_the_full_ranking_and_every_count() -> None:
    written = json.loads(json.dumps(_evaluate([[1], [3], []]).to_json_dict(), allow_nan=False))
    assert (written["ranking"], written["model"], written["ks"]) == ("full catalog", "model", [1, 2])
    assert written["counts"]["n_items"] == N_ITEMS
    assert written["models"]["model"]["metrics"]["recall@2"]["mean"] == 1.0


def test_no_model_and_no_targets_are_refused() -> None:
    task = EvaluationTask(ItemLists.of([[], []]), N_ITEMS, (1,))
    with pytest.raises(DataError, match="at least one of the 2 queries must have a target"):
        evaluate({"model": _scorer(SCORES)}, task, np.random.default_rng(0))
    with pytest.raises(DataError, match="at least one model, got"):
        evaluate({}, task, np.random.default_rng(0))


@pytest.mark.parametrize("ks", [(), (2, 1), (0, 1), (1, 1)])
def test_cutoffs_that_make_no_sense_are_refused(ks: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="ks must be distinct, ascending and 1 or more"):
        EvaluationTask(ItemLists.of([[1]]), N_ITEMS, ks)


def test_targets_exclusions_and_groups_must_fit() -> None:
    with pytest.raises(DataError, match=r"at most n_items \(4\), got 9"):
        _evaluate([[9]])
    with pytest.raises(ShapeError, match=r"one list per query \(3\), got 1"):
        _evaluate([[1], [2], [3]], excluded=[[1]])
    with pytest.raises(ShapeError, match=r"item group 'ad' must have shape \(5,\), got \(2,\)"):
        EvaluationTask(ItemLists.of([[1]]), N_ITEMS, (1,), item_groups={"ad": np.ones(2, dtype=bool)})


def test_some_queries_are_asked_what_they_were_asked_among_all() -> None:
    windows = np.array([0, 0, 0, 5]), np.array([9, 9, 9, 9])
    task = EvaluationTask(
        ItemLists.of([[1], [2], [3], [3]]),
        3,
        (2,),
        excluded=ItemLists.of([[2], [], [], [1]]),
        available=Availability(*windows, np.array([1, 1, 1, 6])),
    )
    scores = np.random.default_rng(0).random((4, 4)).astype(np.float32)
    rows = np.array([0, 1, 3])
    whole = evaluate({"m": _scorer(scores)}, task, np.random.default_rng(0))
    some = evaluate({"m": _scorer(scores[rows])}, task.rows(rows), np.random.default_rng(0))
    # The target of query 2 could not be shown: only the others have a value.
    assert whole.query_index.tolist() == [0, 1, 3]
    assert some.models["m"].values["ndcg@2"].tolist() == whole.models["m"].values["ndcg@2"].tolist()
