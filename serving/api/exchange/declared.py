"""Reads the declaration of an exchange from its file."""

import base64
import binascii
from pathlib import Path
from typing import Any

import msgspec

from marquee.ads.openrtb.creatives import BannerMarkup, ExchangeCreative, NativeMarkup
from marquee.ads.openrtb.exchange import DEVICES, Declared, Exchange
from marquee.ads.openrtb.messages import FIRST_TAXONOMY
from marquee.ads.openrtb.notices import NoticeSigner
from marquee.ads.openrtb.terms import Currencies
from marquee.errors import ConfigError

KEY_BYTES = 32


class _CreativeOfFile(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A creative as the file says it; see `ExchangeCreative` and `Declared`."""

    adomain: list[str]
    cat: list[str] = []
    cattax: int = FIRST_TAXONOMY
    attr: list[int] = []
    is_secure: bool = True
    banner: BannerMarkup | None = None
    native: NativeMarkup | None = None
    click_probability: float | None = None
    conversion_probability: float | None = None
    discloses: bool = False


class _File(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The file; see `Exchange`."""

    seat: str
    key: str
    notices: str
    vendor_id: int | None = None
    rates: dict[str, float] = {}
    lapses_s: int = 3600
    click_window_s: int = 86_400
    latency_ms: int = 20
    first_price_share: float = 0.85
    surface: str = "openrtb"
    advertisers_apart: bool = True
    devices: dict[int, str] = {}
    creatives: dict[str, _CreativeOfFile] = {}
    deals: dict[str, list[str]] = {}


def read_exchange(path: str, currency: str) -> tuple[Exchange, NoticeSigner]:
    """Returns the declaration in a file, and what signs its notices.

    Args:
        path: YAML.
        currency: Of all campaigns, ISO 4217.

    Raises:
        ConfigError: If the file cannot be read, a field is unknown or cannot be, or the key is none.
    """
    try:
        said = msgspec.yaml.decode(Path(path).read_bytes(), type=_File)
        exchange = _exchange(said, currency)
    except (OSError, UnicodeDecodeError, msgspec.MsgspecError, ConfigError) as error:
        raise ConfigError(
            f"MARQUEE_EXCHANGE must name a file of the exchange (docs/operating/exchange.md), got {path}: "
            f"{error}"
        ) from error
    # A path of the file is one beside it: the service may be started anywhere.
    return exchange, NoticeSigner(read_notice_key(Path(path).parent / said.key))


def read_notice_key(path: Path) -> bytes:
    """Returns the key by which notices are signed; raises ConfigError if it is none, or no secret."""
    try:
        # Before its content: what others could read is no secret, whatever it holds.
        if path.stat().st_mode & 0o077:
            raise ConfigError(
                f"the key of notices {path} can be read by others than its owner; make another, for whoever "
                "had this one can forge notices"
            )
        key = base64.b64decode(path.read_bytes().strip(), validate=True)
    except (OSError, binascii.Error) as error:
        raise ConfigError(
            f"the key of notices must be a file of {KEY_BYTES} random bytes in base64, got {path}: {error}; "
            "make one as docs/operating/exchange.md tells"
        ) from error
    if len(key) != KEY_BYTES:
        raise ConfigError(
            f"the key of notices in {path} must hold {KEY_BYTES} bytes, got {len(key)}; make one as "
            "docs/operating/exchange.md tells"
        )
    return key


def _exchange(said: _File, currency: str) -> Exchange:
    """Returns the declaration of a file."""
    plain: dict[str, Any] = {
        name: getattr(said, name)
        for name in (
            "seat",
            "notices",
            "vendor_id",
            "lapses_s",
            "click_window_s",
            "latency_ms",
            "first_price_share",
            "surface",
            "advertisers_apart",
        )
    }
    return Exchange(
        **plain,
        currencies=Currencies(own=currency, rates=said.rates),
        creatives={item_id: _declared(item_id, one) for item_id, one in said.creatives.items()},
        deals={deal_id: frozenset(campaigns) for deal_id, campaigns in said.deals.items()},
        devices={**DEVICES, **said.devices},
    )


def _declared(item_id: str, said: _CreativeOfFile) -> Declared:
    """Returns a creative of a file."""
    creative = ExchangeCreative(
        item_id=item_id,
        adomain=tuple(said.adomain),
        cat=tuple(said.cat),
        cattax=said.cattax,
        attr=tuple(said.attr),
        is_secure=said.is_secure,
        banner=said.banner,
        native=said.native,
    )
    return Declared(
        creative=creative,
        click_probability=said.click_probability,
        conversion_probability=said.conversion_probability,
        discloses=said.discloses,
    )
