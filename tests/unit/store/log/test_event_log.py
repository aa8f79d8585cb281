"""The contract of the event log, asked of both stores."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace

import msgspec
import pytest

from marquee.errors import EventLogError
from marquee.store.log.event_log import ClosedPart, Decision, Event, EventLog, Kept, Place
from marquee.store.log.log_rows import decision_row, logged_decision
from tests.support.event_stores import DAY, NOW, Store, decision, event

A, R, U = Kept.accepted, Kept.repeated, Kept.event_id_reused


def ids(log: EventLog, after: int = 0) -> list[str]:
    return [logged.event.event_id for logged in log.read(after, 1000)]


def test_event_comes_back_as_it_was_kept(store: Store) -> None:
    whole = event("e1", kind="rating", value=4.5, text="fine ☂", decision_id="d1", sent_timestamp=NOW - 7)
    least = event("e2", user_id=None, decision_id="d2", value=None)
    log = store.open()
    assert log.append([whole, least]) == [A, A]
    assert [logged.event for logged in store.open().read(0, 10)] == [whole, least]


def test_no_field_of_an_event_or_decision_is_lost(store: Store) -> None:
    log = store.open()
    kept = event("e", value=1.0, text="t", decision_id="d")
    log.append([kept])
    log.append_decisions([decision("d")])
    found, defaults = log.read(0, 1)[0].event, Decision(decision_id="", time_ms=0)
    assert all(getattr(kept, f.name) not in (None, "") for f in fields(Event))
    assert found == kept
    assert all(getattr(decision("d"), f.name) != getattr(defaults, f.name) for f in fields(Decision))
    assert log.read_decisions(0, 10)[0].decision == decision("d")


def test_history_that_was_asked_as_well_is_kept_once_and_comes_back(store: Store) -> None:
    log = store.open()
    ids = ("somewhat long id 1", "somewhat long id 2")
    asked = {"timestamp": NOW, "k": 2, "history": ids}
    same = decision("d1", history=ids, asked=asked)
    others = [decision("d2", history=ids[1:], asked=asked), decision("d3", history=(), asked=asked)]
    log.append_decisions([same, *others])
    found = [one.decision for one in log.read_decisions(0, 10)]
    assert [one.history for one in found] == [ids, ids[1:], ()]
    assert [one.asked["history"] for one in found] == [list(ids)] * 3
    assert decision_row(same).body.count(ids[0]) == 1
    assert decision_row(others[0]).body.count(ids[1]) == 1


def test_history_that_an_earlier_version_kept_once_is_read() -> None:
    body = '{"history_as_asked":true,"asked":{"history":["x","y"]},"items":["a"],"scores":[1.0]}'
    found = logged_decision((1, "d", NOW, None, body)).decision
    assert found.history == ("x", "y")
    assert found.places == (Place("a", 1.0, 1.0),), "what nobody drew was certain"


def test_decision_that_an_earlier_version_wrote_is_read() -> None:
    wanted = decision("d", history=("x",))
    body = {
        name: getattr(wanted, name)
        for name in (field.name for field in fields(Decision))
        if name not in ("decision_id", "time_ms", "user_id", "places")
    }
    columns = {"items": ["a", "b"], "scores": [1.5, 0.5], "propensities": [0.25, 1.0]}
    text = msgspec.json.encode(body | columns).decode()
    assert logged_decision((7, "d", NOW * 1000, "u1", text)).decision == wanted


def test_group_of_any_size_keeps_its_order(store: Store) -> None:
    log = store.open()
    made = [decision(f"d{number}", time_ms=NOW * 1000 + number) for number in range(150)]
    log.append_decisions(made)
    log.append_decisions([*made[140:], decision("last")])  # some of them again
    assert [one.decision for one in log.read_decisions(0, 1000)] == [*made, decision("last")]


def test_decisions_that_sold_are_told_from_the_others_and_up_to_where_it_was_looked(store: Store) -> None:
    log = store.open()
    assert log.read_sold(0, 10) == (0, [])
    told = {"features": {"note": '"sales":[["a"]]'}}  # a text that only looks like a sale
    plain = [decision("d1", sales=()), decision("d3", sales=(), asked=told)]
    log.append_decisions([plain[0], decision("d2"), plain[1], decision("d4")])
    assert decision("d2").sales, "or else this test shows nothing"
    last, sold = log.read_sold(0, 3)
    assert (last, [one.decision for one in sold]) == (log.read_decisions(0, 3)[-1].sequence, [decision("d2")])
    assert [one.decision.decision_id for one in log.read_sold(last, 3)[1]] == ["d4"]
    rest = log.read_decisions(last, 9)[-1].sequence
    assert log.read_sold(rest, 3) == (rest, [])


def test_decisions_of_a_span_of_time_are_counted_by_surface(store: Store) -> None:
    log = store.open()
    at = NOW * 1000
    log.append_decisions(
        [
            decision("d1", time_ms=at, surface="home"),
            decision("d2", time_ms=at + 1, surface="home"),
            decision("d3", time_ms=at + 2, surface=None),
            decision("d4", time_ms=at + 3, surface='a "surface" in quotes'),
            decision("d5", time_ms=at + 4, surface="home"),
        ]
    )
    assert log.count_by_surface(at, at + 4) == {"home": 2, "": 1, 'a "surface" in quotes': 1}
    assert log.count_by_surface(at + 5, at + 9) == {}


def test_last_decisions_come_in_their_order(store: Store) -> None:
    log = store.open()
    plain = decision("d3", rules_version=0, rules=(), rules_not_applied=())
    log.append_decisions([decision("d1"), decision("d2"), plain])
    assert [one.decision for one in log.read_last_decisions(2)] == [decision("d2"), plain]
    assert len(log.read_last_decisions(9)) == 3


def test_same_event_is_kept_once_for_ever(store: Store) -> None:
    log = store.open()
    assert log.append([event("e1")]) == [A]
    later = event("e1", received=NOW + 99, timestamp=NOW + 1, sent_timestamp=NOW)  # mended otherwise
    assert log.append([later]) == [R]
    assert store.open().append([event("e1"), event("e2")]) == [R, A]
    assert ids(log) == ["e1", "e2"]


@pytest.mark.parametrize(
    "change",
    [
        {"item_id": "b"},
        {"kind": "view"},
        {"value": 0.0},
        {"text": ""},
        {"user_id": "u2"},
        {"decision_id": "d"},
        {"timestamp": NOW - 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_id_with_other_content_is_refused_and_the_first_stays(
    store: Store, change: dict[str, object]
) -> None:
    log = store.open()
    log.append([event("e1")])
    assert log.append([event("e1", **change)]) == [U]
    assert log.read(0, 10)[0].event == event("e1")


def test_same_id_within_one_batch(store: Store) -> None:
    batch = [event("e1"), event("e1"), event("e1", item_id="z"), event("e2")]
    log = store.open()
    assert log.append(batch) == [A, R, U, A]
    assert log.append(batch) == [R, R, U, R]
    assert ids(log) == ["e1", "e2"]


def test_read_gives_what_comes_after_in_order(store: Store) -> None:
    log = store.open()
    assert log.last_sequence() == 0
    log.append([event(f"e{i}", timestamp=NOW - i) for i in range(5)])  # a clock that runs back
    log.append([event("e2"), event("e5", timestamp=NOW - 4)])  # equal times
    sequences = [logged.sequence for logged in log.read(0, 100)]
    assert sequences == sorted(set(sequences))
    assert ids(log) == ["e0", "e1", "e2", "e3", "e4", "e5"]
    assert ids(log, after=sequences[3]) == ["e4", "e5"]
    assert [logged.event.event_id for logged in log.read(sequences[0], 2)] == ["e1", "e2"]
    assert log.last_sequence() == sequences[-1]


def test_profile_is_the_last_of_a_user_since_a_sequence(store: Store) -> None:
    log = store.open()
    log.append([event(f"e{i}", user_id=f"u{i % 2}", item_id=f"i{i}") for i in range(10)])
    log.append([event("nobody", user_id=None, decision_id="d")])
    seventh = log.read(0, 8)[-1].sequence
    assert [one.item_id for one in log.read_profile("u1", 0, 0, 3)] == ["i5", "i7", "i9"]
    assert [one.item_id for one in log.read_profile("u1", seventh, 0, 3)] == ["i9"]
    assert log.read_profile("u7", 0, 0, 3) == []


def test_what_a_history_needs_is_read_oldest_first_without_exposures(store: Store) -> None:
    log = store.open()
    log.append(
        [
            event("e1", timestamp=NOW - 5, item_id="late"),
            event("e2", timestamp=NOW - 9, item_id="offline", kind="rating", value=4.0),
            event("e3", timestamp=NOW - 5, item_id="same second"),
            event("e4", kind="exposure", decision_id="d", item_id="shown"),
            event("e5", user_id="u2"),
            event("e6", item_id="last"),
        ]
    )
    sequence = {logged.event.event_id: logged.sequence for logged in log.read(0, 10)}
    found = log.read_profile("u1", 0, 0, 10)
    assert [one.item_id for one in found] == ["offline", "late", "same second", "last"]
    assert found[0] == ("offline", "rating", 4.0)
    after = [one.item_id for one in log.read_profile("u1", sequence["e2"], 0, 10)]
    assert after == ["same second", "last"]
    assert [one.item_id for one in log.read_profile("u1", 0, NOW - 9, 10)] == ["late", "same second", "last"]
    assert [one.item_id for one in log.read_profile("u1", 0, 0, 2)] == ["same second", "last"]
    assert log.read_profile("u9", 0, 0, 10) == []


def test_decision_is_kept_once_and_found_by_its_id(store: Store) -> None:
    log = store.open()
    log.append_decisions([decision("d1"), decision("d2", user_id=None, surface=None, places=())])
    log.append_decisions([decision("d1", release="other")])
    log.append_decisions([])
    assert [logged.decision.decision_id for logged in store.open().read_decisions(0, 10)] == ["d1", "d2"]
    assert log.find_decision("d1") == decision("d1")
    assert log.find_decision("d9") is None


def test_days_are_counted_by_kind(store: Store) -> None:
    log = store.open()
    log.append([event("e1"), event("e2", timestamp=NOW - DAY), event("e3", kind="view"), event("e4")])
    log.append_decisions([decision("d1"), decision("d2", time_ms=(NOW - DAY) * 1000)])
    today = NOW // DAY
    counted = [(rows.day - today, rows.kind, rows.n_rows) for rows in log.open_days()]
    assert counted == [
        (-1, "click", 1),
        (-1, "decision", 1),
        (0, "click", 2),
        (0, "decision", 1),
        (0, "view", 1),
    ]
    of_day = {(rows.day - today, rows.kind): rows for rows in log.open_days()}
    clicks = of_day[0, "click"]
    assert [logged.event.event_id for logged in log.read_day(clicks, 0, 10)] == ["e1", "e4"]
    first = log.read_day(clicks, 0, 1)[0].sequence
    assert [logged.event.event_id for logged in log.read_day(clicks, first, 10)] == ["e4"]
    old = log.read_decisions_of_day(of_day[-1, "decision"], 0, 10)
    assert [logged.decision.decision_id for logged in old] == ["d2"]


def test_closed_day_leaves_the_store_and_its_sequences_stay_given(store: Store) -> None:
    log = store.open()
    log.append([event("e1", timestamp=NOW - DAY), event("e2"), event("e3", timestamp=NOW - DAY)])
    log.append_decisions([decision("d1")])
    rows = log.open_days()[0]
    part = ClosedPart(rows.day, rows.kind, "kind=click/1.parquet", 2, rows.last_sequence)
    with pytest.raises(EventLogError, match=r"must hold all rows of its day, got 1 of 2"):
        log.note_closed(replace(part, n_rows=1))
    assert ids(log) == ["e1", "e2", "e3"]
    log.note_closed(part)
    last = log.last_sequence()
    assert ids(log) == ["e2"]
    assert log.closed_parts() == [part]
    decisions = next(rows for rows in log.open_days() if rows.kind == "decision")
    log.note_closed(ClosedPart(decisions.day, "decision", "d.parquet", 1, decisions.last_sequence))
    assert log.read_decisions(0, 10) == []
    again = store.open()
    assert again.last_sequence() == last == rows.last_sequence
    again.append([event("e4")])
    assert again.read(0, 10)[-1].sequence > last


def test_only_one_closes_days_at_a_time(store: Store) -> None:
    first, second = store.open(), store.open()
    with first.only_closer() as is_first, second.only_closer() as is_second:
        assert (is_first, is_second) == (True, False)
    with second.only_closer() as is_second:
        assert is_second


def test_callers_of_many_threads_and_workers_lose_and_double_nothing(store: Store) -> None:
    logs = [store.open(), store.open()]
    with ThreadPoolExecutor(16) as pool:
        batches = [[event(f"e{i * 3 + j}") for j in range(4)] for i in range(120)]  # neighbours share an id
        outcomes = list(pool.map(lambda i: logs[i % 2].append(batches[i]), range(120)))
    kept = [became for batch in outcomes for became in batch]
    assert kept.count(A) == 361
    assert kept.count(R) == 119
    assert sorted(ids(logs[0])) == sorted({f"e{i}" for i in range(361)})


def test_follower_never_passes_over_a_row_that_commits_late(store: Store) -> None:
    logs, followed, done = [store.open(), store.open()], list[str](), threading.Event()

    def follow() -> None:
        log, after, is_last = store.open(), 0, False
        while not is_last:
            is_last = done.is_set()
            found = log.read(after, 50)
            followed.extend(logged.event.event_id for logged in found)
            after = found[-1].sequence if found else after
            is_last = is_last and not found

    follower = threading.Thread(target=follow)
    follower.start()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: logs[i % 2].append([event(f"e{i}-{j}") for j in range(3)]), range(150)))
    done.set()
    follower.join()
    assert len(followed) == 450
    assert followed == ids(logs[0])


def test_nothing_is_kept_of_an_empty_batch(store: Store) -> None:
    assert store.open().append([]) == []


def test_freshness_tells_of_an_event_that_another_worker_kept(store: Store) -> None:
    log, other = store.open(), store.open()
    before = log.freshness("u1")
    other.append([event("e1"), event("e2", user_id="u2")])
    after = log.freshness("u1")
    if before is None or after is None:  # only a read can tell: always so, not now and then
        assert before is after
        return
    assert (before.last_sequence, after.last_sequence) == (0, 1)
    assert before.mark != after.mark
    other.append([event("e1")])  # repeated: nothing new
    assert log.freshness("u1") == after
    unknown = log.freshness("never seen")
    assert unknown is not None
    assert unknown.last_sequence == 0


def test_users_of_decisions_are_told_for_those_that_are_there(store: Store) -> None:
    log = store.open()
    log.append_decisions([decision("d1"), decision("d2", user_id=None), decision("d3", user_id="u3")])
    assert log.users_of(["d1", "d2", "never made"]) == {"d1": "u1", "d2": None}
    assert log.users_of([f"d{number}" for number in range(40_000)]) == {"d1": "u1", "d2": None, "d3": "u3"}


def test_event_that_is_its_decisions_users_is_the_same_whenever_that_is_known(store: Store) -> None:
    log = store.open()
    alone = event("e1", user_id=None, decision_id="d1")
    joined = replace(alone, user_id="u1", named_by_decision=True)
    assert log.append([joined, alone, event("e1", decision_id="d1")]) == [A, R, U]
    assert [one.item_id for one in log.read_profile("u1", 0, 0, 10)] == ["a"]
