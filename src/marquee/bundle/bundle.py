"""Reads a bundle, after proving that every byte is the one that was published.

Decides what a bundle must hold for serving. Leaves writing to `publishing` and answering to
`recommender`. Does not unpickle anything, follow a link, or read a file that the manifest does not name.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl
from polars.exceptions import PolarsError

from marquee.bundle.click_counts import CLICK_COUNTS_FILE, ClickCountTable
from marquee.bundle.clicks.contents import (
    GRAPH_FILE,
    HEAD_FILES,
    SPEC_FILE,
    HeadContents,
    HeadSpec,
    array_file,
)
from marquee.bundle.clicks.head import ClickHead
from marquee.bundle.contents import BundleContents, describe, known_interactions
from marquee.bundle.graphs import ITEM_INPUTS, QUERY_INPUTS, Graph
from marquee.bundle.manifest import (
    GOLDEN_REQUESTS_FILE,
    INDEX_FILE,
    MANIFEST,
    Manifest,
)
from marquee.bundle.popularity import ContextPopularity
from marquee.bundle.releases import resolve
from marquee.bundle.texts.contents import TEXT_FILES, TextContents, text_encoder, text_file
from marquee.bundle.texts.search import TextSearch
from marquee.bundle.user_ids import USER_ID_FILES, MappedIds, is_rising, user_file
from marquee.bundle.verifying import VerifiedFiles, verify_files
from marquee.core.arrays import FloatArray, IndexArray
from marquee.core.catalog import Catalog
from marquee.core.ids import IdMap, Ids
from marquee.errors import BundleError, MarqueeError
from marquee.features import FeatureArrays, FeatureEncoder
from marquee.index.index import Index
from marquee.store.files import read_regular_file
from marquee.store.signing import TrustedKeys

# What the readers of JSON, .npy and Parquet, and our own constructors, say of content that is not theirs.
_CONTENT_ERRORS = (MarqueeError, ValueError, TypeError, KeyError, OSError, EOFError, PolarsError)

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, eq=False, kw_only=True)
class Bundle:
    """A verified bundle; its large arrays are mapped into memory, shared between processes.

    Attributes:
        path: Its folder.
        manifest: What it says of itself.
        query_tower: User, features and history → query embedding.
        item_tower: Item features → item embedding.
        index: Finds items; holds the item vectors.
        user_ids: Names of the known users.
        user_vectors: (n_users + 1, user_dim) float32; row 0 is the unknown user.
        user_features: Of the known users, n_users + 1 rows.
        query_features: Encodes user and context features.
        item_features: Encodes item features.
        catalog: The items.
        popularity: Each item's share of all interactions, (n_items + 1,) float32.
        context_popularity: The same by context.
        click_counts: How often items were shown and clicked; None where no log told.
        click_head: Says how likely clicks and conversions are; None where no exposures taught it.
        texts: Finds items by words; None where no feature of theirs is a text.
        history_offsets: The events of user_index u are `history_offsets[u]:history_offsets[u + 1]` of the
            two arrays below, (n_users + 2,) int64.
        history_items: item_index, oldest first, (n_events,) int32.
        history_kinds: Rows of the event kinds, (n_events,) int32.
        golden_requests: Requests with the answers that the bundle gave when it was made, as JSON.
    """

    path: Path
    manifest: Manifest
    query_tower: Graph
    item_tower: Graph
    index: Index
    user_ids: Ids
    user_vectors: FloatArray
    user_features: FeatureArrays
    query_features: FeatureEncoder
    item_features: FeatureEncoder
    catalog: Catalog
    popularity: FloatArray
    context_popularity: ContextPopularity
    click_counts: ClickCountTable | None
    click_head: ClickHead | None
    texts: TextSearch | None
    history_offsets: IndexArray
    history_items: npt.NDArray[np.int32]
    history_kinds: npt.NDArray[np.int32]
    golden_requests: str

    @classmethod
    def load(
        cls,
        path: Path | str,
        trusted: TrustedKeys | None = None,
        verified: VerifiedFiles | None = None,
    ) -> "Bundle":
        """Returns the bundle at `path`: its folder, or a folder of bundles with a CURRENT one.

        Args:
            path: As above.
            trusted: One of these keys must have signed it; None to take it unsigned.
            verified: Notes of files that were read before on this machine; None to read every one.

        Raises:
            SignatureError: If it is not signed by a trusted key.
            BundleNotFoundError: If there is none.
            BundleVersionError: If it has a format that this release does not read.
            ChecksumError: If a file differs from the manifest.
            BundleError: If a file is missing, a link, or not what it should be.
        """
        folder = resolve(Path(path))
        # Read once: what is verified must be the very bytes that are used, whoever writes beside us.
        text = read_regular_file(folder / MANIFEST)
        # The signature first: until then not even the checksums are anybody's word.
        if trusted is not None:
            trusted.verify(folder, text)
        manifest = Manifest.from_json(text)
        verify_files(folder, text, manifest, verified)
        reader = _Reader(folder, manifest)
        bundle = reader.read()
        _validate_graphs(bundle)
        return bundle

    @classmethod
    def of(cls, contents: BundleContents, created: int) -> "Bundle":
        """Returns the bundle that contents would make, in memory: to ask it before it is published."""
        # There are no files yet, and no checksums: no answer depends on them.
        manifest = describe(contents, {}, "unpublished", "unpublished", created)
        known = known_interactions(contents)
        return cls(
            path=Path(),
            manifest=manifest,
            query_tower=Graph("query_tower.onnx", contents.query_tower, QUERY_INPUTS),
            item_tower=Graph("item_tower.onnx", contents.item_tower, ITEM_INPUTS),
            index=contents.index,
            user_ids=contents.user_ids,
            user_vectors=contents.user_vectors.astype(np.float32, copy=False),
            user_features=contents.user_features,
            query_features=contents.query_features,
            item_features=contents.item_features,
            catalog=contents.catalog,
            popularity=contents.popularity.astype(np.float32, copy=False),
            context_popularity=contents.context_popularity,
            click_counts=_count_table(contents.click_counts, contents.catalog.item_ids),
            click_head=None if contents.click_head is None else _head(contents.click_head, contents),
            texts=None if contents.texts is None else TextSearch(contents.texts, contents.item_features),
            history_offsets=known.offsets,
            history_items=known.item_index.astype(np.int32),
            history_kinds=known.kind_index.astype(np.int32),
            golden_requests=contents.golden_requests,
        )

    @cached_property
    def columns(self) -> frozenset[str]:
        """The attributes of users and of the moment that answers depend on."""
        features = [feature.column for feature in self.query_features.features]
        return frozenset((*features, *self.context_popularity.columns))

    def stop(self) -> None:
        """Ends what its towers are computing, for good: for a release that must not answer."""
        self.query_tower.stop()
        self.item_tower.stop()
        if self.click_head is not None:
            self.click_head.stop()

    @property
    def version(self) -> str:
        """Version of the bundle."""
        return self.manifest.version


class _Reader:
    """Reads the verified files of one bundle."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    def read(self) -> Bundle:
        """Returns the bundle; raises BundleError that names a file which is not what it should be."""
        facts, folder = self.manifest, self.folder
        users, items = facts.n_users + 1, facts.n_items + 1
        user_ids = self._user_ids()
        query_features = self._encoder("query_features.json")
        item_features = self._encoder("item_features.json")
        with self._blame("catalog.parquet"):
            # Through memory: Polars keeps files mapped, and a mapped file that is cut ends the process.
            catalog = Catalog.read_parquet(io.BytesIO((folder / "catalog.parquet").read_bytes()))
        self._require("user_ids.json", len(user_ids), facts.n_users)
        self._require("catalog.parquet", catalog.n_items, facts.n_items)
        item_vectors = self._array("item_vectors.npy", np.float32, (items, facts.dim))
        # No fact of the manifest says how long it is: the offsets must end where it does.
        items_of_history = self._array("history_items.npy", np.int32, (None,))
        ann = folder / INDEX_FILE if INDEX_FILE in facts.files else None
        with self._blame(GOLDEN_REQUESTS_FILE):
            golden = self._text(GOLDEN_REQUESTS_FILE)
        with self._blame(INDEX_FILE):
            index = Index.read(ann, item_vectors, facts.index.config)
        return Bundle(
            path=folder,
            manifest=facts,
            query_tower=Graph("query_tower.onnx", (folder / "query_tower.onnx").read_bytes(), QUERY_INPUTS),
            item_tower=Graph("item_tower.onnx", (folder / "item_tower.onnx").read_bytes(), ITEM_INPUTS),
            index=index,
            user_ids=user_ids,
            user_vectors=self._array("user_vectors.npy", np.float32, (users, None)),
            user_features=FeatureArrays(
                tokens=self._array("user_tokens.npy", np.int32, (users, query_features.n_token_columns)),
                numeric=self._array("user_numeric.npy", np.float32, (users, query_features.n_numeric)),
            ),
            query_features=query_features,
            item_features=item_features,
            catalog=catalog,
            popularity=self._array("popularity.npy", np.float32, (items,)),
            context_popularity=self._context_popularity(),
            click_counts=self._click_counts(catalog.item_ids),
            click_head=self._click_head(item_vectors),
            texts=self._texts(item_features),
            history_offsets=self._offsets(len(items_of_history)),
            history_items=items_of_history,
            history_kinds=self._array("history_kinds.npy", np.int32, items_of_history.shape),
            golden_requests=golden,
        )

    def _user_ids(self) -> Ids:
        """Returns the names of the users, of many as they lie in files."""
        found = USER_ID_FILES & set(self.manifest.files)
        if not found:
            with self._blame("user_ids.json"):
                return IdMap(msgspec.json.decode(self._text("user_ids.json"), type=tuple[str, ...]))
        self._require("the files of user ids", sorted(found), sorted(USER_ID_FILES))
        with self._blame(user_file("text")):
            return MappedIds.read(self._array, self.manifest.n_users)

    def _text(self, name: str) -> str:
        return (self.folder / name).read_text(encoding="utf-8")

    def _encoder(self, name: str) -> FeatureEncoder:
        with self._blame(name):
            return FeatureEncoder.from_json(self._text(name))

    def _context_popularity(self) -> ContextPopularity:
        """Returns the popularity by context; raises BundleError unless all of it is in the catalog."""
        offsets = self._array("context_offsets.npy", np.int64, (None,))
        items = self._array("context_items.npy", np.int32, (None,))
        shares = self._array("context_shares.npy", np.float32, items.shape)
        self._require("context_offsets.npy", int(offsets[-1]) if len(offsets) else None, len(items))
        # Once here, so that no request need look whether an index is one of the catalog's.
        is_known = (items > 0) & (items <= self.manifest.n_items)
        self._require("context_items.npy", bool(is_known.all()), True)
        self._require("context_shares.npy", bool(np.isfinite(shares).all()), True)
        with self._blame("context_popularity.json"):
            return ContextPopularity.from_json(self._text("context_popularity.json"), offsets, items, shares)

    def _click_counts(self, item_ids: IdMap) -> ClickCountTable | None:
        """Returns how often items were shown and clicked, None if the bundle does not say."""
        if CLICK_COUNTS_FILE not in self.manifest.files:
            return None
        with self._blame(CLICK_COUNTS_FILE):
            # Through memory, as the catalog.
            frame = pl.read_parquet(io.BytesIO((self.folder / CLICK_COUNTS_FILE).read_bytes()))
            return _count_table(frame, item_ids)

    def _click_head(self, item_vectors: FloatArray) -> ClickHead | None:
        """Returns the click head, None if the bundle has none."""
        found = HEAD_FILES & set(self.manifest.files)
        if not found:
            return None
        self._require("the files of the click head", sorted(found), sorted(HEAD_FILES))
        with self._blame(SPEC_FILE):
            spec = HeadSpec.from_json(self._text(SPEC_FILE))
        n_users, items = self.manifest.n_users, self.manifest.n_items + 1
        n_slots = sum(column.n_columns for column in spec.item_columns)
        shown = self._array(array_file("shown_items"), np.int32, (None,))
        self._require(array_file("shown_items"), bool(((shown > 0) & (shown < items)).all()), True)
        with self._blame(SPEC_FILE):
            contents = HeadContents(
                graph=(self.folder / GRAPH_FILE).read_bytes(),
                spec=spec,
                counts=self._array(array_file("counts"), np.float32, (None, 2)),
                slots=self._array(array_file("slots"), np.int32, (items, n_slots)),
                numbers=self._array(array_file("numbers"), np.float32, (items, None)),
                offsets=self._array(array_file("offsets"), np.int64, (n_users + 2,)),
                shown_items=shown,
                shown_expected=self._array(array_file("shown_expected"), np.float32, shown.shape),
                shown_came=self._array(array_file("shown_came"), np.bool_, shown.shape),
                shown_at=self._array(array_file("shown_at"), np.int64, shown.shape),
            )
        return ClickHead(contents, item_vectors, has_item_bias=self.manifest.has_item_bias)

    def _texts(self, item_features: FeatureEncoder) -> TextSearch | None:
        """Returns the texts of the items, None if the bundle has none."""
        found = TEXT_FILES & set(self.manifest.files)
        if not found:
            return None
        self._require("the files of texts", sorted(found), sorted(TEXT_FILES))
        n_pieces = text_encoder(item_features).n_token_rows
        with self._blame(text_file("items")):
            contents = TextContents.read(self._array, self.manifest.n_items, self.manifest.dim, n_pieces)
        return TextSearch(contents, item_features)

    def _offsets(self, n_events: int) -> IndexArray:
        """Returns the offsets of the histories; raises BundleError unless they part all events."""
        offsets = self._array("history_offsets.npy", np.int64, (self.manifest.n_users + 2,))
        self._require("history_offsets.npy", (int(offsets[0]), int(offsets[-1])), (0, n_events))
        # Falling offsets would give one user the history of another.
        self._require("history_offsets.npy", is_rising(offsets), True)
        return offsets

    def _array(self, name: str, dtype: type[Scalar], shape: tuple[int | None, ...]) -> npt.NDArray[Scalar]:
        """Returns an array, mapped into memory; None in `shape` for any length."""
        with self._blame(name):
            # No pickle: an array of objects would run code of whoever wrote it.
            mapped = np.load(self.folder / name, mmap_mode="r", allow_pickle=False)
        self._require(name, mapped.dtype, np.dtype(dtype))
        actual = mapped.shape
        # Before the lengths: zip would raise an error that names no file.
        self._require(name, len(actual), len(shape))
        self._require(name, actual, tuple(a if e is None else e for a, e in zip(actual, shape, strict=True)))
        # Trap: every slice of a memmap is a memmap again, which costs more than a small search.
        array: npt.NDArray[Scalar] = mapped.view(np.ndarray)
        return array

    def _require(self, name: str, actual: object, expected: object) -> None:
        """Raises BundleError that names the file if two facts about it differ."""
        if actual != expected:
            raise BundleError(f"{name} in {self.folder} says {actual}, expected {expected}; export again")

    @contextmanager
    def _blame(self, name: str) -> Iterator[None]:
        """Turns any error about the content of a file into a BundleError that names it."""
        try:
            yield
        # It names its file already.
        except BundleError:
            raise
        except _CONTENT_ERRORS as error:
            raise BundleError(f"{name} in {self.folder} cannot be read ({error!r}); export again") from error


def _head(head: HeadContents, contents: BundleContents) -> ClickHead:
    """Returns the head of contents that are not published."""
    return ClickHead(head, contents.index.item_vectors, has_item_bias=contents.has_item_bias)


def _count_table(frame: pl.DataFrame | None, item_ids: IdMap) -> ClickCountTable | None:
    """Returns the counts of a frame, None for none."""
    return None if frame is None else ClickCountTable.of(frame, item_ids)


def _validate_graphs(bundle: Bundle) -> None:
    """Raises BundleError unless the graphs want what the manifest says."""
    for graph, inputs in (
        (bundle.query_tower, bundle.manifest.query_inputs),
        (bundle.item_tower, bundle.manifest.item_inputs),
    ):
        # Found here, not at the first request: only what the manifest names is fed.
        if graph.inputs != inputs:
            raise BundleError(f"{graph.name} wants inputs {graph.inputs}, expected {inputs}; export again")
