"""A bundle to measure serving with: clustered items, a tower that adds a history up, an HNSW index.

Nothing is trained: what a request costs does not depend on what the weights have learned, and how well the
index finds what an exact search finds is measured on the very queries that are sent.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import polars as pl
from onnx import TensorProto, helper, numpy_helper

from marquee.bundle.contents import BundleContents
from marquee.bundle.publishing import publish
from marquee.core.arrays import FloatArray, IndexArray
from marquee.core.catalog import Catalog
from marquee.core.event_kinds import EventKinds, KindConfig
from marquee.core.histories import Interactions
from marquee.core.ids import IdMap
from marquee.features import FeatureArrays, FeatureEncoder
from marquee.index.building import build_index, measure_recall
from marquee.index.choice import EFFORTS
from marquee.index.faiss_index import IndexConfig, IndexKind
from marquee.index.index import Index

DIM = 64
HIDDEN = 128
HISTORY_LENGTH = 50
N_HISTORIES = 500
RECALL_K = 10
MIN_RECALL = 0.98
CLUSTER_SIZE = 100
SPREAD = np.float32(0.6)


@dataclass(frozen=True)
class Made:
    """A published bundle and histories to ask it with.

    Attributes:
        folder: Its own folder.
        ef_search: Effort of its searches.
        recall: Share of the exact top `RECALL_K` that its index finds with that effort.
        histories: Item ids, one history each.
        vectors: Embeddings of the items, (n_items + 1, DIM) float32.
        queries: Embeddings of the histories, (N_HISTORIES, DIM) float32.
    """

    folder: Path
    ef_search: int
    recall: float
    histories: list[list[str]]
    vectors: FloatArray
    queries: FloatArray


@dataclass(frozen=True)
class Users:
    """The users of a bundle: how many, the length of their vectors, and of their histories."""

    n: int = 1000
    dim: int = 1
    n_events: int = 1


FEW_USERS = Users()


def make_bundle(
    folder: Path, n_items: int, ef_search: int | None, seed: int = 0, users: Users = FEW_USERS
) -> Made:
    """Publishes a bundle of `n_items` items below `folder`.

    Args:
        folder: Receives it.
        n_items: Items of the catalog.
        ef_search: Effort of a search; None for the least of `EFFORTS` that finds `MIN_RECALL`.
        seed: Of everything that is drawn.
        users: Of the bundle.
    """
    rng = np.random.default_rng(seed)
    vectors, cluster = clustered_vectors(rng, n_items)
    hidden = 0.1 * rng.standard_normal((DIM, HIDDEN), dtype=np.float32)
    output = 0.1 * rng.standard_normal((HIDDEN, DIM), dtype=np.float32)
    index = build_index(vectors, IndexConfig(kind=IndexKind.hnsw, n_build_threads=2))
    histories = _histories(rng, cluster, N_HISTORIES)
    means = vectors[histories].mean(axis=1)
    queries = means + np.maximum(means @ hidden, 0.0) @ output
    for effort in EFFORTS if ef_search is None else (ef_search,):
        index.config.ef_search = effort
        recall = measure_recall(index, queries, RECALL_K)
        if recall >= MIN_RECALL:
            break
    contents = make_contents(rng, make_query_tower(hidden, output), vectors, index, recall, users)
    path = publish(contents, folder, f"bench-{n_items}", created=int(time.time()))
    names = contents.catalog.item_ids
    return Made(
        folder=path,
        ef_search=index.config.ef_search,
        recall=recall,
        histories=[list(names.decode(history.tolist())) for history in histories],
        vectors=vectors,
        queries=queries,
    )


def make_contents(
    rng: np.random.Generator, tower: bytes, vectors: FloatArray, index: Index, recall: float, users: Users
) -> BundleContents:
    """Returns everything that a bundle holds."""
    n_items = len(vectors) - 1
    item_ids = _names("item", n_items)
    no_features = FeatureEncoder.fit({}, {})
    popularity = rng.random(n_items + 1, dtype=np.float32)
    return BundleContents(
        query_tower=tower,
        item_tower=_item_tower(),
        index=index,
        index_recall=recall,
        index_recall_k=RECALL_K,
        has_item_bias=False,
        user_vectors=np.zeros((users.n + 1, users.dim), dtype=np.float32),
        user_ids=_names("user", users.n),
        user_features=FeatureArrays(
            np.zeros((users.n + 1, 0), dtype=np.int32), np.zeros((users.n + 1, 0), dtype=np.float32)
        ),
        query_features=no_features,
        item_features=no_features,
        kinds=EventKinds({"click": KindConfig()}),
        history_length=HISTORY_LENGTH,
        interactions=Interactions.group(
            user_index=np.arange(1, users.n + 1).repeat(users.n_events),
            item_index=rng.integers(1, n_items + 1, users.n * users.n_events),
            kind_index=np.ones(users.n * users.n_events, dtype=np.int64),
            timestamp=np.arange(users.n * users.n_events),
            weight=np.ones(users.n * users.n_events, dtype=np.float32),
            n_users=users.n,
        ),
        catalog=Catalog.build(pl.DataFrame({"item_id": item_ids.ids}), item_ids),
        popularity=popularity / popularity.sum(),
        metrics={},
        config={},
    )


def _names(what: str, n: int) -> IdMap:
    """Returns the ids of n things."""
    return IdMap(tuple(f"{what}-{number}" for number in range(1, n + 1)))


def clustered_vectors(rng: np.random.Generator, n_items: int) -> tuple[FloatArray, IndexArray]:
    """Returns item vectors around centres, (n_items + 1, DIM), and the centre of each item."""
    n_clusters = max(1, n_items // CLUSTER_SIZE)
    centres = rng.standard_normal((n_clusters, DIM), dtype=np.float32)
    cluster = rng.integers(0, n_clusters, n_items + 1)
    noise = rng.standard_normal((n_items + 1, DIM), dtype=np.float32)
    vectors: FloatArray = (centres[cluster] + SPREAD * noise) * np.float32(DIM**-0.5)
    vectors[0] = 0.0
    return vectors, cluster


def _histories(rng: np.random.Generator, cluster: IndexArray, n: int) -> IndexArray:
    """Returns the items of n users, each with a taste for a few clusters, (n, HISTORY_LENGTH)."""
    by_cluster = np.argsort(cluster[1:], kind="stable") + 1
    starts = rng.integers(0, max(1, len(by_cluster) - HISTORY_LENGTH), n)
    histories: IndexArray = by_cluster[starts[:, None] + np.arange(HISTORY_LENGTH)]
    return histories


def make_query_tower(hidden: FloatArray, output: FloatArray) -> bytes:
    """Returns a tower: the mean of the history, plus a network of one hidden layer over it."""
    nodes = [
        helper.make_node("ReduceSum", ["history_vectors", "axis"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "share"], ["mean"]),
        helper.make_node("MatMul", ["mean", "hidden"], ["before"]),
        helper.make_node("Relu", ["before"], ["after"]),
        helper.make_node("MatMul", ["after", "output"], ["change"]),
        helper.make_node("Add", ["mean", "change"], ["query_embedding"]),
    ]
    constants: dict[str, npt.NDArray[np.generic]] = {
        "axis": np.array([1]),
        "share": np.array(1 / HISTORY_LENGTH, dtype=np.float32),
        "hidden": hidden,
        "output": output,
    }
    return _graph(nodes, {"history_vectors": ["batch", "length", DIM]}, constants, "query_embedding")


def _item_tower() -> bytes:
    """Returns a tower that gives an item the vector of its id."""
    nodes = [helper.make_node("Identity", ["id_vector"], ["item_embedding"])]
    return _graph(nodes, {"id_vector": ["batch", DIM]}, {}, "item_embedding")


def _graph(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, list[str | int]],
    constants: dict[str, npt.NDArray[np.generic]],
    output: str,
) -> bytes:
    """Returns an ONNX model of the nodes."""
    kind = TensorProto.FLOAT
    model = helper.make_model(
        helper.make_graph(
            nodes,
            output,
            [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()],
            [helper.make_tensor_value_info(output, kind, ["batch", DIM])],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    return bytes(model.SerializeToString())
