import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from marquee.errors import ConfigError
from marquee.world import World, WorldConfig, chequer_board, simulate, tiny_world, write_world
from marquee.world.policy import EMPTY, believed_liking, sample_slates, slate_weights
from marquee.world.population import draw_population
from marquee.world.traffic import simulate_traffic
from marquee.world.truth import look_probability

SECONDS_PER_DAY = 86_400
CANONICAL = {
    "event_id": pl.String,
    "user_id": pl.String,
    "item_id": pl.String,
    "timestamp": pl.Int64,
    "kind": pl.String,
    "value": pl.Float64,
    "request_id": pl.String,
    "surface": pl.String,
    "position": pl.Int64,
    "policy": pl.String,
    "propensity": pl.Float64,
    "campaign_id": pl.String,
    "device": pl.String,
}
Real = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@pytest.fixture(scope="module")
def market() -> World:
    return simulate(WorldConfig(seed=3, n_users=800, n_content=400, n_ads=60, n_campaigns=20, n_days=60))


def of_kind(world: World, *kinds: str) -> pl.DataFrame:
    return world.events.filter(pl.col("kind").is_in(kinds))


def clicked_exposures(world: World) -> pl.DataFrame:
    """Exposures with `is_clicked` and the true `probability` of that."""
    clicks = of_kind(world, "click").select("request_id", "item_id", is_clicked=pl.lit(True))
    exposures = of_kind(world, "exposure").with_columns(
        probability=pl.Series(world.exposure_click_probability)
    )
    return exposures.join(
        clicks, on=["request_id", "item_id"], how="left", maintain_order="left"
    ).with_columns(pl.col("is_clicked").fill_null(False))


def rows_of(ids: pl.Series, table: pl.Series) -> Index:
    return ids.replace_strict(table, np.arange(len(table)), return_dtype=pl.Int64).to_numpy()


def ndcg_at_10(scores: Real, targets: Mask) -> float:
    """Slow and obvious: mean over the users with a target."""
    values = []
    for row in np.flatnonzero(targets.any(axis=1)):
        best = np.argsort(-scores[row], kind="stable")[:10]
        gain = sum(1 / np.log2(2 + rank) for rank, item in enumerate(best) if targets[row, item])
        values.append(gain / sum(1 / np.log2(2 + rank) for rank in range(min(10, targets[row].sum()))))
    return float(np.mean(values))


def test_the_same_config_gives_the_same_world() -> None:
    one, two = tiny_world(seed=5), tiny_world(seed=5)
    assert one.events.equals(two.events)
    assert one.items.equals(two.items)
    assert one.users.equals(two.users)
    assert not one.events.equals(tiny_world(seed=6).events)


def test_events_have_the_canonical_columns(tiny_world: World) -> None:
    assert dict(tiny_world.events.schema) == CANONICAL
    required = ["event_id", "user_id", "item_id", "timestamp", "kind", "request_id", "surface", "position"]
    assert tiny_world.events.select(required).null_count().sum_horizontal().item() == 0
    assert tiny_world.events["event_id"].is_unique().all()
    assert tiny_world.events["timestamp"].is_sorted()


def test_the_world_for_tests_is_small(tiny_world: World) -> None:
    assert (len(tiny_world.users), len(tiny_world.items)) == (50, 40)
    assert set(tiny_world.events["kind"]) == {"exposure", "view", "click", "conversion"}


def test_items_and_users_carry_their_attributes(market: World) -> None:
    expected = ["item_id", "kind", "title", "category", "tags", "quality", "price", "available_from"]
    assert market.items.columns[:8] == expected
    assert market.items["tags"].list.len().is_between(1, 3).all()
    assert market.users.columns == ["user_id", "age_band", "region", "main_device", "joined_at"]


def test_only_ads_have_campaign_advertiser_and_bid(market: World) -> None:
    is_ad = market.items["kind"] == "ad"
    for column in ("campaign_id", "advertiser_id", "bid"):
        assert (market.items[column].is_not_null() == is_ad).all()
    with_kind = market.events.join(market.items.select("item_id", item_kind="kind"), on="item_id")
    assert (with_kind["campaign_id"].is_not_null() == (with_kind["item_kind"] == "ad")).all()
    assert market.items.filter(is_ad).group_by("campaign_id").agg(pl.col("bid").n_unique())["bid"].max() == 1


