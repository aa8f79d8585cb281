import json
from dataclasses import replace

import numpy as np
import pytest

from marquee.core.arrays import FloatArray, IndexArray
from marquee.core.item_lists import ItemLists
from marquee.errors import DataError
from marquee.evaluation.analyses.ageing import DAY_S, Ageing, age_metric, change_between, first_times
from marquee.evaluation.evaluation import Evaluation, EvaluationTask, evaluate
from marquee.evaluation.intervals import Estimate, estimate_means

N_USERS, N_ITEMS, K = 240, 12, 3
WEEK_S = 7 * DAY_S
CUTOFF = 1_000_000


def _evaluation(generator: np.random.Generator) -> Evaluation:
    """Two models of random scores; every user has one to four targets, some outside the catalog."""
    targets = [generator.integers(0, N_ITEMS + 1, generator.integers(1, 5)).tolist() for _ in range(N_USERS)]

    def scorer(scores: FloatArray) -> object:
        return lambda rows: scores[rows].copy()

    scorers = {
        name: scorer(generator.random((N_USERS, N_ITEMS + 1)).astype(np.float32)) for name in ("own", "other")
    }
    task = EvaluationTask(ItemLists.of(targets), N_ITEMS, (K,))
    return evaluate(scorers, task, generator, n_resamples=50)  # type: ignore[arg-type] # a scorer is a function


def _recall_by_hand(evaluation: Evaluation, times: IndexArray, number: int, model: str) -> list[float]:
    """Returns recall@3 of the users with targets in one week, user by user, target by target."""
    found = []
    targets = evaluation.targets
    for query in range(N_USERS):
        rows = range(targets.offsets[query], targets.offsets[query + 1])
        wanted = [
            int(targets.item_index[row])
            for row in rows
            if CUTOFF + (number - 1) * WEEK_S <= times[row] < CUTOFF + number * WEEK_S
        ]
        if wanted:
            shown = evaluation.models[model].lists.items[query, :K].tolist()
            hits = sum(item in shown for item in wanted if item)
            found.append(hits / len(wanted))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_each_week_is_judged_by_its_own_targets(seed: int) -> None:
    generator = np.random.default_rng(seed)
    evaluation = _evaluation(generator)
    times = CUTOFF + generator.integers(0, 3 * WEEK_S, len(evaluation.targets.item_index))
    ageing = age_metric(evaluation, f"recall@{K}", times, CUTOFF, generator)
    assert ageing is not None
    assert (ageing.unit, [period.number for period in ageing.periods]) == ("week", [1, 2, 3])
    for period in ageing.periods:
        by_hand = {name: _recall_by_hand(evaluation, times, period.number, name) for name in ("own", "other")}
        assert period.n_users == len(by_hand["own"])
        means = {name: float(np.mean(values)) for name, values in by_hand.items()}
        assert {name: period.estimates[name].mean for name in means} == pytest.approx(means)
        assert period.differences["other"].mean == pytest.approx(means["own"] - means["other"])
    assert sum(period.n_targets for period in ageing.periods) == len(evaluation.targets.item_index)


def test_the_interval_of_a_change_covers_the_truth() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        first, last = generator.binomial(1, 0.3, 400) / 1.0, generator.binomial(1, 0.2, 300) / 1.0
        (before,), (after,) = (estimate_means(v[:, None], generator, 200) for v in (first, last))
        change = change_between(before, after)
        assert change.mean == pytest.approx(last.mean() - first.mean())
        covered += change.low <= -0.1 <= change.high
    assert 0.92 * 300 <= covered <= 0.98 * 300


def test_the_change_is_from_the_first_period_to_the_last() -> None:
    generator = np.random.default_rng(7)
    evaluation = _evaluation(generator)
    times = CUTOFF + generator.integers(0, 3 * WEEK_S, len(evaluation.targets.item_index))
    ageing = age_metric(evaluation, f"recall@{K}", times, CUTOFF, generator)
    assert ageing is not None
    first, _, last = (period.estimates["own"] for period in ageing.periods)
    assert ageing.change == change_between(first, last)


def test_days_take_the_place_of_weeks_where_there_is_only_one() -> None:
    evaluation = _evaluation(np.random.default_rng(0))
    times = CUTOFF + np.arange(len(evaluation.targets.item_index)) % 3 * DAY_S
    ageing = age_metric(evaluation, f"recall@{K}", times, CUTOFF, np.random.default_rng(0))
    assert ageing is not None
    assert (ageing.unit, len(ageing.periods)) == ("day", 3)


def test_periods_of_few_users_are_suppressed_and_counted() -> None:
    evaluation = _evaluation(np.random.default_rng(0))
    times = CUTOFF + np.arange(len(evaluation.targets.item_index)) % 2 * WEEK_S
    times[:10] = CUTOFF + 5 * WEEK_S
    ageing = age_metric(evaluation, f"recall@{K}", times, CUTOFF, np.random.default_rng(0))
    assert ageing is not None
    assert ([period.number for period in ageing.periods], ageing.n_suppressed) == ([1, 2], 1)


def test_one_day_alone_says_nothing_of_ageing() -> None:
    evaluation = _evaluation(np.random.default_rng(0))
    times = np.full(len(evaluation.targets.item_index), CUTOFF)
    assert age_metric(evaluation, f"recall@{K}", times, CUTOFF, np.random.default_rng(0)) is None


def test_targets_of_another_part_are_refused() -> None:
    with pytest.raises(DataError, match="1 counted targets must stand among the 1 targets"):
        first_times(ItemLists.of([[2]]), ItemLists.of([[3]]), np.array([10]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            Estimate(-0.1, -0.2, -0.05),
            "it falls (95\u00a0% interval of the change \u22120.2000 to \u22120.0500)",
        ),
        (Estimate(0.1, 0.05, 0.2), "it rises (95\u00a0% interval of the change +0.0500 to +0.2000)"),
        (Estimate(0.1, -0.05, 0.2), "no change can be told (95\u00a0% interval"),
    ],
)
def test_the_sentence_says_what_the_interval_says(change: Estimate, words: str) -> None:
    evaluation = _evaluation(np.random.default_rng(0))
    times = CUTOFF + np.arange(len(evaluation.targets.item_index)) % 2 * WEEK_S
    ageing = age_metric(evaluation, f"recall@{K}", times, CUTOFF, np.random.default_rng(0))
    assert isinstance(ageing, Ageing)
    ageing = replace(ageing, change=change)
    assert words in ageing.sentence
    assert "in week 1 after the training cutoff" in ageing.sentence
    assert json.loads(json.dumps(ageing.to_json_dict(), allow_nan=False))["sentence"] == ageing.sentence
