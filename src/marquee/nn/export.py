"""Turns a trained model into graphs and tables for serving, and proves that they say the same.

The graphs are the two towers; the id tables and the item vectors stay arrays (see `towers`). Parity with
onnxruntime is proved on the very model that is exported, for batches and history lengths that the
tracing never saw; a difference stops the export.
"""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim

from marquee.bundle.graphs import ITEM_INPUTS, QUERY_INPUTS, Graph
from marquee.core.arrays import FloatArray
from marquee.data.dataset import QueryArrays
from marquee.errors import ParityError
from marquee.index.ranking import inner_product_scores, rank
from marquee.nn.embed import BLOCK_ROWS, embed_catalog, embed_queries, evaluation_mode
from marquee.nn.models import TwoTower

OPSET = 20
TOLERANCE = 1e-5
PARITY_BATCHES = (1, 2, 7)
PARITY_K = 10

ArrayInputs = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class TowerGraphs:
    """Both towers as ONNX, with the tables they are fed from.

    Attributes:
        query_tower: ONNX bytes; inputs and output as in `QueryTower.forward`, unused inputs left out.
        item_tower: ONNX bytes; as in `ItemTower.forward`.
        item_vectors: (n_items + 1, out_dim) float32, row 0 zeros.
        user_vectors: (n_users + 1, dim) float32, row 0 zeros.
        parity_difference: Largest difference between torch and onnxruntime that was seen.
    """

    query_tower: bytes
    item_tower: bytes
    item_vectors: FloatArray
    user_vectors: FloatArray
    parity_difference: float


def export_towers(model: TwoTower, queries: QueryArrays) -> TowerGraphs:
    """Returns the towers of a trained model as ONNX, after proving them equal to torch.

    Args:
        model: Trained.
        queries: Some real queries to prove parity on, at least one.

    Raises:
        ParityError: If onnxruntime and torch differ by more than `TOLERANCE`, or rank differently.
    """
    with evaluation_mode(model), torch.no_grad():
        query_tower = to_onnx(model.query_tower, _query_example(model), _QUERY_AXES, "query_embedding")
        item_tower = to_onnx(model.item_tower, _item_example(model), _ITEM_AXES, "item_embedding")
    item_vectors = embed_catalog(model)
    user_vectors = model.user_array()
    differences = [
        _item_parity(model, item_tower, item_vectors),
        *_query_parity(model, query_tower, item_vectors, queries),
    ]
    return TowerGraphs(query_tower, item_tower, item_vectors, user_vectors, max(differences))


_QUERY_AXES: dict[str, dict[int, object]] = {
    "user_vector": {0: Dim.DYNAMIC},
    "tokens": {0: Dim.DYNAMIC},
    "numeric": {0: Dim.DYNAMIC},
    "history_vectors": {0: Dim.DYNAMIC, 1: Dim.DYNAMIC},
    "history_kinds": {0: Dim.DYNAMIC, 1: Dim.DYNAMIC},
}
_ITEM_AXES: dict[str, dict[int, object]] = {
    "id_vector": {0: Dim.DYNAMIC},
    "tokens": {0: Dim.DYNAMIC},
    "numeric": {0: Dim.DYNAMIC},
}


def _query_example(model: TwoTower) -> dict[str, Tensor]:
    """Returns inputs to trace the query tower with; sizes 3 and 5 are used nowhere else."""
    features = model.query_encoder
    return {
        "user_vector": torch.zeros(3, model.config.dim),
        "tokens": torch.zeros(3, features.n_token_columns, dtype=torch.int64),
        "numeric": torch.zeros(3, features.n_numeric),
        "history_vectors": torch.zeros(3, 5, model.out_dim),
        "history_kinds": torch.zeros(3, 5, dtype=torch.int64),
    }


def _item_example(model: TwoTower) -> dict[str, Tensor]:
    """Returns inputs to trace the item tower with."""
    return {
        "id_vector": torch.zeros(3, model.out_dim),
        "tokens": torch.zeros(3, model.item_tokens.shape[1], dtype=torch.int64),
        "numeric": torch.zeros(3, model.item_numeric.shape[1]),
    }


def to_onnx(
    tower: nn.Module, example: dict[str, Tensor], axes: dict[str, dict[int, object]], output: str
) -> bytes:
    """Returns a tower as ONNX with pinned names and dynamic axes."""
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "tower.onnx"
        torch.onnx.export(
            tower,
            kwargs=example,
            f=str(path),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=axes,
            input_names=list(example),
            output_names=[output],
            external_data=False,
            verbose=False,
        )
        return _without_unused_inputs(path.read_bytes())


