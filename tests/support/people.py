"""Users for tests: a key, handles, and both stores."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from marquee.store.people.opening import open_users
from marquee.store.people.user_key import UserKey, write_user_key
from marquee.store.people.users import Users

KEY = UserKey(bytes(range(32)))
SECRET = "secret"
AUTHORIZATION = {"authorization": f"Bearer {SECRET}"}


def handle(user_id: str) -> bytes:
    """Returns the handle of a user under the key of the tests."""
    return KEY.handle(user_id)


def pseudonym(number: int) -> str:
    """Returns a pseudonym that tells tests apart."""
    return f"{number:032x}"


def key_file(folder: Path) -> Path:
    """Returns a file with the key of the tests."""
    path = folder / "user.key"
    if not path.exists():
        write_user_key(path, bytes(range(32)))
    return path


def service_settings(folder: Path) -> dict[str, str]:
    """Returns the settings of a service that keeps users, and lets the bearer of `SECRET` do everything."""
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    rights = ["recommend", "events", "metrics", "admin", "users", "rules"]
    keys = folder / "keys.json"
    keys.write_text(json.dumps({"keys": [{"name": "test", "sha256": digest, "scopes": rights}]}))
    return {
        "MARQUEE_EVENTS": str(folder / "log"),
        "MARQUEE_USER_KEY": str(key_file(folder)),
        "MARQUEE_KEYS": str(keys),
    }


@dataclass
class UserStore:
    """One empty store of users that may be opened several times, as several workers do.

    Attributes:
        where: What `open_users` takes.
    """

    where: str
    _opened: list[Users] = field(default_factory=list)

    def open(self) -> Users:
        """Returns the users as a new worker sees them; closed when the test ends."""
        users = open_users(self.where)
        self._opened.append(users)
        return users

    def close(self) -> None:
        """Closes whatever was opened."""
        while self._opened:
            self._opened.pop().close()
