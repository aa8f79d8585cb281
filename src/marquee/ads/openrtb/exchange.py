"""The declaration of an exchange: who bids there, with which creatives, on whose deals."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from marquee.ads.openrtb.creatives import ExchangeCreative
from marquee.ads.openrtb.terms import Currencies
from marquee.errors import ConfigError

DEVICES: Mapping[int, str] = {
    1: "mobile",
    2: "desktop",
    3: "tv",
    4: "mobile",
    5: "tablet",
    6: "connected",
    7: "settopbox",
    8: "outdoor",
}
"""Devices as campaigns name them, by the numbers of AdCOM 1.0, list "Device Types"."""


@dataclass(frozen=True, kw_only=True)
class Declared:
    """A creative, and what an operator says of it.

    Attributes:
        creative: As the exchange needs it.
        click_probability: That an impression is clicked; None where nobody says.
        conversion_probability: That an impression brings a conversion; None likewise.
        discloses: Whether the markup itself shows on whose behalf and who paid.

    Raises:
        ConfigError: If a probability is not above 0 and at most 1.
    """

    creative: ExchangeCreative
    click_probability: float | None = None
    conversion_probability: float | None = None
    discloses: bool = False

    def __post_init__(self) -> None:
        for name in ("click_probability", "conversion_probability"):
            said = getattr(self, name)
            if said is not None and not 0.0 < said <= 1.0:
                raise ConfigError(
                    f"{name} of creative {self.creative.item_id!r} must be above 0 and at most 1, got {said}"
                )


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """The declaration.

    Attributes:
        seat: Ours at the exchange.
        currencies: Ours, and what others are worth.
        notices: Address of our notices, without the kind.
        vendor_id: Ours in the Global Vendor List; None for none.
        creatives: By item id.
        deals: By id, the campaigns that it admits.
        lapses_s: How long a bid may be settled at most, seconds.
        click_window_s: How long after that a click or a conversion is paid for, seconds.
        latency_ms: What an answer takes us, the network included.
        first_price_share: Of its worth, what is bid where the winner pays its own bid.
        surface: The surface that its impressions are of.
        devices: By number, as campaigns name them.
        advertisers_apart: Whether an advertiser bids for one impression of a request alone.

    Raises:
        ConfigError: If a number is out of range.
    """

    seat: str
    currencies: Currencies
    notices: str
    vendor_id: int | None = None
    creatives: Mapping[str, Declared] = field(default_factory=dict)
    deals: Mapping[str, frozenset[str]] = field(default_factory=dict)
    lapses_s: int = 3600
    click_window_s: int = 86_400
    latency_ms: int = 20
    first_price_share: float = 0.85
    surface: str = "openrtb"
    devices: Mapping[int, str] = field(default_factory=lambda: DEVICES)
    advertisers_apart: bool = True

    def __post_init__(self) -> None:
        if not self.seat:
            raise ConfigError("seat must name ours at the exchange, got ''; write its id")
        if not self.notices.startswith(("https://", "http://")) or self.notices.endswith("/"):
            raise ConfigError(
                "notices must be the public address of our notices without a slash at its end, such as "
                f"https://ads.example/v1/openrtb2/notices, got {self.notices!r}"
            )
        for name, least in (("lapses_s", 1), ("click_window_s", 0), ("latency_ms", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}, got {getattr(self, name)}")
        share = self.first_price_share
        if not (math.isfinite(share) and 0.0 < share <= 1.0):
            raise ConfigError(f"first_price_share must be above 0 and at most 1, got {share}")
