"""Campaigns that cannot be: each is refused with its field, what came and what is expected."""

import math

import pytest

from marquee.errors import CampaignError, MoneyError
from marquee.store.campaigns.campaign import CapScope, Creative, FrequencyCap, HourRange, Priority, Targeting
from marquee.store.campaigns.checks import LONGEST_WINDOW_S, validate_campaign
from marquee.store.campaigns.money import MOST_UNITS, millionths_of, plain_money
from marquee.store.campaigns.plain import campaign_of, plain_campaign
from tests.support.campaigns import EURO, campaign
from tests.support.event_stores import NOW


def cap(limit: int = 1, window_s: int = 60) -> tuple[FrequencyCap, ...]:
    return (FrequencyCap(per=CapScope.ad, limit=limit, window_s=window_s),)


WRONG = {
    "ends before it begins": ({"ends": NOW - 10**6}, "ends", "must be after starts"),
    "no flight": ({"ends": NOW - 86_400}, "ends", "must be after starts"),
    "unknown zone": ({"timezone": "Mars/Olympus"}, "timezone", "IANA list, got 'Mars/Olympus'"),
    "zone that is a path": ({"timezone": "../etc/passwd"}, "timezone", "IANA list"),
    "no zone": ({"timezone": ""}, "timezone", "IANA list"),
    "daily above total": ({"daily_budget": 101 * EURO}, "daily_budget", "at most total_budget"),
    "nothing a day": ({"daily_budget": 0}, "daily_budget", "must be above 0, got 0"),
    "no budget": ({"total_budget": 0}, "total_budget", "must be above 0, got 0"),
    "no price": ({"bid": None}, "bid", "bid or target_cost must be given, got neither"),
    "two prices": ({"target_cost": 1}, "bid", "got both"),
    "price of nothing": ({"bid": 0}, "bid", "bid must be above 0, got 0"),
    "house with a price": ({"priority": Priority.house}, "bid", "left out of a house campaign"),
    "no creative": ({"creatives": ()}, "creatives", "1 to 1000 items, got 0"),
    "creative twice": (
        {"creatives": (Creative(item_id="a"), Creative(item_id="a"))},
        "creatives[1].item_id",
        "'a' twice",
    ),
    "cap of nothing": ({"frequency_caps": cap(limit=0)}, "frequency_caps[0].limit", "at least 1, got 0"),
    "cap without window": ({"frequency_caps": cap(window_s=0)}, "frequency_caps[0].window_s", "got 0"),
    "cap for ever": (
        {"frequency_caps": cap(window_s=LONGEST_WINDOW_S + 1)},
        "frequency_caps[0].window_s",
        f"got {LONGEST_WINDOW_S + 1}",
    ),
    "hours over midnight": (
        {"targeting": Targeting(hours=(HourRange(from_hour=22, until_hour=6),))},
        "targeting.hours[0].until_hour",
        "after from_hour (22)",
    ),
    "hour 25 of a creative": (
        {"creatives": (Creative(item_id="a", hours=(HourRange(until_hour=25),)),)},
        "creatives[0].hours[0].until_hour",
        "at most 24, got 25",
    ),
    "nobody": ({"advertiser": " "}, "advertiser", "must not be empty, got ' '"),
}


@pytest.mark.parametrize(("changes", "field", "message"), WRONG.values(), ids=WRONG)
def test_campaign_that_cannot_be_is_refused(changes: dict[str, object], field: str, message: str) -> None:
    with pytest.raises(CampaignError) as error:
        validate_campaign(campaign("spring", **changes))
    assert error.value.field == field
    assert message in str(error.value)


def test_campaign_that_can_be_passes() -> None:
    validate_campaign(campaign(daily_budget=EURO, frequency_caps=cap()))
    validate_campaign(campaign(priority=Priority.house, bid=None, total_budget=0))


@pytest.mark.parametrize(
    "said", [math.nan, math.inf, -math.inf, -0.01, 0.0000001, "1e-7", "NaN", "two", "", MOST_UNITS + 1, "-1"]
)
def test_amount_that_is_none_is_refused_with_its_field(said: float | str) -> None:
    with pytest.raises(MoneyError, match="bid must be an amount of 0 to") as error:
        millionths_of(said, "bid")
    assert error.value.field == "bid"


def test_every_amount_survives_json_to_the_millionth() -> None:
    for millionths in (
        0,
        1,
        999_999,
        100_001,
        EURO,
        MOST_UNITS * EURO,
        MOST_UNITS * EURO - 1,
        123_456_789_012_345,
    ):
        assert millionths_of(plain_money(millionths), "bid") == millionths


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": 3}, "unknown field `budget`"),
        ({"bid_type": "cpx"}, "Invalid enum value 'cpx'"),
        ({"starts": "soon"}, r"Expected `int`, got `str` - at `\$.starts`"),
        ({"frequency_caps": [{"per": "ad", "limit": 3}]}, "missing required field `window_s`"),
        ({"targeting": {"gender": "f"}}, "unknown field `gender`"),
    ],
)
def test_what_no_campaign_says_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(CampaignError, match=message):
        campaign_of(plain_campaign(campaign()) | changes)


def test_condition_that_is_none_is_refused_under_its_name() -> None:
    wrong = {"targeting": {"attributes": {"age": {"above": 3}}}}
    with pytest.raises(CampaignError) as error:
        campaign_of(plain_campaign(campaign()) | wrong)
    assert error.value.field == "targeting.attributes.age"
