"""Asks a candidate what the current release was asked, compares the answers, and never gives one out.

The live path must not notice: it leaves a request in a queue that drops what it has no room for. One thread
takes one request at a time and rests after each for nine times as long as it took. It is not of low priority:
on a busy machine it would then wait for the processor while it holds the interpreter's lock, and all with it.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from marquee.decision.golden_requests import overlap_at_k
from marquee.decision.policies.config import NO_EXPLORATION
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Answer, Request
from marquee.store.rules.rule import NO_RULES
from serving.releases.metrics import CandidateMetrics
from serving.telemetry.background import ThreadMetrics

logger = logging.getLogger(__name__)

# Few: what waits long is compared with an answer of another moment.
CAPACITY = 64
BUSY_FRACTION = 0.1
"""Most of a processor that the thread of a worker uses."""

REPORT_EVERY_S = 10.0
_THREAD = "shadow"


@dataclass(frozen=True, slots=True)
class _Question:
    """A request, its answer, and who is to be asked again because that answer was drawn."""

    candidate: Recommender
    current: Recommender | None
    request: Request
    answer: Answer


@dataclass(slots=True)
class _Tally:
    """The counts of one candidate since the last line in the log."""

    version: str = ""
    n_compared: int = 0
    n_failed: int = 0
    n_dropped: int = 0
    n_same: int = 0
    total_overlap: float = 0.0


class Shadow:
    """Compares the answers of candidates, in a thread of its own.

    Args:
        metrics: Counts what is compared, dropped and failed.
        threads: Shows that the thread lives.
        sleep: Waits for so many seconds, or until `close` is called.
        clock: Returns seconds.
    """

    def __init__(
        self,
        metrics: CandidateMetrics,
        threads: ThreadMetrics,
        sleep: Callable[[float], object] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._metrics = metrics
        self._threads = threads
        self._closing = threading.Event()
        self._sleep = sleep or self._closing.wait
        self._clock = clock
        self._questions: queue.Queue[_Question] = queue.Queue(CAPACITY)
        self._tally = _Tally()
        self._reported = clock()
        self._thread: threading.Thread | None = None

    def offer(
        self, candidate: Recommender, request: Request, answer: Answer, current: Recommender | None = None
    ) -> None:
        """Leaves a request for comparison; never waits. Called from one thread.

        Args:
            candidate: Is asked.
            request: What the current release was asked.
            answer: What it answered.
            current: Where places were drawn, or rules held, it is asked again, as the candidate is, without
                them: two draws say nothing of two models, and nor does what people pin in both.
        """
        # Most services never have a shadow: they get no thread for it.
        if self._thread is None:
            self._thread = threading.Thread(target=self._compare_all, name=_THREAD, daemon=True)
            self._thread.start()
        try:
            if current is not None and (request.explores or request.rules):
                request = replace(request, exploration=NO_EXPLORATION, rules=NO_RULES)
            else:
                current = None
            # Dropped and not awaited: this is the thread that answers.
            self._questions.put_nowait(_Question(candidate, current, request, answer))
        except queue.Full:
            self._tally.n_dropped += 1
            self._metrics.count_shadow("dropped")

    def close(self) -> None:
        """Ends the thread; what waits is not compared any more."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _compare_all(self) -> None:
        """Compares until `close` is called."""
        while not self._closing.is_set():
            self._threads.show_heartbeat(_THREAD, time.time())
            try:
                # Not for ever: the heartbeat goes on while nothing comes, and `close` is seen.
                question = self._questions.get(timeout=0.5)
            except queue.Empty:
                self._report_at_times()
                continue
            started = self._clock()
            self._compare(question)
            self._report_at_times()
            # Nine times as long as it worked, which makes a tenth of a processor.
            self._sleep((self._clock() - started) * (1.0 / BUSY_FRACTION - 1.0))

    def _compare(self, question: _Question) -> None:
        """Asks the candidate one question and counts how its answer compares."""
        # A line in the log speaks of one candidate.
        if question.candidate.version != self._tally.version:
            self._report()
            self._tally.version = question.candidate.version
        tally = self._tally
        try:
            known = question.answer
            if question.current is not None:
                (known,) = question.current.recommend([question.request])
            expected = [item.item_id for item in known.items]
            (answer,) = question.candidate.recommend([question.request])
            actual = [item.item_id for item in answer.items]
        except Exception as error:  # whatever a candidate does, nobody waits for its answer
            # One line per report: a candidate that always fails must not fill the disk.
            if not tally.n_failed:
                logger.warning("the shadow %s failed: %r", tally.version, error, exc_info=error)
            tally.n_failed += 1
            self._metrics.count_shadow("failed")
            return
        overlap = overlap_at_k(expected, actual)
        tally.n_compared += 1
        tally.n_same += expected == actual
        tally.total_overlap += overlap
        self._metrics.count_shadow("compared", overlap)

    def _report_at_times(self) -> None:
        """Writes a line if the last one is old enough."""
        if self._clock() - self._reported >= REPORT_EVERY_S:
            self._report()

    def _report(self) -> None:
        """Writes a line about what was seen since the last one, if anything was."""
        tally = self._tally
        self._reported = self._clock()
        if tally.n_compared or tally.n_failed or tally.n_dropped:
            facts = {
                "release": tally.version,
                "compared": tally.n_compared,
                "failed": tally.n_failed,
                "dropped": tally.n_dropped,
                "same": tally.n_same,
                "mean_overlap": round(tally.total_overlap / max(1, tally.n_compared), 4),
            }
            logger.info("shadow %s was compared", tally.version, extra={"facts": facts})
        self._tally = _Tally(tally.version)
