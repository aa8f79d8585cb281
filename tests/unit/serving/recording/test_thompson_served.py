"""Thompson sampling in the service: drawn by the counts of the release, and logged as it was drawn."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import chisquare

from marquee.decision.policies.config import Exploration, PolicyName
from marquee.decision.policies.thompson import N_DRAWS
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Request
from marquee.errors import BundleError
from serving.config import Settings
from serving.recording.opening import OpenedLog
from serving.releases.surfaces import Surface
from tests.support.bundles import NOW, publish_tiny
from tests.unit.serving.recording.test_decisions import Service

THOMPSON = Exploration(policy=PolicyName.thompson, prior_clicks=1.0, prior_passes=4.0)
N_ASKED = 4_000
SHOWN, CLICKED = 60, (2, 9, 14, 12)
"""Of the first four items on the surface; the others were never shown there."""


@pytest.fixture(scope="module")
def recommender(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    counts = pl.DataFrame(
        {
            "surface": ["home"] * 4 + ["default"] * 4,
            "item_id": [f"i{number:03d}" for number in range(1, 5)] * 2,
            "shown": [SHOWN] * 8,
            "clicked": [*CLICKED, *CLICKED],
        }
    )
    return Recommender.load(publish_tiny(tmp_path_factory.mktemp("bundles"), click_counts=counts))


@pytest.fixture
def log(tmp_path: Path) -> Iterator[OpenedLog]:
    log = OpenedLog(str(tmp_path / "events"))
    yield log
    log.close()


def test_first_places_are_drawn_as_the_counts_say(recommender: Recommender) -> None:
    requests = [
        Request(timestamp=NOW, k=1, surface="home", exploration=THOMPSON, decision_id=str(number))
        for number in range(N_ASKED)
    ]
    decided = recommender.decide(requests)
    names = recommender.bundle.catalog.item_ids
    drawn = Counter(one.answer.items[0].item_id for one in decided)
    candidates = list(drawn)
    indices = [names.index(name) for name in candidates]
    clicks = np.array([CLICKED[index - 1] if index <= 4 else 0.0 for index in indices])
    shown = np.array([float(SHOWN) if index <= 4 else 0.0 for index in indices])
    # Independently: the exact posteriors of the counts, in place of the policy's own draws.
    rng = np.random.default_rng(0)
    rates = rng.beta(clicks + 1.0, shown - clicks + 4.0, (400_000, len(indices)))
    expected = np.bincount(rates.argmax(axis=1), minlength=len(indices)) / len(rates) * N_ASKED
    assert chisquare([drawn[name] for name in candidates], expected).pvalue > 0.01


def test_logged_propensities_are_those_of_the_counts(recommender: Recommender, log: OpenedLog) -> None:
    service = Service(recommender, log, THOMPSON)
    answers = service.ask("/v1/recommend", *[{"k": 3}] * 40)
    decisions = {one.decision_id: one for one in service.written()}
    assert {answer["policy"] for answer in answers} == {"thompson"}
    for answer in answers:
        places = decisions[answer["decision_id"]].places
        assert [place.item_id for place in places] == [item["item_id"] for item in answer["items"]]
        assert all(0 < place.propensity <= 1 for place in places)
        assert (places[0].propensity * N_DRAWS).is_integer()
    assert decisions[answers[0]["decision_id"]].parameters == {
        "share": 1.0,
        "floor": 0.0,
        "prior_clicks": 1.0,
        "prior_passes": 4.0,
    }


def test_release_without_counts_does_not_fit_a_surface_that_draws_by_them(
    recommender: Recommender, tmp_path: Path
) -> None:
    surface = Surface(name="home", bundle="", settings=Settings(), exploration=THOMPSON)
    surface.validate(recommender)
    without = Recommender.load(publish_tiny(tmp_path))
    with pytest.raises(BundleError, match=r"home.*click counts, got none.*training\.loop"):
        surface.validate(without)
