"""A tiny but real bundle: graphs written by hand, small whole numbers, so that every sum is exact.

The query tower adds up the user's vector, the history's item vectors times the row of their kind, one row
of a small table per token, and the numeric features; the item tower adds the id's vector to its tokens' rows.
What they make of a request can therefore be worked out in the head (see `Tiny.query`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import polars as pl
from onnx import TensorProto, helper, numpy_helper

from marquee.bundle.contents import BundleContents
from marquee.bundle.graphs import QUERY_INPUTS
from marquee.bundle.popularity import ContextPopularity
from marquee.bundle.publishing import publish
from marquee.core.arrays import FloatArray
from marquee.core.catalog import Catalog
from marquee.core.event_kinds import EventKinds, KindConfig
from marquee.core.histories import Interactions
from marquee.core.ids import IdMap
from marquee.features import FeatureArrays, FeatureConfig, FeatureEncoder, FeatureType
from marquee.index.building import build_index, measure_recall
from marquee.index.faiss_index import IndexConfig
from marquee.index.sweep import IndexSweep, SweepPoint
from marquee.store.signing import SigningKey

CREATED = 1_700_000_000
NOW = CREATED + 100
"""A time at which most items of the tiny catalog are available."""

OPENS = NOW - 10
CLOSES = NOW + 10

HISTORY_LENGTH = 4
N_USERS = 6
N_ITEMS = 24
DIM = 4
QUERY_FEATURES = {
    "age": FeatureConfig(type=FeatureType.numeric),
    "city": FeatureConfig(),
    "device": FeatureConfig(),
}
KINDS = EventKinds({"click": KindConfig(), "rating": KindConfig(edges=[4.0])})


def query_tower(table: FloatArray, n_numeric: int, inputs: frozenset[str] = QUERY_INPUTS) -> bytes:
    """Returns a query tower that adds up those of its inputs that it is to have.

    Args:
        table: Rows of the tokens, (n_token_rows, dim).
        n_numeric: Columns of `numeric`, each added to every coordinate.
        inputs: Inputs that the tower declares.
    """
    dim = table.shape[1]
    nodes, terms = [], []
    if "user_vector" in inputs:
        terms.append("user_vector")
    if "tokens" in inputs:
        nodes += _token_nodes()
        terms.append("token_sum")
    if "numeric" in inputs:
        nodes.append(helper.make_node("MatMul", ["numeric", "ones"], ["numeric_sum"]))
        terms.append("numeric_sum")
    if "history_vectors" in inputs:
        nodes += [
            helper.make_node("Cast", ["history_kinds"], ["kind_weight"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["kind_weight", "last_axis"], ["kind_column"]),
            helper.make_node("Mul", ["history_vectors", "kind_column"], ["weighted"]),
            helper.make_node("ReduceSum", ["weighted", "axis_1"], ["history_sum"], keepdims=0),
        ]
        terms.append("history_sum")
    nodes.append(helper.make_node("Sum", terms, ["query_embedding"]))
    shapes: dict[str, tuple[int, list[str | int]]] = {
        "user_vector": (TensorProto.FLOAT, ["batch", dim]),
        "tokens": (TensorProto.INT64, ["batch", "n_token_columns"]),
        "numeric": (TensorProto.FLOAT, ["batch", n_numeric]),
        "history_vectors": (TensorProto.FLOAT, ["batch", "length", dim]),
        "history_kinds": (TensorProto.INT64, ["batch", "length"]),
    }
    constants = {
        "table": table,
        "ones": np.ones((n_numeric, dim), dtype=np.float32),
        "axis_1": np.array([1]),
        "last_axis": np.array([2]),
    }
    return _graph(
        nodes, {name: shapes[name] for name in shapes if name in inputs}, constants, "query_embedding", dim
    )


def item_tower(table: FloatArray) -> bytes:
    """Returns an item tower that adds the id's vector and the rows of the tokens, (n_token_rows, dim)."""
    dim = table.shape[1]
    nodes = [*_token_nodes(), helper.make_node("Sum", ["id_vector", "token_sum"], ["item_embedding"])]
    shapes: dict[str, tuple[int, list[str | int]]] = {
        "id_vector": (TensorProto.FLOAT, ["batch", dim]),
        "tokens": (TensorProto.INT64, ["batch", "n_token_columns"]),
    }
    return _graph(nodes, shapes, {"table": table, "axis_1": np.array([1])}, "item_embedding", dim)


