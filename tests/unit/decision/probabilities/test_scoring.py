"""Probabilities of candidates: by place, by earlier exposures, and by what may be read."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from marquee.bundle.bundle import Bundle
from marquee.core.catalog import ItemKind
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Request
from marquee.errors import BundleError, DataError, UnknownIdError
from marquee.store.live_items import LiveItem
from marquee.store.people.consent import Tier
from tests.support.bundles import CREATED, NOW, make_tiny, publish_tiny
from tests.support.click_heads import head_for, with_head

ITEMS = ("i003", "i005", "i008")


def recommender(score_weight: float = 0.0) -> Recommender:
    """Returns a recommender of a tiny bundle with a head."""
    return Recommender(Bundle.of(with_head(make_tiny().contents, score_weight), CREATED))


@pytest.fixture(scope="module")
def tiny() -> Recommender:
    """A recommender whose head reads no score."""
    return recommender()


def logits(probability: np.ndarray) -> np.ndarray:
    """Returns the logits of probabilities."""
    return np.asarray(np.log(probability / (1 - probability)))


def request(**given: object) -> Request:
    """Returns a request on the surface `home`."""
    return Request(**{"timestamp": NOW, "surface": "home", **given})  # type: ignore[arg-type]


def test_place_is_the_one_that_is_asked_for(tiny: Recommender) -> None:
    at_first, at_second, below = (
        tiny.probabilities(request(user_id="u1"), ITEMS, [position] * 3) for position in (1, 2, 7)
    )
    np.testing.assert_allclose(logits(at_first.click) - logits(at_second.click), 2.0, atol=1e-4)
    np.testing.assert_allclose(logits(at_first.conversion), logits(at_second.conversion), atol=1e-4)
    # Below the last place of training stands what stood there.
    np.testing.assert_array_equal(below.click, at_second.click)


def test_candidates_are_scored_each_by_itself(tiny: Recommender) -> None:
    together = tiny.probabilities(request(user_id="u1"), ITEMS, [1, 2, 1])
    for row, (item, position) in enumerate(zip(ITEMS, (1, 2, 1), strict=True)):
        alone = tiny.probabilities(request(user_id="u1"), [item], [position])
        np.testing.assert_allclose(alone.click[0], together.click[row], rtol=1e-6)
        np.testing.assert_allclose(alone.conversion[0], together.conversion[row], rtol=1e-6)
    assert together.is_finite.all()


def test_what_a_user_was_shown_counts_for_that_user_alone(tiny: Recommender) -> None:
    of_first, of_second, of_nobody = (
        tiny.probabilities(request(user_id=user, features={"city": "oslo"}), ["i003"], [1]).click
        for user in ("u1", "u6", None)
    )
    # u1 clicked i003 yesterday; u6 was shown nothing, as nobody was.
    assert of_first > of_second
    assert of_first > of_nobody


@pytest.mark.parametrize("tier", [tier for tier in Tier if tier is not Tier.personal])
def test_without_consent_neither_past_nor_vector_is_read(tier: Tier) -> None:
    by_score = recommender(score_weight=1.0)
    known, unknown = (
        by_score.probabilities(replace(request(user_id=user), tier=tier), ITEMS, [1, 1, 1]).click
        for user in ("u1", "u3")
    )
    np.testing.assert_array_equal(known, unknown)
    personal = by_score.probabilities(request(user_id="u1"), ITEMS, [1, 1, 1]).click
    assert not np.array_equal(personal, known)


def test_live_item_is_known_by_its_features(tiny: Recommender) -> None:
    live = LiveItem(item_id="new", kind=ItemKind.ad, attributes={"genre": "drama"})
    asked = tiny.with_live_items({"new": live})
    said = asked.probabilities(request(user_id="u1"), ["new", "i003"], [1, 1])
    assert said.is_finite.all()
    np.testing.assert_array_equal(
        said.click[1], tiny.probabilities(request(user_id="u1"), ["i003"], [1]).click[0]
    )
    comedy = tiny.with_live_items({"new": replace(live, attributes={"genre": "comedy"})})
    assert comedy.probabilities(request(user_id="u1"), ["new"], [1]).click[0] != said.click[0]


def test_a_score_that_is_no_number_is_no_probability() -> None:
    contents = make_tiny().contents
    vectors = contents.user_vectors.copy()
    vectors[2] = np.inf
    broken = Recommender(Bundle.of(with_head(replace(contents, user_vectors=vectors)), CREATED))
    assert not broken.probabilities(request(user_id="u2"), ITEMS, [1, 1, 1]).is_finite.any()
    assert broken.probabilities(request(user_id="u1"), ITEMS, [1, 1, 1]).is_finite.all()


def test_bundle_without_a_head_says_so() -> None:
    plain = Recommender(Bundle.of(make_tiny().contents, CREATED))
    assert plain.scorer is None
    with pytest.raises(DataError, match="says nothing of clicks; train it with probabilities=cross"):
        plain.probabilities(request(), ITEMS, [1, 1, 1])


def test_unknown_item_is_refused(tiny: Recommender) -> None:
    with pytest.raises(UnknownIdError, match="i999"):
        tiny.probabilities(request(), ["i999"], [1])


def test_published_head_says_what_it_said_before(tiny: Recommender, tmp_path: Path) -> None:
    path = publish_tiny(tmp_path, click_head=head_for(make_tiny().contents))
    for user in ("u1", "u6", None):
        asked = request(user_id=user)
        before, after = (one.probabilities(asked, ITEMS, [1, 2, 1]) for one in (tiny, Recommender.load(path)))
        np.testing.assert_array_equal(before.click, after.click)
        np.testing.assert_array_equal(before.conversion, after.conversion)


@pytest.mark.parametrize(
    "change",
    [
        {"offsets": np.array([0, 3, 1, 3, 3, 3, 3, 3])},
        {"shown_items": np.array([3, 99, 3], dtype=np.int32)},
        {"counts": np.zeros((7, 2), dtype=np.float32)},
        {"graph": b"no graph"},
    ],
)
def test_head_of_other_arrays_is_refused(change: Mapping[str, object], tmp_path: Path) -> None:
    head = head_for(make_tiny().contents)
    for name, value in change.items():
        object.__setattr__(head, name, value)  # past its own checks, as a faulty publisher would write it
    with pytest.raises(BundleError, match="click_head"):
        Bundle.load(publish_tiny(tmp_path, click_head=head))
