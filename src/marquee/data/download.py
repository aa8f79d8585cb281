"""Fetches a published data set from its publisher: verified against a checksum, and whole or not at all.

What is fetched lands in a temporary folder beside its target; it is renamed into place once its checksum is
right. Knows no data set: addresses and checksums stand in the config.
"""

import gzip
import hashlib
import os
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterable
from http.client import HTTPException
from pathlib import Path
from typing import IO

import polars as pl

from marquee.data.download_config import (
    TABLE,
    DerivedTableConfig,
    DownloadConfig,
    DownloadedFileConfig,
    is_inside,
)
from marquee.data.reading.files.columns import FAULT, ROW
from marquee.data.reading.sources import collect, open_sources
from marquee.errors import DataError, DownloadError

Progress = Callable[[int, int | None], None]

_CHUNK_BYTES = 1 << 20
# Of one read: a whole download may take hours.
_TIMEOUT_S = 60


def download(config: DownloadConfig, folder: Path, progress: Progress | None = None) -> list[Path]:
    """Fetches a data set into a folder; what lies there already is left as it is.

    Args:
        config: Where the set comes from.
        folder: Made if it is not there.
        progress: Called with the bytes of the current file so far and in all (None if unknown).

    Returns:
        Every file of the set.

    Raises:
        DownloadError: If the set cannot be fetched by a program, a file cannot be fetched or written, or is
            not the published one. Files that were complete before stay.
    """
    if config.manual:
        raise DownloadError(f"{config.page} cannot be fetched by a program: {config.manual}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in config.files:
            # Files are renamed into place when they are verified: what is there is whole.
            if not all((folder / target).exists() for target in file.targets):
                _fetch_file(file, folder, progress or _no_progress)
        for derived in config.derived:
            if not (folder / derived.path).exists():
                _derive(derived, folder)
    except OSError as error:
        raise DownloadError(f"{folder} cannot be written: {error}; choose another data.root") from error
    targets = [target for file in config.files for target in file.targets]
    return [folder / target for target in [*targets, *(derived.path for derived in config.derived)]]


def _no_progress(done: int, total: int | None) -> None:
    """Ignores progress."""


def _fetch_file(file: DownloadedFileConfig, folder: Path, progress: Progress) -> None:
    """Fetches one address, verifies it and puts its files into place."""
    # Inside the folder, as a rename is atomic only within one file system.
    with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as temporary:
        fetched = Path(temporary) / "fetched"
        _fetch(file.url, fetched, progress)
        _verify(fetched, file.checksum, file.url)
        ready = {file.path: fetched} if file.path else _unpack(file, fetched, Path(temporary))
        for target, path in ready.items():
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, folder / target)


def _fetch(url: str, target: Path, progress: Progress) -> None:
    """Writes what an address serves to a file; raises DownloadError if it does not serve it whole."""
    request = urllib.request.Request(url, headers={"User-Agent": "marquee"})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response, target.open("wb") as file:
            length = response.headers.get("Content-Length")
            total = int(length) if length else None
            done = 0
            while chunk := response.read(_CHUNK_BYTES):
                file.write(chunk)
                done += len(chunk)
                progress(done, total)
    except urllib.error.HTTPError as error:
        raise DownloadError(
            f"{url} answered {error.code} {error.reason}; see whether the publisher has moved the file"
        ) from error
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        raise DownloadError(f"{url} could not be fetched: {error}; see whether there is a network") from error
    # `read` ends without an error where the connection was closed early.
    if total is not None and done != total:
        raise DownloadError(f"{url} ended after {done:,} of {total:,} bytes; try again")


def _verify(path: Path, checksum: str, name: str) -> None:
    """Raises DownloadError unless a file has the checksum; an empty checksum says nothing."""
    if not checksum:
        return
    algorithm, _, expected = checksum.partition(":")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if found != expected:
        raise DownloadError(
            f"{name} is not the published file: {algorithm} is {found}, expected {expected}; nothing was "
            "kept. Try again, and if it stays so see whether the publisher has issued a new version"
        )


def _unpack(file: DownloadedFileConfig, archive: Path, folder: Path) -> dict[str, Path]:
    """Returns the declared members of a zip archive, unpacked under made-up names, by where they belong."""
    ready: dict[str, Path] = {}
    try:
        with zipfile.ZipFile(archive) as opened:
            # Before anything is written: an archive with one unsafe path is not trusted in the others.
            _validate_members(opened.namelist(), file)
            for number, (target, member) in enumerate(file.members.items()):
                # A member's own name may hold folders, or characters that no file may have.
                ready[target] = folder / str(number)
                with opened.open(member) as packed, ready[target].open("wb") as unpacked:
                    _copy(packed, unpacked)
                _verify(ready[target], file.member_checksums.get(target, ""), f"{member} of {file.url}")
    except (zipfile.BadZipFile, EOFError) as error:
        raise DownloadError(f"{file.url} is no readable zip archive: {error}; nothing was kept") from error
    return ready


def _validate_members(names: Iterable[str], file: DownloadedFileConfig) -> None:
    """Raises DownloadError if the archive names a path outside of itself, or lacks a declared member."""
    names = list(names)
    outside = [name for name in names if not is_inside(name)]
    if outside:
        raise DownloadError(f"{file.url} holds the unsafe path {outside[0]!r}; nothing was unpacked")
    missing = [member for member in file.members.values() if member not in names]
    if missing:
        raise DownloadError(f"{file.url} lacks {missing[0]!r}, it holds {names[:10]}; nothing was unpacked")


def _copy(source: IO[bytes], target: IO[bytes]) -> None:
    """Copies a stream in chunks."""
    while chunk := source.read(_CHUNK_BYTES):
        target.write(chunk)


def _derive(derived: DerivedTableConfig, folder: Path) -> None:
    """Makes one table of a downloaded file."""
    try:
        sources = open_sources(derived.source, folder, TABLE)
        rows = pl.concat([collect(source.frame, source.path, TABLE) for source in sources])
        # No share is allowed here: the file is verified, so that the fault is in the declaration.
        broken = rows.filter(pl.col(FAULT).is_not_null())
        if not broken.is_empty():
            raise DownloadError(
                f"{derived.source.path} has {broken.height} unreadable rows: {broken[FAULT][0]}"
            )
        table = rows.drop(ROW, FAULT).sql(derived.query, table_name=TABLE)
    except (DataError, pl.exceptions.PolarsError) as error:
        raise DownloadError(f"{derived.path} cannot be made of {derived.source.path}: {error}") from error
    with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as temporary:
        ready = Path(temporary) / "derived"
        if derived.path.endswith(".parquet"):
            table.write_parquet(ready)
        else:
            with gzip.open(ready, "wb") if derived.path.endswith(".gz") else ready.open("wb") as file:
                file.write(table.write_csv().encode())
        (folder / derived.path).parent.mkdir(parents=True, exist_ok=True)
        os.replace(ready, folder / derived.path)
