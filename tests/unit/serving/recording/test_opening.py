"""A store is opened once: answers do not wait for that, and who erases does."""

import threading

import pytest

from marquee.errors import ConfigError, EventLogGoneError
from serving.recording.opening import Opened
from serving.recording.settings import RecordingSettings


class Closable:
    def close(self) -> None:
        pass


def test_only_who_has_patience_waits_for_another_thread() -> None:
    has_begun, may_end = threading.Event(), threading.Event()

    def open_store(_where: str) -> Closable:
        has_begun.set()
        assert may_end.wait(20)
        return Closable()

    opened = Opened("here", open_store)
    found: list[Closable] = []
    threads = [threading.Thread(target=lambda: found.append(opened.get(20.0))) for _ in range(2)]
    threads[0].start()
    assert has_begun.wait(20)
    threads[1].start()
    with pytest.raises(EventLogGoneError, match="is not open yet"):
        opened.get()
    may_end.set()
    for thread in threads:
        thread.join(20)
    assert found == [opened.get()] * 2


def test_events_stay_as_long_as_they_may_be_sent_again() -> None:
    RecordingSettings(event_horizon_days=1, keep_events_days=3).validate()
    with pytest.raises(ConfigError, match=r"must be 0 or at least 3, .*got 2; raise it"):
        RecordingSettings(event_horizon_days=1, keep_events_days=2).validate()
