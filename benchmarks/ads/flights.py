"""Whole flights of fourteen days on the simulated market: what is charged, beside the budget and the truth.

One campaign a flight, by impression, click or conversion. All of money is the real thing (paces, wallet,
ledger and log in SQLite), by a clock that the benchmark moves. Others bid what their ads are worth by the
true probabilities, and people click and convert by them.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.rows import Measured, Row
from marquee.ads.auction import Offer, charge_of
from marquee.ads.selling import Buy, sell
from marquee.ads.slots import SlotConfig
from marquee.ads.wallet import Moment, Wallet, WalletConfig
from marquee.core.arrays import BoolArray, Float64Array, IndexArray
from marquee.store.campaigns.campaign import (
    BidType,
    Campaign,
    CampaignSet,
    Creative,
    Delivery,
    HeldCampaign,
)
from marquee.store.ledger.ledger import DRAIN_MS, Ledger
from marquee.store.ledger.rows import FLIGHT, Account
from marquee.store.ledger.sqlite import SqliteLedger
from marquee.store.log.event_log import Decision, Event, EventLog
from marquee.store.log.opening import open_event_log
from marquee.store.log.sales import Sale
from marquee.world import World, WorldConfig, simulate
from serving.api.ads.paces import Paces
from serving.telemetry.metrics import Metrics
from tests.support.wallets import EagerWallet

DAYS, ANSWERS_PER_DAY = 14, 2_000
DAY_S = 86_400
START = 1_700_006_400
"""A midnight in UTC."""

SEEDS = (0, 1, 2)
"""Of the market and all chances. What is paced how was chosen on seeds 10 to 12."""

MIN_USED, MAX_UNBILLED = 0.99, 0.01
SHARE = 0.5
"""The budget, as a share of what the whole bid would buy: there is demand for all of it."""

_UNIT = 1_000_000
_PER_MILLE = 1_000
_STEP_S = 600
"""The thread of the paces and that of the ledger turn so often here: a day has a fortieth of the traffic."""

_N_RIVALS, _N_RELEVANT, _PLACE, _CREATIVE = 3, 8, 1, "ad"
_SLOTS = SlotConfig()
# As a surface has them that says nothing else: a day, and a week for conversions.
_WINDOW_S = {
    BidType.cpm: _SLOTS.click_window_s,
    BidType.cpc: _SLOTS.click_window_s,
    BidType.cpa: _SLOTS.conversion_window_s,
}
# Of the bid, to what others bid on average: enough to be shown, not enough to win whenever it bids.
_BID_TIMES = 4.0


@dataclass(frozen=True)
class Auctions:
    """The opportunities of a flight in the order of time, (n,) each.

    Attributes:
        second: Since 1970 UTC.
        rival: What others pay for a thousand impressions, millionths.
        click: True probability of a click.
        conversion: True probability of a conversion after an impression.
        is_clicked: Whether it would be clicked.
        converts_after: Seconds to the conversion, -1 for none.
    """

    second: IndexArray
    rival: IndexArray
    click: Float64Array
    conversion: Float64Array
    is_clicked: BoolArray
    converts_after: IndexArray

    def probability(self, bid_type: BidType) -> Float64Array:
        """Returns how probable the billable event of each is."""
        return {
            BidType.cpm: np.ones(len(self.second)),
            BidType.cpc: self.click,
            BidType.cpa: self.conversion,
        }[bid_type]


def rows(root: Path) -> Iterator[Row]:
    """Yields a row per bid type."""
    del root  # nothing is read
    for bid_type in BidType:
        yield Row(
            f"flights: {DAYS} simulated days, {bid_type.value.upper()}",
            f"scaled down: {ANSWERS_PER_DAY:,} answers a day",
            f"be charged at most the budget, at least {MIN_USED:.0%}, unbilled at most {MAX_UNBILLED:.0%}",
            lambda bid_type=bid_type: measure(bid_type),  # type: ignore[misc]
        )


def measure(bid_type: BidType, n_per_day: int = ANSWERS_PER_DAY, seeds: Sequence[int] = SEEDS) -> Measured:
    """Runs a flight for each seed; all must be within."""
    flown = [fly(bid_type, auctions_of(n_per_day, seed)) for seed in seeds]
    return Measured("; ".join(one.text for one in flown), all(one.is_within for one in flown))


def fly(bid_type: BidType, auctions: Auctions) -> Measured:
    """Runs a flight."""
    with tempfile.TemporaryDirectory(prefix="marquee-flights-") as folder:
        flight = Flight(auctions, bid_type, folder)
        account = flight.run()
    budget = flight.campaign.total_budget
    used, unbilled = account.charged / budget, account.unbilled / budget
    is_within = account.charged <= budget and used >= MIN_USED and unbilled <= MAX_UNBILLED
    text = (
        f"{account.n_sold:,} of {len(auctions.second):,} places, {account.n_charged:,} charged, {used:.2%} "
        f"used, {unbilled:.2%} unbilled"
    )
    return Measured(text, is_within)


@cache
def auctions_of(n_per_day: int, seed: int = 0) -> Auctions:
    """Returns the requests of the market as those of one flight, each at its own time of day."""
    world = simulate(WorldConfig(seed=seed, requests_per_user=14.0 * n_per_day / ANSWERS_PER_DAY))
    market, n = world.market, DAYS * n_per_day
    rng = np.random.default_rng(seed)
    row = np.sort(rng.choice(len(market.requests.user), n, replace=n > len(market.requests.user)))
    second = START + np.arange(n) // n_per_day * DAY_S + market.requests.timestamp[row] % DAY_S
    order = np.argsort(second, kind="stable")
    row, second = row[order], second[order]
    ads = np.flatnonzero((world.items["kind"] == "ad").to_numpy())
    place, bids = np.full(n, _PLACE), world.items["bid"].to_numpy()
    rival = np.zeros(n)
    for _ in range(_N_RIVALS):
        item = rng.choice(ads, n)
        worth = _PER_MILLE * market.respond(row, item, place).click_probability * bids[item]
        rival = np.maximum(rival, worth * _UNIT)
    own = _best_of(world, row, rng.choice(ads, (_N_RELEVANT, n)))
    said = market.respond(row, own, place)
    is_clicked = rng.random(n) < said.click_probability
    converts = is_clicked & (rng.random(n) < said.conversion_probability)
    delay = 30 + rng.exponential(DAY_S / 24, n).astype(np.int64)
    return Auctions(
        second,
        np.maximum(1, np.ceil(rival)).astype(np.int64),
        said.click_probability,
        said.click_probability * said.conversion_probability,
        is_clicked,
        np.where(converts, delay, -1),
    )


def _best_of(world: World, row: IndexArray, items: IndexArray) -> IndexArray:
    """Returns the ad of each request, of several, that is likeliest to convert: what is relevant is found."""
    place = np.full(len(row), _PLACE)
    said = [world.market.respond(row, one, place) for one in items]
    chances = np.stack([one.click_probability * one.conversion_probability for one in said])
    best: IndexArray = items[chances.argmax(axis=0), np.arange(len(row))]
    return best


@dataclass
class Flight:
    """A flight while it runs: one worker, its money, and the clock.

    Attributes:
        auctions: The opportunities.
        bid_type: What is paid for.
        folder: Holds log and ledger.
        now_s: Seconds since 1970 UTC.
    """

    auctions: Auctions
    bid_type: BidType
    folder: str
    now_s: float = START
    _decisions: list[Decision] = field(default_factory=list)
    _coming: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        probability, rival = self.auctions.probability(self.bid_type), self.auctions.rival
        per_event = rival.mean() / _PER_MILLE / probability.mean() * _BID_TIMES
        # As the paces see them: a bid for CPM is for a thousand.
        bid = int(per_event * _PER_MILLE if self.bid_type is BidType.cpm else per_event)
        can_win = per_event * _PER_MILLE * probability >= rival
        self.campaign = Campaign(
            campaign_id="flight",
            advertiser="a",
            payer="a",
            starts=START,
            ends=START + DAYS * DAY_S,
            total_budget=int(rival[can_win].sum() / _PER_MILLE * SHARE),
            bid_type=self.bid_type,
            bid=bid,
            creatives=(Creative(item_id=_CREATIVE),),
            delivery=Delivery.even,
        )
        self.held = HeldCampaign(self.campaign, 1, START * 1000, "b", "created", 1)
        self.campaigns = CampaignSet().with_changes([self.held])

    def run(self) -> Account:
        """Returns the account of the flight when its last window is over."""
        log, ledger = open_event_log(self.folder), SqliteLedger(Path(self.folder))
        # A lease is for minutes, as the traffic is a fortieth.
        config = WalletConfig(duration_s=2 * _STEP_S, spend_s=1.5 * _STEP_S, idle_s=_STEP_S)
        wallet = EagerWallet(ledger.leases, "one", config)
        paces = Paces(ledger.accounts, lambda: self.campaigns, 1, Metrics(), lambda: self.now_s)
        probability = self.auctions.probability(self.bid_type)
        turn_at = START + _STEP_S
        try:
            for number, second in enumerate(self.auctions.second.tolist()):
                while turn_at <= second:
                    self._turn(turn_at, wallet, paces, log, ledger)
                    turn_at += _STEP_S
                self.now_s = second
                self._auction(number, float(probability[number]), wallet, paces)
            end = START + DAYS * DAY_S + _WINDOW_S[self.bid_type] + DRAIN_MS // 1000 + 4 * _STEP_S
            while turn_at < end:
                self._turn(turn_at, wallet, paces, log, ledger)
                turn_at += _STEP_S
            return next(one for one in ledger.accounts("flight") if one.day == FLIGHT)
        finally:
            ledger.close()
            log.close()

    def _auction(self, number: int, probability: float, wallet: Wallet, paces: Paces) -> None:
        """Holds an auction against the best of the others."""
        whole = Offer(_CREATIVE, "flight", self.bid_type, self.campaign.price_limit, probability)
        multiplier = paces.multiplier(self.campaign, whole.value) if whole.value else 0.0
        rival = int(self.auctions.rival[number])
        if not multiplier > 0 or int(whole.value * multiplier) < rival:
            return
        charge = charge_of(whole, rival)
        price = -(-charge // _PER_MILLE) if self.bid_type is BidType.cpm else charge
        # As `serving.api.ads.sales` reserves: what is expected, not the whole price.
        reserve = min(price, max(1, -int(-price * probability // 1)))
        window_ms = _WINDOW_S[self.bid_type] * 1000
        buy = Buy(held=self.held, item_id=_CREATIVE, price=price, reserve=reserve, window_ms=window_ms)
        moment = Moment(self.now_s, int(self.now_s * 1000))
        (outcome,) = sell([buy], None, self.campaigns, wallet, _nobody_counts, moment)
        if not isinstance(outcome, Sale):
            paces.note_no_money("flight")
            return
        paces.note_sale("flight", rival)
        self._decisions.append(Decision(decision_id=f"d{number}", time_ms=moment.time_ms, sales=(outcome,)))
        self._expect(number)

    def _expect(self, number: int) -> None:
        """Notes the billable event that an ad will have, if any."""
        kind, after = {
            BidType.cpm: ("exposure", 1),
            BidType.cpc: ("click", 30 if self.auctions.is_clicked[number] else -1),
            BidType.cpa: ("conversion", int(self.auctions.converts_after[number])),
        }[self.bid_type]
        if after >= 0:
            at = int(self.now_s) + after
            event = Event(
                event_id=f"e{number}",
                kind=kind,
                item_id=_CREATIVE,
                timestamp=at,
                sent_timestamp=at,
                received=at,
                decision_id=f"d{number}",
            )
            self._coming.append(event)

    def _turn(self, now_s: int, wallet: Wallet, paces: Paces, log: EventLog, ledger: Ledger) -> None:
        """Does what the threads beside the answers do: write, book, give leases back, solve."""
        self.now_s = now_s
        if self._decisions:
            log.append_decisions(self._decisions)
            self._decisions = []
        came = [one for one in self._coming if one.received <= now_s]
        if came:
            self._coming = [one for one in self._coming if one.received > now_s]
            log.append(came)
        ledger.follow(log, self.campaigns, now_s * 1000)
        wallet.tidy(Moment(now_s, now_s * 1000))
        paces.solve()


def _nobody_counts(*_claims: object) -> list[bool]:
    """Stands for the caps of the ledger, which none of these campaigns has."""
    raise AssertionError("no campaign of a flight has caps")
