import math
import sys
from pathlib import Path

import numpy as np
import pytest

from marquee.core.histories import Interactions
from marquee.core.item_lists import ItemLists
from marquee.errors import ConfigError
from marquee.evaluation.baselines import (
    ALS,
    BaselinesConfig,
    ItemKNN,
    Popularity,
    RecentPopularity,
    fit_baselines,
)
from marquee.evaluation.metrics import ndcg
from marquee.index.ranking import rank

DAY = 86_400
USERS = (1, 1, 1, 2, 2, 3, 3, 3, 3)
ITEMS = (1, 2, 1, 2, 3, 1, 2, 3, 5)
N_ITEMS = 6


def _interactions(
    users: tuple[int, ...] = USERS,
    items: tuple[int, ...] = ITEMS,
    days: tuple[int, ...] | None = None,
    n_users: int = 3,
) -> Interactions:
    timestamp = np.array(days or range(len(users)), dtype=np.int64) * DAY
    ones = np.ones(len(users), dtype=np.int64)
    return Interactions.group(
        np.array(users), np.array(items), ones, timestamp, ones.astype(np.float32), n_users=n_users
    )


def _slow_knn(config: BaselinesConfig, history: set[int]) -> list[float]:
    """Item-kNN by its definition, over sets of users."""
    items_of = {u: {i for v, i in zip(USERS, ITEMS, strict=True) if v == u} for u in set(USERS)}
    users_of = {i: {u for u in items_of if i in items_of[u]} for i in range(1, N_ITEMS + 1)}
    scores = [0.0] * (N_ITEMS + 1)
    for i in history:
        similarity = {}
        for j in set(users_of) - {i}:
            both = sum(len(items_of[u]) ** -config.knn_user_damping for u in users_of[i] & users_of[j])
            size = math.sqrt(len(users_of[i]) * len(users_of[j]))
            similarity[j] = both / (size + config.knn_shrinkage) if both else 0.0
        for j in sorted(similarity, key=lambda j: (-similarity[j], j))[: config.knn_neighbours]:
            scores[j] += similarity[j]
    return scores


def test_popularity_counts_each_user_of_an_item_once() -> None:
    scores = Popularity.fit(_interactions(), N_ITEMS).scores(np.array([0, 3]))
    assert scores.tolist() == [[0, 2, 3, 2, 0, 1, 0]] * 2


def test_popularity_counts_users_without_a_row_and_no_item_outside_the_catalog() -> None:
    train = _interactions((0, 0, 1), (4, 4, 0), n_users=1)
    assert Popularity.fit(train, 4).item_scores.tolist() == [0, 0, 0, 0, 2]


def test_recent_popularity_halves_after_each_half_life() -> None:
    train = _interactions((1, 2, 3), (1, 1, 2), days=(0, 10, 20))
    scores = RecentPopularity.fit(train, 2, half_life_days=10).item_scores
    assert scores.tolist() == [0, 2**-2 + 2**-1, 1]


def test_recent_popularity_takes_the_last_time_a_user_came() -> None:
    train = _interactions((1, 1, 2), (1, 1, 2), days=(0, 20, 20), n_users=2)
    assert RecentPopularity.fit(train, 2, half_life_days=10).item_scores.tolist() == [0, 1, 1]


@pytest.mark.parametrize("neighbours", [1, 2, 9])
@pytest.mark.parametrize(("shrinkage", "damping"), [(0.0, 0.0), (2.0, 0.0), (0.5, 1.0)])
def test_item_knn_equals_its_definition(neighbours: int, shrinkage: float, damping: float) -> None:
    config = BaselinesConfig(knn_neighbours=neighbours, knn_shrinkage=shrinkage, knn_user_damping=damping)
    knn = ItemKNN.fit(_interactions(), N_ITEMS, config)
    expected = [_slow_knn(config, {1, 2}), _slow_knn(config, {2, 3})]
    np.testing.assert_allclose(knn.scores(np.array([1, 2])), expected, rtol=1e-6)


def test_item_knn_is_the_same_in_small_blocks() -> None:
    generator = np.random.default_rng(0)
    users, items = generator.integers(1, 200, 5000), generator.integers(1, 900, 5000)
    train = _interactions(tuple(users.tolist()), tuple(items.tolist()), n_users=200)
    at_once = ItemKNN.fit(train, 900, BaselinesConfig())
    in_blocks = ItemKNN.fit(train, 900, BaselinesConfig(), memory_mb=0)
    np.testing.assert_array_equal(at_once.scores(np.arange(50)), in_blocks.scores(np.arange(50)))


def test_given_histories_take_the_place_of_training_ones() -> None:
    histories = _interactions((1, 1), (2, 3), n_users=1)  # as user 2 had in training
    for fit in (_fit_knn, _fit_als):
        other, own = fit(histories), fit(None)
        np.testing.assert_allclose(
            other.scores(np.array([1])), own.scores(np.array([2])), rtol=1e-4, atol=1e-6
        )


