"""People who ask a real service for answers with ads, and tell it what they did, whatever becomes of it.

They are few, so that caps are reached. What they did comes at once or much later, in another order, and often
twice: with the id that it had, or with another.
"""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

from marquee.client import CampaignCreativeMessage, CampaignMessage, Client, FrequencyCapMessage

DAY_S = 86_400
N_CAMPAIGNS = 8
# The ads of the tiny bundle that are available now.
_ADS = ("i004", "i008", "i016", "i020")
_TRIES = 200
_RETRY_S = 0.05


def book_over_http(client: Client, prefix: str = "c", budget: float = 1.6) -> list[str]:
    """Books campaigns of every kind of bid with small budgets and caps of an hour, and returns their ids.

    All campaigns of an advertiser that is capped have that cap: one without would be counted and never held
    back, and nobody could tell by the log in which order two of one moment came.
    """
    names, now = [], int(time.time())
    for number in range(N_CAMPAIGNS):
        per, limit = (("advertiser", 25), ("campaign", 9), ("ad", 6))[number % 3]
        bid_type, bid = (("cpm", "20"), ("cpc", "0.4"), ("cpm", "35.5"), ("cpa", "0.5"))[number % 4]
        names.append(f"{prefix}{number}")
        client.create_campaign(
            CampaignMessage(
                campaign_id=names[-1],
                advertiser=f"{prefix}-{number % 3}",
                payer="payer",
                starts=now - DAY_S,
                ends=now + DAY_S,
                timezone=("UTC", "Asia/Kathmandu", "America/St_Johns")[number % 3],
                total_budget=budget,
                daily_budget=round(budget * 0.75, 6) if number % 2 else None,
                bid_type=bid_type,
                bid=bid,
                creatives=[
                    CampaignCreativeMessage(item_id=_ADS[(number + place) % len(_ADS)]) for place in (0, 1)
                ],
                frequency_caps=[FrequencyCapMessage(per=per, limit=limit, window_s=3600)],
                delivery="fast",
            )
        )
    return names


@dataclass
class Visitors:
    """The people.

    Attributes:
        urls: Of the services; each of them asks one after the other.
        key: For answers and events.
        n_clients: Connections.
        n_requests: That are answered, in all; the last of them end the visit.
        n_users: Of all clients together.
        pause_s: Between two requests of a client.
        timeout_s: How long a reply is waited for.
        n_answers: Answers so far.
        n_ads: Ads in them.
        failed: Requests that brought no answer, by what came instead.
        lost: Events that no try could bring in.
    """

    urls: Sequence[str]
    key: str
    n_clients: int
    n_requests: int
    n_users: int = 20
    pause_s: float = 0.0
    timeout_s: float = 10.0
    n_answers: int = 0
    n_ads: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    is_over: threading.Event = field(default_factory=threading.Event)
    _asked: int = 0
    _counting: threading.Lock = field(default_factory=threading.Lock)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Begins to ask."""
        self._threads = [threading.Thread(target=self._visit, args=(n,)) for n in range(self.n_clients)]
        for thread in self._threads:
            thread.start()

    @property
    def are_asking(self) -> bool:
        """Whether requests are still to come."""
        return self._asked < self.n_requests and not self.is_over.is_set()

    def wait_until(self, n_answers: int) -> None:
        """Waits for so many answers, or for the last of them."""
        while self.are_asking and self.n_answers < n_answers:
            time.sleep(0.02)

    def join(self) -> None:
        """Waits until all was asked and told."""
        for thread in self._threads:
            thread.join()

    def _visit(self, number: int) -> None:
        """Makes the requests of one client."""
        rng = random.Random(f"visitor {number}")
        service, waiting = _Service(self.urls[number % len(self.urls)], self.key, self.timeout_s), list[Any]()
        while self._may_ask():
            try:
                waiting += self._events(service, rng)
            except (OSError, HTTPException, ValueError) as error:
                self._count_failure(type(error).__name__)
                time.sleep(_RETRY_S)
            # Out of order: some come at once, some much later.
            rng.shuffle(waiting)
            kept = rng.randrange(len(waiting) + 1) if rng.random() < 0.7 else len(waiting)
            self._tell(service, waiting[kept:])
            waiting = waiting[:kept]
            time.sleep(self.pause_s)
        self._tell(service, waiting)
        service.close()

    def _may_ask(self) -> bool:
        """Takes one of the requests that are left."""
        with self._counting:
            if not self.are_asking:
                return False
            self._asked += 1
            return True

    def _events(self, service: "_Service", rng: random.Random) -> list[Any]:
        """Asks once, and returns what its user will have done with the ads."""
        status, answer = service.post("/v1/recommend", {"user_id": f"u{rng.randrange(self.n_users)}", "k": 6})
        if status != 200:
            self._count_failure(str(status))
            time.sleep(_RETRY_S)
            return []
        ads = answer.get("ads", []) if answer["recorded"] else []
        with self._counting:
            self.n_answers += 1
            self.n_ads += len(ads)
        return [event for ad in ads for event in _done_with(ad, answer["decision_id"], rng)]

    def _tell(self, service: "_Service", events: list[Any]) -> None:
        """Sends events until they are acknowledged."""
        if not events:
            return
        for _ in range(_TRIES):
            try:
                status, told = service.post("/v1/events", {"events": events})
            except (OSError, HTTPException, ValueError):
                time.sleep(_RETRY_S)
                continue
            if status == 200:
                assert not told.get("rejected"), f"no event of a visitor is wrong, got {told}"
                return
            time.sleep(_RETRY_S)
        with self._counting:
            self.lost += len(events)

    def _count_failure(self, what: str) -> None:
        """Counts a request that brought no answer; another is made in its place."""
        with self._counting:
            self.failed[what] += 1
            self._asked -= 1


def _done_with(ad: Any, decision_id: str, rng: random.Random) -> list[Any]:  # noqa: ANN401  # JSON
    """Returns the events of one ad: it is seen, often clicked, sometimes bought, and each perhaps twice."""
    chances = (("exposure", 0.95), ("click", 0.5), ("conversion", 0.2))
    events = []
    for kind, chance in chances:
        if rng.random() >= chance:
            continue
        event_id = f"{decision_id} {ad['item_id']} {kind}"
        event = {
            "event_id": event_id,
            "kind": kind,
            "item_id": ad["item_id"],
            "timestamp": int(time.time()),
            "decision_id": decision_id,
        }
        events.append(event)
        if rng.random() < 0.5:
            events.append(event | {"event_id": rng.choice((event_id, f"{event_id} again"))})
    return events


class _Service:
    """A connection to a service, made anew when it breaks."""

    def __init__(self, url: str, key: str, timeout_s: float) -> None:
        parts = urlsplit(url)
        self._http = HTTPConnection(str(parts.hostname), parts.port, timeout=timeout_s)
        self._headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}

    def post(self, path: str, body: object) -> tuple[int, Any]:
        """Returns status and JSON of a reply; raises OSError, HTTPException or ValueError if none comes."""
        try:
            self._http.request("POST", path, json.dumps(body), self._headers)
            reply = self._http.getresponse()
            return reply.status, json.loads(reply.read())
        except (OSError, HTTPException, ValueError):
            self._http.close()  # the next request connects anew
            raise

    def close(self) -> None:
        """Gives up the connection."""
        self._http.close()
