from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marquee.ads.campaigns.columns import CampaignColumns
from marquee.ads.campaigns.eligibility import Viewer, WhyNot, why_not
from marquee.ads.campaigns.eligible import EligibleCampaigns
from marquee.core.filters import Filters
from marquee.core.targeting.customer import Customer
from marquee.core.targeting.targeting import Targeting as Users
from marquee.store.campaigns.campaign import (
    Campaign,
    CapScope,
    Creative,
    Exclusions,
    FrequencyCap,
    HourRange,
    State,
    Targeting,
    Weekday,
)
from marquee.store.people.consent import Tier
from tests.support.campaigns import campaign, set_of
from tests.support.event_stores import DAY, NOW

WORDS = st.sampled_from(["a", "b", "c"])
SOME = st.lists(WORDS, max_size=2, unique=True).map(tuple)
PLACES = st.sampled_from(["", "DE", "DE-BE", "FR"])
VALUES = st.sampled_from(["x", "y", True, 1, 2.5, 0])
CLAUSES: list[dict[str, dict[str, object]]] = [
    {},
    {"plan": {"any_of": ["x", 1]}},
    {"plan": {"none_of": [True]}},
    {"age": {"min": 1, "max": 2}},
    {"plan": {"all_of": ["x", "y"]}, "age": {"min": 2}},
]
HOURS = st.lists(
    st.builds(
        HourRange,
        days=st.lists(st.sampled_from(list(Weekday)), max_size=4, unique=True).map(tuple),
        from_hour=st.integers(0, 12),
        until_hour=st.integers(13, 24),
    ),
    max_size=2,
).map(tuple)
LEAVING = Targeting(users=Users(where="leaves >= 0.5"))
CAP = FrequencyCap(per=CapScope.ad, limit=1, window_s=60)
CAMPAIGNS = st.builds(
    campaign,
    starts=st.sampled_from([NOW - DAY, NOW, NOW + 1]),
    ends=st.sampled_from([NOW, NOW + 1, NOW + DAY]),
    timezone=st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata"]),
    state=st.sampled_from([State.active, State.active, State.paused, State.ended]),
    surfaces=SOME,
    frequency_caps=st.sampled_from([(), (CAP,)]),
    creatives=st.builds(
        lambda hours: (Creative(item_id="ad-1", hours=hours), Creative(item_id="ad-2", hours=hours[:1])),
        HOURS,
    ),
    exclusions=st.builds(Exclusions, surfaces=SOME, segments=SOME, audiences=SOME),
    targeting=st.builds(
        Targeting,
        attributes=st.sampled_from(CLAUSES).map(Filters.of),
        segments=SOME,
        geography=st.sampled_from([(), ("DE",), ("DE-BE", "FR")]),
        devices=SOME,
        hours=HOURS,
        users=st.sampled_from([None, Users(audiences=("a", "b")), Users(where="leaves >= 0.5")]),
    ),
)
VIEWERS = st.builds(
    Viewer,
    surface=WORDS,
    timestamp=st.sampled_from([NOW - 1, NOW, NOW + 7 * 3600]),
    tier=st.sampled_from(list(Tier)),
    attributes=st.dictionaries(
        st.sampled_from(["plan", "age"]), VALUES | st.lists(VALUES, max_size=2), max_size=2
    ),
    segment=st.sampled_from(["", "a", "b"]),
    geography=PLACES,
    device=st.sampled_from(["", "a", "b"]),
    customer=st.none()
    | st.builds(
        Customer,
        traits=st.dictionaries(st.just("leaves"), st.sampled_from([None, 0.2, 0.7])),
        audiences=st.frozensets(WORDS, max_size=2),
    ),
)


@given(st.lists(CAMPAIGNS, max_size=4), st.lists(VIEWERS, min_size=1, max_size=4))
def test_all_at_once_say_what_each_says(said: list[Campaign], viewers: list[Viewer]) -> None:
    numbered = [campaign(f"c{number}", **_fields(one)) for number, one in enumerate(said)]
    eligible = EligibleCampaigns(set_of(*numbered))
    # The same object for all: what was kept of one viewer must not hold for another.
    for viewer in viewers:
        assert eligible.to(viewer).tolist() == [why_not(one, viewer) is None for one in numbered]


