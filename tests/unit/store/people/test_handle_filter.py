"""Who never had a row is known without a read, and nobody else is taken for one."""

import os
import shutil
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from marquee.store.people import handle_filter
from marquee.store.people.consent import Tier
from marquee.store.people.handle_filter import HandleFilter
from tests.support.people import UserStore, handle, pseudonym

HANDLES = [handle(f"user-{number}") for number in range(2_000)]
STRANGERS = [handle(f"stranger-{number}") for number in range(2_000)]
OLD = HANDLES[:500]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[UserStore]:
    opened = UserStore(str(tmp_path / "store"))
    yield opened
    opened.close()


def test_who_was_added_is_never_lacking_and_others_nearly_always(tmp_path: Path) -> None:
    first = HandleFilter(tmp_path / "seen", 1, lambda: [OLD[:300], OLD[300:]])
    second = HandleFilter(tmp_path / "seen", 1, lambda: [])
    second.add(HANDLES[500:])
    for one in (first, second):
        assert not any(map(one.lacks, HANDLES))
        assert sum(map(one.lacks, STRANGERS)) >= len(STRANGERS) - 1
        one.close()


def test_bits_are_made_anew_by_who_is_alone_and_by_nobody_else(tmp_path: Path) -> None:
    first = HandleFilter(tmp_path / "seen", 1, lambda: [OLD])
    beside = HandleFilter(tmp_path / "seen", 1, lambda: [])
    assert not beside.lacks(OLD[0])
    first.close()
    beside.close()
    # A copy that was put in the place of the rows while nobody looked.
    alone = HandleFilter(tmp_path / "seen", 1, lambda: [STRANGERS])
    assert (alone.lacks(STRANGERS[0]), alone.lacks(OLD[0])) == (False, True)
    alone.close()


def test_bits_of_another_store_say_nothing(tmp_path: Path) -> None:
    before = HandleFilter(tmp_path / "seen", 1, lambda: [OLD])
    other = HandleFilter(tmp_path / "seen", 2, lambda: [STRANGERS])
    assert (other.lacks(OLD[0]), other.lacks(STRANGERS[0])) == (True, False)
    assert (before.lacks(OLD[0]), before.lacks(STRANGERS[0])) == (False, False)
    before.close()
    other.close()


def test_bits_that_somebody_was_killed_over_say_nothing_until_they_are_made_anew(tmp_path: Path) -> None:
    reader = HandleFilter(tmp_path / "seen", 1, lambda: [OLD])

    def killed() -> Iterable[list[bytes]]:
        yield OLD
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        reader.renew(killed())
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert not any(map(reader.lacks, STRANGERS))
    later = HandleFilter(tmp_path / "seen", 1, lambda: [OLD])
    assert reader.lacks(STRANGERS[0])
    assert not reader.lacks(OLD[0])
    reader.close()
    later.close()


def test_answer_that_was_read_from_bits_being_made_anew_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = HandleFilter(tmp_path / "seen", 1, lambda: [OLD])
    unpack = handle_filter._PROBES.unpack_from

    class Renewing:
        """Makes the bits anew while somebody looks at them."""

        size = handle_filter._PROBES.size

        def unpack_from(self, one: bytes) -> tuple[int, ...]:
            monkeypatch.undo()
            reader.renew([])
            return unpack(one)

    monkeypatch.setattr(handle_filter, "_PROBES", Renewing())
    assert not reader.lacks(OLD[0])
    assert reader.lacks(OLD[0])
    reader.close()


def test_every_change_of_a_user_shows_on_the_other_worker_before_its_reply(store: UserStore) -> None:
    first, second = store.open(), store.open()
    named, said, gone = HANDLES[:3]
    assert all(map(second.is_stranger, (named, said, gone)))
    first.name({named: pseudonym(1)})
    first.set_tier(said, Tier.none, 1)
    first.forget(gone, 1)
    assert not any(map(second.is_stranger, (named, said, gone)))
    assert second.is_stranger(STRANGERS[0])


def test_tombstone_that_is_dropped_leaves_no_bit_behind(store: UserStore) -> None:
    first, second = store.open(), store.open()
    first.name({HANDLES[0]: pseudonym(1)})
    first.forget(HANDLES[1], 1)
    first.drop_tombstones(5)
    assert (second.is_stranger(HANDLES[1]), second.is_stranger(HANDLES[0])) == (True, False)


@pytest.mark.parametrize("n_last", [8192, 3])
def test_rows_written_while_old_tombstones_go_are_known(
    store: UserStore, monkeypatch: pytest.MonkeyPatch, n_last: int
) -> None:
    monkeypatch.setattr(handle_filter, "N_LAST", n_last)
    first, second = store.open(), store.open()
    first.name({one: pseudonym(number) for number, one in enumerate(OLD)})
    for gone in STRANGERS[:2]:
        first.forget(gone, 1)
    bits_of = handle_filter.bits_of

    def meanwhile(handles: Iterable[list[bytes]]) -> NDArray[np.uint8]:
        bits = bits_of(handles)
        # Nobody holds the lock; one who was dropped comes back, whose bits are set already.
        second.name({one: pseudonym(1000 + place) for place, one in enumerate(HANDLES[500:505])})
        second.set_tier(STRANGERS[0], Tier.none, 2)
        return bits

    monkeypatch.setattr("marquee.store.people.sqlite.bits_of", meanwhile)
    assert first.drop_tombstones(5) == 2
    assert not any(map(second.is_stranger, [*HANDLES[:505], STRANGERS[0]]))
    assert second.is_stranger(STRANGERS[1])
    assert (
        handle_filter._PROBES.pack(*handle_filter._PROBES.unpack_from(STRANGERS[1]))
        not in (Path(store.where) / "users.seen").read_bytes()
    )


def test_copy_of_a_folder_knows_its_users(store: UserStore, tmp_path: Path) -> None:
    opened = store.open()
    opened.name({HANDLES[0]: pseudonym(1)})
    store.close()
    shutil.copytree(store.where, tmp_path / "copy")
    (tmp_path / "copy" / "users.seen").write_bytes(bytes(100))
    copy = UserStore(str(tmp_path / "copy"))
    assert not copy.open().is_stranger(HANDLES[0])
    copy.close()
