"""The BentoML service: `MARQUEE_BUNDLE=bundles/<name> bentoml serve serving.service:MarqueeService`.

A genuine BentoML service: its workers, lifecycle, pages and bento are BentoML's. Only the way of a
request is ours, because BentoML's own costs several times what the model does. Importing this module
reads the settings and nothing else, for BentoML also imports it in the process that watches the workers.
"""

import logging
import os
import sys
import threading
import time
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import bentoml
from bentoml.exceptions import BentoMLConfigException

from marquee.bundle.traits.customers import CustomersInMemory
from marquee.bundle.traits.run import CustomersRun
from marquee.core.targeting.targeting import NO_CUSTOMERS
from marquee.decision.explaining.sentences import Words
from marquee.errors import ConfigError, MarqueeError
from marquee.store.log.log_rows import SECONDS_PER_DAY
from marquee.store.log.opening import folder_of_closed_days
from marquee.store.people.user_key import UserKey
from marquee.store.signing import TrustedKeys
from serving.api.ads.objective import read_objective
from serving.api.ads.sales import AdSales
from serving.api.answering.steering import Steering
from serving.api.app import RecommendationApp
from serving.api.campaigns.campaigns import CampaignRoutes
from serving.api.campaigns.trying import CampaignTrials
from serving.api.customers.asked import AskedCustomers
from serving.api.customers.audiences import AudienceRoutes
from serving.api.customers.deciding import CustomersAtDecision
from serving.api.customers.followed import FollowedRun
from serving.api.customers.scoring import ScoreRoutes
from serving.api.events import EventRoutes
from serving.api.exchange.exchange import ExchangeRoutes
from serving.api.exchange.opening import open_exchange, validate_exchange
from serving.api.explaining.decisions import KeptDecisions
from serving.api.explaining.releases import ReleasesToAsk
from serving.api.explaining.why import WhyRoutes
from serving.api.items import ItemRoutes
from serving.api.people.consent import UserRoutes
from serving.api.people.erasures import ErasureRoutes
from serving.api.recommend import Endpoints
from serving.api.releases import ReleaseRoutes
from serving.api.rules import RuleRoutes
from serving.config import Settings
from serving.http.connections import limit_connections
from serving.http.cors import CrossOrigin, read_origins
from serving.http.exchange import AsgiApp
from serving.http.guard import Guard
from serving.http.limits import Limits
from serving.http.metrics import TrafficMetrics
from serving.http.options import validate_options
from serving.recording.ads.spending import Spending, validate_campaigns
from serving.recording.closing import DayCloser
from serving.recording.erasing import ErasingThread, Erasures
from serving.recording.erasing_terms import Terms, validate_terms
from serving.recording.opening import OpenedLog, validate_log
from serving.recording.profiles import Profiles
from serving.recording.recorder import Recorder
from serving.recording.rules.following import Rules, validate_rule_store
from serving.recording.users import KeyedUsers, KnownUsers, PlainUsers
from serving.releases.answering import known_by, overdue
from serving.releases.arms.experiments import Experiments
from serving.releases.arms.metrics import ExperimentMetrics
from serving.releases.live_items import LiveItemLimits, LiveItems, validate_folder
from serving.releases.surface_file import SurfaceFile
from serving.releases.surfaces import Surfaces
from serving.telemetry import logs
from serving.telemetry.background import Background, ThreadMetrics
from serving.telemetry.metrics import FOLDER_VARIABLE, Metrics, forget_dead_workers, shared_folder
from serving.telemetry.tracer import Tracer
from serving.workers.heartbeat import BEAT_S, Heartbeat
from serving.workers.listening import share_connections
from serving.workers.shared_memory import reserve
from serving.workers.table import WorkerTable

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


def read_trusted_keys() -> TrustedKeys | None:
    """Returns the keys of those who may publish, None for anybody."""
    return TrustedKeys.read(SETTINGS.trusted_keys) if SETTINGS.trusted_keys else None


def read_words() -> Words:
    """Returns the sentences of explanations."""
    return Words.read(Path(SETTINGS.why_words)) if SETTINGS.why_words else Words()


