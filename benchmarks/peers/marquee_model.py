"""Our own contestant: `training.fitting.fit` of a composed config; a callback hands over the vectors."""

import logging
import tempfile
from contextlib import suppress
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import Callback
from rich.console import Console

from benchmarks.experiments import compose_config
from benchmarks.peers.protocol import Contestant, RaceIsOverError, Vectors
from marquee.data.dataset import QueryArrays
from marquee.nn.embed import embed_catalog, embed_queries
from training.fitting.fit import fit
from training.fitting.module import RetrievalModule
from training.fitting.recipe import settle
from training.runs.prepare import prepare


class HandOver(Callback):
    """Hands over what the model starts with, and ends each epoch with a lap.

    Args:
        contestant: Whose clock runs.
        queries: Every user of training.
    """

    def __init__(self, contestant: Contestant, queries: QueryArrays) -> None:
        self.contestant = contestant
        self.queries = queries

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Hands over what the model holds before its first step."""
        self.contestant.hand_over(lambda: self._vectors(pl_module))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Counts the epoch, and hands over what the model holds now."""
        self.contestant.lap(lambda: self._vectors(pl_module))

    def _vectors(self, module: L.LightningModule) -> Vectors:
        """Returns the vectors of users and items, without the padding row."""
        assert isinstance(module, RetrievalModule), f"expected a RetrievalModule, got {type(module)}"
        items = embed_catalog(module.model)
        return embed_queries(module.model, items, self.queries), items[1:]


def main() -> None:
    """Fits the config that the settings name."""
    contestant = Contestant()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    config = compose_config([*contestant.settings["overrides"], f"trainer.threads={contestant.threads}"])
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(config, Path(folder), Console(stderr=True, quiet=True))
        config = settle(config, prepared.dataset).config
        known = prepared.dataset.known_users(prepared.split.train).queries
        contestant.start()
        with suppress(RaceIsOverError):
            fit(prepared.dataset, None, config, Path(folder), [HandOver(contestant, known)])
    contestant.finish("torch", "lightning", "numpy")


if __name__ == "__main__":
    main()
