"""The manifest of prepared data: what it was made of, what stands in it, and the checksum of every file."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from marquee.data.config import DataConfig
from marquee.data.prepared.declared import as_text
from marquee.errors import ConfigError, DataError
from marquee.store.files import CHUNK_BYTES, FileFacts, replace_file

MANIFEST = "manifest.json"
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of a folder of prepared data.

    Attributes:
        version: Of the layout.
        declared: Declaration of the data set, as JSON.
        n_buckets: Buckets of users.
        n_ranges: Ranges of names of users, and of items.
        n_events: Events of all parts.
        n_users: Users by group, see `layout`.
        n_items: Items by group, see `layout`.
        events: Events of each part.
        users: Users who did something that counts in each part.
        kinds: Events of each kind.
        period: First and last timestamp.
        description: How the events were parted, in words.
        cutoffs: The moments of a split by time, nothing for the others.
        files: Size and checksum of each file by its path in the folder.
    """

    version: int
    declared: str
    n_buckets: int
    n_ranges: tuple[int, int]
    n_events: int
    n_users: tuple[int, ...]
    n_items: tuple[int, ...]
    events: Mapping[str, int]
    users: Mapping[str, int]
    kinds: Mapping[str, int]
    period: tuple[int, int]
    description: str
    cutoffs: tuple[int, ...]
    files: Mapping[str, FileFacts]

    def write(self, folder: Path) -> None:
        """Writes the manifest, forced to disk: from then on the folder counts as prepared."""
        replace_file(folder / MANIFEST, msgspec.json.format(msgspec.json.encode(self, order="sorted")))

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Returns the manifest of a folder.

        Raises:
            DataError: If there is none, or it is of another layout.
        """
        path = folder / MANIFEST
        if not path.is_file():
            raise DataError(
                f"{folder} must hold prepared data, got no {MANIFEST}; prepare it with python -m "
                "training.prepare data=… to=…, and start that again where it was interrupted"
            )
        try:
            manifest = msgspec.json.decode(path.read_bytes(), type=cls)
        except msgspec.DecodeError as error:
            raise DataError(f"{path} is no manifest of prepared data: {error}; prepare it again") from error
        if manifest.version != VERSION:
            raise DataError(
                f"{path} is of version {manifest.version}, this release reads {VERSION}; prepare it again"
            )
        return manifest

    def require_whole(self, folder: Path, *, is_read: bool) -> None:
        """Raises DataError that names a file which is not as the manifest has it.

        Args:
            folder: Of the manifest.
            is_read: Compare the checksums as well as the sizes.
        """
        for name, facts in self.files.items():
            path = folder / name
            n_bytes = path.stat().st_size if path.is_file() else None
            if n_bytes != facts.bytes:
                raise _damaged(
                    path, f"{n_bytes if n_bytes is not None else 'no'} bytes", f"{facts.bytes} bytes"
                )
            if is_read and (found := _sha256(path)) != facts.sha256:
                raise _damaged(path, f"sha256 {found[:16]}", facts.sha256[:16])

    def require_declared(self, config: DataConfig, folder: Path) -> None:
        """Raises ConfigError that names the key if a declaration is not the one that was prepared.

        Longer or shorter histories need nothing else of what is prepared: they may differ.
        """
        was, now = (msgspec.json.decode(text) for text in (self.declared, as_text(config)))
        for declared in (was, now):
            declared.pop("history_length")
        for key, prepared, asked in _differences(was, now, "data"):
            raise ConfigError(
                f"{key} is {asked!r}, but {folder} was prepared with {prepared!r}; give the same, or prepare "
                "the data again into another folder"
            )


def _differences(was: object, now: object, key: str) -> list[tuple[str, object, object]]:
    """Returns keys whose values differ, with both."""
    if isinstance(was, dict) and isinstance(now, dict):
        found = []
        for name in [*was, *(name for name in now if name not in was)]:
            found += _differences(was.get(name), now.get(name), f"{key}.{name}")
        return found
    return [] if was == now else [(key, was, now)]


def _damaged(path: Path, came: str, expected: str) -> DataError:
    """Returns the error of a file that is not what was written."""
    return DataError(
        f"{path} is damaged, got {came}, expected {expected} by its manifest; remove it and prepare again, "
        "which makes what is missing"
    )


def _sha256(path: Path) -> str:
    """Returns the checksum of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
