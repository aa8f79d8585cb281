"""Writes a bundle whole or not at all.

```
bundles/<name>/.lock          held while publishing: one publisher at a time
bundles/<name>/.publishing/   1. every file, forced to disk, the manifest last
bundles/<name>/<version>/     2. the folder above, renamed
bundles/<name>/CURRENT        3. the version, written aside and renamed (see `pointers`)
```

A publisher that dies leaves the old bundle current and at most a `.publishing` folder, which the next
one sweeps. A version is never written twice: servers map its files into memory.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from marquee.bundle.graphs import ITEM_INPUTS, QUERY_INPUTS, Graph
from marquee.bundle.manifest import (
    GOLDEN_REQUESTS_FILE,
    INDEX_FILE,
    MANIFEST,
    IndexFacts,
    Manifest,
    validate_name,
)
from marquee.bundle.popularity import ContextPopularity
from marquee.bundle.releases import set_current
from marquee.core.arrays import FloatArray
from marquee.core.catalog import Catalog
from marquee.core.event_kinds import EventKinds
from marquee.core.histories import Interactions
from marquee.core.ids import PADDING_INDEX, IdMap
from marquee.errors import BundleError, ChecksumError, DataError, ShapeError
from marquee.features import FeatureArrays, FeatureEncoder
from marquee.index.index import Index
from marquee.index.sweep import IndexSweep
from marquee.store.files import (
    CHUNK_BYTES,
    FileFacts,
    FileWriter,
    announce_step,
    only_publisher,
    read_regular_file,
    replace_file,
    sync_folder,
    write_file,
)
from marquee.store.signing import SIGNATURE, SigningKey

_UNFINISHED = ".publishing"
_CHECKSUM_DIGITS = 8


@dataclass(frozen=True, kw_only=True)
class BundleContents:
    """Everything that training hands to serving.

    Attributes:
        query_tower: ONNX graph with inputs among `graphs.QUERY_INPUTS`.
        item_tower: ONNX graph with inputs among `graphs.ITEM_INPUTS`.
        index: Of the item vectors, which it holds.
        index_recall: Share of the exact answer that it finds for the catalog's own users.
        index_recall_k: Length of the answers compared.
        index_reason: Why it is this index.
        index_sweeps: What was measured at other efforts, and of other kinds.
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
        context_popularity: The same by context, of no context by default.
        metrics: What the model reached offline, by name.
        config: The resolved configuration, plain JSON.
        golden_requests: JSON of the requests that a service asks the bundle before anybody else does, with
            their answers.
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
    index_reason: str = ""
    index_sweeps: tuple[IndexSweep, ...] = ()
    context_popularity: ContextPopularity = field(default_factory=ContextPopularity)
    golden_requests: str = "[]"

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

    def write(unfinished: Path) -> Manifest:
        files = {file: write_file(unfinished / file, writer) for file, writer in _writers(contents).items()}
        return describe(contents, files, name, version or _version_of(files, created), created)

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
    manifest = Manifest.from_json(read_regular_file(bundle / MANIFEST))

    def write(unfinished: Path) -> Manifest:
        for name, expected in manifest.files.items():
            if write_file(unfinished / name, partial(_copy_file, bundle / name)) != expected:
                raise ChecksumError(f"{name} in {bundle} is not what its manifest says; export it again")
        if (bundle / SIGNATURE).exists() and signing_key is None:
            write_file(unfinished / SIGNATURE, partial(_copy_file, bundle / SIGNATURE))
        return manifest

    home = Path(folder) / manifest.name
    return _Publication(home, signing_key, is_activated).run(write, manifest)


def sign(bundle: Path, signing_key: SigningKey) -> None:
    """Signs a published bundle, in place of any signature that it has.

    Raises:
        BundleError: If it has no manifest, or a publisher is at work.
    """
    with only_publisher(bundle.parent):
        replace_file(bundle / SIGNATURE, signing_key.sign(read_regular_file(bundle / MANIFEST)))


