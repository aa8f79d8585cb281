"""The state that both clients hold: settings that are checked once, and what belongs to one process alone."""

import os
import random
import re
from collections.abc import Callable
from typing import Any, Generic, TypeVar
from weakref import WeakSet

import httpx

from marquee.client.retries import Course, RetryBudget, RetryPolicy

DEADLINE_S = 2.0
IMPORT_DEADLINE_S = 3600.0
DRY_RUN_DEADLINE_S = 60.0
MAX_CONNECTIONS = 100
# A day: whoever waits longer has likely mistaken the unit.
MAX_DEADLINE_S = 86_400.0
_KEEPALIVE_S = 4.0  # the service closes a connection that is idle for 5 s; whoever closes first loses nothing
# What a header can carry; the line feed of a key file is no part of the key.
_KEY = re.compile(r"[\x21-\x7e]*")

Http = TypeVar("Http", bound="httpx.Client | httpx.AsyncClient")


def _validate_seconds(name: str, seconds: float | None) -> None:
    """Raises ValueError unless a time is one that a call may take; None is none."""
    if seconds is not None and not 0 < seconds <= MAX_DEADLINE_S:
        raise ValueError(
            f"{name} must be more than 0 and at most {MAX_DEADLINE_S:.0f}, got {seconds}; 2 is usual"
        )


class Settings:
    """The state that both clients hold beside their connections."""

    def __init__(
        self, url: str, key: str, deadline_s: float, attempt_s: float | None, retries: RetryPolicy | None
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"url must begin with http:// or https://, got {url!r}; add it")
        if not _KEY.fullmatch(key):
            raise ValueError(f"key must be printable ASCII without spaces, got {len(key)} others; strip it")
        for name, seconds in (("deadline_s", deadline_s), ("attempt_s", attempt_s)):
            _validate_seconds(name, seconds)
        self.policy = retries or RetryPolicy()
        self.deadline_s = deadline_s
        self.attempt_s = attempt_s
        self.url = url.rstrip("/")
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.limits = httpx.Limits(
            max_connections=MAX_CONNECTIONS,
            # As many as may be open: else a burst would close what the next one needs.
            max_keepalive_connections=MAX_CONNECTIONS,
            keepalive_expiry=_KEEPALIVE_S,
        )

    def attempt_within(self, left_s: float) -> float:
        """Returns the seconds that one attempt may take of those that are left."""
        return left_s if self.attempt_s is None else min(left_s, self.attempt_s)


class OfProcess(Generic[Http]):
    """Connections, budget of retries and dice of one process; a child of `fork` gets others.

    Shared connections would mix replies: two processes would read what one of them asked. A lock that another
    thread held in that moment would never be free in the child, and children with the same dice would all
    come back at the same time.

    Args:
        settings: Of the client.
        make: Returns httpx's client, without any connection yet.
        rng: Draws the pauses; None for dice of its own.
        is_renewable: False if the connections are a caller's own, which cannot be made anew here.
    """

    def __init__(
        self, settings: Settings, make: Callable[[], Http], rng: random.Random | None, *, is_renewable: bool
    ) -> None:
        self._settings = settings
        self._make = make
        self._is_renewable = is_renewable
        self._is_inherited = False
        self._http = make()
        self._rng = rng or random.Random()
        self.budget = RetryBudget(settings.policy)
        # Weakly held: a client that nobody uses any more needs no renewal.
        _OF_THIS_PROCESS.add(self)

    @property
    def http(self) -> Http:
        """Sends; raises RuntimeError in a child of `fork` for a transport that its parent uses."""
        if self._is_inherited:
            raise RuntimeError(
                "a client with a transport of its own belongs to the process that made it, got a call in its "
                f"child {os.getpid()}; make the client in the child"
            )
        return self._http

    def course(self, deadline_s: float | None, clock: Callable[[], float]) -> Course:
        """Returns the attempts of a call that begins now; raises ValueError for an impossible deadline."""
        # None left is no mistake: a caller passes on what remains of its own time, and nothing is sent.
        if deadline_s is not None and not deadline_s <= 0:
            _validate_seconds("deadline_s", deadline_s)
        of_call = self._settings.deadline_s if deadline_s is None else deadline_s
        return Course(self._settings.policy, self.budget, of_call, clock, self._rng)

    def renew(self) -> None:
        """Begins anew, in a child of `fork`.

        The parent's connections are dropped, not closed: the pool's lock may be held for ever, and over TLS
        a closing one would tell the service that the parent has gone.
        """
        self.budget = RetryBudget(self._settings.policy)
        self._rng = random.Random()
        if self._is_renewable:
            self._http = self._make()
        else:
            self._is_inherited = True


_OF_THIS_PROCESS: "WeakSet[OfProcess[Any]]" = WeakSet()  # of either kind of client


def _renew_all() -> None:
    """Lets every client of a child begin anew; runs before any other of its code."""
    # A copy: the set shrinks when the garbage collector takes a client.
    for one in tuple(_OF_THIS_PROCESS):
        one.renew()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_renew_all)
