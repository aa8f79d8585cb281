"""Reads what a registry of counters shows."""

from prometheus_client.parser import text_string_to_metric_families

from serving.telemetry.metrics import Metrics


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Returns every sample by its name and the values of its labels."""
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {
        (one.name, *sorted(one.labels.values())): one.value for family in families for one in family.samples
    }


def changes(metrics: Metrics) -> dict[str, int]:
    """Returns how many releases were taken, refused and postponed."""
    outcomes = {
        key[1]: value for key, value in samples(metrics).items() if key[0] == "marquee_release_changes_total"
    }
    return {outcome: int(value) for outcome, value in outcomes.items()}
