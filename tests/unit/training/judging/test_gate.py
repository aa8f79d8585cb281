from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marquee.core.histories import Interactions
from marquee.core.item_lists import ItemLists
from marquee.data.dataset import JudgedPart, QueryArrays
from marquee.errors import ConfigError
from marquee.evaluation.analyses.beyond_accuracy import CatalogFacts, describe_lists
from marquee.evaluation.analyses.fairness import measure_gaps
from marquee.evaluation.analyses.slices import Slice, SlicedColumn, slice_metric
from marquee.evaluation.evaluation import EvaluationTask, evaluate
from marquee.evaluation.group_fairness import GroupFairness
from marquee.evaluation.intervals import Estimate
from marquee.evaluation.off_policy.estimators import Estimator, Value
from marquee.evaluation.off_policy.weights import Support
from marquee.evaluation.probabilities.outcomes import JudgedOutcome, judge_outcome
from tests.support.bundles import publish_tiny
from training.judging.gate import GateConfig, GuardrailConfig, failures
from training.judging.judge import Judgement

N_USERS, N_ITEMS = 200, 20


@cache
def _judgement() -> Judgement:
    """A model that finds the target of 3 in 4 users, and popularity that finds that of 1 in 2."""
    targets = ItemLists.of([[1 + user % N_ITEMS] for user in range(N_USERS)])
    generator = np.random.default_rng(0)
    scorers = {}
    for name, share in (("model", 0.75), ("popularity", 0.5)):
        scores = generator.random((N_USERS, N_ITEMS + 1)).astype(np.float32)
        found = np.arange(N_USERS) % 20 < share * 20
        scores[np.arange(N_USERS), targets.item_index] = np.where(found, 2.0, -1.0)
        scorers[name] = lambda rows, scores=scores: scores[rows].copy()
    evaluation = evaluate(scorers, EvaluationTask(targets, N_ITEMS, (10,)), generator, n_resamples=200)
    beyond = {
        name: describe_lists(
            model.lists.items,
            targets.contains(model.lists.items),
            None,
            ItemLists.of([[]] * N_USERS),
            CatalogFacts(np.arange(N_ITEMS + 1)),
        )
        for name, model in evaluation.models.items()
    }
    even = np.arange(N_USERS) % 2 == 0
    slices = slice_metric(evaluation, "ndcg@10", targets, {"parity": {"even": even}}, {}, generator)
    nothing = np.zeros((N_USERS, 0), dtype=np.int32)
    queries = QueryArrays(np.arange(1, N_USERS + 1), nothing, nothing.astype(np.float32), nothing, nothing)
    none = np.zeros(0, dtype=np.int64)
    known = Interactions.group(none, none, none, none, none.astype(np.float32), n_users=N_USERS)
    n_targets = len(targets.item_index)
    times, had_outside = np.zeros(n_targets, dtype=np.int64), np.zeros(n_targets, dtype=np.bool_)
    part = JudgedPart(tuple(map(str, range(N_USERS))), queries, known, targets, times, had_outside)
    return Judgement("test", part, evaluation, {}, beyond, slices, 1.0, outcomes=(_clicks(),))


def _clicks() -> JudgedOutcome:
    """Probabilities of a click that are true on the feed, and twice as high on the sidebar."""
    generator = np.random.default_rng(1)
    truth = generator.beta(1, 4, 4000) / 2
    is_feed = np.arange(4000) % 2 == 0
    return judge_outcome(
        "click",
        "clicked?",
        {"head": np.where(is_feed, truth, 2 * truth)},
        generator.random(4000) < truth,
        np.arange(4000) // 10,
        {"surface": {"feed": is_feed, "sidebar": ~is_feed}},
        generator,
    )


def _failures(bundle: str = "", **rails: GuardrailConfig) -> list[str]:
    return list(failures(GateConfig(bundle=bundle, guardrails=rails), _judgement()))


