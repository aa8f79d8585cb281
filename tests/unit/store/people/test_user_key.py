"""The key of the users: what a handle is, and whose file is taken."""

import hashlib
import hmac
import re
from pathlib import Path

import pytest

from marquee.errors import ConfigError
from marquee.store.people.user_key import UserKey, write_user_key
from serving.make_user_key import main

SECRET = bytes(range(32))


def test_handle_is_the_hmac_of_the_id() -> None:
    expected = hmac.new(SECRET, b"\xc3\xa9", hashlib.sha256).digest()
    assert UserKey(SECRET).handle("é") == expected
    assert UserKey(bytes(32)).handle("é") != expected
    assert len(UserKey(SECRET).handle("\ud800")) == 32


def test_key_comes_back_from_a_file_of_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_user_key(path, SECRET)
    assert path.stat().st_mode & 0o777 == 0o600
    assert UserKey.read(path).handle("a") == UserKey(SECRET).handle("a")
    assert UserKey.read(path).fingerprint == UserKey(SECRET).fingerprint != UserKey(bytes(32)).fingerprint
    with pytest.raises(ConfigError, match="needs a new file"):
        write_user_key(path, bytes(32))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    write_user_key(path, SECRET)
    path.chmod(mode)
    with pytest.raises(ConfigError, match="can be read by others than its owner"):
        UserKey.read(path)


@pytest.mark.parametrize(
    "content", [None, b"", b"no base64 \xff", b"c2hvcnQ="], ids=["none", "empty", "odd", "short"]
)
def test_file_that_holds_no_key_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.touch(0o600)
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"the user key .* serving.make_user_key"):
        UserKey.read(path)


def test_command_makes_a_key_and_prints_nothing_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "users"
    assert main([f"path={path}"]) == 0
    told = capsys.readouterr().out
    assert UserKey.read(path).fingerprint.hex() in told
    assert path.read_text().strip() not in told
    assert main([f"path={path}"]) == 2
    assert main([]) == 2
    assert re.search("needs a new file.*path must be given", capsys.readouterr().err, re.DOTALL)
