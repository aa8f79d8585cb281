from dataclasses import replace

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from marquee.errors import DataError, ShapeError
from marquee.world import Market, World

Index = npt.NDArray[np.int64]


def shown(world: World) -> tuple[Index, Index, Index]:
    """Request, item and position of each exposure, in the order of the events."""
    exposures = world.events.filter(pl.col("kind") == "exposure")
    item = exposures["item_id"].replace_strict(
        world.items["item_id"], np.arange(len(world.items)), return_dtype=pl.Int64
    )
    request = exposures["request_id"].str.slice(1).cast(pl.Int64) - 1
    return request.to_numpy(), item.to_numpy(), exposures["position"].to_numpy()


def other_slates(market: Market, n: int) -> tuple[Index, Index, Index]:
    """Every request with n items of no policy, each at a position of its own."""
    rng = np.random.default_rng(0)
    n_requests, n_items = len(market.requests.user), market.luck.n_items
    item = np.array([rng.permutation(n_items)[:n] for _ in range(n_requests)])
    request = np.repeat(np.arange(n_requests), n)
    return request, item.ravel(), np.tile(np.arange(1, n + 1), n_requests)


def test_the_own_policy_meets_again_what_its_log_tells(tiny_world: World) -> None:
    request, item, position = shown(tiny_world)
    came = tiny_world.market.respond(request, item, position)
    np.testing.assert_array_equal(came.click_probability, tiny_world.exposure_click_probability)
    np.testing.assert_array_equal(came.conversion_probability, tiny_world.exposure_conversion_probability)
    keys = ["request_id", "item_id"]
    exposures = tiny_world.events.filter(pl.col("kind") == "exposure").select(keys)
    for kind, happened in (("click", came.is_clicked), ("view", came.is_viewed)):
        told = tiny_world.events.filter(pl.col("kind") == kind).select(keys)
        found = exposures.filter(pl.Series(happened))
        # Reactions of the last seconds fall behind the end, where nothing is logged.
        assert len(told.join(found, on=keys, how="anti")) == 0
        assert len(found) - len(told) in range(3)


def test_luck_is_that_of_request_and_item_alone(tiny_world: World) -> None:
    market = tiny_world.market
    request, item, _ = other_slates(market, 4)
    top = market.respond(request, item, np.ones_like(item))
    low = market.respond(request[::-1], item[::-1], np.full_like(item, 4))
    # Looked at less often further below, and never where it was not looked at on top.
    assert not (low.is_clicked[::-1] & ~top.is_clicked).any()
    assert 0 < low.is_clicked.sum() < top.is_clicked.sum()
    both = low.is_clicked[::-1] & top.is_clicked
    np.testing.assert_array_equal(low.converted_after[::-1][both], top.converted_after[both])


def test_other_slates_gain_as_often_as_the_truth_says(tiny_world: World) -> None:
    market = tiny_world.market
    request, item, position = other_slates(market, 20)
    came = market.respond(request, item, position)
    clicked = came.is_clicked
    for happened, probability in (
        (clicked, came.click_probability),
        (came.converted_after[clicked] >= 0, came.conversion_probability[clicked]),
    ):
        error = np.sqrt((probability * (1 - probability)).sum())
        assert abs(happened.sum() - probability.sum()) < 4 * error
    assert not (came.is_viewed & clicked).any()


def test_luck_of_what_was_never_shown_is_uniform(tiny_world: World) -> None:
    request, item, _ = other_slates(tiny_world.market, 20)
    luck = tiny_world.market.luck.of(request, item)
    n = len(luck)
    for draw in luck[:, :4].T:
        counts = np.bincount((draw * 10).astype(np.int64), minlength=10)
        assert len(counts) == 10
        assert np.square(counts - n / 10).sum() / (n / 10) < 27.9  # chi-square of 9 degrees, p 0.001
    assert abs(luck[:, 4].mean() - 1) < 4 / np.sqrt(n)
    likeness = np.corrcoef(luck.T) - np.eye(5)
    assert np.abs(likeness).max() < 4 / np.sqrt(n)


def test_luck_of_other_seeds_and_pairs_differs(tiny_world: World) -> None:
    luck = tiny_world.market.luck
    request, item, _ = other_slates(tiny_world.market, 1)
    bare = replace(luck, pairs=luck.pairs[:0], drawn=luck.drawn[:0])
    mine = bare.of(request, item)
    other = replace(bare, seed=luck.seed + 1).of(request, item)
    assert len(np.unique(mine[:, 0])) == len(mine)
    assert abs(np.corrcoef(mine[:, 0], other[:, 0])[0, 1]) < 4 / np.sqrt(len(mine))


def test_all_that_was_shown_was_a_candidate(tiny_world: World) -> None:
    market = tiny_world.market
    request, item, _ = shown(tiny_world)
    is_candidate = market.candidates(np.arange(len(market.requests.user)))
    assert is_candidate[request, item].all()
    # Clicked items leave, and so do those that come later or are withdrawn.
    assert 0.3 < is_candidate.mean() < 0.9
    came = market.respond(request, item, np.ones_like(item))
    user, day = market.requests.user, (market.requests.timestamp - market.start) // 86_400
    for clicked_request, clicked_item in zip(
        request[came.is_clicked][:20], item[came.is_clicked][:20], strict=True
    ):
        later = (user == user[clicked_request]) & (day > day[clicked_request])
        seen = market.first_click_day[user[clicked_request], clicked_item]
        if seen <= day[clicked_request]:
            assert not is_candidate[later, clicked_item].any()


@pytest.mark.parametrize(
    ("request_row", "item", "position"), [(-1, 0, 1), (10**6, 0, 1), (0, 40, 1), (0, -1, 1), (0, 0, 0)]
)
def test_exposures_of_no_market_are_counted(
    tiny_world: World, request_row: int, item: int, position: int
) -> None:
    with pytest.raises(DataError, match="1 of 2 exposures are not of this market"):
        tiny_world.market.respond(np.array([0, request_row]), np.array([0, item]), np.array([1, position]))


def test_columns_of_different_lengths_are_refused(tiny_world: World) -> None:
    with pytest.raises(ShapeError, match="one value per exposure"):
        tiny_world.market.respond(np.zeros(2, np.int64), np.zeros(1, np.int64), np.ones(2, np.int64))