def test_nothing_happens_before_an_item_or_a_user_is_there(market: World) -> None:
    events = market.events.join(market.items, on="item_id").join(market.users, on="user_id")
    assert (events["timestamp"] >= events["available_from"]).all()
    assert (events["timestamp"] >= events["joined_at"]).all()
    shown = events.filter(pl.col("kind") == "exposure")
    assert (shown["timestamp"] < shown["available_until"].fill_null(2**62)).all()
    assert (events["available_from"] > market.config.start).any()
    assert (events["joined_at"] > market.config.start).any()


def test_all_events_lie_within_the_world(market: World) -> None:
    end = market.config.start + market.config.n_days * SECONDS_PER_DAY
    assert market.events["timestamp"].is_between(market.config.start, end, closed="left").all()


def test_responses_follow_exactly_one_exposure(market: World) -> None:
    exposures = of_kind(market, "exposure")
    columns = ["request_id", "user_id", "item_id", "surface", "position", "device"]
    responses = of_kind(market, "view", "click", "conversion")
    joined = responses.join(exposures.select(*columns, shown_at="timestamp"), on=columns, validate="m:1")
    assert len(joined) == len(responses) > 0
    assert (joined["timestamp"] > joined["shown_at"]).all()


def test_an_exposure_is_viewed_or_clicked_or_neither(market: World) -> None:
    assert of_kind(market, "view", "click").select("request_id", "item_id").is_unique().all()
    clicks = of_kind(market, "click").select("request_id", "item_id")
    conversions = of_kind(market, "conversion")
    assert len(conversions.join(clicks, on=["request_id", "item_id"])) == len(conversions) > 0


def test_conversions_alone_have_a_value_and_it_is_the_price(market: World) -> None:
    events = market.events.join(market.items.select("item_id", "price"), on="item_id")
    is_conversion = events["kind"] == "conversion"
    assert (events["value"].is_not_null() == is_conversion).all()
    assert (events.filter(is_conversion)["value"] == events.filter(is_conversion)["price"]).all()


def test_exposures_alone_carry_policy_and_propensity(market: World) -> None:
    is_exposure = market.events["kind"] == "exposure"
    assert (market.events["policy"].is_not_null() == is_exposure).all()
    assert (market.events["propensity"].is_not_null() == is_exposure).all()
    assert market.events.filter(is_exposure)["propensity"].is_between(0, 1, closed="right").all()


def test_a_slate_fills_its_positions_with_different_items(market: World) -> None:
    slates = of_kind(market, "exposure").group_by("request_id", "surface").agg("item_id", "position")
    assert set(slates["surface"]) == {"feed", "sidebar"}
    for surface, items, positions in slates.select("surface", "item_id", "position").iter_rows():
        assert len(set(items)) == len(items)
        assert positions == list(range(1, 9 if surface == "feed" else 5))


def test_what_was_clicked_is_not_shown_on_later_days(market: World) -> None:
    day = (pl.col("timestamp") - market.config.start) // SECONDS_PER_DAY
    clicks = of_kind(market, "click").group_by("user_id", "item_id").agg(clicked_on=day.min())
    shown = of_kind(market, "exposure").with_columns(day=day).join(clicks, on=["user_id", "item_id"])
    assert (shown["day"] <= shown["clicked_on"]).all()


def test_slates_are_drawn_as_one_choice_after_the_other() -> None:
    weights = np.array([0.5, 0.3, 0.15, 0.05, 0.0])
    chosen, _ = sample_slates(np.tile(weights, (200_000, 1)), 2, np.random.default_rng(0))
    for first in range(4):
        follows = chosen[chosen[:, 0] == first, 1]
        assert len(follows) / len(chosen) == pytest.approx(weights[first], abs=0.004)
        left = np.where(np.arange(5) == first, 0, weights) / (1 - weights[first])
        frequencies = np.bincount(follows, minlength=5) / len(follows)
        np.testing.assert_allclose(frequencies, left, atol=0.02)


