"""What each route does with a body: read it, put it through the model, tell the answer."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from marquee.errors import MarqueeError
from marquee.recommender import Recommender
from marquee.requests import Answer, Request
from serving import wire
from serving.batching import Batcher
from serving.config import Settings
from serving.errors import ErrorAnswer, Refusal, refusal_of, unavailable
from serving.metrics import Metrics

logger = logging.getLogger(__name__)

Job = Request | wire.SimilarJob
AnyJob = TypeVar("AnyJob", Request, wire.SimilarJob)


class Endpoints:
    """Answers bodies with the recommender that is loaded; belongs to one event loop.

    Args:
        settings: The operator's limits.
        recommender: Returns the recommender once it is loaded and warm, None before that.
        clock: Returns the time, seconds since 1970 UTC; read once per body.
        metrics: What counts.
    """

    def __init__(
        self,
        settings: Settings,
        recommender: Callable[[], Recommender | None],
        clock: Callable[[], float] = time.time,
        metrics: Metrics | None = None,
    ) -> None:
        self._settings = settings
        self._recommender = recommender
        self._clock = clock
        self.metrics = metrics or Metrics()
        self._batcher: Batcher[Job, Answer] = Batcher(
            self._run_batch,
            micro_batch=settings.micro_batch,
            max_pending=settings.max_pending,
            deadline_s=settings.deadline_ms / 1000,
        )
        self._read_recommend = wire.reader(wire.RecommendRequest)
        self._read_similar = wire.reader(wire.SimilarRequest)
        self._read_batch = wire.reader(wire.BatchRequest)

    async def recommend(self, body: bytes, request_id: str, deadline_s: float) -> wire.RecommendAnswer:
        """Returns the answer to one request."""
        request = self._accepted(wire.to_request(self._read_recommend(body), self._settings, self._now()))
        (future,) = self._batcher.enqueue([request], deadline_s)
        return wire.RecommendAnswer.of(await future, request_id)

    async def similar(self, body: bytes, request_id: str, deadline_s: float) -> wire.RecommendAnswer:
        """Returns the items that resemble one."""
        job = self._accepted(wire.to_similar_job(self._read_similar(body), self._settings, self._now()))
        (future,) = self._batcher.enqueue([job], deadline_s)
        return wire.RecommendAnswer.of(await future, request_id)

    async def recommend_batch(self, body: bytes, request_id: str, deadline_s: float) -> wire.BatchAnswer:
        """Returns an answer or an error for each of several requests."""
        message = self._read_batch(body)
        wire.validate_batch_size(message, self._settings)
        parts = self._read_parts(message, self._now())
        futures = self._batcher.enqueue([part for part in parts if isinstance(part, Request)], deadline_s)
        answered = iter(await asyncio.gather(*futures, return_exceptions=True))
        outcomes = [next(answered) if isinstance(part, Request) else part for part in parts]
        answers = [_tell(outcome, f"{request_id}.{position}") for position, outcome in enumerate(outcomes)]
        return wire.BatchAnswer(request_id=request_id, answers=answers)

    def refuse_if_full(self, deadline_s: float) -> None:
        """Raises Refusal if a request that came now would be answered too late."""
        self._batcher.refuse_if_full(deadline_s)

    def bundle(self) -> wire.BundleAnswer:
        """Returns which bundle answers."""
        return wire.BundleAnswer.of(self.loaded_recommender().bundle)

    def loaded_recommender(self) -> Recommender:
        """Returns the recommender; raises Refusal before it is loaded."""
        recommender = self._recommender()
        if recommender is None:
            raise unavailable("the bundle is being loaded; retry after a moment")
        return recommender

    def close(self) -> None:
        """Waits for the requests in the model and stops taking more."""
        self._batcher.close()

    def _read_parts(self, message: wire.BatchRequest, timestamp: int) -> list[Request | Exception]:
        """Returns a request, or the reason why it is none, per part of a batch."""
        parts: list[Request | Exception] = []
        for part in message.requests:
            try:
                request = wire.to_request(self._read_recommend(part), self._settings, timestamp)
                parts.append(self._accepted(request))
            except (Refusal, MarqueeError) as error:
                parts.append(error)
        return parts

    def _accepted(self, job: AnyJob) -> AnyJob:
        """Returns a job; raises FilterError if the catalog cannot apply it, before it could spoil a batch."""
        if job.filters:
            self.loaded_recommender().bundle.catalog.validate_filters(job.filters)
        return job

    def _run_batch(self, jobs: Sequence[Job]) -> list[Answer]:
        """Returns the answer to each job, all from one recommender; runs in the batcher's thread."""
        started = time.perf_counter()
        recommender = self.loaded_recommender()
        requests = [job for job in jobs if isinstance(job, Request)]
        recommended = iter(recommender.recommend(requests) if requests else [])
        answers = [
            next(recommended)
            if isinstance(job, Request)
            else recommender.similar(
                job.item_id,
                k=job.k,
                kind=job.kind,
                filters=job.filters,
                exclude=job.exclude,
                timestamp=job.timestamp,
            )
            for job in jobs
        ]
        self.metrics.count_batch(answers, time.perf_counter() - started)
        return answers

    def _now(self) -> int:
        """Returns the time of a request, seconds since 1970 UTC."""
        return int(self._clock())


def _tell(outcome: Answer | BaseException, request_id: str) -> wire.RecommendAnswer | ErrorAnswer:
    """Returns the message for one part of a batch."""
    if isinstance(outcome, Answer):
        return wire.RecommendAnswer.of(outcome, request_id)
    return refusal_and_log(outcome, request_id).answer(request_id)


def refusal_and_log(error: BaseException, request_id: str) -> Refusal:
    """Returns what the caller is told about `error`, and logs in full what is no fault of the caller."""
    refusal = refusal_of(error)
    if refusal is not error and refusal.status >= 500:
        facts = {"request_id": request_id}
        logger.error("request %s failed", request_id, exc_info=error, extra={"facts": facts})
    return refusal
