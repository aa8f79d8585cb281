"""`python -m serving.mirror from=… to=…`: makes the current bundle of elsewhere the current one here.

Once, or every so often beside the service that follows the folder. Every byte is verified before anybody sees
it, and what was interrupted goes on where it stopped.
"""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from marquee.bundle.mirroring import Origin, mirror
from marquee.errors import ConfigError, MarqueeError
from marquee.store.signing import TrustedKeys
from serving.mirror.origins import open_origin

USAGE = (
    "usage: python -m serving.mirror from=<path, http(s)://… or s3://bucket/prefix> to=<folder> "
    "[trusted_keys=<file>] [every_s=0] [kept=3]"
)


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of the command.

    Attributes:
        from_: Folder of a channel, by its address.
        to: Folder of the channel here.
        trusted_keys: File of public keys, one of which must have signed; empty to take bundles unsigned.
        every_s: Seconds from one look to the next; 0 to look once.
        kept: How many versions stay here.
    """

    from_: str = msgspec.field(name="from")
    to: str
    trusted_keys: str = ""
    every_s: float = 0.0
    kept: int = 3

    def __post_init__(self) -> None:
        if not (self.from_ and self.to and self.kept >= 1 and 0.0 <= self.every_s < float("inf")):
            raise ValueError(
                "from and to must be given, kept must be 1 or more, every_s 0 or more seconds, got "
                f"from={self.from_} to={self.to} kept={self.kept} every_s={self.every_s:g}; correct that one"
            )


def main(arguments: Sequence[str], variables: Mapping[str, str]) -> int:
    """Mirrors once, or until it is ended; returns the exit status."""
    given = dict(argument.partition("=")[::2] for argument in arguments)
    try:
        settings = msgspec.convert(given, Settings, strict=False)
        trusted = TrustedKeys.read(settings.trusted_keys) if settings.trusted_keys else None
        origin = open_origin(settings.from_, variables, _now)
    except (msgspec.ValidationError, ConfigError) as error:
        print(f"{error}\n{USAGE}", file=sys.stderr)
        return 2
    while True:
        is_there = _look(origin, settings, trusted)
        if not settings.every_s:
            return 0 if is_there else 1
        time.sleep(settings.every_s)


def _look(origin: Origin, settings: Settings, trusted: TrustedKeys | None) -> bool:
    """Mirrors once, says what came of it, and returns whether a bundle is there."""
    try:
        bundle, is_new = mirror(origin, Path(settings.to), trusted=trusted, n_kept=settings.kept)
    except (MarqueeError, OSError) as error:
        # Beside a service the next look may find the disk free, or the network back.
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return False
    if is_new:
        print(f"bundle {bundle} is current", flush=True)
    return True


def _now() -> str:
    """Returns the time, as requests to object storage say it."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