@given(
    st.lists(CAMPAIGNS, min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 5), CAMPAIGNS), max_size=3),
    st.lists(VIEWERS, min_size=1, max_size=3),
)
def test_set_after_another_says_what_it_says_alone(
    said: list[Campaign], changes: list[tuple[int, Campaign]], viewers: list[Viewer]
) -> None:
    before = set_of(*[campaign(f"c{number}", **_fields(one)) for number, one in enumerate(said)])
    columns = CampaignColumns(before)
    for place, one in changes:  # beyond the last one a new one is made
        changed = campaign(f"c{min(place, len(before.held))}", **_fields(one))
        before = before.with_changes(set_of(changed).held.values())
        columns = CampaignColumns(before, columns)
    alone = CampaignColumns(before)
    for viewer in viewers:
        assert columns.eligible.to(viewer).tolist() == alone.eligible.to(viewer).tolist()
    assert columns.numbers == alone.numbers
    for name in ("bid", "bid_type", "tier", "is_capped", "is_choosy", "multipliers"):
        assert getattr(columns, name).tolist() == getattr(alone, name).tolist(), name
    # Codes tell advertisers apart, whichever each has.
    assert len(set(zip(columns.advertiser, alone.advertiser, strict=True))) == len(set(alone.advertiser))


def test_parts_that_no_campaign_says_any_more_are_forgotten() -> None:
    columns = CampaignColumns(held := set_of(campaign("spring"), campaign("other")))
    for number in range(500):
        named = Targeting(geography=(f"D{number}",))
        held = held.with_changes(set_of(campaign("spring", targeting=named)).held.values())
        columns = CampaignColumns(held, columns)
    assert columns.eligible.n_parts < 100
    for place, expected in (("D499", [True, True]), ("D1", [False, True])):
        viewer = Viewer(surface="home", timestamp=NOW, geography=place)
        assert columns.eligible.to(viewer).tolist() == expected


def _fields(one: Campaign) -> dict[str, Any]:
    return {name: getattr(one, name) for name in Campaign.__dataclass_fields__ if name != "campaign_id"}


@pytest.mark.parametrize(
    ("changes", "viewer", "reason"),
    [
        ({"state": State.paused}, {}, WhyNot.paused),
        ({"state": State.ended}, {}, WhyNot.ended),
        ({"starts": NOW + 1}, {}, WhyNot.not_begun),
        ({"ends": NOW}, {}, WhyNot.is_over),
        ({"surfaces": ("other",)}, {}, WhyNot.surface),
        ({"exclusions": Exclusions(surfaces=("home",))}, {}, WhyNot.surface),
        ({"targeting": Targeting(hours=(HourRange(from_hour=0, until_hour=1),))}, {}, WhyNot.hours),
        ({"targeting": Targeting(attributes=Filters.of({"plan": {"any_of": [1]}}))}, {}, WhyNot.attributes),
        ({"targeting": Targeting(segments=("gold",))}, {"segment": "silver"}, WhyNot.segments),
        ({"exclusions": Exclusions(segments=("gold",))}, {"segment": "gold"}, WhyNot.segments),
        ({"targeting": Targeting(geography=("DE-BE",))}, {"geography": "DE"}, WhyNot.geography),
        ({"targeting": Targeting(devices=("phone",))}, {"device": "tv"}, WhyNot.devices),
        ({"targeting": Targeting(users=Users(audiences=("keep",)))}, {"customer": Customer()}, WhyNot.users),
        ({"targeting": Targeting(users=Users(audiences=("keep",)))}, {}, WhyNot.users),
        (
            {"exclusions": Exclusions(audiences=("keep",))},
            {"customer": Customer({}, frozenset(["keep"]))},
            WhyNot.users,
        ),
        ({"targeting": LEAVING}, {"customer": Customer({"leaves": 0.2})}, WhyNot.users),
        ({"frequency_caps": (CAP,)}, {"tier": Tier.segment}, WhyNot.cap_needs_user),
        ({"frequency_caps": (CAP,)}, {}, None),
        ({"targeting": Targeting(geography=("DE",))}, {"geography": "DE-BE"}, None),
        ({"targeting": LEAVING}, {"customer": Customer({"leaves": 0.7})}, None),
    ],
)
def test_reason_of_one_campaign(
    changes: dict[str, Any], viewer: dict[str, Any], reason: WhyNot | None
) -> None:
    # The hour before midnight, so that the first hour of the day is another one.
    late = NOW - NOW % DAY + 23 * 3600
    moment = {"timestamp": late if reason is WhyNot.hours else NOW}
    flight = {"ends": NOW + 2 * DAY} if reason is WhyNot.hours else {}
    found = why_not(campaign(**{**flight, **changes}), Viewer(surface="home", **{**moment, **viewer}))
    assert found is reason


def test_no_campaign_is_eligible_where_there_is_none() -> None:
    found = EligibleCampaigns(set_of()).to(Viewer(surface="home", timestamp=NOW))
    assert found.shape == (0,)
    assert found.dtype == np.bool_
