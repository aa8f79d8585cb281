"""One worker that sells ads against a ledger and records them, for as long as it lives.

    python -m benchmarks.ads.spender '{"where": "log", "seed": 1, "n_threads": 4, "n_requests": 100}'

It does with store, wallet and log what a worker of the service does, without a model or HTTP in between, and
many times as often. Whoever starts it may kill or stop it at any moment; `spenders` judges what is left.
"""

import random
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from marquee.ads.selling import Buy, sell
from marquee.ads.wallet import Moment, WalletConfig
from marquee.core.identity.uuids import RANDOM_BYTES, uuid7
from marquee.errors import EventLogError, LedgerBehindError
from marquee.store.campaigns.opening import open_campaign_store
from marquee.store.ledger.ledger import Ledger
from marquee.store.log.event_log import Decision, Event, EventLog, Place
from marquee.store.log.opening import POSTGRES_SCHEMES, open_event_log
from marquee.store.log.sales import Sale
from tests.support.wallets import EagerWallet

WINDOW_MS = 3_600_000


@dataclass(frozen=True, kw_only=True)
class Spend:
    """How one worker spends.

    Attributes:
        where: The folder or the address of the stores.
        seed: Of its chances.
        n_threads: Clients.
        n_requests: Of each.
        n_users: Few, so that caps are reached.
        click: How probable a click is; half of them come twice.
        drain_ms: As for `Ledger`.
        lease_s: How long a lease is held.
        pause_s: Between two requests.
    """

    where: str
    seed: int = 0
    n_threads: int = 4
    n_requests: int = 100
    n_users: int = 5
    click: float = 0.5
    drain_ms: int = 1_000
    lease_s: float = 1.0
    pause_s: float = 0.0


def open_ledger_of(where: str, drain_ms: int) -> Ledger:
    """Returns a ledger that gives leases back so long after their end."""
    if where.startswith(POSTGRES_SCHEMES):
        from marquee.store.ledger.postgres import PostgresLedger

        return PostgresLedger(where, drain_ms)
    from marquee.store.ledger.sqlite import SqliteLedger

    return SqliteLedger(Path(where), drain_ms)


class Spender:
    """The worker.

    Args:
        spend: How it spends.
    """

    def __init__(self, spend: Spend) -> None:
        self._spend = spend
        self._campaigns = open_campaign_store(spend.where)
        self._ledger = open_ledger_of(spend.where, spend.drain_ms)
        self._log: EventLog = open_event_log(spend.where)
        config = WalletConfig(
            duration_s=spend.lease_s, spend_s=spend.lease_s * 0.8, idle_s=spend.lease_s / 4, retry_s=0.02
        )
        self._wallet = EagerWallet(self._ledger.leases, f"spender {spend.seed}", config)

    def run(self) -> None:
        """Sells until all requests are made."""
        threads = [threading.Thread(target=self._client, args=(n,)) for n in range(self._spend.n_threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._wallet.tidy(_now(), everything=True)
        self._ledger.follow(self._log, self._campaigns.current(), _now().time_ms)

    def _client(self, number: int) -> None:
        """Makes the requests of one client; whatever the stores refuse, it goes on."""
        rng = random.Random(f"{self._spend.seed} {number}")
        waiting: list[Event] = []
        for request in range(self._spend.n_requests):
            try:
                waiting += self._request(rng)
                # Out of order: some clicks come at once, some much later.
                while waiting and rng.random() < 0.7:
                    self._click(waiting.pop(rng.randrange(len(waiting))), rng)
                if request % 20 == number:
                    self._wallet.tidy(_now())
                    self._ledger.follow(self._log, self._campaigns.current(), _now().time_ms)
            except (EventLogError, LedgerBehindError):
                time.sleep(0.02)
            time.sleep(self._spend.pause_s)
        for event in waiting:
            self._click(event, rng)

    def _request(self, rng: random.Random) -> list[Event]:
        """Sells up to two places to a user, and returns the clicks that they will bring."""
        campaigns = self._campaigns.current()
        user_id = f"u{rng.randrange(self._spend.n_users)}"
        now = _now()
        buys = [
            Buy(
                held=held,
                item_id=held.campaign.creatives[0].item_id,
                price=held.campaign.price_limit,
                reserve=held.campaign.price_limit,
                window_ms=WINDOW_MS,
            )
            for held in rng.sample(list(campaigns.held.values()), 2)
        ]
        found = sell(buys, user_id, campaigns, self._wallet, self._ledger.admit, now)
        sales = tuple([one for one in found if isinstance(one, Sale)])
        if not sales:
            return []
        decision_id = uuid7(now.time_ms, rng.randbytes(RANDOM_BYTES))
        places = tuple([Place(one.item_id, 1.0, 1.0) for one in sales])
        decision = Decision(
            decision_id=decision_id, time_ms=now.time_ms, user_id=user_id, places=places, sales=sales
        )
        self._log.append_decisions([decision])
        return [_click_on(decision_id, one, user_id) for one in sales if rng.random() < self._spend.click]

    def _click(self, event: Event, rng: random.Random) -> None:
        """Sends a click; sometimes again, with its own id or with another."""
        now = int(time.time())
        self._log.append([_received(event, event.event_id, now)])
        if rng.random() < 0.5:
            again = rng.choice((event.event_id, f"{event.event_id} again"))
            self._log.append([_received(event, again, now)])


def _click_on(decision_id: str, sale: Sale, user_id: str) -> Event:
    """Returns the click on an ad."""
    return Event(
        event_id=f"{decision_id} {sale.item_id}",
        kind="click",
        item_id=sale.item_id,
        timestamp=0,
        sent_timestamp=0,
        received=0,
        user_id=user_id,
        decision_id=decision_id,
    )


def _received(event: Event, event_id: str, now: int) -> Event:
    """Returns an event as it is received now."""
    return replace(event, event_id=event_id, timestamp=now, sent_timestamp=now, received=now)


def _now() -> Moment:
    """Returns now by both clocks."""
    return Moment(time.clock_gettime(time.CLOCK_BOOTTIME), time.time_ns() // 1_000_000)


if __name__ == "__main__":
    Spender(msgspec.json.decode(sys.argv[1], type=Spend)).run()
