"""Which class stands behind each name of the menu."""

from hydra.core.config_store import ConfigStore

from marquee.nn.architectures import ELSAConfig, MatrixFactorizationConfig, SASRecConfig, TwoTowerConfig
from marquee.nn.initialisation.tables import InitialisationConfig, SpectralInitialisationConfig
from marquee.nn.losses import (
    BilateralSoftmaxConfig,
    BPRConfig,
    CosineContrastiveConfig,
    DegreeWeightedConfig,
    NormalisedSquaredErrorConfig,
    SampledSoftmaxConfig,
    TopKSoftmaxConfig,
)
from marquee.nn.negatives import (
    CatalogNegativesConfig,
    HardNegativesConfig,
    MixedNegativesConfig,
)
from marquee.nn.optimizers import LazyAdamConfig, RowwiseAdagradConfig
from training.config import TrainConfig
from training.fitting.warm_start import WarmStartConfig

SCHEMAS: dict[str, dict[str, type]] = {
    "model": {
        "two_tower": TwoTowerConfig,
        "elsa": ELSAConfig,
        "matrix_factorization": MatrixFactorizationConfig,
        "sasrec": SASRecConfig,
    },
    "loss": {
        "sampled_softmax": SampledSoftmaxConfig,
        "bilateral_softmax": BilateralSoftmaxConfig,
        "top_k_softmax": TopKSoftmaxConfig,
        "normalised_squared_error": NormalisedSquaredErrorConfig,
        "bpr": BPRConfig,
        "cosine_contrastive": CosineContrastiveConfig,
        "degree_weighted": DegreeWeightedConfig,
    },
    "negatives": {
        "mixed": MixedNegativesConfig,
        "catalog": CatalogNegativesConfig,
        "hard": HardNegativesConfig,
    },
    "optimizer": {"lazy_adam": LazyAdamConfig, "rowwise_adagrad": RowwiseAdagradConfig},
    "start": {
        "random": InitialisationConfig,
        "spectral": SpectralInitialisationConfig,
        "earlier_run": WarmStartConfig,
    },
}


def register_schemas() -> None:
    """Makes the dataclasses known to Hydra; each YAML of a choice starts from its own schema."""
    store = ConfigStore.instance()
    store.store(name="train_schema", node=TrainConfig)
    for group, choices in SCHEMAS.items():
        for name, node in choices.items():
            # Beside the group of the choices: in it, `--help` and every error would list each choice twice.
            store.store(group=f"schema/{group}", name=name, node=node)
