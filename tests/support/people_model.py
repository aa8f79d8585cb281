"""Random events, decisions, consents, erasures, rules, retries and restarts against a model in memory.

Two workers share a store; whichever is asked, it must say what the model says. Asked of both stores.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from marquee.core.reasons import Reason
from marquee.errors import RulesChangedError
from marquee.store.log.event_log import EventLog
from marquee.store.log.event_rows import EventLimits, keep_rows
from marquee.store.log.log_rows import decision_row
from marquee.store.people.consent import Tier
from marquee.store.people.erasing.eraser import SETTLE_S
from marquee.store.rules.opening import open_rule_store
from marquee.store.rules.rule import Rule, Target
from marquee.store.rules.rule_store import RuleStore
from serving.recording.users import KeyedUsers
from tests.support.erasures import Service
from tests.support.event_stores import NOW, Store, decision
from tests.support.people import KEY

USERS = ("ann", "bob", "cid")
LIMITS = EventLimits()
who, worker = st.sampled_from(USERS), st.integers(0, 1)


@dataclass
class Person:
    """One user as the model knows them; `events` and `decisions` are those that the log must hold."""

    tier: Tier | None = None
    is_erased: bool = False
    names: list[str] = field(default_factory=list)
    events: set[str] = field(default_factory=set)
    decisions: set[str] = field(default_factory=set)

    @property
    def is_known(self) -> bool:
        return not self.is_erased and self.tier in (None, Tier.personal)


class Worker:
    """The stores as one process has them."""

    def __init__(self, store: Store) -> None:
        self.log: EventLog = store.open()
        self.users = KeyedUsers(store.where, KEY)
        self.rules: RuleStore = open_rule_store(store.where)

    def close(self) -> None:
        self.log.close()
        self.users.close()
        self.rules.close()


class Model(RuleBasedStateMachine):
    """The invariants of people, whichever worker did what."""

    def __init__(self, make: Callable[[], Store], folder: Path) -> None:
        super().__init__()
        self.store = make()
        self.eraser = Service(self.store, folder).eraser()
        self.workers = [Worker(self.store), Worker(self.store)]
        self.people = {name: Person() for name in USERS}
        self.of_nobody: set[str] = set()
        self.rule_ids: tuple[str, ...] = ()
        self.version = 0
        self.n_made = 0
        self.now = NOW

    @rule(sent=st.lists(st.tuples(st.integers(0, 11), who), min_size=1, max_size=4), at=worker)
    def send(self, sent: list[tuple[int, str]], at: int) -> None:
        """The number of an event says whose it is, so that one that comes again says the same."""
        rows: list[object] = []
        expected: dict[str, int] = {"accepted": 0, "repeated": 0, Reason.erased: 0, Reason.no_consent: 0}
        for number, name in sent:
            event_id, person = f"{name}-{number}", self.people[name]
            row = {"event_id": event_id, "kind": "click", "item_id": "a", "timestamp": NOW, "user_id": name}
            rows.append(row)
            if not person.is_known:
                expected[Reason.erased if person.is_erased else Reason.no_consent] += 1
                continue
            expected["repeated" if event_id in person.events else "accepted"] += 1
            person.events.add(event_id)
        one = self.workers[at]
        receipt = keep_rows(one.log, rows, NOW, LIMITS, namer=one.users)
        told: dict[str, int] = {str(reason): n for reason, n in receipt.rejected_by_reason.items()}
        told |= {"accepted": receipt.accepted, "repeated": receipt.repeated}
        assert told == {what: n for what, n in expected.items() if n or what in ("accepted", "repeated")}

    @rule(name=who, at=worker)
    def answer(self, name: str, at: int) -> None:
        self.n_made += 1
        decision_id, one, person = f"d{self.n_made}", self.workers[at], self.people[name]
        user = one.users.at_hand(name) or one.users.look_up(name)
        assert (user.name is not None) == person.is_known
        made = decision(decision_id, user_id=user.name, tier=user.tier.value)
        (named,) = one.users.named([decision_row(made)])
        # Written twice, as after an outage.
        for _ in range(2):
            one.log.append_decision_rows([named])
        (person.decisions if person.is_known else self.of_nobody).add(decision_id)

    @rule(name=who, tier=st.sampled_from(list(Tier)), at=worker)
    def say(self, name: str, tier: Tier, at: int) -> None:
        self.now += 1
        self.workers[at].users.set_tier(name, tier, self.now)
        self.people[name].tier, self.people[name].is_erased = tier, False

    @rule(name=who, is_repeated=st.booleans())
    def erase(self, name: str, is_repeated: bool) -> None:
        self.now += 1
        for _ in range(1 + is_repeated):
            self.eraser.begin(KEY.handle(name), name, self.now)
        person = self.people[name]
        self.people[name] = Person(is_erased=True, names=person.names)

    @rule()
    def run_pass(self) -> None:
        self.now += SETTLE_S + 1
        assert self.eraser.run(self.now) is not None
        assert self.eraser.places.users.forgotten() == []

    @rule(name=st.sampled_from(["x", "y", "z"]), is_late=st.booleans(), at=worker)
    def put_rules(self, name: str, is_late: bool, at: int) -> None:
        store = self.workers[at].rules
        wanted = (*(one for one in self.rule_ids if one != name), name)[-2:]
        rules = [Rule(rule_id=one, block=Target(items=(one,))) for one in wanted]
        if is_late:
            with pytest.raises(RulesChangedError):
                store.replace(rules, self.version + 1, "k", self.now)
            return
        self.version = store.replace(rules, self.version, "k", self.now * 1000).version
        self.rule_ids = wanted

    @rule(at=worker)
    def restart(self, at: int) -> None:
        self.workers[at].close()
        self.workers[at] = Worker(self.store)

    @invariant()
    def every_worker_says_what_the_model_says(self) -> None:
        for one in self.workers:
            held = one.rules.current()
            assert (held.version, tuple(rule.rule_id for rule in held.rules)) == (self.version, self.rule_ids)
            for name, person in self.people.items():
                user = one.users.at_hand(name) or one.users.look_up(name)
                expected = Tier.none if person.is_erased else person.tier or Tier.personal
                assert (user.tier, user.name is None) == (expected, not person.is_known)

    @invariant()
    def the_log_holds_what_the_model_holds(self) -> None:
        log, users = self.workers[0].log, self.workers[1].users
        current: dict[str, str] = {}
        for name, person in self.people.items():
            held, _ = users.person(name)
            if held.pseudonym is None:
                assert not person.events | person.decisions
                continue
            # Once erased, never the same pseudonym again.
            if held.pseudonym not in person.names:
                person.names.append(held.pseudonym)
            assert held.pseudonym == person.names[-1]
            current[held.pseudonym] = name
        found: dict[str | None, set[str]] = {}
        for event in log.read(0, 1000):
            found.setdefault(event.event.user_id, set()).add(event.event.event_id)
        for made in log.read_decisions(0, 1000):
            found.setdefault(made.decision.user_id, set()).add(made.decision.decision_id)
        assert found.pop(None, set()) == self.of_nobody
        expected = {
            pseudonym: self.people[name].events | self.people[name].decisions
            for pseudonym, name in current.items()
        }
        assert found == {name: rows for name, rows in expected.items() if rows}

    def teardown(self) -> None:
        for one in self.workers:
            one.close()
        self.eraser.places.users.close()
        self.eraser.places.receipts.close()
        assert self.eraser.places.ledger is not None
        self.eraser.places.ledger.close()
        self.store.close()


def run(make: Callable[[], Store], folder: Path, n: int) -> None:
    """Runs so many random interleavings."""
    run_state_machine_as_test(
        lambda: Model(make, Path(tempfile.mkdtemp(dir=folder))),  # type: ignore[arg-type]  # it calls it, no more
        settings=settings(
            max_examples=n,
            stateful_step_count=20,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
