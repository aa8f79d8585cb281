from functools import cache

import numpy as np
import pytest
from scipy.stats import binomtest, bootstrap

from marquee.core.arrays import Float64Array
from marquee.evaluation.intervals import Estimate, estimate_means, resample_counts, wilson


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _slow_interval(column: Float64Array, seed: int, n_resamples: int, symmetric: bool = False) -> Estimate:
    """The studentised bootstrap, one resample at a time, with the users that numpy draws."""
    present = column[~np.isnan(column)]
    error = np.sqrt(np.mean((present - present.mean()) ** 2) / len(present))
    pivots = []
    for drawn in _rng(seed).integers(0, len(column), size=(n_resamples, len(column))):
        resample = column[drawn][~np.isnan(column[drawn])]
        own_error = np.sqrt(np.mean((resample - resample.mean()) ** 2) / len(resample))
        pivots.append((resample.mean() - present.mean()) / own_error)
    ordered = sorted(abs(pivot) for pivot in pivots) if symmetric else sorted(pivots)
    low = -ordered[int(np.ceil(0.95 * n_resamples)) - 1] if symmetric else None
    below = low if low is not None else ordered[int(np.ceil(0.025 * n_resamples)) - 1]
    above = -low if low is not None else ordered[int(np.ceil(0.975 * n_resamples)) - 1]
    return Estimate(
        float(present.mean()), float(present.mean() - above * error), float(present.mean() - below * error)
    )


def _same(found: Estimate, expected: Estimate) -> None:
    assert (found.mean, found.low, found.high) == pytest.approx((expected.mean, expected.low, expected.high))


def test_intervals_equal_those_of_a_slow_resampling() -> None:
    values = _rng().random((30, 3))
    values[:4, 1] = np.nan
    values[:, 2] = values[:, 0] - values[:, 2]
    found = estimate_means(values, _rng(5), 210, np.array([False, False, True]))
    for column in range(3):
        _same(found[column], _slow_interval(values[:, column], 5, 210, symmetric=column == 2))


def test_scipy_draws_about_the_same_studentised_interval() -> None:
    values = _rng(1).beta(0.5, 2.0, 150)
    error = values.std() / np.sqrt(len(values))
    (found,) = estimate_means(values[:, None], _rng(2), 4000)
    drawn = bootstrap(
        (values,),
        lambda x, axis: (x.mean(axis=axis) - values.mean()) / (x.std(axis=axis) / np.sqrt(x.shape[axis])),
        n_resamples=4000,
        rng=_rng(3),
    ).bootstrap_distribution
    above, below = np.quantile(drawn, [0.975, 0.025])
    assert found.low == pytest.approx(values.mean() - above * error, abs=0.004)
    assert found.high == pytest.approx(values.mean() - below * error, abs=0.004)


def test_blocks_draw_the_same_users(monkeypatch: pytest.MonkeyPatch) -> None:
    values = _rng().random((50, 3))
    at_once = estimate_means(values, _rng(1), 30)
    monkeypatch.setattr("marquee.evaluation.intervals.RESAMPLES_MEMORY_MB", 0)
    assert len(list(resample_counts(50, _rng(1), 30))) == 30
    for one, other in zip(estimate_means(values, _rng(1), 30), at_once, strict=True):
        _same(one, other)


def test_the_order_of_columns_has_no_influence() -> None:
    values = _rng().random((40, 3))
    found, mirrored = (estimate_means(columns, _rng(1), 100) for columns in (values, values[:, ::-1]))
    for one, other in zip(found, mirrored[::-1], strict=True):
        _same(one, other)


def test_a_share_that_wilson_gives_agrees_with_scipy() -> None:
    for n_found, n_all in ((0, 10), (3, 10), (10, 10), (7, 1000)):
        low, high = wilson(np.array([float(n_found)]), np.array([float(n_all)]))
        expected = binomtest(n_found, n_all).proportion_ci(method="wilson")
        assert (low[0], high[0]) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_values_that_are_all_alike_leave_room_for_what_others_might_have_shown() -> None:
    n = 200
    columns = np.stack([np.zeros(n), np.ones(n), np.full(n, 0.5), np.zeros(n)], axis=1)
    zero, one, half, same = estimate_means(columns, _rng(), 50, np.array([False, False, False, True]))
    bound = binomtest(0, n).proportion_ci(method="wilson").high
    assert [zero.low, zero.high] == pytest.approx([0.0, bound])
    assert [one.low, one.high] == pytest.approx([1 - bound, 1.0])
    assert half == Estimate(0.5, 0.5, 0.5)
    assert same == Estimate(0.0, 0.0, 0.0)


def test_few_hits_do_not_make_an_endless_interval() -> None:
    values = np.zeros((100, 1))
    values[:2] = 0.4
    (found,) = estimate_means(values, _rng())
    assert 0 <= found.low < found.mean < found.high
    assert found.high == pytest.approx(binomtest(2, 100).proportion_ci(method="wilson").high)


def test_a_column_without_values_has_no_interval() -> None:
    values = np.full((5, 2), np.nan)
    values[:, 0] = [0, 1, 0, 1, 1]
    there, missing = estimate_means(values, _rng(), 20)
    assert there.mean == 0.6
    assert np.isnan([missing.mean, missing.low, missing.high]).all()


@cache
def _coverage(n_users: int, hit_probability: float) -> tuple[float, float]:
    """How often 1,000 worlds are covered, and how often percentiles of the mean would have covered them."""
    generator, gains = _rng(11), 1 / np.log2(np.arange(2, 12))
    truth = hit_probability * gains.mean()
    covered = by_percentiles = 0
    for _ in range(20):
        is_hit = generator.random((n_users, 50)) < hit_probability
        worlds = np.where(is_hit, gains[generator.integers(0, 10, (n_users, 50))], 0.0)
        covered += sum(found.low <= truth <= found.high for found in estimate_means(worlds, generator))
        means = np.concatenate([times @ worlds for times in resample_counts(n_users, generator)]) / n_users
        low, high = np.quantile(means, [0.025, 0.975], axis=0)
        by_percentiles += int(((low <= truth) & (truth <= high)).sum())
    return covered / 1000, by_percentiles / 1000


@pytest.mark.slow
@pytest.mark.parametrize(("n_users", "hit_probability"), [(60, 0.3), (200, 0.1), (400, 0.5)])
def test_a_95_percent_interval_covers_the_truth_in_93_to_97_of_100_worlds(
    n_users: int, hit_probability: float
) -> None:
    assert 0.93 <= _coverage(n_users, hit_probability)[0] <= 0.97


@pytest.mark.slow
def test_plain_percentiles_would_cover_less_where_hits_are_rare() -> None:
    covered, by_percentiles = _coverage(200, 0.1)
    assert by_percentiles < covered - 0.01


@pytest.mark.slow
def test_a_difference_of_two_models_that_few_users_tell_apart_is_covered_too() -> None:
    generator, covered = _rng(4), 0
    for _ in range(20):
        worlds = generator.choice([0.0, 0.0, 0.4, 1.0], size=(2, 100, 50))
        moved = (worlds[0] - worlds[1]) * (generator.random((100, 50)) < 0.08)
        found = estimate_means(moved, generator, is_difference=np.ones(50, np.bool_))
        covered += sum(one.low <= 0 <= one.high for one in found)
    assert covered >= 930
