"""API keys: who may ask for what, and how often; a key is never told to anybody."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from marquee.errors import ConfigError
from serving import keys
from serving.http.errors import Refusal
from serving.http.guard import MAX_DEBT_S, Guard, Key, Right
from serving.workers.shared_memory import shared_numbers
from tests.support.keys import key


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def refusal(guard: Guard, authorization: str, right: Right = Right.recommend) -> Refusal:
    with pytest.raises(Refusal) as caught:
        guard.admit(authorization, right)
    return caught.value


def test_good_key_is_let_in_by_its_name() -> None:
    guard = Guard([key("other"), key(), key("third")])
    assert guard.admit("Bearer shop-secret", Right.recommend) == "shop"
    assert guard.admit("bearer shop-secret", Right.recommend) == "shop"


@pytest.mark.parametrize(
    ("authorization", "what"),
    [
        ("", "got none"),
        ("shop-secret", "got none"),
        ("Basic shop-secret", "got none"),
        ("Bearer ", "got an unknown key"),
        ("Bearer wrong", "got an unknown key"),
        ("Bearer shop-secreT", "got an unknown key"),
        ("Bearer \xff", "got an unknown key"),
    ],
)
def test_without_a_good_key_nobody_is_let_in(authorization: str, what: str) -> None:
    refused = refusal(Guard([key()]), authorization)
    assert (refused.status, refused.headers) == (401, ((b"www-authenticate", b"Bearer"),))
    assert what in str(refused)


def test_refusal_repeats_no_key() -> None:
    for authorization in ("Bearer wrong-secret", "Bearer shop-secret"):
        assert "secret" not in str(refusal(Guard([key()]), authorization, Right.admin))


def test_key_is_good_for_its_scopes_only() -> None:
    guard = Guard([key(scopes="recommend,metrics")])
    assert guard.admit("Bearer shop-secret", Right.metrics) == "shop"
    refused = refusal(guard, "Bearer shop-secret", Right.admin)
    assert (refused.status, str(refused)) == (
        403,
        "the key of 'shop' is good for recommend, metrics, this needs admin",
    )


def test_without_keys_everybody_may_ask_and_nobody_may_change() -> None:
    guard = Guard(())
    assert guard.admit("", Right.recommend) == guard.admit("", Right.metrics) == ""
    assert refusal(guard, "", Right.admin).status == 401


def test_rate_is_a_bucket_that_refills() -> None:
    clock = Clock()
    guard = Guard([key(requests_per_s=2, burst=3)], clock)
    for _ in range(3):
        guard.admit("Bearer shop-secret", Right.recommend)
    refused = refusal(guard, "Bearer shop-secret")
    assert (refused.status, refused.headers) == (429, ((b"retry-after", b"1"),))
    clock.now += 0.5  # one token later
    guard.admit("Bearer shop-secret", Right.recommend)
    assert refusal(guard, "Bearer shop-secret").status == 429


def test_long_run_gets_its_rate_and_no_more() -> None:
    clock = Clock()
    guard = Guard([key(requests_per_s=50)], clock)
    n_admitted = 0
    for _ in range(10_000):  # 10 s at 1000 a second
        clock.now += 0.001
        try:
            guard.admit("Bearer shop-secret", Right.recommend)
            n_admitted += 1
        except Refusal:
            pass
    assert 50 + 499 <= n_admitted <= 50 + 501


def test_refused_key_uses_nothing_of_another_s_rate() -> None:
    guard = Guard([key("a", requests_per_s=1), key("b", requests_per_s=1)], Clock())
    guard.admit("Bearer a-secret", Right.recommend)
    assert refusal(guard, "Bearer a-secret").status == 429
    assert guard.admit("Bearer b-secret", Right.recommend) == "b"


def test_workers_share_one_rate(tmp_path: Path) -> None:
    clock = Clock()
    workers = [Guard([key(requests_per_s=1, burst=2)], clock, tmp_path) for _ in range(2)]
    for worker in workers:
        worker.admit("Bearer shop-secret", Right.recommend)
    assert {refusal(worker, "Bearer shop-secret").status for worker in workers} == {429}


def test_clock_that_began_anew_locks_nobody_out_for_longer_than_a_full_bucket() -> None:
    clock = Clock()
    guard = Guard([key(requests_per_s=1, burst=2)], clock)
    guard.admit("Bearer shop-secret", Right.recommend)
    clock.now = 5.0  # a reboot
    refused = refusal(guard, "Bearer shop-secret")
    assert refused.headers == ((b"retry-after", b"1"),)


def write(path: Path, *entries: object) -> str:
    path.write_text(json.dumps({"keys": entries}))
    return str(path)


def test_keys_are_read_from_a_file(tmp_path: Path) -> None:
    entry = json.loads(msgspec.json.encode(key()))
    guard = Guard.read(write(tmp_path / "keys.json", entry))
    assert guard.admit("Bearer shop-secret", Right.recommend) == "shop"


def test_empty_path_means_no_keys() -> None:
    assert Guard.read("").admit("", Right.recommend) == ""


ENTRY = {"name": "a", "sha256": "0" * 64, "scopes": ["recommend"]}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([], r"must be one or more, each of its own name, got \[\]"),
        ([ENTRY, ENTRY], "each of its own name, got"),
        ([{**ENTRY, "key": "secret"}], "unknown field `key`"),
        ([{**ENTRY, "sha256": "ABC"}], "sha256"),
        ([{**ENTRY, "scopes": ["all"]}], "Invalid enum value 'all'"),
        ([{**ENTRY, "requests_per_s": -1}], "requests_per_s"),
    ],
)
def test_wrong_file_of_keys_is_refused(tmp_path: Path, entries: list[object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Guard.read(write(tmp_path / "keys.json", *entries))


def test_missing_file_of_keys_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="MARQUEE_KEYS must name a file of keys"):
        Guard.read(str(tmp_path / "gone"))


def test_new_key_is_shown_once_with_its_entry(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert keys.main(["name=shop", "scopes=recommend,admin", "requests_per_s=5", "burst=7"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    secret, entry = first.rpartition(" ")[2], second.partition(": ")[2]
    assert secret not in entry
    guard = Guard.read(write(tmp_path / "keys.json", json.loads(entry)))
    assert guard.admit(f"Bearer {secret}", Right.admin) == "shop"
    assert json.loads(entry)["burst"] == 7


def test_command_with_wrong_words_says_how_to_use_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert keys.main(["title=shop"]) == 2
    assert keys.USAGE in capsys.readouterr().err


def test_call_of_several_requests_costs_each_of_them() -> None:
    clock = Clock()
    guard = Guard([key(requests_per_s=1, burst=10)], clock)
    name = guard.admit("Bearer shop-secret", Right.recommend)
    guard.charge(name, 5)  # 6 of 10 are used
    with pytest.raises(Refusal) as caught:
        guard.charge(name, 5)
    assert caught.value.status == 429
    guard.charge(name, 4)
    assert refusal(guard, "Bearer shop-secret").status == 429


def test_call_that_no_wait_makes_possible_is_told_so() -> None:
    guard = Guard([key(requests_per_s=1, burst=10), key("free")])
    with pytest.raises(Refusal, match="good for 10 requests at once, got 11 in one call") as caught:
        guard.charge("shop", 10)
    assert caught.value.status == 422
    guard.charge("free", 10_000)
    guard.charge("", 10_000)


def test_wall_clock_that_jumps_changes_no_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    guard = Guard([key(requests_per_s=0.001, burst=2)])
    for wall_clock in (0.0, 4e9):
        monkeypatch.setattr("time.time", lambda now=wall_clock: now)
        guard.admit("Bearer shop-secret", Right.recommend)
    monkeypatch.setattr("time.time", lambda: 8e9)
    assert refusal(guard, "Bearer shop-secret").status == 429


def as_entry(one: Key) -> object:
    """Returns how a key stands in the file."""
    return json.loads(msgspec.json.encode(one))


def test_keys_are_followed_while_the_service_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "keys.json"
    write(path, as_entry(key("a")), as_entry(key("b", requests_per_s=1)))
    guard = Guard.read(str(path), tmp_path)
    assert guard.admit("Bearer a-secret", Right.recommend) == "a"
    write(path, as_entry(key("b")), as_entry(key("c")))
    guard.refresh()
    assert refusal(guard, "Bearer a-secret").status == 401
    assert guard.admit("Bearer c-secret", Right.recommend) == "c"
    guard.charge("a", 3)  # its call was let in before
    path.write_text("no keys")
    guard.refresh()
    guard.refresh()
    assert guard.admit("Bearer b-secret", Right.recommend) == "b"
    assert caplog.text.count("the keys stay as they were") == 1
    path.unlink()
    guard.refresh()
    assert guard.admit("Bearer b-secret", Right.recommend) == "b"


def test_keys_change_at_once_for_whoever_admits_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys.json"
    write(path, as_entry(key("a", requests_per_s=1)))
    guard = Guard.read(str(path), tmp_path)
    admitted: list[str] = []

    def shared_late(*arguments: Any) -> Any:
        # In the middle of the change, as a request of another thread may be.
        admitted.append(guard.admit("Bearer a-secret", Right.recommend))
        assert refusal(guard, "Bearer c-secret").status == 401
        return shared_numbers(*arguments)

    monkeypatch.setattr("serving.http.guard.shared_numbers", shared_late)
    write(path, as_entry(key("b")), as_entry(key("c", requests_per_s=5)))
    guard.refresh()
    assert admitted == ["a"]
    assert guard.admit("Bearer c-secret", Right.recommend) == "c"


def test_work_leaves_a_debt_that_delays_the_next_calls_and_ends() -> None:
    clock = Clock()
    guard = Guard([key(requests_per_s=10, burst=5)], clock)
    guard.admit("Bearer shop-secret", Right.recommend)
    guard.charge_work("shop", 34.0)  # 35 in all: 5 of the bucket and 3 s of debt
    assert refusal(guard, "Bearer shop-secret").status == 429
    clock.now += 2.9
    assert refusal(guard, "Bearer shop-secret").status == 429
    clock.now += 0.3
    assert guard.admit("Bearer shop-secret", Right.recommend) == "shop"


def test_debt_has_a_limit() -> None:
    clock = Clock()
    guard = Guard([key(requests_per_s=1)], clock)
    guard.charge_work("shop", 1e9)
    clock.now += MAX_DEBT_S + 1.1
    assert guard.admit("Bearer shop-secret", Right.recommend) == "shop"


def test_work_of_keys_without_a_rate_is_free() -> None:
    guard = Guard([key()], Clock())
    guard.charge_work("shop", 1e9)
    guard.charge_work("revoked", 1e9)
    assert guard.admit("Bearer shop-secret", Right.recommend) == "shop"
