"""Which class stands behind each name of the menu."""

from collections.abc import Mapping

from hydra.core.config_store import ConfigStore

from marquee.nn.architectures import MODELS
from marquee.nn.initialisation.tables import InitialisationConfig, SpectralInitialisationConfig
from marquee.nn.losses import LOSSES
from marquee.nn.negatives import NEGATIVES
from marquee.nn.optimizers import OPTIMIZERS
from marquee.nn.probabilities import PROBABILITIES
from training.config import TrainConfig
from training.fitting.warm_start import WarmStartConfig

SCHEMAS: dict[str, Mapping[str, type]] = {
    # Each room names its own choices: a new loss changes nothing here.
    "model": MODELS,
    "loss": LOSSES,
    "negatives": NEGATIVES,
    "optimizer": OPTIMIZERS,
    # The third start reads a run folder, of which the library knows nothing.
    "start": {
        # The two starts of the library need nothing but the data.
        "random": InitialisationConfig,
        "spectral": SpectralInitialisationConfig,
        "earlier_run": WarmStartConfig,
    },
    "probabilities": PROBABILITIES,
}


def register_schemas() -> None:
    """Makes the dataclasses known to Hydra; each YAML of a choice starts from its own schema."""
    store = ConfigStore.instance()
    store.store(name="train_schema", node=TrainConfig)
    for group, choices in SCHEMAS.items():
        for name, node in choices.items():
            # Beside the group of the choices: in it, `--help` and every error would list each choice twice.
            store.store(group=f"schema/{group}", name=name, node=node)
