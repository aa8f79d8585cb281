"""API keys: who may ask for what, and how often.

Keys are kept as hashes, each with scopes and a rate of its own. `python -m serving.keys` makes them.
"""

import hashlib
import hmac
import logging
import math
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from marquee.errors import ConfigError
from serving.http.errors import Problem, Refusal
from serving.workers.shared_memory import shared_numbers

LIMITS_FILE = "marquee-limits-{names:08x}.bin"

MAX_DEBT_S = 60.0
"""How long, at most, work that was more than its key's rate allows keeps the key out."""

logger = logging.getLogger(__name__)


class Right(StrEnum):
    """The rights that a key may have."""

    recommend = "recommend"  # ask for recommendations and which bundle gives them
    events = "events"  # tell what happened
    users = "users"  # say how much of a user may be used, read what is held of them, score and erase them
    items = "items"  # add, change and withdraw items
    rules = "rules"  # say what is pinned, blocked and boosted
    campaigns = "campaigns"  # book campaigns, and read what they spend
    openrtb = "openrtb"  # ask for bids, which spend the money of campaigns
    metrics = "metrics"  # read the counters
    admin = "admin"  # list releases and change them

    @property
    def needs_keys(self) -> bool:
        """Whether nobody has this right in a service without keys."""
        return self in _ONLY_WITH_KEYS


# They change what others are answered, or tell of them: an open service takes none from whoever reaches it.
_ONLY_WITH_KEYS = frozenset(
    {Right.events, Right.users, Right.items, Right.rules, Right.campaigns, Right.openrtb, Right.admin}
)


