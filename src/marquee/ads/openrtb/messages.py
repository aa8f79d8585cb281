"""The parts of an OpenRTB 2.6 bid request that this bidder reads; all others are read past.

Source:
    IAB Tech Lab 2026, OpenRTB 2.6-202606, section 3.2. Names are those of the specification.
"""

from typing import Annotated, Any

from msgspec import Meta, Struct, field

Id = Annotated[str, Meta(min_length=1)]
Length = Annotated[int, Meta(ge=0)]
Amount = Annotated[float, Meta(ge=0)]
Flag = Annotated[int, Meta(ge=0, le=1)]
Ext = dict[str, Any]

DEFAULT_CURRENCY = "USD"
"""The currency of every amount that names none (sections 3.2.4 and 3.2.12)."""
FIRST_TAXONOMY = 1
"""The taxonomy of categories that name none: IAB Content Category Taxonomy 1.0 (section 3.2.1)."""
SECOND_PRICE = 2


class Format(Struct, kw_only=True):
    """A size that a banner may have, pixels."""

    w: Length | None = None
    h: Length | None = None


class Banner(Struct, kw_only=True):
    """An impression that takes a banner (section 3.2.6)."""

    format: list[Format] = field(default_factory=list)
    w: Length | None = None
    h: Length | None = None
    battr: list[int] = field(default_factory=list)


class Native(Struct, kw_only=True):
    """An impression that takes a native ad (section 3.2.9)."""

    request: str
    battr: list[int] = field(default_factory=list)


class Deal(Struct, kw_only=True):
    """Terms that were agreed with some buyers (section 3.2.12)."""

    id: Id
    bidfloor: Amount = 0.0
    # Trap: never the impression's. A deal that names no currency is in US dollars.
    bidfloorcur: str = DEFAULT_CURRENCY
    at: int | None = None
    wseat: list[str] = field(default_factory=list)
    wadomain: list[str] = field(default_factory=list)


class Pmp(Struct, kw_only=True):
    """A private market place (section 3.2.11)."""

    private_auction: Flag = 0
    deals: list[Deal] = field(default_factory=list)


class Imp(Struct, kw_only=True):
    """An impression that is sold (section 3.2.4); of video and audio there is nothing to offer."""

    id: Id
    banner: Banner | None = None
    native: Native | None = None
    pmp: Pmp | None = None
    tagid: str | None = None
    bidfloor: Amount = 0.0
    bidfloorcur: str = DEFAULT_CURRENCY
    secure: Flag = 0
    exp: Length | None = None


class Publisher(Struct, kw_only=True):
    """The owner of a site or an app."""

    id: str | None = None
    domain: str | None = None


class Channel(Struct, kw_only=True):
    """A site (section 3.2.13), an app (3.2.14) or a screen (3.2.31)."""

    id: str | None = None
    domain: str | None = None
    bundle: str | None = None
    cat: list[str] = field(default_factory=list)
    publisher: Publisher | None = None


class Geo(Struct, kw_only=True):
    """The place of a device (section 3.2.19)."""

    country: str | None = None
    region: str | None = None
    city: str | None = None


class Device(Struct, kw_only=True):
    """The device of the user (section 3.2.18)."""

    dnt: Flag = 0
    lmt: Flag = 0
    devicetype: int | None = None
    os: str | None = None
    language: str | None = None
    geo: Geo | None = None
    ext: Ext = field(default_factory=dict)


class User(Struct, kw_only=True):
    """The user (section 3.2.20)."""

    id: str | None = None
    buyeruid: str | None = None
    consent: str | None = None
    ext: Ext = field(default_factory=dict)


class Regs(Struct, kw_only=True):
    """The laws that bind the request (section 3.2.3)."""

    coppa: Flag = 0
    gdpr: Flag | None = None
    us_privacy: str | None = None
    gpp: str | None = None
    gpp_sid: list[int] = field(default_factory=list)
    ext: Ext = field(default_factory=dict)


class BidRequest(Struct, kw_only=True):
    """A request for bids (section 3.2.1)."""

    id: Id
    imp: list[Imp]
    site: Channel | None = None
    app: Channel | None = None
    dooh: Channel | None = None
    device: Device = field(default_factory=Device)
    user: User = field(default_factory=User)
    regs: Regs = field(default_factory=Regs)
    test: Flag = 0
    at: int = SECOND_PRICE
    tmax: Length | None = None
    wseat: list[str] = field(default_factory=list)
    bseat: list[str] = field(default_factory=list)
    cur: list[str] = field(default_factory=list)
    bcat: list[str] = field(default_factory=list)
    acat: list[str] = field(default_factory=list)
    cattax: int = FIRST_TAXONOMY
    badv: list[str] = field(default_factory=list)
    ext: Ext = field(default_factory=dict)