def _without_unused_inputs(graph: bytes) -> bytes:
    """Returns the graph without inputs that no node reads: the runtime would demand them for nothing."""
    model = onnx.load_from_string(graph)
    read = {name for node in model.graph.node for name in node.input}
    for unused in [node for node in model.graph.input if node.name not in read]:
        model.graph.input.remove(unused)
    pruned: bytes = model.SerializeToString()
    return pruned


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporter's progress off the terminal; its errors are raised all the same."""
    names = ("torch.onnx", "onnxscript", "onnx_ir", "torch.export", "torch._dynamo")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            # The exporter warns of its own deprecations; there is nothing that its caller could change.
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _item_parity(model: TwoTower, graph: bytes, item_vectors: FloatArray) -> float:
    """Returns the largest difference over small batches and then over the whole catalog, block by block."""
    ends = range(BLOCK_ROWS, model.n_items + BLOCK_ROWS, BLOCK_ROWS)
    batches = [slice(0, batch) for batch in PARITY_BATCHES] + [slice(end - BLOCK_ROWS, end) for end in ends]
    worst = 0.0
    for optimise in (True, False):
        tower = Graph("item_tower.onnx", graph, ITEM_INPUTS, optimise=optimise)
        for rows in batches:
            got = tower.run(_item_inputs(model, torch.arange(1, model.n_items + 1)[rows]))
            worst = max(worst, _difference("item", got, item_vectors[1:][rows]))
    return worst


def _item_inputs(model: TwoTower, item_index: Tensor) -> ArrayInputs:
    """Returns the inputs of the exported item tower for some items."""
    with evaluation_mode(model):
        return {
            "id_vector": model.id_vectors(item_index).numpy(),
            "tokens": model.item_tokens[item_index].long().numpy(),
            "numeric": model.item_numeric[item_index].numpy(),
        }


def _query_parity(
    model: TwoTower, graph: bytes, item_vectors: FloatArray, queries: QueryArrays
) -> Iterator[float]:
    """Yields the differences over batch sizes and history lengths; raises where the top items differ."""
    length = model.history_length
    for optimise in (True, False):
        tower = Graph("query_tower.onnx", graph, QUERY_INPUTS, optimise=optimise)
        for batch in (*PARITY_BATCHES, 64):
            # as many as the batch, also of fewer queries
            some = queries.rows(np.arange(batch) % len(queries))
            for cut in (0, 1, length):
                part = _cut_history(some, cut)
                expected = embed_queries(model, item_vectors, part)
                got = tower.run(query_inputs(model, item_vectors, part))
                yield _difference("query", got, expected)
                _require_same_items(got, expected, item_vectors)


def query_inputs(model: TwoTower, item_vectors: FloatArray, queries: QueryArrays) -> ArrayInputs:
    """Returns the inputs of the exported query tower for some queries."""
    with evaluation_mode(model):
        user_vectors = model.user_vectors(torch.from_numpy(queries.user_index)).numpy()
    return {
        "user_vector": user_vectors,
        "tokens": queries.tokens.astype(np.int64),
        "numeric": queries.numeric,
        "history_vectors": item_vectors[queries.history_items],
        "history_kinds": queries.history_kinds.astype(np.int64),
    }


def _cut_history(queries: QueryArrays, length: int) -> QueryArrays:
    """Returns the same queries with only the latest `length` events of each history."""
    start = queries.history_items.shape[1] - length
    return replace(
        queries,
        history_items=queries.history_items[:, start:],
        history_kinds=queries.history_kinds[:, start:],
    )


def _difference(tower: str, got: FloatArray, expected: FloatArray) -> float:
    """Returns the largest absolute difference of two arrays.

    Raises:
        ParityError: If they differ in shape, by more than `TOLERANCE`, or hold a number that is not finite.
    """
    if got.shape != expected.shape:
        raise ParityError(
            f"the exported {tower} tower gives shape {got.shape}, expected {expected.shape} as in torch; "
            "do not publish this model"
        )
    difference = float(np.abs(got - expected).max(initial=0.0))
    if not difference <= TOLERANCE:
        raise ParityError(
            f"the exported {tower} tower differs from torch by {difference:.2g}, expected at most "
            f"{TOLERANCE:.0e}; do not publish this model"
        )
    return difference


def _require_same_items(got: FloatArray, expected: FloatArray, item_vectors: FloatArray) -> None:
    """Raises ParityError unless both embeddings rank the same items, but for scores closer than tolerance."""
    n_items, k = len(item_vectors) - 1, min(PARITY_K, len(item_vectors) - 1)
    lists = [
        rank(inner_product_scores(queries, item_vectors), len(queries), n_items, k)
        for queries in (got, expected)
    ]
    scores = expected @ item_vectors.T  # (batch, n_items + 1)
    rows = np.arange(len(expected))[:, None]
    gap = np.abs(scores[rows, lists[0].items] - scores[rows, lists[1].items])
    # Two embeddings within TOLERANCE can move a score by that much per coordinate.
    bound = 2 * TOLERANCE * max(1.0, float(np.abs(item_vectors).sum(axis=1).max()))
    if gap.max(initial=0.0) > bound:
        raise ParityError(
            f"the exported query tower ranks other items than torch: scores differ by {gap.max():.2g}, "
            f"expected at most {bound:.2g}; do not publish this model"
        )
