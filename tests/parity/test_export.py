"""torch = onnxruntime = recommender: what is exported says what was trained."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from marquee.bundle.graphs import ITEM_INPUTS, QUERY_INPUTS, Graph
from marquee.data.dataset import QueryArrays
from marquee.errors import ParityError
from marquee.nn import export
from marquee.nn.architectures import ELSAConfig, MatrixFactorizationConfig, ModelConfig, TwoTowerConfig
from marquee.nn.embed import embed_catalog, embed_queries
from marquee.nn.export import TowerGraphs, export_towers, query_inputs
from marquee.nn.history_pooling import HistoryPooling
from marquee.nn.models import TwoTower
from tests.support.small_models import (
    LENGTH,
    N_ITEMS,
    N_TRAINED_ITEMS,
    N_USERS,
    small_model,
    small_queries,
)

MODELS: dict[str, ModelConfig] = {
    "everything": TwoTowerConfig(
        dim=6, hidden=5, item_neighbours=2, history_pooling=HistoryPooling.attention
    ),
    "recency_raw": TwoTowerConfig(dim=6, normalise=False, item_bias=False, user_id=False),
    "history_alone": TwoTowerConfig(
        dim=6, user_id=False, query_features=False, item_features=False, history_pooling=HistoryPooling.mean
    ),
    "features_alone": TwoTowerConfig(dim=6, user_id=False, history=False, item_id=False),
    "matrix_factorization": MatrixFactorizationConfig(dim=6),
    "elsa": ELSAConfig(dim=6),
    "transformer": TwoTowerConfig(
        dim=6, user_id=False, history_pooling=HistoryPooling.transformer, n_heads=3, rotary=True
    ),
    "linear": TwoTowerConfig(dim=6, history_pooling=HistoryPooling.mean, linear_rank=4),
}
EVERY_QUERY_INPUT = {"user_vector", "tokens", "numeric", "history_vectors", "history_kinds"}
INPUTS: dict[str, tuple[set[str], set[str]]] = {
    "everything": (EVERY_QUERY_INPUT, {"id_vector", "tokens", "numeric"}),
    "recency_raw": (EVERY_QUERY_INPUT - {"user_vector"}, {"id_vector", "tokens", "numeric"}),
    "history_alone": ({"history_vectors", "history_kinds"}, {"id_vector"}),
    "features_alone": ({"tokens", "numeric"}, {"id_vector", "tokens", "numeric"}),
    "matrix_factorization": ({"user_vector"}, {"id_vector"}),
    "elsa": ({"history_vectors", "history_kinds"}, {"id_vector"}),
    "transformer": (EVERY_QUERY_INPUT - {"user_vector"}, {"id_vector", "tokens", "numeric"}),
    "linear": (EVERY_QUERY_INPUT, {"id_vector", "tokens", "numeric"}),
}


@dataclass(frozen=True)
class Exported:
    """A model and what was exported of it."""

    name: str
    model: TwoTower
    graphs: TowerGraphs


def queries_of(batch: int, length: int = LENGTH, seed: int = 0) -> QueryArrays:
    query = small_queries(batch, length, seed)
    return QueryArrays(
        query.user_index.numpy(),
        query.tokens.int().numpy(),
        query.numeric.numpy(),
        query.history_items.numpy(),
        query.history_kinds.numpy(),
    )


@cache  # tracing takes seconds
def export_of(name: str) -> Exported:
    model = small_model(MODELS[name])
    if rank := model.config.linear_rank:
        # Training is over when a linear part joins: it is no weight of the model's.
        vectors = torch.randn(N_TRAINED_ITEMS + 1, rank, generator=torch.Generator().manual_seed(0))
        model.attach_linear(vectors * (torch.arange(N_TRAINED_ITEMS + 1) > 0)[:, None])
    return Exported(name, model, export_towers(model, queries_of(3)))


@pytest.fixture(params=list(MODELS))
def exported(request: pytest.FixtureRequest) -> Exported:
    return export_of(request.param)


@pytest.fixture
def everything() -> Exported:
    return export_of("everything")


def query_graph(graphs: TowerGraphs, *, optimise: bool = True) -> Graph:
    return Graph("query_tower.onnx", graphs.query_tower, QUERY_INPUTS, optimise=optimise)


def difference(exported: Exported, graph: Graph, queries: QueryArrays) -> float:
    """Returns how far the graph is from torch, at most, for some queries."""
    vectors = exported.graphs.item_vectors
    got = graph.run(query_inputs(exported.model, vectors, queries))
    expected = embed_queries(exported.model, vectors, queries)
    assert got.shape == expected.shape == (len(queries), exported.model.out_dim)
    return float(np.abs(got - expected).max())


@pytest.mark.parametrize("optimise", [True, False], ids=["optimised", "as_it_is"])
def test_query_tower_is_the_same_for_every_batch_and_length(exported: Exported, optimise: bool) -> None:
    graph = query_graph(exported.graphs, optimise=optimise)
    differences = {
        (batch, length): difference(exported, graph, queries_of(batch, length, seed=batch + length))
        for batch in (1, 2, 7, 13)  # tracing saw 3 queries with histories of 5
        for length in (0, 1, LENGTH, 2, 2 * LENGTH + 1)
    }
    assert max(differences.values()) <= 1e-5, differences


@pytest.mark.parametrize("optimise", [True, False], ids=["optimised", "as_it_is"])
def test_item_tower_is_the_same_for_every_batch(exported: Exported, optimise: bool) -> None:
    model = exported.model
    graph = Graph("item_tower.onnx", exported.graphs.item_tower, ITEM_INPUTS, optimise=optimise)
    items = np.random.default_rng(0).integers(1, N_ITEMS + 1, size=13)
    for batch in (1, 2, 7, 13):
        index = items[:batch]
        id_vectors = model.id_vectors(model.item_tokens.new_tensor(index.tolist()).long())
        got = graph.run(
            {
                "id_vector": id_vectors.detach().numpy(),
                "tokens": model.item_tokens.numpy()[index].astype(np.int64),
                "numeric": model.item_numeric.numpy()[index],
            }
        )
        np.testing.assert_allclose(got, exported.graphs.item_vectors[index], atol=1e-5)


def test_graphs_ask_for_nothing_that_they_do_not_read(exported: Exported) -> None:
    item_graph = Graph("item_tower.onnx", exported.graphs.item_tower, ITEM_INPUTS)
    assert (set(query_graph(exported.graphs).inputs), set(item_graph.inputs)) == INPUTS[exported.name]


def test_tables_are_those_of_the_model(exported: Exported) -> None:
    graphs, model = exported.graphs, exported.model
    assert np.array_equal(graphs.item_vectors, embed_catalog(model))
    assert graphs.item_vectors.shape == (N_ITEMS + 1, model.out_dim)
    assert len(graphs.user_vectors) == (N_USERS + 1 if model.config.user_id else 1)
    assert not graphs.user_vectors[0].any()
    assert 0 <= graphs.parity_difference <= 1e-5


def test_opset_and_output_are_pinned(exported: Exported) -> None:
    for graph, output in (
        (exported.graphs.query_tower, "query_embedding"),
        (exported.graphs.item_tower, "item_embedding"),
    ):
        loaded = onnx.load_from_string(graph)
        assert {opset.domain: opset.version for opset in loaded.opset_import} == {"": 20}
        assert [node.name for node in loaded.graph.output] == [output]


Tamper = Callable[[onnx.ModelProto], None]


def scale_weights(model: onnx.ModelProto) -> None:
    """Makes every weight one per cent larger."""
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size > 1:
            tensor.CopyFrom(numpy_helper.from_array((values * 1.01).astype(np.float32), tensor.name))


def poison_weights(model: onnx.ModelProto) -> None:
    """Makes every weight no number."""
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size > 1:
            tensor.CopyFrom(numpy_helper.from_array(np.full_like(values, np.nan), tensor.name))


def tampered_export(monkeypatch: pytest.MonkeyPatch, output: str, tamper: Tamper, exported: Exported) -> None:
    """Makes the exporter return the graphs of before, the one with that output tampered with."""

    def tampered(*arguments: object) -> bytes:
        name = arguments[-1]
        graph = exported.graphs.query_tower if name == "query_embedding" else exported.graphs.item_tower
        if name != output:
            return graph
        model = onnx.load_from_string(graph)
        tamper(model)
        return bytes(model.SerializeToString())

    monkeypatch.setattr(export, "to_onnx", tampered)


@pytest.mark.parametrize(("output", "tower"), [("query_embedding", "query"), ("item_embedding", "item")])
@pytest.mark.parametrize(("tamper", "by"), [(scale_weights, r"[\d.e-]+"), (poison_weights, "nan")])
def test_tampered_graph_is_caught(
    everything: Exported, monkeypatch: pytest.MonkeyPatch, output: str, tower: str, tamper: Tamper, by: str
) -> None:
    tampered_export(monkeypatch, output, tamper, everything)
    message = rf"exported {tower} tower differs from torch by {by}, expected at most 1e-05; do not publish"
    with pytest.raises(ParityError, match=message):
        export_towers(everything.model, queries_of(5))


def test_graph_of_another_size_is_caught() -> None:
    with pytest.raises(ParityError, match=r"query tower gives shape \(1, 7\), expected \(1, 8\) as in torch"):
        export._difference("query", np.zeros((1, 7), np.float32), np.zeros((1, 8), np.float32))


def test_other_order_of_items_is_caught() -> None:
    items = np.array([[0, 0], [1, 0], [0, 1]], dtype=np.float32)
    with pytest.raises(ParityError, match=r"ranks other items than torch: scores differ by 0\.8"):
        export._require_same_items(np.array([[0, 1]], np.float32), np.array([[0.9, 0.1]], np.float32), items)


def test_export_leaves_the_model_as_it_was(everything: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    tampered_export(monkeypatch, "none", scale_weights, everything)
    everything.model.train()
    again = export_towers(everything.model, queries_of(2))
    assert everything.model.training
    everything.model.eval()
    assert np.array_equal(again.item_vectors, everything.graphs.item_vectors)
