from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marquee.ads.auction import Offer, PriceRule
from marquee.ads.filling import Entry, Filling, Loss, Terms, fill_slots
from marquee.ads.objective import Objective
from marquee.store.campaigns.campaign import BidType, Exclusions, Priority

EURO = 1_000_000


def entry(name: str, euros: float, **changes: Any) -> Entry:
    """Returns an entry that is worth so much for a thousand impressions."""
    said: dict[str, Any] = {"campaign_id": f"of-{name}", "advertiser": f"by-{name}", **changes}
    offer = Offer(name, said["campaign_id"], BidType.cpm, round(euros * EURO)) if euros else None
    return Entry(offer, name, **said)


def told(filling: Filling) -> list[tuple[int, str, float]]:
    """Returns place, item and euros of each slot that was won."""
    return [(one.place, one.entry.item_id, one.price / EURO) for one in filling.filled]


def test_each_winner_pays_the_next_value_and_the_last_the_floor() -> None:
    entries = [entry("b", 3), entry("a", 5), entry("c", 2)]
    assert told(fill_slots(entries, (1, 5), Terms())) == [(1, "a", 3.0), (5, "b", 2.0)]
    assert told(fill_slots(entries, (1, 5, 9), Terms(floor=EURO))) == [
        (1, "a", 3.0),
        (5, "b", 2.0),
        (9, "c", 1.0),
    ]
    assert told(fill_slots(entries, (1,), Terms(rule=PriceRule.first))) == [(1, "a", 5.0)]


def test_losers_are_counted_by_reason() -> None:
    entries = [
        entry("a", 5),
        entry("a2", 4, campaign_id="of-a", advertiser="by-a"),
        entry("b", 3),
        entry("c", 0.5),
        entry("d", 2, advertiser="by-a"),
    ]
    filling = fill_slots(entries, (0,), Terms(floor=EURO))
    assert filling.lost == {Loss.same_campaign: 1, Loss.below_floor: 1, Loss.outbid: 1, Loss.not_apart: 1}
    filling = fill_slots(entries, (0, 1, 2), Terms(floor=EURO))
    assert told(filling) == [(0, "a", 3.0), (1, "b", 1.0)]
    assert filling.lost == {Loss.same_campaign: 1, Loss.below_floor: 1, Loss.not_apart: 1}


def test_guaranteed_comes_first_and_what_pays_nothing_last() -> None:
    entries = [
        entry("house", 0, priority=Priority.house),
        entry("a", 5),
        entry("sold", 1, priority=Priority.guaranteed),
    ]
    filling = fill_slots(entries, (0, 1, 2), Terms(floor=EURO))
    # Each pays by its own tier: neither the auction nor the house raises a price of the other.
    assert told(filling) == [(0, "sold", 1.0), (1, "a", 1.0), (2, "house", 0.0)]


def test_price_is_of_the_own_tier_also_where_one_above_may_not_stand() -> None:
    entries = [
        entry("sold", 9, priority=Priority.guaranteed),
        entry("again", 8, priority=Priority.guaranteed, advertiser="by-sold"),
        entry("a", 5),
        entry("b", 3),
    ]
    filling = fill_slots(entries, (0, 1), Terms())
    assert told(filling) == [(0, "sold", 8.0), (1, "a", 3.0)]
    assert [one.rival and one.rival.item_id for one in filling.filled] == ["again", "b"]


def test_item_of_two_campaigns_stands_once() -> None:
    same = [entry("a", 5), entry("a", 4, campaign_id="other", advertiser="by-other")]
    filling = fill_slots(same, (0, 1), Terms())
    assert told(filling) == [(0, "a", 4.0)]
    assert filling.lost == {Loss.not_apart: 1}


def test_ad_that_is_worth_less_than_the_content_leaves_the_place_to_it() -> None:
    terms = Terms(content_worth=(0.004, 0.001))
    filling = fill_slots([entry("a", 3)], (0, 4), terms)
    # Four tenths of a cent of content are four euros of a thousand impressions.
    assert told(filling) == [(4, "a", 1.0)]
    assert fill_slots([entry("a", 0.5)], (0, 4), terms).lost == {Loss.below_content: 1}


def test_worth_of_the_ad_itself_counts_against_the_content() -> None:
    terms = Terms(content_worth=(0.004,), objective=Objective(revenue=2.0))
    assert told(fill_slots([entry("a", 3, worth=0.002)], (0,), terms)) == [(0, "a", 1.0)]
    assert told(fill_slots([entry("house", 0, priority=Priority.house)], (0,), terms)) == []
    liked = entry("house", 0, priority=Priority.house, worth=0.005)
    assert told(fill_slots([liked], (0,), terms)) == [(0, "house", 0.0)]