class Key(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One key of the file.

    Attributes:
        name: Who holds it; stands in the log.
        sha256: Hash of the key, 64 hexadecimal digits.
        scopes: What it is good for.
        requests_per_s: How often it may be used, all workers together; 0 for no limit.
        burst: How many requests may come at once; 0 for what one second allows.
    """

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    scopes: Annotated[list[Right], Meta(min_length=1)]
    requests_per_s: Annotated[float, Meta(ge=0, le=1_000_000)] = 0
    burst: Annotated[int, Meta(ge=0, le=1_000_000)] = 0


class _KeyFile(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    keys: list[Key]


class _Held(NamedTuple):
    """The keys that are good.

    Attributes:
        keys: In the order of the file.
        number_of: Place of each by its name.
        digests: Hash of each.
        full_at: When the bucket of each will be full again, seconds; shared by all workers.
    """

    keys: tuple[Key, ...]
    number_of: Mapping[str, int]
    digests: tuple[bytes, ...]
    full_at: "memoryview[float]"

    def most_at_once(self, number: int) -> float:
        """Returns how many tokens the bucket of a key holds."""
        key = self.keys[number]
        return (key.burst or max(1, math.ceil(key.requests_per_s))) if key.requests_per_s else math.inf

    def number(self, authorization: str) -> int:
        """Returns which key was sent; compares with every one, in a time that tells nothing."""
        scheme, _, secret = authorization.partition(" ")
        # A plain hash is enough: keys are long and random, as passwords are not.
        digest = hashlib.sha256(secret.strip().encode()).digest()
        found = -1
        for number, expected in enumerate(self.digests):
            # No `break`: how long it takes must not tell which key was sent, or how much of one was right.
            if hmac.compare_digest(digest, expected):
                found = number
        if found < 0 or scheme.lower() != "bearer":
            what = "an unknown key" if scheme.lower() == "bearer" else "none"
            raise _key_needed(f"a key is needed, got {what}; send the header Authorization: Bearer <key>")
        return found


class Guard:
    """Lets requests in by their key.

    Without keys everybody may ask for recommendations and read the counters, and nobody may change
    anything.

    Args:
        keys: All that are good.
        clock: Returns seconds that every worker of the machine counts alike.
        folder: Where the workers share how much of each rate is used; None: this process alone.
    """

    def __init__(
        self,
        keys: Sequence[Key],
        clock: Callable[[], float] = time.monotonic,
        folder: Path | None = None,
    ) -> None:
        self._clock = clock
        self._folder = folder
        self._path: Path | None = None
        self._seen: tuple[int, ...] | None = None  # of the file, when it was last looked at
        self._use(keys)

    def _use(self, keys: Sequence[Key]) -> None:
        """Lets requests in by these keys from now on."""
        # A place in the file is a key's number: other keys, another file.
        names = zlib.crc32(msgspec.json.encode([key.name for key in keys]))
        full_at = shared_numbers(
            len(keys),
            self._folder and self._folder / LIMITS_FILE.format(names=names),
            "the rates of keys hold for each worker alone, not for all together",
        )
        # All at once: another thread may admit by them meanwhile.
        self._held = _Held(
            tuple(keys),
            {key.name: number for number, key in enumerate(keys)},
            tuple(bytes.fromhex(key.sha256) for key in keys),
            full_at,
        )

    @classmethod
    def read(cls, path: str, folder: Path | None = None) -> "Guard":
        """Returns the guard that knows the keys in the file at `path`, none for an empty path.

        Raises:
            ConfigError: If the file cannot be read, is no such file, or repeats a name.
        """
        guard = cls((), folder=folder)
        if path:
            guard._path = Path(path)
            # Before the file is read: what changes in between is seen by the next `refresh`.
            guard._seen = _facts(guard._path)
            guard._use(_read_keys(guard._path))
        return guard

    def refresh(self) -> None:
        """Takes the keys of the file anew if it has changed; keeps those that it has if it cannot be used.

        Looks at the disk: to be called from one thread, and not from the one that admits.
        """
        if self._path is None or (facts := _facts(self._path)) == self._seen:
            return
        # Also of a file that cannot be used: it is told once, not at every look.
        self._seen = facts
        try:
            self._use(_read_keys(self._path))
        except ConfigError as error:
            logger.error("the keys stay as they were: %s", error)
        else:
            logger.warning("%s keys are good from now on, read from %s", len(self._held.keys), self._path)

    def admit(self, authorization: str, right: Right) -> str:
        """Returns the name of the key that lets a request in, '' if none is needed.

        Args:
            authorization: The header of that name, '' if there is none.
            right: What the request wants.

        Raises:
            Refusal: 401 without a good key, 403 if it is good for other things, 429 if it is used too often.
        """
        held = self._held
        if not held.keys:
            if right.needs_keys:
                raise _key_needed(f"{right} needs a key and the service has none; start it with MARQUEE_KEYS")
            return ""
        number = held.number(authorization)
        key = held.keys[number]
        # The key was good: 403 tells its holder that another one is needed, not that this one is wrong.
        if right not in key.scopes:
            raise Refusal(
                Problem.key_not_sufficient,
                f"the key of {key.name!r} is good for {', '.join(key.scopes)}, this needs {right}",
            )
        # After the rights: what is refused for want of a right costs the key nothing.
        self._count(held, number, 1)
        return key.name

    def permits(self, authorization: str, right: Right) -> bool:
        """Returns whether a key, if one was sent, is good for a right; anything goes where there are no keys.

        Raises:
            Refusal: 401 for an unknown key: whoever sends one should learn that it is none.
        """
        held = self._held
        if not held.keys:
            return True
        return bool(authorization) and right in held.keys[held.number(authorization)].scopes

    def charge(self, name: str, n: int) -> None:
        """Counts n more requests to a key, of a call that holds several.

        Raises:
            Refusal: 429 if the key is used too often, 422 if it may never be used for so many at once.
        """
        held = self._held
        if not (name and n) or name not in held.number_of:  # a revoked key has let this call in before
            return
        number = held.number_of[name]
        most = held.most_at_once(number)
        # Not `>`: the call itself has taken one of the bucket already.
        if n >= most:
            raise Refusal(
                Problem.invalid_request,
                f"the key of {name!r} is good for {most} requests at once, got {n + 1} in one call; send "
                "fewer in each",
            )
        self._count(held, number, n)

    def charge_work(self, name: str, cost: float) -> None:
        """Counts work of a call that is let in already: it may leave a debt, which delays the next calls.

        Args:
            name: Of the key.
            cost: In plain requests, beyond those that `admit` and `charge` have counted.
        """
        # By name: the file may have been read anew since the call was let in, and numbers have changed.
        held = self._held
        number = held.number_of.get(name)
        if number is None or cost <= 0 or not held.keys[number].requests_per_s:
            return
        interval = 1.0 / held.keys[number].requests_per_s
        # Bounded: one heavy call must not keep its key out for hours.
        most = self._clock() + held.most_at_once(number) * interval + MAX_DEBT_S
        held.full_at[number] = min(max(held.full_at[number], self._clock()) + cost * interval, most)

    def _count(self, held: _Held, number: int, n: int) -> None:
        """Takes n tokens from a key's bucket; raises Refusal if it holds fewer.

        Kept as the time at which the bucket will be full again: one number, which a crash leaves right. Two
        workers that count in the same microsecond may count once: nobody waits for the other.
        """
        key = held.keys[number]
        if not key.requests_per_s:
            return
        now, interval = self._clock(), 1.0 / key.requests_per_s
        size = held.most_at_once(number) * interval
        # A bucket that has been full for long holds no more than it can.
        full_at = max(held.full_at[number], now)
        if full_at > now + size + MAX_DEBT_S:  # of before a reboot, when the clock began anew
            full_at = now + size
        full_at += n * interval
        wait = full_at - now - size
        # Sums of floats: a bucket that holds just enough must not be refused for its last digit.
        if wait > interval * 1e-6:
            raise Refusal(
                Problem.too_many_requests,
                f"the key of {key.name!r} may be used {key.requests_per_s:g} times a second; "
                f"retry after {wait:.3f} s",
                headers=((b"retry-after", str(math.ceil(wait)).encode()),),
            )
        held.full_at[number] = full_at


def _key_needed(message: str) -> Refusal:
    """Returns the refusal of a request without a good key."""
    # A 401 must name a scheme (RFC 9110, section 15.5.2).
    return Refusal(Problem.key_needed, message, headers=((b"www-authenticate", b"Bearer"),))


def _read_keys(path: Path) -> list[Key]:
    """Returns the keys in a file; raises ConfigError if it is no such file or repeats a name."""
    try:
        keys = msgspec.json.decode(path.read_bytes(), type=_KeyFile).keys
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigError(f"MARQUEE_KEYS must name a file of keys, got {str(path)!r}: {error}") from error
    names = [key.name for key in keys]
    if not keys or len(set(names)) != len(names):
        raise ConfigError(
            f"the keys in {path} must be one or more, each of its own name, got {names}; correct the file"
        )
    return keys


def _facts(path: Path) -> tuple[int, ...] | None:
    """Returns modification time, inode and size of a file, None while there is no file."""
    try:
        facts = path.stat()
    except OSError:
        return None
    # The inode as well: a file renamed into place may have the time and the size of the old one.
    return facts.st_mtime_ns, facts.st_ino, facts.st_size
