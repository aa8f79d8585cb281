"""Answers a bid request: who may bid for each impression, whose money and caps hold, and what is told."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from marquee.ads.auction import charge_of
from marquee.ads.campaigns.eligibility import Viewer
from marquee.ads.campaigns.eligible import EligibleCampaigns
from marquee.ads.openrtb.answering import Disclosure, Said, Won, answer_of, lapse_of
from marquee.ads.openrtb.choosing import Chosen, NoBidder, Offers, Situation, choose_bids
from marquee.ads.openrtb.countries import place_of
from marquee.ads.openrtb.creatives import Unfit
from marquee.ads.openrtb.exchange import Declared, Exchange
from marquee.ads.openrtb.messages import BidRequest
from marquee.ads.openrtb.notices import NoticeSigner
from marquee.ads.openrtb.privacy import Barrier, allowed_of
from marquee.ads.openrtb.recorded import SOURCE, RecordedBid, record_of
from marquee.ads.selling import Buy, NotSold
from marquee.core.filters import Value
from marquee.core.targeting.customer import SEGMENT, Customer
from marquee.errors import EventLogError
from marquee.store.campaigns.campaign import NO_CAMPAIGNS, BidType, Campaign, CampaignSet, HeldCampaign
from marquee.store.ledger.caps import claim_of
from marquee.store.ledger.rows import Shown, is_capped
from marquee.store.log.event_log import Decision, Place
from marquee.store.log.event_rows import MAX_ID_LENGTH
from marquee.store.log.sales import Sale
from marquee.store.people.consent import Tier, strictest
from serving.api.ads.paces import Paces
from serving.api.customers.deciding import NOBODY, CustomersAtDecision
from serving.recording.ads.spending import Spending
from serving.recording.recorder import Begun
from serving.recording.users import KnownUser, KnownUsers, counted_as

_TRIES = 3
"""How often bids are chosen anew where money or a cap of one did not hold."""

_MS_PER_S = 1000

ClickProbability = Callable[[str, str], float | None]
"""Returns how likely an exposure of an item on a surface is clicked; None where nobody has counted."""


class _Person(NamedTuple):
    """The user of a bid request.

    Attributes:
        tier: How much of them may be used.
        name: Under which the answer is recorded; None for nobody's.
        barriers: Why the request lets no more be used.
        customer: Their traits and audiences; None where nothing is known or may be used.
    """

    tier: Tier
    name: str | None
    barriers: tuple[Barrier, ...] = ()
    customer: Customer | None = None

    @property
    def counted_as(self) -> str | None:
        """The pseudonym to count ads under; None for nobody."""
        return counted_as(self.name)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of a bid request.

    Attributes:
        json: The bid response; None where there is no bid.
        decision: For the record; None where nothing was sold.
        n_bids: How many.
        only_capped: Whether nothing but a user's cap was in the way.
        silent: Creatives that did not bid, by reason.
        barriers: Why nothing of the user was used.
    """

    json: bytes | None = None
    decision: Decision | None = None
    n_bids: int = 0
    only_capped: bool = False
    silent: Counter[Unfit | NoBidder] = field(default_factory=Counter)
    barriers: tuple[Barrier, ...] = ()


class _Index:
    """The campaigns of one set that have a creative for the exchange."""

    def __init__(self, campaigns: CampaignSet, exchange: Exchange) -> None:
        self.campaigns = campaigns
        declared = {
            campaign_id: held
            for campaign_id, held in campaigns.held.items()
            if any(one.item_id in exchange.creatives for one in held.campaign.creatives)
        }
        self._eligible = EligibleCampaigns(CampaignSet(campaigns.sequence, declared))

    def to(self, viewer: Viewer) -> list[HeldCampaign]:
        """Returns the campaigns that may be shown to a viewer now."""
        return [self._eligible.held[number] for number in self._eligible.to(viewer).nonzero()[0].tolist()]


