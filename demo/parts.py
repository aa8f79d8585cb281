"""Data prepared and users scored in parts, on the cluster that the demo was given: `cluster=ray` or `local`.

The same circle: training reads the prepared folder in place of the files, with the same arrays; the scores
are those that the service gives.
"""

from collections.abc import Sequence
from pathlib import Path

from demo.errors import DemoError
from demo.processes import run_command

CLUSTERS = ("", "local", "ray")
# Of a demo's few thousand people: enough parts for two processes to share.
_BUCKETS = 8
_PROCESSES = 2


def validate_cluster(cluster: str) -> None:
    """Raises DemoError if there is no such cluster."""
    if cluster not in CLUSTERS:
        raise DemoError(f"cluster must be local or ray, or left out, got {cluster!r}")


def prepare(cluster: str, data: str, to: Path, overrides: Sequence[str]) -> str:
    """Prepares a data set in parts; returns the setting by which training reads it.

    Args:
        cluster: local or ray.
        data: Name of the data set.
        to: Folder of what is prepared; what an earlier demo left there is renewed where it differs.
        overrides: Settings of the caller, of which those of the data count.
    """
    of_data = [override for override in overrides if override.startswith("data.")]
    arguments = ["-m", "training.prepare", f"data={data}", f"to={to}", "renew=true", f"buckets={_BUCKETS}"]
    run_command("preparation", [*arguments, *of_data, *_on(cluster)])
    return f"data.prepared={to}"


def score(cluster: str, bundle: Path, to: Path, k: int) -> None:
    """Scores all users that a bundle knows, in parts."""
    arguments = ["-m", "training.score", f"bundle={bundle}", f"to={to}", f"k={k}", f"buckets={_BUCKETS}"]
    run_command("scoring", [*arguments, *_on(cluster)])


def _on(cluster: str) -> list[str]:
    """Returns the settings of a cluster."""
    return [f"cluster={cluster}", f"cluster.processes={_PROCESSES}"]
