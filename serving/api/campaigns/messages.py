"""Requests and answers of those who book campaigns."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from marquee.store.campaigns.campaign import (
    BidType,
    CapScope,
    Delivery,
    HeldCampaign,
    Priority,
    State,
    Weekday,
)
from marquee.store.campaigns.checks import LONGEST_WINDOW_S, MOST_CREATIVES
from marquee.store.campaigns.money import plain_money
from marquee.store.campaigns.plain import plain_campaign
from marquee.store.ledger.rows import FLIGHT, Account
from serving.api.messages.items import LATEST_MOMENT
from serving.api.messages.requests import Filter, Id
from serving.http.errors import ErrorAnswer

MOST_NAMES = 200
"""Values of one list of targeting or exclusions."""

MAX_SAMPLE = 1000

_Moment = Annotated[int, Meta(ge=0, le=LATEST_MOMENT)]
_Hour = Annotated[int, Meta(ge=0, le=24)]
_Names = Annotated[tuple[Id, ...], Meta(max_length=MOST_NAMES)]
_Money = float | str


class HoursMessage(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Hours of some days, by the clock of the campaign's time zone."""

    days: Annotated[tuple[Weekday, ...], Meta(max_length=7, description="Left out: every day.")] = ()
    from_hour: Annotated[_Hour, Meta(description="The first.")] = 0
    until_hour: Annotated[_Hour, Meta(description="The first one behind.")] = 24


class CampaignCreativeMessage(
    msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True
):
    """One ad of a campaign."""

    item_id: Annotated[Id, Meta(description="The item that is shown; live items too.")]
    hours: Annotated[
        tuple[HoursMessage, ...],
        Meta(max_length=MOST_NAMES, description="When this one may be shown; left out: always."),
    ] = ()


