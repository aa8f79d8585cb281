"""Changes of a bundle's items: seen by filters, availability and answers, never by scores."""

from collections.abc import Mapping

import numpy as np
import pytest

from marquee.core.filters import Clause, Filters
from marquee.decision.item_changes import columns_of_tower, is_changed
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Answer, Request
from marquee.store.live_items import LiveItem
from tests.support.bundles import CREATED, NOW, publish_tiny, year_of


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    return Recommender.load(publish_tiny(tmp_path_factory.mktemp("bundles")))


def changed(item_id: str, moment: int = NOW, **values: object) -> LiveItem:
    changes = {column: (value, moment) for column, value in values.items()}
    return LiveItem(item_id=item_id, is_posted=False, changes=changes)


def live(*items: LiveItem) -> Mapping[str, LiveItem]:
    return {item.item_id: item for item in items}


def ask(recommender: Recommender, *clauses: Clause, timestamp: int = NOW) -> Answer:
    asked = Request(timestamp=timestamp, user_id="u1", k=50, exclude_seen=False, filters=Filters(clauses))
    return recommender.recommend([asked])[0]


def ids(answer: Answer) -> list[str]:
    return [item.item_id for item in answer.items]


def test_filter_sees_the_new_value_and_the_order_stays(plain: Recommender) -> None:
    is_new = Clause(attribute="year", min=3000)
    assert ids(ask(plain, is_new)) == []
    ask(plain, Clause(attribute="tags", any_of=("by 2",)))  # a form that the change must not keep
    other = plain.with_live_items(live(changed("i003", year=3001), changed("i002", tags=["sale"])))
    assert ids(ask(other, is_new)) == ["i003"]
    assert ids(ask(other, Clause(attribute="tags", any_of=("sale",)))) == ["i002"]
    assert "i002" not in ids(ask(other, Clause(attribute="tags", any_of=("by 2",))))
    assert ask(other).items == ask(plain).items, "scores and order are those of the vectors"
    assert ids(ask(plain, is_new)) == [], "the pool before is left alone"
    table = other.item_pool.table
    assert table.values("year", np.array([3, 1])) == [3001, year_of(1)]


def test_availability_follows_the_change(plain: Recommender) -> None:
    assert {"i001", "i007"} <= set(ids(ask(plain)))
    assert "i006" not in ids(ask(plain, timestamp=NOW + 50))
    other = plain.with_live_items(
        live(
            changed("i001", available_until=NOW),
            changed("i006", available_until=None),
            changed("i007", available_from=NOW + 20),
        )
    )
    assert not {"i001", "i007"} & set(ids(ask(other)))
    assert {"i006", "i007"} <= set(ids(ask(other, timestamp=NOW + 50)))


def test_value_can_be_taken_away_and_a_change_taken_back(plain: Recommender) -> None:
    row = np.array([3])
    without = plain.with_live_items(live(changed("i003", year=None)))
    assert without.item_pool.table.values("year", row) == [None]
    back = without.with_live_items({})
    assert back.item_pool.table.values("year", row) == [year_of(3)]
    assert ask(back) == ask(plain)


def test_what_stays_changed_is_not_laid_over_again(plain: Recommender) -> None:
    one = live(changed("i003", year=3001))
    pool = plain.with_live_items(one).item_pool
    more = pool.with_live_items({**one, "new": LiveItem(item_id="new", attributes={"genre": "drama"})})
    assert more.table.own is pool.table.own
    assert more.n_added == 1


def test_change_of_what_the_tower_reads_is_not_taken(plain: Recommender) -> None:
    assert columns_of_tower(plain.bundle) == {"genre"}
    other = plain.with_live_items(live(changed("i003", genre="opera", year="soon", colour="red")))
    assert other.item_pool.table.own is plain.item_pool.table.own


@pytest.mark.parametrize(("moment", "is_taken"), [(CREATED - 1, False), (CREATED, True)])
def test_release_made_after_a_change_has_its_own_values(
    plain: Recommender, moment: int, is_taken: bool
) -> None:
    item = changed("i003", moment, year=3001)
    other = plain.with_live_items(live(item))
    assert is_changed(plain.bundle, item) is is_taken
    assert other.item_pool.table.values("year", np.array([3])) == [3001 if is_taken else year_of(3)]


def test_later_change_does_not_bring_back_an_overridden_one(plain: Recommender) -> None:
    item = changed("i003", tags=["sale"]).upon(changed("i003", CREATED - 1, year=3001, tags=["old"]))
    table = plain.with_live_items(live(item)).item_pool.table
    assert table.values("year", np.array([3])) == [year_of(3)]
    assert table.values("tags", np.array([3])) == [["sale"]]


def test_change_alone_adds_no_item(plain: Recommender) -> None:
    assert plain.with_live_items(live(changed("nobody", year=3001))).item_pool.n_added == 0


def test_cosines_stay_when_rows_change(plain: Recommender) -> None:
    before = plain.item_pool.cosines(3)
    after = plain.with_live_items(live(changed("i003", year=3001))).item_pool.cosines(3)
    assert before is not None
    assert after is not None
    np.testing.assert_array_equal(before, after)
