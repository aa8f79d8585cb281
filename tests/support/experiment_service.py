"""A service with experiments, rules and explanations, in this process."""

import asyncio
import hashlib
import json
import time
from pathlib import Path
from typing import Any

from marquee.store.log.event_log import Decision
from serving.api.answering.steering import Steering
from serving.api.app import RecommendationApp
from serving.api.explaining.decisions import KeptDecisions
from serving.api.explaining.releases import ReleasesToAsk
from serving.api.explaining.why import WhyRoutes
from serving.api.recommend import Endpoints
from serving.api.rules import RuleRoutes
from serving.config import Settings
from serving.http.guard import Guard, Key, Right
from serving.recording.opening import OpenedLog
from serving.recording.recorder import Recorder
from serving.recording.rules.following import Rules
from serving.recording.users import PlainUsers
from serving.releases.arms.experiments import Experiments
from serving.releases.arms.metrics import ExperimentMetrics
from serving.releases.surface_file import SurfaceFile
from serving.telemetry.metrics import Metrics
from tests.support.asgi import JSON_HEADERS, Response, no_bentoml, request
from tests.support.bundles import NOW
from tests.support.counters import samples

SECRET = "s" * 32
HEADERS = {**JSON_HEADERS, "authorization": f"Bearer {SECRET}"}


def _at_once(_seconds: float) -> None:
    """Waits for nothing."""


class Service:
    """A service of one bundle with experiments, over a log of its own."""

    def __init__(self, home: Path | str, folder: Path, text: str, where: str = "", **settings: Any) -> None:
        path = folder / "experiments.yaml"
        path.write_text(text, encoding="utf-8")
        self.settings = Settings(bundle=str(home), experiments=str(path), **settings)
        file = SurfaceFile.read(self.settings)
        self.experiments = Experiments.read(self.settings, file.surfaces)
        self.metrics = Metrics()
        self.surfaces = file.open(self.metrics, None, self.experiments.variants)
        self.surfaces.load()
        where = where or str(folder / "events")
        self.log = OpenedLog(where)
        self.rules = Rules(where, self.metrics, clock=lambda: NOW, arms=self.experiments.arms)
        self.rules.open()
        self.log.get()
        recorder = Recorder(self.log, self.metrics, clock=lambda: float(NOW))
        self.endpoints = Endpoints(
            self.settings,
            self.surfaces,
            clock=lambda: NOW,
            metrics=self.metrics,
            recorder=recorder,
            experiments=self.experiments,
            steering=Steering(self.rules),
        )
        routes = (
            RuleRoutes(self.surfaces, self.rules, self.log, self.metrics, clock=lambda: NOW, sleep=_at_once),
            WhyRoutes(
                KeptDecisions(self.log, PlainUsers(), clock=lambda: float(NOW)),
                ReleasesToAsk(self.surfaces, 0),
                self.rules,
                self.metrics,
            ),
        )
        digest = hashlib.sha256(SECRET.encode()).hexdigest()
        # Without keys nobody may change rules.
        key = Key(name="all", sha256=digest, scopes=[Right.recommend, Right.rules, Right.users])
        self.app = RecommendationApp(no_bentoml, self.endpoints, self.settings, Guard([key]), routes)

    def ask(self, *bodies: dict[str, object], path: str = "/v1/recommend") -> list[Any]:
        async def send() -> list[Any]:
            sent = [
                await request(self.app, "POST", path, json.dumps(body).encode(), HEADERS) for body in bodies
            ]
            return [reply.json() for reply in sent]

        return asyncio.run(send())

    def send(self, method: str, path: str, body: object = None, version: int = 0) -> Response:
        """Returns the reply to one request."""
        headers = {**HEADERS, "if-match": f'"{version}"'}
        text = b"" if body is None else json.dumps(body).encode()
        return asyncio.run(request(self.app, method, path, text, headers))

    def counted(self, name: str, labels: dict[str, str]) -> float:
        """Returns the value of a counter."""
        return samples(self.metrics)[(name, *sorted(labels.values()))]

    def shown(self, experiment: str, now: float) -> tuple[float, float]:
        """Returns whether an experiment is shown to run, and whether to be suspended, at a moment."""
        self.experiments.show(self.surfaces, self.metrics.family(ExperimentMetrics), now)
        labels = {"experiment": experiment}
        return (
            self.counted("marquee_experiment_running", labels),
            self.counted("marquee_experiment_suspended", labels),
        )

    def wait_for(self, n_decisions: int) -> None:
        """Returns when so many decisions are in the log: they are written in a thread of their own."""
        until = time.monotonic() + 10
        while len(list(self.log.get().read_decisions(0, n_decisions))) < n_decisions:
            assert time.monotonic() < until, f"{n_decisions} decisions must come into the log"
            time.sleep(0.005)

    def written(self) -> list[Decision]:
        """Ends the service, as draining does, and returns what is on record."""
        self.endpoints.close()
        found = [logged.decision for logged in self.log.get().read_decisions(0, 10_000)]
        self.log.close()
        self.rules.close()
        self.surfaces.close()
        return found
