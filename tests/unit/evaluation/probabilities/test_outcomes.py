import json

import numpy as np
import pytest

from marquee.errors import DataError
from marquee.evaluation.probabilities.outcomes import JudgedOutcome, judge_outcome

N_USERS, PER_USER = 400, 10


def _judged(said_too_much_on: str = "", seed: int = 0, n_users: int = N_USERS) -> JudgedOutcome:
    """A head that knows the truth, but for one surface if told so, beside the mean rate."""
    generator = np.random.default_rng(seed)
    user = np.repeat(np.arange(n_users), PER_USER)
    surface = np.where(np.arange(len(user)) % 2 == 0, "feed", "sidebar")
    truth = np.clip(generator.beta(1, 4, len(user)), 0.01, 0.5)
    outcome = generator.random(len(user)) < truth
    said = np.where(surface == said_too_much_on, np.minimum(2 * truth, 1), truth)
    few = np.arange(len(user)) < 60
    return judge_outcome(
        "click",
        "Is it clicked?",
        {"model": said, "mean rate": np.full(len(user), outcome.mean())},
        outcome,
        user,
        {"surface": {"feed": surface == "feed", "sidebar": surface == "sidebar"}, "size": {"few": few}},
        generator,
    )


def test_a_calibrated_head_tells_more_than_the_mean_rate() -> None:
    judged = _judged()
    assert "tell more than the mean rate does: normalised entropy 0." in judged.sentence
    own, mean_rate = judged.sources
    assert own.metrics["calibration_ratio"].low < 1 < own.metrics["calibration_ratio"].high
    assert own.metrics["auc"].low > 0.5
    assert mean_rate.metrics["normalised_entropy"].mean == pytest.approx(1.0)
    assert mean_rate.metrics["auc"].mean == 0.5


def test_the_worst_calibrated_slice_is_named_and_chance_is_told_from_it() -> None:
    (worst,) = _judged("sidebar").worst
    assert worst.startswith("Worst calibrated slice, of 2: surface = sidebar: ")
    assert "chance" not in worst
    (even,) = _judged().worst
    assert even.endswith("Among so many slices chance alone may make one as bad.")


def test_small_slices_are_suppressed_and_counted() -> None:
    surface, size = _judged().columns
    assert [part.name for part in surface.slices] == ["feed", "sidebar"]
    assert (size.slices, size.n_suppressed) == ((), 1)


def test_numbers_have_the_names_that_a_guardrail_asks_for() -> None:
    judged = _judged()
    numbers = judged.numbers()
    assert numbers["click/auc"] == judged.sources[0].metrics["auc"].mean
    assert numbers["click/log_loss|surface = feed"] == judged.columns[0].slices[0].metrics["log_loss"].mean


def test_few_outcomes_are_said_to_tell_nothing() -> None:
    judged = _judged(n_users=5)
    assert "come with too few outcomes to tell what they are worth" in judged.sentence
    assert not judged.worst
    json.dumps(judged.to_json_dict(), allow_nan=False)


def test_probabilities_that_mislead_are_said_to_tell_less() -> None:
    outcome = np.arange(2000) % 4 == 0
    judged = judge_outcome(
        "click",
        "",
        {"liar": np.where(outcome, 0.1, 0.6)},
        outcome,
        np.arange(2000),
        {},
        np.random.default_rng(0),
    )
    assert "tell less than the mean rate" in judged.sentence


def test_nothing_to_judge_is_refused() -> None:
    nobody = np.zeros(0, dtype=np.int64)
    with pytest.raises(DataError, match=r"'click' needs events and a source .* got 0 events and 0 sources"):
        judge_outcome("click", "", {}, nobody > 0, nobody, {}, np.random.default_rng(0))
