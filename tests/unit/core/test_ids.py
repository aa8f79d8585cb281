"""Ids to indices and back."""

import pytest

from marquee.core.ids import PADDING_INDEX, IdMap
from marquee.errors import DataError, UnknownIdError

ITEMS = IdMap(("sku-9", "sku-7", "sku-8"))


def test_indices_count_from_one_in_the_given_order() -> None:
    assert ITEMS.encode(["sku-9", "sku-7", "sku-8"]).tolist() == [1, 2, 3]


def test_unknown_id_is_padding() -> None:
    assert ITEMS.encode(["sku-1", "sku-7"]).tolist() == [PADDING_INDEX, 2]
    assert ITEMS.index("sku-1") == PADDING_INDEX
    assert ITEMS.index("sku-8") == 3


def test_order_of_rows_has_no_influence_on_indices() -> None:
    assert IdMap.fit(["b", "a", "b", "c"]) == IdMap.fit(["c", "b", "a"]) == IdMap(("a", "b", "c"))


def test_extension_leaves_present_indices_alone() -> None:
    extended = ITEMS.extend(["sku-2", "sku-7", "sku-1", "sku-2"])
    assert extended.ids == ("sku-9", "sku-7", "sku-8", "sku-1", "sku-2")
    assert len(ITEMS) == 3


def test_membership_is_by_id() -> None:
    assert "sku-7" in ITEMS
    assert "sku-1" not in ITEMS
    assert 2 not in ITEMS


def test_encoding_nothing_gives_nothing() -> None:
    assert IdMap(()).encode([]).tolist() == []
    assert ITEMS.decode([]) == []


@pytest.mark.parametrize("index", [0, -1, 4])
def test_padding_and_rows_beyond_never_decode(index: int) -> None:
    with pytest.raises(UnknownIdError, match=f"index must be between 1 and 3, got {index}"):
        ITEMS.decode([1, index])


def test_repeated_id_is_named() -> None:
    with pytest.raises(DataError, match="ids must be unique, got 'b' twice"):
        IdMap(("a", "b", "c", "b"))


def test_empty_id_is_refused() -> None:
    with pytest.raises(DataError, match="ids must not be empty, got '' at index 2"):
        IdMap(("a", ""))
