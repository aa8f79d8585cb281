"""Books campaigns over HTTP and shows what they buy: a page with its ads, a pause, a budget to its end.

The service sells the slots of one surface. Answers tell who is behind each ad; what it costs and why is in
the record of the decision, and what was charged in the account of the campaign.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from demo.errors import DemoError
from demo.processes import free_port, running_server, service_command, service_environment
from demo.questions import titles
from demo.telling import EventLoop
from marquee.ads.trace import replayed
from marquee.bundle.bundle import Bundle
from marquee.client import (
    CampaignAnswer,
    CampaignCreativeMessage,
    CampaignMessage,
    Client,
    EventMessage,
    RecommendAnswer,
    RecommendRequest,
    ServiceError,
)
from marquee.client.messages.campaigns import DeliveryAnswer
from marquee.core.catalog import ItemKind
from marquee.store.campaigns.money import PER_UNIT
from marquee.store.log.event_log import Decision
from marquee.store.log.opening import open_event_log

K = 8
SMALL, CLICKS, VIEWS = "a-small-budget", "paid-by-click", "paid-by-view"
SMALL_BUDGET = 0.051
"""No multiple of what an impression costs: the last one that it pays for leaves a rest."""

FLOOR = 500_000
"""The least that a thousand impressions bring, millionths."""

_SURFACE = "feed"
_PER_CALL = 20
_MOST_CALLS = 25
_PATIENCE_S = 10.0
_PAUSE_S = 0.2
_DAY_S = 86_400


@dataclass(frozen=True)
class Record:
    """The record of one answer.

    Attributes:
        decision: As the log holds it.
        answer: As the service gave it.
    """

    decision: Decision
    answer: RecommendAnswer


def sell_slots(console: Console, bundle: Bundle, folder: Path) -> list[str]:
    """Books campaigns with a service of its own, and shows what becomes of them.

    Args:
        console: Shows them.
        bundle: Answers.
        folder: Is made; holds the declarations, the log and the campaigns.

    Returns:
        Reasons why ads or accounts make no sense; none if they do.

    Raises:
        DemoError: If the service fails or sells nothing.
    """
    campaigns = campaigns_of(bundle, int(time.time()))
    if not campaigns:
        console.print("The catalog holds too few ads that run now to book campaigns for.")
        return []
    loop = EventLoop.make(folder)
    surfaces = folder / "surfaces.json"
    # JSON is YAML: a path with any letters needs no thought.
    slots = {"first": 1, "every": 3, "floor": FLOOR}
    surfaces.write_text(
        json.dumps({"surfaces": {_SURFACE: {"bundle": str(bundle.path), "slots": slots}}}), encoding="utf8"
    )
    url = f"http://127.0.0.1:{(port := free_port())}"
    environment = {**service_environment(bundle.path), **loop.environment, "MARQUEE_SURFACES": str(surfaces)}
    del environment["MARQUEE_BUNDLE"]
    with (
        running_server(service_command(port), environment, url, folder / "service.log"),
        Client(url, key=loop.key, deadline_s=_PATIENCE_S) as client,
    ):
        try:
            booked = [client.create_campaign(one) for one in campaigns]
            return _show_all(console, client, bundle, loop.log, booked)
        except ServiceError as error:
            raise DemoError(f"the service did not take part in selling slots: {error}") from error


def campaigns_of(bundle: Bundle, now: int) -> list[CampaignMessage]:
    """Returns three campaigns that share the ads which may be shown now; none if there are too few."""
    rows = bundle.catalog.allowed(ItemKind.ad, now).item_index
    ads = bundle.catalog.item_ids.decode(rows)
    wanted = (
        (CLICKS, "Alder Books", "cpc", 0.4, 100.0),
        (VIEWS, "Birch Tours", "cpm", 2.0, 100.0),
        (SMALL, "Cedar Cafe", "cpm", 3.0, SMALL_BUDGET),
    )
    if len(ads) < len(wanted):
        return []
    return [
        CampaignMessage(
            campaign_id=campaign_id,
            advertiser=advertiser,
            payer=f"{advertiser} Ltd",
            starts=now - _DAY_S,
            ends=now + _DAY_S,
            creatives=[CampaignCreativeMessage(item_id=ad) for ad in ads[number :: len(wanted)]],
            total_budget=budget,
            bid_type=bid_type,
            bid=bid,
            # All that can be had at once: a day's plan is beyond a demo, and is shown in the next part.
            delivery="fast",
        )
        for number, (campaign_id, advertiser, bid_type, bid, budget) in enumerate(wanted)
    ]


def wrong_account(account: CampaignAnswer, n_told: int, last_price: float) -> list[str]:
    """Returns the faults of the account of a campaign whose budget should be spent.

    Args:
        account: What the service tells.
        n_told: Its ads that were shown, each of which was told as seen.
        last_price: What an impression cost last, units of the currency.
    """
    spent = account.spent
    if spent is None or spent.budget is None:
        return [f"{n_told} ads of {account.campaign.campaign_id} were seen, and none was charged"]
    wrong = []
    if spent.charged > spent.budget:
        wrong.append(f"charged {spent.charged} of a budget of {spent.budget}")
    if spent.budget - spent.charged >= last_price:
        wrong.append(f"{spent.budget - spent.charged:.6f} is left, which pays for one at {last_price:.6f}")
    if spent.billed != n_told:
        wrong.append(f"{n_told} ads were seen and {spent.billed} charged")
    return wrong


def _show_all(
    console: Console, client: Client, bundle: Bundle, log: Path, booked: Sequence[CampaignAnswer]
) -> list[str]:
    """Shows a page, a pause and a budget; returns what is wrong with them."""
    by_id = {one.campaign.campaign_id: one for one in booked}
    user = bundle.user_ids.ids[-1]
    page = _first_page(client, user)
    _show_page(console, _records(log, [page])[0], titles(bundle.catalog))
    client.pause_campaign(CLICKS, by_id[CLICKS].version)
    after = client.recommend(RecommendRequest(user_id=user, k=K))
    left = sorted({ad.campaign_id for ad in after.ads})
    console.print(f"\n{CLICKS} is paused: the next answer shows {', '.join(left) or 'content'}")
    wrong = [f"{CLICKS} is paused and shown"] if CLICKS in left else []
    return wrong + _spend(console, client, bundle, log, [page, after])


def _first_page(client: Client, user: str) -> RecommendAnswer:
    """Returns the first answer with ads of two campaigns: a campaign bids once its pace was solved."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        answer = client.recommend(RecommendRequest(user_id=user, k=K))
        if len(answer.ads) > 1:
            return answer
        time.sleep(_PAUSE_S)
    raise DemoError(f"three campaigns are booked, and no answer showed two ads within {_PATIENCE_S:g} s")