def test_propensities_are_chances_given_what_stands_above() -> None:
    rng = np.random.default_rng(1)
    weights = rng.random((50, 7)) * (rng.random((50, 7)) < 0.8)
    chosen, propensity = sample_slates(weights, 7, rng)
    for row in range(50):
        left = weights[row].copy()
        for column, item in enumerate(chosen[row]):
            expected = 0.0 if item == EMPTY else left[item] / left.sum()
            assert propensity[row, column] == pytest.approx(expected, abs=1e-12)
            left[item] = left[item] if item == EMPTY else 0.0


def test_a_slate_ends_where_candidates_do() -> None:
    weights = np.array([[0.0, 2.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    chosen, propensity = sample_slates(weights, 3, np.random.default_rng(0))
    assert (sorted(chosen[0]), chosen[1].tolist()) == ([EMPTY, 1, 3], [EMPTY] * 3)
    assert (propensity[0, 1], propensity[0, 2], propensity[1].sum()) == (1.0, 0.0, 0.0)


def test_policy_weights_mix_popularity_taste_and_noise() -> None:
    liking = believed_liking(np.array([[1.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]))
    is_candidate = np.array([[True, True, False]])
    weights = slate_weights(np.array([4.0, 4.0, 4.0]), liking, is_candidate, exploration=0.2)
    assert weights.sum() == pytest.approx(1.0)
    assert weights[0, 0] == pytest.approx(0.1 + 0.8 * np.exp(7) / (np.exp(7) + 1), rel=1e-5)
    assert weights[0, 2] == 0.0
    popular = slate_weights(np.array([9.0, 1.0, 1.0]), np.ones((1, 3), np.float32), is_candidate, 0.2)
    assert popular[0, 0] > popular[0, 1] > 0.1


def test_inverse_propensities_count_the_candidates(tiny_world: World) -> None:
    # The mean of 1 / propensity over choices is the number of possible choices, if the propensities are true.
    top = of_kind(tiny_world, "exposure").filter(pl.col("position") == 1)
    items = tiny_world.items.filter(pl.col("kind") == "content").drop("kind")
    clicks = of_kind(tiny_world, "click").select("user_id", "item_id", clicked_at="timestamp")
    pairs = top.select("event_id", "user_id", "timestamp").join(items, how="cross")
    midnight = pl.col("timestamp") - pl.col("timestamp") % SECONDS_PER_DAY
    excluded = pairs.join(clicks, on=["user_id", "item_id"]).filter(pl.col("clicked_at") < midnight)
    candidates = pairs.filter(
        pl.col("available_from") <= pl.col("timestamp"),
        pl.col("timestamp") < pl.col("available_until").fill_null(2**62),
    ).join(excluded, on=["event_id", "item_id"], how="anti")
    assert (1 / top["propensity"]).mean() == pytest.approx(len(candidates) / len(top), rel=0.1)


def test_clicks_happen_as_often_as_the_truth_says(market: World) -> None:
    exposures = clicked_exposures(market).with_columns(
        bin=pl.col("probability").rank("ordinal") * 8 // (pl.len() + 1)
    )
    for _, group in exposures.group_by("bin"):
        probability = group["probability"].mean()
        assert isinstance(probability, float)
        tolerance = 4 * np.sqrt(probability * (1 - probability) / len(group))
        assert group["is_clicked"].mean() == pytest.approx(probability, abs=tolerance)


def test_higher_positions_are_clicked_more(market: World) -> None:
    feed = clicked_exposures(market).filter(pl.col("surface") == "feed")
    rates = dict(feed.group_by("position").agg(pl.col("is_clicked").mean()).iter_rows())
    assert rates[1] > 1.15 * rates[3] > 1.15 * rates[6]


def test_positions_are_looked_at_less_and_less() -> None:
    looks = look_probability(np.zeros(8, np.int64), np.arange(1, 9))
    assert (np.diff(looks) < 0).all()
    assert 0 < looks[-1] < looks[0] < 1


def test_a_ranking_by_true_taste_beats_popularity(market: World) -> None:
    clicks = of_kind(market, "click")
    user = rows_of(clicks["user_id"], market.users["user_id"])
    item = rows_of(clicks["item_id"], market.items["item_id"])
    day = 48
    is_train = (clicks["timestamp"] < market.config.start + day * SECONDS_PER_DAY).to_numpy()
    seen, targets = np.zeros((2, len(market.users), len(market.items)), dtype=bool)
    seen[user[is_train], item[is_train]] = True
    targets[user[~is_train], item[~is_train]] = True
    popularity = np.where(seen, -1.0, seen.sum(axis=0))
    every_user, every_item = np.arange(len(market.users)), np.arange(len(market.items))
    taste = np.where(seen, -1.0, market.expected_click_probability(every_user, every_item, day))
    assert ndcg_at_10(taste, targets & ~seen) > 2.5 * ndcg_at_10(popularity, targets & ~seen) > 0.02


def test_attributes_explain_a_part_of_taste(market: World) -> None:
    own = (market.truth.user_vectors * market.truth.segment_vectors).sum(axis=1).mean()
    stranger = (
        (market.truth.user_vectors * np.roll(market.truth.segment_vectors, 1, axis=0)).sum(axis=1).mean()
    )
    assert 0.4 < own < 0.95
    assert own > stranger + 0.2


def test_items_of_one_category_or_tag_lie_close(market: World) -> None:
    similarity = market.truth.item_vectors @ market.truth.item_vectors.T
    category = market.items["category"].to_numpy()
    same = category[:, None] == category[None, :]
    assert similarity[same].mean() > similarity[~same].mean() + 0.4


def test_tastes_turn_by_the_declared_angle(market: World) -> None:
    before, after = market.truth.tastes(0), market.truth.tastes(market.config.n_days)
    np.testing.assert_allclose(np.linalg.norm(after, axis=1), 1.0)
    angles = np.degrees(np.arccos((before * after).sum(axis=1)))
    np.testing.assert_allclose(angles, market.config.drift_degrees)


def test_without_taste_everybody_likes_the_same() -> None:
    world = simulate(
        WorldConfig(
            n_days=2, n_users=20, n_content=30, n_ads=5, n_campaigns=5, n_advertisers=5, taste_strength=0.0
        )
    )
    chances = world.expected_click_probability(np.arange(20), np.arange(35))
    np.testing.assert_allclose(chances, np.broadcast_to(chances[0], (20, 35)))
    assert np.ptp(chances[0]) > 0.05


def test_hour_and_device_sway_clicks_but_not_on_average(market: World) -> None:
    item, n_categories = np.zeros(24, np.int64), market.config.n_categories
    by_hour = market.truth.context_logits(item, np.arange(24), np.zeros(24, np.int64))
    assert len(np.unique(by_hour)) == 4
    np.testing.assert_allclose(market.truth.daypart_effects.mean(axis=0), np.zeros(n_categories), atol=1e-12)
    np.testing.assert_allclose(market.truth.device_effects.mean(axis=0), np.zeros(n_categories), atol=1e-12)


def test_evenings_and_weekends_are_busier(market: World) -> None:
    requests = of_kind(market, "exposure").unique("request_id")
    hour = requests["timestamp"] % SECONDS_PER_DAY // 3_600
    assert (hour == 20).sum() > 4 * (hour == 3).sum()
    day = (requests["timestamp"] - market.config.start) // SECONDS_PER_DAY  # day 0 is a Monday
    last_weeks = requests.filter(day.is_between(32, 59))  # four whole weeks, most users have arrived
    weekday = (last_weeks["timestamp"] - market.config.start) // SECONDS_PER_DAY % 7
    assert (weekday == 5).sum() > (weekday == 1).sum()


def test_few_items_get_most_clicks(market: World) -> None:
    counts = of_kind(market, "click")["item_id"].value_counts()["count"].sort(descending=True)
    assert int(counts.head(len(market.items) // 10).sum()) > 0.25 * int(counts.sum())


def test_large_days_are_drawn_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    config = WorldConfig(
        n_days=3, n_users=30, n_content=30, n_ads=5, n_campaigns=5, n_advertisers=5, requests_per_user=6
    )
    population = draw_population(config, np.random.default_rng(0))
    _, whole = simulate_traffic(config, population, np.random.default_rng(1))
    monkeypatch.setattr("marquee.world.traffic.BLOCK_CELLS", 100)
    _, blocks = simulate_traffic(config, population, np.random.default_rng(1))
    assert len(np.unique(blocks.request)) == blocks.request.max() + 1
    assert blocks.timestamp.tolist() == sorted(blocks.timestamp)
    assert len(whole.item) / len(blocks.item) == pytest.approx(1, abs=0.4)


def test_written_tables_read_back_equal(tiny_world: World, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "world"
    write_world(tiny_world, folder)
    write_world(tiny_world, folder)  # over what is there
    assert sorted(path.name for path in folder.parent.rglob("*")) == [
        "events.parquet",
        "items.parquet",
        "users.parquet",
        "world",
    ]
    assert pl.read_parquet(folder / "events.parquet").equals(tiny_world.events)
    assert pl.read_parquet(folder / "items.parquet").equals(tiny_world.items)
    assert pl.read_parquet(folder / "users.parquet").equals(tiny_world.users)


@pytest.mark.parametrize("n_done", [0, 1, 2])
def test_an_interrupted_write_leaves_no_events(
    tiny_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_done: int
) -> None:
    write_world(tiny_world, tmp_path / "world")
    replace, calls = os.replace, []

    def fail_later(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) > n_done:
            raise OSError("disk full")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail_later)
    with pytest.raises(OSError, match="disk full"):
        write_world(tiny_world, tmp_path / "world")
    assert not (tmp_path / "world" / "events.parquet").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["world"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (dict(n_users=0), "n_users must be 1 or more, got 0"),
        (dict(n_content=7), "n_content must be 8 or more, got 7"),
        (dict(n_ads=3, n_campaigns=4, n_advertisers=2), "n_ads must be 4 or more, got 3"),
        (dict(n_campaigns=3, n_advertisers=4), "n_campaigns must be 4 or more, got 3"),
        (dict(n_categories=13), "n_categories must be between 1 and 12, got 13"),
        (dict(latent_dim=1), "latent_dim must be 2 or more, got 1"),
        (dict(start=1), "start must be a midnight in UTC, got 1"),
        (dict(seed=-1), "seed must be 0 or more, got -1"),
    ],
)
def test_an_impossible_size_names_its_key(config: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WorldConfig(**config)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (dict(newcomer_fraction=1.5), "newcomer_fraction must be between 0 and 1, got 1.5"),
        (dict(drift_degrees=91.0), "drift_degrees must be between 0 and 90, got 91.0"),
        (dict(exploration=0.0), "exploration must be more than 0, got 0.0"),
        (dict(requests_per_user=0.0), "requests_per_user must be more than 0, got 0.0"),
        (dict(taste_strength=-1.0), "taste_strength must be 0 or more, got -1.0"),
    ],
)
def test_an_impossible_share_names_its_key(config: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WorldConfig(**config)  # type: ignore[arg-type]  # all fields given here are floats


def test_the_hidden_item_is_the_only_unseen_one_of_its_colour() -> None:
    board = chequer_board()
    colour = dict(board.items.iter_rows())
    for user, user_colour in board.users.iter_rows():
        clicked = board.events.filter(user_id=user)["item_id"].to_list()
        assert clicked[-1] == board.hidden[user]
        assert sorted(clicked) == [item for item in colour if colour[item] == user_colour]


def test_every_item_of_a_board_is_clicked_before_the_end() -> None:
    board = chequer_board(n_users=6, n_items=6)
    early = board.events.filter(pl.col("timestamp") < pl.col("timestamp").max().over("user_id"))
    assert set(early["item_id"]) == set(board.items["item_id"])
    assert board.events["timestamp"].is_sorted()
    assert board.events["event_id"].is_unique().all()


def test_a_board_follows_from_its_seed() -> None:
    assert chequer_board(seed=1).events.equals(chequer_board(seed=1).events)
    assert not chequer_board(seed=1).events.equals(chequer_board(seed=2).events)


def test_a_board_too_small_to_learn_from_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 6 users and 6 items, got 5 and 40"):
        chequer_board(n_users=5)
