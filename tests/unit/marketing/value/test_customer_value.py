"""The value of customers: from raw transactions, with fallbacks in words, and bad rows counted."""

import numpy as np
import pytest

from marquee.errors import ConfigError, DataError
from marquee.marketing.value.config import ValueConfig
from marquee.marketing.value.customer_value import CustomerValues, customer_values
from marquee.marketing.value.forecasts import fit_models, model_forecast
from marquee.marketing.value.histories import (
    SECONDS_PER_DAY,
    Transactions,
    later_purchases,
    summarise_purchases,
    usable_transactions,
)
from marquee.marketing.value.judging import top_share

AS_OF = 546 * SECONDS_PER_DAY


def simulated(n: int = 1500, seed: int = 0, stops: float = 0.25, by_frequency: bool = False) -> Transactions:
    """Customers of a world where BG/NBD holds; amounts grow with the rate under `by_frequency`."""
    generator = np.random.default_rng(seed)
    rates = generator.gamma(1.2, 1 / 50, n)  # per day
    chances = generator.beta(0.8, 0.8 * (1 - stops) / stops, n) if stops else np.zeros(n)
    means = 40 * (0.1 + rates / rates.mean()) if by_frequency else generator.gamma(5.0, 8.0, n)
    customer, day = [], []
    for row in range(n):
        now = generator.uniform(0, 90)
        while now < 545:
            customer.append(row)
            day.append(int(now))
            if len(day) > 1 and customer[-2] == row and generator.random() < chances[row]:
                break
            now += generator.exponential(1 / rates[row])
    rows = np.array(customer)
    amount = generator.gamma(4.0, 1 / 4, len(rows)) * means[rows]
    return Transactions(rows, np.array(day) * SECONDS_PER_DAY, amount)


def valued(transactions: Transactions, **settings: float) -> CustomerValues:
    config = ValueConfig(**{"holdout_days": 182, **settings})  # type: ignore[arg-type]
    return customer_values(transactions, AS_OF, config, np.random.default_rng(0))


@pytest.fixture(scope="module")
def shop() -> Transactions:
    return simulated()


def test_models_hold_where_their_world_is_true_and_beat_both_baselines_on_totals(shop: Transactions) -> None:
    found = valued(shop)
    assert (found.basis, found.reasons) == ("model", ())
    assert found.judged is not None
    own, rate, past = found.judged.forecasts
    assert abs(own.purchases_miss) < 0.1
    assert abs(own.purchases_miss) < min(abs(rate.purchases_miss), abs(past.purchases_miss))
    assert own.top_share <= found.judged.best_share
    inside = [tenth.came.low <= tenth.expected <= tenth.came.high for tenth in found.judged.tenths]
    assert sum(inside) >= 7
    assert np.isfinite(found.value).all()


def test_discount_is_the_sum_over_time_and_margin_a_share(shop: Transactions) -> None:
    histories = summarise_purchases(shop.where(shop.customer < 200), AS_OF)
    models = fit_models(histories)
    found = model_forecast(models, histories, 750, discount=0.2).money
    assert found is not None
    assert models.spend is not None
    assert histories.repeat_value is not None
    # The oracle adds up pieces of 30 days.
    days = range(0, 751, 30)
    at = [models.chosen.expected_purchases(histories.purchases, day / 7) for day in days]
    per_purchase = models.spend.expected_spend(histories.purchases.n_repeats, histories.repeat_value)
    steps = zip(days, np.diff(at, axis=0), strict=False)
    slow = sum(step * 0.8 ** ((day + 15) / 365.25) for day, step in steps) * per_purchase
    assert found == pytest.approx(slow, rel=5e-4)
    assert valued(shop, margin=0.3).value == pytest.approx(0.3 * valued(shop).value)


def test_customers_who_never_stop_are_named_and_valued_by_past_spend() -> None:
    transactions = simulated(600, seed=2, stops=0.0)
    found = valued(transactions)
    assert found.basis == "past spend"
    assert any("finds nobody who stops for good" in reason for reason in found.reasons)
    spend = np.bincount(transactions.customer, transactions.amount)
    assert np.corrcoef(found.value, spend[found.customer])[0, 1] == pytest.approx(1.0)


def test_amounts_that_go_with_frequency_are_named() -> None:
    found = valued(simulated(800, seed=3, stops=0.05, by_frequency=True))
    assert found.basis == "past spend"
    assert any("spend more per purchase (correlation 0." in reason for reason in found.reasons)


def test_missed_holdout_is_named_with_what_was_expected(shop: Transactions) -> None:
    late = shop.timestamp > (546 - 182) * SECONDS_PER_DAY
    # Half of what came later never came.
    kept = shop.where(~late | (np.arange(len(late)) % 2 == 0))
    found = valued(kept)
    assert found.basis == "past spend"
    assert any(reason.startswith("the holdout of 182 days was missed") for reason in found.reasons)


