"""Profiles: the live end of the event log by user, since what the bundle knows, read for each answer.

Most answers need no read: of a log on this machine it is known, without asking it, up to where a user has
events (`EventLog.freshness`). Who has none since the release has no profile, and one that was read before
holds until the user does something. Otherwise one thread reads, and who asks waits for it no longer than the
budget: a disk or a database that hangs costs answers their profile.

Before the profile comes the user: under which name they are kept, and how much of them may be used. Below
`personal` no profile is read. Where that is not known in time, the answer uses nothing of the user.
"""

import logging
import queue
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from marquee.bundle.manifest import KnownUntil, Manifest
from marquee.decision.requests import HistoryEvent, Request
from marquee.errors import ConfigError, EventLogError
from marquee.store.log.event_log import ProfileEvent
from marquee.store.log.latest_events import Freshness
from marquee.store.people.consent import Tier
from serving.recording.identity import Identified, identified, identified_by_itself
from serving.recording.metrics import ProfileMetrics
from serving.recording.opening import OpenedLog
from serving.recording.users import KnownUser, KnownUsers, PlainUsers
from serving.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

BUDGET_S = 0.005
"""How long a batch waits for the profiles of its users."""

PROFILE_LENGTH = 200
"""Events of a user that are read, the latest."""

N_REMEMBERED = 1024
"""Profiles that a worker holds in memory, those that were asked for last."""

Profile = Sequence[ProfileEvent]


class Wanted(NamedTuple):
    """A user whose profile is wanted.

    Attributes:
        user_id: As the request names them.
        known: Up to where the bundle knows what users did.
        most: The most of them that the request lets be used.
    """

    user_id: str
    known: KnownUntil
    most: Tier = Tier.personal


class Found(NamedTuple):
    """The part of what was wanted that could be had in time.

    Attributes:
        user: Who it is; None if that is not known.
        profile: Oldest first; None if it could not be had, or must not be.
        mark: Of the user, from before the profile was read; None where there is none.
        is_complete: Whether nothing is missing.
    """

    user: KnownUser | None = None
    profile: Profile | None = None
    mark: int | None = None
    is_complete: bool = False


_NOTHING_FOUND = Found()


class _Remembered(NamedTuple):
    """A profile that was read, up to where the release knew the user, and the mark of the user before."""

    known: KnownUntil
    mark: int
    profile: Profile


@dataclass(slots=True, eq=False)
class _Task:
    """The users of a batch, and what has been found of them so far."""

    wanted: Sequence[Wanted]
    found: list[Found]
    done: "queue.SimpleQueue[None]" = field(default_factory=queue.SimpleQueue)
    is_over: bool = False  # nobody waits for it any more, or it is finished


