"""Tries rules on decisions of the log: asks them again with one set and with another, and compares.

Decides how answers are compared and what clicks are to be expected of them. Leaves to others which decisions
are asked and by whom.

A decision is asked again by what the log holds of it: its request, with the history that was read in place of
the user.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from marquee.decision.recommender import Recommender
from marquee.decision.requests import Answer
from marquee.decision.trials.questions import Question
from marquee.store.log.event_log import Decision
from marquee.store.rules.rule import ActiveRules

MAX_SHIFTS = 20
"""Items that a trial names as gaining, and as losing."""

_PRIOR_CLICKS = 1.0
"""An item is taken for an average one until about so many clicks were to be expected of it."""


@dataclass(frozen=True, slots=True)
class ItemShift:
    """An item, and how many answers hold it before and after."""

    item_id: str
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class PredictedClicks:
    """Clicks to be expected of the answers before and after, and how many the prediction rests on."""

    before: float
    after: float
    n_clicks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """The difference between two sets of rules.

    Attributes:
        n_asked: Decisions that were asked again.
        n_left_out: Decisions that could not be.
        n_untold: Decisions that were asked without the rules for users, for nobody can tell whose they are.
        n_unrecorded: Decisions whose record holds no request: asked by what their surface says now.
        n_changed: Answers that differ in an item or a place.
        gaining: Items that more answers hold, the most first.
        losing: Items that fewer answers hold, the most first.
        applied: Answers on which each rule of the second set had an effect.
        clicks: None where nothing predicts them.
    """

    n_asked: int
    n_left_out: int
    n_untold: int
    n_unrecorded: int
    n_changed: int
    gaining: Sequence[ItemShift]
    losing: Sequence[ItemShift]
    applied: Mapping[str, int]
    clicks: PredictedClicks | None


class ClickModel:
    """Predicts clicks from those of the log: by place, and by how much better an item does than its places.

    ```
    of a place     clicks there / answers that had it
    of an item     (its clicks + 1) / (clicks to be expected of the places where it stood + 1)
    expected       the product of the two, added up over an answer
    ```

    Nobody asks who saw a place: it counts as seen where an answer had it.

    Args:
        decisions: Answers of the log.
        clicked: Decision and item of each click; those of other decisions are passed over.

    Source:
        Zhang and Jones 2007, WWW workshop on query log analysis, clicks over expected clicks (COEC). Differs
        from the paper: a click is added on both sides, which holds items that were hardly shown to 1.
    """

    def __init__(self, decisions: Sequence[Decision], clicked: Collection[tuple[str, str]]) -> None:
        shown, clicks = Counter[int](), Counter[int]()
        for decision in decisions:
            for place, one in enumerate(decision.places):
                shown[place] += 1
                clicks[place] += (decision.decision_id, one.item_id) in clicked
        self.n_clicks = clicks.total()
        self._of_place = {place: clicks[place] / n for place, n in shown.items()}
        of_item, expected = Counter[str](), Counter[str]()
        for decision in decisions:
            for place, one in enumerate(decision.places):
                of_item[one.item_id] += (decision.decision_id, one.item_id) in clicked
                # A Counter adds fractions as well as numbers.
                expected[one.item_id] += self._of_place[place]  # type: ignore[assignment]
        self._of_item = {
            item: (of_item[item] + _PRIOR_CLICKS) / (n + _PRIOR_CLICKS) for item, n in expected.items()
        }

    def expected(self, item_ids: Iterable[str]) -> float:
        """Returns the clicks to be expected of an answer."""
        return sum(
            # An item that was never shown does as well as its place.
            self._of_place.get(place, 0.0) * self._of_item.get(item, 1.0)
            for place, item in enumerate(item_ids)
        )


@dataclass(slots=True)
class Comparison:
    """Counts the differences between answers, pair after pair.

    Attributes:
        model: Predicts clicks.
    """

    model: ClickModel
    n_left_out: int = 0
    n_untold: int = 0
    n_unrecorded: int = 0
    _n_asked: int = 0
    _n_changed: int = 0
    _before: Counter[str] = field(default_factory=Counter)
    _after: Counter[str] = field(default_factory=Counter)
    _applied: Counter[str] = field(default_factory=Counter)
    _clicks: list[tuple[float, float]] = field(default_factory=list)

    def ask(
        self, recommender: Recommender, question: Question, before: ActiveRules, after: ActiveRules
    ) -> None:
        """Asks a question with both sets and counts the difference."""
        self.add(*question.answers(recommender, (before, after)))

    def add(self, before: Answer, after: Answer) -> None:
        """Counts the difference between two answers."""
        old, new = ([item.item_id for item in answer.items] for answer in (before, after))
        self._n_asked += 1
        self._n_changed += old != new
        self._before.update(old)
        self._after.update(new)
        self._applied.update(after.rules)
        self._clicks.append((self.model.expected(old), self.model.expected(new)))

    def trial(self) -> Trial:
        """Returns the difference as it was counted."""
        shifts = [
            ItemShift(item, self._before[item], self._after[item])
            for item in sorted(self._before | self._after)
            if self._before[item] != self._after[item]
        ]
        by_gain = sorted(shifts, key=lambda shift: shift.before - shift.after)
        gaining = [shift for shift in by_gain if shift.after > shift.before]
        losing = [shift for shift in reversed(by_gain) if shift.after < shift.before]
        clicks = None
        if self.model.n_clicks:
            totals = [sum(one) for one in zip(*self._clicks, strict=True)] or [0.0, 0.0]
            clicks = PredictedClicks(totals[0], totals[1], self.model.n_clicks)
        return Trial(
            n_asked=self._n_asked,
            n_left_out=self.n_left_out,
            n_untold=self.n_untold,
            n_unrecorded=self.n_unrecorded,
            n_changed=self._n_changed,
            gaining=gaining[:MAX_SHIFTS],
            losing=losing[:MAX_SHIFTS],
            applied=dict(self._applied),
            clicks=clicks,
        )
