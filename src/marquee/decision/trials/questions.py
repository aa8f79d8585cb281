"""A decision of the log as a question that can be asked again, with other rules and of another release.

A request is asked as it was, with the history that was read in place of its user; a row of a page as the only
row of a page, by its own kind: what is popular stays what is popular, and a list goes on with itself. What
stood above a row is excluded from it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from marquee.decision.explaining.asked import BY_WORDS, request_of, row_of
from marquee.decision.pages.rows import Row, RowKind
from marquee.decision.policies.config import NO_EXPLORATION
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Answer, Request, Source
from marquee.store.log.event_log import Decision
from marquee.store.rules.rule import ActiveRules

# They do not follow from a history: by what the log holds another question would be asked.
_NOT_ASKED_AGAIN = (Source.similar, Source.new, Source.query)
_ROWS_NOT_ASKED_AGAIN = (RowKind.similar, RowKind.new)


@dataclass(frozen=True, slots=True)
class Question:
    """A request, or a row with the page that it is the only one of.

    Attributes:
        request: What is asked; of a row who asks for the page.
        row: The row; None for a request of its own.
    """

    request: Request
    row: Row | None = None

    def validate(self, recommender: Recommender) -> None:
        """Raises MarqueeError if a release cannot answer it; see `Recommender.validate`."""
        recommender.validate(self.request if self.row is None else self.row.request)

    def answers(self, recommender: Recommender, several: Sequence[ActiveRules]) -> list[Answer]:
        """Returns the answer of a release by each of several sets of rules."""
        if self.row is None:
            return recommender.recommend([replace(self.request, rules=rules) for rules in several])
        row = self.row
        rows = [replace(row, request=replace(row.request, rules=rules)) for rules in several]
        # Each alone on a page: beside the other it would have to show other items.
        return [recommender.recommend_page(self.request, [one])[0].answer for one in rows]


def may_be_asked_again(decision: Decision) -> bool:
    """Tells whether the record of a decision says enough to ask it again without its user."""
    row = row_of(decision)
    is_row_asked = row is None or row.kind not in _ROWS_NOT_ASKED_AGAIN
    is_asked = decision.source not in _NOT_ASKED_AGAIN and not decision.asked.get(BY_WORDS)
    return is_asked and is_row_asked


def question_of(decision: Decision, timestamp: int, k: int) -> Question:
    """Returns the question of a decision whose request is on record.

    Args:
        decision: From the record.
        timestamp: When it is asked, seconds since 1970 UTC.
        k: Items that are wanted.

    Raises:
        DataError: If the record holds it in a form that this version does not read.
    """
    asked, row = request_of(decision), row_of(decision)
    asked = replace(
        asked,
        timestamp=timestamp,
        k=k,
        # Without the user: the history that was read holds what the bundle knew of the user.
        user_id=None,
        history=decision.history,
        # Both sides greedy: drawn twice they would differ without any rule.
        exploration=NO_EXPLORATION,
        exclude=tuple(asked.exclude) if row is None else (*asked.exclude, *row.shown),
    )
    if row is None:
        return Question(asked)
    kind = RowKind(row.kind)
    # What the tower read for a list was the list.
    history = () if kind is RowKind.continued else decision.history
    page = Request(
        timestamp=timestamp,
        history=history,
        features=asked.features,
        context=asked.context,
        surface=row.surface,
        tier=asked.tier,
    )
    own = replace(asked, history=())
    return Question(page, Row(kind=kind, request=own, item_id=row.item_id, items=row.items))
