"""Asks a decision again, alone, as it was asked then, and says whether the same comes out.

Not bit for bit: in a batch of eight the tower rounds otherwise in two of three answers. The same means the
same items in the same order, with scores within `TOLERANCE` of the largest. Of an answer with ads the content
is asked for again: as much as was asked for then, of which the ads left no place for the last.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from marquee.decision.explaining.asked import AskedRow, request_of, row_of
from marquee.decision.explaining.auctions import content_places
from marquee.decision.pages.rows import Row, RowKind
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Decided, Request
from marquee.store.log.event_log import Decision
from marquee.store.rules.rule import NO_RULES, ActiveRules

TOLERANCE = 1e-5
"""Largest difference of two scores that count as equal, as a share of the largest score."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """A decision, asked again.

    Attributes:
        request: As it was asked, with the rules that held; of a row of a page it also excludes what no row
            may show again.
        user: The request that says what the user had: of a row that of its page.
        query: The request that went through the tower.
        decided: The outcome now; of an answer with ads its content.
        like_item: The item that the others are like, None where they are to be like none.
        has_same_items: Whether the same items stand in the same order.
        largest_difference: Of a score to the recorded one, as a share of the largest score.
    """

    request: Request
    user: Request
    query: Request
    decided: Decided
    like_item: str | None
    has_same_items: bool
    largest_difference: float

    @property
    def agrees(self) -> bool:
        """Whether the outcome is the recorded one."""
        return self.has_same_items and self.largest_difference <= TOLERANCE


def replay(recommender: Recommender, decision: Decision, rules: ActiveRules = NO_RULES) -> Replayed:
    """Returns a decision as it comes out when it is asked again.

    Args:
        recommender: Of the release that it names.
        decision: From the record.
        rules: Those that held.

    Raises:
        DataError: If the record does not hold the request, or the release cannot answer it.
        MarqueeError: As `Recommender.recommend` does.
    """
    request, row = replace(request_of(decision), rules=rules), row_of(decision)
    if row is None:
        asked = _Asked(request, request, request, recommender.decide([request])[0], request.like_item)
    else:
        asked = _ask_row(recommender, request, row)
    places = [decision.places[number] for number in content_places(decision)]
    if len(places) < len(decision.places):
        n_left = max(0, request.k - (len(decision.places) - len(places)))
        asked = asked._replace(decided=_first(asked.decided, n_left))
    items = asked.decided.answer.items
    has_same_items = [item.item_id for item in items] == [place.item_id for place in places]
    scores = [item.score for item in items]
    difference = _difference([place.score for place in places], scores) if has_same_items else 1.0
    return Replayed(*asked, has_same_items, difference)


class _Asked(NamedTuple):
    """The fields of `Replayed` that asking gives."""

    request: Request
    user: Request
    query: Request
    decided: Decided
    like_item: str | None


def _ask_row(recommender: Recommender, request: Request, row: AskedRow) -> _Asked:
    """Asks for a row as the only one of its page."""
    user = Request(
        timestamp=request.timestamp,
        user_id=request.user_id,
        history=request.history,
        features=request.features,
        context=request.context,
        surface=row.surface,
        tier=request.tier,
    )
    # What stood above is excluded: alone on its page the row would show it.
    own = replace(request, user_id=None, history=(), exclude=(*request.exclude, *row.shown))
    wanted = Row(kind=RowKind(row.kind), request=own, item_id=row.item_id, items=row.items)
    (answered,) = recommender.recommend_page(user, [wanted])
    hidden = row.items if answered.like_item is None else (answered.like_item,)
    # A list goes on with itself, not with the user (see `pages.composing`).
    query = replace(own, history=row.items) if wanted.kind is RowKind.continued else user
    return _Asked(
        replace(own, exclude=(*own.exclude, *hidden)), user, query, answered.decided, answered.like_item
    )


def _first(decided: Decided, n_items: int) -> Decided:
    """Returns an outcome with its first items alone."""
    drawn = decided.propensities
    return replace(
        decided,
        answer=replace(decided.answer, items=decided.answer.items[:n_items]),
        propensities=None if drawn is None else drawn[:n_items],
    )


def _difference(recorded: Sequence[float], scores: Sequence[float]) -> float:
    """Returns the largest difference of two lists of scores, as a share of the largest score."""
    largest = max(map(abs, recorded), default=0.0)
    differences = [abs(one - other) for one, other in zip(recorded, scores, strict=True)]
    # Scores that are all 0 have no scale: they are equal or they are not.
    return max(differences, default=0.0) / (largest or 1.0)
