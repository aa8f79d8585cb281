"""The auction of a decision, held again from its record: the same ads at the same places for the same prices.

An auction needs neither release nor live items: its offers are on record. What no offer says, who paid and on
what the choice rests, is as it was told beside the ad.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from marquee.ads.filling import Filled, Filling
from marquee.ads.selling import NotSold
from marquee.ads.trace import replayed, told
from marquee.errors import DataError
from marquee.store.log.event_log import Decision
from marquee.store.log.sales import Sale


@dataclass(frozen=True, slots=True, kw_only=True)
class AdReasons:
    """The causes of one ad. Money is millionths, of a thousand impressions where nothing else is said.

    Attributes:
        filled: The place as it was won, with the offer.
        sale: As it is on record.
        paid_by: Who pays.
        parameters: What its choice rests on.
    """

    filled: Filled
    sale: Sale
    paid_by: str
    parameters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HeldAgain:
    """An auction, held again.

    Attributes:
        ads: Causes of each ad by its place, from 0.
        lost: Number of ads that were found and not shown, by reason.
        difference: How the outcome differs from the record, in words; empty where it does not.
    """

    ads: Mapping[int, AdReasons]
    lost: Mapping[str, int]
    difference: str = ""


NO_AUCTION = HeldAgain({}, {})
"""Of a decision whose places were not sold."""


def hold_again(decision: Decision) -> HeldAgain:
    """Returns the auction of a decision as it comes out when it is held again.

    Raises:
        DataError: If the record does not hold it, or not in a form that this version can read.
    """
    trace = decision.auction
    if not trace and not decision.sales:
        return NO_AUCTION
    try:
        filling, ads, lost = replayed(trace), told(trace), dict(trace["lost"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"decision {decision.decision_id} must hold an auction that this version can read, got "
            f"{error!r}; another one made it"
        ) from error
    by_item = {one.entry.item_id: one for one in filling.filled}
    reasons = {
        found.place: AdReasons(
            filled=found,
            sale=sale,
            paid_by=ads.get(sale.item_id, ("", ()))[0],
            parameters=ads.get(sale.item_id, ("", ()))[1],
        )
        for sale in decision.sales
        if (found := by_item.get(sale.item_id)) is not None and _shown_at(decision, found) == sale.item_id
    }
    return HeldAgain(reasons, lost, _difference(decision, filling, lost, ads))


def content_places(decision: Decision) -> list[int]:
    """Returns the places of a decision, from 0, that were not sold."""
    ads = {sale.item_id for sale in decision.sales}
    return [number for number, place in enumerate(decision.places) if place.item_id not in ads]


def _shown_at(decision: Decision, filled: Filled) -> str | None:
    """Returns the item at a place that was won, None where the answer ends before it."""
    return decision.places[filled.place].item_id if filled.place < len(decision.places) else None


def _difference(
    decision: Decision, filling: Filling, lost: Mapping[str, int], ads: Mapping[str, object]
) -> str:
    """Returns in words how an auction differs from its record, nothing where it does not."""
    by_item = {one.entry.item_id: one for one in filling.filled}
    for sale in decision.sales:
        found = by_item.get(sale.item_id)
        if found is None:
            return f"held again, the auction is not won by {sale.item_id}, which is on record as sold"
        won = (found.entry.campaign_id, found.due)
        if won != (sale.campaign_id, sale.price) or sale.item_id not in ads:
            return (
                f"held again, the auction sells {sale.item_id} to {won[0]} for {won[1]} millionths, not to "
                f"{sale.campaign_id} for {sale.price}"
            )
        shown = _shown_at(decision, found)
        if shown != sale.item_id:
            return f"held again, the auction puts {sale.item_id} at place {found.place}, where {shown} stands"
    # What won and is not sold lost its money or its cap at the last moment. A cap may also have kept some
    # from the auction, under the same name: so many at most.
    n_failed = sum(lost.get(reason.value, 0) for reason in NotSold)
    n_unsold = len(filling.filled) - len(decision.sales)
    if n_unsold > n_failed:
        return f"held again, the auction sells {n_unsold} more places than are on record as sold"
    return ""