def test_guaranteed_does_not_compete_with_content() -> None:
    terms = Terms(content_worth=(1.0,))
    filling = fill_slots([entry("sold", 1, priority=Priority.guaranteed)], (0,), terms)
    assert [one.entry.item_id for one in filling.filled] == ["sold"]


@pytest.mark.parametrize(
    "changes",
    [
        {"advertiser": "by-a"},
        {"values": ("shoes",)},
        {"exclusions": Exclusions(advertisers=("by-a",))},
        {"exclusions": Exclusions(categories=("sport",))},
    ],
)
def test_ads_that_may_not_stand_in_one_answer(changes: dict[str, Any]) -> None:
    first = entry("a", 5, values=("shoes",), categories=frozenset(["sport"]))
    second = entry("b", 3, **{"values": ("hats",), **changes})
    assert told(fill_slots([first, second], (0, 1), Terms())) == [
        (0, "a", 0.0 if len(changes) else 3.0)
    ] or told(fill_slots([first, second], (0, 1), Terms())) == [(0, "a", 3.0)]
    assert fill_slots([first, second], (0, 1), Terms()).lost == {Loss.not_apart: 1}
    assert [one.entry.item_id for one in fill_slots([second], (0, 1), Terms()).filled] == ["b"]


def test_unknown_values_are_not_equal() -> None:
    entries = [entry("a", 5, values=(None,)), entry("b", 3, values=(None,))]
    assert len(fill_slots(entries, (0, 1), Terms()).filled) == 2


def test_content_of_an_excluded_category_keeps_a_campaign_out() -> None:
    careful = entry("a", 5, exclusions=Exclusions(categories=("news",)))
    assert fill_slots([careful], (0,), Terms(categories=frozenset(["news"]))).filled == ()
    assert len(fill_slots([careful], (0,), Terms(categories=frozenset(["sport"]))).filled) == 1


ENTRIES = st.lists(
    st.builds(
        lambda name, euros, of, by, priority, worth: entry(
            name,
            0 if priority is Priority.house else euros,
            campaign_id=of,
            advertiser=by,
            priority=priority,
            worth=worth,
        ),
        name=st.text("abcdef", min_size=1, max_size=3),
        euros=st.integers(1, 900).map(lambda cents: cents / 100),
        of=st.sampled_from("pqrs"),
        by=st.sampled_from("xyz"),
        priority=st.sampled_from(list(Priority)),
        worth=st.sampled_from([0.0, 0.001, 0.004]),
    ),
    max_size=8,
)
TERMS = st.builds(
    Terms,
    floor=st.sampled_from([0, EURO, 3 * EURO]),
    rule=st.sampled_from(list(PriceRule)),
    content_worth=st.sampled_from([(), (0.0, 0.002, 0.005)]),
)


@given(ENTRIES, TERMS)
def test_prices_lie_between_reserve_and_bid_and_no_rule_is_broken(entries: list[Entry], terms: Terms) -> None:
    filling = fill_slots(entries, (0, 3, 7), terms)
    assert len(filling.filled) + filling.lost.total() == len(entries)
    for one in filling.filled:
        assert one.price <= one.entry.value
        if one.entry.offer is not None:
            assert terms.floor <= one.reserve <= one.price
            assert one.charge <= one.entry.offer.bid
        slot = (0, 3, 7).index(one.place)
        if terms.content_worth and one.entry.priority is not Priority.guaranteed:
            assert one.price / 1e9 + one.entry.worth >= terms.content_worth[slot] - 1e-9
    names = [(one.entry.campaign_id, one.entry.advertiser) for one in filling.filled]
    assert len({campaign for campaign, _ in names}) == len({by for _, by in names}) == len(names)


@given(ENTRIES, st.integers(1, 900), st.integers(1, 900))
def test_one_slot_of_the_second_price_is_truthful(others: list[Entry], worth: int, said: int) -> None:
    others = [one for one in others if one.priority is Priority.auction]

    def gain(cents: int) -> int:
        mine = entry("mine", cents / 100)
        filled = fill_slots([*others, mine], (0,), Terms()).filled
        won = [one for one in filled if one.entry is mine]
        return worth * 10_000 - won[0].price if won else 0

    assert gain(worth) >= gain(said)
