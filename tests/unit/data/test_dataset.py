"""From tables to arrays: what is learned from training alone, and what is known when a query is asked."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from marquee.core.event_kinds import KindConfig
from marquee.core.schema import TimeMeaning
from marquee.data.config import DataConfig
from marquee.data.dataset import Dataset, JudgedPart
from marquee.data.query_features import with_context
from marquee.errors import DataError
from marquee.features import FeatureArrays, FeaturesConfig
from marquee.world import World
from tests.support.small_data import Prepared, write_shop, write_tiny_world

UNSEEN = 1  # the first table row of a feature stands for values that training never saw


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared.read(write_shop(tmp_path_factory.mktemp("shop")))


@pytest.fixture(scope="module")
def tiny(tiny_world: World, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared.read(write_tiny_world(tiny_world, tmp_path_factory.mktemp("tiny") / "world"))


def validation_part(shop: Prepared) -> JudgedPart:
    return shop.dataset.judged_part(shop.split.train, shop.split.validation)


def judged_test_part(shop: Prepared) -> JudgedPart:
    before = pl.concat([shop.split.train, shop.split.validation])
    return shop.dataset.judged_part(before, shop.split.test)


def test_users_are_those_who_trained(shop: Prepared) -> None:
    assert shop.dataset.user_ids.ids == ("u1", "u2")  # an exposure makes no user
    assert shop.dataset.n_users == 2


def test_items_of_training_stand_before_the_rest_of_the_catalog(shop: Prepared) -> None:
    assert shop.dataset.item_ids.ids == ("a", "b", "c", "d", "e")
    assert shop.dataset.n_trained_items == 3
    assert shop.dataset.n_items == 5
    assert shop.dataset.items["item_id"].to_list() == list(shop.dataset.item_ids.ids)


def test_training_interactions_are_grouped_with_kinds_and_weights(shop: Prepared) -> None:
    train = shop.dataset.train
    assert train.offsets.tolist() == [0, 0, 2, 4]
    assert train.item_index.tolist() == [1, 2, 1, 3]  # u1: a, b; u2: a, c
    assert train.kind_index.tolist() == [1, 2, 1, 1]
    assert train.weight.tolist() == [1.0, 0.5, 1.0, 1.0]
    assert train.timestamp.tolist() == [10, 20, 15, 25]


def test_context_features_stand_in_the_order_of_interactions(shop: Prepared) -> None:
    context = shop.dataset.train_context
    assert context is not None
    phone, tablet, phone_again, desktop = context.tokens[:, 0].tolist()  # u1: a, b; u2: a, c
    assert phone == phone_again
    assert len({phone, tablet, desktop}) == 3


def test_vocabularies_are_those_of_training(shop: Prepared) -> None:
    colour = shop.dataset.item_features.tokens[:, 0].tolist()
    assert colour[0] == 0  # padding
    assert colour[1] == colour[3] != colour[2] == colour[5]  # red, red, blue, blue
    assert colour[4] == UNSEEN  # mauve


def test_statistics_are_those_of_training(shop: Prepared) -> None:
    price = shop.dataset.item_features.numeric[1:, 0]
    deviation = np.std([1.0, 2.0, 3.0])
    assert price.tolist() == pytest.approx(((np.array([1, 2, 3, 5, 2]) - 2.0) / deviation).tolist(), rel=1e-5)


def test_item_outside_training_has_its_features(shop: Prepared) -> None:
    features = shop.dataset.item_features
    assert features.tokens[5].tolist() == features.tokens[2].tolist()  # e is blue and costs 2, as b does
    assert features.numeric[5].tolist() == features.numeric[2].tolist()


def test_judged_users_know_what_was_before_and_are_asked_what_came(shop: Prepared) -> None:
    part = validation_part(shop)
    assert part.user_ids == ("u1", "u3")
    assert part.queries.history_items.tolist() == [[0, 1, 2], [0, 0, 0]]
    assert part.queries.history_kinds.tolist() == [[0, 1, 2], [0, 0, 0]]
    assert part.targets.offsets.tolist() == [0, 2, 3]
    assert part.targets.item_index.tolist() == [1, 4, 2]  # u1: a again, d; u3: b


def test_history_is_cut_to_the_latest_events(shop: Prepared) -> None:
    part = judged_test_part(shop)
    assert part.user_ids == ("u1", "u3")  # an exposure asks nothing of u2
    assert part.queries.history_items.tolist() == [[2, 1, 4], [0, 0, 2]]
    assert part.queries.history_kinds.tolist() == [[2, 1, 1], [0, 0, 1]]


def test_seen_items_are_all_that_came_before(shop: Prepared) -> None:
    seen = judged_test_part(shop).seen
    assert seen.offsets.tolist() == [0, 4, 5]
    assert seen.item_index.tolist() == [1, 2, 1, 4, 2]


def test_repeated_targets_are_counted_as_often_as_they_occur(shop: Prepared) -> None:
    targets = judged_test_part(shop).targets
    assert targets.offsets.tolist() == [0, 1, 3]
    assert targets.item_index.tolist() == [0, 4, 4]  # u1: outside the catalog; u3: d twice


def test_cold_user_has_features_and_history_but_no_row(shop: Prepared) -> None:
    part = judged_test_part(shop)
    assert part.queries.user_index.tolist() == [1, 0]
    region = part.queries.tokens[:, 0].tolist()
    assert region[0] == region[1] != UNSEEN  # both north
    assert part.queries.history_items[1].tolist() == [0, 0, 2]


def test_context_of_a_query_is_that_of_its_first_event(shop: Prepared) -> None:
    device_of_train = shop.dataset.train_context
    assert device_of_train is not None
    tablet, desktop = device_of_train.tokens[1, 0], device_of_train.tokens[3, 0]
    assert validation_part(shop).queries.tokens[:, 1].tolist() == [tablet, UNSEEN + 3]  # u3: car, never seen
    assert judged_test_part(shop).queries.tokens[1, 1] == desktop


def test_query_rows_hold_user_features_before_context(shop: Prepared) -> None:
    features = shop.dataset.query_features
    assert [feature.name for feature in features.encoder.features] == ["region", "device"]
    assert features.n_context == (1, 0)
    assert features.of_users.tokens[0].tolist() == [UNSEEN, UNSEEN + 3]  # nobody, nowhere


def test_context_replaces_the_last_columns_alone() -> None:
    users = FeatureArrays(np.array([[1, 2, 3]], np.int32), np.array([[0.1, 0.2]], np.float32))
    context = FeatureArrays(np.array([[9, 8]], np.int32), np.array([[0.5]], np.float32))
    got = with_context(users, context)
    assert got.tokens.tolist() == [[1, 9, 8]]
    assert got.numeric.ravel().tolist() == pytest.approx([0.1, 0.5])
    assert users.tokens.tolist() == [[1, 2, 3]]
    assert with_context(users, None) is users


def test_known_users_come_behind_those_of_training(shop: Prepared) -> None:
    known = shop.dataset.known_users(shop.tables.events)
    assert known.user_ids.ids == ("u1", "u2", "u3")
    assert known.queries.user_index.tolist() == [1, 2, 0]
    assert known.queries.history_items.tolist() == [[2, 1, 4], [0, 1, 3], [2, 4, 4]]
    assert known.interactions.offsets.tolist() == [0, 0, 5, 7, 10]


def test_item_outside_the_catalog_takes_no_place_in_a_history(shop: Prepared) -> None:
    known = shop.dataset.known_users(shop.tables.events)
    assert known.interactions.item_index[:5].tolist() == [1, 2, 1, 4, 0]  # u1 ended with z
    assert known.queries.history_items[0].tolist() == [2, 1, 4]
    assert known.queries.history_kinds[0].tolist() == [2, 1, 1]


def test_known_users_have_their_features_below_the_unknown_one(shop: Prepared) -> None:
    known = shop.dataset.known_users(shop.tables.events)
    assert len(known.features) == 4
    assert known.features.tokens[0].tolist() == shop.dataset.query_features.of_users.tokens[0].tolist()
    assert np.array_equal(known.features.tokens[1:], known.queries.tokens)
    assert known.features.tokens[1, 0] == known.features.tokens[3, 0]  # u1 and u3 are from the north


def test_rows_of_queries_are_cut_together(shop: Prepared) -> None:
    queries = validation_part(shop).queries
    last = queries.rows(slice(1, 2))
    assert len(last) == 1
    assert last.user_index.tolist() == [0]
    assert np.array_equal(last.tokens, queries.tokens[1:])
    assert last.history_items.shape == (1, 3)


def without_tables(config: DataConfig) -> DataConfig:
    return replace(config, items=None, users=None, features=FeaturesConfig())


def test_events_alone_are_a_data_set(tmp_path: Path) -> None:
    dataset = Prepared.read(without_tables(write_shop(tmp_path))).dataset
    assert dataset.item_ids.ids == ("a", "b", "c")
    assert dataset.items.to_dict(as_series=False) == {"item_id": ["a", "b", "c"], "kind": ["content"] * 3}
    assert dataset.item_features.tokens.shape == (4, 0)
    assert dataset.train_context is None
    part = dataset.judged_part(*(read for read in (pl.DataFrame(schema=_EVENT_SCHEMA), _one_event())))
    assert part.queries.tokens.shape == (1, 0)


_EVENT_SCHEMA = {
    "user_id": pl.String,
    "item_id": pl.String,
    "timestamp": pl.Int64,
    "kind": pl.String,
    "value": pl.Float64,
}


def _one_event() -> pl.DataFrame:
    return pl.DataFrame([("u9", "a", 1, "click", None)], schema=_EVENT_SCHEMA, orient="row")


def test_training_without_any_interaction_is_refused(shop: Prepared) -> None:
    config = replace(shop.config, kinds={"conversion": KindConfig()})
    with pytest.raises(
        DataError, match=r"no training event counts: got kinds \['click', 'exposure', 'view'\]"
    ):
        Dataset.prepare(shop.tables, shop.split, config)


def histories_by_hand(before: pl.DataFrame, users: tuple[str, ...], prepared: Prepared) -> list[list[int]]:
    """Returns each user's latest events, row by row through the table."""
    histories: dict[str, list[int]] = {user: [] for user in users}
    for row in before.sort("timestamp", maintain_order=True).iter_rows(named=True):
        if row["user_id"] in histories and row["kind"] in prepared.config.kinds:
            histories[row["user_id"]].append(prepared.dataset.item_ids.index(row["item_id"]))
    length = prepared.config.history_length
    return [[0] * (length - len(items)) + items[-length:] for items in histories.values()]


