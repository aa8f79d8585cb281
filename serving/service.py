"""The BentoML service: `MARQUEE_BUNDLE=bundles/<name> bentoml serve serving.service:MarqueeService`.

A genuine BentoML service: its workers, lifecycle, pages and bento are BentoML's. Only the way of a
request is ours, because BentoML's own costs several times what the model does. Importing this module
reads the settings and nothing else, for BentoML also imports it in the process that watches the workers.
"""

import gc
import logging
import time
from typing import Any

import bentoml
from bentoml.exceptions import BentoMLConfigException

from marquee.bundle import Bundle
from marquee.catalog import ItemKind
from marquee.errors import ConfigError, MarqueeError
from marquee.recommender import Recommender
from marquee.requests import HistoryEvent, Request
from serving.app import RecommendationApp
from serving.config import Settings
from serving.endpoints import Endpoints
from serving.exchange import AsgiApp

logger = logging.getLogger("bentoml.marquee")  # below the one logger that BentoML lets speak at level INFO

WARM_UP_BATCHES = (1, 4, 32)

_ONE_THREAD_EACH = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")
"""Workers scale by processes; a second thread inside one turns 0.1 ms into tens of ms on a busy host."""


def read_settings() -> Settings:
    """Returns the operator's settings; BentoML shows the exception's message without a stack trace."""
    try:
        return Settings.from_environment()
    except ConfigError as error:
        raise BentoMLConfigException(str(error)) from error


SETTINGS = read_settings()


class RoutedService(bentoml.Service[Any]):  # type: ignore[misc]  # BentoML's SDK is not typed
    """A BentoML service whose application is wrapped in `RecommendationApp`."""

    def __call__(self) -> "MarqueeService":
        """Returns the instance that BentoML serves, and remembers it."""
        instance: MarqueeService = super().__call__()
        self.instance = instance
        return instance

    def to_asgi(self, is_main: bool = True) -> AsgiApp:
        """Returns BentoML's application inside ours."""
        endpoints = Endpoints(SETTINGS, lambda: self.instance.recommender)
        return RecommendationApp(super().to_asgi(is_main), endpoints, SETTINGS)


@bentoml.service(
    name="marquee",
    service_class=RoutedService,
    workers=SETTINGS.workers,
    # BentoML's timeout middleware keeps each request's memory for this long; its pages need far less.
    traffic={"timeout": 2},
    metrics={"enabled": False},
    monitoring={"enabled": False},
    logging={"access": {"enabled": False}},
    envs=[{"name": name, "value": "1"} for name in _ONE_THREAD_EACH],
)
class MarqueeService:
    """Recommends content and ads from one bundle."""

    def __init__(self) -> None:
        self.recommender: Recommender | None = None  # until it is warm

    @bentoml.on_deployment  # type: ignore[untyped-decorator]  # as above
    @staticmethod
    def verify_bundle() -> None:
        """Raises before any worker starts if the bundle cannot be used; runs in the watching process."""
        if not SETTINGS.bundle:
            raise BentoMLConfigException(
                "MARQUEE_BUNDLE must name the folder of a bundle, got ''; set it to bundles/world, say"
            )
        try:
            Bundle.load(SETTINGS.bundle)
        except MarqueeError as error:
            raise BentoMLConfigException(str(error)) from error

    @bentoml.on_startup  # type: ignore[untyped-decorator]  # as above
    def load_bundle(self) -> None:
        """Loads the bundle, warms it up and takes what it holds out of the garbage collector's sight."""
        recommender = Recommender.load(SETTINGS.bundle)
        warm_up(recommender)
        gc.collect()
        gc.freeze()
        self.recommender = recommender


def warm_up(recommender: Recommender) -> None:
    """Sends every kind of request through the model, in batches of one and of many."""
    item_ids = recommender.bundle.catalog.item_ids.ids[:3]
    user_ids = recommender.bundle.user_ids.ids[:1]
    timestamp = int(time.time())
    history = tuple(HistoryEvent(item_id) for item_id in item_ids)
    requests = [
        Request(timestamp=timestamp),
        Request(timestamp=timestamp, history=history),
        *(
            Request(timestamp=timestamp, user_id=user_id, kind=kind)
            for user_id in user_ids
            for kind in ItemKind
        ),
    ]
    for batch in WARM_UP_BATCHES:
        recommender.recommend([requests[position % len(requests)] for position in range(batch)])
    for item_id in item_ids:
        recommender.similar(item_id, k=10, kind=None, exclude=(), timestamp=timestamp)
