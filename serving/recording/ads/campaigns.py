"""The campaigns of one worker: asked anew for every answer, so that a pause holds at the next one.

A store in a file is asked in microseconds; a database in a thread, and waited for. Where it does not answer,
the campaigns that were known go on.
"""

import logging
import time
from collections.abc import Callable

from marquee.errors import EventLogError, EventLogGoneError
from marquee.store.campaigns.campaign import NO_CAMPAIGNS, CampaignSet
from marquee.store.campaigns.campaign_store import CampaignStore
from marquee.store.campaigns.opening import open_campaign_store
from serving.recording.ads.asking import Asker
from serving.recording.ads.metrics import CampaignMetrics
from serving.telemetry.background import Background, ThreadMetrics
from serving.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

BUDGET_S = 0.1
"""How long an answer waits for a database."""

LOOK_EVERY_S = 5.0
"""Also without answers the campaigns are asked so often."""


class Campaigns:
    """The campaigns, as a worker knows them.

    Args:
        where: That of the event log.
        metrics: What counts.
        budget_s: How long an answer waits for a database.
        open_store: Opens the store.
        clock: Returns the time, seconds since 1970 UTC.
    """

    def __init__(
        self,
        where: str,
        metrics: Metrics,
        budget_s: float = BUDGET_S,
        open_store: Callable[[str], CampaignStore] = open_campaign_store,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._where = where
        self._metrics = metrics.family(CampaignMetrics)
        self._threads = metrics.family(ThreadMetrics)
        self._open = open_store
        self._clock = clock
        self._asker = Asker("campaigns", budget_s)
        self._store: CampaignStore | None = None
        self._known = NO_CAMPAIGNS
        self._has_failed = False
        self._thread: Background | None = None

    def open(self) -> None:
        """Reads the campaigns for the first time.

        Raises:
            EventLogError: If the store cannot be made or reached.
            ConfigError: If it never can.
        """
        self._store = self._open(self._where)
        self._take(self._store.current())

    def watch(self, interval_s: float = LOOK_EVERY_S) -> None:
        """Begins to ask for the campaigns in a thread of its own as well."""
        self._thread = Background("campaigns", self.current, interval_s, self._threads, self._clock)
        self._thread.start()

    @property
    def store(self) -> CampaignStore:
        """The store; raises EventLogGoneError before it is open."""
        if self._store is None:
            raise EventLogGoneError(
                f"the campaigns are not read yet, got sequence {self._known.sequence}; send it again in a "
                "moment"
            )
        return self._store

    def current(self) -> CampaignSet:
        """Returns the campaigns as they are; as they were when the store was last reached, if it is not."""
        store = self._store
        if store is None:
            return self._known
        try:
            found = self._asker.ask(store.current) if store.is_remote else store.current()
        except EventLogError as error:
            self._metrics.count_stale()
            # Told once until it succeeds again: every answer would write a line.
            if not self._has_failed:
                logger.error("the campaigns cannot be read, those that were known go on: %s", error)
            self._has_failed = True
            return self._known
        self._has_failed = False
        self._take(found)
        return found

    def close(self) -> None:
        """Ends the threads and gives up the store."""
        if self._thread is not None:
            self._thread.close()
        self._asker.close()
        if self._store is not None and self._asker.is_idle:
            self._store.close()

    def _take(self, campaigns: CampaignSet) -> None:
        """Keeps what was read, and shows it if it is new."""
        if campaigns is not self._known:
            self._known = campaigns
            self._metrics.show_campaigns(campaigns)
