"""Bid requests and responses, as the document tells of them; the specification says the rest.

Unknown fields are read past here, unlike in all other messages: each exchange adds its own.
"""

from typing import Any

import msgspec

from serving.api.messages.reading import Reader


class AuctionRequest(msgspec.Struct, kw_only=True, frozen=True):
    """A bid request of OpenRTB 2.6, section 3.2.1; of its fields those that there must be.

    Attributes:
        id: The exchange's name for it.
        imp: The impressions that are sold, one or more, each with an `id` of its own.
    """

    id: str
    imp: list[dict[str, Any]]


class AuctionBody(AuctionRequest, kw_only=True, frozen=True):
    """A bid request as it came.

    Attributes:
        json: Its bytes: the handler reads them, and counts those that cannot be.
    """

    json: bytes


class AuctionAnswer(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A bid response of OpenRTB 2.6, section 4.2.1.

    Attributes:
        id: That of the request.
        bidid: The name under which the answer is on record.
        cur: Currency of all prices.
        seatbid: Our bids; absent where there are none.
        nbr: Why there are none: 9 for a user's frequency cap, 15 for too little time.
    """

    id: str
    bidid: str | None = None
    cur: str | None = None
    seatbid: list[dict[str, Any]] = []
    nbr: int | None = None


def as_it_came(_message: type[msgspec.Struct]) -> Reader[msgspec.Struct]:
    """Returns a function that keeps a body for its handler."""
    return lambda json: AuctionBody(id="", imp=[], json=bytes(json))
