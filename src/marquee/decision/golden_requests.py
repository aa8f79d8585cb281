"""A few requests with the answers that a bundle gave when it was made; they travel in the bundle.

Before a release answers anybody it answers these (see `rehearsal`). Knows how they are written down.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from marquee.core.catalog import ItemKind
from marquee.core.filters import Clause, Filters
from marquee.decision.requests import Answer, HistoryEvent, Request, Source
from marquee.decision.reranking import Diversity, Reranking


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRequest:
    """A request and what was answered.

    Attributes:
        request: What was asked, its time included.
        source: What the answer was made from.
        item_ids: Best first.
        scores: Of the items.
    """

    request: Request
    source: Source
    item_ids: tuple[str, ...]
    scores: tuple[float, ...]

    @classmethod
    def of(cls, request: Request, answer: Answer) -> "RecordedRequest":
        """Returns what is kept of a request and its answer."""
        return cls(
            request=request,
            source=answer.source,
            item_ids=tuple([item.item_id for item in answer.items]),
            scores=tuple([item.score for item in answer.items]),
        )


def to_json(recorded: Sequence[RecordedRequest]) -> str:
    """Returns the requests as text."""
    return json.dumps([_to_plain(one) for one in recorded], ensure_ascii=False, allow_nan=False)


def from_json(text: str) -> tuple[RecordedRequest, ...]:
    """Returns the requests that `to_json` wrote; raises ValueError, KeyError or TypeError if it did not."""
    return tuple([_from_plain(body) for body in json.loads(text)])


def _to_plain(recorded: RecordedRequest) -> Mapping[str, object]:
    """Returns one request as what JSON can hold."""
    request = recorded.request
    return {
        "timestamp": request.timestamp,
        "k": request.k,
        "surface": request.surface,
        "user_id": request.user_id,
        "history": [event if isinstance(event, str) else list(event) for event in request.history],
        "features": dict(request.features),
        "context": dict(request.context),
        "kind": request.kind,
        "reranking": asdict(request.reranking),
        "filters": [asdict(clause) for clause in request.filters.clauses],
        "exclude": list(request.exclude),
        "exclude_seen": request.exclude_seen,
        "answer": {
            "source": recorded.source,
            "item_ids": recorded.item_ids,
            "scores": recorded.scores,
        },
    }


def _from_plain(body: dict[str, Any]) -> RecordedRequest:  # Any: what JSON holds, checked by the constructors
    """Returns the request of a parsed body."""
    answer = body.pop("answer")
    kind = body.pop("kind")
    return RecordedRequest(
        request=Request(
            **{
                **body,
                "history": tuple(
                    [event if isinstance(event, str) else HistoryEvent(*event) for event in body["history"]]
                ),
                "filters": Filters(tuple([_clause(clause) for clause in body["filters"]])),
                "kind": kind and ItemKind(kind),
                "reranking": _reranking(body["reranking"]),
                "exclude": tuple(body["exclude"]),
            }
        ),
        source=Source(answer["source"]),
        item_ids=tuple(answer["item_ids"]),
        scores=tuple([float(score) for score in answer["scores"]]),
    )


def _clause(body: dict[str, Any]) -> Clause:  # Any: as above
    """Returns one filter of a parsed body: JSON knows no tuples."""
    lists = {name: tuple(body[name]) for name in ("any_of", "all_of", "none_of")}
    return Clause(**{**body, **lists})


def _reranking(body: dict[str, Any]) -> Reranking:  # Any: as above
    """Returns the re-ranking of a parsed body."""
    diversity = body["diversity"]
    return Reranking(**{**body, "diversity": diversity and Diversity(diversity)})
