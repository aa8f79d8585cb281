"""Rows of events are judged one by one, and the answer counts every one of them."""

import math
from collections.abc import Collection
from pathlib import Path

import pytest

from marquee.core.reasons import Reason
from marquee.errors import EventLogGoneError
from marquee.store.log.event_log import Event
from marquee.store.log.event_rows import (
    MAX_CLOCK_ERROR,
    MAX_ID_LENGTH,
    MAX_TEXT_LENGTH,
    EventLimits,
    RejectedRow,
    judge_row,
    keep_rows,
)
from marquee.store.log.sqlite import SqliteEventLog
from tests.support.event_stores import DAY, NOW, decision

GOOD = {"event_id": "e", "kind": "click", "item_id": "a", "timestamp": NOW - 5, "user_id": "u"}
LIMITS = EventLimits()


@pytest.mark.parametrize(
    ("change", "reason", "field"),
    [
        ({"userid": "u1"}, Reason.unknown_field, "userid"),
        ({"half \ud800" + "x" * 100: 1, "value": math.nan}, Reason.unknown_field, "half ?" + "x" * 58),
        ({"event_id": 7}, Reason.wrong_type, "event_id"),
        ({"item_id": ["a"]}, Reason.wrong_type, "item_id"),
        ({"user_id": "half \ud800"}, Reason.wrong_type, "user_id"),
        ({"text": "nul \0"}, Reason.wrong_type, "text"),
        ({"timestamp": str(NOW)}, Reason.wrong_type, "timestamp"),
        ({"timestamp": NOW + 0.5}, Reason.wrong_type, "timestamp"),
        ({"timestamp": True}, Reason.wrong_type, "timestamp"),
        ({"value": "4"}, Reason.wrong_type, "value"),
        ({"value": False}, Reason.wrong_type, "value"),
        ({"event_id": ""}, Reason.null_id, "event_id"),
        ({"event_id": None}, Reason.null_id, "event_id"),
        ({"item_id": ""}, Reason.null_id, "item_id"),
        ({"user_id": None}, Reason.null_id, "user_id"),
        ({"user_id": "", "decision_id": "d"}, Reason.null_id, "user_id"),
        ({"timestamp": None}, Reason.null_timestamp, "timestamp"),
        ({"kind": "buy"}, Reason.unknown_kind, "kind"),
        ({"kind": None}, Reason.unknown_kind, "kind"),
        ({"timestamp": NOW * 1000}, Reason.timestamp_out_of_range, "timestamp"),  # milliseconds
        ({"timestamp": 253_402_300_799}, Reason.timestamp_out_of_range, "timestamp"),  # the year 9999
        ({"timestamp": 0}, Reason.timestamp_out_of_range, "timestamp"),
        ({"timestamp": 10**30}, Reason.timestamp_out_of_range, "timestamp"),
        ({"timestamp": NOW + 301}, Reason.timestamp_out_of_range, "timestamp"),
        ({"timestamp": NOW - 7 * DAY - 1}, Reason.timestamp_out_of_range, "timestamp"),
        ({"sent_at": NOW - MAX_CLOCK_ERROR - 1}, Reason.timestamp_out_of_range, "sent_at"),
        ({"value": math.nan}, Reason.non_finite_value, "value"),
        ({"value": 10**400}, Reason.non_finite_value, "value"),
        ({"kind": "rating"}, Reason.impossible_value, "value"),
        ({"kind": "conversion", "value": -1}, Reason.impossible_value, "value"),
        ({"item_id": "x" * (MAX_ID_LENGTH + 1)}, Reason.text_too_long, "item_id"),
        ({"text": "x" * (MAX_TEXT_LENGTH + 1)}, Reason.text_too_long, "text"),
        ({"kind": "exposure"}, Reason.exposure_without_decision, "decision_id"),
        ({"kind": "nothing", "value": math.inf}, Reason.unknown_kind, "kind"),  # the first of the order
    ],
)
def test_bad_row_is_rejected_with_reason_and_field(
    change: dict[str, object], reason: Reason, field: str
) -> None:
    assert judge_row({**GOOD, **change}, NOW, LIMITS) == (reason, field)


@pytest.mark.parametrize("row", [None, 7, "e", ["e"]])
def test_what_is_no_object_is_unreadable(row: object) -> None:
    assert judge_row(row, NOW, LIMITS) == (Reason.unreadable_row, "")


@pytest.mark.parametrize(
    "change",
    [
        {"timestamp": NOW + 300},
        {"timestamp": NOW - 7 * DAY},
        {"timestamp": NOW - 2 * DAY},
        {"user_id": None, "decision_id": "never seen"},
        {"kind": "exposure", "decision_id": "d"},
        {"kind": "conversion", "value": 0},
        {"item_id": "x" * MAX_ID_LENGTH, "text": "☂" * MAX_TEXT_LENGTH},
    ],
)
def test_row_at_the_limit_is_kept(change: dict[str, object]) -> None:
    found = judge_row({**GOOD, **change}, NOW, LIMITS)
    assert isinstance(found, Event)
    assert found.timestamp == {**GOOD, **change}["timestamp"]


