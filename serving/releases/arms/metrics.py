"""Counters of experiments."""

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge


class ExperimentMetrics:
    """Shows which experiments run, and counts the answers of each arm.

    Args:
        registry: Where the counters are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._decisions = Counter(
            "marquee_experiment_decisions",
            "Answers on record, and rows of pages, by the arm of an experiment that they were in.",
            ["experiment", "arm"],
            registry=registry,
        )
        self._share = Gauge(
            "marquee_experiment_share",
            "Declared share of an arm among those who take part.",
            ["experiment", "arm"],
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._running = Gauge(
            "marquee_experiment_running",
            "1 while every worker draws units: between start and end, with the releases that arms need.",
            ["experiment"],
            multiprocess_mode="livemin",
            registry=registry,
        )
        self._suspended = Gauge(
            "marquee_experiment_suspended",
            "1 while a worker draws nobody between start and end, for it lacks a release that an arm needs.",
            ["experiment"],
            # One worker that draws nobody is enough: its users are missing from every arm.
            multiprocess_mode="livemax",
            registry=registry,
        )

    def declare(self, shares: Mapping[str, Mapping[str, float]]) -> None:
        """Shows the share of each arm of each experiment."""
        for experiment, arms in shares.items():
            for arm, share in arms.items():
                self._share.labels(experiment, arm).set(share)
                # At 0 from the start: an arm without any answer is what must be seen.
                self._decisions.labels(experiment, arm)

    def show(self, experiment: str, *, is_running: bool, is_suspended: bool) -> None:
        """Shows whether an experiment draws units here."""
        self._running.labels(experiment).set(is_running)
        self._suspended.labels(experiment).set(is_suspended)

    def count(self, assigned: Iterable[tuple[str, str, str]]) -> None:
        """Counts one answer on record.

        Args:
            assigned: Experiment, phase and arm of each that it was in.
        """
        for experiment, _phase, arm in assigned:
            self._decisions.labels(experiment, arm).inc()
