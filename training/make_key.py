"""`python -m training.make_key path=keys/release`: makes the pair of keys by which bundles are signed."""

from dataclasses import dataclass
from pathlib import Path

from marquee.store.signing import SigningKey, write_key_pair
from training.cli.command import command
from training.cli.console import open_console


@dataclass(kw_only=True)
class MakeKeyConfig:
    """Where the keys go.

    Attributes:
        path: File of the private key; the public one lies beside it with `.pub` at the end.
    """

    path: str


@command("make_key", MakeKeyConfig)
def main(config: MakeKeyConfig) -> None:
    """Makes the keys and says what each is for."""
    private, public = write_key_pair(Path(config.path))
    console = open_console()
    console.print(
        f"key {SigningKey.read(private).key_id}\n"
        f"private {private}: sign with it (signing_key=), keep it to yourself\n"
        f"public {public}: give it to those who serve (MARQUEE_TRUSTED_KEYS)",
        highlight=False,
        soft_wrap=True,
    )


if __name__ == "__main__":
    main()
