"""Pseudonyms of customers: a run and the service that serves it make them alike."""

import hashlib
import hmac
import os

from marquee.errors import ConfigError

MIN_KEY_LENGTH = 16


def pseudonym(user_id: str, key: bytes) -> str:
    """Returns an id that only the holder of the key can make of the plain one."""
    return hmac.new(key, user_id.encode(), hashlib.sha256).hexdigest()[:32]


def pseudonym_key(variable: str) -> bytes:
    """Returns the key that ids are hashed with, an empty one where none is asked for.

    Args:
        variable: Of the environment; empty for plain ids.

    Raises:
        ConfigError: If the variable is not set, or too short.
    """
    if not variable:
        return b""
    key = os.environ.get(variable, "")
    if len(key) < MIN_KEY_LENGTH:
        raise ConfigError(
            f"pseudonyms needs a key of {MIN_KEY_LENGTH} characters or more in the environment variable "
            f"{variable}, got {len(key)}; set it, and keep it: without it ids cannot be matched again"
        )
    return key.encode()
