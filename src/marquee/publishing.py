"""Writes a bundle whole or not at all.

```
bundles/<name>/.lock          held while publishing: one publisher at a time
bundles/<name>/.publishing/   1. every file, forced to disk, the manifest last
bundles/<name>/<version>/     2. the folder above, renamed
bundles/<name>/CURRENT        3. the version, written aside and renamed
```

A publisher that dies leaves the old bundle current and at most a `.publishing` folder, which the next
one sweeps. A version is never written twice: servers map its files into memory.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from marquee.catalog import Catalog
from marquee.errors import BundleError, BundleNotFoundError, DataError, ShapeError
from marquee.features import FeatureArrays, FeatureEncoder
from marquee.graphs import ITEM_INPUTS, QUERY_INPUTS, Graph
from marquee.histories import FloatArray, Interactions
from marquee.ids import PADDING_INDEX, IdMap
from marquee.index import Index
from marquee.kinds import EventKinds
from marquee.manifest import INDEX_FILE, MANIFEST, FileFacts, IndexFacts, Manifest, validate_name

CURRENT = "CURRENT"
_LOCK = ".lock"
_UNFINISHED = ".publishing"
_UNFINISHED_CURRENT = ".CURRENT.new"
_CHECKSUM_DIGITS = 8

OnStep = Callable[[str], None]
FileWriter = Callable[[IO[bytes]], object]


@dataclass(frozen=True, kw_only=True)
class BundleContents:
    """Everything that training hands to serving.

    Attributes:
        query_tower: ONNX graph with inputs among `graphs.QUERY_INPUTS`.
        item_tower: ONNX graph with inputs among `graphs.ITEM_INPUTS`.
        index: Of the item vectors, which it holds.
        index_recall: What `measure_recall` says of it.
        index_recall_k: At which k.
        has_item_bias: Whether the last coordinate of an item vector is the item's bias.
        user_vectors: (n_users + 1, user_dim) float32; row 0 is the unknown user.
        user_ids: Names of the known users.
        user_features: Features of the known users through `query_features`, n_users + 1 rows.
        query_features: Encodes user and context features.
        item_features: Encodes item features.
        kinds: Event kinds that count.
        history_length: The longest history that the query tower is fed.
        interactions: What the known users did; of user 0 nothing is kept.
        catalog: The items.
        popularity: Each item's share of all interactions, (n_items + 1,) float32.
        metrics: What the model reached offline, by name.
        config: The resolved configuration, plain JSON.
    """

    query_tower: bytes
    item_tower: bytes
    index: Index
    index_recall: float
    index_recall_k: int
    has_item_bias: bool
    user_vectors: FloatArray
    user_ids: IdMap
    user_features: FeatureArrays
    query_features: FeatureEncoder
    item_features: FeatureEncoder
    kinds: EventKinds
    history_length: int
    interactions: Interactions
    catalog: Catalog
    popularity: FloatArray
    metrics: Mapping[str, float]
    config: Mapping[str, object]

    def __post_init__(self) -> None:
        n_users, n_items = len(self.user_ids) + 1, self.catalog.n_items + 1
        rows = {
            "index.item_vectors": (len(self.index.item_vectors), n_items),
            "popularity": (len(self.popularity), n_items),
            "user_vectors": (len(self.user_vectors), n_users),
            "user_features": (len(self.user_features), n_users),
            "interactions.offsets": (len(self.interactions.offsets), n_users + 1),
        }
        for name, (actual, expected) in rows.items():
            if actual != expected:
                raise ShapeError(
                    f"{name} must have {expected} rows for {n_users - 1} users and {n_items - 1} items, "
                    f"got {actual}; pass the arrays of one model"
                )
        impossible = np.flatnonzero(~(np.isfinite(self.popularity) & (self.popularity >= 0.0)))
        if impossible.size:
            raise DataError(
                f"popularity must be finite and 0 or more, got {self.popularity[impossible[0]]} at "
                f"item_index {impossible[0]}; count the interactions again"
            )


def publish(
    contents: BundleContents,
    folder: Path,
    name: str,
    *,
    created: int,
    version: str = "",
    on_step: OnStep = lambda _step: None,
) -> Path:
    """Writes a bundle and makes it current; returns its folder.

    Args:
        contents: What to write.
        folder: Where bundles of all names live.
        name: Of the line of bundles.
        created: Seconds since 1970 UTC.
        version: Name of this bundle; empty for the UTC time of `created` and the beginning of a checksum
            of all files, which sorts by time.
        on_step: Called with the name of each step before it is taken: for faults in tests.

    Raises:
        ConfigError: If the name or version cannot be a folder.
        BundleError: If the version exists, or another publisher is at work.
        DataError: If metrics or config do not fit into JSON.
        OSError: If the disk refuses; nothing is left behind.
    """
    validate_name(name, "the name of a bundle")
    if version:
        validate_name(version, "the version of a bundle")
    home = Path(folder) / name
    home.mkdir(parents=True, exist_ok=True)
    with _only_publisher(home):
        unfinished = home / _UNFINISHED
        shutil.rmtree(unfinished, ignore_errors=True)  # of a publisher that died: nobody else holds the lock
        try:
            target = _write_folder(contents, unfinished, name, version, created, on_step)
            _set_current(target, on_step)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return target


def activate(bundle: Path, on_step: OnStep = lambda _step: None) -> None:
    """Makes a published bundle the current one of its name.

    Args:
        bundle: Folder of the bundle.
        on_step: As in `publish`.

    Raises:
        BundleNotFoundError: If there is no bundle.
        BundleError: If a publisher is at work.
    """
    if not (bundle / MANIFEST).is_file():
        raise BundleNotFoundError(f"{bundle} holds no {MANIFEST}; name the folder of a published bundle")
    with _only_publisher(bundle.parent):
        _set_current(bundle, on_step)


def _write_folder(
    contents: BundleContents, unfinished: Path, name: str, version: str, created: int, on_step: OnStep
) -> Path:
    """Writes all files aside, then renames their folder to that of the version, which it returns."""
    on_step("create the folder")
    unfinished.mkdir()
    files = {
        file: _write_file(unfinished / file, write, on_step) for file, write in _writers(contents).items()
    }
    version = version or _version_of(files, created)
    target = unfinished.parent / version
    if target.exists():
        raise BundleError(f"bundle {name} {version} exists already; publish under another version")
    manifest = _manifest(contents, files, name, version, created).to_json().encode()
    _write_file(unfinished / MANIFEST, lambda file: file.write(manifest), on_step)
    _sync_folder(unfinished, on_step)
    on_step(f"rename the folder to {version}")
    unfinished.rename(target)
    _sync_folder(target.parent, on_step)
    return target


def _set_current(bundle: Path, on_step: OnStep) -> None:
    """Points CURRENT at a bundle, at once for every reader."""
    aside = bundle.parent / _UNFINISHED_CURRENT
    text = f"{bundle.name}\n".encode()
    _write_file(aside, lambda file: file.write(text), on_step)
    on_step(f"rename {CURRENT}")
    aside.rename(bundle.parent / CURRENT)
    _sync_folder(bundle.parent, on_step)


@contextmanager
def _only_publisher(home: Path) -> Iterator[None]:
    """Holds the lock of a name; the system gives it back when its holder dies."""
    with (home / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BundleError(f"another process is publishing to {home}; wait for it or end it") from error
        yield


class _CountedFile:
    """A file that is being written: takes the checksum along and announces each write."""

    def __init__(self, file: IO[bytes], name: str, on_step: OnStep) -> None:
        self._file = file
        self._name = name
        self._on_step = on_step
        self._sha256 = hashlib.sha256()
        self._n_bytes = 0

    def write(self, content: bytes) -> int:
        """Writes some bytes."""
        self._on_step(f"write {self._name}")
        self._sha256.update(content)
        self._n_bytes += len(content)
        return self._file.write(content)

    def facts(self) -> FileFacts:
        """Returns what the file now is."""
        return FileFacts(sha256=self._sha256.hexdigest(), bytes=self._n_bytes)


def _write_file(path: Path, write: FileWriter, on_step: OnStep) -> FileFacts:
    """Writes a file, forces it to disk and returns what it is."""
    on_step(f"create {path.name}")
    with path.open("wb") as file:
        counted = _CountedFile(file, path.name, on_step)
        write(counted)  # type: ignore[arg-type]  # writers use only what _CountedFile has
        file.flush()
        on_step(f"sync {path.name}")
        os.fsync(file.fileno())
    return counted.facts()


def _sync_folder(folder: Path, on_step: OnStep) -> None:
    """Forces to disk which files a folder holds."""
    on_step(f"sync the folder {folder.name}")
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _writers(contents: BundleContents) -> dict[str, FileWriter]:
    """Returns how each file is written, the manifest excepted."""
    known = contents.interactions.take(contents.interactions.user_index != PADDING_INDEX)
    texts = {
        "user_ids.json": json.dumps(contents.user_ids.ids, ensure_ascii=False),
        "query_features.json": contents.query_features.to_json(),
        "item_features.json": contents.item_features.to_json(),
    }
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "item_vectors.npy": contents.index.item_vectors,
        "user_vectors.npy": contents.user_vectors.astype(np.float32, copy=False),
        "popularity.npy": contents.popularity.astype(np.float32, copy=False),
        "history_offsets.npy": known.offsets,
        "history_items.npy": known.item_index.astype(np.int32),
        "history_kinds.npy": known.kind_index.astype(np.int32),
        "user_tokens.npy": contents.user_features.tokens,
        "user_numeric.npy": contents.user_features.numeric,
    }
    writers: dict[str, FileWriter] = {
        "query_tower.onnx": lambda file: file.write(contents.query_tower),
        "item_tower.onnx": lambda file: file.write(contents.item_tower),
        "catalog.parquet": contents.catalog.write_parquet,
    }
    if contents.index.has_file:
        writers[INDEX_FILE] = contents.index.write
    writers |= {name: partial(_write_text, text) for name, text in texts.items()}
    writers |= {name: partial(_write_array, array) for name, array in arrays.items()}
    return writers


def _write_text(text: str, file: IO[bytes]) -> None:
    file.write(text.encode())


def _write_array(array: npt.NDArray[np.generic], file: IO[bytes]) -> None:
    np.lib.format.write_array(file, array, allow_pickle=False)


def _version_of(files: Mapping[str, FileFacts], created: int) -> str:
    """Returns a version that sorts by time and differs between bundles of one second."""
    together = "".join(f"{name} {facts.sha256}\n" for name, facts in sorted(files.items()))
    checksum = hashlib.sha256(together.encode()).hexdigest()[:_CHECKSUM_DIGITS]
    return f"{datetime.fromtimestamp(created, UTC):%Y%m%dT%H%M%SZ}-{checksum}"


def _manifest(
    contents: BundleContents, files: Mapping[str, FileFacts], name: str, version: str, created: int
) -> Manifest:
    """Returns the manifest of contents whose files have been written."""
    return Manifest(
        name=name,
        version=version,
        created=created,
        dim=contents.index.dim,
        n_items=contents.catalog.n_items,
        n_users=len(contents.user_ids),
        history_length=contents.history_length,
        has_item_bias=contents.has_item_bias,
        kinds=contents.kinds,
        query_inputs=Graph("query_tower.onnx", contents.query_tower, QUERY_INPUTS).inputs,
        item_inputs=Graph("item_tower.onnx", contents.item_tower, ITEM_INPUTS).inputs,
        index=IndexFacts(contents.index.config, contents.index_recall, contents.index_recall_k),
        metrics=dict(contents.metrics),
        config=dict(contents.config),
        files=dict(files),
    )
