"""The same model behind bare Starlette: no limits, no batches, no releases, no counters. A reference."""

import json
import os
import time

from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse
from starlette.routing import Route

from marquee.decision.recommender import Recommender
from marquee.decision.requests import HistoryEvent, Request

recommender = Recommender.load(os.environ["BENCH_BUNDLE"])


async def recommend(request: HttpRequest) -> JSONResponse:
    """Returns the items for a history."""
    body = json.loads(await request.body())
    events = tuple(HistoryEvent(item_id) for item_id in body["history"])
    asked = Request(timestamp=int(time.time()), history=events, k=body.get("k", 10))
    (answer,) = recommender.recommend([asked])
    items = [{"item_id": i.item_id, "score": i.score, "kind": i.kind} for i in answer.items]
    return JSONResponse({"version": answer.version, "source": answer.source, "items": items})


async def ready(_request: HttpRequest) -> JSONResponse:
    """Returns that the server is up."""
    return JSONResponse({})


app = Starlette(routes=[Route("/recommend", recommend, methods=["POST"]), Route("/readyz", ready)])