def test_amounts_without_a_finite_mean_are_named() -> None:
    transactions = simulated(500, seed=4)
    generator = np.random.default_rng(1)
    tail = generator.pareto(0.6, 500)[transactions.customer]
    found = valued(Transactions(transactions.customer, transactions.timestamp, 1 + tail))
    assert found.basis == "past spend"
    assert any("no finite mean" in reason or "ran off" in reason for reason in found.reasons)
    assert np.isfinite(found.value).all()


def test_seventy_percent_one_time_buyers_are_valued_and_said(shop: Transactions) -> None:
    n = int(shop.customer.max()) + 1
    once = np.arange(n, n + 4000)
    days = np.random.default_rng(0).integers(0, 90, len(once)) * SECONDS_PER_DAY
    assert shop.amount is not None
    more = Transactions(
        np.r_[shop.customer, once], np.r_[shop.timestamp, days], np.r_[shop.amount, np.full(len(once), 30.0)]
    )
    found = valued(more)
    assert any("of customers bought once" in caution for caution in found.cautions)
    assert np.isfinite(found.value).all()
    assert (found.value[-4000:] > 0).all()


def test_without_amounts_value_is_purchases(shop: Transactions) -> None:
    found = valued(Transactions(shop.customer, shop.timestamp))
    assert found.basis == "model"
    assert found.value == pytest.approx(found.purchases)


def test_rows_that_are_no_purchase_are_counted_with_the_first_of_them() -> None:
    days = np.array([1, 2, 3, 900, 4]) * SECONDS_PER_DAY
    amount = np.array([5.0, -2.0, np.nan, 7.0, 0.0])
    kept, rejected = usable_transactions(Transactions(np.zeros(5, np.int64), days, amount), AS_OF)
    assert len(kept.customer) == 2
    assert [(one.count, one.first_row, one.first_value) for one in rejected] == [
        (1, 3, "1972-06-19"),
        (1, 2, "nan"),
        (1, 1, "-2"),
    ]
    assert rejected[0].reason.startswith("later than as_of")
    assert summarise_purchases(kept, AS_OF).n_free == 1


def test_several_purchases_on_a_day_are_one() -> None:
    times = np.array([10, 20, SECONDS_PER_DAY + 5, SECONDS_PER_DAY + 9])
    found = summarise_purchases(
        Transactions(np.zeros(4, np.int64), times, np.array([1.0, 2.0, 3.0, 4.0])), AS_OF
    )
    assert found.purchases.n_repeats.tolist() == [1.0]
    assert found.n_merged == 2
    assert found.repeat_value is not None
    assert found.repeat_value.tolist() == [7.0]


def test_later_purchases_are_those_of_known_customers_after_the_moment() -> None:
    transactions = Transactions(
        np.array([0, 2, 2, 2, 5]),
        np.array([1, 5, 6, 9, 7]) * SECONDS_PER_DAY,
        np.array([1.0, 2.0, 4.0, 8.0, 16.0]),
    )
    counts, spend = later_purchases(transactions, np.array([0, 2]), 5 * SECONDS_PER_DAY, 8 * SECONDS_PER_DAY)
    assert counts.tolist() == [0.0, 1.0]
    assert spend is not None
    assert spend.tolist() == [0.0, 4.0]


@pytest.mark.parametrize("rows", [[], [-1.0, -2.0]])
def test_tables_without_a_purchase_are_refused(rows: list[float]) -> None:
    n = len(rows)
    with pytest.raises(DataError, match=f"none of {n} transactions is a purchase"):
        valued(Transactions(np.arange(n), np.full(n, SECONDS_PER_DAY), np.array(rows)))


def test_thirty_rows_are_valued_by_past_spend() -> None:
    generator = np.random.default_rng(0)
    few = Transactions(
        generator.integers(0, 10, 30),
        generator.integers(0, 500, 30) * SECONDS_PER_DAY,
        generator.gamma(2, 10, 30),
    )
    found = valued(few)
    assert found.basis == "past spend"
    assert np.isfinite(found.value).all()


def test_best_tenth_of_the_truth_is_the_largest_share() -> None:
    came = np.arange(100.0)
    assert top_share(came, came) == pytest.approx(sum(range(90, 100)) / sum(range(100)))
    assert top_share(-came, came) == pytest.approx(sum(range(10)) / sum(range(100)))


@pytest.mark.parametrize(
    "settings", [{"horizon_days": 0}, {"discount": 1.0}, {"margin": 0.0}, {"holdout_days": 0}]
)
def test_settings_outside_of_their_bounds_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        ValueConfig(**settings)  # type: ignore[arg-type]
