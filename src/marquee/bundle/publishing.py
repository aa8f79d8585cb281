"""Writes a bundle whole or not at all.

```
bundles/<name>/.lock          held while publishing: one publisher at a time
bundles/<name>/.publishing/   1. every file, forced to disk, the manifest last
bundles/<name>/<version>/     2. the folder above, renamed
bundles/<name>/CURRENT        3. the version, written aside and renamed (see `releases`)
```

A publisher that dies leaves the old bundle current and at most a `.publishing` folder, which the next
one sweeps. A version is never written twice: servers map its files into memory.
"""

import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO

from marquee.bundle.contents import BundleContents, describe, file_writers
from marquee.bundle.manifest import MANIFEST, Manifest, validate_name
from marquee.bundle.releases import set_current
from marquee.errors import BundleError, ChecksumError
from marquee.store.files import (
    CHUNK_BYTES,
    FileFacts,
    announce_step,
    only_publisher,
    read_regular_file,
    replace_file,
    sync_folder,
    write_file,
)
from marquee.store.signing import SIGNATURE, SigningKey

_UNFINISHED = ".publishing"
# Only tells versions of one second apart; the manifest proves the content.
_CHECKSUM_DIGITS = 8

READ_ONLY = 0o444
"""Mode of every file of a published version, the manifest included."""


def publish(
    contents: BundleContents,
    folder: Path,
    name: str,
    *,
    created: int,
    version: str = "",
    signing_key: SigningKey | None = None,
    is_activated: bool = True,
) -> Path:
    """Writes a bundle and makes it current; returns its folder.

    Args:
        contents: What to write.
        folder: Where bundles of all names live.
        name: Of the channel.
        created: Seconds since 1970 UTC.
        version: Name of this bundle; empty for the UTC time of `created` and the beginning of a checksum
            of all files, which sorts by time.
        signing_key: Signs the manifest; None for a bundle without a signature.
        is_activated: Whether it becomes current.

    Raises:
        ConfigError: If the name or version cannot be a folder.
        BundleError: If the version exists, or another publisher is at work.
        DataError: If metrics or config do not fit into JSON.
        OSError: If the disk refuses; nothing is left behind.
    """
    validate_name(name, "the name of a bundle")
    if version:
        validate_name(version, "the version of a bundle")

    def write(unfinished: Path) -> _Release:
        writers = file_writers(contents)
        files = {file: write_file(unfinished / file, writer) for file, writer in writers.items()}
        manifest = describe(contents, files, name, version or _version_of(files, created), created)
        return _Release(manifest.version, manifest.to_json().encode())

    home = Path(folder) / name
    return _Publication(home, signing_key, is_activated).run(write)


def publish_copy(
    bundle: Path,
    folder: Path,
    *,
    signing_key: SigningKey | None = None,
    is_activated: bool = True,
) -> Path:
    """Publishes a bundle once more, byte for byte, below another folder; returns its folder there.

    A copy that is there already is kept, so that what was interrupted can be repeated.

    Args:
        bundle: Folder of one version.
        folder: Where bundles of all names live; the copy keeps its name and version.
        signing_key: Signs the copy; None for the signature of the original, if it has one.
        is_activated: As in `publish`.

    Raises:
        ChecksumError: If a file is not what the manifest says.
        BundleError: If another bundle has this version there, or another publisher is at work.
        OSError: If the disk refuses; nothing is left behind.
    """
    text = read_regular_file(bundle / MANIFEST)
    manifest = Manifest.from_json(text)
    # The text that was read, not what would be written of it now: another release may write it otherwise.
    release = _Release(manifest.version, text)

    def write(unfinished: Path) -> _Release:
        for name, expected in manifest.files.items():
            # Verified on the way: what was damaged at its source must not be published again.
            if write_file(unfinished / name, partial(_copy_file, bundle / name)) != expected:
                raise ChecksumError(f"{name} in {bundle} is not what its manifest says; export it again")
        # A key signs the copy anew; without one the first publisher's signature goes along.
        if (bundle / SIGNATURE).exists() and signing_key is None:
            write_file(unfinished / SIGNATURE, partial(_copy_file, bundle / SIGNATURE))
        return release

    home = Path(folder) / manifest.name
    return _Publication(home, signing_key, is_activated).run(write, release)


