"""Erases users of the service: at once by a request, the rest in passes that a process of its own runs.

Every worker has a thread that looks whether a pass is due; the log lets one at a time run, and the others
find nothing left to do.
"""

import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from marquee.store.ledger.erasing import open_ledger_erasure
from marquee.store.ledger.rows import Charge, Shown
from marquee.store.log.log_rows import SOLD
from marquee.store.people.erasing.eraser import SECONDS_PER_HOUR, Eraser, PassReport, Places
from marquee.store.people.erasing.held_rows import HeldPage, read_held
from marquee.store.people.erasing.opening import open_receipts
from marquee.store.people.erasing.receipts import Receipts, SignedReceipt
from marquee.store.people.users import Consent, Person
from serving.recording.erasing_terms import Order, Terms
from serving.recording.metrics import ErasureMetrics
from serving.recording.opening import Opened, OpenedLog
from serving.recording.orders import OrderedProcess
from serving.recording.users import KeyedUsers
from serving.telemetry.background import Background, ThreadMetrics
from serving.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

LOOK_S = 20.0
"""Seconds between two looks: within those after which a thread without heartbeat counts as one that hangs."""

PATIENCE_S = 540.0
"""How long a pass may take. What it has deleted stays deleted; the next one goes on with the rest."""

OPEN_S = 5.0
"""How long to wait for a store that another thread opens."""

_MODULE = "serving.recording.erasing_process"


@dataclass(frozen=True, slots=True)
class Held:
    """All that is held of a user, as far as a page goes.

    Attributes:
        person: Their row.
        consents: What was said for them.
        receipts: Of their erasures.
        page: Their rows in the log.
        shown: When they were shown what caps of campaigns count; on the first page.
        charges: What became of the ads in the answers of this page.
    """

    person: Person
    consents: Sequence[Consent]
    receipts: Sequence[SignedReceipt]
    page: HeldPage
    shown: Shown = field(default_factory=dict)
    charges: Sequence[Charge] = ()


class Erasures:
    """The erasures of one service, as one process sees them. May be called from several threads.

    Methods raise EventLogError where a store cannot be used, and ConfigError where it never can.

    Args:
        where: The log.
        closed: Folder of its closed days; None if no day is closed.
        log: The log.
        users: Its users.
        terms: What was promised.
    """

    def __init__(
        self, where: str, closed: Path | None, log: OpenedLog, users: KeyedUsers, terms: Terms
    ) -> None:
        self._log = log
        self._closed = closed
        self._users = users
        self._terms = terms
        self._receipts: Opened[Receipts] = Opened(where, open_receipts)
        self._ledger = Opened(where, open_ledger_erasure)
        self.order = Order(where=where, closed=str(closed) if closed else None, terms=terms, now=0)

    def erase(self, user_id: str, now: int) -> SignedReceipt:
        """Erases a user; see `Eraser.begin`."""
        return self.eraser().begin(self._users.handle_of(user_id), user_id, now)

    def latest(self, user_id: str) -> SignedReceipt | None:
        """Returns the receipt of the latest erasure of a user, None if there was none."""
        return self.eraser().latest(self._users.handle_of(user_id))

    def held(self, user_id: str, cursor: str, limit: int) -> Held:
        """Returns a page of all that is held of a user; raises DataError if the cursor is none."""
        handle, users = self._users.handle_of(user_id), self._users.store(OPEN_S)
        person, consents = users.find(handle), users.consents(handle)
        held = Held(person, consents, self._receipts.get(OPEN_S).find(handle), HeldPage())
        if person.pseudonym is None:
            return held
        log, ledger = self._log.get(OPEN_S), self._ledger.get(OPEN_S)
        page = read_held(log, self._closed or Path(), person.pseudonym, cursor, limit)
        sold = [row["decision_id"] for row in page.decisions if SOLD in row["more"]]
        shown = {} if cursor else ledger.shown(person.pseudonym)
        return replace(held, page=page, shown=shown, charges=ledger.charges(sold))

    def held_by_releases(self) -> dict[str, int]:
        """Returns how many erased users each release knows, by version."""
        return dict(self._receipts.get(OPEN_S).held())

    def eraser(self) -> Eraser:
        """Returns the eraser on the terms of the operator."""
        # Who erases may wait: no answer stands behind this.
        log, users, receipts = self._log.get(OPEN_S), self._users.store(OPEN_S), self._receipts.get(OPEN_S)
        places = Places(log, self._closed, users, receipts, self._ledger.get(OPEN_S))
        return self._terms.eraser(places)

    def close(self) -> None:
        """Gives up receipts and ledger."""
        self._receipts.close()
        self._ledger.close()


class ErasingThread:
    """Has passes run when they are due.

    Args:
        erasures: What erases.
        overdue: Returns the versions of the releases that answer and are too old.
        metrics: What counts.
        clock: Returns the time, seconds since 1970 UTC.
    """

    def __init__(
        self,
        erasures: Erasures,
        overdue: Callable[[float], Collection[str]],
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._erasures = erasures
        self._overdue = overdue
        self._metrics = metrics.family(ErasureMetrics)
        self._clock = clock
        self._is_barred = False
        self._process = OrderedProcess(_MODULE, "the pass of erasures", PATIENCE_S)
        self._thread = Background("erasing", self.look, LOOK_S, metrics.family(ThreadMetrics), clock)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def close(self) -> None:
        """Ends the thread and the process; the next pass goes on with what that has left."""
        self._thread.close()
        self._process.close()

    def look(self) -> PassReport | None:
        """Has a pass run if it is due; returns what it did.

        Raises:
            EventLogError: If a store refuses, or the pass fails or takes too long.
        """
        now, eraser = self._clock(), self._erasures.eraser()
        report = None
        if eraser.is_due(int(now)):
            told = self._process.run(msgspec.structs.replace(self._erasures.order, now=int(now)))
            report = msgspec.json.decode(told, type=PassReport | None) if told else None
        if report is not None:
            self._tell_unwiped(report)
        if report is not None and (report.is_wiped or report.finished or report.expired):
            logger.info("a pass has finished %s erasures and %s old rows", report.finished, report.expired)
            self._metrics.count_pass(report.finished, report.expired)
        waiting = eraser.places.users.forgotten()
        held, overdue = self._erasures.held_by_releases(), self._overdue(now)
        share = (now - waiting[0].erased) / (eraser.hours * SECONDS_PER_HOUR) if waiting else 0.0
        self._metrics.show(share, sum(held.get(version, 0) for version in overdue))
        return report

    def _tell_unwiped(self, report: PassReport) -> None:
        """Says once, until a pass overwrites it all, that what deleted rows have left is still there."""
        if not report.is_wiped and not self._is_barred:
            logger.warning(
                "a pass could not overwrite what deleted rows have left, for somebody read the store all the "
                "while: what it waits for is finished by a later one, every %g s until then",
                LOOK_S,
            )
        self._is_barred = not report.is_wiped
