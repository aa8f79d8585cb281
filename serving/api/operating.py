"""The routes for those who run the service: health, counters, the document and its page."""

import asyncio

from serving.api.document.page import PAGE, PAGE_POLICY
from serving.api.messages.answers import HealthAnswer
from serving.http.draining import Draining
from serving.http.errors import unavailable
from serving.http.exchange import HTML, Call, Reply
from serving.releases.surfaces import Surfaces
from serving.telemetry.metrics import CONTENT_TYPE, Metrics


class Operating:
    """Answers about the process itself.

    Args:
        surfaces: Are asked whether they are ready.
        metrics: The counters.
        draining: Whether the service is about to end.
        document: The OpenAPI document, as JSON.
    """

    def __init__(self, surfaces: Surfaces, metrics: Metrics, draining: Draining, document: bytes) -> None:
        self._surfaces = surfaces
        self._metrics = metrics
        self._draining = draining
        self._document = document

    async def livez(self, _call: Call) -> HealthAnswer:
        """Returns that the process lives."""
        return HealthAnswer(status="alive")

    async def readyz(self, _call: Call) -> HealthAnswer:
        """Returns that requests are welcome; raises Refusal if they are not yet, or not for long."""
        self._surfaces.validate_ready()
        reason = self._draining.reason()
        if reason:
            raise unavailable(f"the service is being drained: {reason}; ask another")
        return HealthAnswer(status="ready", behind=self._surfaces.behind)

    async def metrics(self, _call: Call) -> Reply:
        """Returns the counters."""
        # In a thread: the counters of all workers lie in files.
        text = await asyncio.to_thread(self._metrics.exposition)
        return Reply(200, text, ((b"content-type", CONTENT_TYPE),))

    async def document(self, _call: Call) -> Reply:
        """Returns the OpenAPI document."""
        return Reply(200, self._document)

    async def page(self, _call: Call) -> Reply:
        """Returns the page on which people read and try the document."""
        return Reply(200, PAGE, HTML, PAGE_POLICY)

    def close(self) -> None:
        """Does nothing: nothing was begun."""
