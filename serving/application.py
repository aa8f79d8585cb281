"""The application of one process: the parts behind the routes, and the threads that run beside them."""

import time
from importlib.metadata import version
from pathlib import Path

from marquee.decision.explaining.sentences import Words
from serving.api.answering.steering import Steering
from serving.api.app import Handlers, RecommendationApp
from serving.api.campaigns.campaigns import CampaignRoutes
from serving.api.campaigns.trying import CampaignTrials
from serving.api.customers.asked import AskedCustomers
from serving.api.customers.audiences import AudienceRoutes
from serving.api.customers.scoring import ScoreRoutes
from serving.api.events import EventRoutes
from serving.api.exchange.exchange import ExchangeRoutes
from serving.api.exchange.opening import open_exchange
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
from serving.parts import Parts
from serving.recording.profiles import Profiles
from serving.releases.arms.metrics import ExperimentMetrics
from serving.telemetry.background import Background, ThreadMetrics
from serving.telemetry.metrics import shared_folder
from serving.telemetry.tracer import Tracer
from serving.workers.heartbeat import BEAT_S, Heartbeat
from serving.workers.listening import share_connections


def open_application(parts: Parts, inner: AsgiApp) -> AsgiApp:
    """Returns the application of a process, before its server is told how to serve it.

    Args:
        parts: Of the process.
        inner: BentoML's application, which gets what is not ours.
    """
    settings = parts.settings
    guard = Guard.read(settings.keys, shared_folder())
    _follow_files(parts, guard)
    _hold_connections(parts)
    parts.surfaces.hold()
    app = RecommendationApp(
        inner, _endpoints(parts), settings, guard, _routes(parts), tracer=_tracer(settings)
    )
    origins = read_origins(settings.cors_origins)
    return CrossOrigin(app, origins) if origins else app


def read_words(settings: Settings) -> Words:
    """Returns the sentences of explanations."""
    return Words.read(Path(settings.why_words)) if settings.why_words else Words()


def _follow_files(parts: Parts, guard: Guard) -> None:
    """Has the files of keys and customers looked at, each in a thread: a disk may hang."""
    looks = {"keys": guard.refresh if parts.settings.keys else None}
    looks["customers"] = parts.customers.refresh if parts.customers else None
    for name, look in looks.items():
        if look is not None:
            Background(name, look, BEAT_S, parts.metrics.family(ThreadMetrics)).start()


def _hold_connections(parts: Parts) -> None:
    """Has connections shared with the other workers and kept within the limits."""

    def show_beat() -> None:
        """Shows that the event loop runs, to whoever watches the counters from outside."""
        parts.metrics.family(ThreadMetrics).show_heartbeat("event loop", time.time())

    def show_experiments() -> None:
        """Shows which experiments draw units in this worker."""
        parts.experiments.show(parts.surfaces, parts.metrics.family(ExperimentMetrics), time.time())

    share_connections(parts.workers, Heartbeat.of_worker(parts.workers, [show_beat, show_experiments]))
    count_end = parts.metrics.family(TrafficMetrics).count_end
    limit_connections(Limits.of(parts.settings), count_end, parts.workers)


def _endpoints(parts: Parts) -> Endpoints:
    """Returns the handlers of the routes that ask the model."""
    return Endpoints(
        parts.settings,
        parts.surfaces,
        metrics=parts.metrics,
        recorder=parts.recorder,
        profiles=Profiles(parts.log, parts.metrics, users=parts.users) if parts.log else None,
        experiments=parts.experiments,
        steering=Steering(parts.rules, parts.at_decision, parts.ads),
    )


def _routes(parts: Parts) -> tuple[Handlers, ...]:
    """Returns the handlers of all other routes, and the threads that end with the application."""
    settings, metrics, log, users = parts.settings, parts.metrics, parts.log, parts.users
    customers = AskedCustomers(parts.customers, parts.keyed, settings.default_tier)
    return (
        ReleaseRoutes(parts.surfaces, parts.erasures, settings.max_release_age_days),
        ItemRoutes(parts.surfaces, parts.items, settings),
        EventRoutes(log, settings, metrics, users=users),
        UserRoutes(parts.keyed, metrics),
        ScoreRoutes(customers),
        AudienceRoutes(customers),
        ErasureRoutes(parts.erasures, metrics, customers=customers),
        *([parts.eraser] if parts.eraser else []),
        *([parts.closer] if parts.closer else []),
        RuleRoutes(parts.surfaces, parts.rules, log, metrics, parts.at_decision, users),
        CampaignRoutes(
            parts.surfaces,
            parts.spending,
            settings.currency,
            metrics,
            parts.at_decision,
            _trials(parts),
        ),
        *_exchange(parts),
        WhyRoutes(
            KeptDecisions(log, users, settings.keep_decisions_days),
            ReleasesToAsk(parts.surfaces, settings.why_release_bytes, parts.trusted_keys),
            parts.rules,
            metrics,
            read_words(settings),
        ),
    )


def _trials(parts: Parts) -> CampaignTrials | None:
    """Returns who tries campaigns on the log of the service; None without one."""
    if parts.log is None:
        return None
    traffic = parts.ads.paces.traffic if parts.ads is not None else None
    return CampaignTrials(parts.log, parts.at_decision, parts.users, traffic, parts.surfaces.slots_of)


def _exchange(parts: Parts) -> list[ExchangeRoutes]:
    """Returns the routes of the exchange, none where there is none."""
    ads, recorder, log = parts.ads, parts.recorder, parts.log
    if not parts.settings.exchange or ads is None or recorder is None or log is None:
        return []
    return [
        open_exchange(
            parts.settings, parts.surfaces, ads, recorder, log, parts.users, parts.at_decision, parts.metrics
        )
    ]


def _tracer(settings: Settings) -> Tracer | None:
    """Returns the tracer, None where traces are not wanted; only then is OpenTelemetry loaded."""
    if not settings.traces:
        return None
    from serving.telemetry.traces import read_tracer

    return read_tracer(settings, version("marquee"))
