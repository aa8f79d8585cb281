"""`python -m training.make_key path=keys/release`: makes the pair of keys by which bundles are signed."""

from dataclasses import dataclass
from pathlib import Path

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from marquee.store.signing import SigningKey, write_key_pair
from training.command import command


@dataclass(kw_only=True)
class MakeKeyConfig:
    """Where the keys go.

    Attributes:
        path: File of the private key; the public one lies beside it with `.pub` at the end.
    """

    path: str


ConfigStore.instance().store(name="make_key_schema", node=MakeKeyConfig)


@command("make_key")
def main(config: DictConfig) -> None:
    """Makes the keys and says what each is for."""
    resolved = OmegaConf.to_object(config)
    assert isinstance(resolved, MakeKeyConfig), f"expected MakeKeyConfig, got {type(resolved)}"
    private, public = write_key_pair(Path(resolved.path))
    console = Console()
    console.print(
        f"key {SigningKey.read(private).key_id}\n"
        f"private {private}: sign with it (signing_key=), keep it to yourself\n"
        f"public {public}: give it to those who serve (MARQUEE_TRUSTED_KEYS)",
        highlight=False,
        soft_wrap=True,
    )


if __name__ == "__main__":
    main()
