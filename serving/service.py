"""The BentoML service: `MARQUEE_BUNDLE=bundles/<name> bentoml serve serving.service:MarqueeService`.

A genuine BentoML service: its workers, lifecycle, pages and bento are BentoML's. Only the way of a
request is ours, because BentoML's own costs several times what the model does. Importing this module
reads the settings and nothing else, for BentoML also imports it in the process that watches the workers.
"""

import logging
import os
import sys
import threading
from functools import cached_property
from pathlib import Path
from typing import Any

import bentoml
from bentoml.exceptions import BentoMLConfigException

from marquee.ads.objective import read_objective
from marquee.bundle.traits.customers import CustomersInMemory
from marquee.bundle.traits.run import CustomersRun
from marquee.core.targeting.targeting import NO_CUSTOMERS
from marquee.errors import ConfigError, MarqueeError
from serving.api.exchange.opening import validate_exchange
from serving.application import open_application, read_words
from serving.config import Settings
from serving.http.cors import read_origins
from serving.http.exchange import AsgiApp
from serving.http.guard import Guard
from serving.http.options import validate_options
from serving.parts import Parts, read_trusted_keys
from serving.recording.ads.spending import validate_campaigns
from serving.recording.erasing_terms import validate_terms
from serving.recording.opening import validate_log
from serving.recording.rules.following import validate_rule_store
from serving.releases.arms.experiments import Experiments
from serving.releases.live_items import validate_folder
from serving.releases.loading import share_verified
from serving.releases.surface_file import SurfaceFile
from serving.telemetry import logs
from serving.telemetry.metrics import FOLDER_VARIABLE, forget_dead_workers

logger = logging.getLogger(__name__)

_ONE_THREAD_EACH = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")
"""Workers scale by processes; a second thread inside one turns 0.1 ms into tens of ms on a busy host."""

SWITCH_S = 0.0005
"""A thread that computes lets the event loop go on after so long."""


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
        """Returns the instance that BentoML serves."""
        instance: MarqueeService = super().__call__()
        instance.parts = self.parts
        return instance

    @cached_property
    def parts(self) -> Parts:
        """The parts of this process; first asked for in a worker, which knows its index by then."""
        return Parts(SETTINGS, bentoml.server_context.worker_index or 0)

    def to_asgi(self, is_main: bool = True) -> AsgiApp:
        """Returns BentoML's application inside ours, before uvicorn is told how to serve it."""
        # Python's own 5 ms is what a request would wait for while a thread judges rows of events.
        sys.setswitchinterval(SWITCH_S)
        return open_application(self.parts, super().to_asgi(is_main))


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
    """Recommends content and ads from the release that is current."""

    parts: Parts

    @bentoml.on_deployment  # type: ignore[untyped-decorator]  # as above
    @staticmethod
    def verify_bundle() -> None:
        """Raises before any worker starts if what is served cannot be used; runs in the watching process.

        Whatever a worker refuses to start with belongs here as well: a worker can tell nobody, ends, and
        is started again.
        """
        try:
            validate_options()
            read_origins(SETTINGS.cors_origins)
            Guard.read(SETTINGS.keys)
            file = SurfaceFile.read(SETTINGS)
            # Before the first bundle is read: its workers need not read it again.
            share_verified()
            Experiments.read(SETTINGS, file.surfaces)
            file.validate_bundles(read_trusted_keys(SETTINGS))
            if SETTINGS.items:
                validate_folder(Path(SETTINGS.items))
            validate_log(SETTINGS)
            validate_terms(SETTINGS)
            validate_rule_store(SETTINGS.events)
            validate_campaigns(SETTINGS.events)
            read_words(SETTINGS)
            read_objective(SETTINGS.objective)
            validate_exchange(SETTINGS)
            run = CustomersRun.open(Path(SETTINGS.traits)) if SETTINGS.traits else None
            file.validate_traits(CustomersInMemory(run).facts if run else NO_CUSTOMERS)
            if SETTINGS.traces:
                from serving.telemetry.traces import validate_traces

                validate_traces(SETTINGS)
        except MarqueeError as error:
            raise BentoMLConfigException(str(error)) from error

    @bentoml.on_deployment  # type: ignore[untyped-decorator]  # as above
    @staticmethod
    def supervise_workers() -> None:
        """Has the workers watched by ours; runs in the watching process, before it makes its arbiter."""
        from serving.workers.supervisor import Watch, supervise  # circus, which no worker needs

        supervise(Watch(SETTINGS.workers, SETTINGS.hang_timeout_ms / 1000, FOLDER_VARIABLE))

    @bentoml.on_deployment  # type: ignore[untyped-decorator]  # as above
    @staticmethod
    def replace_dead_workers() -> None:
        """Has a dead worker replaced in a container as well; runs in the watching process.

        Trap: in an image of its own BentoML leaves a dead worker dead, for an orchestrator that does not
        see it: the others answer, so the container is well
        (test_killed_worker_fails_no_call_and_is_replaced).
        """
        os.environ.pop("BENTOML_CONTAINERIZED", None)

    @bentoml.on_startup  # type: ignore[untyped-decorator]  # as above
    def begin_to_load(self) -> None:
        """Has the release loaded in a thread: /livez and /readyz answer meanwhile."""
        logs.configure()
        forget_dead_workers()
        threading.Thread(target=self._load_or_end, name="loading", daemon=True).start()

    def load_release(self) -> None:
        """Loads the current release and begins to watch for the next one."""
        self.parts.load()

    def _load_or_end(self) -> None:
        """Loads the release; a worker that cannot is of no use and ends, to be started again."""
        try:
            self.load_release()
        except Exception as error:  # whatever it is: the log says so, and the watching process sees the end
            if self.parts.surfaces.is_closed:  # told to end while it loads: the server ends it in good order
                return
            logger.critical("this worker cannot load its release and ends: %s", error, exc_info=error)
            os._exit(1)
