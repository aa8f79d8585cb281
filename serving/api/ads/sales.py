"""Sells the slots of answers: asks for ads beside content, holds the auction, takes the money, and tells.

What is not on record is not sold: nobody could charge for it. Where anything of ads fails, content fills the
place.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from marquee.ads.campaigns.columns import CampaignColumns
from marquee.ads.campaigns.eligibility import DEVICE, GEOGRAPHY, Viewer
from marquee.ads.filling import Filled, Loss, Terms
from marquee.ads.objective import Objective, read_objective
from marquee.ads.offers import Auctioned, auction
from marquee.ads.selling import Buy, NotSold
from marquee.ads.slots import SlotConfig
from marquee.ads.trace import told_of, trace_of
from marquee.core.arrays import IndexArray
from marquee.core.catalog import ItemKind
from marquee.core.targeting.customer import SEGMENT
from marquee.decision.ads.bidding import Bidding, Known, Situation, bidders_of
from marquee.decision.ads.creatives import CATEGORY, categories_of
from marquee.decision.ads.merging import with_ads
from marquee.decision.item_table import ItemTable
from marquee.decision.policies.thompson import ClickCounts
from marquee.decision.recommender import Recommender
from marquee.decision.requests import AdCandidates, AdSearch, Decided, Recommendation, Request
from marquee.store.campaigns.campaign import NO_CAMPAIGNS, BidType, Campaign, CampaignSet, HeldCampaign
from marquee.store.ledger.rows import Shown
from marquee.store.log.sales import Sale
from marquee.store.people.consent import Tier
from serving.api.ads.advertised import Advertised, ShownAd
from serving.api.ads.metrics import AuctionMetrics
from serving.api.ads.paces import Paces
from serving.api.ads.pages import PageAds, beside_page
from serving.api.ads.traffic import Traffic
from serving.api.ads.wanted import Indexes, Wanted
from serving.recording.ads.spending import Spending
from serving.recording.identity import Identified
from serving.recording.recorder import Begun
from serving.releases.surfaces import Surface
from serving.telemetry.metrics import Metrics

AT_ONCE = 500
"""So many campaigns are made ready within an answer, in milliseconds; more take the thread of the paces."""

_MS_PER_S = 1000


class _Buyer(NamedTuple):
    """Whoever is shown the ads of an answer: as targeting sees them, their name, and the decision."""

    viewer: Viewer
    user: str | None
    begun: Begun


class AdSales:
    """Sells slots for one worker; called from one thread at a time.

    Args:
        spending: The campaigns, and their money.
        paces: Their multipliers.
        objective: Weighs ads against content.
        metrics: What counts.
    """

    def __init__(self, spending: Spending, paces: Paces, objective: Objective, metrics: Metrics) -> None:
        self._spending = spending
        self._paces = paces
        self._objective = objective
        self._metrics = metrics.family(AuctionMetrics)
        self._indexes = Indexes(NO_CAMPAIGNS)

    @classmethod
    def over(cls, spending: Spending, objective: str, n_workers: int, metrics: Metrics) -> "AdSales":
        """Returns the seller of slots for the campaigns of a process.

        Args:
            spending: The campaigns, and their money.
            objective: File of the objective; empty for money alone.
            n_workers: How many processes see the same traffic.
            metrics: What counts.

        Raises:
            ConfigError: If the file cannot be read.
        """
        traffic = Traffic(spending.traffic)
        paces = Paces(
            spending.accounts,
            spending.campaigns.current,
            n_workers,
            metrics,
            traffic=traffic,
            prepare=spending.prepare,
        )
        return cls(spending, paces, read_objective(objective), metrics)

    @property
    def spending(self) -> Spending:
        """The campaigns, and their money."""
        return self._spending

    @property
    def paces(self) -> Paces:
        """The multipliers of the campaigns."""
        return self._paces

    def open(self) -> None:
        """Makes the campaigns ready, and begins to pace and to follow changes in a thread of its own."""
        self.follow()
        self._paces.open(self.follow)

    def follow(self) -> None:
        """Makes what is looked up of campaigns anew, where one has changed."""
        campaigns = self._spending.campaigns.current()
        if campaigns is not self._indexes.columns.campaigns:
            indexes = self._indexes.after(campaigns)
            self._paces.follow(indexes.columns)
            self._indexes = indexes

    def wanted(self, identified: Identified, surface: Surface, begun: Begun | None) -> Request:
        """Returns a request that also asks for ads, where its surface sells slots and it is on record."""
        request, slots = identified.request, surface.slots
        is_sellable = begun is not None and begun.may_explore
        if slots is None or not is_sellable or request.like_item is not None or request.kind is not None:
            return request
        content = replace(request, kind=ItemKind.content)
        places = slots.places(request.k)
        campaigns = self._spending.campaigns.current()
        if not places or not campaigns.held:
            return content
        if len(campaigns.held) <= AT_ONCE:
            self.follow()
        # Of many, those of half a second ago: one that has changed since does not bid.
        indexes = self._indexes
        viewer = viewer_of(identified, surface)
        may = indexes.columns.eligible.to(viewer)
        if not may.any():
            return content
        search = AdSearch(Wanted(indexes, may, viewer.timestamp), places, slots.n_candidates)
        return replace(content, ads=search)

    def sold(
        self,
        identified: Identified,
        surface: Surface,
        begun: Begun | None,
        recommender: Recommender,
        decided: Decided,
        page: PageAds | None = None,
    ) -> Advertised:
        """Returns an answer with the ads that were sold into it.

        Args:
            identified: What was asked.
            surface: Where it is answered.
            begun: The decision that it is to be.
            recommender: Who answered.
            decided: The answer of content.
            page: Around it, where it is a row of one; its ads are put there.
        """
        found, search, slots = decided.ads, identified.request.ads, surface.slots
        if found is None or search is None or slots is None or begun is None:
            return Advertised(decided)
        user = identified.counted_as
        viewer = viewer_of(identified, surface)
        table = recommender.item_pool.table
        assert isinstance(search.creatives, Wanted), "a search must be one of ours: see `wanted`"
        if page is not None:
            slots = replace(slots, apart=page.apart)
        known = Known(values=_values(table, slots, found.items), categories=_categories(table, found.items))
        pairs, apart = search.creatives.pairs(table, found.items), Counter[Loss]()
        if page is not None:
            pairs, apart = beside_page(pairs, found, known, search.creatives.columns, page)
        situation = self._situation(search.creatives.columns, surface, begun, recommender, found, user)
        bidding = bidders_of(found, pairs, known, situation)
        # No slot beyond the content: an ad never stands alone at the end of a short answer.
        n_content = len(decided.answer.items)
        places = [place for place in search.places if place <= n_content] if n_content else []
        around = [item.item_id for item in decided.answer.items] if page is None else page.item_ids
        terms = self._terms(slots, found, len(places), _content_categories(table, around))
        outcome = auction(bidding.offers, places, terms)
        advertised = self._charged(slots, decided, found, outcome, bidding, _Buyer(viewer, user, begun))
        trace = trace_of(outcome.entries, places, terms, outcome.filling)
        lost = Counter({str(reason): number for reason, number in (outcome.filling.lost + apart).items()})
        lost.update({str(reason): number for reason, number in bidding.silent.items()})
        lost.update(advertised.auction or {})
        self._metrics.count_auction(surface.name, len(search.places), len(advertised.ads), lost)
        told = told_of((one.item_id, one.campaign.payer, one.parameters) for one in advertised.ads)
        if page is not None:
            page.entries.extend(advertised.entries)
        return replace(advertised, auction={**trace, **told, "lost": dict(lost)})

    def close(self) -> None:
        """Ends the thread of the paces."""
        self._paces.close()

    def _situation(
        self,
        columns: CampaignColumns,
        surface: Surface,
        begun: Begun,
        recommender: Recommender,
        found: AdCandidates,
        user: str | None,
    ) -> Situation:
        """Returns all that the offers for the slots of an answer follow from."""
        campaigns, now = self._spending.campaigns.current(), self._spending.now()
        return Situation(
            columns=columns,
            campaigns=campaigns,
            decision_id=begun.decision_id,
            counts=_counts(recommender, surface.name, found.items),
            shown=self._shown(user, campaigns, now.time_ms),
            objective=self._objective,
            multipliers=partial(self._paces.multipliers, columns),
            now_ms=now.time_ms,
        )

    def _charged(
        self,
        slots: SlotConfig,
        decided: Decided,
        found: AdCandidates,
        outcome: Auctioned,
        bidding: Bidding,
        buyer: "_Buyer",
    ) -> Advertised:
        """Returns the answer with those winners whose money and caps hold; `auction` counts the others."""
        won = list(zip(outcome.filling.filled, outcome.rows, strict=True))
        buys = [_buy(filled, bidding.held(row), slots) for filled, row in won]
        now = self._spending.now()._replace(time_ms=buyer.begun.time_ms)
        outcomes = self._spending.sell(buys, buyer.user, now) if buys else []
        shown: dict[int, tuple[Recommendation, float]] = {}
        ads, sales, entries, failed = [], [], [], Counter[str]()
        for (filled, row), sale in zip(won, outcomes, strict=True):
            if not isinstance(sale, Sale):
                failed[str(sale)] += 1
                if sale is NotSold.no_money:
                    self._paces.note_no_money(filled.entry.campaign_id)
                continue
            self._paces.note_sale(filled.entry.campaign_id, filled.price)
            item_id = filled.entry.item_id
            score = float(found.scores[bidding.candidates[row]])
            propensity = float(bidding.propensities[row])
            shown[filled.place] = (Recommendation(item_id, score, ItemKind.ad), propensity)
            campaign = bidding.held(row).campaign
            ads.append(ShownAd(filled.place, campaign, item_id, parameters_of(campaign, buyer.viewer)))
            sales.append(sale)
            entries.append(filled.entry)
        made = with_ads(decided, shown)
        return Advertised(made, tuple(ads), tuple(sales), dict(failed), tuple(entries))

    def _terms(
        self, slots: SlotConfig, found: AdCandidates, n_places: int, categories: frozenset[str]
    ) -> Terms:
        """Returns the terms of an auction."""
        worths = [
            self._objective.worth(click, conversion)
            for click, conversion in zip(
                found.content_click.tolist(), found.content_conversion.tolist(), strict=True
            )
        ]
        # Behind the content there is none to be displaced.
        worths += [0.0] * (n_places - len(worths))
        is_compared = slots.reserve and any(worths)
        return Terms(
            floor=slots.floor,
            rule=slots.rule,
            content_worth=tuple(worths) if is_compared else (),
            objective=self._objective,
            categories=categories,
        )

    def _shown(self, user: str | None, campaigns: CampaignSet, now_ms: int) -> Shown | None:
        """Returns the ads that a user was shown; asks only where some campaign caps anything."""
        if user is None or not campaigns.has_caps:
            return {} if user is not None else None
        return self._spending.shown(user, self._spending.now()._replace(time_ms=now_ms))


def viewer_of(identified: Identified, surface: Surface) -> Viewer:
    """Returns a request as targeting sees it, within what its user lets be used."""
    request = identified.request
    traits = identified.customer.traits if identified.customer is not None else {}
    return Viewer(
        surface=surface.name,
        timestamp=request.timestamp,
        tier=request.tier if identified.recorded_as is not None else _anonymous(request.tier),
        attributes={name: value for name, value in request.stated.items() if _is_value(value)},  # type: ignore[misc]
        segment=str(traits.get(SEGMENT) or ""),
        geography=str(request.context.get(GEOGRAPHY) or ""),
        device=str(request.context.get(DEVICE) or ""),
        customer=identified.customer,
    )


def parameters_of(campaign: Campaign, viewer: Viewer) -> tuple[str, ...]:
    """Returns the parameters that the choice of an ad rests on, in one word each."""
    targeting = campaign.targeting
    said = {
        "surface": True,
        "time": bool(targeting.hours),
        "attributes": bool(targeting.attributes.clauses),
        "segment": bool(targeting.segments),
        "geography": bool(targeting.geography),
        "device": bool(targeting.devices),
        "audience": targeting.users is not None,
        "history": viewer.tier is Tier.personal,
    }
    return tuple([name for name, is_used in said.items() if is_used])


def _anonymous(tier: Tier) -> Tier:
    """Returns the tier of a request whose user cannot be counted."""
    return Tier.segment if tier is Tier.personal else tier


def _is_value(value: object) -> bool:
    """Returns whether an attribute is one that targeting can ask for."""
    return isinstance(value, bool | int | float | str | list | tuple)


def _buy(filled: Filled, held: HeldCampaign, slots: SlotConfig) -> Buy:
    """Returns a slot as the ledger books it."""
    campaign, offer = held.campaign, filled.entry.offer
    window_s = {
        BidType.cpm: slots.click_window_s,
        BidType.cpc: slots.click_window_s,
        BidType.cpa: slots.conversion_window_s,
    }[campaign.bid_type]
    price = filled.due
    probability = 0.0 if offer is None else offer.probability
    # What is expected, and not the whole price: most impressions are never clicked, and their money would lie
    # idle until the window ends.
    reserve = -int(-price * probability // 1)
    return Buy(
        held=held,
        item_id=filled.entry.item_id,
        price=price,
        reserve=min(price, max(reserve, 1)) if price else 0,
        window_ms=window_s * _MS_PER_S,
    )


def _counts(recommender: Recommender, surface: str, items: IndexArray) -> ClickCounts:
    """Returns clicks and exposures of some items on a surface."""
    table = recommender.bundle.click_counts
    if table is None:
        return ClickCounts(np.zeros(len(items)), np.zeros(len(items)))
    return ClickCounts(*table.on(surface).of(items))


def _values(table: ItemTable, slots: SlotConfig, items: IndexArray) -> list[tuple[object, ...]]:
    """Returns the values by which no two ads of an answer may be equal; none where nothing is said."""
    columns = [table.values(name, items) for name in slots.apart]
    hashable = [[tuple(one) if isinstance(one, list) else one for one in column] for column in columns]
    return list(zip(*hashable, strict=True))


def _categories(table: ItemTable, items: IndexArray) -> list[frozenset[str]]:
    """Returns the categories of items; an empty list where the catalog has no such attribute."""
    if CATEGORY not in table.own.catalog.attributes.columns:
        return []
    return categories_of(table.values(CATEGORY, items))


def _content_categories(table: ItemTable, item_ids: Iterable[str]) -> frozenset[str]:
    """Returns the categories of content."""
    items = table.encode(item_ids)
    return frozenset[str]().union(*_categories(table, items))
