"""Which class stands behind each name of the menu."""

from collections.abc import Mapping, Sequence

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from marquee.nn.architectures import MODELS
from marquee.nn.initialisation.tables import InitialisationConfig, SpectralInitialisationConfig
from marquee.nn.losses import LOSSES
from marquee.nn.negatives import NEGATIVES
from marquee.nn.optimizers import OPTIMIZERS
from marquee.nn.probabilities import PROBABILITIES
from training.config import TrainConfig, as_plain, resolve
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


def config_text(config: TrainConfig, facts: Mapping[str, str]) -> str:
    """Returns a config as YAML, with the name of each choice and facts of other names beside it."""
    choices = {
        group: name
        for group, schemas in SCHEMAS.items()
        for name, schema in schemas.items()
        # By the very class: schemas inherit from each other.
        if type(getattr(config, group)) is schema
    }
    return OmegaConf.to_yaml(OmegaConf.create({"choices": choices, **facts, **as_plain(config)}))


def config_of_text(text: str, facts: dict[str, str], overrides: Sequence[str] = ()) -> TrainConfig:
    """Returns the config that `config_text` wrote, with `key=value` overrides on top.

    Args:
        text: As it was written, or edited since.
        facts: Names of the facts beside it; filled in with what the text says of them.
        overrides: On top of what the text says.

    Raises:
        ConfigError: If an override names no key of the config, or the text was edited into nonsense.
    """
    raw = OmegaConf.create(text)
    assert isinstance(raw, DictConfig), f"expected a mapping, got {type(raw)}"
    # The schema of each choice is not in the values, and OmegaConf cannot tell subclasses apart.
    choices = raw.pop("choices")
    for name, default in facts.items():
        facts[name] = raw.pop(name, None) or default
    schema = OmegaConf.structured(TrainConfig)
    for group, choice in choices.items():
        schema[group] = OmegaConf.structured(SCHEMAS[str(group)][choice])
    # Onto the schema, which checks each type: the text may have been edited.
    merged = OmegaConf.merge(schema, raw, OmegaConf.from_dotlist(list(overrides)))
    assert isinstance(merged, DictConfig), f"expected a mapping, got {type(merged)}"
    return resolve(merged)