class RoutedService(bentoml.Service[Any]):  # type: ignore[misc]  # BentoML's SDK is not typed
    """A BentoML service whose application is wrapped in `RecommendationApp`."""

    def __call__(self) -> "MarqueeService":
        """Returns the instance that BentoML serves."""
        instance: MarqueeService = super().__call__()
        instance.surfaces, instance.items, instance.workers = self.surfaces, self.items, self.workers
        instance.closer, instance.eraser = self.closer, self.eraser
        instance.rules, instance.spending, instance.ads = self.rules, self.spending, self.ads
        return instance

    @cached_property
    def metrics(self) -> Metrics:
        """The counters of this process."""
        if (folder := shared_folder()) is not None:
            reserve(folder, FOLDER_VARIABLE)
        return Metrics(drift=Path(SETTINGS.drift) if SETTINGS.drift else None)

    @cached_property
    def surfaces(self) -> Surfaces:
        """The surfaces of this process."""
        return SurfaceFile.read(SETTINGS).open(self.metrics, read_trusted_keys(), self.experiments.variants)

    @cached_property
    def experiments(self) -> Experiments:
        """The experiments of this process."""
        return Experiments.read(SETTINGS, SurfaceFile.read(SETTINGS).surfaces)

    @cached_property
    def items(self) -> LiveItems:
        """The live items of this process."""
        folder = Path(SETTINGS.items) if SETTINGS.items else None
        return LiveItems(self.surfaces.channels, folder, LiveItemLimits.of(SETTINGS), self.metrics)

    @cached_property
    def rules(self) -> Rules | None:
        """The rules of this process, None where none are kept."""
        if not SETTINGS.events:
            return None
        return Rules(SETTINGS.events, self.metrics, arms=self.experiments.arms)

    @cached_property
    def spending(self) -> Spending | None:
        """The campaigns of this process and their money, None where none are kept."""
        return Spending(SETTINGS.events, self.log, self.metrics) if self.log is not None else None

    @cached_property
    def ads(self) -> AdSales | None:
        """Sells slots in this process, None where no campaigns are kept."""
        spending, worth = self.spending, SETTINGS.objective
        return AdSales.over(spending, worth, SETTINGS.workers, self.metrics) if spending else None

    @cached_property
    def workers(self) -> WorkerTable:
        """The table by which this process and the other workers know of each other."""
        return WorkerTable(SETTINGS.workers, bentoml.server_context.worker_index or 0, shared_folder())

    @cached_property
    def closer(self) -> DayCloser | None:
        """The thread that moves days out of the event log, None where none are moved."""
        folder = folder_of_closed_days(SETTINGS.events, SETTINGS.closed_days)
        if not (SETTINGS.events and folder and SETTINGS.close_days_every_s):
            return None
        return DayCloser(
            SETTINGS.events,
            folder,
            SETTINGS.event_horizon_days * SECONDS_PER_DAY,
            SETTINGS.close_days_every_s,
            lambda: known_by(channel.answering for channel in self.surfaces.channels),
            self.metrics,
        )

    @cached_property
    def log(self) -> OpenedLog | None:
        """The event log, None where none is kept."""
        closed = folder_of_closed_days(SETTINGS.events, SETTINGS.closed_days)
        return OpenedLog(SETTINGS.events, closed=closed) if SETTINGS.events else None

    @cached_property
    def keyed(self) -> KeyedUsers | None:
        """The users under pseudonyms, None where there is no key for them."""
        if not SETTINGS.user_key:
            return None
        return KeyedUsers(SETTINGS.events, UserKey.read(SETTINGS.user_key), SETTINGS.default_tier)

    @cached_property
    def erasures(self) -> Erasures | None:
        """Erases users, None where they are kept under their own ids, or not at all."""
        if self.log is None or self.keyed is None:
            return None
        homes = [channel.home for channel in self.surfaces.channels]
        terms = Terms.of(SETTINGS, homes, SETTINGS.max_release_age_days)
        closed = folder_of_closed_days(SETTINGS.events, SETTINGS.closed_days)
        return Erasures(SETTINGS.events, closed, self.log, self.keyed, terms)

    @cached_property
    def eraser(self) -> ErasingThread | None:
        """The thread that has passes of erasures run, None where nobody can be erased."""
        if self.erasures is None:
            return None
        days = SETTINGS.max_release_age_days
        return ErasingThread(
            self.erasures,
            lambda now: overdue((channel.answering for channel in self.surfaces.channels), now, days),
            self.metrics,
        )

    @cached_property
    def customers(self) -> FollowedRun | None:
        """The run of customers, None where none is served."""
        return FollowedRun(Path(SETTINGS.traits)) if SETTINGS.traits else None

    def _show_experiments(self) -> None:
        """Shows which experiments draw units in this worker."""
        self.experiments.show(self.surfaces, self.metrics.family(ExperimentMetrics), time.time())

    def _show_beat(self) -> None:
        """Shows that the event loop runs, to whoever watches the counters from outside."""
        self.metrics.family(ThreadMetrics).show_heartbeat("event loop", time.time())

    def _exchange(
        self, recorder: Recorder | None, users: KnownUsers, customers: CustomersAtDecision
    ) -> list[ExchangeRoutes]:
        """Returns the routes of the exchange, none where there is none."""
        if not SETTINGS.exchange or self.ads is None or recorder is None or self.log is None:
            return []
        log, metrics = self.log, self.metrics
        return [open_exchange(SETTINGS, self.surfaces, self.ads, recorder, log, users, customers, metrics)]

    def _follow_files(self, guard: Guard) -> None:
        """Has the files of keys and customers looked at, each in a thread: a disk may hang."""
        looks = {"keys": guard.refresh if SETTINGS.keys else None}
        looks["customers"] = self.customers.refresh if self.customers else None
        for name, look in looks.items():
            if look is not None:
                Background(name, look, BEAT_S, self.metrics.family(ThreadMetrics)).start()

    def to_asgi(self, is_main: bool = True) -> AsgiApp:
        """Returns BentoML's application inside ours, before uvicorn is told how to serve it."""
        # Python's own 5 ms is what a request would wait for while a thread judges rows of events.
        sys.setswitchinterval(SWITCH_S)
        guard = Guard.read(SETTINGS.keys, shared_folder())
        self._follow_files(guard)
        beats = [self._show_beat, self._show_experiments]
        share_connections(self.workers, Heartbeat.of_worker(self.workers, beats))
        limit_connections(Limits.of(SETTINGS), self.metrics.family(TrafficMetrics).count_end, self.workers)
        self.surfaces.hold()
        log, keyed = self.log, self.keyed
        users = keyed or PlainUsers(SETTINGS.default_tier)
        customers = AskedCustomers(self.customers, keyed, SETTINGS.default_tier)
        at_decision = CustomersAtDecision(self.customers)
        recorder = Recorder(log, self.metrics, users=users) if log else None
        profiles = Profiles(log, self.metrics, users=users) if log else None
        endpoints = Endpoints(
            SETTINGS,
            self.surfaces,
            metrics=self.metrics,
            recorder=recorder,
            profiles=profiles,
            experiments=self.experiments,
            steering=Steering(self.rules, at_decision, self.ads),
        )
        app = RecommendationApp(
            super().to_asgi(is_main),
            endpoints,
            SETTINGS,
            guard,
            (
                ReleaseRoutes(self.surfaces, self.erasures, SETTINGS.max_release_age_days),
                ItemRoutes(self.surfaces, self.items, SETTINGS),
                EventRoutes(log, SETTINGS, self.metrics, users=users),
                UserRoutes(keyed, self.metrics),
                ScoreRoutes(customers),
                AudienceRoutes(customers),
                ErasureRoutes(self.erasures, self.metrics, customers=customers),
                *([self.eraser] if self.eraser else []),
                *([self.closer] if self.closer else []),
                RuleRoutes(self.surfaces, self.rules, log, self.metrics, at_decision, users),
                CampaignRoutes(
                    self.surfaces,
                    self.spending,
                    SETTINGS.currency,
                    self.metrics,
                    at_decision,
                    CampaignTrials(log, at_decision, users) if log else None,
                ),
                *self._exchange(recorder, users, at_decision),
                WhyRoutes(
                    KeptDecisions(log, users, SETTINGS.keep_decisions_days),
                    ReleasesToAsk(self.surfaces, SETTINGS.why_release_bytes, read_trusted_keys()),
                    self.rules,
                    self.metrics,
                    read_words(),
                ),
            ),
            tracer=_tracer(),
        )
        origins = read_origins(SETTINGS.cors_origins)
        return CrossOrigin(app, origins) if origins else app


