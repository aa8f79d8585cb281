"""Finds the releases that know a user by some name, without loading any of them."""

import mmap
from dataclasses import dataclass
from pathlib import Path

import msgspec

from marquee.bundle.manifest import MANIFEST, Manifest
from marquee.errors import MarqueeError

_USER_IDS = "user_ids.json"


@dataclass(frozen=True, slots=True)
class Holder:
    """A release that knows a user.

    Attributes:
        version: Its name.
        created: When it was made, seconds since 1970 UTC; 0 if that cannot be read.
    """

    version: str
    created: int


def find_holders(channel: Path, name: str) -> list[Holder]:
    """Returns the releases in the folder of a channel that know a user, by version.

    One that cannot be read is among them: it may know anybody.

    Args:
        channel: The folder, or that of one of its versions.
        name: Of the user, as the release has it.
    """
    home = channel.parent if (channel / MANIFEST).exists() else channel
    # As JSON writes it, with its quotes: part of another name is no match.
    needle = msgspec.json.encode(name)
    folders = [folder for folder in sorted(home.iterdir()) if (folder / MANIFEST).is_file()]
    return [Holder(folder.name, _created(folder)) for folder in folders if _may_hold(folder, needle)]


def _may_hold(folder: Path, needle: bytes) -> bool:
    """Returns whether the known users of a release hold a name, as bytes."""
    try:
        # Mapped, not parsed: a million users would become a million objects for one look.
        with (
            (folder / _USER_IDS).open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            return content.find(needle) >= 0
    except (OSError, ValueError):  # an empty file cannot be mapped
        return True


def _created(folder: Path) -> int:
    """Returns when a release was made, 0 if that cannot be read."""
    try:
        return Manifest.from_json((folder / MANIFEST).read_bytes()).created
    except (MarqueeError, OSError):
        return 0
