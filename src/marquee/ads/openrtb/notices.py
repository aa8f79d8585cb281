"""Signed notices: the messages of an exchange when a bid was won, billed or lost.

A notice carries what it settles, so any worker can take it: nothing has to be remembered, and nobody but us
can have written it. The price that comes in place of a macro is unsigned: it is taken where it lies between
the floor and the bid, which are signed, and refused otherwise.
"""

import base64
import binascii
import hashlib
import hmac
import math
from enum import StrEnum

import msgspec

from marquee.ads.openrtb.terms import MILLION
from marquee.errors import NoticeError

_SIGNATURE_BYTES = 16
_THOUSAND = 1_000
# Of a unit that is a millionth: what floats add on the way.
_SLACK = 1e-6
PRICE_MACRO = "${AUCTION_PRICE}"
LOSS_MACRO = "${AUCTION_LOSS}"


class NoticeKind(StrEnum):
    """The address that an exchange calls."""

    win = "win"  # nurl
    billing = "billing"  # burl: what is charged
    loss = "loss"  # lurl


class Settled(msgspec.Struct, frozen=True, array_like=True):
    """The bid that a notice settles.

    Attributes:
        decision_id: Of the answer that bid.
        imp_id: Of the impression.
        campaign_id: Who pays.
        item_id: The creative.
        bid: What a thousand impressions were to cost at most, millionths of ours.
        rate: Units of the currency of the bid that one unit of ours bought then.
        expires_s: Until when a notice counts, seconds since 1970 UTC.
        is_test: Whether nobody is ever charged.
        floor: What a thousand impressions had to cost at least, millionths of ours.
    """

    decision_id: str
    imp_id: str
    campaign_id: str
    item_id: str
    bid: int
    rate: float
    expires_s: int
    is_test: bool = False
    floor: int = 0


_DECODER = msgspec.json.Decoder(Settled)


class NoticeSigner:
    """Signs and verifies; a notice of one kind is none of another.

    Args:
        key: Secret, 32 bytes or more.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def token(self, kind: NoticeKind, settled: Settled) -> str:
        """Returns the text that stands in an address."""
        body = msgspec.json.encode(settled)
        return base64.urlsafe_b64encode(self._signature(kind, body) + body).decode().rstrip("=")

    def read(self, kind: NoticeKind, token: str, now_s: float) -> Settled:
        """Returns the bid that a notice settles.

        Args:
            kind: Of the address that was called.
            token: As it came.
            now_s: The time, seconds since 1970 UTC.

        Raises:
            NoticeError: If it was not signed here for this kind, or came too late.
        """
        try:
            held = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise NoticeError(
                "a notice must be one that was signed here, got other text", "forged"
            ) from error
        signature, body = held[:_SIGNATURE_BYTES], held[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._signature(kind, body)):
            raise NoticeError("a notice must be one that was signed here, got another signature", "forged")
        settled = _DECODER.decode(body)
        if now_s >= settled.expires_s:
            late = int(now_s - settled.expires_s)
            raise NoticeError(f"a notice must come before the bid lapses, got one {late} s late", "lapsed")
        return settled

    def _signature(self, kind: NoticeKind, body: bytes) -> bytes:
        """Returns the signature of a body for one kind of notice."""
        return hmac.digest(self._key, f"openrtb.{kind}.".encode() + body, hashlib.sha256)[:_SIGNATURE_BYTES]


def settled_price(settled: Settled, said: str) -> int | None:
    """Returns the cost of one impression, millionths of ours, rounded up; None if the exchange says none.

    Args:
        settled: The bid.
        said: The price of a thousand impressions in the currency of the bid; empty, or the macro as it was.

    Raises:
        NoticeError: If it is no number, or not one from the floor to the bid.
    """
    if said in ("", PRICE_MACRO):
        return None
    try:
        price = float(said)
    except ValueError:
        price = math.nan
    thousand = price / settled.rate * MILLION
    # What was told was rounded to a millionth of their currency: a price may differ by that from ours.
    slack = 1.0 / settled.rate + _SLACK
    if not settled.floor - slack <= thousand <= settled.bid + slack:
        raise NoticeError(
            f"a price must be a number from the floor to the bid, got {said[:32]!r}", "impossible_price"
        )
    return min(math.ceil(thousand / _THOUSAND - _SLACK), -(-settled.bid // _THOUSAND))