def test_judged_histories_are_what_a_walk_through_the_table_gives(tiny: Prepared) -> None:
    before = pl.concat([tiny.split.train, tiny.split.validation])
    part = tiny.dataset.judged_part(before, tiny.split.test)
    assert part.queries.history_items.tolist() == histories_by_hand(before, part.user_ids, tiny)
    assert part.known.timestamp.max() < tiny.split.test["timestamp"].min()


def test_judged_targets_are_the_events_of_the_part_alone(tiny: Prepared) -> None:
    part = tiny.dataset.judged_part(tiny.split.train, tiny.split.validation)
    counted = tiny.split.validation.filter(pl.col("kind").is_in(list(tiny.config.kinds)))
    expected = {
        user: sorted(tiny.dataset.item_ids.encode(items).tolist())
        for user, items in counted.group_by("user_id").agg("item_id").iter_rows()
    }
    got = {
        user: sorted(part.targets.item_index[start:end].tolist())
        for user, start, end in zip(
            part.user_ids, part.targets.offsets, part.targets.offsets[1:], strict=False
        )
    }
    assert got == expected


def test_availability_is_that_of_the_items_table_at_the_first_event(tiny: Prepared) -> None:
    part = tiny.dataset.judged_part(tiny.split.train, tiny.split.validation)
    assert part.available is not None
    counts = tiny.split.validation.filter(pl.col("kind").is_in(list(tiny.config.kinds)))
    first = dict(counts.group_by("user_id").agg(pl.col("timestamp").min()).iter_rows())
    windows = {
        row["item_id"]: (row["available_from"], row["available_until"])
        for row in tiny.dataset.items.to_dicts()
    }
    for query, user in enumerate(part.user_ids):
        expected = [
            (start is None or start <= first[user]) and (end is None or first[user] < end)
            for start, end in (windows[item] for item in tiny.dataset.item_ids.ids)
        ]
        items = np.arange(1, tiny.dataset.n_items + 1)
        assert part.available.allows(np.full(len(items), query), items).tolist() == expected
    assert 0 < part.available.n_unavailable.min() < tiny.dataset.n_items


def test_without_windows_or_moments_everything_is_available(shop: Prepared, tiny: Prepared) -> None:
    assert validation_part(shop).available is None
    in_order_only = replace(tiny.dataset, time=TimeMeaning.order)
    assert in_order_only.judged_part(tiny.split.train, tiny.split.validation).available is None


def test_report_tells_items_apart_that_training_never_saw(shop: Prepared) -> None:
    groups = shop.dataset.item_groups()
    assert groups.keys() == {"unseen in training"}  # there is no ad
    assert groups["unseen in training"].tolist() == [False, False, False, False, True, True]


def test_report_tells_content_and_ads_apart(tiny: Prepared) -> None:
    groups = tiny.dataset.item_groups()
    kinds = ["", *tiny.dataset.items["kind"]]
    assert groups["ad"].tolist() == [kind == "ad" for kind in kinds]
    assert groups["content"].tolist() == [kind == "content" for kind in kinds]


def test_report_has_no_group_where_all_items_are_alike(tmp_path: Path) -> None:
    assert Prepared.read(without_tables(write_shop(tmp_path))).dataset.item_groups() == {}
