"""Answers requests with a bundle: embeds, searches under a mask, names the items, says what they rest on.

Decides what is allowed in an answer and when an answer falls back to what is popular. Leaves to others
how a request becomes a query (see `query_encoder`), how candidates are found (see `retrieval`), and which of
them become the answer (see `reranker`).

Does not return an item that is excluded, unavailable, of another kind, filtered out or withdrawn; returns
fewer instead and says why. Does not read the clock. Keeps nothing of a request.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from functools import partial
from pathlib import Path

import numpy as np

from marquee.bundle.bundle import Bundle
from marquee.bundle.clicks.head import ClickProbabilities
from marquee.bundle.verifying import VerifiedFiles
from marquee.core.arrays import IndexArray
from marquee.core.catalog import ItemKind
from marquee.core.filters import NO_FILTERS, Filters
from marquee.core.ids import PADDING_INDEX
from marquee.decision.ads.search import AdFinder
from marquee.decision.constraints import Candidates, Constraints
from marquee.decision.item_pool import ItemPool
from marquee.decision.pages.composing import Composed, PageComposer, requests_to_encode
from marquee.decision.pages.rows import AnsweredRow, Row
from marquee.decision.probabilities.scoring import ProbabilityScorer
from marquee.decision.query_encoder import UNREAD, Queries, QueryEncoder
from marquee.decision.requests import (
    AdCandidates,
    Answer,
    Decided,
    OnStage,
    Recommendation,
    Request,
    Source,
    Stage,
)
from marquee.decision.reranker import candidate_table, click_counts, rerank_candidates
from marquee.decision.reranking import NO_RERANKING, Reranking
from marquee.decision.retrieval import Chosen, Retriever
from marquee.errors import DataError, QueryError, UnknownIdError
from marquee.store.live_items import LiveItem
from marquee.store.signing import TrustedKeys

_READING = frozenset({Source.personal, Source.history, Source.features, Source.query})
_NOTHING_READ: IndexArray = np.zeros(0, dtype=np.int64)

TITLE = "title"
"""The attribute that people know an item by, where a catalog has it."""


class Recommender:
    """A loaded bundle that answers. Several threads may ask at a time.

    Attributes:
        bundle: What it answers from.
        item_pool: The items of the bundle, and the live ones.
        queries: Turns requests into query embeddings.
        retriever: Finds candidates.
        scorer: Says how likely clicks and conversions are; None where the bundle has no click head.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.item_pool = ItemPool(bundle)
        self.queries = QueryEncoder(self.item_pool)
        self.retriever = Retriever(bundle, self.item_pool)
        self.scorer = None if bundle.click_head is None else ProbabilityScorer(self.item_pool)

    @classmethod
    def load(
        cls,
        path: Path | str,
        trusted: TrustedKeys | None = None,
        verified: VerifiedFiles | None = None,
    ) -> "Recommender":
        """Returns the recommender of the bundle at `path`; see `Bundle.load`."""
        return cls(Bundle.load(path, trusted, verified))

    def with_live_items(self, items: Mapping[str, LiveItem]) -> "Recommender":
        """Returns a recommender of the same bundle with these live items in place of others."""
        # Shallow: bundle and index are shared, only what knows of live items is replaced.
        other = copy(self)
        other.item_pool = self.item_pool.with_live_items(items)
        other.queries = self.queries.over(other.item_pool)
        other.retriever = self.retriever.over(other.item_pool)
        other.scorer = None if self.scorer is None else self.scorer.over(other.item_pool)
        return other

    @property
    def version(self) -> str:
        """Version of the bundle."""
        return self.bundle.version

    def validate(self, request: Request) -> None:
        """Raises what `recommend` would raise, before a request could spoil a batch of good ones.

        Raises:
            FilterError: If the catalog cannot apply the filters.
            QueryError: If words are asked for and the bundle has no texts.
            DataError: If re-ranking names an attribute that the catalog does not have, or a policy draws by
                counts that the bundle does not have.
            UnknownIdError: If the item of `like_item` is none.
        """
        if request.like_item is not None:
            self._index_of(request.like_item)
        if request.query is not None and self.bundle.texts is None:
            raise QueryError(
                f"query needs a bundle with texts, got {self.bundle.version} without; declare a feature of "
                "type text for the items (data.features.item), train and export again, or ask without query"
            )
        if request.filters:
            self.bundle.catalog.validate_filters(request.filters)
        click_counts(request, Candidates.none(), self.item_pool)
        if request.reranks:
            # Of no candidates: an unknown attribute raises here as it would for some.
            candidate_table(request.reranking, Candidates.none(), self.item_pool)

    def recommend(self, requests: Sequence[Request], on_stage: OnStage = lambda _stage: None) -> list[Answer]:
        """Returns an answer to each request, in their order.

        The tower runs once for all; the search once for all that share kind, filters and a period of
        availability. A request whose embedding is not finite falls back to popular items; the rest of the
        batch is unaffected.

        Args:
            requests: Any number, each with its own k, kind, time, filters, exclusions and re-ranking.
            on_stage: Told of each stage when it has ended for all of them.

        Raises:
            FilterError: If the catalog cannot apply a request's filters.
            DataError: If re-ranking names an attribute that the catalog does not have (see `validate`).
            UnknownIdError: If the item of a request's `like_item` is none.
        """
        return [decided.answer for decided in self.decide(requests, on_stage)]

    def decide(self, requests: Sequence[Request], on_stage: OnStage = lambda _stage: None) -> list[Decided]:
        """Returns the answers with what a record of them holds beside; see `recommend`."""
        for_users = [request for request in requests if request.like_item is None]
        if len(for_users) == len(requests):
            return self._decide(requests, on_stage)
        # Users pass tower and index together; the others need neither, and keep their places.
        recommended = iter(self._decide(for_users, on_stage))
        decided = [
            next(recommended) if request.like_item is None else self._similar(request, request.like_item)
            for request in requests
        ]
        on_stage(Stage.retrieve)
        return decided

    def choose(self, requests: Sequence[Request], on_stage: OnStage = lambda _stage: None) -> Chosen:
        """Returns the content of answers to users, not yet in the outside's words (see `recommend`).

        Args:
            requests: At least one, none of `like_item`.
            on_stage: As in `recommend`.
        """
        queries = self.queries.encode(requests)
        on_stage(Stage.encode)
        constraints = [
            Constraints.of(request, seen, self.item_pool)
            for request, seen in zip(requests, queries.seen, strict=True)
        ]
        found = self.retriever.search(queries, constraints)
        on_stage(Stage.retrieve)
        chosen = [self._choose(queries, row, one, found.get(row)) for row, one in enumerate(constraints)]
        on_stage(Stage.rerank)
        return Chosen(queries, constraints, chosen)

    def _decide(self, requests: Sequence[Request], on_stage: OnStage) -> list[Decided]:
        """Returns the answers to requests of users, through the tower and the index together."""
        # The tower takes one row at least; a batch may hold none but requests of `like_item`.
        if not requests:
            return []
        chosen = self.choose(requests, on_stage)
        queries, constraints = chosen.queries, chosen.constraints
        decided = [
            Decided(
                self._answer(
                    candidates,
                    constraints[row],
                    source,
                    fallback_reason=reason,
                    unknown_user=queries.unknown_users[row],
                    unknown_history=queries.unknown_history[row],
                    ignored_features=queries.ignored_features[row],
                ),
                candidates.propensities,
                queries.read[row],
                constraints[row].request.rules.version,
                candidates.considered,
                constraints[row].request.rules.for_users,
                self._ads_for(queries, row, constraints[row].request, candidates),
            )
            for row, (candidates, source, reason) in enumerate(chosen.rows)
        ]
        on_stage(Stage.compose)
        return decided

    def _ads_for(
        self, queries: Queries, row: int, request: Request, content: Candidates
    ) -> AdCandidates | None:
        """Returns the ads that may stand in an answer, None where none are wanted."""
        if request.ads is None:
            return None
        return AdFinder(self.item_pool, self.retriever, self.scorer).find(
            request, request.ads, queries, row, content
        )

    def recommend_page(
        self, user: Request, rows: Sequence[Row], on_stage: OnStage = lambda _stage: None
    ) -> list[AnsweredRow]:
        """Returns the rows of a page, in their order: no item stands on it twice, and the tower runs once.

        Args:
            user: Who asks: user, history, features and context; what else it says holds for no row.
            rows: What each row is to hold.
            on_stage: As in `recommend`.

        Raises:
            FilterError: If the catalog cannot apply the filters of a row.
            DataError: If the re-ranking of a row names an attribute that the catalog does not have.
        """
        queries = self.queries.encode(requests_to_encode(user, rows))
        on_stage(Stage.encode)
        composer = PageComposer(queries, self.item_pool, self.retriever)
        composed = [composer.compose(row) for row in rows]
        on_stage(Stage.retrieve)
        answered = [self._answered_row(row, queries) for row in composed]
        on_stage(Stage.compose)
        return answered

    def _answered_row(self, row: Composed, queries: Queries) -> AnsweredRow:
        """Returns a row of a page in the outside's words."""
        answer = self._answer(
            row.candidates,
            row.constraints,
            row.source,
            fallback_reason=row.fallback_reason,
            unknown_user=queries.unknown_users[0],
            unknown_history=queries.unknown_history[row.query],
            ignored_features=queries.ignored_features[row.query],
        )
        # Rows that rest on no query read no history.
        is_read = row.source in _READING and row.like == PADDING_INDEX
        read = queries.read[row.query] if is_read else _NOTHING_READ
        rules, found = row.constraints.request.rules, row.candidates
        decided = Decided(
            answer,
            found.propensities,
            read,
            rules.version,
            found.considered,
            rules.for_users,
            # Of whatever kind the row is: its ads are for the user, who is row 0 of the queries.
            self._ads_for(queries, 0, row.constraints.request, found),
        )
        if row.like == PADDING_INDEX:
            return AnsweredRow(decided)
        like = np.array([row.like])
        # Asking for a column that the catalog lacks is an error; a row is shown without a title.
        has_titles = TITLE in self.bundle.catalog.attributes.columns
        title = self.item_pool.table.values(TITLE, like)[0] if has_titles else None
        (like_item,) = self.item_pool.table.decode(like)
        return AnsweredRow(decided, like_item, title if isinstance(title, str) else None)

    def probabilities(
        self, request: Request, item_ids: Sequence[str], positions: Sequence[int]
    ) -> ClickProbabilities:
        """Returns the probabilities of items as answers to one request.

        Args:
            request: Who asks, and on which surface.
            item_ids: Of the bundle or live, n of them.
            positions: Where each would stand, from 1, (n,).

        Raises:
            DataError: If the bundle has no click head.
            UnknownIdError: If an item is none.
        """
        if self.scorer is None:
            raise DataError(
                f"bundle {self.version} says nothing of clicks; train it with probabilities=cross on events "
                "that hold exposures"
            )
        items = np.array([self._index_of(item_id) for item_id in item_ids], dtype=np.int64)
        places = self.scorer.places(request.surface, positions)
        return self.scorer.probabilities(request, self.queries.encode([request]), 0, items, places)

    def similar(
        self,
        item_id: str,
        *,
        timestamp: int,
        k: int = 10,
        kind: ItemKind | None = None,
        filters: Filters = NO_FILTERS,
        exclude: Collection[str] = (),
        reranking: Reranking = NO_RERANKING,
    ) -> Answer:
        """Returns the items most like an item, by the cosine of their embeddings, never the item itself.

        The bias of an item says how much it is liked, not what it is like: it does not count here.

        Args:
            item_id: Any item of the bundle, available or not, or a live one.
            timestamp: As in `Request`.
            k: How many items are wanted.
            kind: As in `Request`.
            filters: As in `Request`.
            exclude: As in `Request`.
            reranking: As in `Request`; relevance is the cosine.

        Raises:
            UnknownIdError: If neither the bundle nor a live item has that id.
            FilterError: If the catalog cannot apply the filters.
            DataError: If k is below 1, or re-ranking names an attribute that the catalog does not have.
        """
        request = Request(
            timestamp=timestamp,
            k=k,
            like_item=item_id,
            kind=kind,
            filters=filters,
            exclude=exclude,
            reranking=reranking,
        )
        return self._similar(request, item_id).answer

    def _similar(self, request: Request, item_id: str) -> Decided:
        """Returns the items most like an item, by the cosine of their embeddings."""
        item = self._index_of(item_id)
        # The item itself counts as seen, and so is never in its own answer.
        constraints = Constraints.of(request, np.array([item]), self.item_pool)
        source, reason = Source.similar, None
        look_further: Callable[[Constraints], Candidates] = partial(self.retriever.similar, item)
        if not self.retriever.has_direction(item):
            source, reason = Source.popular, f"{item_id!r} has no embedding"
            look_further = self.retriever.popular
        found = look_further(constraints)
        chosen = rerank_candidates(found, constraints, self.item_pool, look_further)
        answer = self._answer(chosen, constraints, source, fallback_reason=reason)
        rules = request.rules
        return Decided(
            answer, chosen.propensities, _NOTHING_READ, rules.version, chosen.considered, rules.for_users
        )

    def _index_of(self, item_id: str) -> int:
        """Returns the item_index of an item of the bundle or a live one; raises UnknownIdError for others."""
        item = self.item_pool.table.index(item_id)
        if item == PADDING_INDEX:
            raise UnknownIdError(
                f"item_id must be one of the {self.bundle.catalog.n_items} items of bundle {self.version}, "
                f"got {item_id!r}; ask for an item of the catalog"
            )
        return item

    def _choose(
        self, queries: Queries, row: int, constraints: Constraints, found: Candidates | None
    ) -> tuple[Candidates, Source, str | None]:
        """Returns the items for one request of a batch, what they rest on, and why on no more.

        They are the candidates of the search, or else popular items, in the order that the request wants.
        """
        source, reason = queries.sources[row], UNREAD if queries.unread[row] else None
        look_further: Callable[[Constraints], Candidates] = partial(self.retriever.search_row, queries, row)
        if found is None:
            # Where re-ranking needs more, it must look among candidates of the same kind.
            look_further = self.retriever.popular
            found = look_further(constraints)
            # The index leaves out what is popular only if no inner product with the query is a number.
            if source is not Source.popular and len(found.items):
                reason = f"the embedding of this {source} request is not finite"
                source = Source.popular
        return rerank_candidates(found, constraints, self.item_pool, look_further), source, reason

    def _answer(
        self,
        found: "Candidates",
        constraints: "Constraints",
        source: Source,
        *,
        fallback_reason: str | None = None,
        unknown_user: bool = False,
        unknown_history: int = 0,
        ignored_features: tuple[str, ...] = (),
    ) -> Answer:
        """Maps item indices back to ids and builds the `Answer`."""
        # Columns at once: looked up one by one, each item would cost a call into NumPy.
        items = tuple(
            [
                Recommendation(item_id, score, ItemKind.ad if is_ad else ItemKind.content)
                for item_id, score, is_ad in zip(
                    self.item_pool.table.decode(found.items),
                    found.scores.tolist(),
                    self.item_pool.table.is_ad(found.items).tolist(),
                    strict=True,
                )
            ]
        )
        return Answer(
            items=items,
            source=source,
            version=self.version,
            requested=constraints.k,
            reranked=found.reranked,
            short_reason=constraints.short_reason(found),
            popular_in=found.popular_in,
            fallback_reason=fallback_reason,
            unknown_user=unknown_user,
            unknown_history=unknown_history,
            ignored_features=ignored_features,
            unknown_filter_values=constraints.allowed.unknown_values,
            rules=constraints.applied(found),
            rules_not_applied=found.rules_not_applied,
        )
