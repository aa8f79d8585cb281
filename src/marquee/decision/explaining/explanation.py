"""Explains one decision: what its record says, and what the same release says when it is asked again.

```
record    what was answered, by which release, policy and rules: as it was
replay    the same request, asked alone: same items, same order, scores within rounding
          └─ agrees: items by stage, and the causes of each item
          └─ not: why not; then the record alone explains, item by item by what the whole answer rests on
auction   of places that were sold: held again from the record, whatever became of the release
```

Decides when a replay may be trusted. Leaves to others which release answers and where records are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from marquee.ads.openrtb.recorded import SOURCE, bids_of
from marquee.decision.explaining.asked import KNOWN_USER
from marquee.decision.explaining.auctions import NO_AUCTION, AdReasons, HeldAgain, content_places, hold_again
from marquee.decision.explaining.counting import Counts, count_stages
from marquee.decision.explaining.reasons import ItemReasons, Reasons, reasons_of
from marquee.decision.explaining.replaying import Replayed, replay
from marquee.decision.explaining.sentences import (
    Facts,
    Words,
    sentence_of,
    sentence_of_ad,
    sentence_of_source,
)
from marquee.decision.recommender import TITLE, Recommender
from marquee.errors import DataError, MarqueeError
from marquee.store.log.event_log import Decision
from marquee.store.rules.rule import ActiveRules

_AT_EXCHANGE = "these are bids at an exchange, which holds the auction and tells nobody of the others"


class Outcome(StrEnum):
    """The outcome of a replay."""

    agrees = "agrees"  # the same came out: its causes are those of the answer
    differs = "differs"  # another answer came out although nothing is known to have changed
    live_items_changed = "live_items_changed"  # another one, and live items are others than they were
    release_gone = "release_gone"  # nobody can answer from the release any more
    rules_gone = "rules_gone"  # the rules that held are not kept any more
    user_unknown = "user_unknown"  # the release knows the user by a name that the record does not hold
    not_recorded = "not_recorded"  # the record does not hold the request, or one that can be asked again


_WORDS: Mapping[Outcome, str] = {
    Outcome.agrees: "asked again, the release gives the same answer",
    Outcome.differs: "asked again, the release gives another answer",
    Outcome.live_items_changed: "live items have changed since, and with them the answer",
    Outcome.release_gone: "the release is loaded nowhere, and not to be had",
    Outcome.rules_gone: "the rules that held are not kept any more",
    Outcome.user_unknown: "the release knows its users by names that no record holds",
}


@dataclass(frozen=True, slots=True)
class Sentence:
    """The sentence of one item, and the cause that it names."""

    cause: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One decision, explained.

    Attributes:
        decision: As it is on record.
        outcome: Of the replay.
        why: The same in words.
        live_items_changed: Whether live items are others than they were; None where that is not known.
        largest_difference: Of a score, as in `Replayed`; None where nothing was replayed.
        counts: Items by stage; None unless the replay agrees.
        reasons: Causes by item of content; None unless the replay agrees.
        auction: Causes of the ads, by place.
        sentences: One per item, in the order of the answer.
    """

    decision: Decision
    outcome: Outcome
    why: str
    live_items_changed: bool | None = None
    largest_difference: float | None = None
    counts: Counts | None = None
    reasons: Reasons | None = None
    auction: HeldAgain = NO_AUCTION
    sentences: tuple[Sentence, ...]

    @property
    def causes(self) -> tuple[ItemReasons | None, ...]:
        """The causes of each place; None for an ad, and where they are not known."""
        content = iter(self.reasons.items if self.reasons else ())
        of_content = set(content_places(self.decision))
        return tuple(
            [
                next(content, None) if place in of_content else None
                for place in range(len(self.decision.places))
            ]
        )

    @property
    def ads(self) -> tuple[AdReasons | None, ...]:
        """The causes of each place that was sold; None for content."""
        return tuple([self.auction.ads.get(place) for place in range(len(self.decision.places))])


def explain(
    decision: Decision, recommender: Recommender | None, rules: ActiveRules | None, words: Words
) -> Explanation:
    """Returns the explanation of a decision.

    Args:
        decision: From the record.
        recommender: Of the release that it names, with the live items of now; None if nobody has it.
        rules: Those that held; None if they are not kept any more.
        words: Of the sentences.
    """
    if decision.source == SOURCE:
        return _bid_elsewhere(decision, words)
    try:
        auction = hold_again(decision)
    except DataError as error:
        return _by_record(decision, Outcome.not_recorded, words, str(error))
    if auction.difference:
        # Its offers are on record: neither release nor live items can have changed it.
        explained = _by_record(decision, Outcome.differs, words, auction.difference)
    else:
        explained = _explain_content(decision, recommender, rules, words)
    return _with_ads(explained, auction, words)