def test_a_model_that_holds_every_guardrail_passes() -> None:
    assert not _failures(
        floor=GuardrailConfig(metric="recall@10", at_least=0.75, at_most=0.75),
        better=GuardrailConfig(metric="ndcg@10", against="popularity"),
        spread=GuardrailConfig(metric="coverage@10", at_least=0.9),
        even=GuardrailConfig(metric="ndcg@10", slice="user: parity = even", at_least=0.5),
        gini=GuardrailConfig(metric="gini", at_most=0.9),
    )


def test_each_failure_says_what_came_and_what_was_expected() -> None:
    floor, ceiling, margin, even = _failures(
        floor=GuardrailConfig(metric="recall@10", at_least=0.8),
        ceiling=GuardrailConfig(metric="gini", at_most=0.0),
        margin=GuardrailConfig(metric="recall@10", against="popularity", margin=-0.24),
        even=GuardrailConfig(metric="ndcg@10", slice="user: parity = even", at_least=0.99),
    )
    assert floor == "floor: recall@10 is 0.7500, expected 0.8 or more"
    assert ceiling.endswith("expected 0.0 or less")
    assert "minus that of popularity is +0.2500, 95\u00a0% interval" in margin
    assert margin.endswith("expected the lower end to be 0.24 or more")
    assert even.startswith("even: ndcg@10 on user: parity = even is 0.")


def test_a_slice_is_held_against_a_baseline_by_its_own_paired_interval() -> None:
    rail = GuardrailConfig(metric="ndcg@10", slice="user: parity = even", against="popularity", margin=-0.9)
    (reason,) = _failures(even=rail)
    even = _judgement().slices.columns[0].slices[0]
    low = even.differences["popularity"].low
    assert reason.startswith("even: ndcg@10 on user: parity = even minus that of popularity is +")
    assert f"interval {low:+.4f} to" in reason
    rail = GuardrailConfig(
        metric="ndcg@10", slice="user: parity = even", against="popularity", margin=-low + 1e-6
    )
    assert not _failures(even=rail)


def test_probabilities_are_held_to_their_guardrails_on_all_events_and_on_a_slice() -> None:
    assert not _failures(
        error=GuardrailConfig(metric="click/calibration_error", at_most=0.2),
        feed=GuardrailConfig(metric="click/calibration_ratio", slice="surface = feed", at_most=1.2),
    )
    (reason,) = _failures(
        sidebar=GuardrailConfig(metric="click/calibration_ratio", slice="surface = sidebar", at_most=1.2)
    )
    assert reason.startswith("sidebar: click/calibration_ratio on surface = sidebar is ")
    assert reason.endswith("expected 1.2 or less")


def test_of_a_log_loss_more_is_worse_than_the_served_bundle(tmp_path: Path) -> None:
    value = _judgement().numbers()["click/log_loss"]
    bundle = _with_metrics(tmp_path, **{"click/log_loss": value - 0.01, "n_users": 120.0})
    assert not _failures(bundle, loss=GuardrailConfig(metric="click/log_loss", against="bundle", margin=0.02))
    (reason,) = _failures(bundle, loss=GuardrailConfig(metric="click/log_loss", against="bundle"))
    assert "(it was judged on 120 users, this model on 200): expected to be no more than 0.0 above" in reason


def test_a_slice_is_held_against_that_of_the_served_bundle(tmp_path: Path) -> None:
    key, on = "ndcg@10|user: parity = even", "user: parity = even"
    bundle = _with_metrics(tmp_path, **{key: _judgement().numbers()[key] + 0.1})
    rail = GuardrailConfig(metric="ndcg@10", slice=on, against="bundle", margin=0.05)
    (reason,) = _failures(bundle, even=rail)
    assert reason.endswith("for the served bundle: expected to be no more than 0.05 below")


def test_what_travels_with_a_bundle_has_the_names_that_guardrails_ask_for() -> None:
    judgement = _judgement()
    headline = judgement.headline(10)
    for name, value in judgement.numbers().items():
        assert headline[f"test/{name}"] == value
    assert headline["test/n_users"] == N_USERS


def _with_metrics(folder: Path, **metrics: float) -> str:
    """Publishes a bundle that says of itself how good it is."""
    return str(publish_tiny(folder, metrics={f"test/{name}": value for name, value in metrics.items()}))


