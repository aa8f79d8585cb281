"""The registry of everything that the service counts, for Prometheus: over all workers of a service.

Each room brings a family, a class that registers its counters and offers a method for each event. Labels come
from fixed sets that no caller can multiply: routes are named by their pattern, releases are those loaded.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar, cast

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Metric, generate_latest, multiprocess
from prometheus_client.registry import Collector

from serving.telemetry.counter_files import merge_dead_workers, reading
from serving.telemetry.drift import DriftGauges

MAX_RELEASES = 8
"""Releases whose answers are told apart, the latest; those that are ready to answer now are all shown."""

RELEASE_SEEN = "marquee_release_seen_seconds"
"""Gauge of the moment at which each release was last ready to answer."""

CONTENT_TYPE = CONTENT_TYPE_LATEST.encode()
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""BentoML gives every worker of a service the same folder under this name, empty when the service starts."""

_READY_S = 120.0  # a release that was seen so shortly before the one seen last is ready to answer

Family = TypeVar("Family")


class Metrics:
    """The families of counters of one process.

    Args:
        registry: Where they are registered; one each for tests.
        drift: Report of drift to show beside them; None for none.
    """

    def __init__(self, registry: CollectorRegistry | None = None, drift: Path | None = None) -> None:
        self._registry = registry or CollectorRegistry()
        self._drift = drift
        self._families: dict[object, object] = {}

    def family(self, kind: Callable[[CollectorRegistry], Family]) -> Family:
        """Returns the one family of a kind; it is made when it is first asked for.

        Args:
            kind: The class of the family.
        """
        # A registry takes each name once; several rooms ask for the same family.
        if kind not in self._families:
            self._families[kind] = kind(self._registry)
        return cast(Family, self._families[kind])  # what stands under a class was made by that class

    def exposition(self) -> bytes:
        """Returns the counters of all workers in Prometheus's text format, of the latest releases only."""
        folder = shared_folder()
        if folder is None:
            return self._exposition(self._registry)
        # A registry of its own: this worker's counters are among the files, and would count twice.
        everybody = CollectorRegistry()
        multiprocess.MultiProcessCollector(everybody)  # type: ignore[no-untyped-call]  # its own annotations
        with reading(folder):
            return self._exposition(everybody)

    def _exposition(self, registry: CollectorRegistry) -> bytes:
        """Returns a registry in Prometheus's text format, without releases that are long gone."""
        shown = CollectorRegistry()
        shown.register(_Shown(registry))
        if self._drift is not None:
            shown.register(DriftGauges(self._drift))
        return generate_latest(shown)


class _Shown(Collector):
    """The series of a registry without those of releases that are long gone: the files keep them.

    Which releases are shown follows from the shared files alone. If it depended on what this worker has met,
    series would come and go with the worker that is scraped, and each return would look like a reset.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        """Yields the families of the registry."""
        families = list(self._registry.collect())
        shown = _shown_releases(families)
        for family in families:
            if shown and any("release" in sample.labels for sample in family.samples):
                family.samples = [one for one in family.samples if one.labels["release"] in shown]
            yield family


def _shown_releases(families: Iterable[Metric]) -> frozenset[str]:
    """Returns the releases that are ready to answer in some worker, and the latest ones that were.

    None at all where no worker has loaded one yet: then nothing is filtered.
    """
    seen = {
        sample.labels["release"]: sample.value
        for family in families
        if family.name == RELEASE_SEEN
        for sample in family.samples
    }
    if not seen:
        return frozenset()
    # By name where moments are equal: every worker must choose the same ones.
    latest = sorted(seen, key=lambda release: (-seen[release], release))
    is_ready = {release for release in seen if seen[release] >= seen[latest[0]] - _READY_S}
    return frozenset(is_ready.union(latest[:MAX_RELEASES]))


def shared_folder() -> Path | None:
    """Returns the folder that the workers of this service share, None outside a service."""
    folder = os.environ.get(FOLDER_VARIABLE)
    return Path(folder) if folder else None


def forget_dead_workers() -> None:
    """Removes the gauges of workers that have died, and adds up what they have counted."""
    if (folder := shared_folder()) is not None:
        merge_dead_workers(folder)
