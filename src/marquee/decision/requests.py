"""Requests to a bundle and its answers: the words shared by library, service and tests.

A `Request` validates itself when it is made, so that one bad request never reaches a batch of good
ones. Nothing here reads the clock: the caller says what time it is.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum
from typing import NamedTuple

from marquee.core.arrays import BoolArray, Float64Array, FloatArray, IndexArray
from marquee.core.catalog import ItemKind
from marquee.core.event_kinds import EventKind
from marquee.core.filters import NO_FILTERS, Filters
from marquee.core.schema import SURFACE
from marquee.decision.policies.config import NO_EXPLORATION, Exploration
from marquee.decision.reranking import NO_RERANKING, Reranking
from marquee.errors import DataError, QueryError
from marquee.store.people.consent import Tier
from marquee.store.rules.rule import NO_RULES, ActiveRules

# The empty name stands for the first kind that the bundle declares.
_EVENT_KINDS = frozenset(EventKind.__members__) | {""}


class Source(StrEnum):
    """The signal that an answer was made from, the strongest first."""

    personal = "personal"
    history = "history"
    features = "features"
    popular = "popular"
    similar = "similar"
    new = "new"
    query = "query"


class Stage(Enum):
    """A step from a batch of requests to its answers, in this order."""

    encode = "encode"  # requests into query embeddings
    retrieve = "retrieve"  # candidates from the index
    rerank = "rerank"  # their order by more than the score; what is popular where there are none
    compose = "compose"  # the answers, in the outside's words


HISTORY_WEIGHT = 2.0
"""Weight of the user beside words: chosen on validation by what users took next, asked for by a part of its
title (see `benchmarks.query`)."""

OnStage = Callable[[Stage], None]
"""Called with each stage when it has ended, so that a caller with a clock can time it."""


class HistoryEvent(NamedTuple):
    """One thing the user did, as the caller tells it.

    A named tuple because a request holds many: a third of the cost of a frozen dataclass to make, and
    `zip(*history)` turns a history into columns.

    Attributes:
        item_id: The item; one that the bundle does not know is dropped and counted in the answer.
        kind: A name of `EventKind`; empty for the first kind that the bundle declares. A kind that the
            bundle does not count is not fed to the model, but its item counts as seen.
        value: Of a rating or a conversion.
    """

    item_id: str
    kind: str = ""
    value: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class AdSearch:
    """The wish for ads beside content.

    Attributes:
        creatives: Returns which items of an `ItemTable` may be shown as ads, (n_items + 1,) bool.
        places: Slots of the answer, from 0, ascending.
        n_candidates: How many ads are to be found.
    """

    creatives: Callable[..., BoolArray]
    places: tuple[int, ...]
    n_candidates: int


@dataclass(frozen=True, slots=True, eq=False)
class AdCandidates:
    """Ads that may stand in an answer, the most relevant first, and the content that stands there without.

    Attributes:
        items: item_index, (n,).
        item_ids: The same as ids.
        scores: Relevance, as that of content, (n,) float32.
        click: Probability of a click on each at the first slot, (n,).
        conversion: Probability of a conversion after an impression there, (n,).
        content_click: The same of the content of each slot, at the first one, (n_slots,).
        content_conversion: Likewise.
        n_broken: Candidates whose probabilities are not finite, which are not among the others, and such
            content, which counts as sure to be clicked.
    """

    items: IndexArray
    item_ids: list[str]
    scores: FloatArray
    click: Float64Array
    conversion: Float64Array
    content_click: Float64Array
    content_conversion: Float64Array
    n_broken: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A question: the best k items for this user, or like this item, now.

    Attributes:
        timestamp: The time of the request, seconds since 1970 UTC: decides what is available and feeds
            the timestamp features.
        k: How many items are wanted.
        user_id: None for an anonymous user.
        like_item: Asks for the items most like this one, by the cosine of their embeddings, in place of the
            best for a user: no user, history or features may stand beside it.
        query: Words: asks for the items whose texts hold them, or are like those that do, the user's own
            liking beside. Nothing of it is kept.
        history_weight: What the user counts beside the words: 0 for the words alone.
        history: What the user did, oldest first, newer than what the bundle knows of the user: events, or
            item ids alone where no more than the item is known.
        features: Attributes of the user by source column, in place of those the bundle knows.
        context: Attributes of the request by source column: device, country, …
        surface: Where the answer is shown; the column `surface` of the context, unless that is given.
        kind: Only content or only ads; None for both.
        filters: What the items' attributes must be; the catalog says which it can apply.
        reranking: How the best items become the answer; by default they are it, in the order of scores.
        exploration: How places are drawn; by default each goes to the highest gain.
        decision_id: What all draws follow from; needed where places are drawn.
        exclude: Items that must not be returned; unknown ids do no harm.
        exclude_seen: Also exclude every item of the stored and of the given history.
        tier: How much of a person the answer may rest on; below `personal` it is what is popular. Whoever
            sets it leaves out what the tier forbids (see `within_tier`).
        rules: What people have decided for all answers here and now.
        ads: Ads that are wanted beside content, None for none.

    Raises:
        QueryError: If the words hold no letter and no digit.
        DataError: If k is below 1, an id is empty, a user or words are told beside `like_item`,
            `history_weight` is no number from 0 on, an event's kind or value is none, a history holds both
            events and ids, or places are to be drawn by no id.
    """

    timestamp: int
    k: int = 10
    user_id: str | None = None
    like_item: str | None = None
    query: str | None = None
    history_weight: float = HISTORY_WEIGHT
    history: tuple[HistoryEvent | str, ...] = ()
    features: Mapping[str, object] = field(default_factory=dict)
    context: Mapping[str, object] = field(default_factory=dict)
    surface: str | None = None
    kind: ItemKind | None = None
    filters: Filters = NO_FILTERS
    reranking: Reranking = NO_RERANKING
    exploration: Exploration = NO_EXPLORATION
    decision_id: str = ""
    exclude: Collection[str] = ()
    exclude_seen: bool = True
    tier: Tier = Tier.personal
    rules: ActiveRules = NO_RULES
    ads: AdSearch | None = None

    @property
    def stated(self) -> Mapping[str, object]:
        """All that is said of user and moment, by source column; the time excepted."""
        # The context last: what is said of the moment stands above what is said of the user.
        said = {**self.features, **self.context}
        return said if self.surface is None else {SURFACE: self.surface, **said}

    @property
    def reranks(self) -> bool:
        """True if the answer is more than the best items in the order of scores."""
        return bool(self.reranking.steps) or self.explores

    @property
    def explores(self) -> bool:
        """True if any place can be drawn otherwise than greedily."""
        # Identity first: requests that say nothing of it share this object.
        return self.exploration is not NO_EXPLORATION and self.exploration.explores

    def __post_init__(self) -> None:
        if self.k < 1:
            raise DataError(f"k must be 1 or more, got {self.k}; ask for at least one item")
        if self.user_id == "":
            raise DataError("user_id must not be empty, got ''; leave it out for an anonymous user")
        if self.explores and not self.decision_id:
            raise DataError(
                f"decision_id must be given where places are drawn, got '' with {self.exploration.policy}; "
                "make one for each answer"
            )
        if self.like_item is not None and (self.user_id or self.history or self.features or self.query):
            raise DataError(
                f"like_item must stand without user, history, features and query, got {self.like_item!r} "
                "beside one of them; ask for each alone"
            )
        if self.query is not None and not any(map(str.isalnum, self.query)):
            raise QueryError(
                f"query must hold a letter or a digit, got {len(self.query)} characters without; say what is "
                "looked for, or leave it out"
            )
        if not 0.0 <= self.history_weight < math.inf:
            raise DataError(
                f"history_weight must be a number from 0 on, got {self.history_weight}; use 0 for the words "
                "alone"
            )
        if self.history:
            # No loop in Python: a history may be long and is validated with each request.
            types = set(map(type, self.history))
            if types == {str}:
                _validate_item_ids(self.history)
            elif str in types:
                raise DataError(
                    f"history must hold events or item ids, got both in its {len(self.history)} entries; "
                    "make each a HistoryEvent"
                )
            else:
                self._validate_events()

    def _validate_events(self) -> None:
        """Raises DataError that names the first event whose id, kind or value is none."""
        item_ids, kinds, values = zip(*self.history, strict=True)
        _validate_item_ids(item_ids)
        if not _EVENT_KINDS.issuperset(kinds):
            position = next(i for i, kind in enumerate(kinds) if kind not in _EVENT_KINDS)
            raise DataError(
                f"history[{position}].kind must be one of {list(EventKind.__members__)}, "
                f"got {kinds[position]!r}; leave it out for the bundle's first kind"
            )
        for position, value in enumerate(values):
            if value is not None and not math.isfinite(value):
                raise DataError(
                    f"history[{position}].value must be a finite number, got {value}; leave it out if unknown"
                )


