"""A worker with users under pseudonyms, down to its ASGI application: events, answers, consent."""

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from marquee.decision.recommender import Recommender
from marquee.store.log.event_log import Decision
from marquee.store.people.consent import Tier
from marquee.store.people.erasing.eraser import Retention
from serving.api.app import Handlers, RecommendationApp
from serving.api.customers.asked import AskedCustomers
from serving.api.customers.followed import FollowedRun
from serving.api.events import EventRoutes
from serving.api.people.consent import UserRoutes
from serving.api.people.erasures import ErasureRoutes
from serving.api.recommend import Endpoints
from serving.config import Settings
from serving.http.guard import Guard, Key, Right
from serving.recording.erasing import Erasures
from serving.recording.erasing_terms import Terms
from serving.recording.opening import OpenedLog
from serving.recording.profiles import Profiles
from serving.recording.recorder import Recorder
from serving.recording.users import KeyedUsers, PlainUsers
from serving.releases.arms.experiments import NO_EXPERIMENTS, Experiments
from serving.telemetry.metrics import Metrics
from tests.support.asgi import JSON_HEADERS, Response, no_bentoml, request
from tests.support.bundles import CREATED, NOW
from tests.support.people import KEY
from tests.support.surfaces import one_surface

TERMS = Terms(receipt_key="", hours=24, retention=Retention())
"""Terms of erasures: a day, and nothing goes by its age."""

SECRETS: Mapping[str, Sequence[Right]] = {
    "app": (Right.recommend, Right.events),
    "people": (Right.users,),
}
"""Keys of the worker, each good for some rights."""


class Worker:
    """One worker of a service; several over one store are the workers of one service.

    Args:
        recommender: Who answers.
        where: Folder or address of the event log.
        default: `MARQUEE_CONSENT`.
        has_key: Whether users are kept under pseudonyms.
        budget_s: How long an answer waits for what is known of its user.
        terms: Of erasures.
        run: Of customers.
        experiments: Those that run.
    """

    def __init__(
        self,
        recommender: Recommender,
        where: Path | str,
        default: Tier = Tier.personal,
        *,
        has_key: bool = True,
        budget_s: float = 5.0,
        terms: Terms = TERMS,
        run: FollowedRun | None = None,
        experiments: Experiments = NO_EXPERIMENTS,
    ) -> None:
        self.settings, self.metrics = Settings(consent=default.value), Metrics()
        self.log = OpenedLog(str(where))
        # The thread of profiles opens it too, and whoever comes second is refused meanwhile.
        self.log.get()
        self.keyed = KeyedUsers(str(where), KEY, default) if has_key else None
        users = self.keyed or PlainUsers(default)
        # Opened here for the same reason as the log.
        users.look_up("")
        self.endpoints = Endpoints(
            self.settings,
            one_surface(self.settings, recommender),
            clock=lambda: NOW,
            metrics=self.metrics,
            recorder=Recorder(self.log, self.metrics, clock=lambda: NOW, users=users),
            profiles=Profiles(self.log, self.metrics, budget_s, users=users),
            experiments=experiments,
        )
        self.events = EventRoutes(self.log, self.settings, self.metrics, clock=lambda: NOW, users=users)
        self.people = UserRoutes(self.keyed, self.metrics, clock=lambda: NOW)
        self.erasures = (
            Erasures(str(where), Path(where) / "closed", self.log, self.keyed, terms) if self.keyed else None
        )
        self.erasing = ErasureRoutes(
            self.erasures, self.metrics, clock=lambda: NOW, customers=AskedCustomers(run, self.keyed)
        )
        keys = [
            Key(name=secret, sha256=hashlib.sha256(secret.encode()).hexdigest(), scopes=list(rights))
            for secret, rights in SECRETS.items()
        ]
        others: list[Handlers] = [self.events, self.people, self.erasing]
        self.app = RecommendationApp(no_bentoml, self.endpoints, self.settings, Guard(keys), others)

    async def send(self, method: str, path: str, body: object, secret: str = "app") -> Response:
        """Returns the response to one request."""
        headers = {**JSON_HEADERS, "authorization": f"Bearer {secret}"}
        return await request(self.app, method, path, json.dumps(body).encode(), headers)

    def ask(self, **body: object) -> Any:
        """Returns the answer to a request for five recommendations."""
        return self.recommend(**{"k": 5, **body})

    def recommend(self, **body: object) -> Any:
        """Returns the answer to a request for recommendations."""
        return self._posted("/v1/recommend", body)

    def batch(self, *bodies: object) -> Any:
        """Returns the answers to several requests in one."""
        return self._posted("/v1/recommend/batch", {"requests": bodies})["answers"]

    def page(self, **body: object) -> Any:
        """Returns the answer to a request for a page."""
        return self._posted("/v1/page", body)

    def post(self, *rows: object) -> Any:
        """Returns the answer to some events."""
        return self._posted("/v1/events", {"events": list(rows)})

    def _posted(self, path: str, body: object) -> Any:
        """Returns the answer to a body."""
        response = asyncio.run(self.send("POST", path, body))
        assert response.status == 200, response.body
        return response.json()

    def consent(self, user_id: str, tier: object, secret: str = "people") -> Response:
        """Returns the response to what a user says."""
        return asyncio.run(self.send("PUT", f"/v1/users/{user_id}/consent", {"tier": tier}, secret))

    def user(self, method: str, path: str, secret: str = "people") -> Response:
        """Returns the response to a request for `/v1/users/` and a path below it."""
        path, _, query = path.partition("?")
        headers = {**JSON_HEADERS, "authorization": f"Bearer {secret}"}
        return asyncio.run(request(self.app, method, f"/v1/users/{path}", b"", headers, query))

    def counted(self, name: str) -> float:
        """Returns a counter by its name with labels."""
        lines = self.metrics.exposition().decode().splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith(name))

    def written(self) -> list[Decision]:
        """Returns the decisions on record, once those under way are."""
        self.endpoints.close()
        return [logged.decision for logged in self.log.get().read_decisions(0, 100_000)]

    def close(self) -> None:
        """Ends the worker."""
        self.endpoints.close()
        self.events.close()
        self.people.close()
        self.erasing.close()
        if self.keyed is not None:
            self.keyed.close()


def click(event_id: str, user_id: str | None = "u1", **changes: Any) -> dict[str, Any]:
    """Returns the row of a click after the release, changed in some fields."""
    row = {"event_id": event_id, "kind": "click", "item_id": "i003", "timestamp": CREATED + 1}
    return {**row, "user_id": user_id, **changes}
