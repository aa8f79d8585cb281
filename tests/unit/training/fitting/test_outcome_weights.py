"""The weights of the two outcomes of a click head follow from the objective."""

import pytest

from marquee.ads.objective import Objective
from training.fitting.probabilities.fit import outcome_weights


def test_an_outcome_weighs_what_an_error_in_it_costs() -> None:
    # Of ten clicks one converts: a click is worth 0.02 + 0.1, a conversion 1.
    click, conversion = outcome_weights(Objective(click=0.02, conversion=1.0), 1_000, 100)
    assert click + conversion == pytest.approx(2.0)
    assert click / conversion == pytest.approx(0.12)
    assert outcome_weights(Objective(click=1.0), 1_000, 100) == (2.0, 0.0)
    assert outcome_weights(Objective(), 1_000, 100) == (1.0, 1.0), "money alone says nothing of outcomes"
