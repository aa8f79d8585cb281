"""The users: a handle, which nobody can trace back without the key, and the pseudonym that stands for it.

```
users      handle -> pseudonym, tier, when it was said, when it was erased
consents   what was said of the tier, in the order in which it was said
forgotten  pseudonyms that were dropped, until no row of theirs is left anywhere
key        fingerprint of the key that handles are made with
```

A handle is HMAC-SHA-256 of the operator's user id (see `user_key`): no id ever comes here. A pseudonym is
drawn at random. Were it derived from the id, whoever comes back after an erasure would be the same person
again, and a store that keeps bytes of deleted rows would keep the person with them.

An erased user keeps a row without pseudonym and tier, the tombstone. Only new consent lifts it, and a new
pseudonym comes with that. Two stores keep the same contract: `sqlite` and `postgres`; `opening` chooses.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from marquee.store.people.consent import Tier

USERS_FILE = "users.db"
"""The file of the users in the folder of an event log."""
PSEUDONYM_BYTES = 16
"""Random bytes of a pseudonym: two users never share one by chance."""


class Person(NamedTuple):
    """The row of one user.

    Attributes:
        pseudonym: Under which their rows are kept; None if they have none.
        tier: What was said for them; None if nothing was.
        changed: When that was said, seconds since 1970 UTC; 0 if it was not.
        erased: When they were last erased, seconds since 1970 UTC; None if never.
    """

    pseudonym: str | None = None
    tier: Tier | None = None
    changed: int = 0
    erased: int | None = None

    @property
    def is_erased(self) -> bool:
        """Whether they were erased and have not consented to anything since."""
        return self.erased is not None and self.tier is None

    def erased_at(self, now: int) -> int:
        """Returns the moment of an erasure that is asked for now, seconds since 1970 UTC.

        Later than the one before: an erasure is named by person and second, and a clock may go back.
        """
        return now if self.erased is None else max(now, self.erased + 1)

    def tier_within(self, default: Tier) -> Tier:
        """Returns the tier that holds: what was said, else the default; `none` for who is erased."""
        if self.is_erased:
            return Tier.none
        return default if self.tier is None else self.tier


STRANGER = Person()
"""Somebody of whom nothing is held."""


@dataclass(frozen=True, slots=True)
class Consent:
    """One statement of how much may be used.

    Attributes:
        time: When it was said, seconds since 1970 UTC.
        tier: What was said.
    """

    time: int
    tier: Tier


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A pseudonym that was dropped and whose rows are still to be deleted.

    Attributes:
        handle: Of whom it was.
        pseudonym: Under which their rows are kept.
        erased: When it was dropped, seconds since 1970 UTC.
    """

    handle: bytes
    pseudonym: str
    erased: int


class Users(Protocol):
    """The users, as a process sees them. Every method may be called from several threads at once.

    All raise EventLogError where the store cannot be used. What a method changes is forced to disk when it
    returns.
    """

    def find(self, handle: bytes) -> Person:
        """Returns the row of a user as it is now, `STRANGER` if nothing is."""

    def find_many(self, handles: Collection[bytes]) -> dict[bytes, Person]:
        """Returns the row of each of several users."""

    def find_named(self, pseudonyms: Collection[str]) -> dict[str, Person]:
        """Returns the rows of users by their pseudonyms; leaves out those that nobody has."""

    def mark(self, handle: bytes, /) -> int | None:
        """Returns a number that is another one after each change of a user, whichever process made it.

        Costs no read. None where only a read can tell, or a change is under way.
        """

    def is_stranger(self, handle: bytes, /) -> bool:
        """Returns whether a user surely has no row, without a read; False where only a read can tell."""

    def name(self, new: Mapping[bytes, str]) -> dict[bytes, Person]:
        """Returns the users with pseudonyms, after giving one to those who have none and may have one.

        Whoever is erased, or said another tier than `personal`, gets none.

        Args:
            new: The pseudonym that each gets who has none, by handle.
        """

    def set_tier(self, handle: bytes, tier: Tier, now: int) -> Person:
        """Notes what was said for a user, and returns what is then held; said again, it changes nothing."""

    def consents(self, handle: bytes) -> list[Consent]:
        """Returns the statements for a user since they were last erased, oldest first."""

    def forget(self, handle: bytes, now: int) -> Person:
        """Drops pseudonym, tier and what was said, leaves a tombstone, and returns what was held before.

        The pseudonym is noted in `forgotten` in the same transaction. Who is erased already stays so.
        """

    def forgotten(self) -> list[Forgotten]:
        """Returns the dropped pseudonyms whose rows are still to be deleted, the longest dropped first."""

    def end_forgotten(self, pseudonyms: Collection[str]) -> None:
        """Notes that no row of some dropped pseudonyms is left anywhere."""

    def drop_tombstones(self, before: int) -> int:
        """Deletes the tombstones of who was erased before a second, and returns how many."""

    def wipe(self) -> bool:
        """Overwrites what deleted rows have left in the store; False where readers were in the way."""

    def n_users(self) -> int:
        """Returns how many rows there are, tombstones included."""

    def key_fingerprint(self) -> bytes | None:
        """Returns the fingerprint of the key that handles are made with, None if none was noted."""

    def note_key(self, fingerprint: bytes) -> bytes:
        """Notes the fingerprint of the key if none is, and returns the one that is noted."""

    def close(self) -> None:
        """Gives up all connections."""
