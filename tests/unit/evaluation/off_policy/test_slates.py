"""Values of lists against worlds whose truth is known."""

import numpy as np
import numpy.typing as npt
import pytest

from marquee.errors import DataError, ShapeError
from marquee.evaluation.off_policy.estimators import Estimator
from marquee.evaluation.off_policy.slates import (
    Browsing,
    LoggedSlates,
    SlateValue,
    estimate_slates,
    place_weights,
)

RATES = np.array([0.2, 0.5])


def slate_value(browsing: Browsing, seed: int, model_error: float = 0.0) -> tuple[SlateValue, float]:
    """Returns the estimate of a world of two places where a click above halves those below, and the truth."""
    rng = np.random.default_rng(seed)
    n = 1500
    first = rng.choice(2, n, p=[0.7, 0.3])
    second = np.where(rng.random(n) < 0.5, 0, 1)
    above = rng.random(n) < RATES[first]
    below = rng.random(n) < RATES[second] * np.where(above, 0.5, 1.0)
    propensity = np.stack([np.where(first == 0, 0.7, 0.3), np.full(n, 0.5)], axis=1)
    target = np.stack([np.where(first == 0, 0.2, 0.8), np.where(second == 0, 0.3, 0.7)], axis=1)
    reward = np.stack([above, below], axis=1).astype(np.float64)
    model = RATES + model_error
    predicted = np.stack([model[first], model[second]], axis=1)
    expected = np.broadcast_to([0.2 * model[0] + 0.8 * model[1], 0.3 * model[0] + 0.7 * model[1]], (n, 2))
    mean_above = 0.2 * 0.2 + 0.8 * 0.5
    truth = mean_above + (0.3 * 0.2 + 0.7 * 0.5) * (1 - 0.5 * mean_above)
    log = LoggedSlates(
        reward, propensity, target, np.arange(n), predicted=predicted, expected=np.array(expected)
    )
    return estimate_slates(log, browsing), truth


@pytest.mark.parametrize("model_error", [0.0, 0.2])
def test_cascade_holds_the_truth_where_places_depend_on_those_above(model_error: float) -> None:
    held = dict.fromkeys((Estimator.self_normalised, Estimator.doubly_robust), 0)
    for seed in range(100):
        value, truth = slate_value(Browsing.cascade, seed, model_error)
        for name in held:
            estimate = value.value.estimates[name]
            held[name] += estimate.low <= truth <= estimate.high
    assert all(90 <= n <= 99 for n in held.values())


def test_model_of_lists_makes_doubly_robust_steadier() -> None:
    value, _ = slate_value(Browsing.cascade, 0)
    length = {name: one.high - one.low for name, one in value.value.estimates.items()}
    assert length[Estimator.doubly_robust] < 0.8 * length[Estimator.inverse_propensity]


def test_own_slates_earn_their_mean_exactly_and_short_lists_count() -> None:
    reward = np.array([[1.0, 0.0], [0.0, np.nan], [1.0, 1.0]])
    propensity = np.array([[0.5, 0.5], [0.25, 1.0], [0.5, 0.25]])
    for browsing in Browsing:
        value = estimate_slates(LoggedSlates(reward, propensity, propensity, np.arange(3)), browsing).value
        assert value.estimates[Estimator.self_normalised].mean == pytest.approx(1.0, abs=1e-15)
        assert value.estimates[Estimator.inverse_propensity].mean == value.logged.mean == 1.0
        assert value.gains[Estimator.inverse_propensity].mean == 0.0


def test_gain_is_paired_with_what_the_log_earned() -> None:
    value, _ = slate_value(Browsing.cascade, 1)
    for name, gain in value.value.gains.items():
        assert gain.mean == pytest.approx(value.value.estimates[name].mean - value.value.logged.mean)


def test_a_list_is_known_no_better_than_its_worst_place() -> None:
    value, _ = slate_value(Browsing.cascade, 2)
    above, below = value.places
    assert (above.place, below.place) == (1, 2)
    assert value.value.support.effective == below.support.effective < above.support.effective


def test_cascade_multiplies_down_the_list_and_independent_does_not() -> None:
    target, propensity = np.array([[0.5, 0.5]]), np.array([[0.25, 0.25]])
    assert place_weights(target, propensity, Browsing.cascade).tolist() == [[2.0, 4.0]]
    assert place_weights(target, propensity, Browsing.independent).tolist() == [[2.0, 2.0]]


def test_clipping_of_lists_says_what_it_took_and_bounds_the_weight() -> None:
    reward = np.ones((2, 1))
    log = LoggedSlates(reward, np.array([[0.1], [0.1]]), np.array([[0.9], [0.1]]), np.arange(2))
    support = estimate_slates(log, Browsing.cascade, clip=4.0).value.support
    assert support.largest == 4.0
    assert support.clipped == pytest.approx(0.5)


def slates(**changed: npt.NDArray[np.float64] | None) -> LoggedSlates:
    ones = np.ones((3, 2))
    given = {"reward": ones, "propensity": ones / 2, "target": ones / 2} | changed
    return LoggedSlates(user=np.arange(3), **given)  # type: ignore[arg-type]  # keys are fields


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"reward": np.full((3, 2), np.nan)}, DataError, "got 0 places"),
        ({"reward": np.full((3, 2), np.inf)}, DataError, "6 of them infinite"),
        ({"propensity": np.full((3, 2), 1.5)}, DataError, "6 have one outside"),
        ({"propensity": np.full((3, 2), -0.5)}, DataError, "6 have one outside"),
        ({"propensity": np.full((3, 2), np.nan)}, DataError, "6 of 6 logged actions have no propensity"),
        ({"propensity": np.ones((3, 2))}, DataError, "never explores"),
        ({"target": np.ones((3, 1))}, ShapeError, "target must have one value per place"),
        ({"predicted": np.ones((3, 2))}, DataError, "belong together"),
        ({"reward": np.ones(3)}, ShapeError, "lists of one length"),
    ],
)
def test_lists_that_cannot_be_used_say_why(
    changed: dict[str, npt.NDArray[np.float64]], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        slates(**changed)