def test_a_model_may_be_behind_the_served_bundle_by_the_margin_and_no_more(tmp_path: Path) -> None:
    bundle = _with_metrics(tmp_path, **{"recall@10": 0.76})
    rail = GuardrailConfig(metric="recall@10", against="bundle", margin=0.02)
    assert not _failures(bundle, served=rail)
    (reason,) = _failures(bundle, served=GuardrailConfig(metric="recall@10", against="bundle", margin=0.005))
    assert "is 0.7500, and 0.7600 for the served bundle: expected to be no more than 0.005 below" in reason


def test_a_bundle_without_the_metric_is_no_reference(tmp_path: Path) -> None:
    rail = GuardrailConfig(metric="recall@10", against="bundle")
    with pytest.raises(ConfigError, match=r"has no metric 'test/recall@10', got \['test/ndcg@10'\]"):
        _failures(_with_metrics(tmp_path, **{"ndcg@10": 0.5}), served=rail)


@pytest.mark.parametrize(
    ("rail", "message"),
    [
        (
            GuardrailConfig(metric="ndcg@7", at_least=0.1),
            "what was measured, got 'ndcg@7'; choose one of recall@10; .* click/auc",
        ),
        (
            GuardrailConfig(metric="ndcg@10", against="als"),
            "must be bundle or one of popularity, .* got 'als'",
        ),
        (GuardrailConfig(metric="gini", against="popularity"), "got 'popularity' and 'gini'"),
        (
            GuardrailConfig(metric="ndcg@10", slice="user: parity = odd", at_least=0.1),
            r"got 'ndcg@10\|user: parity = odd'; choose one of ndcg@10; ndcg@10\|user: parity = even \(",
        ),
    ],
)
def test_a_guardrail_about_what_was_not_measured_is_refused(rail: GuardrailConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _failures(rail=rail)


def test_an_optional_baseline_is_asked_for_only_where_it_could_be_fitted() -> None:
    rail = GuardrailConfig(metric="ndcg@10", against="als", optional=True)
    config = GateConfig(guardrails={"als": rail})
    assert list(failures(config, replace(_judgement(), left_out={"als": "left out: not installed"}))) == []
    # One that is neither there nor explained is a wrong name.
    with pytest.raises(ConfigError, match=r"must be bundle or one of popularity, .* got 'als'"):
        list(failures(config, _judgement()))
    better = replace(rail, against="popularity", margin=-0.9)
    assert len(list(failures(GateConfig(guardrails={"rail": better}), _judgement()))) == 1


@pytest.mark.parametrize(
    ("rail", "message"),
    [
        (
            GuardrailConfig(metric="ndcg@10"),
            "must have at_least, at_most, gap_at_most or against, got none for 'ndcg@10'",
        ),
        (GuardrailConfig(metric="ndcg@10", against="bundle"), "is against the bundle, got gate.bundle=''"),
    ],
)
def test_a_guardrail_that_asks_for_nothing_known_is_refused(rail: GuardrailConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GateConfig(guardrails={"rail": rail})


def _apart(low: float, high: float) -> Judgement:
    """A model whose metric is 0.2 for one group and 0.5 for another, with these half widths."""
    judgement = _judgement()
    parts = tuple(
        Slice(value, 100, {"model": Estimate(mean, mean - reach, mean + reach)})
        for value, mean, reach in (("F", 0.2, low), ("M", 0.5, high))
    )
    column = SlicedColumn("user: gender", parts, 0, 0)
    return replace(judgement, slices=replace(judgement.slices, columns=(column,)))


def _gap_rail(bound: float, column: str = "user: gender") -> GateConfig:
    return GateConfig(guardrails={"fair": GuardrailConfig(metric="ndcg@10", slice=column, gap_at_most=bound)})


def test_gap_fails_only_with_its_whole_interval_beyond_the_bound() -> None:
    (reason,) = failures(_gap_rail(0.1), _apart(0.05, 0.05))
    assert reason.startswith("fair: ndcg@10 of M is 0.3000 above that of F (user: gender)")
    assert not list(failures(_gap_rail(0.1), _apart(0.2, 0.2))), "0.3 ± 0.28 cannot tell"
    assert not list(failures(_gap_rail(0.5), _apart(0.05, 0.05)))


def test_gap_of_what_was_not_sliced_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"bounds a gap of ndcg@10 over one of \['user: gender'\], got"):
        list(failures(_gap_rail(0.1, "user: shoes"), _apart(0.1, 0.1)))
    with pytest.raises(ConfigError, match="got another bound beside it"):
        GateConfig(guardrails={"fair": GuardrailConfig(metric="ndcg@10", gap_at_most=0.1, at_least=0.1)})


def test_gap_of_a_protected_column_is_held_by_any_of_its_metrics() -> None:
    rng = np.random.default_rng(0)
    rows = rng.random(400) < np.where(np.arange(400) % 2 == 0, 0.2, 0.7)
    gaps = measure_gaps("region", "selection rate of ads", rows.astype(float), ["north", "south"] * 200)
    judgement = replace(_judgement(), fairness=GroupFairness((gaps,)))

    def held(bound: float, column: str = "user: region") -> list[str]:
        rail = GuardrailConfig(metric="selection rate of ads", slice=column, gap_at_most=bound)
        return list(failures(GateConfig(guardrails={"even": rail}), judgement))

    (reason,) = held(0.2)
    assert reason.startswith("even: selection rate of ads of south is 0.")
    assert not held(0.45), "its interval holds the bound: cannot tell"
    alone = measure_gaps("region", "selection rate of ads", rows.astype(float), ["north"] * 400)
    judgement = replace(_judgement(), fairness=GroupFairness((alone,)))
    assert not held(0.0), "one group has no gap"
    with pytest.raises(ConfigError, match="bounds a gap of ndcg@10"):
        held(0.0, "user: shoes")


def _earning(effective: float = 500.0) -> Judgement:
    """A candidate that earns 0.3 where the log earned 0.25."""
    value = Value(
        Support(1000, effective, 3.0, 0.0, 0.0),
        {Estimator.doubly_robust: Estimate(0.3, 0.28, 0.32), Estimator.direct: Estimate(0.9, 0.9, 0.9)},
        Estimate(0.25, 0.24, 0.26),
        {Estimator.doubly_robust: Estimate(0.05, 0.02, 0.08), Estimator.direct: Estimate(0.65, 0.65, 0.65)},
    )
    return replace(_judgement(), off_policy=value)


def _reward_rail(**bounds: Any) -> GateConfig:  # Any: of a guardrail's fields
    return GateConfig(guardrails={"pays": GuardrailConfig(metric="off_policy", **bounds)})


@pytest.mark.parametrize(
    ("passing", "failing", "message"),
    [
        ({"at_least": 0.28}, {"at_least": 0.29}, "expected the lower end to be 0.29 or more"),
        ({"at_most": 0.32}, {"at_most": 0.31}, "expected the upper end to be 0.31 or less"),
        (
            {"against": "log", "margin": -0.02},
            {"against": "log", "margin": -0.03},
            "minus what the log earned is 0.0500, 95\u00a0% interval 0.0200 to 0.0800: expected the lower "
            "end to be 0.03 or more",
        ),
    ],
    ids=["floor", "ceiling", "log"],
)
def test_estimated_reward_is_held_by_the_end_that_speaks_against_it(
    passing: dict[str, Any], failing: dict[str, Any], message: str
) -> None:
    assert not list(failures(_reward_rail(**passing), _earning()))
    (reason,) = failures(_reward_rail(**failing), _earning())
    assert reason.startswith("pays: off_policy")
    assert reason.endswith(message)


def test_reward_that_no_log_can_tell_fails_its_guardrail() -> None:
    (reason,) = failures(_reward_rail(at_least=0.0), _earning(effective=3.0))
    assert "pays: off_policy is not identifiable: 3 of 1,000 logged decisions speak" in reason


def test_guardrail_on_a_reward_that_was_not_estimated_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"it needs ope=…, no slice, .* got no ope"):
        list(failures(_reward_rail(at_least=0.0), _judgement()))
    with pytest.raises(ConfigError, match=r"got ope, '' and 'popularity'"):
        list(failures(_reward_rail(against="popularity"), _earning()))
