"""Graphs are fed what they declare and refused if they cannot run."""

import numpy as np
import pytest

from marquee.bundle.graphs import QUERY_INPUTS, Graph
from marquee.errors import BundleError
from tests.support.bundles import make_tiny, query_tower

TABLE = np.array([[0, 0], [1, 2], [3, 4]], dtype=np.float32)


def test_graph_takes_only_what_it_declares() -> None:
    graph = Graph("query_tower.onnx", query_tower(TABLE, 1, frozenset({"tokens"})), QUERY_INPUTS)
    arrays = {"tokens": np.array([[1, 2], [0, 1]]), "user_vector": np.ones((2, 9), dtype=np.float32)}
    assert graph.inputs == ("tokens",)
    assert graph.run(arrays).tolist() == [[4.0, 6.0], [1.0, 2.0]]


def test_history_may_be_empty() -> None:
    graph = Graph("query_tower.onnx", query_tower(TABLE, 1), QUERY_INPUTS)
    result = graph.run(
        {
            "user_vector": np.array([[1, 2]], dtype=np.float32),
            "tokens": np.zeros((1, 3), dtype=np.int64),
            "numeric": np.array([[3]], dtype=np.float32),
            "history_vectors": np.zeros((1, 0, 2), dtype=np.float32),
            "history_kinds": np.zeros((1, 0), dtype=np.int64),
        }
    )
    assert result.tolist() == [[4.0, 5.0]]


@pytest.mark.parametrize("graph", [b"", b"no graph", make_tiny().contents.query_tower[:-40]])
def test_graph_that_cannot_be_loaded_is_refused(graph: bytes) -> None:
    with pytest.raises(BundleError, match=r"query_tower\.onnx is no graph that onnxruntime can load"):
        Graph("query_tower.onnx", graph, QUERY_INPUTS)


def test_graph_with_unknown_inputs_is_refused() -> None:
    with pytest.raises(BundleError, match=r"wants inputs \['numeric', 'tokens'\], expected only \[\]"):
        Graph("query_tower.onnx", query_tower(TABLE, 1, frozenset({"tokens", "numeric"})), frozenset())
