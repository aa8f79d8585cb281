"""Reads the bytes of a bid request, and refuses those that no bid could answer."""

import math
from collections import Counter

import msgspec

from marquee.ads.openrtb.messages import BidRequest, Imp
from marquee.errors import BidRequestError

_DECODER = msgspec.json.Decoder(BidRequest)
_AUCTION_TYPES = (1, 2, 3)
# From here on an exchange means rules of its own, which nobody here knows.
_OWN_AUCTION_TYPES = 500


def read_bid_request(body: bytes) -> BidRequest:
    """Returns a bid request.

    Args:
        body: JSON in UTF-8. Unknown fields are read past: each exchange adds its own.

    Raises:
        BidRequestError: If it is malformed, has no impression or two of one id, names more than one of site,
            app and screen, or a known field has another type or is out of range.
    """
    try:
        request = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BidRequestError(f"a bid request must be JSON of OpenRTB 2.6, got {error}") from error
    if not request.imp:
        raise BidRequestError("a bid request must have one imp at least, got none")
    repeated = [imp_id for imp_id, times in Counter(imp.id for imp in request.imp).items() if times > 1]
    if repeated:
        raise BidRequestError(
            f"each imp must have an id of its own, got {repeated[0]!r} more than once; number them anew"
        )
    channels = [name for name in ("site", "app", "dooh") if getattr(request, name) is not None]
    if len(channels) > 1:
        raise BidRequestError(
            f"a bid request must name one of site, app and dooh, got {' and '.join(channels)}"
        )
    if request.at not in _AUCTION_TYPES and request.at < _OWN_AUCTION_TYPES:
        raise BidRequestError(f"at must be 1 (first price), 2 (second price) or 3 (fixed), got {request.at}")
    for imp in request.imp:
        _validate_floors(imp)
    return request


def _validate_floors(imp: Imp) -> None:
    """Raises BidRequestError if a floor is not finite."""
    deals = imp.pmp.deals if imp.pmp else []
    for name, floor in [
        ("bidfloor", imp.bidfloor),
        *((f"deal {deal.id!r}", deal.bidfloor) for deal in deals),
    ]:
        # JSON has no infinity, but 1e999 is read as one.
        if not math.isfinite(floor):
            raise BidRequestError(f"the floor of {name} of imp {imp.id!r} must be finite, got {floor}")
