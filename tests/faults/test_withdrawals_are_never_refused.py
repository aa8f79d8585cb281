"""A withdrawal is never refused for want of room; what is gone makes room; sizes are bounded in bytes."""

import errno
import os
from pathlib import Path

import pytest

from marquee.bundle.releases import Role, activate
from marquee.decision import item_pool, new_items
from marquee.decision.recommender import Recommender
from marquee.errors import ItemsFullError
from marquee.store.live_items import ItemLimits, ItemLog, LiveItem
from serving.http.errors import Problem, Refusal
from serving.releases.channel import Channel
from serving.releases.live_items import LiveItemLimits, LiveItems
from serving.telemetry.metrics import Metrics
from tests.support.bundles import NOW, make_tiny, publish_tiny
from tests.support.counters import samples


class Worker:
    """A worker that keeps at most five live items."""

    def __init__(self, folder: Path, limits: LiveItemLimits | None = None) -> None:
        self.metrics = Metrics()
        self.channel = Channel(folder / "bundles" / "tiny", self.metrics)
        self.channel.load()
        limits = limits or LiveItemLimits(of_file=ItemLimits(max_items=5))
        self.items = LiveItems([self.channel], folder / "items", limits, self.metrics, clock=lambda: NOW)
        self.items.open()

    def put(self, *item_ids: str, available_until: int | None = None) -> None:
        items = [LiveItem(item_id=one, available_until=available_until) for one in item_ids]
        self.items.put(self.channel, items)

    def withdraw(self, *item_ids: str) -> None:
        for item_id in item_ids:
            self.items.withdraw(self.channel, item_id)

    @property
    def pool(self) -> item_pool.ItemPool:
        assert self.channel.recommender is not None
        return self.channel.recommender.item_pool


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    publish_tiny(tmp_path / "bundles")
    return Worker(tmp_path)


ADS = [f"ad{number}" for number in range(5)]


def test_item_of_the_release_comes_down_though_the_store_is_full(worker: Worker) -> None:
    worker.put(*ADS)
    worker.withdraw("i007")
    worker.withdraw(*ADS)
    worker.withdraw("i008")
    assert worker.pool.n_withdrawn == 2
    assert worker.pool.n_added == 0


def test_what_was_withdrawn_takes_no_room_of_what_is_live(worker: Worker) -> None:
    for turn in range(4):
        names = [f"ad{turn}-{number}" for number in range(5)]
        worker.put(*names)
        worker.withdraw(*names)
    worker.put(*ADS)
    assert worker.pool.n_added == 5


def test_withdrawals_of_what_no_release_holds_are_forgotten_and_others_are_not(
    worker: Worker, tmp_path: Path
) -> None:
    worker.withdraw(*[f"i{number:03d}" for number in range(1, 8)])
    for number in range(40):
        worker.put(f"ad{number}")
        worker.withdraw(f"ad{number}")
    lines = (tmp_path / "items" / "tiny.items").read_bytes().splitlines()
    assert worker.pool.n_withdrawn == 7
    assert len(lines) < 40
    assert Worker(tmp_path).pool.n_withdrawn == 7


def test_withdrawal_of_what_only_an_older_release_holds_is_kept(tmp_path: Path) -> None:
    """Going back to it must not show the item again."""
    larger = publish_tiny(tmp_path / "bundles", **vars(make_tiny(n_items=30).contents))
    publish_tiny(tmp_path / "bundles", seed=1)
    worker = Worker(tmp_path)
    worker.put("i029")
    worker.withdraw("i029")
    for number in range(20):
        worker.put(f"ad{number}")
        worker.withdraw(f"ad{number}")
    activate(larger)
    worker.channel.refresh()
    assert worker.pool.n_withdrawn == 1


def test_no_withdrawal_is_forgotten_while_the_releases_cannot_be_read(worker: Worker, tmp_path: Path) -> None:
    home = tmp_path / "bundles" / "tiny"
    worker.withdraw(*[f"i{number:03d}" for number in range(1, 8)])
    home.rename(tmp_path / "away")
    worker.withdraw("i008")
    assert worker.pool.n_withdrawn == 8
    (tmp_path / "away").rename(home)
    assert Worker(tmp_path).pool.n_withdrawn == 8


def test_folder_of_items_that_is_away_is_told_as_passing(worker: Worker, tmp_path: Path) -> None:
    (tmp_path / "items").rename(tmp_path / "away")
    for change in (worker.withdraw, worker.put):
        with pytest.raises(Refusal) as refused:
            change("i007")
        assert refused.value.problem is Problem.unavailable
    (tmp_path / "away").rename(tmp_path / "items")
    worker.withdraw("i007")
    assert worker.pool.n_withdrawn == 1


def test_items_that_are_being_loaded_are_not_said_to_be_kept_by_nobody(
    worker: Worker, tmp_path: Path
) -> None:
    items = LiveItems([worker.channel], tmp_path / "items", LiveItemLimits(), worker.metrics)
    with pytest.raises(Refusal) as refused:
        items.withdraw(worker.channel, "i007")
    assert refused.value.problem is Problem.unavailable


