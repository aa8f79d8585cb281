"""`python -m training.publish bundle=… to=…`: brings a bundle to where it is served, or goes back.

A run becomes a bundle by `training.export`; this moves bundles between folders, signs them and says which one
is current. Whatever it is given is verified and asked its golden requests first.
"""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from marquee.bundle.bundle import Bundle
from marquee.bundle.publishing import publish_copy, sign
from marquee.bundle.releases import activate, go_back, previous
from marquee.decision.golden_requests import validate_golden_requests
from marquee.decision.recommender import Recommender
from marquee.errors import ConfigError
from marquee.store.signing import SigningKey, TrustedKeys
from training.cli.command import command
from training.cli.console import open_console


@dataclass(kw_only=True)
class PublishConfig:
    """The settings of a publication.

    Attributes:
        bundle: Folder of a bundle, or the folder of its versions for the current one.
        to: Folder that bundles of all names are served from; empty to leave the bundle where it is.
        signing_key: File of the private key that signs it; empty for the signature that it has, if any.
        trusted_keys: File of public keys, one of which must have signed what is given; empty for unsigned.
        activate: Whether it becomes the current one.
        back: In place of `bundle`: folder of versions, in which the one before the current one comes back.
    """

    bundle: str = ""
    to: str = ""
    signing_key: str = ""
    trusted_keys: str = ""
    activate: bool = True
    back: str = ""

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError unless one thing is asked for."""
        if bool(self.bundle) == bool(self.back):
            raise ConfigError(
                "one of bundle (what to publish) and back (where to go back) must be given, got "
                f"{self.bundle!r} and {self.back!r}; try bundle=bundles/world to=served"
            )
        if self.back and (self.to or self.signing_key or not self.activate):
            raise ConfigError(
                f"back={self.back} takes no to, signing_key or activate: it writes no bundle; leave them out"
            )
        if self.bundle and not (self.to or self.signing_key or self.activate):
            raise ConfigError(
                f"bundle={self.bundle} would be neither moved, signed nor activated; give to or signing_key"
            )


def publish(config: PublishConfig, console: Console) -> Path:
    """Does what the config says and returns the folder of the bundle that it was about.

    Raises:
        BundleError: If the bundle must not be published; nothing has changed then.
        ConfigError: If a key cannot be read.
    """
    trusted = TrustedKeys.read(config.trusted_keys) if config.trusted_keys else None
    if config.back:
        # A release that answered once may have been damaged since.
        prove(previous(Path(config.back)), trusted)
        path = go_back(Path(config.back))
    else:
        path = _publish(config, trusted)
    is_current = config.back or config.activate
    console.print(f"bundle {path}{' is current' if is_current else ''}", highlight=False, soft_wrap=True)
    return path


def prove(path: Path, trusted: TrustedKeys | None) -> Bundle:
    """Returns the bundle at `path`; raises BundleError if it must not be published."""
    recommender = Recommender.load(path, trusted)
    validate_golden_requests(recommender)
    return recommender.bundle


def _publish(config: PublishConfig, trusted: TrustedKeys | None) -> Path:
    """Copies, signs and activates a bundle, as far as the config wants it; returns its folder."""
    signing_key = SigningKey.read(config.signing_key) if config.signing_key else None
    # First: nothing is copied, signed or named current that does not answer.
    bundle = prove(Path(config.bundle), trusted)
    if config.to:
        return publish_copy(
            bundle.path, Path(config.to), signing_key=signing_key, is_activated=config.activate
        )
    if signing_key is not None:
        sign(bundle.path, signing_key)
    if config.activate:
        activate(bundle.path)
    return bundle.path


@command("publish", PublishConfig)
def main(config: PublishConfig) -> None:
    """Publishes the bundle that the config names."""
    publish(config, open_console())


if __name__ == "__main__":
    main()
