"""A log with ids becomes one with pseudonyms, in both stores, also where it is killed in between."""

import base64
from pathlib import Path

import polars as pl
import pytest

from marquee.bundle.manifest import KnownUntil
from marquee.errors import ConfigError
from marquee.store.files import watching_steps
from marquee.store.log.closed_days import close_days
from marquee.store.log.event_log import EventLog, Kept
from marquee.store.log.event_rows import EventLimits
from marquee.store.people.user_key import UserKey, validate_key
from serving.convert_users import convert_log, main
from tests.support.event_stores import DAY, NOW, Store, decision, event
from tests.support.people import KEY, UserStore, handle, key_file, pseudonym

USERS = ("ann@example.org", "bob ☂", "cid")
OLD = NOW - 40 * DAY


class KilledError(BaseException):
    """Stands for the end of the process."""


def fill(store: Store, folder: Path) -> EventLog:
    """Gives each user rows in the store and in files; one event has its user from its decision."""
    log = store.open()
    for number, user in enumerate(USERS):
        log.append(
            [
                event(f"old-{number}", user_id=user, timestamp=OLD),
                event(f"new-{number}", user_id=user),
                event(f"by-{number}", user_id=user, decision_id=f"d{number}", named_by_decision=True),
            ]
        )
        log.append_decisions(
            [decision(f"d{number}", user_id=user), decision(f"o{number}", time_ms=OLD * 1000)]
        )
    log.append([event("nobody", user_id=None, decision_id="x")])
    close_days(log, folder, NOW, (), EventLimits())
    return log


def names_in(log: EventLog, folder: Path) -> set[str | None]:
    found = {one.event.user_id for one in log.read(0, 1000)}
    found |= {one.decision.user_id for one in log.read_decisions(0, 1000)}
    return found | {name for path in folder.rglob("*.parquet") for name in pl.read_parquet(path)["user_id"]}


def test_every_id_becomes_the_pseudonym_of_its_user(store: Store, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    log = fill(store, closed)
    before = [one.sequence for one in log.read(0, 1000)]
    store.close()
    done = convert_log(store.where, KEY, str(closed))
    assert (done.users, done.rows, done.files, done.is_wiped) == (4, 9, 2, True)
    users, log = UserStore(store.where).open(), store.open()
    pseudonyms = {user: users.find(handle(user)).pseudonym for user in (*USERS, "u1")}
    assert len(set(pseudonyms.values()) - {None}) == 4
    assert names_in(log, closed) == {None, *pseudonyms.values()}
    assert [one.sequence for one in log.read(0, 1000)] == before
    assert users.key_fingerprint() == KEY.fingerprint
    assert users.n_users() == 4
    # A retry is still one, under the pseudonym; and a profile is found.
    ann = pseudonyms[USERS[0]]
    assert log.append([event("new-0", user_id=ann)]) == [Kept.repeated]
    again = event("by-0", user_id=ann, decision_id="d0", named_by_decision=True)
    assert log.append([again]) == [Kept.repeated]
    assert ann is not None
    assert len(log.read_profile(ann, KnownUntil().sequence, 0, 10)) == 2
    fresh = log.freshness(ann)
    assert fresh is None or fresh.last_sequence > 0
    users.close()


def test_conversion_killed_at_every_step_goes_on(store: Store, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    fill(store, closed)
    store.close()
    n_steps = 0
    while True:
        left = n_steps

        def kill(_step: str) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise KilledError

        try:
            with watching_steps(kill):
                convert_log(store.where, KEY, str(closed))
        except KilledError:
            n_steps += 1
            with pytest.raises(ConfigError, match="under way with another key"):
                convert_log(store.where, UserKey(bytes(32)), str(closed))
        else:
            break
    assert n_steps >= 4
    users, log = UserStore(store.where).open(), store.open()
    assert names_in(log, closed) == {None, *(users.find(handle(user)).pseudonym for user in (*USERS, "u1"))}
    users.close()


def test_no_byte_of_an_id_is_left_in_the_folder(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "log"))
    fill(store, tmp_path / "log" / "closed")
    store.close()
    convert_log(store.where, KEY, "")
    held = b"".join(path.read_bytes() for path in (tmp_path / "log").rglob("*") if path.is_file())
    forms = {form for user in USERS[:2] for form in (user.encode(), base64.b64encode(user.encode()))}
    assert not [form for form in forms if form in held]


def test_log_of_another_key_is_refused(store: Store, tmp_path: Path) -> None:
    store.open().close()
    users = UserStore(store.where)
    validate_key(users.open(), UserKey(bytes(32)))
    users.open().name({handle("a"): pseudonym(1)})
    users.close()
    with pytest.raises(ConfigError, match="must be the one that the store was made with"):
        convert_log(store.where, KEY, str(tmp_path))


def test_command_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = key_file(tmp_path)
    assert main([]) == 2
    assert main([f"events={tmp_path / 'none'}", f"key={key}"]) == 1
    assert main(["events=postgresql://nobody@127.0.0.1:1/none", f"key={key}"]) == 1
    told = capsys.readouterr().err
    for words in ("events and key must be given", "which is none", "closed must name the folder"):
        assert words in told
    Store(str(tmp_path / "log")).open().close()
    assert main([f"events={tmp_path / 'log'}", f"key={key}"]) == 0
    assert "0 users, 0 rows and 0 files are converted" in capsys.readouterr().out
