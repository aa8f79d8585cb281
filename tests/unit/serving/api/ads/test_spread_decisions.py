"""A forecast rests on the whole of the last day, not on its last minutes."""

from dataclasses import replace
from pathlib import Path

import pytest

from marquee.store.log.event_log import EventLog
from marquee.store.log.opening import open_event_log
from serving.api.campaigns.sampling import N_PAGES, read_spread
from tests.support.event_stores import DAY, NOW, decision

HOUR_MS = 3_600_000
N_DAYS, PER_HOUR = 3, 20


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> EventLog:
    """Three days with as many decisions every hour, and as many again in the last minute."""
    folder: Path = tmp_path_factory.mktemp("spread")
    opened, since = open_event_log(str(folder)), (NOW - N_DAYS * DAY) * 1000
    n = 24 * N_DAYS * PER_HOUR
    times = [since + number * HOUR_MS // PER_HOUR for number in range(n)]
    times += [NOW * 1000 - 60_000 + number for number in range(24 * PER_HOUR)]
    made = [replace(decision(f"d{number}"), time_ms=time_ms) for number, time_ms in enumerate(times)]
    opened.append_decisions(made)
    return opened


def test_spread_stands_for_a_day_as_it_was(log: EventLog) -> None:
    since_ms = (NOW - DAY) * 1000
    found = read_spread(log, 100, since_ms)
    times = [one.time_ms for one in found.decisions]
    assert times == sorted(times)
    assert min(times) >= since_ms
    assert found.n_all == 2 * 24 * PER_HOUR
    assert len(times) == 2 * N_PAGES
    # Half of the day's decisions are of its last minute: the latest hundred would all be.
    early = [time_ms for time_ms in times if time_ms < NOW * 1000 - 60_000]
    assert len(early) == N_PAGES
    assert len({(time_ms - since_ms) // HOUR_MS for time_ms in early}) == 24
    assert {one.decision.time_ms for one in log.read_last_decisions(100)} != set(times)


def test_latest_are_taken_where_a_day_has_no_more(log: EventLog) -> None:
    latest = [one.decision for one in log.read_last_decisions(2_000)]
    assert read_spread(log, 2_000, (NOW - 9 * DAY) * 1000) == (latest, len(latest))
    assert read_spread(log, 10, (NOW + DAY) * 1000).decisions == latest[-10:]
