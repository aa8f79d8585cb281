import numpy as np
import pytest
from scipy.optimize import linprog

from marquee.ads import Prospect, allocate
from marquee.errors import ConfigError


def best_by_linear_program(prospects: dict[str, Prospect], budget: float) -> float:
    """Returns the most results for a budget: each step of each campaign may be bought in part."""
    value = np.concatenate([one.value * np.array(one.counts) for one in prospects.values()])
    cost = np.concatenate([np.array(one.prices, float) * np.array(one.counts) for one in prospects.values()])
    found = linprog(np.negative(value), A_ub=[cost], b_ub=[budget], bounds=[(0, 1)] * len(value))
    assert found.fun is not None
    return -float(found.fun)


def test_shares_are_the_best_there_are() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        prospects = {
            f"c{number}": Prospect(
                sorted(rng.choice(np.arange(0, 60), 12, replace=False).tolist()),
                rng.integers(0, 50, 12).tolist(),
                float(rng.choice([0.0, rng.uniform(1e-4, 0.05)])),
            )
            for number in range(5)
        }
        budget = float(rng.uniform(0, 15_000))
        shares = allocate(prospects, budget)
        assert sum(share.results for share in shares.values()) == pytest.approx(
            best_by_linear_program(prospects, budget), rel=1e-9, abs=1e-9
        )
        assert sum(share.spend for share in shares.values()) <= budget + 1e-6


def test_budget_is_spent_by_mixing_two_neighbouring_bids() -> None:
    shares = allocate({"a": Prospect([10, 20], [100, 100], 0.01)}, 2_000)
    assert shares["a"].spend == pytest.approx(2_000)
    assert shares["a"].bid == 20
    assert shares["a"].mixed == pytest.approx(0.5)


def test_campaign_without_value_gets_nothing() -> None:
    shares = allocate({"a": Prospect([10], [5], 0.0), "b": Prospect([10], [5], 0.1)}, 1e6)
    assert shares["a"].spend == 0
    assert shares["b"].spend == 50


def test_nobody_and_nothing() -> None:
    assert allocate({}, 10) == {}
    assert allocate({"a": Prospect([10], [5], 0.1)}, 0)["a"].spend == 0


def test_wrong_input_is_refused_in_words() -> None:
    with pytest.raises(ConfigError, match="one count per price"):
        Prospect([1, 2], [1], 0.1)
    with pytest.raises(ConfigError, match="prices of 0 or more"):
        Prospect([-1], [1], 0.1)
    with pytest.raises(ConfigError, match="0 or more"):
        Prospect([1], [1], float("nan"))
    with pytest.raises(ConfigError, match="budget must be"):
        allocate({}, float("inf"))
