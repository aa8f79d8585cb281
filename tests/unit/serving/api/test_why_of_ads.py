"""Explanations of answers with ads: content is asked for again, and the auction is held again."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from marquee.ads.objective import Objective
from marquee.decision.explaining.auctions import content_places
from marquee.decision.explaining.explanation import Explanation, Outcome, explain
from marquee.decision.explaining.replaying import replay
from marquee.decision.explaining.sentences import Words
from marquee.decision.recommender import Recommender
from marquee.store.campaigns.campaign import Creative, Priority, State
from marquee.store.log.event_log import Decision
from marquee.store.rules.rule import NO_RULES
from tests.support.ad_service import EURO, AdService, booking
from tests.support.bundles import publish_tiny

SLOTS = "{first: 1, every: 2, floor: 1000000}"
DRAWN = "policy: {name: softmax, share: 1.0, floor: 0.1, temperature: 0.5}"
BOOKED = (
    booking(),
    booking("autumn", bid=3 * EURO, creatives=(Creative(item_id="i004"), Creative(item_id="i012"))),
    booking(
        "house", bid=None, total_budget=0, priority=Priority.house, creatives=(Creative(item_id="i016"),)
    ),
)

Open = Callable[..., AdService]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_tiny(tmp_path_factory.mktemp("bundles"))


@pytest.fixture
def opened(home: Path, tmp_path: Path) -> Iterator[Open]:
    made: list[AdService] = []

    def open_service(more: str = "", objective: Objective | None = None) -> AdService:
        made.append(AdService(home, tmp_path, SLOTS, objective, more))
        made[-1].book(*BOOKED)
        made[-1].warm(k=6)
        return made[-1]

    yield open_service
    for one in made:
        one.endpoints.close()
        one.close()


@pytest.fixture(scope="module")
def sold(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Decision:
    """Returns a decision with three ads."""
    service = AdService(home, tmp_path_factory.mktemp("sold"), SLOTS, more=DRAWN)
    service.book(*BOOKED)
    service.warm(k=6)
    service.ask(k=6, user_id="u1")
    decision = service.written()[-1]
    assert len(decision.sales) == 3
    return decision


@pytest.fixture(scope="module")
def recommender(home: Path) -> Recommender:
    return Recommender.load(home)


def explained(recommender: Recommender | None, decision: Decision) -> Explanation:
    return explain(decision, recommender, NO_RULES, Words())


@pytest.mark.parametrize("more", ["", DRAWN])
def test_answers_with_and_without_ads_agree(opened: Open, more: str) -> None:
    service = opened(more, Objective(click=0.2))
    shown = set()
    for k in (1, 2, 4, 6):
        for body in ({"user_id": "u1"}, {"history": ["i001", "i003"]}, {"user_id": "u2", "consent": "none"}):
            answer = service.ask(k=k, **body)
            told = service.why(answer["decision_id"])
            assert told["replay"]["outcome"] == "agrees", told["replay"]
            assert [one["item_id"] for one in told["items"]] == [one["item_id"] for one in answer["items"]]
            ads = {place: one["ad"] for place, one in enumerate(told["items"]) if "ad" in one}
            assert {place: ad["campaign_id"] for place, ad in ads.items()} == {
                ad["place"]: ad["campaign_id"] for ad in answer.get("ads", ())
            }
            shown.add(len(ads))
            content = [one for one in told["items"] if "ad" not in one]
            assert all(one["cause"] != "ad" for one in content)
            assert told["stages"][-1] == {"stage": "answer", "n_left": len(content)}
    assert shown == {0, 1, 2, 3}


def test_ad_tells_who_pays_what_for_it_and_who_came_next(opened: Open) -> None:
    service = opened()
    answer = service.ask(k=2, user_id="u1")
    told = service.why(answer["decision_id"])
    (item,) = [one for one in told["items"] if "ad" in one]
    assert (item["cause"], item["because"]) == ("ad", "Ad of by-autumn, paid for by Payer of autumn")
    assert 0.0 < item["propensity"] < 1.0  # one of two creatives
    assert item["ad"] == {
        "campaign_id": "autumn",
        "on_behalf_of": "by-autumn",
        "paid_by": "Payer of autumn",
        "priority": "auction",
        "bid_type": "cpm",
        "charge": 2_000,
        "bid": 3 * EURO,
        "probability": 1.0,
        "multiplier": 1.0,
        "value": 3 * EURO,
        "price": 2 * EURO,
        "reserve": EURO,
        "next_value": 2 * EURO,
        "next_campaign_id": "spring",
        "main_parameters": ["surface", "history"],
    }
    assert told["lost"] == {"outbid": 2, "other_creative": 1}


def test_content_beside_ads_is_drawn_again_with_its_propensities(
    sold: Decision, recommender: Recommender
) -> None:
    drawn = replay(recommender, sold).decided.propensities
    assert drawn is not None
    recorded = [sold.places[place].propensity for place in content_places(sold)]
    assert drawn.tolist() == pytest.approx(recorded, rel=1e-4)
    assert min(recorded) < 1.0


def test_what_was_told_beside_an_ad_stays_when_its_campaign_is_changed(opened: Open) -> None:
    service = opened()
    answer = service.ask(k=2)
    service.change("autumn", payer="Somebody else", bid=EURO)
    told = service.why(answer["decision_id"])
    assert told["replay"]["outcome"] == "agrees"
    assert told["items"][1]["ad"]["paid_by"] == "Payer of autumn"


def test_winner_without_money_leaves_an_auction_that_agrees(opened: Open) -> None:
    service = opened()
    for name in ("autumn", "house"):
        service.change(name, state=State.paused)
    # A place costs the floor, a tenth of a cent.
    service.change("spring", total_budget=2_500)
    outcomes = []
    for number in range(4):
        answer = service.ask(k=2, user_id=f"u{number}")
        told = service.why(answer["decision_id"])
        outcomes.append((len(answer.get("ads", ())), told.get("lost", {}), told["replay"]["outcome"]))
    assert outcomes[:3] == [(1, {}, "agrees"), (1, {}, "agrees"), (0, {"no_money": 1}, "agrees")]
    assert outcomes[3][2] == "agrees"


def test_part_of_a_batch_with_ads_agrees(opened: Open) -> None:
    service = opened(DRAWN)
    parts = [{"k": 4, "user_id": f"u{number}"} for number in range(4)]
    answers = service.post("/v1/recommend/batch", requests=parts)["answers"]
    assert all(part["ads"] for part in answers)
    assert {service.why(part["decision_id"])["replay"]["outcome"] for part in answers} == {"agrees"}


def test_ads_are_explained_without_the_release(sold: Decision) -> None:
    explanation = explained(None, sold)
    assert explanation.outcome is Outcome.release_gone
    assert [ad is not None for ad in explanation.ads] == [False, True] * 3
    assert [one.cause == "ad" for one in explanation.sentences] == [False, True] * 3


def _cheaper(decision: Decision) -> Decision:
    first, *others = decision.sales
    return replace(decision, sales=(first._replace(price=1), *others))


def _unsold(decision: Decision) -> Decision:
    return replace(decision, sales=decision.sales[1:])


def _gone(decision: Decision) -> Decision:
    """Returns a decision without one of its ads."""
    places = (decision.places[0], *decision.places[2:])
    return replace(decision, places=places, sales=decision.sales[1:])


def _moved(decision: Decision) -> Decision:
    first, second, *others = decision.places
    return replace(decision, places=(second, first, *others))


def _other_content(decision: Decision) -> Decision:
    places = list(decision.places)
    places[0], places[2] = places[2], places[0]
    return replace(decision, places=tuple(places))


def _other_offer(decision: Decision) -> Decision:
    offers: list[Any] = [list(row) for row in decision.auction["offers"]]
    offers[0][1] = "another"
    return replace(decision, auction={**decision.auction, "offers": offers})


@pytest.mark.parametrize(
    ("altered", "why"),
    [
        (_cheaper, "millionths"),
        (_unsold, "more places"),
        (_gone, "at place 3"),
        (_moved, "at place 1"),
        (_other_content, "another answer"),
        (_other_offer, "to another for"),
    ],
)
def test_altered_record_is_told_as_different(
    sold: Decision, recommender: Recommender, altered: Callable[[Decision], Decision], why: str
) -> None:
    assert explained(recommender, sold).outcome is Outcome.agrees
    explanation = explained(recommender, altered(sold))
    assert explanation.outcome is Outcome.differs
    assert why in explanation.why
    assert len(explanation.sentences) == len(explanation.decision.places)


def test_auction_of_another_form_is_told_as_not_recorded(sold: Decision, recommender: Recommender) -> None:
    explanation = explained(recommender, replace(sold, auction={"places": [1]}))
    assert explanation.outcome is Outcome.not_recorded
    assert "auction that this version can read" in explanation.why
