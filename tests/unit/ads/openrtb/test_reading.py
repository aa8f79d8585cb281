import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marquee.ads.openrtb.reading import read_bid_request
from marquee.errors import BidRequestError

IMP = {"id": "1", "banner": {"w": 300, "h": 250}}
LEAF = st.none() | st.booleans() | st.floats() | st.text(max_size=8)
NAMES = [
    "id",
    "imp",
    "banner",
    "format",
    "w",
    "bidfloor",
    "site",
    "at",
    "user",
    "consent",
    "regs",
    "ext",
    "cur",
]
DEEP = LEAF | st.lists(LEAF, max_size=2) | st.dictionaries(st.sampled_from(NAMES), LEAF, max_size=3)


def body(**fields: Any) -> bytes:
    return json.dumps({"id": "r", "imp": [IMP]} | fields).encode()


def test_unknown_fields_are_read_past() -> None:
    request = read_bid_request(body(nobody={"knows": 1}, imp=[IMP | {"rwdd": 1, "ext": {"a": [1]}}]))
    assert (request.id, request.imp[0].id, request.at, request.cattax) == ("r", "1", 2, 1)


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"", "JSON"),
        (b"[]", "object"),
        (b"\xff\xfe", "JSON"),
        (body(imp=[]), "one imp at least, got none"),
        (body(imp=[IMP, IMP]), "got '1' more than once"),
        (body(id=""), "id"),
        (body(site={}, app={}), "got site and app"),
        (body(app={}, dooh={}), "got app and dooh"),
        (body(imp=[{"id": "1", "banner": {"w": -1, "h": 250}}]), "w"),
        (body(imp=[{"id": "1", "banner": {"format": [{"w": 300, "h": -5}]}}]), "h"),
        (body(imp=[IMP | {"bidfloor": -0.1}]), "bidfloor"),
        (body(imp=[IMP | {"bidfloor": "0.1"}]), "bidfloor"),
        (b'{"id": "r", "imp": [{"id": "1", "bidfloor": 1e999}]}', "bidfloor"),
        (body(imp=[IMP | {"pmp": {"deals": [{"bidfloor": 1}]}}]), "id"),
        (body(at=7), "at must be 1"),
        (body(tmax=-1), "tmax"),
    ],
)
def test_malformed_request_is_refused_in_words(sent: bytes, said: str) -> None:
    with pytest.raises(BidRequestError, match=said):
        read_bid_request(sent)


# A busy machine draws slowly, which says nothing of the bodies.
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(NAMES), DEEP | st.lists(DEEP, max_size=2)))
def test_whatever_comes_is_read_or_refused(fields: dict[str, Any]) -> None:
    try:
        request = read_bid_request(json.dumps(fields).encode("utf-8", "surrogatepass"))
    except BidRequestError:
        return
    assert request.imp
