"""Decisions as the log gives them back, made without a service."""

from collections.abc import Sequence

from marquee.decision.explaining.asked import asked_of
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Decided, Request
from marquee.store.log.event_log import Decision, Place
from marquee.store.log.log_rows import decision_row, logged_decision


def recorded(recommender: Recommender, request: Request, decided: Decided) -> Decision:
    """Returns an answer as the log gives it back."""
    answer = decided.answer
    drawn = [1.0] * len(answer.items) if decided.propensities is None else decided.propensities.tolist()
    is_known_user = request.user_id is not None and not answer.unknown_user
    decision = Decision(
        decision_id=request.decision_id or "018bcfe5-6800-7000-8000-000000000000",
        time_ms=request.timestamp * 1000,
        user_id=request.user_id,
        surface=request.surface,
        release=answer.version,
        source=answer.source.value,
        policy=request.exploration.policy.value,
        parameters=request.exploration.parameters,
        places=tuple(
            [
                Place(item.item_id, item.score, chance)
                for item, chance in zip(answer.items, drawn, strict=True)
            ]
        ),
        tier=request.tier.value,
        history=tuple(recommender.item_pool.table.decode(decided.read)),
        asked=asked_of(request, recommender.bundle.columns, is_known_user=is_known_user),
        live_items=recommender.item_pool.live_digest,
    )
    return logged_decision((1, *decision_row(decision))).decision


def decide_together(recommender: Recommender, requests: Sequence[Request]) -> list[Decision]:
    """Returns the decisions of one batch as the log gives them back."""
    decided = recommender.decide(requests)
    return [recorded(recommender, *one) for one in zip(requests, decided, strict=True)]
