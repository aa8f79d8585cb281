"""Turns a calibrated network into a graph for serving, and proves that both say the same."""

import numpy as np
import torch
from torch.export import Dim

from marquee.bundle.clicks.contents import GRAPH_FILE, GRAPH_INPUTS
from marquee.bundle.graphs import Graph
from marquee.core.arrays import FloatArray, IndexArray
from marquee.errors import ParityError
from marquee.nn.export import ArrayInputs, to_onnx
from marquee.nn.probabilities.networks import CalibratedNetwork

TOLERANCE = 1e-5
PARITY_BATCHES = (1, 2, 7, 200)

_AXES: dict[str, dict[int, object]] = {name: {0: Dim.DYNAMIC} for name in ("columns", "place", "score")}


def export_network(
    network: CalibratedNetwork, columns: FloatArray, place: IndexArray, score: FloatArray
) -> tuple[bytes, float]:
    """Returns a network as ONNX and its largest difference from torch, after proving them equal.

    Args:
        network: Trained and calibrated, on the CPU.
        columns: Of some real exposures to prove parity on, (n, n_columns) float32, at least one.
        place: Of the same, (n,) int64.
        score: Of the same, (n,) float32.

    Raises:
        ParityError: If onnxruntime and torch differ by more than `TOLERANCE`, or a number is not finite.
    """
    network.eval()
    example = {
        "columns": torch.zeros(3, columns.shape[1]),
        "place": torch.zeros(3, dtype=torch.int64),
        "score": torch.zeros(3),
    }
    graph = to_onnx(network, example, _AXES, "probabilities")
    worst = 0.0
    for optimise in (True, False):
        loaded = Graph(GRAPH_FILE, graph, GRAPH_INPUTS, optimise=optimise)
        for batch in PARITY_BATCHES:
            rows = np.arange(batch) % len(place)  # as many as the batch, also of fewer exposures
            some: ArrayInputs = {"columns": columns[rows], "place": place[rows], "score": score[rows]}
            with torch.inference_mode():
                expected = network(**{name: torch.from_numpy(array) for name, array in some.items()}).numpy()
            worst = max(worst, require_equal(loaded.run(some), expected))
    return graph, worst


def require_equal(got: FloatArray, expected: FloatArray) -> float:
    """Returns the largest difference of two arrays of one shape; raises ParityError beyond tolerance."""
    difference = float(np.abs(got - expected).max()) if got.shape == expected.shape else float("nan")
    if not difference <= TOLERANCE:
        raise ParityError(
            f"the exported click head gives {got.shape} and differs from torch by {difference:.2g}, expected "
            f"{expected.shape} and at most {TOLERANCE:.0e}; do not publish this model"
        )
    return difference
