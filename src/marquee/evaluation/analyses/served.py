"""Asks the judged users through a published bundle, and compares the answers with the judged ranking.

The offline numbers come from the trained model and an exact ranking. What is served goes through the
exported tower, the index with its settings, availability and exclusions. Here the same users are asked both
ways, with the bundle's stored histories set back to what was known before the part judged; some of their
questions are put to the index at other efforts too (see `index_sweep`).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from marquee.bundle.bundle import Bundle
from marquee.core.arrays import IndexArray
from marquee.core.event_kinds import EventKinds
from marquee.core.histories import Interactions
from marquee.core.ids import PADDING_INDEX, IdMap
from marquee.decision.item_pool import ItemPool
from marquee.decision.query_encoder import QueryEncoder
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Request, Source
from marquee.errors import DataError
from marquee.evaluation.analyses.served_surfaces import MIN_OVERLAP, ServedSurface, overlap_of
from marquee.evaluation.evaluation import Evaluation
from marquee.evaluation.intervals import Estimate, estimate_means
from marquee.evaluation.metrics import METRICS
from marquee.index.sweep import Clock, IndexSweep, Questions, sweep

TOLERANCE = 0.005
RECALL_TOLERANCE = 0.02
REQUESTS_AT_ONCE = 256
SWEEP_REQUESTS = 256


@dataclass(frozen=True, slots=True)
class ServedLists:
    """The answers of a bundle.

    Attributes:
        items: As indices of the data set, (n_queries, k) int64; 0 where an answer is short.
        sources: What answers were made from → how many.
        n_short: Answers with fewer items than asked for.
    """

    items: IndexArray
    sources: Mapping[str, int]
    n_short: int


@dataclass(frozen=True)
class ServedComparison:
    """The judged users asked both ways.

    Attributes:
        version: Of the bundle.
        index: Kind of its index.
        metric: E.g. `ndcg@10`.
        offline: Of the exact ranking.
        served: Of the answers.
        difference: Served minus offline, paired.
        overlap: Share of the ranked items that the answers hold.
        identical_fraction: Share of the users whose two lists are the same, in the same order.
        sources: What answers were made from → how many.
        n_short: Answers with fewer items than asked for.
        promised_recall: Recall of the index, as the bundle's manifest has it.
        index_sweep: Recall and latency of the index for these users; None where none of them had anything
            to go by.
        surfaces: The same users asked on surfaces, by their rules.
        tolerance: Largest difference of the means that is taken for the same.
    """

    version: str
    index: str
    metric: str
    offline: Estimate
    served: Estimate
    difference: Estimate
    overlap: float
    identical_fraction: float
    sources: Mapping[str, int]
    n_short: int
    promised_recall: float
    index_sweep: IndexSweep | None = None
    surfaces: tuple[ServedSurface, ...] = ()
    tolerance: float = TOLERANCE

    @property
    def deviations(self) -> tuple[str, ...]:
        """Deviations of the answers beyond tolerance, in words; empty if they equal the judged ranking."""
        found = []
        # Negated, so that a NaN counts as a deviation.
        if not abs(self.difference.mean) <= self.tolerance:
            found.append(f"the means differ by more than {self.tolerance}")
        if self.overlap < MIN_OVERLAP:
            found.append(f"fewer than {MIN_OVERLAP:.0%} of the places are filled alike")
        # Not asked is no deviation: the index then counts as it promised.
        recall = self.promised_recall if self.index_sweep is None else self.index_sweep.chosen_point.recall
        if recall < self.promised_recall - RECALL_TOLERANCE:
            found.append(
                f"the index finds {recall:.1%} of the exact answer where its manifest promises "
                f"{self.promised_recall:.1%}"
            )
        found += [
            f"on surface {surface.name} fewer than {MIN_OVERLAP:.0%} of the places are as by an exact search"
            for surface in self.surfaces
            if not surface.is_within_tolerance
        ]
        return tuple(found)

    @property
    def is_within_tolerance(self) -> bool:
        """Whether what is served is what was judged."""
        return not self.deviations

    @property
    def sentence(self) -> str:
        """The comparison in words."""
        means = (
            f"{self.metric} {self.served.mean:.4f} of what bundle {self.version} answers (index "
            f"{self.index}) against {self.offline.mean:.4f} of the exact ranking; "
            f"{self.identical_fraction:.1%} of the lists are identical and {self.overlap:.1%} of the "
            "places filled alike"
        )
        if self.is_within_tolerance:
            return f"What is served is what was judged: {means}."
        return (
            f"What is served is not what was judged: {means}. Beyond tolerance: "
            f"{'; '.join(self.deviations)}. That means another model, another catalog, a stale bundle or "
            "an index that misses too much; export this run again, or give the index more effort."
        )

    def to_json_dict(self) -> dict[str, object]:
        """Returns everything, ready for `json.dumps`."""
        return {
            **asdict(self),
            "is_within_tolerance": self.is_within_tolerance,
            "deviations": list(self.deviations),
            "sentence": self.sentence,
        }


def rewind(
    bundle: Bundle, user_ids: Sequence[str], known: Interactions, item_ids: IdMap, kinds: EventKinds
) -> Bundle:
    """Returns the bundle with the stored histories set back to what was known of some users at a moment.

    Args:
        bundle: As published: it may know everything up to the end of the table.
        user_ids: The users, one per row of `known` from 1 on.
        known: What each had done.
        item_ids: Of `known`.
        kinds: Of `known`.

    Raises:
        DataError: If the bundle counts other kinds of events.
    """
    # Other kinds or weights make other histories of the same events: answers would differ by design.
    if kinds.configs != bundle.manifest.kinds.configs:
        raise DataError(
            f"bundle {bundle.version} counts kinds {list(bundle.manifest.kinds.configs)}, the run "
            f"{list(kinds.configs)}, or with other settings; export this run"
        )
    # Index of the data set → row of the bundle; what the bundle does not know becomes padding.
    row_of_item = np.concatenate([[PADDING_INDEX], bundle.catalog.item_ids.encode(item_ids.ids)])
    row_of_user = np.concatenate([[PADDING_INDEX], bundle.user_ids.encode(user_ids)])
    histories = Interactions.group(
        row_of_user[known.user_index],
        row_of_item[known.item_index],
        known.kind_index,
        known.timestamp,
        known.weight,
        n_users=len(bundle.user_ids),
    )
    return replace(
        bundle,
        history_offsets=histories.offsets,
        history_items=histories.item_index.astype(np.int32),
        history_kinds=histories.kind_index.astype(np.int32),
    )


def serve_lists(bundle: Bundle, requests: Sequence[Request], item_ids: IdMap) -> ServedLists:
    """Returns the answers to requests of one k, best first; an item that `item_ids` lacks is 0."""
    recommender = Recommender(bundle)
    # 0 is no item: an answer that is short stays short in the comparison.
    items = np.zeros((len(requests), requests[0].k if requests else 1), dtype=np.int64)
    sources: Counter[str] = Counter()
    n_short = 0
    for start in range(0, len(requests), REQUESTS_AT_ONCE):
        for row, answer in enumerate(
            recommender.recommend(requests[start : start + REQUESTS_AT_ONCE]), start
        ):
            found = item_ids.encode([item.item_id for item in answer.items])
            items[row, : len(found)] = found
            sources[answer.source] += 1
            # Counted: empty places alone may explain a lower metric.
            n_short += len(found) < requests[row].k
    return ServedLists(items, dict(sources), n_short)


def index_questions(bundle: Bundle, requests: Sequence[Request]) -> Questions | None:
    """Returns the searches that some of the requests cause, as served: masks and exclusions of each.

    Args:
        bundle: As rewound.
        requests: All of one k; `SWEEP_REQUESTS` of them are taken, evenly spread.

    Returns:
        None if none of those has anything to go by: the index is not asked for what is popular.
    """
    # Spread over all requests: the first ones alone may be alike.
    rows = np.unique(np.linspace(0, len(requests) - 1, num=min(SWEEP_REQUESTS, len(requests))).astype(int))
    taken = [requests[row] for row in rows.tolist()]
    queries = QueryEncoder(ItemPool(bundle)).encode(taken)
    # A popular list is no search: its time and recall would say nothing of the index.
    asked = [row for row, source in enumerate(queries.sources) if source is not Source.popular]
    if not asked:
        return None
    nothing = np.zeros(0, dtype=np.int64)
    return Questions(
        queries=queries.embeddings[asked],
        k=taken[0].k,
        allowed=[bundle.catalog.allowed(taken[row].kind, taken[row].timestamp) for row in asked],
        exclusions=[queries.seen[row] if taken[row].exclude_seen else nothing for row in asked],
    )


def sweep_index(bundle: Bundle, questions: Questions, clock: Clock) -> IndexSweep:
    """Returns recall and latency of a bundle's index around the effort that it is served with."""
    return sweep(bundle.index.searched_as, bundle.index.config, questions, clock)


