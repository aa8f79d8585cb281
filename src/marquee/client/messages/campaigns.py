"""Messages: of the group `campaigns`; written by `make lock`."""

from collections.abc import Mapping, Sequence

import msgspec

from marquee.client.messages.shared import ErrorBody, Filter


class HoursMessage(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """Hours of some days, by the clock of the campaign's time zone.

    Attributes:
        days: Left out: every day. One of `fri`, `mon`, `sat`, `sun`, `thu`, `tue`, `wed`.
        from_hour: The first. Left out: 0.
        until_hour: The first one behind. Left out: 24.
    """

    days: Sequence[str] = ()
    from_hour: int | None = None
    until_hour: int | None = None


class CampaignCreativeMessage(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """One ad of a campaign.

    Attributes:
        item_id: The item that is shown; live items too.
        hours: When this one may be shown; left out: always.
    """

    item_id: str
    hours: Sequence[HoursMessage] = ()


class UsersMessage(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """The users whom a campaign is for, by the traits and audiences of the run of customers.

    Attributes:
        where: A condition on traits: `leaves >= 0.5`. Left out: "".
        audiences: They are in one of these.
    """

    where: str | None = None
    audiences: Sequence[str] = ()


class TargetingMessage(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """To whom a campaign is shown; all that is said must hold.

    Attributes:
        attributes: What attributes of user and request must be, as in a filter.
        segments: The user's segment is one of these.
        geography: `DE`, or `DE-BE` for a part of it.
        devices: The request's device is one of these.
        hours: Hours of the week; left out: always.
        users: Left out: everybody.
    """

    attributes: Mapping[str, Filter] = {}
    segments: Sequence[str] = ()
    geography: Sequence[str] = ()
    devices: Sequence[str] = ()
    hours: Sequence[HoursMessage] = ()
    users: UsersMessage | None = None


class FrequencyCapMessage(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """The most times that one user is shown something within any window of a length.

    Attributes:
        per: What is counted. One of `ad`, `advertiser`, `campaign`.
        limit: How often, 1 or more.
        window_s: Length of the window that ends now, 1 to 7776000 seconds.
    """

    per: str
    limit: int
    window_s: int


class ExclusionsMessage(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """Where and beside whom a campaign is not shown.

    Attributes:
        surfaces: Not here.
        segments: Not to users of these.
        audiences: Not to users in these.
        advertisers: Not in one answer with ads of these.
        categories: Not in one answer with items of these.
    """

    surfaces: Sequence[str] = ()
    segments: Sequence[str] = ()
    audiences: Sequence[str] = ()
    advertisers: Sequence[str] = ()
    categories: Sequence[str] = ()


class CampaignMessage(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """One campaign. Money is in units of the service's currency, with up to six decimals.

    Attributes:
        campaign_id: Its name; answers and records name it.
        advertiser: On whose behalf its ads are shown.
        payer: Who pays for them.
        starts: First second of the flight, since 1970 UTC.
        ends: First second behind it.
        creatives: Its ads.
        timezone: IANA name of the zone of its days and hours. Left out: "UTC".
        total_budget: What may be charged in all. Left out: 0.
        daily_budget: What may be charged in one day of the zone; left out: no bound.
        bid_type: What is paid for: a thousand impressions, a click, a conversion. Left out: "cpm". One of
            `cpa`, `cpc`, `cpm`.
        bid: The most that one of them may cost.
        target_cost: What one is to cost on average, in place of a bid.
        surfaces: Where it may be shown; left out: everywhere.
        targeting: To whom.
        frequency_caps: How often to one user.
        exclusions: Where not, and beside whom not.
        delivery: How the budget is spread. Left out: "even". One of `even`, `fast`, `front_loaded`.
        priority: Guaranteed ones are asked first; house ones cost nothing. Left out: "auction". One of
            `auction`, `guaranteed`, `house`.
        note: For people. Left out: "".
    """

    campaign_id: str
    advertiser: str
    payer: str
    starts: int
    ends: int
    creatives: Sequence[CampaignCreativeMessage]
    timezone: str | None = None
    total_budget: float | str | None = None
    daily_budget: float | str | None = None
    bid_type: str | None = None
    bid: float | str | None = None
    target_cost: float | str | None = None
    surfaces: Sequence[str] = ()
    targeting: TargetingMessage | None = None
    frequency_caps: Sequence[FrequencyCapMessage] = ()
    exclusions: ExclusionsMessage | None = None
    delivery: str | None = None
    priority: str | None = None
    note: str | None = None


class AccountAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The money of a campaign, in all or on one day.

    Attributes:
        budget: What may be charged; null for no bound.
        charged: What was charged.
        held: Held for ads that were shown, and by workers for the next ones.
        sold: Ads that were shown.
        billed: Events that were charged.
        unbilled_events: Billable events that were not charged: too late, or the budget was spent.
        unbilled: What these would have cost.
    """

    budget: float | None = None
    charged: float
    held: float
    sold: int
    billed: int
    unbilled_events: int
    unbilled: float


class DayAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The money of one day of the campaign's time zone.

    Attributes:
        budget: What may be charged; null for no bound.
        charged: What was charged.
        held: Held for ads that were shown, and by workers for the next ones.
        sold: Ads that were shown.
        billed: Events that were charged.
        unbilled_events: Billable events that were not charged: too late, or the budget was spent.
        unbilled: What these would have cost.
        day: As `2026-03-29`.
    """

    budget: float | None = None
    charged: float
    held: float
    sold: int
    billed: int
    unbilled_events: int
    unbilled: float
    day: str


class ForecastAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The outcome that is expected by the end of a flight, if pacing holds and nothing is changed.

    Attributes:
        charged: Of the whole flight, what was charged already included.
        shown: Ads that are still to be shown.
        rests_on: What the traffic to come is expected by, in a sentence.
        low: Lower end of the 80 % interval of `charged`; left out while too little is known.
        high: Upper end.
    """

    charged: float
    shown: float
    rests_on: str
    low: float | None = None
    high: float | None = None


class DeliveryAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """How a campaign gets on: beside its plan, to its end, and why answers did not show it.

    Attributes:
        looked_at: Decisions that were looked at, spread over the last day within the flight.
        shown: Of these, those that showed it.
        not_shown: Of the others, the first reason, the commonest first.
        planned: What its plan would have spent by now; left out where it has none.
        pace: What was charged beside that; 1 is on plan.
        forecast: Left out for one that is over, or whose event has no known probability yet.
    """

    looked_at: int
    shown: int
    not_shown: dict[str, int]
    planned: float | None = None
    pace: float | None = None
    forecast: ForecastAnswer | None = None


class CampaignAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """A campaign, the version by which a change names what it replaces, and what was spent.

    Attributes:
        campaign: What was booked.
        version: 1 as it was made, one more for each change.
        state: Whether it may be shown within its flight. One of `active`, `ended`, `paused`.
        changed: When it was changed last, seconds since 1970 UTC.
        changed_by: Name of the key that did.
        change: `created`, `replaced`, `patched`, `paused`, `resumed` or `ended`.
        currency: Of all money, as ISO 4217 has it.
        spent: Of the whole flight; left out where nothing was, and in lists.
        days: The latest days, the last one first.
        delivery: How it gets on; where one campaign is asked for.
    """

    campaign: CampaignMessage
    version: int
    state: str
    changed: int
    changed_by: str
    change: str
    currency: str
    spent: AccountAnswer | None = None
    days: tuple[DayAnswer, ...] = ()
    delivery: DeliveryAnswer | None = None


class CampaignsAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """A page of campaigns, by id.

    Attributes:
        campaigns: Ended ones too.
        after: Where the next page begins; left out at the end.
    """

    campaigns: tuple[CampaignAnswer, ...]
    after: str | None = None


class CampaignChangedAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The refusal of a change of another version, with the campaign as it is.

    Attributes:
        error: Why.
        current: The campaign; make the change anew upon it.
    """

    error: ErrorBody
    current: CampaignAnswer


class CampaignTrialRequest(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A campaign that is tried and not kept.

    Attributes:
        campaign: As it would be created or replaced.
        sample: Of the latest decisions of the log. Left out: 1000.
    """

    campaign: CampaignMessage
    sample: int | None = None


class CampaignTrialAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The share of the latest decisions at which a campaign could have been shown, flight and state apart.

    Attributes:
        asked: Decisions that were looked at.
        eligible: Of these, those at which it might be shown.
        not_eligible: Of the others, the first reason against it: `hours`, `surface`, …
        eligible_per_day: Decisions a day at which it might be shown, from the same sample.
        eligible_in_flight: The same for the rest of its flight.
        affordable: How many billable events the budget pays for at the full bid.
        would_win: Of those eligible, the auctions that it would have won at its whole bid.
        forecast: Of its flight; left out where its event has no known probability yet.
    """

    asked: int
    eligible: int
    not_eligible: dict[str, int]
    eligible_per_day: float | None = None
    eligible_in_flight: float | None = None
    affordable: float | None = None
    would_win: int | None = None
    forecast: ForecastAnswer | None = None


class CampaignHistoryAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """Every version of a campaign, the latest first. Nothing that the service takes can change it.

    Attributes:
        changes: The latest first.
    """

    changes: tuple[CampaignAnswer, ...]


class CampaignChange(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """The fields of a campaign that change; each is replaced whole, the others stay.

    Attributes:
        advertiser: On whose behalf its ads are shown.
        payer: Who pays for them.
        starts: First second of the flight, since 1970 UTC.
        ends: First second behind it.
        creatives: Its ads.
        timezone: IANA name of the zone of its days and hours.
        total_budget: What may be charged in all.
        daily_budget: What may be charged in one day of the zone; left out: no bound.
        bid_type: What is paid for: a thousand impressions, a click, a conversion. One of `cpa`, `cpc`, `cpm`.
        bid: The most that one of them may cost.
        target_cost: What one is to cost on average, in place of a bid.
        surfaces: Where it may be shown; left out: everywhere.
        targeting: To whom.
        frequency_caps: How often to one user.
        exclusions: Where not, and beside whom not.
        delivery: How the budget is spread. One of `even`, `fast`, `front_loaded`.
        priority: Guaranteed ones are asked first; house ones cost nothing. One of `auction`, `guaranteed`,
            `house`.
        note: For people.
    """

    advertiser: str | None = None
    payer: str | None = None
    starts: int | None = None
    ends: int | None = None
    creatives: Sequence[CampaignCreativeMessage] = ()
    timezone: str | None = None
    total_budget: float | str | None = None
    daily_budget: float | str | None = None
    bid_type: str | None = None
    bid: float | str | None = None
    target_cost: float | str | None = None
    surfaces: Sequence[str] = ()
    targeting: TargetingMessage | None = None
    frequency_caps: Sequence[FrequencyCapMessage] = ()
    exclusions: ExclusionsMessage | None = None
    delivery: str | None = None
    priority: str | None = None
    note: str | None = None
