"""Campaigns: an advertiser's ads, where and to whom they may be shown, and what may be spent on them.

```
campaign       one booking: who pays for which creatives, when, for whom, how often, and how much
held campaign  the same with its version, as the store has it
campaign set   all campaigns as one value, with the sequence of the latest change
```

Decides what a campaign says. Leaves to others which ones can be (see `checks`), whom they reach (see
`marquee.ads.campaigns`), what they have spent (see `marquee.store.ledger`) and where they are kept.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from marquee.core.filters import NO_FILTERS, Filters
from marquee.core.targeting.targeting import Targeting as UserTargeting


class BidType(StrEnum):
    """The billable event of a campaign."""

    cpm = "cpm"  # a thousand impressions
    cpc = "cpc"  # a click
    cpa = "cpa"  # a conversion


class Delivery(StrEnum):
    """How a budget is spread over the time that it is for."""

    even = "even"  # as the traffic comes
    front_loaded = "front_loaded"  # ahead of the traffic, so that nothing is left at the end
    fast = "fast"  # as soon as possible


class Priority(StrEnum):
    """Which campaigns are asked first."""

    guaranteed = "guaranteed"  # before all others
    auction = "auction"  # the highest value wins
    house = "house"  # what nobody pays for, at price 0


class State(StrEnum):
    """Whether a campaign may be shown within its flight."""

    active = "active"
    paused = "paused"
    ended = "ended"  # for good


class CapScope(StrEnum):
    """The things that a frequency cap counts for one user."""

    ad = "ad"  # one creative
    campaign = "campaign"
    advertiser = "advertiser"  # all campaigns of the advertiser together


class Weekday(StrEnum):
    """The days of a week, from Monday."""

    mon = "mon"
    tue = "tue"
    wed = "wed"
    thu = "thu"
    fri = "fri"
    sat = "sat"
    sun = "sun"


@dataclass(frozen=True, slots=True, kw_only=True)
class HourRange:
    """Hours of some days, by the clock of the campaign's zone.

    Attributes:
        days: Empty for every day.
        from_hour: The first, 0 to 23.
        until_hour: The first one behind, up to 24.
    """

    days: tuple[Weekday, ...] = ()
    from_hour: int = 0
    until_hour: int = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Creative:
    """One ad of a campaign.

    Attributes:
        item_id: The item that is shown; live items too.
        hours: When it may be shown, besides the hours of the campaign; empty for always.
    """

    item_id: str
    hours: tuple[HourRange, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Targeting:
    """To whom a campaign is shown: all that is said must hold; what is not said asks nothing.

    Attributes:
        attributes: Conditions on attributes of user and request.
        segments: One of these is the user's.
        geography: One of these holds the place of the request: `DE`, or `DE-BE` for a part of it.
        devices: One of these is the device of the request.
        hours: Hours of the week in which it may be shown; empty for always.
        users: Traits and audiences of the user, None for everybody.
    """

    attributes: Filters = NO_FILTERS
    segments: tuple[str, ...] = ()
    geography: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    hours: tuple[HourRange, ...] = ()
    users: UserTargeting | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusions:
    """Where and beside whom a campaign is not shown.

    Attributes:
        surfaces: Not here.
        segments: Not to users of these.
        audiences: Not to users in these.
        advertisers: Not in one answer with ads of these.
        categories: Not in one answer with items of these categories.
    """

    surfaces: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()
    audiences: tuple[str, ...] = ()
    advertisers: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FrequencyCap:
    """The most times that one user is shown something within any window of a length.

    Attributes:
        per: What is counted.
        limit: How often, 1 or more.
        window_s: Length of the window that ends now, seconds.
    """

    per: CapScope
    limit: int
    window_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """One booking. All money is whole millionths of the service's currency.

    Attributes:
        campaign_id: Its name.
        advertiser: On whose behalf its ads are shown.
        payer: Who pays for them.
        starts: First second of the flight, since 1970 UTC.
        ends: First second behind it.
        timezone: IANA name of the zone of its days and hours.
        total_budget: What may be charged in all; 0 for a house campaign.
        daily_budget: What may be charged in one day of the zone, None for no bound.
        bid_type: What is paid for.
        bid: The most that one billable event may cost, a thousand for CPM; None where a target is said.
        target_cost: What one is to cost on average; None where a bid is said.
        creatives: Its ads.
        surfaces: Where it may be shown, empty for everywhere.
        targeting: To whom.
        frequency_caps: How often to one user.
        exclusions: Where not, and beside whom not.
        delivery: How the budget is spread.
        priority: Whether it is asked before others.
        state: Whether it may be shown at all.
        note: For people.
    """

    campaign_id: str
    advertiser: str
    payer: str
    starts: int
    ends: int
    timezone: str = "UTC"
    total_budget: int = 0
    daily_budget: int | None = None
    bid_type: BidType = BidType.cpm
    bid: int | None = None
    target_cost: int | None = None
    creatives: tuple[Creative, ...] = ()
    surfaces: tuple[str, ...] = ()
    targeting: Targeting = Targeting()
    frequency_caps: tuple[FrequencyCap, ...] = ()
    exclusions: Exclusions = Exclusions()
    delivery: Delivery = Delivery.even
    priority: Priority = Priority.auction
    state: State = State.active
    note: str = ""

    @property
    def price_limit(self) -> int:
        """The most that one billable event may cost: the bid or the target; 0 for a house campaign."""
        return (self.bid if self.bid is not None else self.target_cost) or 0


@dataclass(frozen=True, slots=True)
class HeldCampaign:
    """A campaign as the store has it.

    Attributes:
        campaign: What it says.
        version: 1 as it was made, one more for each change.
        time_ms: When it was changed last, milliseconds since 1970 UTC.
        changed_by: Name of the key that did.
        change: The word for that change.
        sequence: Of that change among those of all campaigns.
    """

    campaign: Campaign
    version: int
    time_ms: int
    changed_by: str
    change: str
    sequence: int


@dataclass(frozen=True, eq=False)
class CampaignSet:
    """All campaigns at one moment; the same object until one changes. Several threads may ask.

    Attributes:
        sequence: Of the latest change, 0 before the first.
        held: By id, in the order in which they were made.
    """

    sequence: int = 0
    held: Mapping[str, HeldCampaign] = field(default_factory=dict)

    def with_changes(self, changed: Iterable[HeldCampaign]) -> "CampaignSet":
        """Returns the set after some changes, in their order."""
        held, sequence = dict(self.held), self.sequence
        for one in changed:
            held[one.campaign.campaign_id] = one
            sequence = max(sequence, one.sequence)
        return CampaignSet(sequence, held)

    @cached_property
    def campaigns(self) -> tuple[Campaign, ...]:
        """All campaigns."""
        return tuple([one.campaign for one in self.held.values()])

    @cached_property
    def has_caps(self) -> bool:
        """Whether any campaign caps anything."""
        return any(one.frequency_caps for one in self.campaigns)

    @cached_property
    def capped_advertisers(self) -> frozenset[str]:
        """Advertisers of whom some campaign caps all: every ad of theirs is counted."""
        return frozenset(
            one.advertiser
            for one in self.campaigns
            if any(cap.per is CapScope.advertiser for cap in one.frequency_caps)
        )


NO_CAMPAIGNS = CampaignSet()
