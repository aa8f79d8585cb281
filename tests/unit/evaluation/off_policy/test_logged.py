"""Lists of a log as arrays, and the policies of the service as candidates."""

from collections.abc import Iterator

import numpy as np
import polars as pl
import pytest

from marquee.decision.policies.config import PolicyName
from marquee.decision.policies.thompson import ClickCounts
from marquee.errors import ConfigError, DataError
from marquee.evaluation.off_policy.logged import UNKNOWN, SlateLog, Spread, read_slates, weigh_candidate
from marquee.evaluation.off_policy.policy import PolicyOnLogConfig, Question, spread_policy

SCORES = np.array([0.0, 3.0, 2.0, 1.0], dtype=np.float32)
ALLOWED = np.array([False, True, True, True])


def exposures(**changed: list[object]) -> pl.DataFrame:
    """Two lists of two places, of two policies."""
    columns: dict[str, object] = {
        "request_id": ["a", "a", "b", "b"],
        "user_id": ["u", "u", "v", "v"],
        "position": [1, 2, 5, 3],
        "number": [1, 2, 3, 1],
        "propensity": [0.5, 0.6, 0.2, 0.3],
        "reward": [0.0, 1.0, 1.0, 0.0],
        "policy": ["softmax", "softmax", "epsilon", "epsilon"],
    }
    return pl.DataFrame(columns | changed)


def read(frame: pl.DataFrame, max_lists: int = 10) -> SlateLog:
    return read_slates(frame, max_lists, np.random.default_rng(0))


def asked(n: int) -> Iterator[Question]:
    return iter([Question(SCORES, ALLOWED)] * n)


def test_places_stand_in_their_order_with_propensities_of_their_own_policy() -> None:
    log = read(exposures())
    assert log.item.tolist() == [[1, 2], [1, 3]]
    assert log.propensity.tolist() == [[0.5, 0.6], [0.3, 0.2]]
    assert log.reward.tolist() == [[0.0, 1.0], [0.0, 1.0]]
    assert log.user.tolist() == [0, 1]
    assert log.policies == {"epsilon": 1, "softmax": 1}


def test_a_policy_that_never_explored_is_left_out_and_counted() -> None:
    log = read(exposures(propensity=[0.5, 0.6, 1.0, 1.0]))
    assert log.request_ids == ["a"]
    assert log.left_out == {"epsilon": 1}


def test_lists_of_different_lengths_have_places_of_nobody() -> None:
    log = read(exposures()[:3])
    assert log.item.tolist() == [[1, 2], [3, UNKNOWN]]
    assert np.isnan(log.reward[1, 1])
    assert log.propensity[1, 1] == 1.0


@pytest.mark.parametrize(
    ("propensity", "message"),
    [
        ([0.5, None, 0.2, 0.3], "1 of 4 logged actions have no propensity"),
        ([0.5, 0.0, 0.2, 1.3], "2 have one outside"),
        ([1.0, 1.0, 1.0, 1.0], "never explores"),
    ],
)
def test_a_log_whose_propensities_cannot_be_used_is_refused(propensity: list[object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(exposures(propensity=propensity))


def test_a_log_without_exposures_is_refused() -> None:
    with pytest.raises(DataError, match="must hold exposures, got none"):
        read(exposures()[:0])


def test_of_many_lists_as_many_are_drawn_as_may_be() -> None:
    assert len(read(exposures(), max_lists=1).request_ids) == 1


def test_softmax_spreads_as_its_formula_says() -> None:
    config = PolicyOnLogConfig(policy=PolicyName.softmax, temperature=0.5)
    log = read(exposures())
    first, _ = spread_policy(config, log, asked(2))
    gains = np.array([1.0, 0.5, 0.0])  # scores stretched to 0 … 1, best first
    above = np.exp(gains / 0.5)
    below = np.array([0.0, above[1], above[2]])  # item 1 stands above
    np.testing.assert_array_equal(first.items, [1, 2, 3])
    np.testing.assert_allclose(first.chances, [above / above.sum(), below / below.sum()])


@pytest.mark.parametrize("policy", list(PolicyName))
def test_every_policy_spreads_a_distribution(policy: PolicyName) -> None:
    counts = ClickCounts(np.array([0.0, 5.0, 1.0, 0.0]), np.array([0.0, 9.0, 9.0, 9.0]))
    config = PolicyOnLogConfig(policy=policy, floor=0.1, share=0.5)
    for spread in spread_policy(config, read(exposures()), asked(2), counts):
        np.testing.assert_allclose(spread.chances.sum(axis=1), 1.0)


def test_greedy_is_certain_of_the_best_item_that_is_left() -> None:
    _, second = spread_policy(PolicyOnLogConfig(policy=PolicyName.greedy), read(exposures()), asked(2))
    # The log shows items 1 and 3: greedy shows 1, and below it 2.
    assert second.chances.tolist() == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]


def test_few_of_many_candidates_are_the_best_ones() -> None:
    config = PolicyOnLogConfig(policy=PolicyName.epsilon, n_candidates=2)
    first, _ = spread_policy(config, read(exposures()), asked(2))
    assert first.items.tolist() == [1, 2]


def test_thompson_without_counts_is_refused() -> None:
    config = PolicyOnLogConfig(policy=PolicyName.thompson)
    with pytest.raises(ConfigError, match="needs the click counts"):
        list(spread_policy(config, read(exposures()), asked(2)))


def test_items_that_the_log_never_shows_are_without_support() -> None:
    log = read(exposures())
    chances = np.array([[0.5, 0.2, 0.3], [0.6, 0.0, 0.0]])
    spread = Spread(np.array([1, 7, UNKNOWN]), chances)
    was_shown = np.zeros(8, dtype=bool)
    was_shown[[1, 2, 3]] = True
    lists = weigh_candidate(log, iter([spread, spread]), was_shown, np.random.default_rng(0))
    assert lists.unsupported is not None
    # A list that would end above the second place has nothing to put there.
    np.testing.assert_allclose(lists.unsupported, [[0.5, 0.4], [0.5, 0.4]])
    assert lists.target.tolist() == [[0.5, 0.0], [0.5, 0.0]]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"clip": 0.0}, "ope.clip must be above 0, got 0.0"),
        ({"places": -1}, "ope.places must be 0 or more, got -1"),
        ({"max_lists": 0}, "ope.max_lists must be 1 or more, got 0"),
        ({"n_candidates": 0}, "ope.n_candidates must be between 1 and 1000, got 0"),
        ({"temperature": 0.0}, "temperature must be between 0.001 and 1000.0, got 0.0"),
    ],
)
def test_an_impossible_setting_names_its_key(changed: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PolicyOnLogConfig(**changed)  # type: ignore[arg-type]  # keys are fields
