"""Workers that spend the same budgets, are killed and stopped, and what log and ledger then say.

The judge reads the log by itself, and knows nothing of how the ledger books: every ad that was clicked is
charged once or told as unbilled, no account is above its budget, no user saw more than a cap allows, and the
sums of log and ledger are equal to the millionth.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

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
from marquee.store.log.event_log import EventLog
from marquee.store.log.opening import open_event_log
from marquee.store.log.sales import Sale

PAGE = 10_000
_MS = 1_000
_WAIT_S = 60


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The judgement of a log and its ledger. All but the first three must be 0.

    Attributes:
        n_sold: Ads in the log.
        n_charged: Events that were charged.
        used: The part of all budgets that was charged.
        n_unbilled: Events that were not.
        over_budget: Accounts that were charged more than they may be.
        over_cap: Ads that a user was shown above a cap.
        difference: By how many millionths log and ledger differ.
        unsettled: Money that is held for nothing.
    """

    n_sold: int
    n_charged: int
    used: float
    n_unbilled: int
    over_budget: int
    over_cap: int
    difference: int
    unsettled: int


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


def judge(where: str) -> Judged:
    """Judges a log and its ledger, which must be settled."""
    ledger, log, store = open_ledger_of(where, 0), open_event_log(where), open_campaign_store(where)
    try:
        campaigns = store.current()
        shown, clicked = _read(log)
        accounts = {name: ledger.accounts(name) for name in campaigns.held}
        flat = [one for found in accounts.values() for one in found]
        flights = [found[0] for found in accounts.values() if found]
        prices = {key: sale.price for key, (sale, _, _) in shown.items()}
        logged = sum(prices[key] for key in clicked if key in prices)
        booked = sum(one.charged + one.unbilled for one in flights)
        open_sales = [sale for key, (sale, _, _) in shown.items() if key not in clicked]
        # A sale whose lease was given back holds nothing: only then less than all of them may be held.
        held, most = sum(one.held for one in flights), sum(sale.reserve for sale in open_sales)
        n_unbilled = sum(one.n_unbilled for one in flights)
        budgets = sum(one.total_budget for one in campaigns.campaigns)
        return Judged(
            n_sold=len(shown),
            n_charged=sum(one.n_charged for one in flights),
            used=sum(one.charged for one in flights) / budgets,
            n_unbilled=n_unbilled,
            over_budget=sum(one.budget is not None and one.charged > one.budget for one in flat),
            over_cap=sum(_over_caps(campaign, shown) for campaign in campaigns.campaigns),
            difference=abs(logged - booked),
            unsettled=held - most if held > most or not n_unbilled else 0,
        )
    finally:
        for one in (ledger, log, store):
            one.close()


Shown = dict[tuple[str, str], tuple[Sale, str, int]]
"""Decision and item of each ad → the sale, the user and when, milliseconds since 1970 UTC."""


def _read(log: EventLog) -> tuple[Shown, set[tuple[str, str]]]:
    """Returns the ads of a log, and those that were clicked."""
    shown: Shown = {}
    after = 0
    while page := log.read_decisions(after, PAGE):
        for one in (logged.decision for logged in page):
            for sale in one.sales:
                shown[one.decision_id, sale.item_id] = (sale, str(one.user_id), one.time_ms)
        after = page[-1].sequence
    clicked: set[tuple[str, str]] = set()
    after = 0
    while events := log.read(after, PAGE):
        clicked |= {(str(one.event.decision_id), one.event.item_id) for one in events}
        after = events[-1].sequence
    return shown, clicked


def _over_caps(campaign: Campaign, shown: Shown) -> int:
    """Returns how many ads were shown to users above the caps of a campaign, in any window."""
    over = 0
    for cap in campaign.frequency_caps:
        names = {campaign.campaign_id}
        if cap.per is CapScope.advertiser:
            names = {f"c{n}" for n in range(100) if f"a{n % 2}" == campaign.advertiser}
        times: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for sale, user_id, time_ms in shown.values():
            if sale.campaign_id in names:
                times[user_id].append((time_ms, sale.campaign_id))
        for found in times.values():
            found.sort()
            for place, (time_ms, name) in enumerate(found):
                before = sum(other > time_ms - cap.window_s * _MS for other, _ in found[:place])
                # Only its own ads break its cap: one of another campaign is not asked for it.
                over += name == campaign.campaign_id and before >= cap.limit
    return over
