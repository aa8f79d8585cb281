"""Items that may be shown, by kind and time."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from marquee.core.catalog import ALWAYS_FROM, ALWAYS_UNTIL, Catalog, ItemKind, ItemMask
from marquee.core.filters import Filters
from marquee.core.ids import IdMap
from marquee.errors import DataError, FilterError, MissingColumnError, ShapeError

ITEM_IDS = IdMap(("a", "b", "c", "d"))
ITEMS = pl.DataFrame(
    {
        "item_id": ["c", "a", "b"],
        "kind": ["ad", None, "content"],
        "available_from": [None, 10, 20],
        "available_until": [30, None, 25],
        "genres": [["war"], [], None],
        "bid": [1.5, None, None],
    }
)


def allowed_ids(catalog: Catalog, kind: ItemKind | None, timestamp: int) -> list[str]:
    return catalog.item_ids.decode(catalog.allowed(kind, timestamp).item_index)


def test_rows_stand_in_index_order_behind_padding() -> None:
    catalog = Catalog.build(ITEMS, ITEM_IDS)
    assert catalog.is_ad.tolist() == [False, False, False, True, False]
    assert catalog.available_from.tolist() == [ALWAYS_FROM, 10, 20, ALWAYS_FROM, ALWAYS_FROM]
    assert catalog.available_until.tolist() == [ALWAYS_UNTIL, ALWAYS_UNTIL, 25, 30, ALWAYS_UNTIL]


def test_attributes_are_kept_and_null_for_items_without_a_row() -> None:
    attributes = Catalog.build(ITEMS, ITEM_IDS).attributes
    assert attributes["genres"].to_list() == [[], None, ["war"], None]
    assert attributes["bid"].to_list() == [None, None, 1.5, None]


def test_catalog_without_a_table_is_content_for_ever() -> None:
    catalog = Catalog.build(None, ITEM_IDS)
    assert allowed_ids(catalog, ItemKind.content, 0) == ["a", "b", "c", "d"]
    assert allowed_ids(catalog, ItemKind.ad, 0) == []


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [(9, "cd"), (10, "acd"), (19, "acd"), (20, "abcd"), (24, "abcd"), (25, "acd"), (29, "acd"), (30, "ad")],
)
def test_item_is_available_from_its_first_second_to_before_its_last(timestamp: int, expected: str) -> None:
    assert allowed_ids(Catalog.build(ITEMS, ITEM_IDS), None, timestamp) == list(expected)


def test_kind_is_part_of_the_mask() -> None:
    catalog = Catalog.build(ITEMS, ITEM_IDS)
    assert allowed_ids(catalog, ItemKind.ad, 22) == ["c"]
    assert allowed_ids(catalog, ItemKind.content, 22) == ["a", "b", "d"]


def test_mask_is_made_again_only_when_availability_changes() -> None:
    catalog = Catalog.build(ITEMS, ITEM_IDS)
    first = catalog.allowed(None, 10)
    assert catalog.allowed(None, 19) is first
    assert catalog.allowed(None, 20) is not first
    assert catalog.allowed(None, 10).flags.tolist() == first.flags.tolist()


def test_filters_are_part_of_the_mask() -> None:
    catalog = Catalog.build(ITEMS, ITEM_IDS)
    filters = Filters.of({"genres": {"none_of": ["love"]}, "bid": {"min": 1}})
    mask = catalog.allowed(None, 22, filters)
    assert catalog.item_ids.decode(mask.item_index) == ["c"]
    assert mask.unknown_values == ("genres=love",)
    assert catalog.allowed(None, 23, Filters.of({"bid": {"min": 1}, "genres": {"none_of": ["love"]}})) is mask
    assert catalog.allowed(ItemKind.content, 22, filters).n_allowed == 0
    assert catalog.allowed(None, 30, filters).n_allowed == 0


def test_filters_that_the_catalog_cannot_apply_are_refused() -> None:
    catalog = Catalog.build(ITEMS, ITEM_IDS)
    assert catalog.filterable == {"genres": "texts", "bid": "number"}
    with pytest.raises(FilterError, match=r"filters\.genre is no attribute of this catalog"):
        catalog.allowed(None, 22, Filters.of({"genre": {"any_of": ["war"]}}))
    with pytest.raises(FilterError, match=r"filters\.bid holds number, got True"):
        catalog.validate_filters(Filters.of({"bid": {"any_of": [True]}}))


def test_masks_asked_for_last_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marquee.core.catalog._MAX_MASKS", 3)
    catalog = Catalog.build(ITEMS, ITEM_IDS)
    everything = catalog.allowed(None, 22)
    first = catalog.allowed(None, 22, Filters.of({"bid": {"min": 0}}))
    for bid in range(1, 5):
        catalog.allowed(None, 22, Filters.of({"bid": {"min": bid}}))  # asks for `everything` as well
        assert catalog.allowed(None, 22) is everything
    assert catalog.allowed(None, 22, Filters.of({"bid": {"min": 0}})) is not first
    assert len(catalog._masks) == 3


def test_mask_counts_lists_and_packs_its_items() -> None:
    mask = ItemMask(np.array([False, True, False, True, *[False] * 7, True]))
    assert (mask.n_allowed, mask.is_everything) == (3, False)
    assert mask.item_index.tolist() == [1, 3, 11]
    assert mask.bits.tolist() == [0b101, 0b100]


def test_catalog_survives_the_disk(tmp_path: Path) -> None:
    written = Catalog.build(ITEMS, ITEM_IDS)
    written.write_parquet(tmp_path / "catalog.parquet")
    read = Catalog.read_parquet(tmp_path / "catalog.parquet")
    assert read.item_ids == written.item_ids
    assert_frame_equal(read.attributes, written.attributes)
    for name in ("is_ad", "available_from", "available_until"):
        assert getattr(read, name).tolist() == getattr(written, name).tolist()


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ({"item_id": ["a", "a"]}, "item_id must be unique, got 'a' twice"),
        ({"item_id": ["a", "x"]}, "holds 'x', which item_ids does not"),
        ({"item_id": ["a", None]}, "holds None, which item_ids does not"),
        ({"item_id": ["a"], "kind": ["advert"]}, r"kind must be one of \['content', 'ad'\], got 'advert'"),
        (
            {"item_id": ["a"], "available_from": [9], "available_until": [3]},
            "item 'a' is available from 9 until 3",
        ),
    ],
)
def test_impossible_rows_are_refused(items: dict[str, list[object]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Catalog.build(pl.DataFrame(items), ITEM_IDS)


def test_table_without_item_ids_is_refused() -> None:
    with pytest.raises(MissingColumnError, match=r"no column item_id, got \['sku'\]"):
        Catalog.build(pl.DataFrame({"sku": ["a"]}), ITEM_IDS)


def test_parquet_that_is_no_catalog_is_refused(tmp_path: Path) -> None:
    ITEMS.drop("kind").write_parquet(tmp_path / "items.parquet")
    with pytest.raises(MissingColumnError, match=r"the catalog lacks \['kind'\]"):
        Catalog.read_parquet(tmp_path / "items.parquet")


@pytest.mark.parametrize("rows", [4, 6])
def test_arrays_of_another_length_are_refused(rows: int) -> None:
    with pytest.raises(ShapeError, match=r"is_ad must have n_items \+ 1 = 5 rows"):
        Catalog(
            ITEM_IDS, np.zeros(rows, bool), np.zeros(5, int), np.zeros(5, int), pl.DataFrame({"x": range(4)})
        )


def test_attributes_of_another_length_are_refused() -> None:
    with pytest.raises(ShapeError, match="attributes must have n_items = 4 rows, got 3"):
        Catalog(
            ITEM_IDS, np.zeros(5, bool), np.zeros(5, int), np.zeros(5, int), pl.DataFrame({"x": range(3)})
        )
