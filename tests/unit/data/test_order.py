"""Whether places in lists say anything: sorted, shuffled and moving lists are told apart, by no name."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from marquee.core.schema import TimeMeaning
from marquee.data.config import DataConfig
from marquee.data.order import Order, OrderMark, find_order
from marquee.data.split_config import SplitConfig, SplitMethod
from marquee.data.table_config import TableConfig
from marquee.errors import ConfigError
from training.runs.prepare import settle_order

N_USERS, N_ITEMS, LENGTH = 300, 60, 12


def moving(seed: int = 0) -> pl.DataFrame:
    """Lists whose items move with time: each user's next one is drawn a little further on."""
    draw = np.random.default_rng(seed)
    at = np.sort(draw.random((N_USERS, LENGTH)), axis=1)  # when each event happened
    item = (at * N_ITEMS / 2 + draw.integers(0, N_ITEMS // 2, size=at.shape)).astype(int)
    users = np.repeat(np.arange(N_USERS), LENGTH)
    # Named at random: an order must not be read off the names.
    names = draw.permutation(N_ITEMS) * 7
    return pl.DataFrame({"user_id": users.astype(str), "item_id": names[item.ravel()].astype(str)})


def in_order(kind: str) -> pl.DataFrame:
    events = moving()
    if kind == "shuffled":
        return events.sample(fraction=1, shuffle=True, seed=3)
    if kind == "numbers":
        return events.sort("user_id", pl.col("item_id").cast(pl.Int64))
    return events.sort("user_id", "item_id", descending=[False, kind == "descending"])


@pytest.mark.parametrize("kind", ["numbers", "texts", "descending"])
def test_sorted_lists_have_no_order_whatever_they_are_sorted_by(kind: str) -> None:
    found = find_order(in_order(kind))
    assert (found.mark, found.order, found.agreement) == (OrderMark.is_sorted, Order.none, 1.0)
    assert "lists are sorted" in found.line


def test_shuffled_lists_have_no_order() -> None:
    found = find_order(in_order("shuffled"))
    assert (found.mark, found.order) == (OrderMark.shuffled, Order.none)
    assert found.agreement == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("seed", range(3))
def test_lists_that_move_with_time_have_the_order_of_events(seed: int) -> None:
    found = find_order(moving(seed))
    assert (found.mark, found.order) == (OrderMark.moving, Order.events)
    assert 0.52 < found.agreement < 0.99


def test_renamed_items_change_nothing() -> None:
    events = moving()
    names = {name: f"x{number}" for number, name in enumerate(events["item_id"].unique().sort())}
    renamed = events.with_columns(pl.col("item_id").replace_strict(names))
    assert find_order(renamed).agreement == find_order(events).agreement


def test_lists_of_one_event_tell_nothing() -> None:
    found = find_order(pl.DataFrame({"user_id": list("abcd"), "item_id": list("wxyz")}))
    assert (found.mark, found.order) == (OrderMark.unknown, Order.none)


def test_files_of_a_given_split_are_not_read_as_one_list() -> None:
    halves = [
        in_order("numbers")[start::2].with_columns(split=pl.lit(part))
        for start, part in enumerate(("train", "test"))
    ]
    assert find_order(pl.concat(halves)).mark is OrderMark.is_sorted


def test_ids_that_count_up_as_items_appear_are_named() -> None:
    events = moving()
    numbers = {name: str(n) for n, name in enumerate(events["item_id"].unique(maintain_order=True))}
    assert find_order(events.with_columns(pl.col("item_id").replace_strict(numbers))).numbered
    assert not find_order(events).numbered


def data(split: SplitConfig | None = None, order: Order = Order.auto) -> DataConfig:
    return DataConfig(
        name="lists",
        events=TableConfig(path="lists.csv"),
        time=TimeMeaning.none,
        order=order,
        split=split or SplitConfig(method=SplitMethod.random),
    )


def test_an_open_order_is_found_and_said_and_a_declared_one_is_kept() -> None:
    console = Console(record=True, width=200)
    assert settle_order(in_order("shuffled"), data(), console).order is Order.none
    assert "lists are shuffled" in console.export_text()
    assert settle_order(moving(), data(), console).order is Order.events
    assert settle_order(in_order("shuffled"), data(order=Order.events), console).order is Order.events
    assert settle_order(moving(), data(order=Order.none), console).order is Order.none


def test_ends_of_lists_without_order_do_not_validate() -> None:
    table = TableConfig(paths={"train": "train.txt", "test": "test.txt"})
    split = SplitConfig(method=SplitMethod.given, validate_end=True)
    config = DataConfig(name="lists", events=table, time=TimeMeaning.none, split=split)
    console = Console(record=True, width=200)
    assert not settle_order(in_order("texts"), config, console).split.validate_end
    assert "validate_end is left out" in console.export_text()
    assert settle_order(moving(), config, console).split.validate_end


def test_a_split_by_the_ends_of_lists_needs_an_order() -> None:
    with pytest.raises(ConfigError, match=r"data\.order=none; use method=random"):
        data(SplitConfig(method=SplitMethod.leave_last), Order.none)


def test_an_order_beside_times_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.order is for data\.time=none"):
        DataConfig(name="lists", root=str(tmp_path), events=TableConfig(path="e.csv"), order=Order.events)
