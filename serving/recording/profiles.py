"""Profiles: the live end of the event log by user, since what the bundle knows, read for each answer.

Most answers need no read: of a log on this machine it is known, without asking it, up to where a user has
events (`EventLog.freshness`). Who has none since the release has no profile, and one that was read before
holds until the user does something. Otherwise one thread reads, and who asks waits for it no longer than the
budget: a disk or a database that hangs costs answers their profile, and nothing else.
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

from marquee.bundle.manifest import KnownUntil
from marquee.decision.requests import HistoryEvent, Request
from marquee.errors import ConfigError, EventLogError
from marquee.store.log.event_log import ProfileEvent
from marquee.store.log.latest_events import Freshness
from serving.recording.metrics import ProfileMetrics
from serving.recording.opening import OpenedLog
from serving.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

BUDGET_S = 0.005
"""How long a batch waits for the profiles of its users."""

PROFILE_LENGTH = 200
"""Events of a user that are read, the latest."""

N_REMEMBERED = 1024
"""Profiles that a worker holds in memory, those that were asked for last."""

Wanted = tuple[str, KnownUntil]
"""A user, and up to where the bundle knows what users did."""

Profile = Sequence[ProfileEvent]


class _Remembered(NamedTuple):
    """A profile that was read, up to where the release knew the user, and the mark of the user before."""

    known: KnownUntil
    mark: int
    profile: Profile


@dataclass(slots=True, eq=False)
class _Task:
    """The users of a batch, and what has been found of them; None for what has not."""

    wanted: Sequence[Wanted]
    found: list[Profile | None]
    done: "queue.SimpleQueue[None]" = field(default_factory=queue.SimpleQueue)
    is_over: bool = False  # nobody waits for it any more, or it is finished


class Profiles:
    """Reads profiles for one thread at a time.

    Args:
        log: Where they are read.
        metrics: What counts.
        budget_s: How long a batch waits.
        clock: Returns seconds.
    """

    def __init__(
        self,
        log: OpenedLog,
        metrics: Metrics,
        budget_s: float = BUDGET_S,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._log = log
        self._metrics = metrics.family(ProfileMetrics)
        self._budget_s = budget_s
        self._clock = clock
        self._remembered: OrderedDict[str, _Remembered] = OrderedDict()
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._is_reading = threading.Event()
        self._has_failed = False
        self._thread = threading.Thread(target=self._read_all, name="profiles", daemon=True)
        self._thread.start()

    def read(self, wanted: Sequence[Wanted]) -> list[Profile | None]:
        """Returns the profile of each user, oldest first; None where it cannot be had in time."""
        # Before the reads: what happens during one must make its result look old.
        marks = [self._freshness(user_id) for user_id, _ in wanted]
        found = [self._known(*one, fresh) for one, fresh in zip(wanted, marks, strict=True)]
        unknown = [position for position, profile in enumerate(found) if profile is None]
        if unknown:
            started = self._clock()
            read = self._read_in_time([wanted[position] for position in unknown])
            self._metrics.time_read(self._clock() - started)
            for position, profile in zip(unknown, read, strict=True):
                found[position] = profile
                self._remember(*wanted[position], marks[position], profile)
        n_found = sum(profile is not None for profile in found)
        self._metrics.count_profiles(n_found, len(found) - n_found)
        return found

    def _freshness(self, user_id: str) -> Freshness | None:
        """Returns a bound of a user's latest event without a read; None where nothing is."""
        log = self._log.opened
        return None if log is None else log.freshness(user_id)

    def _known(self, user_id: str, known: KnownUntil, fresh: Freshness | None) -> Profile | None:
        """Returns the profile of a user if it can be told without a read."""
        if fresh is None:
            return None
        # The bundle knows all, or there never was anything.
        if fresh.last_sequence <= known.sequence:
            return []
        remembered = self._remembered.get(user_id)
        if remembered is None or remembered[:2] != (known, fresh.mark):
            return None
        self._remembered.move_to_end(user_id)
        return remembered.profile

    def _remember(
        self, user_id: str, known: KnownUntil, fresh: Freshness | None, profile: Profile | None
    ) -> None:
        """Holds a profile in memory."""
        if fresh is None or profile is None:
            return
        self._remembered[user_id] = _Remembered(known, fresh.mark, profile)
        self._remembered.move_to_end(user_id)
        if len(self._remembered) > N_REMEMBERED:
            self._remembered.popitem(last=False)

    def _read_in_time(self, wanted: Sequence[Wanted]) -> list[Profile | None]:
        """Returns the profile that the thread finds of each user within the budget."""
        task = _Task(wanted, [None] * len(wanted))
        if not self._is_reading.is_set():  # else it hangs in what was asked before: nobody waits behind that
            self._is_reading.set()
            self._tasks.put(task)
            try:
                task.done.get(timeout=self._budget_s)
            except queue.Empty:
                task.is_over = True
        # A copy: the thread may still write into the list of a task that is over.
        return list(task.found)

    def before(self, asked: Sequence[Request], known: KnownUntil) -> tuple[list[Request], list[bool]]:
        """Returns requests with the profiles of their users, and which of these could be had.

        Args:
            asked: Requests to one release.
            known: Up to where that release knows what users did.
        """
        requests, has_profile = list(asked), [True] * len(asked)
        named = [(position, one.user_id) for position, one in enumerate(asked) if one.user_id]
        found = self.read([(user_id, known) for _, user_id in named]) if named else []
        for (position, _), profile in zip(named, found, strict=True):
            if profile is None:
                has_profile[position] = False
            # Nothing new in the log: the history of the bundle stands.
            elif profile:
                requests[position] = with_profile(requests[position], profile)
        return requests, has_profile

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
        for position, (user_id, known) in enumerate(task.wanted):
            # The next batch must not wait for users whom nobody waits for any more.
            if task.is_over:
                return
            task.found[position] = log.read_profile(user_id, known.sequence, known.timestamp, PROFILE_LENGTH)


def with_profile(asked: Request, profile: Profile) -> Request:
    """Returns a request whose history begins with what the log knows.

    What the request tells as well counts once, in the place where it tells it: of equal events, of those that
    tell an item alone by the item, as many are left out as the request holds.
    """
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
