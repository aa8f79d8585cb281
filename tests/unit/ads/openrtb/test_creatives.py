import json
from typing import Any

import pytest

from marquee.ads.openrtb.creatives import (
    BANNER,
    NATIVE,
    BannerMarkup,
    ExchangeCreative,
    Image,
    Markup,
    NativeMarkup,
    Unfit,
    markup_for,
)
from marquee.ads.openrtb.reading import read_bid_request
from marquee.errors import ConfigError

SHOES = NativeMarkup(
    link="https://shop.example/shoes",
    title="Shoes",
    images={3: Image(url="https://cdn.example/shoes.png", w=600, h=400)},
    data={1: "Shop", 2: "They fit."},
)


def creative(**fields: Any) -> ExchangeCreative:
    made: dict[str, Any] = {
        "item_id": "shoes",
        "adomain": ("shop.example",),
        "cat": ("IAB18-4",),
        "banner": BannerMarkup(w=300, h=250, markup="<b>Shoes</b>"),
        "native": SHOES,
    }
    return ExchangeCreative(**made | fields)


def judged(imp: dict[str, Any], fields: dict[str, Any] | None = None, **of_creative: Any) -> Markup | Unfit:
    request = read_bid_request(json.dumps({"id": "r", "imp": [{"id": "1"} | imp], **(fields or {})}).encode())
    return markup_for(creative(**of_creative), request.imp[0], request)


def native(*assets: dict[str, Any], is_wrapped: bool = False, **fields: Any) -> dict[str, Any]:
    asked: dict[str, Any] = {"assets": list(assets)}
    return {"native": {"request": json.dumps({"native": asked} if is_wrapped else asked)} | fields}


@pytest.mark.parametrize(
    ("banner", "fits"),
    [
        ({"w": 300, "h": 250}, True),
        ({"w": 250, "h": 300}, False),
        ({"format": [{"w": 300, "h": 600}, {"w": 300, "h": 250}]}, True),
        # Formats win over the pair.
        ({"w": 300, "h": 250, "format": [{"w": 728, "h": 90}]}, False),
        ({}, False),
    ],
)
def test_banner_has_one_of_the_sizes(banner: dict[str, Any], fits: bool) -> None:
    found = judged({"banner": banner})
    assert found == (Markup(BANNER, "<b>Shoes</b>", 300, 250) if fits else Unfit.size)


def test_other_form_fills_where_the_first_does_not_fit() -> None:
    both = {"banner": {"w": 1, "h": 1}} | native({"id": 1, "title": {"len": 20}})
    found = judged(both)
    assert isinstance(found, Markup)
    assert found.mtype == NATIVE


def test_form_that_nobody_has() -> None:
    assert judged({"video": {"mimes": ["video/mp4"]}}) is Unfit.form
    assert judged({"banner": {"w": 300, "h": 250}}, banner=None) is Unfit.form


@pytest.mark.parametrize("blocked", ["shop.example", "EXAMPLE", "example."])
def test_blocked_domain_blocks_what_is_below_it(blocked: str) -> None:
    assert judged({"banner": {"w": 300, "h": 250}}, {"badv": [blocked]}) is Unfit.advertiser
    assert isinstance(judged({"banner": {"w": 300, "h": 250}}, {"badv": ["op.example"]}), Markup)


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"bcat": ["IAB18"]}, Unfit.category),
        ({"bcat": ["IAB18-4"]}, Unfit.category),
        ({"bcat": ["IAB1"]}, None),
        ({"acat": ["IAB18"]}, None),
        ({"acat": ["IAB1"]}, Unfit.category),
        # One number is another category in another taxonomy.
        ({"bcat": ["53"], "cattax": 6}, Unfit.category_taxonomy),
        ({"acat": ["IAB18"], "cattax": 2}, Unfit.category_taxonomy),
        ({"cattax": 2}, None),
    ],
)
def test_categories(fields: dict[str, Any], found: Unfit | None) -> None:
    judgement = judged({"banner": {"w": 300, "h": 250}}, fields)
    assert judgement is found if found else isinstance(judgement, Markup)


def test_unknown_category_is_not_shown_where_some_are_blocked() -> None:
    judgement = judged({"banner": {"w": 300, "h": 250}}, {"bcat": ["IAB1"]}, cat=())
    assert judgement is Unfit.category_taxonomy


def test_attribute_and_security() -> None:
    assert judged({"banner": {"w": 300, "h": 250, "battr": [13]}}, attr=(13,)) is Unfit.attribute
    assert judged(native({"id": 1, "title": {}}, battr=[13]), attr=(13,)) is Unfit.attribute
    assert judged({"banner": {"w": 300, "h": 250}, "secure": 1}, is_secure=False) is Unfit.insecure


@pytest.mark.parametrize("is_wrapped", [False, True])
def test_native_answers_each_asset_by_its_id(is_wrapped: bool) -> None:
    found = judged(
        native(
            {"id": 7, "required": 1, "title": {"len": 20}},
            {"id": 8, "required": 1, "img": {"type": 3, "wmin": 300}},
            {"id": 9, "data": {"type": 1}},
            {"id": 10, "video": {}},
            {"title": {"len": 20}},
            is_wrapped=is_wrapped,
        )
    )
    assert isinstance(found, Markup)
    said = json.loads(found.text)
    assert (said["native"] if is_wrapped else said) == {
        "ver": "1.2",
        "link": {"url": "https://shop.example/shoes"},
        "assets": [
            {"id": 7, "title": {"text": "Shoes"}},
            {"id": 8, "img": {"url": "https://cdn.example/shoes.png", "w": 600, "h": 400}},
            {"id": 9, "data": {"value": "Shop"}},
        ],
    }


@pytest.mark.parametrize(
    "asset",
    [
        {"id": 1, "required": 1, "video": {}},
        {"id": 1, "required": 1, "title": {"len": 3}},
        {"id": 1, "required": 1, "img": {"type": 1}},
        {"id": 1, "required": 1, "img": {"w": 300}},
        {"id": 1, "required": 1, "img": {"hmin": 401}},
        {"id": 1, "required": 1, "data": {"type": 12}},
        {"id": 1, "required": 1, "data": {"type": 2, "len": 3}},
        {"required": 1, "title": {"len": 20}},
        {"id": 1},
    ],
)
def test_native_without_a_required_asset_is_not_offered(asset: dict[str, Any]) -> None:
    found = judged(native({"id": 2, "title": {}}, asset))
    assert found is Unfit.assets if asset.get("required") else isinstance(found, Markup)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"assets": 3}', '{"native": {}}', "{"])
def test_native_request_that_cannot_be_read_is_not_offered(text: str) -> None:
    assert judged({"native": {"request": text}}) is Unfit.assets


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"banner": None, "native": None}, "needs a banner or a native form"),
        ({"adomain": ()}, "domain"),
        ({"banner": BannerMarkup(w=0, h=250, markup="")}, "got 0 x 250"),
    ],
)
def test_creative_that_no_exchange_takes(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        creative(**fields)