def _show_page(console: Console, record: Record, names: dict[str, str]) -> None:
    """Prints an answer with who is behind each ad, and the auction that put it there."""
    table = Table()
    for heading in ("", "item", "kind"):
        table.add_column(heading, overflow="ellipsis", no_wrap=True)
    for place, item in enumerate(record.answer.items, start=1):
        table.add_row(str(place), escape(names.get(item.item_id, item.item_id)), escape(item.kind))
    console.print(table)
    sales = {sale.item_id: sale for sale in record.decision.sales}
    for ad in record.answer.ads:
        sale = sales[ad.item_id]
        event = {"cpm": "an impression", "cpc": "a click", "cpa": "a conversion"}[sale.bid_type]
        console.print(
            f"{ad.place + 1} is an ad on behalf of {ad.on_behalf_of}, paid by {ad.paid_by}: "
            f"{sale.price / PER_UNIT:.6f} {event}; its choice rests on {', '.join(ad.main_parameters)}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    auction = record.decision.auction
    assert auction is not None, "an answer with ads has an auction on record"
    for one in replayed(auction).filled:
        offer = one.entry.offer
        assert offer is not None, "nothing that is booked here is free"
        chance = "" if offer.bid_type.value == "cpm" else f" · 1000 · {offer.probability:.4f}"
        console.print(
            f"place {one.place + 1}: {one.entry.campaign_id} bids {offer.bid / PER_UNIT:g}{chance} · λ "
            f"{offer.multiplier:.2f} = {offer.value / PER_UNIT:.3f} for a thousand impressions; the next "
            f"bid or the floor asks for {one.price / PER_UNIT:.3f}",
            highlight=False,
            soft_wrap=True,
        )
    lost = ", ".join(f"{number} {reason}" for reason, number in auction["lost"].items())
    changes = record.answer.ads[0].how_to_change
    console.print(
        f"offers without a place: {lost or 'none'}; who sees an ad changes what it may rest on by {changes}",
        highlight=False,
        soft_wrap=True,
    )


def _spend(
    console: Console, client: Client, bundle: Bundle, log: Path, answers: list[RecommendAnswer]
) -> list[str]:
    """Asks until the small budget is spent, and shows its account; returns what is wrong with it."""
    _see(client, answers)
    users = bundle.user_ids.ids
    for call in range(_MOST_CALLS):
        asked = [
            RecommendRequest(user_id=users[(call * _PER_CALL + n) % len(users)], k=K)
            for n in range(_PER_CALL)
        ]
        found = [one for one in client.recommend_batch(asked) if isinstance(one, RecommendAnswer)]
        _see(client, found)
        answers += found
        if not any(ad.campaign_id == SMALL for one in found for ad in one.ads):
            break
    decisions = [one.decision for one in _records(log, answers)]
    prices = [sale.price for one in decisions for sale in one.sales if sale.campaign_id == SMALL]
    if not prices:
        return [f"{SMALL} bids most and was never shown"]
    last_price = prices[-1] / PER_UNIT
    account = _charged(client, len(prices))
    spent = account.spent
    assert spent is not None, "what was charged has an account"
    console.print(
        f"{SMALL}: {spent.sold} ads shown, {spent.billed} charged, {spent.charged:.6f} of {spent.budget:g} "
        f"{account.currency}; {SMALL_BUDGET - spent.charged:.6f} is left, and one costs {last_price:.6f}. "
        f"GET /v1/campaigns/{SMALL} tells it, and content or others take its places",
        highlight=False,
        soft_wrap=True,
    )
    delivery = client.campaign(VIEWS).delivery
    console.print(told_delivery(VIEWS, delivery), highlight=False, soft_wrap=True)
    return [*wrong_account(account, len(prices), last_price), *wrong_delivery(VIEWS, delivery)]


def told_delivery(campaign_id: str, delivery: DeliveryAnswer | None) -> str:
    """Returns how a campaign gets on, in a sentence."""
    if delivery is None:
        return f"{campaign_id}: nothing is told"
    reasons = ", ".join(f"{number} {reason}" for reason, number in list(delivery.not_shown.items())[:3])
    forecast = delivery.forecast
    ahead = "" if forecast is None else f"; {forecast.charged:,.2f} are expected by its end"
    return (
        f"{campaign_id}: shown by {delivery.shown} of the last {delivery.looked_at} answers, the others "
        f"{reasons or 'none'}{ahead}"
    )


def wrong_delivery(campaign_id: str, delivery: DeliveryAnswer | None) -> list[str]:
    """Returns the faults of what is told of a campaign that runs."""
    if delivery is None or not delivery.shown or delivery.forecast is None:
        return [f"{campaign_id} runs and is shown, and no delivery or forecast is told"]
    if delivery.shown + sum(delivery.not_shown.values()) != delivery.looked_at:
        return [f"{campaign_id}: {delivery.looked_at} answers were looked at, and not each is told of"]
    return []


def _see(client: Client, answers: Sequence[RecommendAnswer]) -> None:
    """Tells the service that every ad of some answers was seen."""
    now = int(time.time())
    events = [
        EventMessage(kind="exposure", item_id=ad.item_id, timestamp=now, decision_id=one.decision_id)
        for one in answers
        for ad in one.ads
    ]
    if not events:
        return
    told = client.send_events(events)
    if told.accepted != len(events):
        raise DemoError(f"the service must keep {len(events)} exposures, got {told}; see its log")


def _charged(client: Client, n_sold: int) -> CampaignAnswer:
    """Returns the account of the small campaign once all of its ads were charged, or patience is over."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        account = client.campaign(SMALL)
        is_done = account.spent is not None and account.spent.billed >= n_sold
        if is_done or time.monotonic() > deadline:
            return account
        time.sleep(_PAUSE_S)


def _records(log: Path, answers: Sequence[RecommendAnswer]) -> list[Record]:
    """Returns the records of some answers, in their order, as soon as the log holds them."""
    opened = open_event_log(str(log))
    deadline = time.monotonic() + _PATIENCE_S
    try:
        while True:
            found: dict[str, Decision] = {}
            after = 0
            while page := opened.read_decisions(after, 1_000):
                found |= {one.decision.decision_id: one.decision for one in page}
                after = page[-1].sequence
            if all(one.decision_id in found for one in answers):
                return [Record(found[one.decision_id or ""], one) for one in answers]
            if time.monotonic() > deadline:
                raise DemoError(f"{len(answers)} answers must be on record, got {len(found)} in {log}")
            time.sleep(_PAUSE_S)
    finally:
        opened.close()
