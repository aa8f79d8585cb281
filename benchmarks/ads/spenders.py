"""Workers that spend the same budgets, and are killed and stopped; `judging` says what is left."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

import msgspec

from benchmarks.ads.spender import Spend, open_ledger_of
from marquee.store.campaigns.campaign import (
    BidType,
    Campaign,
    CapScope,
    Creative,
    FrequencyCap,
)
from marquee.store.campaigns.opening import open_campaign_store
from marquee.store.log.opening import open_event_log

_MS = 1_000
_WAIT_S = 60


def book_campaigns(where: str, n_campaigns: int, budget: int, price: int = 400_000) -> None:
    """Books campaigns of clicks, with a cap by campaign and one by advertiser, and a tight budget by day."""
    store, now = open_campaign_store(where), int(time.time())
    for number in range(n_campaigns):
        campaign = Campaign(
            campaign_id=f"c{number}",
            advertiser=f"a{number % 2}",
            payer="payer",
            starts=now - 86_400,
            ends=now + 86_400,
            timezone=("UTC", "Asia/Kathmandu", "America/St_Johns")[number % 3],
            total_budget=budget,
            daily_budget=budget if number % 2 else budget * 3 // 4,
            bid_type=BidType.cpc,
            bid=price + number,
            creatives=(Creative(item_id=f"ad-{number}"),),
            frequency_caps=_caps(number),
        )
        store.put(campaign, 0, "created", "test", now * _MS)
    store.close()


def _caps(number: int) -> tuple[FrequencyCap, ...]:
    """Returns the caps of a campaign.

    All campaigns of an advertiser that is capped have that cap: one without would be counted and never held
    back, and the judge could not tell by the times in which order two of one moment came.
    """
    if number % 2 == 0:
        return (FrequencyCap(per=CapScope.advertiser, limit=40, window_s=3600),)
    by_campaign = FrequencyCap(per=CapScope.campaign, limit=7, window_s=2)
    by_ad = FrequencyCap(per=CapScope.ad, limit=15, window_s=3600)
    return ((by_campaign,), (by_ad,), ())[number // 2 % 3]


def start(spend: Spend) -> subprocess.Popen[bytes]:
    """Starts a worker."""
    command = [sys.executable, "-m", "benchmarks.ads.spender", msgspec.json.encode(spend).decode()]
    return subprocess.Popen(command)


def run_workers(spends: Sequence[Spend], n_kills: int = 0, seed: int = 0, between_s: float = 0.3) -> None:
    """Runs workers to their end; some are killed at random, and another takes the place of each.

    Raises:
        RuntimeError: If a worker ends with a fault.
    """
    rng = random.Random(seed)
    workers = [start(spend) for spend in spends]
    for number in range(n_kills):
        time.sleep(between_s * (0.5 + rng.random()))
        place = rng.randrange(len(workers))
        if workers[place].poll() is None:
            workers[place].kill()
        workers[place].wait(_WAIT_S)
        workers[place] = start(replace(spends[place], seed=1_000 + number))
    for worker in workers:
        if worker.wait(_WAIT_S * 10) not in (0, -signal.SIGKILL):
            raise RuntimeError(f"worker {worker.args!r} ended with {worker.returncode}; see what it told")


def stop_for(worker: subprocess.Popen[bytes], seconds: float) -> None:
    """Stops a worker for a while, as a machine does that is moved."""
    os.kill(worker.pid, signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(worker.pid, signal.SIGCONT)


def settle(spend: Spend) -> None:
    """Waits until every lease is over and drained, and books what is left."""
    time.sleep(spend.lease_s + spend.drain_ms / _MS + 0.05)
    ledger, log, store = open_ledger_of(spend.where, spend.drain_ms), open_event_log(spend.where), None
    try:
        store = open_campaign_store(spend.where)
        ledger.follow(log, store.current(), time.time_ns() // 1_000_000)
    finally:
        for one in (ledger, log, store):
            if one is not None:
                one.close()