def compare_served(
    evaluation: Evaluation,
    lists: ServedLists,
    bundle: Bundle,
    metric: str,
    generator: np.random.Generator,
    index_sweep: IndexSweep | None = None,
) -> ServedComparison:
    """Returns the answers beside the lists of the model under judgement.

    Args:
        evaluation: Of the same queries.
        lists: An answer to each query evaluated, in the order of `evaluation.query_index`.
        bundle: Where they come from.
        metric: With the cutoff of the lists, e.g. `ndcg@10`.
        generator: Draws the users of each resample.
        index_sweep: From `sweep_index`; None where the index was not asked.

    Raises:
        DataError: If there is not one answer per query evaluated.
    """
    queries = evaluation.query_index
    if len(lists.items) != len(queries):
        raise DataError(
            f"there must be one answer per query evaluated ({len(queries)}), got {len(lists.items)}"
        )
    name, k = metric.split("@")
    targets = evaluation.targets.rows(queries)
    ranked = evaluation.models[evaluation.model].lists.items[queries, : int(k)]
    served = METRICS[name](targets.contains(lists.items), targets.sizes)
    offline = METRICS[name](targets.contains(ranked), targets.sizes)
    # One call for all three: each resample draws the same users, so the difference is paired.
    columns = np.stack([offline, served, served - offline], axis=1)
    estimates = estimate_means(columns, generator, is_difference=np.array([False, False, True]))
    return ServedComparison(
        version=bundle.version,
        index=str(bundle.index.config.kind),
        metric=metric,
        offline=estimates[0],
        served=estimates[1],
        difference=estimates[2],
        overlap=overlap_of(lists.items, ranked),
        identical_fraction=float((lists.items == ranked).all(axis=1).mean()),
        sources=lists.sources,
        n_short=lists.n_short,
        promised_recall=bundle.manifest.index.recall,
        index_sweep=index_sweep,
    )
