"""The file of live items: what is acknowledged stays, what is torn or damaged is passed over and counted."""

import errno
import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from marquee.core.catalog import ItemKind
from marquee.errors import ConfigError, ItemsFullError
from marquee.store.live_items import ItemLimits, ItemLog, LiveItem

A = LiveItem(item_id="a", attributes={"genre": "drama", "tags": ["x", "ü"], "price": 2.5})
B = LiveItem(item_id="b", kind=ItemKind.ad, available_from=5, available_until=9)


def opened(folder: Path, max_items: int = 100) -> ItemLog:
    return ItemLog(folder, "shop", ItemLimits(max_items))


def test_changes_survive_another_process(tmp_path: Path) -> None:
    assert opened(tmp_path).append([A, B])
    assert list(opened(tmp_path).items.values()) == [A, B]


def test_follower_sees_what_another_writes(tmp_path: Path) -> None:
    writer, follower = opened(tmp_path), opened(tmp_path)
    assert not follower.refresh()
    writer.append([A])
    assert follower.refresh()
    assert follower.items == {"a": A}
    assert not follower.refresh()


def test_change_keeps_what_it_does_not_name(tmp_path: Path) -> None:
    log, other = opened(tmp_path), opened(tmp_path)
    price = LiveItem(item_id="a", is_posted=False, changes={"price": (3.5, 7), "available_until": (9, 7)})
    tags = LiveItem(item_id="a", is_posted=False, changes={"tags": (["y"], 8)})
    log.append([A])
    log.append([price])
    other.append([tags])  # of two writers neither loses what the other has changed
    log.append([LiveItem(item_id="a", is_withdrawn=True)])
    assert opened(tmp_path).items["a"].changes == {**price.changes, **tags.changes}
    log.append([A])
    assert opened(tmp_path).items["a"] == LiveItem(
        item_id="a", attributes=A.attributes, changes={**price.changes, **tags.changes}
    )
    log.append([price])
    assert log.items["a"].attributes == {**A.attributes, "price": 3.5}
    assert log.items["a"].available_until == 9
    log.append([LiveItem(item_id="b", is_posted=False, changes={"price": (1, 7)})])
    assert not opened(tmp_path).items["b"].is_posted


def test_last_word_counts_and_the_order_stays(tmp_path: Path) -> None:
    log = opened(tmp_path)
    changed = LiveItem(item_id="a", is_withdrawn=True)
    log.append([A, B])
    log.append([changed])
    assert list(opened(tmp_path).items.values()) == [changed, B]


