"""Earlier exposures of a user, weighed one by one in plain Python, and in one product."""

import numpy as np
import pytest

from marquee.features.exposures.places import MAX_PLACES, Places
from marquee.features.exposures.shown_before import (
    HALF_LIFE_DAYS,
    NEARNESS,
    Shown,
    ShownBefore,
    column_names,
    describe,
    directions,
)

WIDTHS = (1, 2)
NAMES = column_names(("kind", "tags"))


def drawn(n_batch: int, n: int, length: int, seed: int = 0) -> tuple[Shown, ShownBefore]:
    """Returns random candidates and exposures; the first exposure of each is padding."""
    rng = np.random.default_rng(seed)

    def unit(*shape: int) -> np.ndarray:
        return directions(rng.standard_normal((int(np.prod(shape)), 3)).astype(np.float32)).reshape(*shape, 3)

    is_there = (np.arange(length) > 0).astype(np.float32)
    before = ShownBefore(
        items=rng.integers(1, 5, (n_batch, length)) * is_there.astype(np.int64),
        expected=rng.random((n_batch, length)).astype(np.float32) * is_there,
        came=(rng.random((n_batch, length)) < 0.5).astype(np.float32) * is_there,
        age_days=(30 * rng.random((n_batch, length))).astype(np.float32),
        directions=unit(n_batch, length),
        tokens=rng.integers(0, 4, (n_batch, length, 3)),
    )
    return Shown(
        rng.integers(0, 5, (n_batch, n)), unit(n_batch, n), rng.integers(0, 4, (n_batch, n, 3))
    ), before


def by_hand(shown: Shown, before: ShownBefore, row: int, candidate: int) -> dict[str, float]:
    """Returns some of the columns of one candidate, exposure by exposure."""
    near, late_tags, same = [0.5, 0.5], [1.0, 1.0], [0.3, 0.3]
    for past in range(before.items.shape[1]):
        outcome = float(before.came[row, past]), float(before.expected[row, past])
        cosine = float(shown.directions[row, candidate] @ before.directions[row, past])
        recency = 0.5 ** (float(before.age_days[row, past]) / HALF_LIFE_DAYS)
        shared = sum(
            own == other
            for own in shown.tokens[row, candidate, 1:].tolist()
            for other in before.tokens[row, past, 1:].tolist()
            if own
        )
        is_same = shown.items[row, candidate] == before.items[row, past] > 0
        for number in range(2):
            near[number] += np.exp(NEARNESS * (cosine - 1)) * outcome[number]
            late_tags[number] += shared * recency * outcome[number]
            same[number] += is_same * outcome[number]
    return {
        "user and items near it": np.log(near[0] / near[1]),
        "user and tags, lately": np.log(late_tags[0] / late_tags[1]),
        "user and the item": np.log(same[0] / same[1]),
    }


def test_columns_are_those_that_are_added_up_by_hand() -> None:
    shown, before = drawn(3, 4, 6)
    found = describe(shown, before, WIDTHS)
    assert found.shape == (3, 4, len(NAMES))
    for row in range(3):
        for candidate in range(4):
            for name, value in by_hand(shown, before, row, candidate).items():
                assert found[row, candidate, NAMES.index(name)] == pytest.approx(value, abs=1e-5), name


def test_users_of_a_batch_do_not_mix() -> None:
    shown, before = drawn(4, 2, 5)
    together = describe(shown, before, WIDTHS)
    for row in range(4):
        rows = slice(row, row + 1)
        alone = describe(
            Shown(*(getattr(shown, name)[rows] for name in Shown.__dataclass_fields__)),
            ShownBefore(*(getattr(before, name)[rows] for name in ShownBefore.__dataclass_fields__)),
            WIDTHS,
        )
        np.testing.assert_allclose(together[rows], alone, atol=1e-6)


def test_somebody_who_was_shown_nothing_is_described_by_zeros() -> None:
    shown, before = drawn(1, 3, 0)
    assert not describe(shown, before, WIDTHS).any()


def test_places_beyond_the_bound_are_those_of_the_last_one() -> None:
    n = MAX_PLACES + 10
    places = Places.fit(np.array(["feed"] * n), np.arange(1, n + 1))
    assert len(places) == MAX_PLACES + 1
    assert places.encode(["feed", "feed", "shop"], [MAX_PLACES, n, 1]).tolist() == [MAX_PLACES] * 2 + [0]
