"""A policy of the service as a candidate: its probabilities at every place of the lists of a log."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from marquee.core.arrays import BoolArray, FloatArray, IndexArray
from marquee.core.catalog import ItemKind
from marquee.core.event_kinds import EventKind
from marquee.decision.arranging import CandidateTable, spreads_of
from marquee.decision.policies.choosing import build_chooser
from marquee.decision.policies.config import Exploration, PolicyName
from marquee.decision.policies.thompson import ClickCounts
from marquee.decision.reranking import MAX_CANDIDATES, Reranking
from marquee.errors import ConfigError
from marquee.evaluation.off_policy.logged import SlateLog, Spread
from marquee.evaluation.off_policy.slates import Browsing, SlateValue


@dataclass(kw_only=True)
class OffPolicyChoice:
    """A candidate that is estimated from a log: a policy, or a table of decisions."""


@dataclass(kw_only=True)
class PolicyOnLogConfig(OffPolicyChoice):
    """A policy that would have answered with the model of a run, and the part of its log that is asked.

    Attributes:
        policy: greedy, epsilon, softmax or thompson, as a surface declares it.
        share: As of a surface, and so are floor, epsilon, temperature, prior_clicks and prior_passes.
        floor: As above.
        epsilon: As above.
        temperature: As above.
        prior_clicks: As above.
        prior_passes: As above.
        n_candidates: Best items that are drawn among.
        surface: Of the log; empty for all.
        kind: Of the items that are ranked together; null for all.
        reward: Kind of event that counts, at most once per place.
        sums_values: Whether its values are added up in place of the events.
        browsing: What a reward depends on: `cascade`, the item and those above it, or `independent`.
        places: First places that are judged; 0 for all.
        clip: Largest weight; null for no bound.
        max_lists: Lists that are read at most; of more, so many are drawn.
        seed: Of the folds of the reward model, and of drawn lists.
    """

    policy: PolicyName = PolicyName.softmax
    share: float = 1.0
    floor: float = 0.0
    epsilon: float = 0.1
    temperature: float = 0.1
    prior_clicks: float = 1.0
    prior_passes: float = 1.0
    n_candidates: int = 200
    surface: str = ""
    kind: ItemKind | None = ItemKind.content
    reward: str = EventKind.click.value
    sums_values: bool = False
    browsing: Browsing = Browsing.cascade
    places: int = 0
    clip: float | None = None
    max_lists: int = 20_000
    seed: int = 0

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError that names the key whose value is impossible."""
        # Its own bounds, and its own words.
        _ = self.exploration
        if not 1 <= self.n_candidates <= MAX_CANDIDATES:
            raise ConfigError(
                f"ope.n_candidates must be between 1 and {MAX_CANDIDATES}, got {self.n_candidates}"
            )
        if self.clip is not None and not self.clip > 0:
            raise ConfigError(f"ope.clip must be above 0, got {self.clip}; null for no bound")
        for key, least in (("places", 0), ("max_lists", 1)):
            if getattr(self, key) < least:
                raise ConfigError(f"ope.{key} must be {least} or more, got {getattr(self, key)}")

    @property
    def exploration(self) -> Exploration:
        """The policy as the service has it."""
        return Exploration(
            policy=self.policy,
            share=self.share,
            floor=self.floor,
            epsilon=self.epsilon,
            temperature=self.temperature,
            prior_clicks=self.prior_clicks,
            prior_passes=self.prior_passes,
        )


@dataclass(frozen=True)
class EstimatedPolicy:
    """The value of a policy, and what its estimate rests on.

    Attributes:
        name: Of the policy, for people.
        found: Per list, and place by place.
        n_users: Users of the lists.
        policies: Policy of the log → its lists.
        notes: What to know, one sentence each.
    """

    name: str
    found: SlateValue
    n_users: int
    policies: dict[str, int]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """The request of one list, as a policy is asked it.

    Attributes:
        scores: Of every item by number, (n_items,) float32.
        allowed: Which may be shown, (n_items,) bool.
    """

    scores: FloatArray
    allowed: BoolArray


def spread_policy(
    config: PolicyOnLogConfig,
    log: SlateLog,
    questions: Iterator[Question],
    counts: ClickCounts | None = None,
) -> Iterator[Spread]:
    """Yields the probabilities of a policy at the places of each list.

    Args:
        config: The policy.
        log: The lists.
        questions: One per list, in their order.
        counts: Of every item by number, for Thompson sampling.

    Raises:
        ConfigError: If Thompson sampling has no counts.
    """
    exploration = config.exploration
    for row, question in enumerate(questions):
        items = _best(question, config.n_candidates)
        own = None if counts is None else ClickCounts(counts.clicks[items], counts.shown[items])
        # Its draws follow from the list as they would from a decision: they know nothing of its rewards.
        chooser = build_chooser(exploration, log.request_ids[row], own)
        n_there = int((~np.isnan(log.reward[row])).sum())
        table = CandidateTable(scores=question.scores[items])
        positions = _positions(log.item[row, :n_there], items)
        yield Spread(items, spreads_of(Reranking(), table, positions, 0, chooser))


def _best(question: Question, n: int) -> IndexArray:
    """Returns the best items that may be shown, best first, at most n; equal ones by number."""
    allowed = np.flatnonzero(question.allowed)
    scores = question.scores[allowed]
    if len(allowed) > n:
        # Few of many: a sort of all would cost most of the time of a large catalog.
        chosen = np.argpartition(-scores, n - 1)[:n]
        allowed, scores = allowed[chosen], scores[chosen]
    return np.asarray(allowed[np.lexsort((allowed, -scores))])


def _positions(shown: IndexArray, items: IndexArray) -> IndexArray:
    """Returns where each shown item stands among the candidates, -1 for those that are none."""
    place_of = {item: place for place, item in enumerate(items.tolist())}
    return np.array([place_of.get(item, -1) for item in shown.tolist()], dtype=np.int64)
