import numpy as np
import pytest

from marquee.evaluation.probabilities.click_heads import (
    MAX_PLACES,
    ScoredExposures,
    head_probabilities,
    place_indicators,
)
from marquee.evaluation.probabilities.metrics import log_loss


def _exposures(seed: int, n: int = 4000) -> ScoredExposures:
    """Clicks that depend on the score and, more strongly, on the place."""
    generator = np.random.default_rng(seed)
    score, first = generator.normal(size=n), generator.random(n) < 0.5
    is_clicked = generator.random(n) < 1 / (1 + np.exp(2.0 - score - 2.0 * first))
    return ScoredExposures(score, is_clicked, np.where(first, "feed 1", "feed 2").astype(np.str_))


def test_the_head_that_knows_most_stands_first_and_says_most() -> None:
    judged = _exposures(2)
    heads = head_probabilities(_exposures(1), judged)
    assert list(heads) == [
        "score and place",
        "score, logistic",
        "score, isotonic",
        "place alone",
        "mean rate",
    ]
    losses = {name: log_loss(said, judged.is_clicked) for name, said in heads.items()}
    assert losses["score and place"] == min(losses.values())
    assert losses["mean rate"] == max(losses.values())


@pytest.mark.parametrize(
    "places",
    [None, np.full(4000, "feed"), np.arange(4000).astype(np.str_)],
    ids=["unknown", "all alike", f"more than {MAX_PLACES}"],
)
def test_a_place_that_says_nothing_makes_no_head(
    places: np.ndarray[tuple[int], np.dtype[np.str_]] | None,
) -> None:
    score, is_clicked = _exposures(1).score, _exposures(1).is_clicked
    bare = ScoredExposures(score, is_clicked, places)
    assert list(head_probabilities(bare, bare)) == ["score, logistic", "score, isotonic", "mean rate"]


def test_a_place_that_was_never_fitted_is_no_known_place() -> None:
    _, judged = place_indicators(np.array(["a", "b"]), np.array(["b", "c"]))
    assert judged is not None
    assert judged.tolist() == [[0.0, 1.0], [0.0, 0.0]]


@pytest.mark.parametrize(("n_clicked", "can_teach"), [(29, False), (30, True), (70, True), (71, False)])
def test_a_head_needs_enough_of_both_outcomes(n_clicked: int, can_teach: bool) -> None:
    assert ScoredExposures(np.zeros(100), np.arange(100) < n_clicked).can_teach is can_teach
