"""Messages: of the group `exchange`; written by `make lock`."""

import msgspec


class AuctionRequest(msgspec.Struct, kw_only=True, frozen=True):
    """A bid request of OpenRTB 2.6, section 3.2.1; of its fields those that there must be.

    Attributes:
        id: The exchange's name for it.
        imp: The impressions that are sold, one or more, each with an `id` of its own.
    """

    id: str
    imp: tuple[dict[str, object], ...]


class AuctionAnswer(msgspec.Struct, kw_only=True, frozen=True):
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
    seatbid: tuple[dict[str, object], ...] = ()
    nbr: int | None = None
