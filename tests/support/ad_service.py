"""A service that sells slots, in this process: campaigns, their money, and a log of its own."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from marquee.ads.objective import Objective
from marquee.ads.wallet import Wallet
from marquee.store.campaigns.campaign import Campaign, Creative
from marquee.store.log.event_log import Decision
from serving.api.ads.paces import Paces
from serving.api.ads.sales import AdSales
from serving.api.answering.steering import Steering
from serving.api.app import RecommendationApp
from serving.api.explaining.decisions import KeptDecisions
from serving.api.explaining.releases import ReleasesToAsk
from serving.api.explaining.why import WhyRoutes
from serving.api.recommend import Endpoints
from serving.config import Settings
from serving.http.guard import Guard, Key, Right
from serving.recording.ads.spending import Spending
from serving.recording.opening import OpenedLog
from serving.recording.profiles import Profiles
from serving.recording.recorder import Recorder
from serving.recording.users import PlainUsers
from serving.releases.surface_file import SurfaceFile
from serving.telemetry.metrics import Metrics
from tests.support.asgi import JSON_HEADERS, no_bentoml, request
from tests.support.bundles import NOW
from tests.support.counters import samples
from tests.support.ledgers import open_test_ledger
from tests.support.wallets import EagerWallet

EURO = 1_000_000
DAY = 86_400
SECRET = "s" * 32
DIGEST = hashlib.sha256(SECRET.encode()).hexdigest()
HEADERS = {**JSON_HEADERS, "authorization": f"Bearer {SECRET}"}


def booking(campaign_id: str = "spring", **changes: Any) -> Campaign:
    """Returns a campaign of ten days that pays two euros for a thousand impressions."""
    said = {
        "advertiser": f"by-{campaign_id}",
        "payer": f"Payer of {campaign_id}",
        "starts": NOW - DAY,
        "ends": NOW + 9 * DAY,
        "total_budget": 100 * EURO,
        "bid": 2 * EURO,
        "delivery": "fast",
        "creatives": (Creative(item_id="i008"),),
    }
    return Campaign(campaign_id=campaign_id, **{**said, **changes})


class AdService:
    """A service of one bundle whose surface `home` sells slots.

    Attributes:
        now: What every clock says, seconds since 1970 UTC.

    Args:
        home: The bundle.
        folder: Where all of it is kept.
        slots: Of the surface.
        objective: Weighs ads against content.
        more: That the surface says besides.
        others: Surfaces beside it, with what each says.
    """

    def __init__(
        self,
        home: Path,
        folder: Path,
        slots: str,
        objective: Objective | None = None,
        more: str = "",
        others: Mapping[str, str] | None = None,
        make_wallet: Callable[..., Wallet] = EagerWallet,
    ) -> None:
        surfaces = folder / "surfaces.yaml"
        declared = {"home": f"slots: {slots}{more and ', '}{more}", **(others or {})}
        said = [f"  {name}: {{bundle: {home}, {one}}}\n" for name, one in declared.items()]
        surfaces.write_text("default: home\nsurfaces:\n" + "".join(said), encoding="utf-8")
        where = str(folder / "events")
        self.now = float(NOW)
        self.settings = Settings(surfaces=str(surfaces), events=where)
        self.metrics = Metrics()
        self.surfaces = SurfaceFile.read(self.settings).open(self.metrics, None)
        self.surfaces.load()
        self.log = OpenedLog(where)
        self.spending = Spending(
            where,
            self.log,
            self.metrics,
            open_store=open_test_ledger,
            clock=lambda: self.now,
            steady=lambda: self.now,
            make_wallet=make_wallet,
        )
        self.log.get()
        self.spending.campaigns.open()
        self.paces = Paces(
            self.spending.accounts,
            self.spending.campaigns.current,
            1,
            self.metrics,
            lambda: self.now,
        )
        self.sales = AdSales(self.spending, self.paces, objective or Objective(), self.metrics)
        self.endpoints = Endpoints(
            self.settings,
            self.surfaces,
            clock=lambda: self.now,
            metrics=self.metrics,
            recorder=Recorder(self.log, self.metrics, clock=lambda: self.now),
            profiles=Profiles(self.log, self.metrics, clock=lambda: self.now),
            steering=Steering(ads=self.sales),
        )
        why = WhyRoutes(
            KeptDecisions(self.log, PlainUsers(), clock=lambda: self.now),
            ReleasesToAsk(self.surfaces, 0),
            None,
            self.metrics,
        )
        # Without keys nobody may ask why.
        key = Key(name="all", sha256=DIGEST, scopes=[Right.recommend, Right.users])
        self.app = RecommendationApp(no_bentoml, self.endpoints, self.settings, Guard([key]), (why,))

    def book(self, *campaigns: Campaign) -> None:
        """Books campaigns, or changes those that are booked."""
        store = self.spending.campaigns.store
        for one in campaigns:
            found = store.find(one.campaign_id)
            store.put(one, found.version if found else 0, "created", "anna", int(self.now * 1000))

    def change(self, campaign_id: str, **changes: Any) -> None:
        """Changes some fields of a campaign."""
        found = self.spending.campaigns.store.find(campaign_id)
        assert found is not None
        self.book(replace(found.campaign, **changes))

    def ask(self, **body: object) -> Any:
        """Returns the answer to one request."""
        return self.post("/v1/recommend", **body)

    def post(self, path: str, **body: object) -> Any:
        """Returns the reply to what is posted to a path."""
        reply = asyncio.run(request(self.app, "POST", path, json.dumps(body).encode(), HEADERS))
        assert reply.status == 200, reply.body
        return reply.json()

    def why(self, decision_id: str) -> Any:
        """Returns the explanation of a decision; waits until it is in the log."""
        reply = asyncio.run(request(self.app, "GET", f"/v1/why/{decision_id}", b"", HEADERS))
        assert reply.status == 200, reply.body
        return reply.json()

    def warm(self, **body: object) -> None:
        """Asks once, and does what the threads beside the answers do then."""
        self.ask(**body)
        self.beside()

    def beside(self) -> None:
        """Solves the paces and takes leases, as threads do twice a second."""
        self.paces.solve()
        self.spending.refill()

    def lost(self, reason: str) -> float:
        """Returns how many ads were not shown for a reason."""
        return samples(self.metrics)[("marquee_ads_lost_total", reason)]

    def written(self) -> list[Decision]:
        """Ends the service, as draining does, and returns the decisions on record."""
        self.endpoints.close()
        found = [logged.decision for logged in self.log.get().read_decisions(0, 10_000)]
        self.close()
        return found

    def close(self) -> None:
        """Gives up everything that is open."""
        self.spending.close()
        self.log.close()
        self.surfaces.close()
