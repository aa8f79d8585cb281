"""A service that bids at an exchange, in this process."""

import asyncio
import base64
import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from marquee.store.campaigns.campaign import Campaign
from marquee.store.ledger.rows import FLIGHT
from marquee.store.log.event_log import Decision
from serving.api.app import RecommendationApp
from serving.api.customers.deciding import NOBODY, CustomersAtDecision
from serving.api.exchange.bidder import Bidder
from serving.api.exchange.declared import read_exchange
from serving.api.exchange.exchange import ExchangeRoutes
from serving.api.exchange.opening import counted_clicks
from serving.http.guard import Guard, Key, Right
from serving.recording.recorder import Recorder
from serving.recording.users import PlainUsers
from tests.support.ad_service import AdService
from tests.support.asgi import JSON_HEADERS, Response, no_bentoml, request
from tests.support.counters import samples

SECRET, OTHER = "k" * 32, "o" * 32
HEADERS = JSON_HEADERS | {"authorization": f"Bearer {SECRET}"}
BANNER = {"w": 300, "h": 250}
DECLARED: dict[str, Any] = {
    "seat": "512",
    "key": "notices.key",
    "notices": "https://ads.example/v1/openrtb2/notices",
    "vendor_id": 7,
    "rates": {"USD": 2.0},
    "first_price_share": 0.5,
    "creatives": {
        "i008": {
            "adomain": ["acme.example"],
            "cat": ["IAB18"],
            "banner": {"w": 300, "h": 250, "markup": "<b>spring</b>"},
            "click_probability": 0.01,
        },
        "i004": {
            "adomain": ["other.example"],
            "banner": {"w": 300, "h": 250, "markup": "<b>autumn</b>"},
            "discloses": True,
        },
    },
    "deals": {"ours": ["spring"]},
}


def write_declared(folder: Path, **changes: Any) -> Path:
    """Writes the declaration of an exchange with its key, and returns its path."""
    key = folder / DECLARED["key"]
    key.write_bytes(base64.b64encode(bytes(range(32))))
    key.chmod(0o600)
    path = folder / "exchange.yaml"
    path.write_bytes(msgspec.yaml.encode(DECLARED | changes))
    return path


def bid_request(**fields: Any) -> dict[str, Any]:
    """Returns a request for one banner, in euros."""
    said = {"id": "r", "at": 2, "cur": ["EUR"], "imp": [{"id": "1", "banner": BANNER}]}
    return said | fields


class ExchangeService:
    """The service.

    Attributes:
        ads: Campaigns, money and log.
    """

    def __init__(
        self,
        home: Path,
        folder: Path,
        users: PlainUsers | None = None,
        customers: CustomersAtDecision = NOBODY,
        **changes: Any,
    ) -> None:
        self.ads = AdService(home, folder, "{first: 1, every: 2}")
        exchange, signer = read_exchange(str(write_declared(folder, **changes)), "EUR")
        self.recorder = Recorder(self.ads.log, self.ads.metrics, clock=lambda: self.ads.now)
        bidder = Bidder(
            exchange,
            signer,
            self.ads.spending,
            self.ads.paces,
            users or PlainUsers(),
            customers,
            counted_clicks(self.ads.surfaces),
        )
        self.routes = ExchangeRoutes(
            bidder, self.recorder, self.ads.log, self.ads.metrics, clock=lambda: self.ads.now
        )
        keys = [
            Key(name=right.value, sha256=hashlib.sha256(secret.encode()).hexdigest(), scopes=[right])
            for secret, right in ((SECRET, Right.openrtb), (OTHER, Right.campaigns))
        ]
        self.app = RecommendationApp(
            no_bentoml, self.ads.endpoints, self.ads.settings, Guard(keys), [self.routes]
        )

    def book(self, *campaigns: Campaign) -> None:
        """Books campaigns, and lets their paces see what there is, as the thread does twice a second."""
        self.ads.book(*campaigns)
        self.post(bid_request(test=1))
        self.ads.beside()

    def post(self, body: object, headers: dict[str, str] | None = None) -> Response:
        """Returns the reply to a bid request: bytes as they are, anything else as JSON."""
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        return asyncio.run(request(self.app, "POST", "/v1/openrtb2/auction", sent, headers or HEADERS))

    def bids(self, **fields: Any) -> list[dict[str, Any]]:
        """Returns the bids for one banner; none where the reply has no content."""
        reply = self.post(bid_request(**fields))
        if reply.status == 204:
            assert reply.body == b""
            return []
        assert reply.status == 200, reply.body
        return [bid for seat in reply.json().get("seatbid", []) for bid in seat["bid"]]

    def call(self, address: str, method: str = "GET", price: str = "${AUCTION_PRICE}") -> Response:
        """Returns the reply to a notice, with a price if one is given; the exchange has no key."""
        parts = urlsplit(address.replace("${AUCTION_PRICE}", price).replace("${AUCTION_LOSS}", "102"))
        return asyncio.run(request(self.app, method, parts.path, b"", {}, parts.query))

    def counted(self, name: str, *labels: str) -> float:
        """Returns a counter of the exchange."""
        return samples(self.ads.metrics)[(f"marquee_openrtb_{name}_total", *sorted(labels))]

    def spent(self, campaign_id: str = "spring") -> tuple[int, int, int]:
        """Returns the money charged to a campaign, the money held, and the number of charged events."""
        self.recorder.close()
        self.ads.spending.follow()
        for account in self.ads.spending.accounts(campaign_id):
            if account.day == FLIGHT:
                return account.charged, account.held, account.n_charged
        return 0, 0, 0

    def decisions(self) -> list[Decision]:
        """Returns the decisions on record."""
        self.recorder.close()
        return [logged.decision for logged in self.ads.log.get().read_decisions(0, 1_000)]

    def close(self) -> None:
        """Gives up everything that is open."""
        self.routes.close()
        self.recorder.close()
        self.ads.endpoints.close()
        self.ads.close()
