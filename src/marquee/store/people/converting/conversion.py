"""The conversion: every id in the store and in the files of closed days becomes a pseudonym.

```
store     page by page, each in one transaction: name the users, then exchange their ids
files     one by one: written anew aside, renamed over the old one
key       noted last: until then the service starts neither with a key nor sees a finished log
```

Killed anywhere, it goes on where it was: what is a pseudonym already stays. No service may use the log
meanwhile.
"""

import io
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import polars as pl

from marquee.errors import ConfigError
from marquee.store.files import announce_step, sync_folder, write_file
from marquee.store.log.closed_days import ROWS_PER_GROUP
from marquee.store.log.event_log import EventLog
from marquee.store.people.user_key import UserKey, validate_key
from marquee.store.people.users import PSEUDONYM_BYTES, Users

PAGE_USERS = 1000
# Longer than any id: no user is ever called so.
_BEGUN = "conversion of a log under way".ljust(1024)


class NamedRows(Protocol):
    """The rows of a log by the names of their users."""

    def names(self, after: str, limit: int) -> list[str]:
        """Returns the first names of users above one, ascending, each once."""

    def rename(self, names: Mapping[str, str]) -> int:
        """Exchanges names of users in all of their rows, and returns how many rows these were."""

    def close(self) -> None:
        """Gives up all connections."""


@dataclass(slots=True)
class Converted:
    """The counts of a conversion.

    Attributes:
        users: Users who got a pseudonym in place of their id.
        rows: Rows in the store.
        files: Files of closed days.
        is_wiped: Whether no byte of what was there before is left in the files of the store.
    """

    users: int = 0
    rows: int = 0
    files: int = 0
    is_wiped: bool = False


def convert(
    log: EventLog, rows: NamedRows, users: Users, key: UserKey, folder: Path, random: Callable[[int], bytes]
) -> Converted:
    """Converts a log and returns the counts of what was left to be converted.

    Args:
        log: The log.
        rows: Its rows by the names of their users.
        users: The users beside it.
        key: Makes their handles.
        folder: Of the closed days.
        random: Returns so many random bytes.

    Raises:
        ConfigError: If the log was converted, or is being converted, with another key.
        EventLogError: If a store refuses.
        OSError: If a file cannot be written.
    """
    done, after = Converted(), ""
    _begin(users, key)
    n_before = users.n_users()
    while page := rows.names(after, PAGE_USERS):
        announce_step(f"users behind {len(after)}")
        done.rows += rows.rename(_names(page, users, key, random))
        after = page[-1]
    for part in log.closed_parts():
        done.files += _convert_file(folder / part.file, users, key, random)
    done.users = users.n_users() - n_before
    done.is_wiped = log.removal.wipe()
    announce_step("note the key")
    validate_key(users, key)
    users.drop_tombstones(before=1)
    return done


def _begin(users: Users, key: UserKey) -> None:
    """Notes that a conversion is under way; raises ConfigError if one with another key is, or was."""
    noted = users.key_fingerprint()
    if noted is not None and noted != key.fingerprint:
        validate_key(users, key)
    marker = key.handle(_BEGUN)
    # Whoever goes on with another key would give every user a second pseudonym.
    if noted is None and users.n_users() and users.find(marker).erased is None:
        raise ConfigError(
            f"a conversion is under way with another key, got one of fingerprint {key.fingerprint.hex()}; go "
            "on with the key that it was begun with"
        )
    # A tombstone of the first second: no user can be there before the key is noted.
    users.forget(marker, 0)


def _names(
    ids: Collection[str], users: Users, key: UserKey, random: Callable[[int], bytes]
) -> dict[str, str]:
    """Returns the pseudonym of each id that is none itself."""
    known = users.find_named(ids)
    handles = {user_id: key.handle(user_id) for user_id in ids if user_id not in known}
    # One flush for all of a page.
    persons = (
        users.name({handle: random(PSEUDONYM_BYTES).hex() for handle in handles.values()}) if handles else {}
    )
    named = {user_id: persons[handle].pseudonym for user_id, handle in handles.items()}
    return {user_id: name for user_id, name in named.items() if name is not None}


def _convert_file(path: Path, users: Users, key: UserKey, random: Callable[[int], bytes]) -> bool:
    """Writes a file of a closed day anew if it holds ids; returns whether it did."""
    frame = pl.read_parquet(path)
    ids = frame["user_id"].drop_nulls().unique().to_list()
    names: dict[str, str] = {}
    for first in range(0, len(ids), PAGE_USERS):
        names |= _names(ids[first : first + PAGE_USERS], users, key, random)
    if not names:
        return False
    # What is not named here is a pseudonym already.
    renamed = frame.with_columns(pl.col("user_id").replace(names))
    buffer = io.BytesIO()
    renamed.write_parquet(buffer, compression="zstd", row_group_size=ROWS_PER_GROUP)
    aside = path.with_name(f".{path.name}.new")
    content = buffer.getvalue()
    write_file(aside, lambda file: file.write(content))
    announce_step(f"rename {path.name}")
    aside.rename(path)
    sync_folder(path.parent)
    return True
