"""The terms on which an impression is sold: its floor in our money, and whose deal it is.

Money is an integer of millionths of one currency; an exchange says floats of any. A floor is converted once,
upwards; a bid once, downwards: rounding never makes a bid that is below a floor or above its worth.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from marquee.ads.openrtb.messages import DEFAULT_CURRENCY as ASSUMED_CURRENCY
from marquee.ads.openrtb.messages import BidRequest, Imp
from marquee.errors import ConfigError

MILLION = 1_000_000
FIRST_PRICE = 1


@dataclass(frozen=True, kw_only=True)
class Currencies:
    """The currency of all budgets, and what others are worth.

    Attributes:
        own: Of every campaign, ISO 4217.
        rates: Units of another currency that one unit of ours buys, above 0.

    Raises:
        ConfigError: If a rate is not above 0.
    """

    own: str
    rates: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, rate in self.rates.items():
            if not (math.isfinite(rate) and rate > 0):
                raise ConfigError(f"the rate of {name} must be above 0, got {rate}")

    def rate(self, name: str) -> float | None:
        """Returns how many units of a currency one unit of ours buys; None where nobody declared it."""
        return 1.0 if name == self.own else self.rates.get(name)

    def chosen(self, allowed: list[str]) -> str | None:
        """Returns the currency to bid in: ours where it is allowed, or the first whose rate is known."""
        # Nothing said means US dollars, not "any".
        names = allowed or [ASSUMED_CURRENCY]
        known = [name for name in names if self.rate(name) is not None]
        return self.own if self.own in known else next(iter(known), None)

    def floor_of(self, amount: float, name: str) -> int | None:
        """Returns a floor in millionths of ours, rounded up; None where its currency is unknown."""
        rate = self.rate(name)
        return None if rate is None else _ceil(amount / rate * MILLION)


def price_of(amount: int, rate: float) -> float:
    """Returns an amount in millionths of ours as units of a currency, rounded down to a millionth."""
    return math.floor(amount * rate + _SLACK) / MILLION


# Of a unit that is a millionth: what floats add to a whole number on the way.
_SLACK = 1e-6


def _ceil(amount: float) -> int:
    """Returns a number rounded up, but for what floats add."""
    return math.ceil(amount - _SLACK)


class Terms(NamedTuple):
    """The terms on which an impression may be bought.

    Attributes:
        deal_id: Of a deal; None on the open market.
        floor: What a thousand impressions must be worth, millionths of ours.
        is_first_price: Whether the winner pays its own bid.
        wadomain: Domains of the advertisers that a deal admits; empty for all.
    """

    deal_id: str | None
    floor: int
    is_first_price: bool
    wadomain: tuple[str, ...] = ()

    def may_bid(self, price: int) -> bool:
        """Returns whether a price may be said: 0 is one only where a deal admits it."""
        return price >= self.floor and (price > 0 or self.deal_id is not None)


def terms_of(
    imp: Imp, request: BidRequest, currencies: Currencies, deals: Mapping[str, object], seat: str
) -> list[Terms]:
    """Returns the terms on which an impression may be bought: our deals, then the open market.

    Args:
        imp: The impression.
        request: That it is part of.
        currencies: Ours and what others are worth; terms in an unknown one are left out.
        deals: Ours by id.
        seat: Ours at the exchange.
    """
    if (request.wseat and seat not in request.wseat) or seat in request.bseat:
        return []
    pmp = imp.pmp
    terms = []
    for deal in pmp.deals if pmp else []:
        floor = currencies.floor_of(deal.bidfloor, deal.bidfloorcur)
        is_ours = deal.id in deals and (not deal.wseat or seat in deal.wseat)
        if is_ours and floor is not None:
            is_first = (deal.at if deal.at is not None else request.at) != 2
            terms.append(Terms(deal.id, floor, is_first, tuple(deal.wadomain)))
    floor = currencies.floor_of(imp.bidfloor, imp.bidfloorcur)
    if floor is not None and not (pmp and pmp.private_auction):
        terms.append(Terms(None, floor, request.at != 2))
    return terms
