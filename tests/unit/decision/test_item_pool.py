"""Live items on top of a bundle's: found where their scores say, and wherever an item may stand."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marquee.bundle.bundle import Bundle
from marquee.bundle.graphs import ITEM_INPUTS, Graph
from marquee.bundle.publishing import publish
from marquee.core.arrays import FloatArray
from marquee.core.catalog import ItemKind
from marquee.core.filters import Filters
from marquee.decision.item_pool import ItemPool
from marquee.decision.new_items import embed_items, read_attribute, unused
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Answer, HistoryEvent, Request, Source
from marquee.errors import DataError, FilterError, UnknownIdError
from marquee.index.faiss_index import IndexConfig, IndexKind
from marquee.store.live_items import LiveItem
from tests.support.bundles import CREATED, HISTORY_LENGTH, N_ITEMS, NOW, make_tiny, publish_tiny

GENRES = ("drama", "comedy", "opera", None)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    return Recommender.load(publish_tiny(tmp_path_factory.mktemp("bundles")))


def live(*items: LiveItem) -> Mapping[str, LiveItem]:
    return {item.item_id: item for item in items}


def drama(item_id: str, **fields: object) -> LiveItem:
    return LiveItem(item_id=item_id, attributes={"genre": "drama"}, **fields)  # type: ignore[arg-type]


def gone(item_id: str) -> LiveItem:
    return LiveItem(item_id=item_id, is_withdrawn=True)


def ask(recommender: Recommender, **fields: object) -> Answer:
    return recommender.recommend([Request(**{"timestamp": NOW, "k": 50, **fields})])[0]  # type: ignore[arg-type]


def ids(answer: Answer) -> list[str]:
    return [item.item_id for item in answer.items]


def tower_of(genre: str | None) -> FloatArray:
    """Runs the graph of the item tower on a genre alone."""
    contents = make_tiny().contents
    tokens = contents.item_features.encode({"genre": [genre]}, 1).tokens.astype(np.int64)
    arrays: dict[str, npt.NDArray[np.generic]] = {"id_vector": np.zeros((1, 4), np.float32), "tokens": tokens}
    vector: FloatArray = Graph("item_tower.onnx", contents.item_tower, ITEM_INPUTS).run(arrays)[0]
    return vector


def anonymous_query(history: Sequence[tuple[int, int]] = ()) -> FloatArray:
    """Returns the query of a request that says nothing but a history, as (item_index, kind_index)."""
    tiny = make_tiny()
    nothing = tiny.contents.query_features.encode_one({})
    return tiny.query(0, history, nothing.tokens[0].tolist(), nothing.numeric[0].tolist())


live_items = st.lists(
    st.builds(
        LiveItem,
        item_id=st.sampled_from(["i003", "i008", "i024", *(f"new{number}" for number in range(8))]),
        kind=st.sampled_from(ItemKind),
        available_from=st.sampled_from([None, NOW, NOW + 1]),
        available_until=st.sampled_from([None, NOW + 1]),
        attributes=st.sampled_from([{"genre": genre} for genre in GENRES]),
        is_withdrawn=st.booleans(),
    ),
    max_size=8,
    unique_by=lambda item: item.item_id,
)


@settings(max_examples=60, deadline=None)
@given(
    live_items,
    st.sampled_from([None, *ItemKind]),
    st.lists(st.sampled_from(["i001", "new0", "new1", "i003"]), max_size=3),
    st.integers(1, 40),
)
def test_answer_is_the_best_of_both_shelves(
    plain: Recommender, items: list[LiveItem], kind: ItemKind | None, exclude: list[str], k: int
) -> None:
    contents = make_tiny().contents
    catalog, query = contents.catalog, anonymous_query([(5, 1)])
    forbidden = {"i005", *exclude, *(item.item_id for item in items if item.is_withdrawn)}
    scored = [
        (-float(query @ contents.index.item_vectors[number]), number, name)
        for number, name in enumerate(catalog.item_ids.ids, start=1)
        if catalog.allowed(kind, NOW).flags[number] and name not in forbidden
    ]
    scored += [
        (-float(query @ tower_of(cast(str | None, item.attributes["genre"]))), N_ITEMS + number, item.item_id)
        for number, item in enumerate(items, start=1)
        if item.item_id not in catalog.item_ids
        and item.item_id not in forbidden
        and kind in (None, item.kind)
        and (item.available_from or 0) <= NOW
    ]
    recommender = plain.with_live_items(live(*items))
    answer = ask(recommender, history=("i005",), kind=kind, exclude=exclude, k=k)
    expected = sorted(scored)[:k]
    assert [(item.item_id, item.score) for item in answer.items] == [
        (name, -cost) for cost, _, name in expected
    ]
    assert (answer.short_reason is None) == (len(expected) == k)


def test_live_items_leave_the_recommender_before_them_alone(plain: Recommender) -> None:
    before = ask(plain, user_id="u1")
    other = plain.with_live_items(live(drama("new"), gone("i007")))
    assert ask(plain, user_id="u1") == before
    assert set(ids(ask(other, user_id="u1"))) == {*ids(before), "new"} - {"i007"}
    assert ask(other.with_live_items({}), user_id="u1") == before


def test_ann_index_and_withdrawn_items_get_on(tmp_path: Path) -> None:
    index = IndexConfig(kind=IndexKind.hnsw, max_ann_cost=1e9)
    contents = make_tiny(index=index).contents
    recommender = Recommender.load(publish(contents, tmp_path, "tiny", created=CREATED))
    other = recommender.with_live_items(live(gone("i007"), drama("new")))
    assert set(ids(ask(other, user_id="u1"))) == {*ids(ask(recommender, user_id="u1")), "new"} - {"i007"}


def test_live_item_stands_in_a_history(plain: Recommender) -> None:
    recommender = plain.with_live_items(live(drama("new")))
    request = Request(timestamp=NOW, history=(HistoryEvent("new"), HistoryEvent("i002")))
    queries = recommender.queries.encode([request, Request(timestamp=NOW, history=("i001",) * 9)])
    expected = anonymous_query([(2, 1)]) + tower_of("drama")
    assert queries.embeddings[0].tolist() == expected.tolist()
    assert queries.unknown_history[0] == 0
    assert recommender.queries.encode([request]).embeddings.tolist() == [expected.tolist()]
    assert "new" not in ids(recommender.recommend([request])[0]), "what was seen does not come back"
    assert plain.queries.encode([request]).unknown_history == (1,)


def test_withdrawn_item_still_says_what_the_user_liked(plain: Recommender) -> None:
    recommender = plain.with_live_items(live(gone("i002")))
    answer = ask(recommender, history=("i002",))
    assert (answer.source, answer.unknown_history) == (Source.history, 0)
    assert "i002" not in ids(ask(recommender, history=("i002",), exclude_seen=False))


def test_popular_answer_puts_live_items_last(plain: Recommender) -> None:
    before = ask(plain, k=N_ITEMS + 2)
    answer = ask(plain.with_live_items(live(drama("new1"), drama("new2"))), k=N_ITEMS + 2)
    assert ids(answer) == [*ids(before), "new1", "new2"]
    assert [item.score for item in answer.items[-2:]] == [0.0, 0.0]
    context = {"surface": "home"}
    assert ids(ask(plain.with_live_items(live(drama("new"))), context=context))[-1] == "new"


def test_similar_works_from_and_to_live_items(plain: Recommender) -> None:
    recommender = plain.with_live_items(live(drama("new1"), drama("new2"), gone("i003")))
    answer = recommender.similar("new1", timestamp=NOW, k=50)
    assert answer.source is Source.similar
    assert answer.items[0].item_id == "new2"
    assert answer.items[0].score == pytest.approx(1.0)
    assert not {"new1", "i003"} & set(ids(answer))
    assert {"new1", "new2"} <= set(ids(recommender.similar("i001", timestamp=NOW, k=50)))
    with pytest.raises(UnknownIdError):
        recommender.with_live_items({}).similar("new1", timestamp=NOW)


def test_filters_look_at_live_items_too(plain: Recommender) -> None:
    old = LiveItem(item_id="old", attributes={"genre": "drama", "year": 1901, "tags": ["by 2", "silent"]})
    recommender = plain.with_live_items(live(old, drama("new")))
    silent = Filters.of({"tags": {"any_of": ["silent"]}, "year": {"max": 1950}})
    answer = ask(recommender, user_id="u1", filters=silent)
    assert ids(answer) == ["old"]
    assert answer.unknown_filter_values == (), "a value that only a live item has is known"
    assert ask(plain, user_id="u1", filters=silent).unknown_filter_values == ("tags=silent",)
    with pytest.raises(FilterError):
        ask(recommender, user_id="u1", filters=Filters.of({"colour": {"any_of": ["red"]}}))


def test_item_that_the_bundle_holds_is_the_bundles(plain: Recommender) -> None:
    recommender = plain.with_live_items(live(LiveItem(item_id="i004", attributes={"genre": "opera"})))
    assert recommender.item_pool.n_added == 0
    assert ask(recommender, user_id="u1") == ask(plain, user_id="u1")


def test_what_is_embedded_is_not_embedded_again(plain: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded: list[list[str]] = []

    def embed(bundle: Bundle, items: list[LiveItem]) -> FloatArray:
        embedded.append([item.item_id for item in items])
        return embed_items(bundle, items)

    monkeypatch.setattr("marquee.decision.item_pool.embed_items", embed)
    first = ItemPool(plain.bundle).with_live_items(live(drama("a"), drama("b")))
    changed = LiveItem(item_id="b", attributes={"genre": "comedy"})
    second = first.with_live_items(live(drama("a"), changed, drama("c")))
    assert embedded == [["a", "b"], ["b", "c"]]
    assert second.table.vectors(second.table.encode(["b"])).tolist() == [tower_of("comedy").tolist()]


def test_item_without_a_finite_embedding_stands_nowhere(
    plain: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = np.array([[1, 2, 3, 4], [np.nan, 0, 0, 0]], dtype=np.float32)
    monkeypatch.setattr("marquee.decision.item_pool.embed_items", lambda _bundle, _items: table)
    item_pool = ItemPool(plain.bundle).with_live_items(live(drama("a"), drama("b")))
    assert (item_pool.n_added, item_pool.table.index("a"), item_pool.table.index("b")) == (1, N_ITEMS + 1, 0)


def test_values_and_moments_come_from_the_right_segment(plain: Recommender) -> None:
    item = LiveItem(item_id="new", kind=ItemKind.ad, available_from=7, attributes={"year": 1999})
    item_pool = plain.with_live_items(live(item)).item_pool
    items = item_pool.table.encode(["new", "i001", "i005", "i004"])
    assert item_pool.table.values("genre", items) == [None, "drama", "drama", "comedy"]
    assert item_pool.table.values("kind", items) == [True, False, False, True]
    assert item_pool.table.moments("available_from", items)[[0, 2]].tolist() == [7.0, NOW - 10]
    assert np.isnan(item_pool.table.moments("available_from", items)[[1, 3]]).all()
    assert item_pool.table.moments("year", items)[0] == 1999.0
    assert item_pool.table.decode(items) == ["new", "i001", "i005", "i004"]
    with pytest.raises(DataError, match=r"no attribute 'colour' .* name kind or one of \['genre'"):
        item_pool.table.values("colour", items)
    with pytest.raises(DataError, match=r"attribute of moments.*got 'genre' of String"):
        item_pool.table.moments("genre", items)


def test_what_a_bundle_makes_nothing_of_is_named(plain: Recommender) -> None:
    attributes = {"genre": "drama", "year": "soon", "tags": ["a", {}], "colour": "red", "price": None}
    found = unused(plain.bundle, LiveItem(item_id="new", attributes=attributes))
    assert (found.unknown, found.unread) == (("colour",), ("tags", "year"))
    vast = LiveItem(item_id="vast", attributes={"year": "1e30", "tags": [], "genre": 2.5})
    assert unused(plain.bundle, vast).unread == ("tags", "year")
    item_pool = plain.with_live_items(live(vast)).item_pool
    assert item_pool.table.values("year", item_pool.table.encode(["vast"])) == [None]


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (True, pl.Boolean(), True),
        ("yes", pl.Boolean(), None),
        (True, pl.Float64(), None),
        ("2.5", pl.Float64(), 2.5),
        (2.5, pl.Int32(), None),
        (2018, pl.String(), "2018"),
        ("", pl.String(), None),
        ("a", pl.List(pl.String()), ["a"]),
        ([], pl.List(pl.String()), None),
        ([1, "x"], pl.List(pl.Float64()), None),
        ({"a": 1}, pl.Struct({"a": pl.Int64()}), None),
    ],
)
def test_value_is_read_as_its_column_holds_it(value: object, dtype: pl.DataType, expected: object) -> None:
    assert read_attribute(value, dtype) == expected


def test_bundle_whose_item_tower_reads_no_features_takes_no_new_items(
    plain: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain.bundle.item_tower, "inputs", ("id_vector",))
    item_pool = ItemPool(plain.bundle).with_live_items(live(drama("new"), gone("i001")))
    assert (item_pool.n_added, item_pool.n_withdrawn) == (0, 1)


def test_histories_longer_than_the_tower_takes_still_fit(plain: Recommender) -> None:
    recommender = plain.with_live_items(live(drama("new")))
    history = ("new",) * (HISTORY_LENGTH + 2)
    expected = anonymous_query() + HISTORY_LENGTH * tower_of("drama")
    embedding = recommender.queries.encode([Request(timestamp=NOW, history=history)]).embeddings[0]
    assert embedding.tolist() == expected.tolist()


def test_catalog_without_attributes_takes_live_items(tmp_path: Path) -> None:
    contents = make_tiny().contents
    bare = replace(contents.catalog, attributes=pl.DataFrame(height=N_ITEMS))
    bundle = publish(replace(contents, catalog=bare), tmp_path, "tiny", created=CREATED)
    recommender = Recommender.load(bundle).with_live_items(live(drama("new")))
    assert "new" in ids(ask(recommender, user_id="u1"))