def test_what_was_said_already_is_not_written_again(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append([A])
    size = (tmp_path / "shop.items").stat().st_size
    assert not log.append([A])
    assert not opened(tmp_path).append([A])
    assert (tmp_path / "shop.items").stat().st_size == size


def test_readers_keep_the_items_that_they_hold(tmp_path: Path) -> None:
    log = opened(tmp_path)
    before = log.items
    log.append([A])
    assert (before, log.items) == ({}, {"a": A})


@pytest.mark.parametrize("n_bytes", range(1, 40, 3))
def test_torn_line_is_cut_off_and_counted(tmp_path: Path, n_bytes: int) -> None:
    opened(tmp_path).append([A])
    with (tmp_path / "shop.items").open("ab") as file:
        file.write(B.to_line()[:n_bytes])
    log = opened(tmp_path)
    assert (log.items, log.n_torn, log.n_unreadable) == ({"a": A}, 1, 0)
    log.append([B])
    assert list(opened(tmp_path).items) == ["a", "b"]


def test_line_torn_while_running_is_cut_off_by_the_next_writer(tmp_path: Path) -> None:
    follower, writer = opened(tmp_path), opened(tmp_path)
    with (tmp_path / "shop.items").open("ab") as file:
        file.write(A.to_line()[:-1])
    follower.refresh()
    assert follower.items == {}
    writer.append([B])
    follower.refresh()
    assert (follower.items, writer.n_torn) == ({"b": B}, 1)


def test_torn_line_longer_than_a_block_is_cut_off(tmp_path: Path) -> None:
    opened(tmp_path).append([A])
    with (tmp_path / "shop.items").open("ab") as file:
        file.write(b"x" * 200_000)
    assert opened(tmp_path).items == {"a": A}
    (tmp_path / "shop.items").write_bytes(b"x" * 200_000)
    assert (opened(tmp_path).items, (tmp_path / "shop.items").stat().st_size) == ({}, 0)


def test_damaged_line_is_passed_over_and_counted(tmp_path: Path) -> None:
    opened(tmp_path).append([A, B])
    content = (tmp_path / "shop.items").read_bytes()
    (tmp_path / "shop.items").write_bytes(content.replace(b"drama", b"dream"))
    log = opened(tmp_path)
    assert (log.items, log.n_unreadable) == ({"b": B}, 1)


@pytest.mark.parametrize("text", [b"[]", b"{}", b'{"item_id": "a", "kind": "film"}', b"nothing"])
def test_line_of_something_else_is_passed_over(text: bytes) -> None:
    assert LiveItem.from_line(b"%08x %s" % (zlib.crc32(text), text)) is None


def test_file_is_written_anew_when_most_of_it_is_outdated(tmp_path: Path) -> None:
    writer, follower = opened(tmp_path), opened(tmp_path)
    writer.append([B])
    for number in range(1200):
        writer.append([LiveItem(item_id="a", attributes={"n": number})])
        if number == 600:
            follower.refresh()
    assert (tmp_path / "shop.items").read_bytes().count(b"\n") < 300
    follower.refresh()
    assert follower.items == writer.items == opened(tmp_path).items
    assert follower.items["a"].attributes == {"n": 1199}


def test_no_room_is_said_and_nothing_is_written(tmp_path: Path) -> None:
    log = opened(tmp_path, max_items=1)
    log.append([A])
    with pytest.raises(ItemsFullError, match=r"room for 1 live items of .* got 2 of .*; publish a release"):
        log.append([B])
    assert opened(tmp_path).items == {"a": A}
    assert log.append([LiveItem(item_id="a", is_withdrawn=True)]), "what is there may still change"


def test_items_that_a_release_holds_make_room(tmp_path: Path) -> None:
    log, follower = opened(tmp_path, max_items=2), opened(tmp_path, max_items=2)
    log.append([A, B])
    c = LiveItem(item_id="c")
    log.append([c], lambda _: ["b", "never heard of"])
    follower.refresh()
    assert list(follower.items.values()) == [A, c]
    with pytest.raises(ItemsFullError):
        log.append([B], lambda _: ["b"])


def test_full_disk_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = opened(tmp_path)
    log.append([A])
    content = (tmp_path / "shop.items").read_bytes()
    write = os.write

    def write_a_little(descriptor: int, data: bytes) -> int:
        if len(data) < 30:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[:20])

    monkeypatch.setattr(os, "write", write_a_little)
    with pytest.raises(OSError, match="No space left"):
        log.append([B])
    monkeypatch.undo()
    assert (tmp_path / "shop.items").read_bytes() == content
    assert log.items == {"a": A}
    assert log.append([B])
    assert opened(tmp_path).items == {"a": A, "b": B}


def test_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"must be kept in a folder that can be written, got .*file"):
        ItemLog(tmp_path / "file", "shop", ItemLimits(1))


def write_many(folder: Path, writer: int) -> None:
    log = opened(folder, max_items=1000)
    for number in range(50):
        log.append([LiveItem(item_id=f"{writer}-{number}")])


def test_writers_at_the_same_time_lose_no_line(tmp_path: Path) -> None:
    with ThreadPoolExecutor() as executor:
        list(executor.map(write_many, [tmp_path] * 4, range(4)))
    log = opened(tmp_path, max_items=1000)
    assert set(log.items) == {f"{writer}-{number}" for writer in range(4) for number in range(50)}
    assert (log.n_torn, log.n_unreadable) == (0, 0)