def within_tier(request: Request, tier: Tier) -> Request:
    """Returns a request without what a tier forbids, as if it had never been told.

    Example:
        >>> asked = Request(timestamp=0, user_id="u", features={"age": 3}, context={"hour": 4})
        >>> limited = within_tier(asked, Tier.segment)
        >>> limited.user_id, limited.history, limited.stated
        (None, (), {'age': 3, 'hour': 4})
        >>> within_tier(asked, Tier.none).stated
        {'hour': 4}
    """
    if tier is Tier.personal:
        return request
    features = {} if tier is Tier.none else request.features
    return replace(request, user_id=None, history=(), features=features, tier=tier)


def _validate_item_ids(item_ids: Sequence[object]) -> None:
    """Raises DataError that names the first entry of a history whose item id is empty."""
    if "" in item_ids:
        raise DataError(f"history[{item_ids.index('')}].item_id must not be empty, got ''; name the item")


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One item of an answer.

    Attributes:
        item_id: The item.
        score: What the answer is sorted by, higher is better: the inner product of query and item, for
            `Source.popular` the item's share of all interactions, or of those in the context that
            `popular_in` names, for `Source.similar` a cosine, for `Source.new` days since 1970, for
            `Source.query` a cosine of texts and a share of what the embeddings say.
        kind: Content or ad.
    """

    item_id: str
    score: float
    kind: ItemKind


@dataclass(frozen=True, slots=True)
class RuleNotApplied:
    """A rule that holds and had no effect, or not the whole of it.

    Attributes:
        rule_id: The rule.
        why: In words.
    """

    rule_id: str
    why: str


@dataclass(frozen=True, slots=True)
class Decided:
    """An answer, and what nobody but the record of it needs to know.

    Attributes:
        answer: The answer.
        propensities: How probable each place was, given those above, (n_items,); None if each was certain.
        read: item_index of the history that the query tower was fed, oldest first, (length,) int64.
        rules_version: Of the set whose rules held; 0 where none did.
        rules_for_users: Ids of those of them that hold for some users alone.
        ads: Ads that may stand beside the content; None where none were wanted.
        considered: Scores of the candidates that re-ranking compared, (n_candidates,) float32: without what
            is pinned and was no candidate; None without re-ranking.
    """

    answer: "Answer"
    propensities: Float64Array | None
    read: IndexArray
    rules_version: int = 0
    considered: FloatArray | None = None
    rules_for_users: tuple[str, ...] = ()
    ads: AdCandidates | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The best items, best first: fewer than requested rather than anything forbidden.

    Attributes:
        items: Best first, equal scores in the order of the catalog; or in the order of the re-ranking.
        source: What the answer was made from.
        version: The bundle that made it.
        requested: How many items were asked for.
        reranked: What re-ranking took into account, such as "mmr" or "caps"; empty if there was none.
        short_reason: Why there are fewer than requested; None if there are not.
        popular_in: The context in which the items of `Source.popular` are popular, such as
            "surface=home"; None for everywhere.
        fallback_reason: Why the answer rests on less than the request had to go by; else None.
        unknown_user: Whether a user was named whom the bundle does not know.
        unknown_history: Events of the given history whose item the bundle does not know.
        ignored_features: Names in `features` and `context` that the bundle has no feature for, sorted.
        unknown_filter_values: Values named in `filters` that no item has, as `attribute=value`.
        rules: Ids of the rules that had an effect, in the order of their set.
        rules_not_applied: Rules that hold and could not have theirs, with the reason.
    """

    items: tuple[Recommendation, ...]
    source: Source
    version: str
    requested: int
    reranked: tuple[str, ...] = ()
    short_reason: str | None = None
    popular_in: str | None = None
    fallback_reason: str | None = None
    unknown_user: bool = False
    unknown_history: int = 0
    ignored_features: tuple[str, ...] = ()
    unknown_filter_values: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    rules_not_applied: tuple[RuleNotApplied, ...] = ()
