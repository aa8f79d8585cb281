"""Finds the files of a table: one, those of a pattern, or those of a folder as Spark writes it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path
from urllib.parse import unquote

from marquee.data.table_config import TableConfig
from marquee.errors import DataError

_GLOB_CHARACTERS = frozenset("*?[")
# Such as `_SUCCESS` and `.part-0.crc`, which Spark and Hadoop write.
_NOT_DATA = ("_", ".")
# Hive's name of the folder for rows whose value is null.
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class File:
    """One file of a table.

    Attributes:
        part: Part of a given split that it holds; empty if the split is not given.
        path: The file.
        partition: Columns whose value the folders above it say, as `day=2025-03-01` does.
    """

    part: str
    path: Path
    partition: dict[str, str | None] = field(default_factory=dict)


def locate(config: TableConfig, root: Path, table: str) -> Iterator[File]:
    """Yields the files of a table in the order of their names.

    Raises:
        DataError: If there is none.
    """
    for part, name in (config.paths or {"": config.path}).items():
        found = [file for path in _named(root, name) for file in _files(path, part, root)]
        if not found and part not in config.optional_paths:
            raise DataError(
                f"{table}: there is no file {root / name}; set data.root or data.{table}.path, or fetch "
                "the set with python -m training.download data=…"
            )
        yield from found


def _named(root: Path, name: str) -> list[Path]:
    """Returns the paths of a name or a pattern.

    A file or folder of exactly this name comes first, whatever characters it holds.
    """
    # First: the name of a file may hold characters of a pattern.
    if (root / name).exists():
        return [root / name]
    if not _GLOB_CHARACTERS & set(name):
        return []
    # The root is a name and no part of the pattern.
    found = [root / match for match in sorted(glob(name, root_dir=root))]
    # A pattern that begins with the mark asks for just such files.
    wants_markers = Path(name).name.startswith(_NOT_DATA)
    return [path for path in found if wants_markers or not path.name.startswith(_NOT_DATA)]


def _files(path: Path, part: str, root: Path) -> Iterator[File]:
    """Yields the file itself, or the data files of a folder.

    Markers and checksums that writers leave beside their data begin with `_` or `.`; a part without any
    byte has no row.
    """
    if not path.is_dir():
        yield File(part, path, _partition(path.parent, root))
        return
    for folder, folders, names in os.walk(path):
        # In place, as `os.walk` reads it back; sorted, as a file system lists in any order.
        folders[:] = sorted(name for name in folders if not name.startswith(_NOT_DATA))
        partition = _partition(Path(folder), root)
        for name in sorted(names):
            file = Path(folder) / name
            if not name.startswith(_NOT_DATA) and file.stat().st_size:
                yield File(part, file, partition)


def _partition(folder: Path, root: Path) -> dict[str, str | None]:
    """Returns the values that the names of the folders below the root say."""
    below = folder.relative_to(root).parts if folder.is_relative_to(root) else ()
    pairs = [name.partition("=") for name in below if "=" in name]
    # Writers percent-encode what the name of a folder cannot hold.
    return {unquote(key): None if value == _NO_VALUE else unquote(value) for key, _, value in pairs}
