"""A request becomes an answer, by stages: encode, retrieve, filter, score, re-rank, place."""

from typing import TYPE_CHECKING

from marquee.core.faces import lazy

if TYPE_CHECKING:
    from marquee.decision.recommender import Recommender
    from marquee.decision.requests import Answer, HistoryEvent, Recommendation, Request, Source
    from marquee.decision.reranking import Reranking

__all__ = ["Answer", "HistoryEvent", "Recommendation", "Recommender", "Request", "Reranking", "Source"]

__getattr__ = lazy(
    __name__,
    {
        "Answer": "requests",
        "HistoryEvent": "requests",
        "Recommendation": "requests",
        "Recommender": "recommender",
        "Request": "requests",
        "Reranking": "reranking",
        "Source": "requests",
    },
)
