"""The price that is said: never above the worth, never below the floor, and never for nothing."""

from random import Random

from marquee.ads.openrtb.choosing import price_for
from marquee.ads.openrtb.terms import Terms


def test_price_lies_between_floor_and_worth_whenever_it_is_said() -> None:
    random = Random(0)
    n_said = 0
    for _ in range(10_000):
        worth, floor = random.randrange(5_000_000), random.randrange(5_000_000)
        terms = Terms(None, floor, is_first_price=random.random() < 0.5)
        price = price_for(worth, terms, random.uniform(0.01, 1.0))
        assert price % 1_000 == 0
        if terms.may_bid(price):
            n_said += 1
            assert max(1, floor) <= price <= worth
        else:
            # Only where the floor is not worth it, but for what rounding to a whole impression costs.
            assert worth < floor + 1_000 or not price
    assert n_said > 4_000


def test_share_is_bid_only_where_ones_own_bid_is_paid() -> None:
    for is_first, price in ((True, 1_000_000), (False, 2_000_000)):
        assert price_for(2_000_000, Terms(None, 0, is_first), 0.5) == price
