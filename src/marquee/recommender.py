"""The door for those who ask a bundle in their own process: a recommender, its requests and its answers."""

from marquee.decision.recommender import Recommender
from marquee.decision.requests import Answer, HistoryEvent, Recommendation, Request, Source

__all__ = ["Answer", "HistoryEvent", "Recommendation", "Recommender", "Request", "Source"]