def sign(bundle: Path, signing_key: SigningKey) -> None:
    """Signs a published bundle, in place of any signature that it has.

    Raises:
        BundleError: If it has no manifest, or a publisher is at work.
    """
    with only_publisher(bundle.parent):
        replace_file(bundle / SIGNATURE, signing_key.sign(read_regular_file(bundle / MANIFEST)))


@dataclass(frozen=True)
class _Release:
    """A version of a channel.

    Attributes:
        version: Names its folder.
        manifest: The content of its manifest file.
    """

    version: str
    manifest: bytes


@dataclass(frozen=True)
class _Publication:
    """How a version comes into the folder of its channel.

    Attributes:
        home: Folder of the channel.
        signing_key: Signs the manifest; None for no signature of ours.
        is_activated: Whether the version becomes current.
    """

    home: Path
    signing_key: SigningKey | None
    is_activated: bool

    def run(self, write: Callable[[Path], _Release], known: _Release | None = None) -> Path:
        """Writes a version aside, renames it into place and returns its folder.

        Args:
            write: Writes every file but the manifest into a folder and returns the release.
            known: What `write` will return, where that is known: the version is kept if it is there.
        """
        # Before the lock, which is a file in this folder.
        self.home.mkdir(parents=True, exist_ok=True)
        unfinished = self.home / _UNFINISHED
        with only_publisher(self.home):
            shutil.rmtree(unfinished, ignore_errors=True)  # of a publisher that died: we hold the lock
            try:
                target = self._kept(known) if known else None
                if target is None:
                    target = self._write(unfinished, write)
                # Last: whoever follows CURRENT finds a whole version.
                if self.is_activated:
                    set_current(target)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
        return target

    def _kept(self, release: _Release) -> Path | None:
        """Returns the folder of a version that is there already, signed anew if there is a key."""
        target = self.home / release.version
        if not target.exists():
            return None
        # A manifest names every byte of the others: equal manifests, equal bundles.
        if read_regular_file(target / MANIFEST) != release.manifest:
            raise BundleError(
                f"bundle {self.home.name} {release.version} exists already and is another one; publish under "
                "another version"
            )
        if self.signing_key is not None:
            replace_file(target / SIGNATURE, self.signing_key.sign(release.manifest))
        return target

    def _write(self, unfinished: Path, write: Callable[[Path], _Release]) -> Path:
        """Writes all files aside, then renames their folder to that of the version, which it returns."""
        announce_step("create the folder")
        unfinished.mkdir()
        release = write(unfinished)
        # Only now: the version may contain a checksum of the files.
        target = self.home / release.version
        if target.exists():
            raise BundleError(
                f"bundle {self.home.name} {release.version} exists already; publish under another version"
            )
        if self.signing_key is not None:
            signature = self.signing_key.sign(release.manifest)
            write_file(unfinished / SIGNATURE, lambda file: file.write(signature))
        # The manifest comes last: a folder that has one is whole.
        write_file(unfinished / MANIFEST, lambda file: file.write(release.manifest))
        for file in unfinished.iterdir():
            # Servers map these files into memory: who writes into one, or cuts it off, ends their processes.
            file.chmod(READ_ONLY)
        # Before the rename: under its version a folder must never lack a file, not even after a power cut.
        sync_folder(unfinished)
        announce_step(f"rename the folder to {release.version}")
        unfinished.rename(target)
        sync_folder(self.home)
        return target


def _copy_file(source: Path, file: IO[bytes]) -> None:
    """Writes what stands in a file."""
    with source.open("rb") as original:
        while chunk := original.read(CHUNK_BYTES):
            file.write(chunk)


def _version_of(files: Mapping[str, FileFacts], created: int) -> str:
    """Returns a version that sorts by time and differs between bundles of one second."""
    # Sorted: the same files give the same version, in whichever order they were written.
    together = "".join(f"{name} {facts.sha256}\n" for name, facts in sorted(files.items()))
    checksum = hashlib.sha256(together.encode()).hexdigest()[:_CHECKSUM_DIGITS]
    return f"{datetime.fromtimestamp(created, UTC):%Y%m%dT%H%M%SZ}-{checksum}"