def _tracer() -> Tracer | None:
    """Returns the tracer, None where traces are not wanted; only then is OpenTelemetry loaded."""
    if not SETTINGS.traces:
        return None
    from serving.telemetry.traces import read_tracer

    return read_tracer(SETTINGS, version("marquee"))


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

    surfaces: Surfaces
    items: LiveItems
    rules: Rules | None
    spending: Spending | None
    ads: AdSales | None
    workers: WorkerTable
    closer: DayCloser | None
    eraser: ErasingThread | None

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
            Experiments.read(SETTINGS, file.surfaces)
            file.validate_bundles(read_trusted_keys())
            if SETTINGS.items:
                validate_folder(Path(SETTINGS.items))
            validate_log(SETTINGS)
            validate_terms(SETTINGS)
            validate_rule_store(SETTINGS.events)
            validate_campaigns(SETTINGS.events)
            read_words()
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
        self.surfaces.load()
        self.items.open()
        if self.rules is not None:
            self.rules.open()
            self.rules.watch()
        if self.spending is not None:
            self.spending.open()
        if self.ads is not None:
            self.ads.open()
        self.surfaces.watch(SETTINGS.release_poll_ms / 1000)
        self.items.watch(SETTINGS.items_poll_ms / 1000)
        if self.closer is not None:
            self.closer.start()
        if self.eraser is not None:
            self.eraser.start()
        self.surfaces.admit()  # not before items and rules: what is withdrawn or blocked would be shown
        self.workers.tell_ready()

    def _load_or_end(self) -> None:
        """Loads the release; a worker that cannot is of no use and ends, to be started again."""
        try:
            self.load_release()
        except Exception as error:  # whatever it is: the log says so, and the watching process sees the end
            if self.surfaces.is_closed:  # told to end while it loads: the server ends it in good order
                return
            logger.critical("this worker cannot load its release and ends: %s", error, exc_info=error)
            os._exit(1)