class Profiles:
    """Reads profiles for one thread at a time.

    Args:
        log: Where they are read.
        metrics: What counts.
        budget_s: How long a batch waits.
        clock: Returns seconds.
        users: Say who may be known.

    Attributes:
        users: The same.
        budget_s: The same.
    """

    def __init__(
        self,
        log: OpenedLog,
        metrics: Metrics,
        budget_s: float = BUDGET_S,
        clock: Callable[[], float] = time.perf_counter,
        users: KnownUsers | None = None,
    ) -> None:
        self._log = log
        self.users = users or PlainUsers()
        self._metrics = metrics.family(ProfileMetrics)
        self.budget_s = budget_s
        self._clock = clock
        self._remembered: OrderedDict[str, _Remembered] = OrderedDict()
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._is_reading = threading.Event()
        self._has_failed = False
        self._thread = threading.Thread(target=self._read_all, name="profiles", daemon=True)
        self._thread.start()

    def read(self, wanted: Sequence[Wanted]) -> list[Found]:
        """Returns who each user is and their profile, as far as these can be had in time."""
        found = [self._at_hand(one) for one in wanted]
        unknown = [position for position, one in enumerate(found) if not one.is_complete]
        if unknown:
            started = self._clock()
            read = self._read_in_time([wanted[position] for position in unknown])
            self._metrics.time_read(self._clock() - started)
            for position, one in zip(unknown, read, strict=True):
                found[position] = one
                self._remember(wanted[position].known, one)
        n_read = len([one for one in found if one.profile is not None])
        # Most batches have all that they want: nothing to look for.
        n_unavailable = len([one for one in found if not one.is_complete]) if unknown else 0
        self._metrics.count_profiles(n_read, n_unavailable)
        return found

    def _at_hand(self, wanted: Wanted) -> Found:
        """Returns the part of what is wanted that needs no read."""
        user = self.users.at_hand(wanted.user_id)
        return _NOTHING_FOUND if user is None else self._without_read(user, wanted)

    def _without_read(self, user: KnownUser, wanted: Wanted) -> Found:
        """Returns the part that can be told without a read of the log."""
        if user.name is None or user.tier is not Tier.personal or wanted.most is not Tier.personal:
            return Found(user, is_complete=True)
        if not user.has_rows:
            return Found(user, (), is_complete=True)
        log = self._log.opened
        fresh = None if log is None else log.freshness(user.name)
        profile = self._known(user.name, wanted.known, fresh)
        return Found(user, profile, fresh and fresh.mark, profile is not None)

    def _known(self, name: str, known: KnownUntil, fresh: Freshness | None) -> Profile | None:
        """Returns the profile of a user if it can be told without a read."""
        if fresh is None:
            return None
        # The bundle knows all, or there never was anything.
        if fresh.last_sequence <= known.sequence:
            return []
        remembered = self._remembered.get(name)
        if remembered is None or remembered[:2] != (known, fresh.mark):
            return None
        with suppress(KeyError):  # the thread that reads looks here as well
            self._remembered.move_to_end(name)
        return remembered.profile

    def _remember(self, known: KnownUntil, found: Found) -> None:
        """Holds a profile in memory."""
        user, profile, mark, _ = found
        if user is None or user.name is None or profile is None or mark is None:
            return
        self._remembered[user.name] = _Remembered(known, mark, profile)
        self._remembered.move_to_end(user.name)
        if len(self._remembered) > N_REMEMBERED:
            self._remembered.popitem(last=False)

    def _read_in_time(self, wanted: Sequence[Wanted]) -> list[Found]:
        """Returns the finds of the thread for each user within the budget."""
        task = _Task(wanted, [_NOTHING_FOUND] * len(wanted))
        if not self._is_reading.is_set():  # else it hangs in what was asked before: nobody waits behind that
            self._is_reading.set()
            self._tasks.put(task)
            try:
                task.done.get(timeout=self.budget_s)
            except queue.Empty:
                task.is_over = True
        # A copy: the thread may still write into the list of a task that is over.
        return list(task.found)

    def before(self, asked: Sequence[Request], manifest: Manifest) -> list[Identified]:
        """Returns requests as they may be answered: within what their users let be used, with profiles.

        Args:
            asked: Requests to one release.
            manifest: Of that release.
        """
        # Whoever asks for an answer that uses nothing of the user gets it without a look at the user.
        wanted = [
            Wanted(one.user_id, manifest.known_until, one.tier)
            for one in asked
            if one.user_id and one.tier is not Tier.none
        ]
        found = iter(self.read(wanted) if wanted else ())
        return [
            _identified(one, next(found), manifest)
            if one.user_id and one.tier is not Tier.none
            else identified_by_itself(one, self.users.default)
            for one in asked
        ]

    def close(self) -> None:
        """Ends the thread, unless it hangs."""
        self._tasks.put(None)
        # A read that hangs must not hold up the end of the worker.
        self._thread.join(timeout=1)

    def _read_all(self) -> None:
        """Reads for batch after batch."""
        with suppress(EventLogError, ConfigError):  # told when somebody asks
            # The first read opens a connection, for which no answer has the time.
            self._log.get().read_profile("", 0, 0, 1)
            self.users.look_up("")
        while (task := self._tasks.get()) is not None:
            try:
                self._read(task)
                self._has_failed = False
            except Exception as error:  # whatever it is, answers go on without profiles
                # Told once until a read succeeds again: every batch would write a line.
                if not self._has_failed:
                    is_known = isinstance(error, EventLogError)
                    logger.error("profiles cannot be read: %s", error, exc_info=None if is_known else error)
                self._has_failed = True
            finally:
                self._is_reading.clear()
                task.done.put(None)

    def _read(self, task: _Task) -> None:
        """Reads for one batch until nobody waits for it."""
        log = self._log.get()
        for position, wanted in enumerate(task.wanted):
            # The next batch must not wait for users whom nobody waits for any more.
            if task.is_over:
                return
            user = self.users.look_up(wanted.user_id)
            # Before the read: what happens during it must make its result look old.
            found = self._without_read(user, wanted)
            # At once: a profile that comes too late must not make a stranger of the user.
            task.found[position] = found
            if user.name is not None and not found.is_complete:
                known = wanted.known
                profile = log.read_profile(user.name, known.sequence, known.timestamp, PROFILE_LENGTH)
                task.found[position] = found._replace(profile=profile, is_complete=True)


def _identified(asked: Request, found: Found, manifest: Manifest) -> Identified:
    """Returns a request that names a user as it may be answered, with their profile."""
    known = identified(asked, found.user, manifest, has_profile=found.is_complete)
    # Nothing new in the log: the history of the bundle stands.
    if not found.profile:
        return known
    first_kind = next(iter(manifest.kinds.configs))
    return known._replace(request=with_profile(known.request, found.profile, first_kind))


def with_profile(asked: Request, profile: Profile, first_kind: str) -> Request:
    """Returns a request whose history begins with what the log knows.

    What the request tells as well counts once, in the place where it tells it: of equal events, of those that
    tell an item alone by the item, as many are left out as the request holds.

    Args:
        asked: The request.
        profile: Oldest first.
        first_kind: The kind of which a bundle takes an item that is told without one.
    """
    if not asked.history or type(asked.history[0]) is str:
        # Said by their items alone where that says as much: beside ids, which may be many and need no look
        # at each, events would make events of all of them, and cost an answer a tenth of its time.
        ids = [item_id for item_id, kind, value in profile if kind == first_kind and value is None]
        if len(ids) == len(profile) and set(asked.history).isdisjoint(ids):
            return replace(asked, history=(*ids, *asked.history))
    if not asked.history:
        return replace(asked, history=tuple([HistoryEvent(*event) for event in profile]))
    told: Counter[tuple[str, str]] = Counter()
    for entry in asked.history:
        item_id, kind, _ = entry if isinstance(entry, HistoryEvent) else (entry, "", None)
        told[item_id, kind] += 1
    kept: list[HistoryEvent] = []
    for event in reversed(profile):  # the app tells what is latest
        key = next((one for one in ((event.item_id, event.kind), (event.item_id, "")) if told[one]), None)
        if key is None:
            kept.append(HistoryEvent(event.item_id, event.kind, event.value))
        else:
            told[key] -= 1
    if not kept:
        return asked
    events = [entry if isinstance(entry, HistoryEvent) else HistoryEvent(entry) for entry in asked.history]
    return replace(asked, history=(*reversed(kept), *events))
