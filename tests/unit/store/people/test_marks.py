"""A row that was read holds only while nobody can have changed it."""

from pathlib import Path

from marquee.store.people.consent import Tier
from marquee.store.people.marks import Marks
from tests.support.people import UserStore, handle, pseudonym

A, B = handle("a"), handle("b")


def test_number_is_another_after_each_change_and_none_while_it_lasts(tmp_path: Path) -> None:
    writer, reader = Marks(tmp_path / "marks"), Marks(tmp_path / "marks")
    before = reader.of(A)
    assert before is not None
    writer.begin([A])
    assert reader.of(A) is None
    assert reader.of(B) is not None
    writer.end([A])
    assert reader.of(A) not in (None, before)
    writer.close()
    reader.close()


def test_writer_that_is_killed_leaves_nothing_that_could_be_believed(tmp_path: Path) -> None:
    killed, reader = Marks(tmp_path / "marks"), Marks(tmp_path / "marks")
    before = reader.of(A)
    killed.begin([A])
    killed.close()
    assert reader.of(A) is None
    later = Marks(tmp_path / "marks")
    later.begin([A])
    later.end([A])
    assert reader.of(A) not in (None, before)
    later.close()
    reader.close()


def test_users_that_share_a_number_end_together(tmp_path: Path) -> None:
    both = Marks(tmp_path / "marks")
    same = A[:8] + bytes(24)
    assert both._slot(same) == both._slot(A)
    both.begin([A, same])
    both.end([A, same])
    assert both.of(A) == both.of(same) is not None
    both.close()


def test_every_change_of_a_user_shows_on_the_other_worker(tmp_path: Path) -> None:
    store = UserStore(str(tmp_path))
    first, second = store.open(), store.open()
    seen = [second.mark(A)]
    for change in (
        lambda: first.name({A: pseudonym(1)}),
        lambda: first.set_tier(A, Tier.none, 1),
        lambda: first.forget(A, 2),
        lambda: first.drop_tombstones(3),
    ):
        change()
        seen.append(second.mark(A))
    assert None not in seen
    assert len(set(seen)) == 5
    store.close()
