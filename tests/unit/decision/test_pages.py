"""A page of rows: one pass through the tower, no item twice, each row by what it says that it rests on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marquee.core.catalog import ItemKind
from marquee.decision.pages.rows import AnsweredRow, Row, RowKind
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Request, Source
from marquee.decision.reranking import Reranking
from marquee.errors import DataError
from marquee.store.live_items import LiveItem
from tests.support.bundles import N_ITEMS, NOW, OPENS, publish_tiny

USER = Request(timestamp=NOW, user_id="u1")


@pytest.fixture
def recommender(tmp_path: Path) -> Recommender:
    return Recommender.load(publish_tiny(tmp_path))


def row(
    by: str = "for_you", k: int = 3, item_id: str | None = None, items: tuple[str, ...] = (), **of: Any
) -> Row:
    request = Request(**{"timestamp": NOW, "k": k, **of})
    return Row(kind=RowKind(by), request=request, item_id=item_id, items=items)


def ids(answered: AnsweredRow) -> list[str]:
    return [item.item_id for item in answered.answer.items]


EVERY_KIND = (
    row(),
    row("similar"),
    row("popular"),
    row("new"),
    row("continued", items=("i003", "i002")),
    row("for_you", 3, kind=ItemKind.ad),
)


def test_no_item_stands_on_a_page_twice_nor_anything_seen(recommender: Recommender) -> None:
    rows = recommender.recommend_page(USER, EVERY_KIND)
    shown = [item_id for answered in rows for item_id in ids(answered)]
    assert len(set(shown)) == len(shown) >= 12
    seen = set(recommender.item_pool.table.decode(recommender.queries.encode([USER]).seen[0]))
    assert not seen & set(shown)


def test_rows_have_what_they_name_as_their_source(recommender: Recommender) -> None:
    sources = [answered.answer.source for answered in recommender.recommend_page(USER, EVERY_KIND)]
    assert sources == [
        Source.personal,
        Source.similar,
        Source.popular,
        Source.new,
        Source.history,
        Source.personal,
    ]
    nobody = recommender.recommend_page(Request(timestamp=NOW, user_id="nobody"), [row(), row("similar")])
    assert [one.answer.source for one in nobody] == [Source.popular, Source.similar]
    assert [one.answer.unknown_user for one in nobody] == [True, True]
    assert (ids(nobody[1]), nobody[1].like_item) == ([], None)
    assert "the history holds no item" in str(nobody[1].answer.fallback_reason)


def test_first_row_is_the_answer_to_a_request_of_its_own(recommender: Recommender) -> None:
    for asked in (USER, Request(timestamp=NOW, history=("i004",)), Request(timestamp=NOW)):
        (alone,) = recommender.recommend_page(asked, [row(k=5)])
        assert (
            alone.answer
            == recommender.recommend(
                [Request(timestamp=NOW, user_id=asked.user_id, history=asked.history, k=5)]
            )[0]
        )


def test_rows_tell_the_scores_that_were_compared(recommender: Recommender) -> None:
    reranking = Reranking(freshness_weight=0.5)
    (alone,) = recommender.recommend_page(USER, [row(k=5, reranking=reranking)])
    (decided,) = recommender.decide([Request(timestamp=NOW, user_id="u1", k=5, reranking=reranking)])
    assert alone.decided.considered is not None
    assert decided.considered is not None
    assert alone.decided.considered.tolist() == decided.considered.tolist()


def test_later_rows_go_on_where_those_above_ended(recommender: Recommender) -> None:
    whole = ids(recommender.recommend_page(USER, [row(k=9)])[0])
    parts = recommender.recommend_page(USER, [row(k=4), row(k=5)])
    assert ids(parts[0]) + ids(parts[1]) == whole


def test_tower_runs_once_for_all_rows(recommender: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []
    tower = recommender.bundle.query_tower
    run = tower.run

    def counted(arrays: Mapping[str, np.ndarray[Any, Any]]) -> Any:
        runs.append(len(next(iter(arrays.values()))))
        return run(arrays)

    monkeypatch.setattr(tower, "run", counted)
    recommender.recommend_page(USER, EVERY_KIND)
    assert runs == [2]  # the user once, the one list once


def test_similar_row_takes_the_item_or_the_latest_of_the_history(recommender: Recommender) -> None:
    named, unknown = recommender.recommend_page(
        USER, [row("similar", item_id="i002"), row("similar", item_id="x")]
    )
    alike = recommender.similar("i002", timestamp=NOW, k=20).items
    assert named.like_item == "i002"
    seen = set(recommender.item_pool.table.decode(recommender.queries.encode([USER]).seen[0]))
    assert ids(named) == [item.item_id for item in alike if item.item_id not in seen][:3]
    assert ids(unknown) == []
    assert "'x' is no item" in str(unknown.answer.fallback_reason)
    given = Request(timestamp=NOW, user_id="u1", history=("i004", "unknown"))
    (latest,) = recommender.recommend_page(given, [row("similar")])
    assert latest.like_item == "i004"
    assert "i004" not in ids(latest)


def test_new_row_has_the_latest_first(recommender: Recommender) -> None:
    opened = [f"i{number:03d}" for number in range(5, N_ITEMS + 1, 5)]
    (new,) = recommender.recommend_page(Request(timestamp=NOW), [row("new", k=N_ITEMS)])
    assert set(ids(new)) == set(opened)
    live = LiveItem(item_id="newest", available_from=OPENS + 5, attributes={"genre": "drama"})
    (new,) = recommender.with_live_items({"newest": live}).recommend_page(
        Request(timestamp=NOW), [row("new", k=2)]
    )
    assert ids(new) == ["newest", opened[0]]


def test_rows_keep_their_own_filters_kinds_and_reranking(recommender: Recommender) -> None:
    rows = recommender.recommend_page(
        USER,
        [
            row("popular", k=4, kind=ItemKind.ad),
            row("new", k=4, reranking=Reranking(caps={"genre": 1})),
            row(k=4, exclude=("i001", "i002", "i003")),
        ],
    )
    assert {item.kind for item in rows[0].answer.items} == {ItemKind.ad}
    assert rows[1].answer.reranked == ("caps",)
    assert len(ids(rows[1])) <= 2
    assert not {"i001", "i002", "i003"} & set(ids(rows[2]))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"by": "popular", "item_id": "i001"}, "item_id belongs to a row of kind similar, got 'i001' in one"),
        ({"by": "new", "items": ("i001",)}, "items belong to a row of kind continued"),
        ({"by": "continued"}, "items belong to a row of kind continued .* got 0"),
    ],
)
def test_row_that_says_what_its_kind_does_not_read_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        row(**fields)
