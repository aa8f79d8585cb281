"""The key that makes handles of user ids, in a file that nobody but its owner can read.

Whoever has the key and the store can tell whether an id is in it; without the key a handle says nothing. The
store notes a fingerprint of the key: with another one every user would be a stranger.
"""

import base64
import binascii
import hmac
import os
from pathlib import Path

from marquee.errors import ConfigError
from marquee.store.people.users import Users

KEY_BYTES = 32
_HASH = "sha256"
# Over this text no user id is ever hashed: it is longer than an id may be.
_FINGERPRINT_OF = b"fingerprint of a Marquee user key".ljust(1024)
_FINGERPRINT_BYTES = 16


class UserKey:
    """A key.

    Attributes:
        fingerprint: Tells two keys apart and says nothing of either, 16 bytes.

    Args:
        secret: 32 bytes.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self.fingerprint = hmac.digest(secret, _FINGERPRINT_OF, _HASH)[:_FINGERPRINT_BYTES]

    @classmethod
    def read(cls, path: Path | str) -> "UserKey":
        """Returns the key in a file.

        Raises:
            ConfigError: If there is none, or others than its owner can read it.
        """
        try:
            # Before its content: what others could read is no secret, whatever it holds.
            if Path(path).stat().st_mode & 0o077:
                raise ConfigError(
                    f"the user key {path} can be read by others than its owner; make another, for whoever "
                    "had this one can name the users, or chmod 600 it"
                )
            secret = base64.b64decode(Path(path).read_bytes().strip(), validate=True)
        except (OSError, binascii.Error) as error:
            raise ConfigError(
                f"the user key must be a file that serving.make_user_key wrote, got {path}: {error}; name "
                "that file, or make one with `python -m serving.make_user_key`"
            ) from error
        if len(secret) != KEY_BYTES:
            raise ConfigError(
                f"the user key in {path} must hold {KEY_BYTES} bytes, got {len(secret)}; make one with "
                "`python -m serving.make_user_key`"
            )
        return cls(secret)

    def handle(self, user_id: str) -> bytes:
        """Returns the handle of a user, 32 bytes: HMAC-SHA-256 of the id."""
        # A half of a surrogate pair is an id as good as any: it must not end a batch.
        return hmac.digest(self._secret, user_id.encode("utf-8", "surrogatepass"), _HASH)


def write_user_key(path: Path, secret: bytes) -> None:
    """Writes a key to a new file that its owner alone can read.

    Args:
        path: Of the file; its folder must be there.
        secret: 32 random bytes.

    Raises:
        ConfigError: If the file is there: a key that was lost makes strangers of all users.
    """
    try:
        # With its mode from the beginning: a chmod afterwards leaves a moment in which others can read.
        with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(base64.b64encode(secret) + b"\n")
    except OSError as error:
        raise ConfigError(f"the user key needs a new file, got {path}: {error}; name another") from error


def validate_key(users: Users, key: UserKey) -> None:
    """Notes the key of a new store.

    Raises:
        ConfigError: If the store was made with another key.
        EventLogError: If the store cannot be used.
    """
    if users.note_key(key.fingerprint) != key.fingerprint:
        raise ConfigError(
            f"the user key must be the one that the store was made with, got one of fingerprint "
            f"{key.fingerprint.hex()}; name the file of that key in MARQUEE_USER_KEY: with another one every "
            "user is a stranger, and consent and erasures are lost"
        )
