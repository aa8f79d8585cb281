"""Creatives as an exchange needs them, and whether one may fill an impression.

A creative is an item of a campaign. What only an exchange asks for (size, markup, domain of the advertiser,
categories, attributes) is declared beside it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from marquee.ads.openrtb.messages import FIRST_TAXONOMY, Banner, BidRequest, Imp, Native
from marquee.errors import ConfigError

BANNER, NATIVE = 1, 4
"""Forms of markup, as `mtype` numbers them (section 4.2.3)."""

_TITLE, _IMAGE, _DATA = "title", "img", "data"


class Unfit(StrEnum):
    """The reasons for which a creative cannot fill an impression."""

    form = "form"
    size = "size"
    assets = "assets"
    attribute = "attribute"
    category = "category"
    category_taxonomy = "category_taxonomy"
    advertiser = "advertiser"
    insecure = "insecure"


@dataclass(frozen=True, kw_only=True)
class BannerMarkup:
    """A banner.

    Attributes:
        w: Width, pixels.
        h: Height, pixels.
        markup: HTML; an exchange replaces its macros.
    """

    w: int
    h: int
    markup: str


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image of a native ad: its address and size, pixels."""

    url: str
    w: int
    h: int


@dataclass(frozen=True, kw_only=True)
class NativeMarkup:
    """The parts of a native ad; the page that shows it arranges them.

    Attributes:
        link: Where a click leads.
        title: Headline.
        images: By the specification's type: 1 icon, 3 main.
        data: Texts by the specification's type: 1 sponsored by, 2 description, 12 call to action.
    """

    link: str
    title: str
    images: dict[int, Image]
    data: dict[int, str]


@dataclass(frozen=True, kw_only=True)
class ExchangeCreative:
    """A creative as an exchange needs it.

    Attributes:
        item_id: The item that it is.
        adomain: Domains of the advertiser.
        cat: Categories.
        cattax: The taxonomy that they are from.
        attr: Creative attributes by number, such as 13 for one that can be refused.
        is_secure: Whether all that it loads comes by HTTPS.
        banner: As a banner.
        native: As a native ad.

    Raises:
        ConfigError: If it has no form, no domain, or a size of 0 or less.
    """

    item_id: str
    adomain: tuple[str, ...]
    cat: tuple[str, ...] = ()
    cattax: int = FIRST_TAXONOMY
    attr: tuple[int, ...] = ()
    is_secure: bool = True
    banner: BannerMarkup | None = None
    native: NativeMarkup | None = None

    def __post_init__(self) -> None:
        if self.banner is None and self.native is None:
            raise ConfigError(f"creative {self.item_id!r} needs a banner or a native form, got neither")
        if not self.adomain:
            raise ConfigError(f"creative {self.item_id!r} needs the advertiser's domain, got none")
        if self.banner is not None and min(self.banner.w, self.banner.h) < 1:
            raise ConfigError(
                f"the banner of creative {self.item_id!r} must be 1 x 1 pixels at least, "
                f"got {self.banner.w} x {self.banner.h}"
            )


class Markup(NamedTuple):
    """The markup that fills an impression.

    Attributes:
        mtype: Its form, as the specification numbers them.
        text: HTML, or JSON of a native ad.
        w: Width of a banner, pixels.
        h: Height of a banner, pixels.
    """

    mtype: int
    text: str
    w: int | None = None
    h: int | None = None


def markup_for(creative: ExchangeCreative, imp: Imp, request: BidRequest) -> Markup | Unfit:
    """Returns the markup that fills an impression, or the reason for which a creative cannot."""
    # What the request forbids, before the form: the same for every impression.
    if (barred := _barred(creative, request)) is not None:
        return barred
    if imp.secure and not creative.is_secure:
        return Unfit.insecure
    found: list[Markup | Unfit] = []
    if creative.banner is not None and imp.banner is not None:
        found.append(_banner(creative.banner, imp.banner, creative.attr))
    if creative.native is not None and imp.native is not None:
        found.append(_native(creative.native, imp.native, creative.attr))
    # One form that fits is enough, whatever the other lacks.
    fitting = [one for one in found if isinstance(one, Markup)]
    return next(iter([*fitting, *found]), Unfit.form)


def _barred(creative: ExchangeCreative, request: BidRequest) -> Unfit | None:
    """Returns whether a request forbids the advertiser or the category."""
    if any(_is_within(domain, blocked) for domain in creative.adomain for blocked in request.badv):
        return Unfit.advertiser
    if not (request.bcat or request.acat):
        return None
    # Trap: "53" is one thing in one taxonomy and another in the next. What cannot be compared is not shown.
    if not creative.cat or creative.cattax != request.cattax:
        return Unfit.category_taxonomy
    if any(_is_part(category, blocked) for category in creative.cat for blocked in request.bcat):
        return Unfit.category
    allowed = request.acat
    is_allowed = all(any(_is_part(category, one) for one in allowed) for category in creative.cat)
    return None if not allowed or is_allowed else Unfit.category


