"""Counters of explanations."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from marquee.decision.explaining.explanation import Outcome

# Around the bound of 50 ms.
_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0)


class WhyMetrics:
    """Counts explanations by how their replay came out, and what they took.

    Args:
        registry: Where the counters are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        explanations = Counter(
            "marquee_explanations",
            "Explanations, by the outcome of asking the release again.",
            ["outcome"],
            registry=registry,
        )
        # All at once: a series that first appears with its first failure has no increase.
        self._of_outcome = {outcome: explanations.labels(outcome.value).inc for outcome in Outcome}
        self._seconds = Histogram(
            "marquee_explanation_seconds",
            "Time of an explanation, without its wait for those before it.",
            buckets=_SECONDS,
            registry=registry,
        )

    def count_explanation(self, outcome: Outcome, seconds: float) -> None:
        """Counts one explanation."""
        self._of_outcome[outcome]()
        self._seconds.observe(seconds)
