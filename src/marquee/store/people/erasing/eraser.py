"""Erases users: at once what leads to their rows, then the rows, and at the end the bytes of these.

```
begin    the pseudonym is dropped and a tombstone stays; the rows of the store are deleted; a receipt is kept
run      one pass for all erasures that wait: files of closed days, what is left in the bytes
```

Killed at any step, the next call goes on: the dropped pseudonyms are listed with the users until a pass has
ended, and every deletion is counted in the transaction that makes it. A pass takes only erasures that have
waited for `SETTLE_S`: by then every row is in the log that a worker had in hand as the pseudonym was dropped.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from marquee.store.files import announce_step
from marquee.store.ledger.erasing import LedgerErasure
from marquee.store.log.event_log import EventLog
from marquee.store.log.log_rows import SECONDS_PER_DAY
from marquee.store.people.erasing.parts import (
    Leaving,
    delete_unlisted,
    erase_from_parts,
    expire_parts,
    note_owners,
)
from marquee.store.people.erasing.receipts import (
    ErasureReceipt,
    HoldingRelease,
    Receipts,
    SignedReceipt,
    erasure_id_of,
    signed,
)
from marquee.store.people.users import Forgotten, Users
from marquee.store.scores.erasing import erase_from_scores, expire_scores
from marquee.store.signing import SigningKey

SETTLE_S = 60
"""Longer than any worker holds an event or a decision before it is in the log."""

SECONDS_PER_HOUR = 3600
_N_TRIES = 4

FindReleases = Callable[[str], Sequence[HoldingRelease]]
"""Returns the releases that hold a user, by the name that they have for them."""


@dataclass(frozen=True, slots=True)
class Retention:
    """After how many days rows go by themselves; 0 for never.

    Attributes:
        events: Events, by their own time.
        decisions: Decisions.
        tombstones: Tombstones of erased users, and their receipts.
        scores: Folders of scores, by the moment that they are of.
    """

    events: int = 0
    decisions: int = 0
    tombstones: int = 0
    scores: int = 0


@dataclass(frozen=True, slots=True)
class Places:
    """Where rows of users are, and what is known of them.

    Attributes:
        log: The event log.
        closed: Folder of its closed days; None if no day is closed.
        users: Handles and pseudonyms.
        receipts: What was erased.
        ledger: What users were shown of campaigns; None where that is not kept.
        scores: Folder of the folders of scores; None where there are none.
    """

    log: EventLog
    closed: Path | None
    users: Users
    receipts: Receipts
    ledger: LedgerErasure | None = None
    scores: Path | None = None


@dataclass(frozen=True, slots=True)
class PassReport:
    """The outcome of a pass.

    Attributes:
        finished: Erasures that are finished.
        expired: Rows that were deleted because of their age.
        is_wiped: Whether no byte of a deleted row is left; else another pass is due at once.
    """

    finished: int
    expired: int
    is_wiped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Eraser:
    """Erases users of one service.

    Attributes:
        places: Where their rows are.
        key: Signs receipts, None for nobody.
        hours: Within how many hours an erasure must be finished.
        retention: When rows go by themselves.
        find_releases: Finds the releases that hold a user.
        settle_s: How long an erasure waits for a pass, seconds.
        rest: Called where a pass holds no lock that others wait for: it may sleep as long as it wants.
    """

    places: Places
    key: SigningKey | None = None
    hours: int = 24
    retention: Retention = Retention()
    find_releases: FindReleases = lambda _name: ()
    settle_s: int = SETTLE_S
    rest: Callable[[], None] = lambda: None

    def begin(self, handle: bytes, user_id: str, now: int) -> SignedReceipt:
        """Erases a user from users and store, and returns the receipt; repeated, it changes nothing.

        Args:
            handle: Who.
            user_id: The same as the operator names them: a release may know them so.
            now: Seconds since 1970 UTC.

        Raises:
            EventLogError: If a store refuses; the person is forgotten or not, and a retry goes on.
        """
        users, receipts = self.places.users, self.places.receipts
        asked = self._forget(handle, now)
        erasure_id = erasure_id_of(handle, asked)
        if (known := self._receipt(handle, erasure_id)) is not None:
            return known
        waiting = next(
            (one for one in users.forgotten() if (one.handle, one.erased) == (handle, asked)), None
        )
        releases = self.find_releases(user_id)
        if waiting is not None:
            self._forget_ads(waiting.pseudonym, (), now)
            self.places.log.removal.erase_user(waiting.pseudonym, erasure_id)
            announce_step("erased from the store")
            releases = _merged(releases, self.find_releases(waiting.pseudonym))
        # Also of somebody unknown here: scores may be of users that the operator named.
        self._erase_scores([user_id, *([waiting.pseudonym] if waiting is not None else [])])
        # Somebody unknown has no rows: there is nothing to wait for.
        finished = asked if waiting is None else None
        receipt = signed(self._count(handle, asked, releases, finished), self.key)
        # A pass may have finished it meanwhile: that receipt stays.
        kept = receipts.keep(receipt)
        announce_step("kept the receipt")
        return kept

    def latest(self, handle: bytes) -> SignedReceipt | None:
        """Returns the receipt of the latest erasure of a person, None if there was none."""
        return next(iter(self.places.receipts.find(handle)), None)

    def is_due(self, now: int) -> bool:
        """Returns whether a pass should begin now."""
        last = self.places.receipts.last_pass()
        if last is None or now - last >= SECONDS_PER_DAY:
            return True
        # Half: all that were asked for since go along, and as much time is left for a pass that fails.
        return any(now - one.erased >= self.hours * SECONDS_PER_HOUR / 2 for one in self._settled(now))

    def run(self, now: int) -> PassReport | None:
        """Runs a pass; returns None if another process closes days or runs one.

        Args:
            now: Seconds since 1970 UTC.

        Raises:
            EventLogError: If a store refuses.
            OSError: If a disk does.
        """
        log = self.places.log
        with log.only_closer() as is_alone:
            if not is_alone:
                return None
            users, receipts = self.places.users, self.places.receipts
            # Killed from here on, or barred from overwriting bytes, another pass is due at once.
            receipts.begin_pass()
            if self.places.closed is not None:
                delete_unlisted(log, self.places.closed)
            settled = self._settled(now)
            self._erase_rows(settled, now)
            expired = self._expire(now)
            # Before anything is called finished: a deleted row still stands in the bytes of the stores.
            ledger = self.places.ledger
            is_wiped = ledger is None or _tried(ledger.wipe)
            if not all([_tried(log.removal.wipe), _tried(users.wipe), is_wiped]):
                return PassReport(0, expired, is_wiped=False)
            self._finish(settled, now)
            # Again, for the pseudonyms that were listed until now, and the receipts that were not final.
            is_wiped = all([_tried(users.wipe), _tried(receipts.wipe)])
            announce_step("overwrote bytes")
            if is_wiped:
                receipts.note_pass(now)
            return PassReport(len(settled), expired, is_wiped=is_wiped)

    def _forget(self, handle: bytes, now: int) -> int:
        """Drops what leads to a user's rows, and returns when they were erased, seconds since 1970 UTC."""
        users = self.places.users
        erased: int | None = None
        # Again where a pass drops, between the two calls, an old tombstone that was there already.
        while erased is None:
            # First: from here on no worker finds the pseudonym, whatever becomes of this process.
            users.forget(handle, now)
            announce_step("forgotten")
            erased = users.find(handle).erased
        return erased

    def _settled(self, now: int) -> list[Forgotten]:
        """Returns the dropped pseudonyms under which no further row can come."""
        return [one for one in self.places.users.forgotten() if now - one.erased >= self.settle_s]

    def _forget_ads(self, user_id: str, decision_ids: Collection[str], now: int) -> None:
        """Deletes from the ledger what leads to a user, while the log knows which decisions were theirs."""
        if self.places.ledger is not None:
            self.places.ledger.forget(self.places.log, user_id, decision_ids, now)
            announce_step("forgot ads")

    def _erase_scores(self, user_ids: Sequence[str]) -> None:
        """Removes users from the folders of scores."""
        if self.places.scores is not None and user_ids:
            erase_from_scores(self.places.scores, user_ids)
            announce_step("erased from scores")

    def _erase_rows(self, settled: Sequence[Forgotten], now: int) -> None:
        """Deletes all rows of erased users."""
        if not settled:
            return
        # Where no day is closed no file is listed, and none is looked for.
        log, closed = self.places.log, self.places.closed or Path()
        leaving = Leaving({one.pseudonym: erasure_id_of(one.handle, one.erased) for one in settled})
        note_owners(log, closed, leaving)
        decisions: dict[str, list[str]] = {}
        for decision_id, user_id in leaving.owner_of.items():
            decisions.setdefault(user_id, []).append(decision_id)
        for user_id, erasure_id in leaving.erasure_of.items():
            self._forget_ads(user_id, decisions.get(user_id, ()), now)
            log.removal.erase_user(user_id, erasure_id, decisions.get(user_id, ()))
            announce_step("erased what came later")
            self.rest()
        erase_from_parts(log, closed, leaving, self.rest)
        # Again: scores may have been written since, by a bundle that knows the person.
        self._erase_scores(list(leaving.erasure_of))

    def _expire(self, now: int) -> int:
        """Deletes rows, tombstones and receipts that are too old; returns how many rows of the log."""
        log, n_rows = self.places.log, 0
        events, decisions = (
            _days_ago(now, days) for days in (self.retention.events, self.retention.decisions)
        )
        n_rows += expire_parts(log, self.places.closed or Path(), events, decisions)
        for expire, before in (
            (log.removal.expire_events, events * SECONDS_PER_DAY),
            (log.removal.expire_decisions, decisions * SECONDS_PER_DAY * 1000),
        ):
            while before > 0 and (n_deleted := expire(before)):
                announce_step("expired some rows")
                n_rows += n_deleted
        if self.retention.scores and self.places.scores is not None:
            expire_scores(self.places.scores, now - self.retention.scores * SECONDS_PER_DAY)
            announce_step("expired scores")
        if self.retention.tombstones:
            before = now - self.retention.tombstones * SECONDS_PER_DAY
            self.places.users.drop_tombstones(before)
            self.places.receipts.drop(before)
        return n_rows

    def _finish(self, settled: Sequence[Forgotten], now: int) -> None:
        """Keeps the final receipts, and ends what waits."""
        for one in settled:
            releases = self.find_releases(one.pseudonym)
            final = self._count(one.handle, one.erased, releases, now)
            self.places.receipts.keep(signed(final, self.key))
            announce_step("kept a final receipt")
            self.rest()
        self.places.users.end_forgotten([one.pseudonym for one in settled])
        announce_step("ended what waits")
        removal = self.places.log.removal
        # In this order: what is counted was forgotten before, and is still listed unless it is finished.
        counted = removal.counted()
        waiting = {erasure_id_of(one.handle, one.erased) for one in self.places.users.forgotten()}
        removal.drop_counts(counted - waiting)
        announce_step("dropped counts that receipts hold")

    def _count(
        self, handle: bytes, asked: int, releases: Iterable[HoldingRelease], finished: int | None
    ) -> ErasureReceipt:
        """Returns the receipt of an erasure as far as it has come."""
        erasure_id = erasure_id_of(handle, asked)
        before = self._receipt(handle, erasure_id)
        removed = self.places.log.removal.count_removed(erasure_id)
        return ErasureReceipt(
            erasure_id=erasure_id,
            handle=handle.hex(),
            asked=asked,
            due=asked + self.hours * SECONDS_PER_HOUR,
            finished=finished,
            events=removed.events,
            decisions=removed.decisions,
            events_in_files=removed.events_in_files,
            decisions_in_files=removed.decisions_in_files,
            releases=_merged(before.receipt.releases if before else (), releases),
        )

    def _receipt(self, handle: bytes, erasure_id: str) -> SignedReceipt | None:
        """Returns the receipt of an erasure, None if none was kept."""
        found = self.places.receipts.find(handle)
        return next((one for one in found if one.receipt.erasure_id == erasure_id), None)


def _tried(wipe: Callable[[], bool]) -> bool:
    """Tries to overwrite what deleted rows have left; each try waits a moment for readers."""
    return any(wipe() for _ in range(_N_TRIES))


def _merged(some: Iterable[HoldingRelease], others: Iterable[HoldingRelease]) -> tuple[HoldingRelease, ...]:
    """Returns releases without repetition, by version."""
    # What was told first stays: the promise of a date does not move with the settings.
    found = {release.version: release for release in (*others, *some)}
    return tuple(sorted(found.values(), key=lambda release: release.version))


def _days_ago(now: int, days: int) -> int:
    """Returns the first day that is not older than so many days, days since 1970 UTC; 0 for no bound."""
    return now // SECONDS_PER_DAY - days if days else 0
