"""An answer with the ads that were sold into it."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from marquee.ads.filling import Entry
from marquee.decision.requests import Decided
from marquee.store.campaigns.campaign import Campaign
from marquee.store.log.sales import Sale


class ShownAd(NamedTuple):
    """An ad of an answer, with all that must be told of it.

    Attributes:
        place: From 0.
        campaign: Whose it is.
        item_id: The creative.
        parameters: What its choice rests on.
    """

    place: int
    campaign: Campaign
    item_id: str
    parameters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Advertised:
    """An answer with its ads.

    Attributes:
        decided: The answer.
        ads: Those in it.
        sales: Their prices, for the record.
        auction: The auction, for the record; empty where none was held.
        entries: Their offers.
    """

    decided: Decided
    ads: tuple[ShownAd, ...] = ()
    sales: tuple[Sale, ...] = ()
    auction: dict[str, Any] | None = None
    entries: tuple[Entry, ...] = ()
