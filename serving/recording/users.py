"""The users as the service knows them: whom a request names, how much of them may be used, how they are kept.

```
PlainUsers   kept under the ids that requests name; nobody is asked for consent but the default
KeyedUsers   kept under pseudonyms, each within what was said for them; read anew for each answer
```

Where the store cannot be read nobody knows what was said: the answer then uses nothing of the user.
"""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from threading import Lock
from typing import NamedTuple, Protocol

from marquee.bundle.manifest import Manifest, UserNames
from marquee.core.reasons import Reason
from marquee.store.log.event_log import DecisionRow
from marquee.store.log.log_rows import nobodys_row
from marquee.store.people.consent import Tier
from marquee.store.people.opening import open_users
from marquee.store.people.user_key import UserKey, validate_key
from marquee.store.people.users import PSEUDONYM_BYTES, STRANGER, Consent, Person, Users
from serving.recording.opening import Opened

N_REMEMBERED = 4096
"""Users that a worker holds in memory, those that came last."""

N_DRAWN = 256
"""New users whose pseudonym a worker has drawn and not noted yet: it is, milliseconds after the answer."""

# No pseudonym begins so: these are hexadecimal digits.
_UNNAMED = "handle:"


class KnownUser(NamedTuple):
    """A user at the moment of an answer.

    Attributes:
        tier: How much of them may be used.
        name: Under which an answer to them is recorded; `_UNNAMED`, their handle and the pseudonym that was
            drawn for them if they are new; None if they must not be recorded.
        erased: When they were last erased, seconds since 1970 UTC; None if never.
    """

    tier: Tier
    name: str | None
    erased: int | None = None

    @property
    def has_rows(self) -> bool:
        """Whether the log may hold rows of theirs."""
        return self.name is not None and not self.name.startswith(_UNNAMED)

    @property
    def counted_as(self) -> str | None:
        """The pseudonym to count what they are shown under, None if they must not be recorded."""
        return counted_as(self.name)

    def name_in(self, manifest: Manifest, user_id: str) -> str | None:
        """Returns the name by which a bundle may know them.

        Args:
            manifest: Of the bundle.
            user_id: As the request names them.
        """
        if manifest.users is UserNames.pseudonyms:
            return self.name
        # Who came back after an erasure is somebody new, also to a bundle that knew them by their own id.
        is_older = self.erased is not None and manifest.known_until.timestamp <= self.erased
        return self.name if is_older else user_id


def counted_as(name: str | None) -> str | None:
    """Returns the pseudonym in the name that an answer is recorded under.

    Never the handle: what is counted under it would outlive an erasure, which knows the pseudonym alone.
    Where another worker names the same new user first, what was counted under this one leads to nobody.
    """
    return name if name is None or not name.startswith(_UNNAMED) else name.rpartition(":")[2]


class KnownUsers(Protocol):
    """The users. Methods that raise EventLogError do so where the store cannot be used."""

    @property
    def default(self) -> Tier:
        """How much of a person may be used who has said nothing."""

    def at_hand(self, user_id: str) -> KnownUser | None:
        """Returns a user as they are now if no read is needed for it, else None."""

    def look_up(self, user_id: str) -> KnownUser:
        """Returns a user as they are now; raises EventLogError."""

    def names_of(self, user_ids: Collection[str]) -> Mapping[str, str | Reason]:
        """Returns the names to keep events under, or why none may be kept; raises EventLogError."""

    def may_stay(self, names: Collection[str]) -> Mapping[str, str | Reason]:
        """Returns the same of users by the names under which they are kept; raises EventLogError."""

    def named(self, decisions: Sequence[DecisionRow]) -> Sequence[DecisionRow]:
        """Returns decisions with new users under the names that they get; raises EventLogError."""

    def close(self) -> None:
        """Gives up all connections."""