@dataclass(frozen=True)
class _Publication:
    """How a version comes into the folder of its channel."""

    home: Path
    signing_key: SigningKey | None
    is_activated: bool

    def run(self, write: Callable[[Path], Manifest], known: Manifest | None = None) -> Path:
        """Writes a version aside, renames it into place and returns its folder.

        Args:
            write: Writes every file but the manifest into a folder and returns the manifest.
            known: What `write` will return, where that is known: the version is kept if it is there.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        unfinished = self.home / _UNFINISHED
        with only_publisher(self.home):
            shutil.rmtree(unfinished, ignore_errors=True)  # of a publisher that died: we hold the lock
            try:
                target = self._kept(known) if known else None
                if target is None:
                    target = self._write(unfinished, write)
                if self.is_activated:
                    set_current(target)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
        return target

    def _kept(self, manifest: Manifest) -> Path | None:
        """Returns the folder of a version that is there already, signed anew if there is a key."""
        target = self.home / manifest.version
        if not target.exists():
            return None
        if read_regular_file(target / MANIFEST) != manifest.to_json().encode():
            raise BundleError(
                f"bundle {manifest.name} {manifest.version} exists already and is another one; publish under "
                "another version"
            )
        if self.signing_key is not None:
            signature = self.signing_key.sign(manifest.to_json().encode())
            replace_file(target / SIGNATURE, signature)
        return target

    def _write(self, unfinished: Path, write: Callable[[Path], Manifest]) -> Path:
        """Writes all files aside, then renames their folder to that of the version, which it returns."""
        announce_step("create the folder")
        unfinished.mkdir()
        manifest = write(unfinished)
        target = self.home / manifest.version
        if target.exists():
            raise BundleError(
                f"bundle {manifest.name} {manifest.version} exists already; publish under another version"
            )
        text = manifest.to_json().encode()
        if self.signing_key is not None:
            signature = self.signing_key.sign(text)
            write_file(unfinished / SIGNATURE, lambda file: file.write(signature))
        write_file(unfinished / MANIFEST, lambda file: file.write(text))
        sync_folder(unfinished)
        announce_step(f"rename the folder to {manifest.version}")
        unfinished.rename(target)
        sync_folder(self.home)
        return target


def _copy_file(source: Path, file: IO[bytes]) -> None:
    """Writes what stands in a file."""
    with source.open("rb") as original:
        while chunk := original.read(CHUNK_BYTES):
            file.write(chunk)


def _writers(contents: BundleContents) -> dict[str, FileWriter]:
    """Returns how each file is written, the manifest excepted."""
    known = known_interactions(contents)
    texts = {
        "user_ids.json": json.dumps(contents.user_ids.ids, ensure_ascii=False),
        "query_features.json": contents.query_features.to_json(),
        "item_features.json": contents.item_features.to_json(),
        "context_popularity.json": contents.context_popularity.to_json(),
        GOLDEN_REQUESTS_FILE: contents.golden_requests,
    }
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "item_vectors.npy": contents.index.item_vectors,
        "user_vectors.npy": contents.user_vectors.astype(np.float32, copy=False),
        "popularity.npy": contents.popularity.astype(np.float32, copy=False),
        "context_offsets.npy": contents.context_popularity.offsets,
        "context_items.npy": contents.context_popularity.items,
        "context_shares.npy": contents.context_popularity.shares,
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


def known_interactions(contents: BundleContents) -> Interactions:
    """Returns what the known users did."""
    return contents.interactions.take(contents.interactions.user_index != PADDING_INDEX)


def describe(
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
        index=IndexFacts(
            contents.index.config,
            contents.index_recall,
            contents.index_recall_k,
            contents.index_reason,
            contents.index_sweeps,
        ),
        metrics=dict(contents.metrics),
        config=dict(contents.config),
        files=dict(files),
    )