@dataclass(frozen=True)
class Tiny:
    """The contents of a tiny bundle with the tables behind its towers.

    Attributes:
        contents: What `publish` takes.
        query_table: Rows of the query tokens, (n_token_rows, dim).
    """

    contents: BundleContents
    query_table: FloatArray

    def query(
        self,
        user_index: int = 0,
        history: Sequence[tuple[int, int]] = (),
        tokens: Sequence[int] = (),
        numeric: Sequence[float] = (),
    ) -> FloatArray:
        """Returns the query tower's output, (dim,); history as (item_index, kind_index)."""
        vectors = self.contents.index.item_vectors
        total = self.contents.user_vectors[user_index].copy()
        for item, kind in history[-HISTORY_LENGTH:]:
            total += kind * vectors[item]
        for token in tokens:
            total += self.query_table[token]
        result: FloatArray = total + np.float32(sum(numeric))
        return result


def make_tiny(
    seed: int = 0,
    *,
    n_items: int = N_ITEMS,
    n_users: int = N_USERS,
    dim: int = DIM,
    inputs: frozenset[str] = QUERY_INPUTS,
    index: IndexConfig | None = None,
    has_item_bias: bool = False,
) -> Tiny:
    """Returns the contents of a bundle; the same arguments give the same numbers.

    Items are i001, i002, …: every fourth is an ad, every fifth opens at `OPENS`, every sixth closes at
    `CLOSES`; the last one has the vector of the one before. Users are u1, u2, …: the last one has no history.
    """
    rng = np.random.default_rng(seed)
    item_ids = IdMap(tuple(f"i{number:03d}" for number in range(1, n_items + 1)))
    user_ids = IdMap(tuple(f"u{number}" for number in range(1, n_users + 1)))
    query_features, user_features = _users(n_users)
    item_features = FeatureEncoder.fit({"genre": FeatureConfig()}, {"genre": ["drama", "comedy"]})
    query_table = _whole_numbers(rng, query_features.n_token_rows, dim)
    item_vectors = _whole_numbers(rng, n_items + 1, dim)
    item_vectors[-1] = item_vectors[-2]
    built = build_index(item_vectors, index or IndexConfig())
    interactions = _interactions(rng, n_users, n_items)
    counts = np.bincount(interactions.item_index, minlength=n_items + 1).astype(np.float32)
    contents = BundleContents(
        query_tower=query_tower(query_table, query_features.n_numeric, inputs),
        item_tower=item_tower(_whole_numbers(rng, item_features.n_token_rows, dim)),
        index=built,
        index_recall=measure_recall(built, item_vectors[1:], 5),
        index_recall_k=5,
        index_reason="measured by hand",
        index_sweeps=(IndexSweep("hnsw", "ef_search", 8, (SweepPoint(8, 0.75, 0.5, 0.625),), 2.0, 5, 9),),
        has_item_bias=has_item_bias,
        user_vectors=_whole_numbers(rng, n_users + 1, dim),
        user_ids=user_ids,
        user_features=user_features,
        query_features=query_features,
        item_features=item_features,
        kinds=KINDS,
        history_length=HISTORY_LENGTH,
        interactions=interactions,
        catalog=Catalog.build(_items(item_ids), item_ids),
        popularity=counts / counts.sum(),
        context_popularity=make_context_popularity(n_items),
        metrics={"ndcg@10": 0.25},
        config={"seed": seed, "model": {"dim": dim}},
    )
    return Tiny(contents=contents, query_table=query_table)


def make_context_popularity(n_items: int) -> ContextPopularity:
    """Returns popularity on two surfaces and at two hours, half as high for every other item."""
    return ContextPopularity(
        columns=("surface", "hour"),
        values=(("surface", "home"), ("surface", "video"), ("hour", "0")),
        rests=(0.5, 0.5, 0.5),
        offsets=np.array([0, 2, 2, 3]),
        items=np.array([min(7, n_items), 1, min(2, n_items)], dtype=np.int32),
        shares=np.array([0.25, 0.125, 0.5], dtype=np.float32),
    )


