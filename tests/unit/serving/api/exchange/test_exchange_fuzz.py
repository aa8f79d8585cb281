"""Whatever an exchange sends is bid for, told no, or refused without content; nothing is ever thrown."""

import json
import os
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marquee.store.campaigns.campaign import CapScope, Creative, FrequencyCap, Targeting
from tests.conftest import DEFAULT_DATA_ROOT
from tests.support.ad_service import booking
from tests.support.bundles import publish_tiny
from tests.support.exchange_service import BANNER, ExchangeService, bid_request
from tests.support.openrtb import gpp_string, tcf_string, us_string

NATIVE = {"ver": "1.2", "assets": [{"id": 1, "required": 1, "title": {"len": 90}}]}
DEALS = {"private_auction": 1, "deals": [{"id": "ours", "bidfloor": 0.1, "bidfloorcur": "EUR", "at": 1}]}
OURS: list[dict[str, Any]] = [
    bid_request(
        tmax=300,
        bcat=["IAB3"],
        acat=["IAB18"],
        cattax=1,
        badv=["rival.example"],
        imp=[
            {"id": "1", "banner": BANNER | {"format": [BANNER]}, "bidfloor": 0.5, "bidfloorcur": "EUR"},
            {"id": "2", "native": {"request": json.dumps(NATIVE)}, "secure": 1, "exp": 60, "pmp": DEALS},
        ],
        site={"domain": "news.example", "cat": ["IAB12"]},
    ),
    bid_request(
        at=1,
        device={"dnt": 0, "devicetype": 4, "geo": {"country": "DEU", "region": "BE"}, "ext": {"atts": 3}},
        user={"buyeruid": "u1", "consent": tcf_string([1, 2, 3, 4], [7]), "ext": {"eids": []}},
        regs={
            "gdpr": 1,
            "us_privacy": "1YNN",
            "gpp": gpp_string({8: us_string(6, [2, 2])}),
            "gpp_sid": [8],
            "ext": {"dsa": {"dsarequired": 2, "pubrender": 1, "datatopub": 1}},
        },
        app={"bundle": "com.example"},
    ),
]
# As an exchange that is broken, or a stranger, would send in the place of anything.
STRANGE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.sampled_from([[], {}, "", "\0", "ü" * 300, -1, 2, 1e308, 10**400, [[[]]], {"a": {"b": []}}, [None]]),
)


@cache
def samples() -> list[Any]:
    """Returns the requests of the specification and of Prebid, where they are, and two of our own."""
    folder = Path(os.environ.get("MARQUEE_DATA", DEFAULT_DATA_ROOT)) / "openrtb"
    return [*OURS, *(json.loads(one.read_bytes()) for one in sorted(folder.glob("[0-9]*.json")))]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExchangeService]:
    folder = tmp_path_factory.mktemp("exchange-fuzz")
    opened = ExchangeService(publish_tiny(folder / "bundles"), folder)
    opened.book(
        booking(),
        booking(
            "often",
            creatives=(Creative(item_id="i004"),),
            frequency_caps=(FrequencyCap(per=CapScope.campaign, limit=2, window_s=3600),),
            targeting=Targeting(geography=("DE",)),
        ),
    )
    yield opened
    opened.close()


def places_of(part: Any) -> list[tuple[Any, Any]]:
    """Returns every place within JSON: what holds it, and its key or number there."""
    keys = list(part) if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else []
    return [place for key in keys for place in ((part, key), *places_of(part[key]))]


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """Draws a request in which some places hold something else, are gone, or are there twice."""
    request = deepcopy(draw(st.sampled_from(samples())))
    for _ in range(draw(st.integers(0, 4))):
        places = places_of(request)
        if not places:
            break
        parent, key = draw(st.sampled_from(places))
        how = draw(st.sampled_from(["replace", "remove", "double", "add"]))
        if how == "remove":
            del parent[key]
        elif how == "double" and isinstance(parent, list):
            parent.append(deepcopy(parent[key]))
        elif how == "add" and isinstance(parent, dict):
            parent[draw(st.text(max_size=6))] = deepcopy(draw(STRANGE))
        else:
            parent[key] = deepcopy(draw(STRANGE))
    return request


def hold_to_the_rules(service: ExchangeService, sent: object) -> None:
    """Sends a body, and holds the reply to the three forms that there are."""
    reply = service.post(sent)
    assert reply.status in (200, 204, 400), reply.body
    if reply.status != 200:
        assert reply.body == b""
        return
    told = reply.json()
    assert told["id"]
    if told.get("nbr") not in (9, 15):
        prices = [bid["price"] for seat in told["seatbid"] for bid in seat["bid"]]
        assert prices
        assert min(prices) >= 0


FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(request=mutated())
def test_request_of_any_values_is_bid_for_told_no_or_refused(service: ExchangeService, request: Any) -> None:
    hold_to_the_rules(service, request)
    assert service.counted("requests", "failed") == 0


@FUZZ
@given(data=st.data())
def test_bytes_of_any_kind_are_answered(service: ExchangeService, data: st.DataObject) -> None:
    body = bytearray(json.dumps(data.draw(st.sampled_from(samples()))).encode())
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, max(0, len(body) - 1)))
        end = place + data.draw(st.integers(0, 12))
        body[place:end] = data.draw(st.binary(max_size=6))
    hold_to_the_rules(service, bytes(body))
    assert service.counted("requests", "failed") == 0


def test_samples_are_bid_for_as_they_are(service: ExchangeService) -> None:
    """Or the mutations would all be of what is refused anyway."""
    statuses = [service.post(one).status for one in samples()]
    assert statuses[:2] == [200, 200]
