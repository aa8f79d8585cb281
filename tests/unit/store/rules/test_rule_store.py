"""The contract of the store of rules, asked of both stores: versions, races, audit, and what workers see."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import psycopg
import pytest

from marquee.core.filters import Filters
from marquee.errors import EventLogGoneError, RulesChangedError
from marquee.store.rules.opening import open_rule_store
from marquee.store.rules.rule import NO_RULES, Boost, Pin, Rule, RuleSet, Target
from marquee.store.rules.rule_store import RuleStore
from marquee.store.rules.sqlite import RULES_FILE, SqliteRuleStore
from tests.support.event_stores import NOW, Postgres, Store

EVERY_FIELD = (
    Rule(
        rule_id="spring",
        author="anna",
        note="the fair",
        from_time=NOW,
        until=NOW + 60,
        surfaces=("home", "cart"),
        pins=(Pin("a", 1), Pin("b", 3)),
    ),
    Rule(rule_id="recall", author="ben", block=Target(items=("c", "d"))),
    Rule(
        rule_id="own brand",
        boost=Boost(
            weight=-0.25,
            target=Target(filters=Filters.of({"brand": {"any_of": ["x"]}, "price": {"min": 1, "max": 2.5}})),
        ),
    ),
)
Open = Callable[[], RuleStore]


@pytest.fixture
def workers(store: Store) -> Iterator[Open]:
    opened: list[RuleStore] = []

    def open_one() -> RuleStore:
        opened.append(open_rule_store(store.where))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def block(rule_id: str, *items: str) -> Rule:
    return Rule(rule_id=rule_id, block=Target(items=items))


def test_set_put_by_one_worker_is_the_set_of_the_other_at_once(workers: Open) -> None:
    one, other = workers(), workers()
    assert other.current() == one.current()
    assert other.current().version == 0
    put = one.replace(EVERY_FIELD, 0, "ops", 5)
    seen = other.current()
    assert (seen.version, seen.rules, seen.time_ms, seen.changed_by) == (1, EVERY_FIELD, 5, "ops")
    assert put.rules == EVERY_FIELD
    assert other.current() is seen  # not read again until it changes


class UnreadError(Exception):
    """Somebody asked the store."""


def test_nothing_is_read_while_nothing_was_put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = SqliteRuleStore(tmp_path), SqliteRuleStore(tmp_path)
    one.replace([block("r", "a")], 0, "ops", 1)
    known = other.current()

    def ask() -> int:
        raise UnreadError

    monkeypatch.setattr(other, "_newest", ask)
    assert other.current() is known
    with pytest.raises(UnreadError):
        other.read()
    # A set that lost its race has changed nothing.
    with pytest.raises(RulesChangedError):
        one.replace([], 0, "ops", 2)
    assert other.current() is known
    one.replace([], 1, "ops", 2)
    with pytest.raises(UnreadError):
        other.current()
    one.close()
    other.close()


def test_set_of_a_writer_that_was_killed_before_it_told_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(_connection: object) -> None:
        raise Killed

    killed, other = SqliteRuleStore(tmp_path), SqliteRuleStore(tmp_path)
    assert other.current().version == 0
    monkeypatch.setattr(killed, "_end", die)
    with pytest.raises(Killed):
        killed.replace([block("r", "a")], 0, "ops", 1)
    assert other.current().version == 1
    assert other._mark() is None  # so each answer reads, until somebody can say that it is over
    later = SqliteRuleStore(tmp_path)
    assert other._mark() is not None
    assert other.current().version == later.current().version == 1
    for store in (killed, other, later):
        store.close()


def test_lost_race_changes_nothing_and_tells_the_version(workers: Open) -> None:
    one, other = workers(), workers()
    one.replace([block("r", "a")], 0, "ops", 1)
    with pytest.raises(RulesChangedError, match="version 1, got a set that replaces 0") as lost:
        other.replace([block("r", "b")], 0, "ops", 2)
    assert lost.value.version == 1
    assert other.current().rules == (block("r", "a"),)
    assert len(other.history(9, 9)) == 1


def test_audit_tells_every_change_and_every_set(workers: Open) -> None:
    store = workers()
    store.replace([block("a", "x"), block("b", "x")], 0, "anna", 1)
    store.replace([block("a", "y"), block("c", "x")], 1, "ben", 2)
    store.replace([], 2, "anna", 3)
    changes = store.history(3, 10)
    assert [(one.rule_set.version, one.rule_set.changed_by) for one in changes] == [
        (3, "anna"),
        (2, "ben"),
        (1, "anna"),
    ]
    assert [one.changes for one in changes] == [
        {"removed": ["a", "c"]},
        {"added": ["c"], "edited": ["a"], "removed": ["b"]},
        {"added": ["a", "b"]},
    ]
    assert [one.rule_set.version for one in store.history(2, 1)] == [2]
    found = store.find(1)
    assert found is not None
    assert found.rules == (block("a", "x"), block("b", "x"))
    assert store.find(4) is None


@pytest.mark.parametrize("change", ["UPDATE {} SET changed_by = 'nobody'", "DELETE FROM {}"])
def test_audit_cannot_be_edited_beside_the_service(store: Store, workers: Open, change: str) -> None:
    workers().replace([], 0, "anna", 1)
    if store.where.startswith("postgresql"):
        with (
            psycopg.connect(store.where) as connection,
            pytest.raises(psycopg.errors.RaiseException, match="only grows"),
        ):
            connection.execute(change.format("marquee.rule_sets"))
    else:
        file = apsw.Connection(str(Path(store.where) / RULES_FILE))
        with pytest.raises(apsw.ConstraintError, match="only grows"):
            file.execute(change.format("rule_sets"))
        file.close()
    assert workers().history(1, 1)[0].rule_set.changed_by == "anna"


def test_store_that_is_gone_is_told_and_tried_again(postgres: Postgres) -> None:
    store = open_rule_store(postgres.empty())
    store.replace([block("a", "x")], 0, "anna", 1)
    postgres.stop()
    with pytest.raises(EventLogGoneError):
        store.current()
    postgres.start()
    assert store.current().version == 1
    store.close()


def test_random_puts_keep_what_a_model_in_memory_keeps(workers: Open) -> None:
    draw = random.Random(3)
    stores = [workers(), workers()]
    sets: list[tuple[Rule, ...]] = [()]  # by version
    for step in range(60):
        worker, expected = draw.randrange(2), draw.randrange(max(0, len(sets) - 2), len(sets))
        rules = tuple(block(name, "x") for name in "abcd" if draw.random() < 0.5)
        if step % 20 == 19:  # a restart
            stores[worker].close()
            stores[worker] = workers()
        if expected == len(sets) - 1:
            stores[worker].replace(rules, expected, "ops", step)
            sets.append(rules)
        else:
            with pytest.raises(RulesChangedError):
                stores[worker].replace(rules, expected, "ops", step)
        for store in stores:
            now = store.current()
            assert (now.version, now.rules) == (len(sets) - 1, sets[-1])
    told = [one.rule_set.rules for one in stores[0].history(len(sets), 100)]
    assert told == sets[:0:-1]


def test_rules_hold_on_their_surfaces_from_until() -> None:
    spring = Rule(rule_id="s", from_time=10, until=20, surfaces=("home",), block=Target(items=("a",)))
    always = block("always", "b")
    rules = RuleSet(7, (spring, always))
    assert [rule.rule_id for rule in rules.at("home", 10).rules] == ["s", "always"]
    assert rules.at("home", 19) is rules.at("home", 10)
    assert rules.at("home", 10).version == 7
    for surface, timestamp in [("home", 9), ("home", 20), ("cart", 15)]:
        assert [rule.rule_id for rule in rules.at(surface, timestamp).rules] == ["always"]
    assert RuleSet(8, (spring,)).at("cart", 15) is NO_RULES
    assert (rules.next_end(19), rules.next_end(20)) == (20, None)