def _bid_elsewhere(decision: Decision, words: Words) -> Explanation:
    """Returns the explanation of bids at an exchange: who is behind each; only there is the auction known."""
    bids = bids_of(decision.auction)
    sentences = tuple([Sentence(*sentence_of_ad(words, one.advertiser, one.payer)) for one in bids])
    return replace(
        _by_record(decision, Outcome.not_recorded, words, _AT_EXCHANGE),
        sentences=sentences,
        auction=HeldAgain({}, decision.auction.get("lost", {})),
    )


def _with_ads(explained: Explanation, auction: HeldAgain, words: Words) -> Explanation:
    """Returns the explanation of a decision with that of its ads; one sentence for each place."""
    if not auction.ads:
        return replace(explained, auction=auction)
    sentences = list(explained.sentences)
    for place, ad in sorted(auction.ads.items()):
        said = Sentence(*sentence_of_ad(words, ad.filled.entry.advertiser, ad.paid_by))
        # Where the release was not asked, there is a sentence for each place already.
        if explained.reasons is None:
            sentences[place : place + 1] = [said]
        else:
            sentences.insert(place, said)
    return replace(explained, auction=auction, sentences=tuple(sentences))


def _explain_content(
    decision: Decision, recommender: Recommender | None, rules: ActiveRules | None, words: Words
) -> Explanation:
    """Returns the explanation of the places of a decision that were not sold."""
    if recommender is None:
        return _by_record(decision, Outcome.release_gone, words)
    if rules is None:
        return _by_record(decision, Outcome.rules_gone, words)
    has_changed = recommender.item_pool.live_digest != decision.live_items
    known_user = decision.user_id or ""
    if decision.asked.get(KNOWN_USER) and known_user not in recommender.bundle.user_ids:
        return _by_record(decision, Outcome.user_unknown, words, has_changed=has_changed)
    try:
        replayed = replay(recommender, decision, rules)
    except MarqueeError as error:
        why = str(error)
        return _by_record(decision, Outcome.not_recorded, words, why, has_changed=has_changed)
    if not replayed.agrees:
        outcome = Outcome.live_items_changed if has_changed else Outcome.differs
        return _by_record(
            decision, outcome, words, has_changed=has_changed, difference=replayed.largest_difference
        )
    return _by_replay(decision, recommender, replayed, words, has_changed=has_changed)


def _by_replay(
    decision: Decision, recommender: Recommender, replayed: Replayed, words: Words, *, has_changed: bool
) -> Explanation:
    """Returns the explanation of a decision that came out again."""
    answer, reasons = replayed.decided.answer, reasons_of(recommender, replayed)
    facts = Facts(
        source=answer.source,
        title_of=_Titles(recommender).of,
        features=replayed.query.stated,
        like_item=replayed.like_item,
        popular_in=answer.popular_in,
    )
    seen = recommender.queries.seen(replayed.user)
    return Explanation(
        decision=decision,
        outcome=Outcome.agrees,
        why=_WORDS[Outcome.agrees],
        live_items_changed=has_changed,
        largest_difference=replayed.largest_difference,
        counts=count_stages(replayed.request, seen, replayed.decided, recommender.item_pool),
        reasons=reasons,
        sentences=tuple([Sentence(*sentence_of(words, facts, reasons, item)) for item in reasons.items]),
    )


def _by_record(
    decision: Decision,
    outcome: Outcome,
    words: Words,
    why: str = "",
    *,
    has_changed: bool | None = None,
    difference: float | None = None,
) -> Explanation:
    """Returns the explanation of a decision by its record alone."""
    facts = Facts(decision.source, str, like_item=decision.asked.get("like_item"))
    sentence = Sentence(*sentence_of_source(words, facts))
    return Explanation(
        decision=decision,
        outcome=outcome,
        why=why or _WORDS[outcome],
        live_items_changed=has_changed,
        largest_difference=difference,
        sentences=(sentence,) * len(decision.places),
    )


class _Titles:
    """The names by which people know items.

    Args:
        recommender: Has the items.
    """

    def __init__(self, recommender: Recommender) -> None:
        self._table = recommender.item_pool.table
        self._has_titles = TITLE in recommender.bundle.catalog.attributes.columns

    def of(self, item_id: str) -> str:
        """Returns the title of an item, its id if it has none."""
        item = self._table.index(item_id)
        if not (self._has_titles and item):
            return item_id
        title = self._table.values(TITLE, np.array([item]))[0]
        return title if isinstance(title, str) else item_id
