"""The terms of a batch, alike for all of its users, and one user of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from marquee.core.catalog import ItemKind
from marquee.core.filters import NO_FILTERS, Filters
from marquee.decision.requests import HistoryEvent, Request
from marquee.decision.reranking import NO_RERANKING, Reranking


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedUser:
    """A user who is asked for.

    Attributes:
        user_id: Who; the bundle need not know them.
        history: As in `Request`.
        features: As in `Request`.
    """

    user_id: str
    history: tuple[HistoryEvent | str, ...] = ()
    features: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchTerms:
    """The question to every user of a batch; places are not drawn, each goes to the highest gain.

    Attributes:
        timestamp: As in `Request`, and so are the others.
        k: As above.
        surface: As above.
        context: As above.
        kind: As above.
        filters: As above.
        exclude_seen: As above.
        reranking: As above.
    """

    timestamp: int
    k: int = 10
    surface: str | None = None
    context: Mapping[str, object] = field(default_factory=dict)
    kind: ItemKind | None = None
    filters: Filters = NO_FILTERS
    exclude_seen: bool = True
    reranking: Reranking = NO_RERANKING

    def request_of(self, user: AskedUser) -> Request:
        """Returns the question for one user."""
        return Request(
            timestamp=self.timestamp,
            k=self.k,
            user_id=user.user_id,
            history=user.history,
            features=user.features,
            context=self.context,
            surface=self.surface,
            kind=self.kind,
            filters=self.filters,
            reranking=self.reranking,
            exclude_seen=self.exclude_seen,
        )
