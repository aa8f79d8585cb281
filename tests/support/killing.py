"""Load on a real service whose workers or store end, and what is then missing from its event log."""

import math
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from marquee.client import Client, EventMessage, RecommendRequest, ServiceError
from marquee.store.log.decision_ids import made_ms
from marquee.store.log.event_log import EventLog
from marquee.store.log.opening import open_event_log
from tests.support.service_process import RunningService, eventually, workers_of

N_SENDERS, N_ASKERS = 4, 2
# Answers between two kills: enough that each worker is in the middle of something.
BETWEEN_KILLS = 20
JOIN_S = 60


@dataclass
class SteadyLoad:
    """Senders of events and askers, whatever becomes of the workers and the store behind them.

    Attributes:
        name: Begins the ids of its events; no two loads of a service may share it.
        running: The service.
        app: Makes a client that may send events.
        shop: Makes a client that may ask.
        acknowledged: Ids of events that the service said are kept.
        recorded: Decisions that the service said are on record.
        ended_at: When each worker, or the store, was dead, seconds since 1970 UTC.
    """

    name: str
    running: RunningService
    app: Callable[[], Client]
    shop: Callable[[], Client]
    acknowledged: list[str] = field(default_factory=list)
    recorded: list[str] = field(default_factory=list)
    ended_at: list[float] = field(default_factory=list)
    _is_over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Sends and asks until the block ends."""
        threads = [threading.Thread(target=self._send, args=(number,)) for number in range(N_SENDERS)]
        threads += [threading.Thread(target=self._ask) for _ in range(N_ASKERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            for thread in threads:
                thread.join(JOIN_S)

    def kill(self, n_kills: int) -> None:
        """Kills so many workers, one after the other, each in the middle of work."""
        for _ in range(n_kills):
            self.await_work()
            assert eventually(lambda: len(workers_of(self.running)) == 2)
            # The one that has lived longest: another may not have begun to answer yet.
            victim = min(workers_of(self.running), key=lambda worker: worker.create_time())
            os.kill(victim.pid, signal.SIGKILL)
            self.ended_at.append(time.time())
        self.await_work()

    def lost_decisions(self, log: EventLog) -> list[float]:
        """Returns for each decision that is not on record how long before an end it was made, seconds."""
        kept = log.users_of(self.recorded)
        return [self._before_end_s(one) for one in self.recorded if one not in kept]

    def _before_end_s(self, decision_id: str) -> float:
        """Returns how long after a decision a worker or the store ended, infinity if none did."""
        # By the id, not by the answer: that may come after the death of who gave it.
        made = made_ms(decision_id)
        assert made is not None, decision_id
        ages = [ended - made / 1000 for ended in self.ended_at if ended > made / 1000]
        return min(ages, default=math.inf)

    def await_work(self) -> None:
        """Waits until events and answers come again."""
        n_events, n_answers = len(self.acknowledged), len(self.recorded)
        assert eventually(
            lambda: (
                len(self.acknowledged) >= n_events + BETWEEN_KILLS
                and len(self.recorded) >= n_answers + BETWEEN_KILLS
            )
        )

    def _send(self, number: int) -> None:
        """Sends events."""
        count = 0
        with self.app() as app:
            while not self._is_over.is_set():
                count += 1
                event_id = f"{self.name}-{number}-{count}"
                row = EventMessage(
                    event_id=event_id,
                    kind="view",
                    item_id="i001",
                    timestamp=int(time.time()),
                    user_id=event_id,
                )
                try:
                    told = app.send_events([row])
                except ServiceError:
                    continue  # not acknowledged: it may be there or not
                assert told.accepted + told.repeated == 1
                self.acknowledged.append(event_id)

    def _ask(self) -> None:
        """Asks for answers."""
        with self.shop() as shop:
            while not self._is_over.is_set():
                try:
                    answer = shop.recommend(RecommendRequest(user_id="u1", k=3))
                except ServiceError:
                    continue
                if answer.recorded:
                    assert answer.decision_id is not None
                    self.recorded.append(answer.decision_id)


@dataclass(frozen=True)
class Missing:
    """The rows of a log that kills have cost.

    Attributes:
        events: Acknowledged, and not there.
        doubles: There more than once.
        decisions_s: For each decision that is not there how long before an end it was made, seconds.
    """

    events: int
    doubles: int
    decisions_s: list[float]


def missing_from(where: str, load: SteadyLoad) -> Missing:
    """Returns the rows that a log lacks after a load; what its writers have queued must be written."""
    log = open_event_log(where)
    kept = Counter(logged.event.event_id for logged in log.read(0, 10**9))
    # The last groups of the workers that live.
    eventually(lambda: math.inf not in load.lost_decisions(log))
    lost = load.lost_decisions(log)
    log.close()
    return Missing(
        events=len(set(load.acknowledged) - set(kept)),
        doubles=sum(times - 1 for times in kept.values()),
        decisions_s=lost,
    )