class UsersMessage(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The users whom a campaign is for, by the traits and audiences of the run of customers."""

    where: Annotated[
        Annotated[str, Meta(max_length=1000)], Meta(description="A condition on traits: `leaves >= 0.5`.")
    ] = ""
    audiences: Annotated[_Names, Meta(description="They are in one of these.")] = ()


class TargetingMessage(
    msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True
):
    """To whom a campaign is shown; all that is said must hold."""

    attributes: Annotated[
        dict[Id, Filter],
        Meta(max_length=20, description="What attributes of user and request must be, as in a filter."),
    ] = msgspec.field(default_factory=dict)
    segments: Annotated[_Names, Meta(description="The user's segment is one of these.")] = ()
    geography: Annotated[_Names, Meta(description="`DE`, or `DE-BE` for a part of it.")] = ()
    devices: Annotated[_Names, Meta(description="The request's device is one of these.")] = ()
    hours: Annotated[
        tuple[HoursMessage, ...],
        Meta(max_length=MOST_NAMES, description="Hours of the week; left out: always."),
    ] = ()
    users: Annotated[UsersMessage | None, Meta(description="Left out: everybody.")] = None


class FrequencyCapMessage(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The most times that one user is shown something within any window of a length."""

    per: Annotated[CapScope, Meta(description="What is counted.")]
    limit: Annotated[int, Meta(le=1_000_000, description="How often, 1 or more.")]
    window_s: Annotated[
        int, Meta(description=f"Length of the window that ends now, 1 to {LONGEST_WINDOW_S} seconds.")
    ]


class ExclusionsMessage(
    msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Where and beside whom a campaign is not shown."""

    surfaces: Annotated[_Names, Meta(description="Not here.")] = ()
    segments: Annotated[_Names, Meta(description="Not to users of these.")] = ()
    audiences: Annotated[_Names, Meta(description="Not to users in these.")] = ()
    advertisers: Annotated[_Names, Meta(description="Not in one answer with ads of these.")] = ()
    categories: Annotated[_Names, Meta(description="Not in one answer with items of these.")] = ()


class CampaignMessage(
    msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True
):
    """One campaign. Money is in units of the service's currency, with up to six decimals."""

    campaign_id: Annotated[Id, Meta(description="Its name; answers and records name it.")]
    advertiser: Annotated[Id, Meta(description="On whose behalf its ads are shown.")]
    payer: Annotated[Id, Meta(description="Who pays for them.")]
    starts: Annotated[_Moment, Meta(description="First second of the flight, since 1970 UTC.")]
    ends: Annotated[_Moment, Meta(description="First second behind it.")]
    creatives: Annotated[
        tuple[CampaignCreativeMessage, ...], Meta(max_length=MOST_CREATIVES, description="Its ads.")
    ]
    timezone: Annotated[
        Annotated[str, Meta(max_length=64)],
        Meta(description="IANA name of the zone of its days and hours."),
    ] = "UTC"
    total_budget: Annotated[_Money, Meta(description="What may be charged in all.")] = 0
    daily_budget: Annotated[
        _Money | None, Meta(description="What may be charged in one day of the zone; left out: no bound.")
    ] = None
    bid_type: Annotated[
        BidType, Meta(description="What is paid for: a thousand impressions, a click, a conversion.")
    ] = BidType.cpm
    bid: Annotated[_Money | None, Meta(description="The most that one of them may cost.")] = None
    target_cost: Annotated[
        _Money | None, Meta(description="What one is to cost on average, in place of a bid.")
    ] = None
    surfaces: Annotated[_Names, Meta(description="Where it may be shown; left out: everywhere.")] = ()
    targeting: Annotated[TargetingMessage, Meta(description="To whom.")] = TargetingMessage()
    frequency_caps: Annotated[
        tuple[FrequencyCapMessage, ...], Meta(max_length=20, description="How often to one user.")
    ] = ()
    exclusions: Annotated[ExclusionsMessage, Meta(description="Where not, and beside whom not.")] = (
        ExclusionsMessage()
    )
    delivery: Annotated[Delivery, Meta(description="How the budget is spread.")] = Delivery.even
    priority: Annotated[
        Priority, Meta(description="Guaranteed ones are asked first; house ones cost nothing.")
    ] = Priority.auction
    note: Annotated[Annotated[str, Meta(max_length=1000)], Meta(description="For people.")] = ""

    @classmethod
    def of(cls, held: HeldCampaign) -> "CampaignMessage":
        """Returns the message that tells a campaign."""
        plain = plain_campaign(held.campaign)
        # Said beside it: a change of the state is no change of what was booked.
        plain.pop("state")
        return msgspec.convert(plain, cls)


def _optional(field: msgspec.structs.FieldInfo) -> tuple[str, Any, Any]:
    """Returns a field of a campaign as one that a change may leave out."""
    return field.name, field.type | UnsetType, UNSET


_ChangedFields = msgspec.defstruct(
    "_ChangedFields",
    [_optional(one) for one in msgspec.structs.fields(CampaignMessage) if one.name != "campaign_id"],
    kw_only=True,
    frozen=True,
)


# Made of `CampaignMessage`: a field that was declared there alone could not be changed.
class CampaignChange(  # type: ignore[call-arg]  # mypy does not see that the base is a struct
    _ChangedFields,  # type: ignore[valid-type,misc]
    kw_only=True,
    frozen=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
):
    """The fields of a campaign that change; each is replaced whole, the others stay."""


class AccountAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """The money of a campaign, in all or on one day."""

    budget: Annotated[float | None, Meta(description="What may be charged; null for no bound.")]
    charged: Annotated[float, Meta(description="What was charged.")]
    held: Annotated[
        float, Meta(description="Held for ads that were shown, and by workers for the next ones.")
    ]
    sold: Annotated[int, Meta(description="Ads that were shown.")]
    billed: Annotated[int, Meta(description="Events that were charged.")]
    unbilled_events: Annotated[
        int, Meta(description="Billable events that were not charged: too late, or the budget was spent.")
    ]
    unbilled: Annotated[float, Meta(description="What these would have cost.")]

    @classmethod
    def of(cls, account: Account) -> "AccountAnswer":
        """Returns the message that tells an account."""
        return cls(**_money_of(account))


class DayAnswer(AccountAnswer, kw_only=True, frozen=True):
    """The money of one day of the campaign's time zone."""

    day: Annotated[str, Meta(description="As `2026-03-29`.")]

    @classmethod
    def of_day(cls, account: Account) -> "DayAnswer":
        """Returns the message that tells the account of a day."""
        return cls(day=account.day, **_money_of(account))


class ForecastAnswer(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """The outcome that is expected by the end of a flight, if pacing holds and nothing is changed."""

    charged: Annotated[float, Meta(description="Of the whole flight, what was charged already included.")]
    shown: Annotated[float, Meta(description="Ads that are still to be shown.")]
    rests_on: Annotated[str, Meta(description="What the traffic to come is expected by, in a sentence.")]
    low: Annotated[
        float | None,
        Meta(description="Lower end of the 80 % interval of `charged`; left out while too little is known."),
    ] = None
    high: Annotated[float | None, Meta(description="Upper end.")] = None


class DeliveryAnswer(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """How a campaign gets on: beside its plan, to its end, and why answers did not show it."""

    looked_at: Annotated[
        int, Meta(description="Decisions that were looked at, spread over the last day within the flight.")
    ]
    shown: Annotated[int, Meta(description="Of these, those that showed it.")]
    not_shown: Annotated[
        dict[str, int], Meta(description="Of the others, the first reason, the commonest first.")
    ]
    planned: Annotated[
        float | None,
        Meta(description="What its plan would have spent by now; left out where it has none."),
    ] = None
    pace: Annotated[float | None, Meta(description="What was charged beside that; 1 is on plan.")] = None
    forecast: Annotated[
        ForecastAnswer | None,
        Meta(description="Left out for one that is over, or whose event has no known probability yet."),
    ] = None


class CampaignAnswer(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A campaign, the version by which a change names what it replaces, and what was spent."""

    campaign: Annotated[CampaignMessage, Meta(description="What was booked.")]
    version: Annotated[int, Meta(description="1 as it was made, one more for each change.")]
    state: Annotated[State, Meta(description="Whether it may be shown within its flight.")]
    changed: Annotated[int, Meta(description="When it was changed last, seconds since 1970 UTC.")]
    changed_by: Annotated[str, Meta(description="Name of the key that did.")]
    change: Annotated[
        str, Meta(description="`created`, `replaced`, `patched`, `paused`, `resumed` or `ended`.")
    ]
    currency: Annotated[str, Meta(description="Of all money, as ISO 4217 has it.")]
    spent: Annotated[
        AccountAnswer | None,
        Meta(description="Of the whole flight; left out where nothing was, and in lists."),
    ] = None
    days: Annotated[tuple[DayAnswer, ...], Meta(description="The latest days, the last one first.")] = ()
    delivery: Annotated[
        DeliveryAnswer | None, Meta(description="How it gets on; where one campaign is asked for.")
    ] = None

    @classmethod
    def of(
        cls,
        held: HeldCampaign,
        currency: str,
        accounts: Sequence[Account] = (),
        delivery: DeliveryAnswer | None = None,
    ) -> "CampaignAnswer":
        """Returns the message that tells a campaign.

        Args:
            held: The campaign.
            currency: Of the service.
            accounts: Its own, the flight's first.
            delivery: How it gets on.
        """
        flight = next((one for one in accounts if one.day == FLIGHT), None)
        days = [DayAnswer.of_day(one) for one in accounts if one.day != FLIGHT]
        return cls(
            campaign=CampaignMessage.of(held),
            version=held.version,
            state=held.campaign.state,
            changed=held.time_ms // 1000,
            changed_by=held.changed_by,
            change=held.change,
            currency=currency,
            spent=AccountAnswer.of(flight) if flight is not None else None,
            days=tuple(days[::-1][:_MOST_DAYS]),
            delivery=delivery,
        )


class CampaignChangedAnswer(ErrorAnswer, kw_only=True, frozen=True):
    """The refusal of a change of another version, with the campaign as it is.

    Attributes:
        error: Why.
        current: The campaign; make the change anew upon it.
    """

    current: CampaignAnswer


class CampaignsAnswer(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A page of campaigns, by id."""

    campaigns: Annotated[tuple[CampaignAnswer, ...], Meta(description="Ended ones too.")]
    after: Annotated[str | None, Meta(description="Where the next page begins; left out at the end.")] = None


class CampaignHistoryAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """Every version of a campaign, the latest first. Nothing that the service takes can change it."""

    changes: Annotated[tuple[CampaignAnswer, ...], Meta(description="The latest first.")]


class CampaignTrialRequest(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A campaign that is tried and not kept."""

    campaign: Annotated[CampaignMessage, Meta(description="As it would be created or replaced.")]
    sample: Annotated[int, Meta(ge=1, le=MAX_SAMPLE, description="Of the latest decisions of the log.")] = (
        MAX_SAMPLE
    )


class CampaignTrialAnswer(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """The share of the latest decisions at which a campaign could have been shown, flight and state apart."""

    asked: Annotated[int, Meta(description="Decisions that were looked at.")]
    eligible: Annotated[int, Meta(description="Of these, those at which it might be shown.")]
    not_eligible: Annotated[
        dict[str, int], Meta(description="Of the others, the first reason against it: `hours`, `surface`, …")
    ]
    eligible_per_day: Annotated[
        float | None, Meta(description="Decisions a day at which it might be shown, from the same sample.")
    ] = None
    eligible_in_flight: Annotated[float | None, Meta(description="The same for the rest of its flight.")] = (
        None
    )
    affordable: Annotated[
        float | None, Meta(description="How many billable events the budget pays for at the full bid.")
    ] = None
    would_win: Annotated[
        int | None,
        Meta(description="Of those eligible, the auctions that it would have won at its whole bid."),
    ] = None
    forecast: Annotated[
        ForecastAnswer | None,
        Meta(description="Of its flight; left out where its event has no known probability yet."),
    ] = None


_MOST_DAYS = 31


def _money_of(account: Account) -> dict[str, Any]:
    """Returns the fields of an account as messages have them."""
    return {
        "budget": None if account.budget is None else plain_money(account.budget),
        "charged": plain_money(account.charged),
        "held": plain_money(account.held),
        "sold": account.n_sold,
        "billed": account.n_charged,
        "unbilled_events": account.n_unbilled,
        "unbilled": plain_money(account.unbilled),
    }