def _is_within(domain: str, blocked: str) -> bool:
    """Returns whether a domain is a blocked one or below it."""
    domain, blocked = domain.lower().rstrip("."), blocked.lower().rstrip(".")
    return domain == blocked or domain.endswith(f".{blocked}")


def _is_part(category: str, whole: str) -> bool:
    """Returns whether a category is another or, as the first taxonomy writes it, a part of it (IAB8-5)."""
    return category == whole or category.startswith(f"{whole}-")


def sizes_of(banner: Banner) -> list[tuple[int, int]]:
    """Returns the sizes that a banner may have, pixels."""
    listed = [(one.w, one.h) for one in banner.format if one.w and one.h]
    sizes = [(w, h) for w, h in listed if w and h]
    # Formats win over the pair, which older exchanges send (section 3.2.6).
    if not sizes and banner.w and banner.h:
        return [(banner.w, banner.h)]
    return sizes


def _banner(banner: BannerMarkup, asked: Banner, attr: Sequence[int]) -> Markup | Unfit:
    """Returns a banner, or the reason for which it cannot fill an impression."""
    if set(attr) & set(asked.battr):
        return Unfit.attribute
    if (banner.w, banner.h) not in sizes_of(asked):
        return Unfit.size
    return Markup(BANNER, banner.markup, banner.w, banner.h)


def _native(native: NativeMarkup, asked: Native, attr: Sequence[int]) -> Markup | Unfit:
    """Returns a native ad, or the reason for which it cannot fill an impression."""
    if set(attr) & set(asked.battr):
        return Unfit.attribute
    text = native_answer(native, asked.request)
    return Unfit.assets if text is None else Markup(NATIVE, text)


def native_answer(native: NativeMarkup, asked: str) -> str | None:
    """Returns the markup that answers a native request; None if an asset that it requires is missing.

    Args:
        native: The parts that there are.
        asked: The request of OpenRTB Native 1.2, as JSON; older exchanges wrap it once more.
    """
    try:
        said = json.loads(asked)
    except ValueError:
        return None
    is_wrapped = isinstance(said, dict) and isinstance(said.get("native"), dict)
    request = said["native"] if is_wrapped else said
    listed = request.get("assets") if isinstance(request, dict) else None
    if not isinstance(listed, list):
        return None
    assets = _assets(native, listed)
    if not assets:
        return None
    answer: dict[str, Any] = {"ver": "1.2", "link": {"url": native.link}, "assets": assets}
    return json.dumps({"native": answer} if is_wrapped else answer, ensure_ascii=False)


def _assets(native: NativeMarkup, listed: Sequence[object]) -> list[dict[str, Any]]:
    """Returns the assets that answer those listed; none where a required one has no answer."""
    assets = []
    for one in listed:
        said = one if isinstance(one, dict) else {}
        answer = _asset(native, said)
        # Without an id there is no way to say which asset is answered.
        if answer is not None and isinstance(said.get("id"), int):
            assets.append({"id": said["id"], **answer})
        elif said.get("required") == 1:
            return []
    return assets


def _asset(native: NativeMarkup, asked: dict[str, Any]) -> dict[str, Any] | None:
    """Returns the answer to one asset; None where there is none."""
    wanted = {name: asked[name] for name in (_TITLE, _IMAGE, _DATA) if isinstance(asked.get(name), dict)}
    if _TITLE in wanted:
        longest = wanted[_TITLE].get("len")
        # A headline that is cut may say another thing than was meant.
        is_short = not isinstance(longest, int) or len(native.title) <= longest
        return {_TITLE: {"text": native.title}} if is_short else None
    if _IMAGE in wanted:
        return _image(native, wanted[_IMAGE])
    text = native.data.get(wanted[_DATA].get("type", 0)) if _DATA in wanted else None
    longest = wanted[_DATA].get("len") if _DATA in wanted else None
    if text is None or (isinstance(longest, int) and len(text) > longest):
        return None
    return {_DATA: {"value": text}}


def _image(native: NativeMarkup, asked: dict[str, Any]) -> dict[str, Any] | None:
    """Returns the image that answers; None where none has the type and the size."""
    kinds = [asked["type"]] if isinstance(asked.get("type"), int) else sorted(native.images, reverse=True)
    for kind in kinds:
        image = native.images.get(kind)
        if image is not None and _is_of_size(image, asked):
            return {_IMAGE: {"url": image.url, "w": image.w, "h": image.h}}
    return None


def _is_of_size(image: Image, asked: dict[str, Any]) -> bool:
    """Returns whether an image has the size asked for, or the least one."""
    for name, side in (("w", image.w), ("h", image.h)):
        exact, least = asked.get(name), asked.get(f"{name}min")
        if isinstance(exact, int) and exact and side != exact:
            return False
        if isinstance(least, int) and side < least:
            return False
    return True
