"""Copies the current bundle of a channel from somewhere else, verified before anybody can see it.

```
from/CURRENT                         1. which version
from/<version>/manifest.json         2. what it holds; its signature, where one is asked for
to/.mirroring/<version>/             3. every file, as far as it came: the next try goes on from there
to/<version>/                        4. the folder above, renamed
to/CURRENT                           5. the version, written aside and renamed
```

A try that dies leaves the old bundle current. Knows no network: an `Origin` reads (see `serving.mirror`).
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from marquee.bundle.manifest import MANIFEST, OPTIONAL_FILES, Manifest, expected_files, validate_name
from marquee.bundle.publishing import READ_ONLY
from marquee.bundle.releases import CURRENT, resolve, set_current, way_back
from marquee.errors import BundleError, BundleNotFoundError, ChecksumError
from marquee.store.files import (
    CHUNK_BYTES,
    FileFacts,
    announce_step,
    only_publisher,
    read_regular_file,
    sync_folder,
    write_file,
)
from marquee.store.signing import SIGNATURE, TrustedKeys

ASIDE = ".mirroring"
"""Folder of a channel in which versions lie that have not come whole."""
MARKER = ".mirror"
"""Says that a folder is filled from elsewhere, so that old versions may be deleted in it."""
# What nobody has verified yet must not fill the memory; the largest manifests have some hundred kilobytes.
_MOST_SMALL_BYTES = 64 * 2**20


class Origin(Protocol):
    """The folder of a channel somewhere else."""

    def read(self, name: str, start: int) -> Iterator[bytes]:
        """Yields a file from a byte on, in pieces.

        Args:
            name: Below the folder of the channel.
            start: First byte that is wanted; at most the size of the file.

        Raises:
            BundleNotFoundError: If there is no such file.
            BundleError: If it cannot be read now.
        """


def mirror(
    origin: Origin, home: Path, *, trusted: TrustedKeys | None = None, n_kept: int = 3
) -> tuple[Path, bool]:
    """Makes the current bundle of an origin the current one of a folder.

    Args:
        origin: Where it lies.
        home: Folder of the channel here, which nobody else publishes into.
        trusted: One of these keys must have signed it; None to take it unsigned.
        n_kept: How many versions stay here, the current one and the latest before it.

    Returns:
        The folder of the bundle, and whether it was not the current one before.

    Raises:
        SignatureError: If it is not signed by a trusted key; nothing large was copied then.
        ChecksumError: If a file is not what the manifest says.
        BundleError: If the origin cannot be read, or holds another bundle under a version that is here, or
            the folder is one that somebody publishes into.
    """
    home.mkdir(parents=True, exist_ok=True)
    version = _small(origin, CURRENT).decode(errors="replace").strip()
    validate_name(version, "the version that CURRENT of the origin names")
    with only_publisher(home):
        _claim(home)
        target = home / version
        manifest = _small(origin, f"{version}/{MANIFEST}")
        if not target.exists():
            _fetch(origin, target, manifest, trusted)
        elif read_regular_file(target / MANIFEST) != manifest:
            raise BundleError(
                f"bundle {version} of the origin is another one than {target}; publish it under another "
                "version"
            )
        is_new = not _is_current(target)
        if is_new:
            set_current(target)
        _sweep(home, target, n_kept)
    return target, is_new


def _claim(home: Path) -> None:
    """Marks a folder as filled from elsewhere; raises BundleError if it has bundles of another publisher."""
    if (home / MARKER).exists():
        return
    if any((folder / MANIFEST).exists() for folder in home.iterdir()):
        raise BundleError(
            f"{home} has bundles that did not come from elsewhere, and old ones would be deleted there; "
            "give an empty folder"
        )
    (home / MARKER).touch()


def _is_current(target: Path) -> bool:
    """Returns whether CURRENT beside a bundle names it."""
    try:
        return resolve(target.parent) == target
    except BundleError:
        return False


def _small(origin: Origin, name: str) -> bytes:
    """Returns a small file of an origin."""
    content = bytearray()
    for piece in origin.read(name, 0):
        content += piece
        if len(content) > _MOST_SMALL_BYTES:
            raise BundleError(
                f"{name} of the origin has more than {_MOST_SMALL_BYTES} bytes, expected a small file; "
                "look at what lies there"
            )
    return bytes(content)


def _fetch(origin: Origin, target: Path, text: bytes, trusted: TrustedKeys | None) -> None:
    """Copies a version aside, verifies every byte, and renames it to its place."""
    aside = target.parent / ASIDE / target.name
    aside.mkdir(parents=True, exist_ok=True)
    try:
        signature = _small(origin, f"{target.name}/{SIGNATURE}")
        write_file(aside / SIGNATURE, lambda file: file.write(signature))
    except BundleNotFoundError:
        # As unsigned as it is there: of an earlier try one may lie here.
        (aside / SIGNATURE).unlink(missing_ok=True)
    if trusted is not None:
        # Before anything large: what nobody vouches for must not fill the disk.
        trusted.verify(aside, text)
    manifest = Manifest.from_json(text)
    _require_plain(manifest, target.name)
    for name, facts in manifest.files.items():
        _fetch_file(origin, f"{target.name}/{name}", aside / name, facts)
    # The manifest comes last: a folder that has one is whole.
    write_file(aside / MANIFEST, lambda file: file.write(text))
    for file in aside.iterdir():
        # Servers map these files into memory: who writes into one, or cuts it off, ends their processes.
        file.chmod(READ_ONLY)
    sync_folder(aside)
    announce_step(f"rename the folder to {target.name}")
    aside.rename(target)
    sync_folder(target.parent)


def _require_plain(manifest: Manifest, version: str) -> None:
    """Raises BundleError unless a manifest is of this version and names the files that a bundle has."""
    if manifest.version != version:
        raise BundleError(
            f"{MANIFEST} in {version} of the origin is of version {manifest.version!r}; publish it again"
        )
    expected = expected_files(manifest.index.config.kind)
    # Here as well, and not when it is loaded alone: a name with a slash would be written elsewhere.
    if set(manifest.files) - OPTIONAL_FILES != expected:
        raise BundleError(
            f"{MANIFEST} must name the files {sorted(expected)}, got {sorted(manifest.files)}; export again"
        )


def _fetch_file(origin: Origin, name: str, path: Path, facts: FileFacts) -> None:
    """Copies a file, or the rest of it, and verifies it; what is wrong is asked for once more."""
    for is_last in (False, True):
        found = _fetch_rest(origin, name, path, facts)
        if found == facts:
            return
        if found.bytes < facts.bytes:  # kept: it may be right as far as it came
            raise BundleError(
                f"{name} of the origin ended after {found.bytes} of {facts.bytes} bytes; the next try "
                "goes on from there"
            )
        # Not kept: the next try would go on behind bytes that are wrong.
        path.unlink()
        if is_last:
            raise ChecksumError(
                f"{name} of the origin has {found.bytes} bytes with SHA-256 {found.sha256}, expected "
                f"{facts.bytes} with {facts.sha256}; publish the bundle again"
            )


def _fetch_rest(origin: Origin, name: str, path: Path, facts: FileFacts) -> FileFacts:
    """Appends what a file lacks and returns size and checksum of all that it holds then."""
    digest, n_bytes = hashlib.sha256(), 0
    announce_step(f"fetch {path.name}")
    with path.open("a+b") as file:
        file.seek(0)
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            n_bytes += len(chunk)
        if n_bytes < facts.bytes:
            for piece in origin.read(name, n_bytes):
                file.write(piece)
                digest.update(piece)
                n_bytes += len(piece)
                if n_bytes > facts.bytes:
                    break  # wrong already: the rest need not fill the disk
        # Python's own buffer first: fsync forces out only what the system has.
        file.flush()
        announce_step(f"sync {path.name}")
        os.fsync(file.fileno())
    return FileFacts(digest.hexdigest(), n_bytes)


def _sweep(home: Path, current: Path, n_kept: int) -> None:
    """Deletes what earlier tries left, and all but the latest versions that were current here."""
    aside = home / ASIDE
    shutil.rmtree(aside, ignore_errors=True)
    kept = {current.name, *way_back(home)[: max(n_kept - 1, 0)]}
    for folder in home.iterdir():
        is_bundle = folder.is_dir() and (folder / MANIFEST).is_file()
        # A worker that has mapped its files keeps them until it lets go.
        if is_bundle and folder.name not in kept:
            # Aside first: half of a version must not be taken for the whole when the origin goes back to it.
            # The dot: a version that is fetched must not go on from files that nobody may write.
            aside.mkdir(exist_ok=True)
            folder.rename(aside / f".{folder.name}")
            announce_step(f"delete {folder.name}")
    shutil.rmtree(aside, ignore_errors=True)
