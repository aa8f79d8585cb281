"""The leak audit reads what is there to be read, and no more."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from marquee.errors import DataError, ShapeError
from marquee.evaluation.leaks import _logistic, audit_leak


def test_noise_tells_nothing_and_a_direction_tells() -> None:
    rng = np.random.default_rng(0)
    is_member = rng.random(1000) < 0.3
    values = np.where(is_member, "F", "M").tolist()
    (silent,) = audit_leak(rng.normal(size=(1000, 8)), "gender", values, rng)
    assert (silent.value, silent.n_members, silent.n) == ("F", int(is_member.sum()), 1000)
    assert silent.auc.low < 0.5 < silent.auc.high
    told = rng.normal(size=(1000, 8))
    told[:, 3] += is_member
    (leak,) = audit_leak(told, "gender", values, rng)
    assert leak.auc.low < 0.76 < leak.auc.high  # Φ(1 / √2) for a shift of one deviation


def test_each_of_several_values_is_audited_and_unknown_people_left_out() -> None:
    rng = np.random.default_rng(1)
    values = [*["young"] * 100, *["middle"] * 100, *["old"] * 100, *["king"] * 3, None, ""]
    found = audit_leak(rng.normal(size=(305, 4)), "age", values, rng)
    assert [(leak.value, leak.n) for leak in found] == [("middle", 303), ("old", 303), ("young", 303)]


def test_attribute_that_parts_nobody_is_refused() -> None:
    rng = np.random.default_rng(2)
    with pytest.raises(DataError, match=r"age cannot be audited: its values have {'a': 90, 'b': 10}"):
        audit_leak(rng.normal(size=(100, 4)), "age", ["a"] * 90 + ["b"] * 10, rng)
    with pytest.raises(ShapeError, match="each vector needs a value"):
        audit_leak(rng.normal(size=(100, 4)), "age", ["a"], rng)


def test_classifier_is_the_penalised_logistic_regression() -> None:
    rng = np.random.default_rng(3)
    features = rng.normal(size=(400, 3))
    outcome = rng.random(400) < 1 / (1 + np.exp(-features[:, 0]))
    slope = _logistic(np.column_stack([features, np.ones(400)]), outcome)
    oracle = LogisticRegression(C=1.0, tol=1e-10).fit(features, outcome)
    assert slope[:3] == pytest.approx(oracle.coef_[0], abs=1e-4)
    assert slope[3] == pytest.approx(oracle.intercept_[0], abs=1e-4)
