"""An event under another name of its user, and still the same event to whoever sends it again."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from marquee.store.log.log_rows import logged_event


def digest_under(name: str, row: Sequence[Any]) -> bytes:
    """Returns the digest of an event under the new name of its user.

    Args:
        name: The new name.
        row: Sequence and columns of the event in the order of `EVENT_COLUMNS`.
    """
    event, digest = logged_event(row).event, bytes(row[-1])
    # Of an event that named its decision alone the digest holds no user: it is as it was sent.
    return replace(event, user_id=name).digest() if event.digest() == digest else digest
