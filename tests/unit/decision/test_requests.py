"""A request is refused when it is made, with what is wrong."""

import math
from typing import Any

import pytest

from marquee.decision.requests import HistoryEvent, Request
from marquee.errors import DataError


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"k": 0}, "k must be 1 or more, got 0"),
        ({"user_id": ""}, "user_id must not be empty"),
        ({"like_item": "a", "user_id": "u"}, "like_item must stand without user, .* got 'a' beside one of"),
        ({"like_item": "a", "history": ("b",)}, "like_item must stand without user, history"),
        ({"like_item": "a", "features": {"age": 3}}, "like_item must stand without user, history"),
        (
            {"history": (HistoryEvent("a"), HistoryEvent("b", "clicked"))},
            r"history\[1\].kind must be one of \['exposure', .*\], got 'clicked'",
        ),
        ({"history": (HistoryEvent("a"), HistoryEvent(""))}, r"history\[1\].item_id must not be empty"),
        ({"history": ("a", "b", "")}, r"history\[2\].item_id must not be empty"),
        ({"history": ("a", HistoryEvent("b"))}, "history must hold events or item ids, got both in its 2"),
        (
            {"history": (HistoryEvent("a", value=math.nan),)},
            r"history\[0\].value must be a finite .* got nan",
        ),
        (
            {"history": (HistoryEvent("a", value=-math.inf),)},
            r"history\[0\].value must be a finite .* got -inf",
        ),
    ],
)
def test_impossible_request_is_refused(
    fields: dict[str, Any], message: str
) -> None:  # Any: fields of any type
    with pytest.raises(DataError, match=message):
        Request(timestamp=0, **fields)


def test_request_asks_for_ten_items_of_any_kind_without_those_seen() -> None:
    request = Request(timestamp=0)
    assert (request.k, request.kind, request.exclude_seen, request.history) == (10, None, True, ())
