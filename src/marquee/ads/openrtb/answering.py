"""Says bids in the words of OpenRTB 2.6, and the reason where there are none."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from marquee.ads.openrtb.creatives import ExchangeCreative, Markup
from marquee.ads.openrtb.messages import BidRequest, Ext, Imp
from marquee.ads.openrtb.notices import LOSS_MACRO, PRICE_MACRO, NoticeKind, NoticeSigner, Settled
from marquee.ads.openrtb.terms import price_of
from marquee.store.people.consent import Tier

_MUST_DISCLOSE = (2, 3)
_PUBLISHER_CANNOT_RENDER = 0
_WANTS_DATA = 2
# DSA transparency parameters: profiling, and what the page itself says.
_PROFILING, _CONTEXT = 1, 2


class NoBid(IntEnum):
    """The reasons for no bid, by the numbers of AdCOM 1.0, list "No-Bid Reason Codes"."""

    unknown = 0
    technical_error = 1
    invalid_request = 2
    user_cap = 9
    too_little_time = 15


@dataclass(frozen=True, kw_only=True)
class Disclosure:
    """On whose behalf an ad is shown, and who pays for it; DSA article 26."""

    behalf: str
    paid: str


class Won(NamedTuple):
    """One impression that is bid for.

    Attributes:
        imp: It.
        creative: To be shown.
        markup: In the form that fits.
        campaign_id: Who pays.
        price: Of a thousand impressions, millionths of ours.
        floor: The least that they may cost, likewise.
        deal_id: On whose terms; None on the open market.
        disclosure: Who is behind it.
    """

    imp: Imp
    creative: ExchangeCreative
    markup: Markup
    campaign_id: str
    price: int
    floor: int
    deal_id: str | None
    disclosure: Disclosure


@dataclass(frozen=True, kw_only=True)
class Said:
    """The part that is the same for every bid of an answer.

    Attributes:
        decision_id: Of the answer.
        seat: Ours at the exchange.
        currency: Of every price.
        rate: Units of it that one unit of ours buys.
        notices: Address of our notices, without the kind.
        lapses_s: How long a bid may be settled at most, seconds.
        now_s: The time, seconds since 1970 UTC.
        tier: How much of the user was used.
    """

    decision_id: str
    seat: str
    currency: str
    rate: float
    notices: str
    lapses_s: int
    now_s: int
    tier: Tier


def dsa_of(request: BidRequest) -> Ext:
    """Returns the `dsa` object of a request; empty where it asks for no disclosure."""
    said = request.regs.ext.get("dsa")
    return said if isinstance(said, dict) else {}


def must_render_disclosure(request: BidRequest) -> bool:
    """Returns whether the ad itself must show who is behind it, because the publisher cannot."""
    asked = dsa_of(request)
    return asked.get("dsarequired") in _MUST_DISCLOSE and asked.get("pubrender") == _PUBLISHER_CANNOT_RENDER


def lapse_of(imp: Imp, most_s: int) -> int:
    """Returns how long a bid may be settled, seconds: as the impression says, but no longer than ours.

    Args:
        imp: The impression.
        most_s: Ours: money is held for so long.
    """
    return min(imp.exp, most_s) if imp.exp else most_s


def answer_of(request: BidRequest, won: Sequence[Won], said: Said, signer: NoticeSigner) -> bytes:
    """Returns a bid response as JSON.

    Args:
        request: That is answered.
        won: One or more impressions.
        said: The part that is the same for all.
        signer: Signs the addresses of the notices.
    """
    response = {
        "id": request.id,
        "bidid": said.decision_id,
        "cur": said.currency,
        "seatbid": [{"seat": said.seat, "bid": [_bid(request, one, said, signer) for one in won]}],
    }
    return msgspec.json.encode(response)


def no_bid_of(request: BidRequest, reason: NoBid) -> bytes:
    """Returns a response without a bid that says why."""
    return msgspec.json.encode({"id": request.id, "nbr": int(reason)})


def _bid(request: BidRequest, won: Won, said: Said, signer: NoticeSigner) -> dict[str, Any]:
    """Returns one bid."""
    creative, imp = won.creative, won.imp
    lapses_s = lapse_of(imp, said.lapses_s)
    settled = Settled(
        said.decision_id,
        imp.id,
        won.campaign_id,
        creative.item_id,
        won.price,
        said.rate,
        said.now_s + lapses_s,
        bool(request.test),
        won.floor,
    )
    bid: dict[str, Any] = {
        "id": f"{said.decision_id}.{imp.id}",
        "impid": imp.id,
        "price": price_of(won.price, said.rate),
        "cid": won.campaign_id,
        "crid": creative.item_id,
        "adomain": list(creative.adomain),
        "exp": lapses_s,
        "adm": won.markup.text,
        "mtype": won.markup.mtype,
    }
    if won.markup.w is not None:
        bid |= {"w": won.markup.w, "h": won.markup.h}
    if creative.cat:
        bid |= {"cat": list(creative.cat), "cattax": creative.cattax}
    if creative.attr:
        bid["attr"] = list(creative.attr)
    if won.deal_id is not None:
        bid["dealid"] = won.deal_id
    for field, kind, macro in (
        ("nurl", NoticeKind.win, f"price={PRICE_MACRO}"),
        ("burl", NoticeKind.billing, f"price={PRICE_MACRO}"),
        ("lurl", NoticeKind.loss, f"reason={LOSS_MACRO}"),
    ):
        bid[field] = f"{said.notices}/{kind}/{quote(signer.token(kind, settled))}?{macro}"
    if dsa_of(request):
        bid["ext"] = {"dsa": _disclosed(request, won.disclosure, said.tier)}
    return bid


def _disclosed(request: BidRequest, disclosure: Disclosure, tier: Tier) -> Ext:
    """Returns who is behind an ad, and by what it was chosen where the publisher wants to know."""
    said: Ext = {"behalf": disclosure.behalf, "paid": disclosure.paid}
    said["adrender"] = int(must_render_disclosure(request))
    if dsa_of(request).get("datatopub") == _WANTS_DATA:
        used = [_PROFILING, _CONTEXT] if tier is Tier.personal else [_CONTEXT]
        said["transparency"] = [{"domain": disclosure.behalf, "dsaparams": used}]
    return said
