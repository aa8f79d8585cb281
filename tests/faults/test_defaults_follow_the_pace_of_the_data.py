"""No constant in days decides over data of any pace, and a run says how much of the data counts."""

from pathlib import Path

import numpy as np
import pytest

from marquee.core.histories import Interactions
from marquee.evaluation.baselines import RecentPopularity
from tests.support.mini_shop import MiniShop
from training.config import ExamplesConfig
from training.fitting.ageing import TargetAccount, by_age, half_life_days, n_effective

DAY = 86_400


@pytest.mark.parametrize("span_days", [0.01, 1, 60, 365, 2_920, 20_000])
@pytest.mark.parametrize("n_events", [50, 3_000, 16_000])
def test_enough_events_count_whatever_time_they_took(span_days: float, n_events: int) -> None:
    timestamp = np.linspace(0, span_days * DAY, n_events).astype(np.int64)
    days = half_life_days(timestamp, ExamplesConfig())
    counting = n_effective(by_age(timestamp, days))
    assert counting >= 0.95 * min(0.5 * n_events, max(0.1 * n_events, 5_000))


def test_an_event_of_long_ago_decides_nothing() -> None:
    recent = np.linspace(1_700_000_000, 1_700_000_000 + 60 * DAY, 9_999)
    timestamp = np.concatenate([[0], recent]).astype(np.int64)
    assert half_life_days(timestamp, ExamplesConfig()) == 15.0


@pytest.mark.parametrize("span_days", [1 / 12, 1, 7, 29])
def test_data_of_hours_age_within_hours(span_days: float) -> None:
    timestamp = np.linspace(0, span_days * DAY, 9_999).astype(np.int64)
    days = half_life_days(timestamp, ExamplesConfig())
    assert days == pytest.approx(span_days / 2, rel=0.01)
    oldest, *_, newest = by_age(timestamp, days)
    assert (oldest, newest) == pytest.approx((0.25, 1.0), rel=0.02)


def test_events_of_one_moment_never_age() -> None:
    assert half_life_days(np.full(100, 1_700_000_000), ExamplesConfig()) == 0.0


@pytest.mark.parametrize(("span_days", "expected"), [(1 / 12, 1 / 24), (60, 7.0), (365, 7.0), (2_920, 29.2)])
def test_what_is_popular_now_follows_the_pace_too(span_days: float, expected: float) -> None:
    user = np.arange(1, 10_000)
    train = Interactions.group(
        user,
        np.arange(1, 10_000),
        np.ones(9_999, dtype=np.int64),
        np.linspace(0, span_days * DAY, 9_999).astype(np.int64),
        np.ones(9_999, dtype=np.float32),
        n_users=9_999,
    )
    scores = RecentPopularity.fit(train, 9_999).item_scores  # an item per event: its score is its weight
    oldest = 2 ** (-span_days / expected)
    assert scores[1] == pytest.approx(oldest, rel=0.05)
    assert RecentPopularity.fit(train, 9_999, 7.0).item_scores[1] == pytest.approx(
        2 ** (-span_days / 7.0), rel=0.01
    )


def test_what_is_asked_for_is_done() -> None:
    timestamp = np.linspace(0, 2_920 * DAY, 1_000).astype(np.int64)
    assert half_life_days(timestamp, ExamplesConfig(half_life_days=15.0)) == 15.0
    assert half_life_days(timestamp, ExamplesConfig(half_life_days=0.0)) == 0.0


def test_account_cautions_where_little_is_left() -> None:
    assert TargetAccount(10_000, 8_000.0, 15.0).line == (
        "targets weigh as much as 8,000 of 10,000 events (half-life 15 days)"
    )
    assert "caution: few events decide" in TargetAccount(10_000, 200.0, 15.0).line


def test_run_says_how_much_counts(
    shop: MiniShop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shop.train(monkeypatch, "examples.half_life_days=0.1") == 0
    said = capsys.readouterr().err
    assert "of 480 events (half-life 0.1 days)" in said
    assert "caution: few events decide what is learned" in said


def test_targets_that_all_weigh_nothing_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = MiniShop.open(tmp_path, kinds="{view: {weight: 0}}")
    assert shop.train(monkeypatch) == 2
    said = capsys.readouterr().err
    assert "each of the 480 training events weighs 0" in said
    assert "config data.kinds" in said
