"""Bodies and answers of campaigns, for the document and for people."""

from serving.api.examples import Bodies, Json

_CAMPAIGN: Json = {
    "campaign_id": "spring",
    "advertiser": "Acme",
    "payer": "Acme GmbH",
    "starts": 1769904000,
    "ends": 1772323200,
    "timezone": "Europe/Berlin",
    "total_budget": 1000,
    "daily_budget": 50,
    "bid_type": "cpc",
    "bid": 0.4,
    "creatives": [{"item_id": "item-17"}],
    "frequency_caps": [{"per": "campaign", "limit": 3, "window_s": 86400}],
}
CAMPAIGN: Bodies = {
    "clicks for a month, three ads a day for each user": _CAMPAIGN,
    "of the house, at no price": {
        "campaign_id": "newsletter",
        "advertiser": "Us",
        "payer": "Us",
        "starts": 1769904000,
        "ends": 1801440000,
        "priority": "house",
        "creatives": [{"item_id": "item-4"}],
    },
}
CAMPAIGN_PUT: Bodies = {"all of it anew": _CAMPAIGN}
CAMPAIGN_CHANGE: Bodies = {
    "a higher bid": {"bid": 0.55},
    "no bound by day any more": {"daily_budget": None, "delivery": "front_loaded"},
}
CAMPAIGN_ANSWER: Json = {
    "campaign": _CAMPAIGN,
    "version": 1,
    "state": "active",
    "changed": 1769900000,
    "changed_by": "marketing",
    "change": "created",
    "currency": "EUR",
    "spent": {
        "budget": 1000,
        "charged": 12.4,
        "held": 1.2,
        "sold": 1804,
        "billed": 31,
        "unbilled_events": 0,
        "unbilled": 0,
    },
    "delivery": {
        "looked_at": 1000,
        "shown": 212,
        "not_shown": {"no_offer": 511, "outbid": 240, "cap_needs_user": 37},
        "planned": 12.1,
        "pace": 1.02,
        "forecast": {
            "charged": 981.5,
            "shown": 141800.0,
            "rests_on": "There is a pattern by hour of the week: with it the error is 0.31 of that of an "
            "even plan, over 9 past forecasts.",
            "low": 930.2,
            "high": 1000,
        },
    },
    "days": [
        {
            "day": "2026-02-01",
            "budget": 50,
            "charged": 12.4,
            "held": 1.2,
            "sold": 1804,
            "billed": 31,
            "unbilled_events": 0,
            "unbilled": 0,
        }
    ],
}
_ALONE = ("spent", "days", "delivery")
_LISTED: Json = {name: value for name, value in CAMPAIGN_ANSWER.items() if name not in _ALONE}
CAMPAIGNS_ANSWER: Json = {"campaigns": [_LISTED], "after": "spring"}
CAMPAIGN_HISTORY_ANSWER: Json = {"changes": [_LISTED]}
TRIAL: Bodies = {"before it is created": {"campaign": _CAMPAIGN, "sample": 1000}}
TRIAL_ANSWER: Json = {
    "asked": 1000,
    "eligible": 720,
    "not_eligible": {"cap_needs_user": 280},
    "eligible_per_day": 8640.5,
    "eligible_in_flight": 241934.0,
    "affordable": 2500.0,
    "would_win": 310,
    "forecast": {
        "charged": 640.2,
        "shown": 92400.0,
        "rests_on": "No pattern by hour of the day: with one the error is 0.97 of that of an even plan over "
        "14 past forecasts (at most 0.9 counts), so the plan is even.",
        "low": 590.9,
        "high": 702.3,
    },
}