def publish_tiny(
    folder: Path,
    name: str = "tiny",
    seed: int = 0,
    *,
    signing_key: SigningKey | None = None,
    **changes: object,
) -> Path:
    """Publishes a tiny bundle below `folder` and returns its own folder.

    Args:
        folder: Where bundles of all names live.
        name: Of the channel.
        seed: Of the numbers in it; bundles of higher seeds are newer.
        signing_key: As in `publish`.
        changes: Fields of the contents to be replaced.
    """
    contents = replace(make_tiny(seed).contents, **changes)  # type: ignore[arg-type]  # fields of any type
    return publish(contents, folder, name, created=CREATED + seed, signing_key=signing_key)


def _users(n_users: int) -> tuple[FeatureEncoder, FeatureArrays]:
    """Returns the encoder of users and context and the rows of the users; of the context they say nothing."""
    columns: dict[str, list[object]] = {
        "age": [40 - 20 * (user % 2) for user in range(1, n_users + 1)],  # standardised: -1 and 1
        "city": ["oslo" if user % 2 else "rome" for user in range(1, n_users + 1)],
        "device": ["phone" if user % 2 else "desk" for user in range(1, n_users + 1)],
    }
    encoder = FeatureEncoder.fit(QUERY_FEATURES, columns)
    del columns["device"]
    rows = {name: [None, *values] for name, values in columns.items()}
    return encoder, encoder.encode(rows, n_users + 1)


def tags_of(number: int) -> list[str] | None:
    """Returns the tags of an item: those of its divisors, none at all for every seventh."""
    return None if number % 7 == 0 else [f"by {divisor}" for divisor in (2, 3, 5) if number % divisor == 0]


def year_of(number: int) -> int | None:
    """Returns the year of an item; every eighth has none."""
    return 1990 + number if number % 8 else None


def _items(item_ids: IdMap) -> pl.DataFrame:
    """Returns the items table."""
    numbers = range(1, len(item_ids) + 1)
    return pl.DataFrame(
        {
            "item_id": item_ids.ids,
            "kind": ["content" if number % 4 else "ad" for number in numbers],
            "available_from": [None if number % 5 else OPENS for number in numbers],
            "available_until": [None if number % 6 else CLOSES for number in numbers],
            "genre": ["drama" if number % 2 else "comedy" for number in numbers],
            "tags": [tags_of(number) for number in numbers],
            "year": [year_of(number) for number in numbers],
        },
        schema_overrides={"available_from": pl.Int64, "available_until": pl.Int64},
    )


def _interactions(rng: np.random.Generator, n_users: int, n_items: int) -> Interactions:
    """Returns random events; the last user has none, the unknown one has one."""
    user_index = np.concatenate(([0], np.repeat(np.arange(1, n_users), 6)))
    n_events = len(user_index)
    return Interactions.group(
        user_index=user_index,
        item_index=rng.integers(1, n_items + 1, n_events),
        kind_index=rng.integers(1, len(KINDS.names) + 1, n_events),
        timestamp=np.arange(n_events),
        weight=np.ones(n_events, dtype=np.float32),
        n_users=n_users,
    )


def _whole_numbers(rng: np.random.Generator, n_rows: int, dim: int) -> FloatArray:
    """Returns rows of small whole numbers, row 0 zeros."""
    rows = rng.integers(-3, 4, (n_rows, dim)).astype(np.float32)
    rows[0] = 0.0
    return rows


def _token_nodes() -> list[onnx.NodeProto]:
    """Returns the sum of the table rows of the tokens."""
    return [
        helper.make_node("Gather", ["table", "tokens"], ["token_rows"]),
        helper.make_node("ReduceSum", ["token_rows", "axis_1"], ["token_sum"], keepdims=0),
    ]


def _graph(
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, tuple[int, list[str | int]]],
    constants: dict[str, npt.NDArray[np.generic]],
    output: str,
    dim: int,
) -> bytes:
    """Returns a checked model of the nodes, with those constants that they use."""
    used = {name for node in nodes for name in node.input}
    model = helper.make_model(
        helper.make_graph(
            nodes,
            output,
            [helper.make_tensor_value_info(name, *facts) for name, facts in inputs.items()],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", dim])],
            [numpy_helper.from_array(value, name) for name, value in constants.items() if name in used],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())
