"""`python -m training.prepare data=… to=…`: events of any size to arrays in buckets, task by task.

Training reads the folder with `data.prepared=…` in place of the files. Started again, the command does what
is not done, and takes in files that are new.
"""

from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from marquee.data.config import DataConfig
from marquee.data.prepared.erasing import find_buckets
from marquee.data.prepared.layout import TRAINED
from marquee.data.prepared.manifest import Manifest
from marquee.errors import ConfigError
from training.cli.command import command
from training.cli.console import open_console
from training.distributed.cluster import open_cluster
from training.distributed.config import ClusterConfig
from training.distributed.erasing import erase
from training.distributed.preparing import Sizes, prepare_in_parts
from training.distributed.progress import task_progress
from training.runs.prepare import simulate_if_missing


@dataclass(kw_only=True)
class PrepareConfig:
    """A data set, the folder of what is prepared, and who does it.

    Attributes:
        data: The data set.
        to: Folder; what is done in it already is not done again.
        cluster: Who does the tasks.
        buckets: Parts of the users; a task holds the events of one. A folder keeps the number it began with.
        rows_per_part: Rows of a Parquet file that one task reads.
        renew: Read files again that have changed since they were read, in place of naming them.
        erase: Ids of users who are taken out of the folder.
    """

    data: DataConfig
    to: str
    cluster: ClusterConfig
    buckets: int = 128
    rows_per_part: int = 1_000_000
    renew: bool = False
    erase: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError if a number is out of range."""
        for name in ("buckets", "rows_per_part"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be 1 or more, got {getattr(self, name)}")


def prepare(config: PrepareConfig, console: Console) -> Manifest:
    """Prepares a data set and returns the manifest of what there is."""
    to = Path(config.to)
    sizes = Sizes(n_buckets=config.buckets, rows_per_part=config.rows_per_part, renews=config.renew)
    if config.erase:
        found = find_buckets(to, config.erase)
        n_parts = erase(to, config.erase)
        console.print(f"erased {len(config.erase):,} users from {n_parts:,} parts; buckets: {found}")
    simulate_if_missing(config.data, console)
    with open_cluster(config.cluster) as cluster, task_progress(console) as progress:
        manifest = prepare_in_parts(config.data, to, sizes, cluster, progress)
    console.print(
        f"prepared {to}: {manifest.n_events:,} events in {manifest.n_buckets:,} buckets, "
        f"{sum(manifest.n_users):,} users, {manifest.n_users[TRAINED]:,} of them in training, "
        f"{sum(manifest.n_items):,} items",
        highlight=False,
    )
    console.print(f"split: {manifest.description}", highlight=False)
    console.print(f"train with data.prepared={to}", highlight=False, soft_wrap=True)
    return manifest


@command("prepare", PrepareConfig)
def main(config: PrepareConfig) -> None:
    """Prepares what the config names."""
    prepare(config, open_console())


if __name__ == "__main__":
    main()
