"""Everything that training hands to serving, and how each part of it becomes a file.

Decides what a bundle holds and in which form. Leaves to others how files come to disk (see `publishing`) and
how they are read back (see `bundle`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import IO

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from marquee.bundle.click_counts import CLICK_COUNTS_FILE
from marquee.bundle.clicks.contents import GRAPH_FILE, SPEC_FILE, HeadContents
from marquee.bundle.graphs import ITEM_INPUTS, QUERY_INPUTS, Graph
from marquee.bundle.manifest import (
    GOLDEN_REQUESTS_FILE,
    INDEX_FILE,
    REFERENCE_FILE,
    IndexFacts,
    KnownUntil,
    Manifest,
    UserNames,
)
from marquee.bundle.popularity import ContextPopularity
from marquee.bundle.texts.contents import TextContents
from marquee.bundle.user_ids import MIN_USERS, user_id_arrays
from marquee.core.arrays import FloatArray
from marquee.core.catalog import Catalog
from marquee.core.event_kinds import EventKinds
from marquee.core.histories import Interactions
from marquee.core.ids import PADDING_INDEX, Ids
from marquee.errors import DataError, ShapeError
from marquee.features import FeatureArrays, FeatureEncoder
from marquee.index.index import Index
from marquee.index.sweep import IndexSweep
from marquee.store.files import FileFacts, FileWriter


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
        known_until: Up to where it knows what users did; None: up to when it was made.
        click_counts: How often items were shown and clicked, with `click_counts.COLUMNS`; None where no log
            tells.
        click_head: Says how likely clicks and conversions are; None where no exposures taught it.
        texts: So that items can be asked for by words; None where no feature of theirs is a text.
        user_names: What the names of the known users are.
        golden_requests: JSON of the requests that a service asks the bundle before anybody else does, with
            their answers.
        reference: JSON of the statistics that later logs are held against; empty for none.
        card: Text of each of `manifest.CARD_FILES`; empty for none.
    """

    query_tower: bytes
    item_tower: bytes
    index: Index
    index_recall: float
    index_recall_k: int
    has_item_bias: bool
    user_vectors: FloatArray
    user_ids: Ids
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
    known_until: KnownUntil | None = None
    click_counts: pl.DataFrame | None = None
    click_head: HeadContents | None = None
    texts: TextContents | None = None
    index_reason: str = ""
    index_sweeps: tuple[IndexSweep, ...] = ()
    context_popularity: ContextPopularity = field(default_factory=ContextPopularity)
    user_names: UserNames = UserNames.ids
    golden_requests: str = "[]"
    reference: str = ""
    card: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n_users, n_items = len(self.user_ids) + 1, self.catalog.n_items + 1
        # Arrays of two models may have one shape in all but the rows.
        rows = {
            "index.item_vectors": (len(self.index.item_vectors), n_items),
            "popularity": (len(self.popularity), n_items),
            "user_vectors": (len(self.user_vectors), n_users),
            "user_features": (len(self.user_features), n_users),
            "interactions.offsets": (len(self.interactions.offsets), n_users + 1),
        }
        if self.click_head is not None:
            rows["click_head.slots"] = (len(self.click_head.slots), n_items)
            rows["click_head.offsets"] = (len(self.click_head.offsets), n_users + 1)
        if self.texts is not None:
            rows["texts.lengths"] = (len(self.texts.lengths), n_items)
        for name, (actual, expected) in rows.items():
            if actual != expected:
                raise ShapeError(
                    f"{name} must have {expected} rows for {n_users - 1} users and {n_items - 1} items, "
                    f"got {actual}; pass the arrays of one model"
                )
        # Every fallback ranks by popularity: a single NaN would spoil all of them.
        impossible = np.flatnonzero(~(np.isfinite(self.popularity) & (self.popularity >= 0.0)))
        if impossible.size:
            raise DataError(
                f"popularity must be finite and 0 or more, got {self.popularity[impossible[0]]} at "
                f"item_index {impossible[0]}; count the interactions again"
            )


def known_interactions(contents: BundleContents) -> Interactions:
    """Returns the interactions of the known users."""
    # Row 0 holds the events of everybody unknown: nobody's history, and it would be served as one.
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
        known_until=contents.known_until or KnownUntil(timestamp=created),
        files=dict(files),
        users=contents.user_names,
    )


def file_writers(contents: BundleContents) -> dict[str, FileWriter]:
    """Returns how each file is written, the manifest excepted."""
    known = known_interactions(contents)
    texts = {
        # JSON, not one name a line: a name may hold a line feed.
        "user_ids.json": msgspec.json.encode(tuple(contents.user_ids.ids)).decode(),
        "query_features.json": contents.query_features.to_json(),
        "item_features.json": contents.item_features.to_json(),
        "context_popularity.json": contents.context_popularity.to_json(),
        GOLDEN_REQUESTS_FILE: contents.golden_requests,
    }
    if contents.reference:
        texts[REFERENCE_FILE] = contents.reference
    texts |= contents.card
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "item_vectors.npy": contents.index.item_vectors,
        "user_vectors.npy": contents.user_vectors.astype(np.float32, copy=False),
        "popularity.npy": contents.popularity.astype(np.float32, copy=False),
        "context_offsets.npy": contents.context_popularity.offsets,
        "context_items.npy": contents.context_popularity.items,
        "context_shares.npy": contents.context_popularity.shares,
        "history_offsets.npy": known.offsets,
        # Half of the bytes of the largest arrays after the vectors; a catalog has fewer than 2³¹ items.
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
    # An exact index is its vectors, and the manifest then expects no file for it.
    if contents.index.has_file:
        writers[INDEX_FILE] = contents.index.write
    if contents.click_counts is not None:
        writers[CLICK_COUNTS_FILE] = contents.click_counts.write_parquet
    if (head := contents.click_head) is not None:
        writers[GRAPH_FILE] = lambda file: file.write(head.graph)
        texts[SPEC_FILE] = head.spec.to_json()
        arrays |= head.arrays()
    if contents.texts is not None:
        arrays |= contents.texts.arrays()
    if len(contents.user_ids) >= MIN_USERS:
        arrays |= user_id_arrays(contents.user_ids.ids)
    writers |= {name: partial(_write_text, text) for name, text in texts.items()}
    writers |= {name: partial(_write_array, array) for name, array in arrays.items()}
    return writers


def _write_text(text: str, file: IO[bytes]) -> None:
    file.write(text.encode())


def _write_array(array: npt.NDArray[np.generic], file: IO[bytes]) -> None:
    # Trap: np.save would pickle an array of objects, and whoever reads it back would run code.
    np.lib.format.write_array(file, array, allow_pickle=False)