class PlainUsers:
    """Users under the ids that requests name.

    Args:
        default: How much of a person may be used.
    """

    def __init__(self, default: Tier = Tier.personal) -> None:
        self.default = default

    def at_hand(self, user_id: str) -> KnownUser:
        """Returns a user; see `KnownUsers`."""
        return self.look_up(user_id)

    def look_up(self, user_id: str) -> KnownUser:
        """Returns a user; see `KnownUsers`."""
        return KnownUser(self.default, user_id if self.default is Tier.personal else None)

    def names_of(self, user_ids: Collection[str]) -> Mapping[str, str | Reason]:
        """Returns the names to keep events under; see `KnownUsers`."""
        is_allowed = self.default is Tier.personal
        return {user_id: user_id if is_allowed else Reason.no_consent for user_id in user_ids}

    def may_stay(self, names: Collection[str]) -> Mapping[str, str | Reason]:
        """Returns the same for names that are kept, which are ids here; see `KnownUsers`."""
        return self.names_of(names)

    def named(self, decisions: Sequence[DecisionRow]) -> Sequence[DecisionRow]:
        """Returns decisions as they are; see `KnownUsers`."""
        return decisions

    def close(self) -> None:
        """Gives up nothing; see `KnownUsers`."""


class KeyedUsers:
    """Users under pseudonyms.

    Args:
        where: The event log, beside which they are kept.
        key: Makes handles of ids.
        default: How much of a person may be used who has said nothing.
        open_store: Opens them.
        random: Returns so many random bytes.
    """

    def __init__(
        self,
        where: str,
        key: UserKey,
        default: Tier = Tier.personal,
        open_store: Callable[[str], Users] = open_users,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.default = default
        self._key = key
        self._random = random

        def opened(where: str) -> Users:
            users = open_store(where)
            # Also here: the store may have been exchanged since the service was started.
            validate_key(users, key)
            return users

        self._users = Opened(where, opened)
        self._remembered: dict[str, tuple[bytes, int, KnownUser]] = {}
        self._drawn: dict[tuple[bytes, int | None], str] = {}
        self._drawing = Lock()

    def at_hand(self, user_id: str) -> KnownUser | None:
        """Returns a user who has not changed since they were read, or never was here; see `KnownUsers`."""
        remembered, users = self._remembered.get(user_id), self._users.opened
        if users is None:
            return None
        if remembered is None:
            handle = self._key.handle(user_id)
            return self._known(handle, STRANGER) if users.is_stranger(handle) else None
        handle, mark, user = remembered
        return user if users.mark(handle) == mark else None

    def look_up(self, user_id: str) -> KnownUser:
        """Returns a user as they are now; see `KnownUsers`."""
        handle, users = self._key.handle(user_id), self._users.get()
        # Before the read: a change during it must make its result look old.
        mark = users.mark(handle)
        user = self._known(handle, users.find(handle))
        if mark is not None:
            self._remember(user_id, (handle, mark, user))
        return user

    def _known(self, handle: bytes, person: Person) -> KnownUser:
        """Returns a user by what is held of them."""
        tier = person.tier_within(self.default)
        if tier is not Tier.personal:
            return KnownUser(tier, None, person.erased)
        if person.pseudonym is not None:
            return KnownUser(tier, person.pseudonym, person.erased)
        drawn = self._draw(handle, person.erased)
        return KnownUser(tier, f"{_UNNAMED}{handle.hex()}:{drawn}", person.erased)

    def _draw(self, handle: bytes, erased: int | None) -> str:
        """Returns the pseudonym that a new user is to get; the same until it is noted."""
        # By the erasure as well: who comes back after one is somebody new.
        user = (handle, erased)
        with self._drawing:
            if user not in self._drawn:
                self._drawn[user] = self._random(PSEUDONYM_BYTES).hex()
                if len(self._drawn) > N_DRAWN:
                    del self._drawn[next(iter(self._drawn))]
            return self._drawn[user]

    def _remember(self, user_id: str, known: tuple[bytes, int, KnownUser]) -> None:
        """Holds a user in memory; called from one thread at a time."""
        # To the end: the first of a dict is the one that came longest ago.
        self._remembered.pop(user_id, None)
        self._remembered[user_id] = known
        if len(self._remembered) > N_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]

    def names_of(self, user_ids: Collection[str]) -> Mapping[str, str | Reason]:
        """Returns the names to keep events under; see `KnownUsers`."""
        handles = {user_id: self._key.handle(user_id) for user_id in user_ids}
        persons = self._with_names(self._users.get().find_many(handles.values()))
        return {user_id: self._name_or_reason(persons[handle]) for user_id, handle in handles.items()}

    def may_stay(self, names: Collection[str]) -> Mapping[str, str | Reason]:
        """Returns the same of users by their pseudonyms; see `KnownUsers`."""
        persons = self._users.get().find_named(names) if names else {}
        # A pseudonym that nobody has any more was dropped with an erasure.
        return {
            name: self._name_or_reason(persons[name]) if name in persons else Reason.erased for name in names
        }

    def named(self, decisions: Sequence[DecisionRow]) -> Sequence[DecisionRow]:
        """Returns decisions with new users under the names that they get; see `KnownUsers`."""
        parted = {
            one.decision_id: one.user_id.removeprefix(_UNNAMED).partition(":")
            for one in decisions
            if one.user_id is not None and one.user_id.startswith(_UNNAMED)
        }
        handles = {decision_id: bytes.fromhex(handle) for decision_id, (handle, _, _) in parted.items()}
        drawn = {bytes.fromhex(handle): pseudonym for handle, _, pseudonym in parted.values()}
        if not handles:
            return decisions
        # Read anew: who may be known by what they said, whatever the default is, is no stranger.
        persons = self._with_names(self._users.get().find_many(handles.values()), drawn)
        names = {name: self._name_or_reason(persons[handle]) for name, handle in handles.items()}
        # Nobody, if they have withdrawn since they were answered.
        kept = {name: None if isinstance(user, Reason) else user for name, user in names.items()}
        named = [one._replace(user_id=kept.get(one.decision_id, one.user_id)) for one in decisions]
        return [
            nobodys_row(new) if new.user_id is None and one.user_id is not None else new
            for new, one in zip(named, decisions, strict=True)
        ]

    def handle_of(self, user_id: str) -> bytes:
        """Returns the handle of a user."""
        return self._key.handle(user_id)

    def store(self, patience_s: float = 0.0) -> Users:
        """Returns the store of users; raises EventLogError, as `Opened.get`."""
        return self._users.get(patience_s)

    def person(self, user_id: str) -> tuple[Person, Sequence[Consent]]:
        """Returns the row of a user and the statements for them; raises EventLogError."""
        handle, users = self._key.handle(user_id), self._users.get()
        return users.find(handle), users.consents(handle)

    def set_tier(self, user_id: str, tier: Tier, now: int) -> Person:
        """Notes what was said for a user; the next answer of every worker keeps to it.

        Args:
            user_id: As requests name them.
            tier: What was said.
            now: Seconds since 1970 UTC.

        Raises:
            EventLogError: If the store cannot be used; nothing was changed.
        """
        return self._users.get().set_tier(self._key.handle(user_id), tier, now)

    def close(self) -> None:
        """Gives up all connections; see `KnownUsers`."""
        self._users.close()

    def _with_names(
        self, persons: Mapping[bytes, Person], drawn: Mapping[bytes, str] = {}
    ) -> Mapping[bytes, Person]:
        """Returns users, with pseudonyms for those who have none and may be known.

        Args:
            persons: The users, by handle.
            drawn: Pseudonyms that were drawn before, for those of an answer.
        """
        new = {
            handle: drawn.get(handle) or self._draw(handle, person.erased)
            for handle, person in persons.items()
            if person.pseudonym is None and person.tier_within(self.default) is Tier.personal
        }
        # Most batches name nobody new: no write, and no flush.
        return {**persons, **self._users.get().name(new)} if new else persons

    def _name_or_reason(self, person: Person) -> str | Reason:
        """Returns the name to keep events of a user under, or why none may be kept."""
        if person.is_erased:
            return Reason.erased
        if person.tier_within(self.default) is not Tier.personal or person.pseudonym is None:
            return Reason.no_consent
        return person.pseudonym
