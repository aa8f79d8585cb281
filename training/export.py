"""`python -m training.export run=…`: from a run's checkpoint to a published bundle."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from marquee.bundle.popularity import PopularityConfig
from marquee.bundle.publishing import publish
from marquee.index.faiss_index import IndexConfig, IndexKind
from marquee.store.signing import SigningKey
from training.cli.command import command
from training.cli.console import open_console
from training.distributed.config import ClusterConfig
from training.exporting.contents import bundle_contents, said_of_card
from training.exporting.index_shards import index_builder, remove_parts
from training.runs.folders import RunFolder
from training.runs.prepare import prepare_trained


@dataclass(kw_only=True)
class ExportConfig:
    """The settings of an export.

    Attributes:
        run: Folder of the run, or `latest`.
        bundles: Folder that bundles of all names live in.
        index: How items are searched.
        cluster: Who builds the parts of an index with `index.shards`.
        popularity: Which contexts have a popular list of their own.
        signing_key: File of the private key that signs the bundle; empty for a bundle without a signature.
        activate: Whether it becomes the current one of its name.
    """

    run: str
    bundles: str = "bundles"
    index: IndexConfig = field(default_factory=lambda: IndexConfig(kind=IndexKind.auto))
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    popularity: PopularityConfig = field(default_factory=PopularityConfig)
    signing_key: str = ""
    activate: bool = True


def export(config: ExportConfig, console: Console) -> Path:
    """Publishes the best model of a run and returns the bundle's folder.

    Raises:
        ParityError: If the exported model disagrees with the trained one.
    """
    folder = RunFolder.find(config.run)
    run_config = folder.read_config()
    # One moment for manifest, golden requests and version: they must agree.
    created = int(time.time())
    # Before the data are read: a key that cannot be read ends the command at once.
    signing_key = SigningKey.read(config.signing_key) if config.signing_key else None
    prepared = prepare_trained(run_config, folder.path, console)
    with console.status("exporting and proving parity"):
        contents = bundle_contents(
            prepared,
            run_config,
            folder,
            created,
            config.index,
            config.popularity,
            index_builder(config.index, folder.path, config.cluster, console),
        )
    path = publish(
        contents,
        Path(config.bundles),
        run_config.data.name,
        created=created,
        signing_key=signing_key,
        is_activated=config.activate,
    )
    remove_parts(folder.path)
    console.print(
        f"index {contents.index.config.kind}: recall@{contents.index_recall_k} {contents.index_recall:.4f} "
        f"of exact ({contents.index_reason})\n{said_of_card(contents.card, folder)}\nbundle {path}",
        highlight=False,
    )
    return path


@command("export", ExportConfig)
def main(config: ExportConfig) -> None:
    """Exports the run that the config names."""
    export(config, open_console())


if __name__ == "__main__":
    main()