def test_expired_items_make_room_first(worker: Worker) -> None:
    worker.put("old-1", "old-2", available_until=NOW - 1)
    worker.put("a", "b", "c")
    worker.put("d", "e")
    assert {one for one in "abcde" if worker.pool.table.index(one)} == set("abcde")
    with pytest.raises(ItemsFullError):
        worker.put("f")


def test_item_that_only_a_candidate_holds_can_be_withdrawn(worker: Worker, tmp_path: Path) -> None:
    first = worker.pool.bundle.path
    larger = publish_tiny(tmp_path / "bundles", **vars(make_tiny(n_items=30).contents))
    activate(first)
    worker.channel.name_candidate(larger.name, Role.canary, 1.0)
    worker.withdraw("i029")
    answering = worker.channel.answering
    assert answering is not None
    assert answering.choose("anybody").item_pool.n_withdrawn == 1


def test_full_disk_has_room_for_withdrawals(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    worker.put("ad0")
    write, spare = os.write, worker.items._folder
    assert spare is not None

    def full_unless_spared(descriptor: int, data: bytes) -> int:
        if (spare / ".tiny.spare").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", full_unless_spared)
    with pytest.raises(Refusal, match="the disk has no room"):
        worker.put("ad1")
    worker.withdraw("ad0", "i001")
    assert (worker.pool.n_added, worker.pool.n_withdrawn) == (0, 1)


def test_item_is_bounded_in_bytes(worker: Worker) -> None:
    many = LiveItem(item_id="many", attributes={"tags": [f"tag {number}" for number in range(90_000)]})
    with pytest.raises(Refusal, match=r"an item may have 32768 bytes of JSON, got \d{6,} for 'many'"):
        worker.items.put(worker.channel, [many])


def test_all_items_are_bounded_in_bytes(tmp_path: Path) -> None:
    log = ItemLog(tmp_path, "shop", ItemLimits(max_items=1000, max_bytes=10_000))
    large = {"title": "x" * 1000}
    for number in range(8):
        log.append([LiveItem(item_id=f"n{number}", attributes=large)])
    with pytest.raises(ItemsFullError, match="of 10000 bytes together"):
        log.append([LiveItem(item_id="n8", attributes=large), LiveItem(item_id="n9", attributes=large)])
    assert 0.8 < log.fill < 1.0
    assert log.append([LiveItem(item_id="n0", is_withdrawn=True)])


def test_fill_of_the_store_is_shown(worker: Worker) -> None:
    worker.put("a", "b", "c", "d")
    assert samples(worker.metrics)["marquee_live_items_fill", "tiny"] == 0.8


def test_change_reads_and_embeds_what_changed(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded: list[int] = []
    embed = new_items.embed_items

    def counted(bundle: object, items: list[LiveItem]) -> object:
        embedded.append(len(items))
        return embed(bundle, items)  # type: ignore[arg-type]  # as it was given

    recommender = worker.channel.recommender
    assert recommender is not None
    many = {f"n{number}": LiveItem(item_id=f"n{number}") for number in range(50)}
    full = recommender.with_live_items(many)
    monkeypatch.setattr(item_pool, "embed_items", counted)
    changed = {**many, "n7": LiveItem(item_id="n7", available_until=5), "new": LiveItem(item_id="new")}
    del changed["n3"]
    again, anew = full.with_live_items(changed), Recommender(recommender.bundle).with_live_items(changed)
    assert embedded == [2, 50]
    assert again.item_pool.n_added == anew.item_pool.n_added == 50
    for item_id in changed:
        one, other = again.item_pool.table.index(item_id), anew.item_pool.table.index(item_id)
        assert one == other, "a worker that starts anew has the same order"
    assert again.item_pool.table.index("n3") == 0


def test_items_follow_the_folder_whatever_a_manifest_says(tmp_path: Path) -> None:
    first = publish_tiny(tmp_path / "bundles")
    worker = Worker(tmp_path)
    worker.put("ad0")
    worker.withdraw("i007")
    other = publish_tiny(tmp_path / "elsewhere", "planet", seed=1)
    other.rename(first.parent / other.name)
    worker.channel.activate(other.name)
    worker.withdraw("ad0")
    again = Worker(tmp_path)
    assert again.pool.bundle.manifest.name == "planet"
    assert again.pool.n_withdrawn == 1, "not even from a later release"


def test_file_that_was_kept_under_the_name_of_a_manifest_is_found(tmp_path: Path) -> None:
    """Earlier versions of the service named it so; a folder may have been renamed since it was published."""
    publish_tiny(tmp_path / "bundles")
    Worker(tmp_path).withdraw("i007")
    (tmp_path / "bundles" / "tiny").rename(tmp_path / "bundles" / "shop")
    channel = Channel(tmp_path / "bundles" / "shop")
    channel.load()
    LiveItems([channel], tmp_path / "items", LiveItemLimits(), Metrics(), clock=lambda: NOW).open()
    assert channel.recommender is not None
    assert channel.recommender.item_pool.n_withdrawn == 1