@pytest.mark.parametrize("error", [-MAX_CLOCK_ERROR, -3600, 0, 17, MAX_CLOCK_ERROR])
def test_clock_of_a_device_is_set_right_by_the_time_of_sending(error: int) -> None:
    happened, sent = NOW - 600, NOW
    found = judge_row({**GOOD, "timestamp": happened + error, "sent_at": sent + error}, NOW, LIMITS)
    assert isinstance(found, Event)
    assert (found.timestamp, found.sent_timestamp) == (happened, happened + error)


def test_row_of_a_queue_cannot_come_again_when_its_id_may_be_forgotten() -> None:
    row = {**GOOD, "sent_at": NOW + MAX_CLOCK_ERROR}  # the largest error that makes it younger with time
    assert isinstance(judge_row(row, NOW, LIMITS), Event)
    forgotten = NOW + 2 * MAX_CLOCK_ERROR
    assert judge_row(row, forgotten + 1, LIMITS) == (Reason.timestamp_out_of_range, "sent_at")


def test_body_is_accounted_for_row_by_row(tmp_path: Path) -> None:
    log = SqliteEventLog(tmp_path)
    rows = [GOOD, {**GOOD, "event_id": "f"}, {**GOOD, "item_id": "b"}, GOOD, {**GOOD, "kind": "x"}, 5]
    receipt = keep_rows(log, rows, NOW, LIMITS)
    assert (receipt.accepted, receipt.repeated) == (2, 1)
    assert receipt.rejected == (
        RejectedRow(2, Reason.event_id_reused, "event_id"),
        RejectedRow(4, Reason.unknown_kind, "kind"),
        RejectedRow(5, Reason.unreadable_row, ""),
    )
    assert receipt.rejected_by_reason == {
        Reason.event_id_reused: 1,
        Reason.unknown_kind: 1,
        Reason.unreadable_row: 1,
    }
    assert keep_rows(log, rows, NOW + 60, LIMITS).repeated == 3
    log.close()


class Names:
    """Names of three users, and what was asked."""

    def __init__(self) -> None:
        self.asked: list[Collection[str]] = []

    def names_of(self, user_ids: Collection[str]) -> dict[str, str | Reason]:
        self.asked.append(user_ids)
        return {"u": "U", "v": Reason.no_consent, "w": Reason.erased}

    def may_stay(self, names: Collection[str]) -> dict[str, str | Reason]:
        self.asked.append(names)
        return {"U": "U", "V": Reason.no_consent, "W": Reason.erased}


def test_users_are_kept_under_the_names_that_they_get(tmp_path: Path) -> None:
    log, names = SqliteEventLog(tmp_path), Names()
    rows = [{**GOOD, "event_id": f"e{number}", "user_id": user} for number, user in enumerate("uvwu")]
    receipt = keep_rows(log, [*rows, {**GOOD, "user_id": "x", "kind": "like"}], NOW, LIMITS, namer=names)
    assert names.asked == [{"u", "v", "w"}]  # once, and of nobody whose row is bad anyway
    assert [logged.event.user_id for logged in log.read(0, 10)] == ["U", "U"]
    assert [(one.row, one.reason, one.field) for one in receipt.rejected] == [
        (1, Reason.no_consent, "user_id"),
        (2, Reason.erased, "user_id"),
        (4, Reason.unknown_kind, "kind"),
    ]
    log.close()


def test_decision_names_nobody_who_has_withdrawn_since(tmp_path: Path) -> None:
    log, names = SqliteEventLog(tmp_path), Names()
    log.append_decisions([decision(f"d{user}", user_id=user) for user in "UVW"])
    rows = [{**GOOD, "event_id": f"e{user}", "user_id": None, "decision_id": f"d{user}"} for user in "UVWX"]
    receipt = keep_rows(log, rows, NOW, LIMITS, namer=names)
    assert [logged.event.user_id for logged in log.read(0, 10)] == ["U", None]
    assert receipt.orphans == 1
    assert [(one.row, one.reason, one.field) for one in receipt.rejected] == [
        (1, Reason.no_consent, "decision_id"),
        (2, Reason.erased, "decision_id"),
    ]
    log.close()


def test_refused_body_is_not_remembered_as_seen(tmp_path: Path) -> None:
    log = SqliteEventLog(tmp_path / "log")
    (tmp_path / "log").rename(tmp_path / "away")
    with pytest.raises(EventLogGoneError, match="nothing was kept"):
        keep_rows(log, [GOOD], NOW, LIMITS)
    (tmp_path / "away").rename(tmp_path / "log")
    assert keep_rows(log, [GOOD], NOW, LIMITS).accepted == 1
    log.close()


def test_event_that_is_refused_for_its_id_is_no_orphan(tmp_path: Path) -> None:
    log = SqliteEventLog(tmp_path)
    first = {**GOOD, "event_id": "e", "decision_id": "gone"}
    assert keep_rows(log, [first], NOW, LIMITS).orphans == 1
    assert keep_rows(log, [first], NOW, LIMITS).orphans == 1  # repeated: it is in the log
    receipt = keep_rows(log, [{**first, "item_id": "other"}], NOW, LIMITS)
    assert receipt.rejected_by_reason == {Reason.event_id_reused: 1}
    assert receipt.orphans == 0
    log.close()
