"""The releases that answer in one process, as one value that is replaced as a whole.

A request keeps the value that it began with, so no answer is of two releases and no request is dropped.
"""

import gc
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from marquee.bundle.releases import Candidate, Role
from marquee.decision.recommender import Recommender
from marquee.store.live_items import LiveItem
from marquee.store.log.closed_days import Known
from marquee.store.log.log_rows import SECONDS_PER_DAY


@dataclass(frozen=True, slots=True)
class Loaded:
    """A candidate that is ready to answer.

    Attributes:
        candidate: Its role and its share of the traffic.
        recommender: Warm.
    """

    candidate: Candidate
    recommender: Recommender

    def with_live_items(self, items: Mapping[str, LiveItem]) -> "Loaded":
        """Returns the same release with these live items in place of others."""
        return replace(self, recommender=self.recommender.with_live_items(items))


@dataclass(frozen=True, slots=True)
class Answering:
    """The releases that answer in this process.

    Attributes:
        current: Answers everybody else.
        candidates: Those that are loaded, by role.
        arms: Those that experiments ask for and that are loaded, by version.
    """

    current: Recommender
    candidates: Mapping[Role, Loaded] = field(default_factory=dict)
    arms: Mapping[str, Recommender] = field(default_factory=dict)

    @property
    def recommenders(self) -> Iterable[Recommender]:
        """Every loaded recommender, the current one first."""
        yield self.current
        for loaded in self.candidates.values():
            yield loaded.recommender
        yield from self.arms.values()

    def choose(self, caller: str) -> Recommender:
        """Returns the recommender that answers a caller: a user id, or the id of a request without one."""
        canary = self.candidates.get(Role.canary)
        return canary.recommender if canary and canary.candidate.includes(caller) else self.current

    def of_release(self, version: str) -> Recommender | None:
        """Returns the recommender of a release, None if it is not loaded."""
        return next((one for one in self.recommenders if one.version == version), None)

    def with_candidate(self, role: Role, loaded: Loaded | None) -> "Answering":
        """Returns the same releases with another candidate in a role, or none."""
        others = {other: one for other, one in self.candidates.items() if other is not role}
        return replace(self, candidates={**others, role: loaded} if loaded else others)

    def with_live_items(self, items: Mapping[str, LiveItem]) -> "Answering":
        """Returns the same releases with these live items in place of others."""
        candidates = {role: one.with_live_items(items) for role, one in self.candidates.items()}
        arms = {version: one.with_live_items(items) for version, one in self.arms.items()}
        return Answering(self.current.with_live_items(items), candidates, arms)

    def loaded(self, folder: Path) -> Recommender | None:
        """Returns the recommender of a release that is loaded already, in any role; None if it is not."""
        return next((one for one in self.recommenders if one.bundle.path == folder), None)

    def share(self, role: Role, version: str) -> float:
        """Returns the share that a version has in a role, 0 for none."""
        loaded = self.candidates.get(role)
        return loaded.candidate.share if loaded and loaded.candidate.version == version else 0.0


def known_by(answering: Iterable[Answering | None]) -> list[Known] | None:
    """Returns up to where each release that answers knows the event log; None before all are loaded."""
    found: list[Known] = []
    for one in answering:
        if one is None:
            return None
        until = [recommender.bundle.manifest.known_until for recommender in one.recommenders]
        found += [Known(known.sequence, known.timestamp) for known in until]
    return found


class AnsweringState:
    """Holds what answers. Several threads may replace a part of it.

    Attributes:
        answering: What answers now; None until a release is warm.
        items: The live items that every release answers with.
    """

    def __init__(self) -> None:
        self.answering: Answering | None = None
        self.items: Mapping[str, LiveItem] = {}
        # Held for moments. Whoever loads a release holds another lock, for as long as that takes: a change
        # of items must not wait for it.
        self._swapping = threading.Lock()

    def take(self, recommender: Recommender) -> None:
        """Lets a warm recommender be the current one; what the old one holds goes with its last batch."""
        # Outside the lock: a collection takes a while, and changes of items wait for the lock.
        freeze_memory()
        # Read and replaced under the lock: items may change while a release is taken.
        with self._swapping:
            was, recommender = self.answering, recommender.with_live_items(self.items)
            self.answering = replace(was, current=recommender) if was else Answering(recommender)

    def set_candidate(self, role: Role, loaded: Loaded | None) -> Loaded | None:
        """Gives a role to a warm candidate, or to none; returns the candidate that had it."""
        assert self.answering is not None, "a candidate is compared with a release that answers"
        was = self.answering.candidates.get(role)
        # Most looks change nothing, and need no collection.
        if was is None and loaded is None:
            return None
        freeze_memory()
        with self._swapping:
            new = loaded and loaded.with_live_items(self.items)
            self.answering = self.answering.with_candidate(role, new)
        return was

    def set_arm(self, version: str, recommender: Recommender) -> None:
        """Lets a warm recommender answer for arms of experiments."""
        assert self.answering is not None, "an experiment compares with a release that answers"
        freeze_memory()
        with self._swapping:
            arms = {**self.answering.arms, version: recommender.with_live_items(self.items)}
            self.answering = replace(self.answering, arms=arms)

    def take_live_items(self, items: Mapping[str, LiveItem]) -> None:
        """Lets every release that answers, and those that will, answer with these live items."""
        with self._swapping:
            self.items = items
            if self.answering is not None:
                self.answering = self.answering.with_live_items(items)


def freeze_memory() -> None:
    """Keeps the garbage collector from looking through objects that stay for long."""
    # First: garbage that is frozen is never freed.
    gc.collect()
    gc.freeze()


def overdue(answering: Iterable[Answering | None], now: float, max_age_days: int) -> list[str]:
    """Returns the versions of the current releases that are older than they may be.

    Args:
        answering: Of each channel; None for one that has loaded nothing yet.
        now: Seconds since 1970 UTC.
        max_age_days: The age.
    """
    oldest = now - max_age_days * SECONDS_PER_DAY
    current = [one.current for one in answering if one is not None]
    return [release.version for release in current if release.bundle.manifest.created < oldest]