def _fit_knn(histories: Interactions | None) -> ItemKNN:
    return ItemKNN.fit(_interactions(), N_ITEMS, BaselinesConfig(), histories=histories)


def _fit_als(histories: Interactions | None) -> ALS:
    return ALS.fit(_interactions(), N_ITEMS, BaselinesConfig(als_dim=2), histories=histories, seed=1)


def test_a_query_without_history_gets_the_popular_list() -> None:
    train = _interactions(n_users=4)  # user 4 did nothing
    fitted = fit_baselines(train, N_ITEMS, BaselinesConfig(), has_absolute_time=True, seed=1)
    popular = fitted.models["popularity"].scores(np.array([0]))[0]
    for name in ("item_knn", "als"):
        scores = fitted.models[name].scores(np.array([0, 1, 4]))
        assert (scores[[0, 2]] == popular).all()
        assert (scores[1] != popular).any()


def test_als_with_one_seed_gives_one_result() -> None:
    first, again = (_fit_als(None).scores(np.arange(4)) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_als_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    _fit_als(None)  # a warning about threads would be an error here
    assert capfd.readouterr() == ("", "")


def test_all_baselines_are_there_where_the_data_allow() -> None:
    fitted = fit_baselines(_interactions(), N_ITEMS, BaselinesConfig(), has_absolute_time=True, seed=1)
    assert list(fitted.models) == ["popularity", "recent_popularity", "item_knn", "als"]
    assert not fitted.left_out


def test_without_absolute_time_recent_popularity_is_left_out_and_says_so() -> None:
    config = BaselinesConfig(als=False)
    fitted = fit_baselines(_interactions(), N_ITEMS, config, has_absolute_time=False, seed=1)
    assert list(fitted.models) == ["popularity", "item_knn"]
    assert "timestamps that can be compared" in fitted.left_out["recent_popularity"]
    assert "config baselines.als" in fitted.left_out["als"]


def test_without_implicit_the_install_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    fitted = fit_baselines(_interactions(), N_ITEMS, BaselinesConfig(), has_absolute_time=True, seed=1)
    assert fitted.left_out["als"].endswith("run: pip install 'marquee[als]'")
    monkeypatch.setitem(sys.modules, "implicit.cpu.als", None)
    with pytest.raises(ConfigError, match=r"needs the package implicit.*pip install 'marquee\[als\]'"):
        _fit_als(None)


def test_without_scipy_the_install_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.sparse", None)
    with pytest.raises(ConfigError, match=r"needs the package scipy.*pip install 'marquee\[reports\]'"):
        _fit_knn(None)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("recent_half_life_days", 0.0),
        ("als_alpha", float("nan")),
        ("knn_neighbours", 0),
        ("als_dim", 0),
        ("als_iterations", 0),
        ("knn_shrinkage", -1.0),
        ("knn_user_damping", -0.1),
        ("als_regularization", -1.0),
    ],
)
def test_a_knob_out_of_range_is_refused_by_its_key(key: str, value: float) -> None:
    config = BaselinesConfig()
    setattr(config, key, value)
    with pytest.raises(ConfigError, match=rf"{key} must be .*, got {value} \(config baselines\.{key}\)"):
        config.validate()


def _last_fifth(ratings: Path) -> tuple[Interactions, Interactions]:
    """MovieLens 100K: the last 20 % of each user's ratings, rounded down, and those before them."""
    user, item, _, timestamp = np.loadtxt(ratings, dtype=np.int64, unpack=True)
    ones = np.ones(len(user), dtype=np.int64)
    ratings_of = Interactions.group(user, item, ones, timestamp, ones.astype(np.float32), n_users=943)
    sizes = np.diff(ratings_of.offsets)
    position = np.arange(len(user)) - np.repeat(ratings_of.offsets[:-1], sizes)
    is_test = position >= np.repeat(sizes - sizes // 5, sizes)
    return ratings_of.take(~is_test), ratings_of.take(is_test)


def test_baselines_reach_the_known_figures_on_movielens_100k(data_root: Path) -> None:
    train, test = _last_fifth(data_root / "ml-100k" / "u.data")
    users = np.arange(1, 944)
    targets, seen = ItemLists.of_users(test, users), ItemLists.of_users(train, users)
    reached = {}
    for name, model in fit_baselines(
        train, 1682, BaselinesConfig(als=False), has_absolute_time=True, seed=1
    ).models.items():
        lists = rank(lambda rows, model=model: model.scores(users[rows]), 943, 1682, 10, seen)  # type: ignore[misc]  # a lambda's default has no type
        reached[name] = float(ndcg(targets.contains(lists.items), targets.sizes).mean())
    assert reached["popularity"] == pytest.approx(0.119, abs=0.0005)
    assert reached["item_knn"] > 0.18