class Bidder:
    """Bids for one process; called from one thread at a time.

    Attributes:
        exchange: What the operator declares.
        signer: Signs notices.
        paces: Multipliers of the campaigns.

    Args:
        exchange: See above.
        signer: See above.
        spending: The campaigns, and their money.
        paces: See above.
        users: Say how much of a user may be used, and under which name they are counted.
        customers: Of the run that is served.
        click_probability: Where the operator declares none.
    """

    def __init__(
        self,
        exchange: Exchange,
        signer: NoticeSigner,
        spending: Spending,
        paces: Paces,
        users: KnownUsers,
        customers: CustomersAtDecision = NOBODY,
        click_probability: ClickProbability = lambda _item_id, _surface: None,
    ) -> None:
        self.exchange = exchange
        self.signer = signer
        self._spending = spending
        self.paces = paces
        self._users = users
        self._customers = customers
        self._click_probability = click_probability
        self._index = _Index(NO_CAMPAIGNS, exchange)

    def lose(self, decision_id: str, item_id: str) -> bool:
        """Gives back the money of a lost bid, and returns whether that was news; raises EventLogError."""
        return self._spending.lose(decision_id, item_id)

    def answer(self, request: BidRequest, begun: Begun) -> Outcome:
        """Returns the answer to a bid request; a sale of its decision must be recorded before it is sent.

        Args:
            request: As it was read.
            begun: Name and time of the decision.
        """
        person = self._person(request)
        viewer = viewer_of(request, person.tier, person.customer, self.exchange, begun.time_ms // _MS_PER_S)
        campaigns = self._spending.campaigns.current()
        if campaigns is not self._index.campaigns:
            self._index = _Index(campaigns, self.exchange)
        eligible = self._index.to(viewer)
        if not eligible or self.exchange.currencies.chosen(request.cur) is None:
            return Outcome(barriers=person.barriers)
        situation = self._situation(request, person, campaigns, begun)
        sold, silent = self._sold(eligible, situation, person, begun)
        if not sold:
            return Outcome(only_capped=_is_only_capped(silent), silent=silent, barriers=person.barriers)
        return Outcome(
            json=self._told(request, sold, person, begun),
            decision=None if request.test else self._decision(request, sold, person, viewer, begun, silent),
            n_bids=len(sold),
            silent=silent,
            barriers=person.barriers,
        )

    def _person(self, request: BidRequest) -> _Person:
        """Returns the user, within what the request and what they have said let be used."""
        allowed = allowed_of(request, self.exchange.vendor_id)
        user_id = request.user.buyeruid
        if allowed.tier is not Tier.personal:
            return _Person(allowed.tier, None, allowed.barriers)
        # Nobody can be counted without a name, or by one that no store can hold.
        if not user_id or "\0" in user_id or len(user_id) > MAX_ID_LENGTH:
            return _Person(Tier.segment, None)
        known = self._known(user_id)
        tier = strictest((allowed.tier, known.tier))
        if tier is not Tier.personal:
            return _Person(tier, None)
        return _Person(tier, known.name, customer=self._customers.named(user_id, known.erased))

    def _known(self, user_id: str) -> KnownUser:
        """Returns a user as they are now; where nobody knows what they have said, nothing may be used."""
        try:
            return self._users.at_hand(user_id) or self._users.look_up(user_id)
        except EventLogError:
            return KnownUser(Tier.none, None)

    def _situation(
        self, request: BidRequest, person: _Person, campaigns: CampaignSet, begun: Begun
    ) -> Situation:
        """Returns a request as far as bids follow from it."""
        shown: Shown | None = {}
        if person.counted_as is not None and any(one.frequency_caps for one in campaigns.campaigns):
            shown = self._spending.shown(
                person.counted_as, self._spending.now()._replace(time_ms=begun.time_ms)
            )

        def capped(campaign: Campaign, item_id: str) -> bool:
            if not campaign.frequency_caps:
                return False
            claim = claim_of(campaign, item_id, campaigns)
            # A cap that nobody can look up is one that is reached.
            return shown is None or is_capped(claim, shown, begun.time_ms)

        return Situation(
            request=request,
            exchange=self.exchange,
            timestamp=begun.time_ms // _MS_PER_S,
            is_capped=capped,
            multiplier=self.paces.multiplier,
            probability=self._probability,
        )

    def _probability(self, declared: Declared, bid_type: BidType) -> float | None:
        """Returns how likely an impression brings the billable event, None where nobody can tell."""
        if bid_type is BidType.cpm:
            return 1.0
        if bid_type is BidType.cpa:
            return declared.conversion_probability
        if declared.click_probability is not None:
            return declared.click_probability
        return self._click_probability(declared.creative.item_id, self.exchange.surface)

    def _sold(
        self, eligible: list[HeldCampaign], situation: Situation, person: _Person, begun: Begun
    ) -> tuple[list[tuple[Chosen, Sale | None]], Counter[Unfit | NoBidder]]:
        """Returns the bids whose money and caps hold, each with its sale, and why others do not bid."""
        request = situation.request
        offers: Offers = {}
        refused: dict[tuple[str, str], NoBidder] = {}
        sold: list[tuple[Chosen, Sale | None]] = []
        for _ in range(_TRIES):
            choice = choose_bids(eligible, situation, offers, refused, [one for one, _ in sold])
            if request.test:
                return [(one, None) for one in choice.chosen], choice.silent
            if not choice.chosen:
                break
            buys = [self._buy(one) for one in choice.chosen]
            now = self._spending.now()._replace(time_ms=begun.time_ms)
            outcomes = self._spending.sell(buys, person.counted_as, now)
            for one, outcome in zip(choice.chosen, outcomes, strict=True):
                if isinstance(outcome, Sale):
                    sold.append((one, outcome))
                    continue
                is_cap = outcome in (NotSold.capped, NotSold.cap_needs_user)
                is_soon = outcome is NotSold.no_lease
                lack = NoBidder.no_lease if is_soon else NoBidder.no_money
                refused[one.candidate.key] = NoBidder.capped if is_cap else lack
                if outcome is NotSold.no_money:
                    self.paces.note_no_money(one.candidate.held.campaign.campaign_id)
        return sold, choice.silent

    def _buy(self, chosen: Chosen) -> Buy:
        """Returns a bid as the ledger books it."""
        candidate, lapses_s = chosen.candidate, lapse_of(chosen.imp, self.exchange.lapses_s)
        campaign, offer = candidate.held.campaign, candidate.offer
        if campaign.bid_type is BidType.cpm or offer is None:
            price = reserve = chosen.price // 1000
        else:
            price = charge_of(offer, chosen.price)
            # As beside content: most impressions are never clicked, and the whole price would lie idle.
            reserve = min(price, max(1, -int(-price * offer.probability // 1))) if price else 0
        after_s = 0 if campaign.bid_type is BidType.cpm else self.exchange.click_window_s
        return Buy(
            held=candidate.held,
            item_id=candidate.declared.creative.item_id,
            price=price,
            reserve=reserve,
            window_ms=(lapses_s + after_s) * _MS_PER_S,
        )

    def _told(
        self, request: BidRequest, sold: list[tuple[Chosen, Sale | None]], person: _Person, begun: Begun
    ) -> bytes:
        """Returns the bid response."""
        exchange = self.exchange
        currency = exchange.currencies.chosen(request.cur)
        assert currency is not None, "nobody bids in an unknown currency"
        rate = exchange.currencies.rate(currency)
        assert rate is not None, f"a currency is chosen by its rate, got none for {currency}"
        said = Said(
            decision_id=begun.decision_id,
            seat=exchange.seat,
            currency=currency,
            rate=rate,
            notices=exchange.notices,
            lapses_s=exchange.lapses_s,
            now_s=begun.time_ms // _MS_PER_S,
            tier=person.tier,
        )
        return answer_of(request, [_won(one) for one, _ in sold], said, self.signer)

    def _decision(
        self,
        request: BidRequest,
        sold: list[tuple[Chosen, Sale | None]],
        person: _Person,
        viewer: Viewer,
        begun: Begun,
        silent: Counter[Unfit | NoBidder],
    ) -> Decision:
        """Returns the record of an answer; what it does not name of the request is not kept."""
        context = {"country": viewer.geography, "device": viewer.device}
        return Decision(
            decision_id=begun.decision_id,
            time_ms=begun.time_ms,
            user_id=person.name,
            request_id=_storable(request.id),
            surface=self.exchange.surface,
            source=SOURCE,
            places=tuple([Place(one.candidate.key[1], one.price / _MILLION, 1.0) for one, _ in sold]),
            tier=person.tier.value,
            asked={"context": {name: value for name, value in context.items() if value}},
            sales=tuple([sale for _, sale in sold if sale is not None]),
            auction=record_of(
                [_recorded(one) for one, _ in sold],
                {reason.value: number for reason, number in silent.items()},
            ),
        )


_MOST_ID = 128
_MILLION = 1_000_000


def viewer_of(
    request: BidRequest, tier: Tier, customer: Customer | None, exchange: Exchange, timestamp: int
) -> Viewer:
    """Returns a bid request as targeting sees it: place and device, and the page or app around.

    Args:
        request: As it was read.
        tier: How much of the user may be used.
        customer: The user as a run of customers knows them.
        exchange: Names devices and the surface.
        timestamp: When, seconds since 1970 UTC.
    """
    device, channel = request.device, request.site or request.app or request.dooh
    attributes: dict[str, Value | list[Value]] = {}
    said = {
        "os": device.os,
        "language": device.language,
        "domain": channel.domain if channel else None,
        "bundle": channel.bundle if channel else None,
    }
    attributes.update({name: value for name, value in said.items() if value})
    if channel and channel.cat:
        attributes["site_category"] = list(channel.cat)
    number = device.devicetype
    return Viewer(
        surface=exchange.surface,
        timestamp=timestamp,
        tier=tier,
        attributes=attributes,
        segment=str((customer.traits.get(SEGMENT) if customer is not None else None) or ""),
        geography=place_of(device.geo),
        device=exchange.devices.get(number, "") if number is not None else "",
        customer=customer,
    )


def _won(chosen: Chosen) -> Won:
    """Returns a bid as it is told."""
    campaign = chosen.candidate.held.campaign
    return Won(
        imp=chosen.imp,
        creative=chosen.candidate.declared.creative,
        markup=chosen.candidate.markup,
        campaign_id=campaign.campaign_id,
        price=chosen.price,
        floor=chosen.terms.floor,
        deal_id=chosen.terms.deal_id,
        disclosure=Disclosure(behalf=campaign.advertiser, paid=campaign.payer),
    )


def _storable(name: str) -> str:
    """Returns as much of a name of the exchange's as both stores can hold: no NUL, and not without end."""
    return name[:_MOST_ID].replace("\0", "\ufffd")


def _recorded(chosen: Chosen) -> RecordedBid:
    """Returns a bid for the record."""
    campaign, item_id = chosen.candidate.held.campaign, chosen.candidate.key[1]
    imp_id, terms = _storable(chosen.imp.id), chosen.terms
    return RecordedBid(
        item_id, imp_id, terms.deal_id, terms.floor, chosen.price, campaign.advertiser, campaign.payer
    )


def _is_only_capped(silent: Counter[Unfit | NoBidder]) -> bool:
    """Returns whether a creative that fits would have bid but for a cap, and nothing else was in its way."""
    others = {reason for reason in silent if isinstance(reason, NoBidder)} - {NoBidder.capped}
    return NoBidder.capped in silent and not others
