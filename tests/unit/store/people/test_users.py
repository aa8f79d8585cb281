"""The contract of the users, asked of both stores."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from marquee.errors import ConfigError
from marquee.store.people.consent import Tier
from marquee.store.people.user_key import UserKey, validate_key
from marquee.store.people.users import STRANGER, Consent, Forgotten, Person
from tests.support.people import KEY, UserStore, handle, pseudonym

NOW = 1_700_000_000
A, B, C = handle("a"), handle("b"), handle("c")


def test_stranger_gets_a_pseudonym_once_for_all_workers(users: UserStore) -> None:
    first, second = users.open(), users.open()
    assert first.find(A) == STRANGER
    assert first.name({A: pseudonym(1)}) == {A: Person(pseudonym(1))}
    named = second.name({A: pseudonym(2), B: pseudonym(3)})
    assert named == {A: Person(pseudonym(1)), B: Person(pseudonym(3))}
    assert second.find_many([A, B, C]) == {**named, C: STRANGER}
    assert second.find_named([pseudonym(3), pseudonym(2)]) == {pseudonym(3): named[B]}
    assert second.find_named([]) == {}
    assert users.open().find(A) == Person(pseudonym(1))
    assert first.n_users() == 2


def test_what_was_said_holds_on_the_other_worker_at_once(users: UserStore) -> None:
    first, second = users.open(), users.open()
    first.name({A: pseudonym(1)})
    assert first.set_tier(A, Tier.none, NOW) == Person(pseudonym(1), Tier.none, NOW)
    assert second.find(A) == Person(pseudonym(1), Tier.none, NOW)
    assert second.set_tier(A, Tier.personal, NOW + 5) == first.find(A)
    assert first.find(A) == Person(pseudonym(1), Tier.personal, NOW + 5)


def test_consent_keeps_its_history_and_repetition_changes_nothing(users: UserStore) -> None:
    opened = users.open()
    for time, tier in enumerate([Tier.none, Tier.none, Tier.segment, Tier.none], start=NOW):
        opened.set_tier(A, tier, time)
    opened.set_tier(B, Tier.personal, NOW)
    said = [Consent(NOW, Tier.none), Consent(NOW + 2, Tier.segment), Consent(NOW + 3, Tier.none)]
    assert users.open().consents(A) == said
    assert opened.find(A).changed == NOW + 3
    assert opened.consents(C) == []


@pytest.mark.parametrize("tier", [Tier.segment, Tier.none])
def test_who_is_below_personal_gets_no_pseudonym(users: UserStore, tier: Tier) -> None:
    opened = users.open()
    opened.set_tier(A, tier, NOW)
    assert opened.name({A: pseudonym(1)}) == {A: Person(None, tier, NOW)}
    opened.set_tier(A, Tier.personal, NOW + 1)
    assert opened.name({A: pseudonym(1)})[A].pseudonym == pseudonym(1)


def test_erased_user_keeps_a_tombstone_and_nothing_else(users: UserStore) -> None:
    opened = users.open()
    opened.name({A: pseudonym(1), B: pseudonym(2)})
    held = opened.set_tier(A, Tier.personal, NOW)
    assert opened.forget(A, NOW + 9) == held
    assert opened.find(A) == Person(erased=NOW + 9)
    assert opened.find(A).is_erased
    assert opened.consents(A) == []
    assert opened.name({A: pseudonym(3)}) == {A: Person(erased=NOW + 9)}
    assert users.open().forgotten() == [Forgotten(A, pseudonym(1), NOW + 9)]
    assert opened.find(B) == Person(pseudonym(2))


def test_erasure_of_who_is_erased_or_unknown_adds_nothing(users: UserStore) -> None:
    opened = users.open()
    opened.name({A: pseudonym(1)})
    opened.forget(A, NOW)
    assert opened.forget(A, NOW + 50) == Person(erased=NOW)
    assert opened.forget(C, NOW) == STRANGER
    assert opened.find(A) == opened.find(C) == Person(erased=NOW)
    assert [one.pseudonym for one in opened.forgotten()] == [pseudonym(1)]


def test_new_consent_after_an_erasure_gives_another_pseudonym(users: UserStore) -> None:
    opened = users.open()
    opened.name({A: pseudonym(1)})
    opened.forget(A, NOW)
    assert opened.set_tier(A, Tier.personal, NOW + 1) == Person(None, Tier.personal, NOW + 1, NOW)
    again = opened.name({A: pseudonym(2)})[A]
    assert again == Person(pseudonym(2), Tier.personal, NOW + 1, NOW)
    assert not again.is_erased
    opened.forget(A, NOW + 2)
    assert [one.pseudonym for one in opened.forgotten()] == [pseudonym(1), pseudonym(2)]
    opened.end_forgotten([pseudonym(1)])
    assert opened.forgotten() == [Forgotten(A, pseudonym(2), NOW + 2)]


@pytest.mark.parametrize("later", [0, -90], ids=["same-second", "clock-set-back"])
def test_each_erasure_of_a_person_has_a_second_of_its_own(users: UserStore, later: int) -> None:
    opened = users.open()
    opened.name({A: pseudonym(1)})
    opened.forget(A, NOW)
    opened.set_tier(A, Tier.personal, NOW + later)
    opened.name({A: pseudonym(2)})
    opened.forget(A, NOW + later)
    assert opened.forgotten() == [Forgotten(A, pseudonym(1), NOW), Forgotten(A, pseudonym(2), NOW + 1)]
    assert opened.find(A) == Person(erased=NOW + 1)


def test_old_tombstones_go_and_nobody_else(users: UserStore) -> None:
    opened = users.open()
    for time, one in enumerate([A, B, C], start=NOW):
        opened.forget(one, time)
    opened.set_tier(B, Tier.none, NOW + 9)
    assert opened.drop_tombstones(NOW + 2) == 1
    assert opened.find_many([A, B, C]) == {
        A: STRANGER,
        B: Person(None, Tier.none, NOW + 9, NOW + 1),
        C: Person(erased=NOW + 2),
    }


def test_many_threads_and_workers_agree_on_each_pseudonym(users: UserStore) -> None:
    workers = [users.open(), users.open()]

    def name(number: int) -> tuple[bytes, str | None]:
        one = handle(f"u{number % 40}")
        return one, workers[number % 2].name({one: pseudonym(number)})[one].pseudonym

    with ThreadPoolExecutor(8) as pool:
        named = set(pool.map(name, range(160)))
    assert len(named) == 40
    assert {one: person.pseudonym for one, person in workers[0].find_many(dict(named)).items()} == dict(named)


def test_store_takes_the_key_that_it_was_made_with_and_no_other(users: UserStore) -> None:
    opened = users.open()
    assert opened.key_fingerprint() is None
    validate_key(opened, KEY)
    validate_key(users.open(), KEY)
    with pytest.raises(ConfigError, match="must be the one that the store was made with"):
        validate_key(users.open(), UserKey(bytes(32)))
    assert opened.key_fingerprint() == KEY.fingerprint
