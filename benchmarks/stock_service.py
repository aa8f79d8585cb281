"""BentoML without our layer: the same model behind a plain `@bentoml.api`, as its guide has it."""

import os
import time
from typing import Annotated

import bentoml
from pydantic import BaseModel, Field

from marquee.decision.recommender import Recommender
from marquee.decision.requests import HistoryEvent, Request


class Item(BaseModel):
    """A recommended item."""

    item_id: str
    score: float
    kind: str


class Reply(BaseModel):
    """An answer, with only the fields that are compared."""

    version: str
    source: str
    items: list[Item]


@bentoml.service(workers=2, envs=[{"name": "OMP_NUM_THREADS", "value": "1"}])
class StockService:
    """The recommender behind BentoML's own way of a request."""

    def __init__(self) -> None:
        self.recommender = Recommender.load(os.environ["BENCH_BUNDLE"])

    @bentoml.api  # type: ignore[untyped-decorator]  # BentoML's SDK is not typed
    async def recommend(self, history: list[str], k: Annotated[int, Field(ge=1, le=500)] = 10) -> Reply:
        """Returns the items for a history."""
        events = tuple(HistoryEvent(item_id) for item_id in history)
        (answer,) = self.recommender.recommend([Request(timestamp=int(time.time()), history=events, k=k)])
        items = [Item(item_id=i.item_id, score=i.score, kind=i.kind) for i in answer.items]
        return Reply(version=answer.version, source=answer.source, items=items)
