"""An ONNX graph that runs on one thread, fed with only what it declares."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_state

from marquee.core.arrays import FloatArray
from marquee.errors import BundleError

QUERY_INPUTS = frozenset({"user_vector", "tokens", "numeric", "history_vectors", "history_kinds"})
ITEM_INPUTS = frozenset({"id_vector", "tokens", "numeric"})

_LOG_ERRORS_ONLY = 3
# onnxruntime's errors share no base of their own.
_LOAD_ERRORS = (
    runtime_state.Fail,
    runtime_state.InvalidArgument,
    runtime_state.InvalidGraph,
    runtime_state.InvalidProtobuf,
    runtime_state.NotImplemented,
    runtime_state.RuntimeException,
)


class Graph:
    """A loaded tower.

    Attributes:
        name: Of its file, for messages.
        inputs: Names of the inputs that it declares.
    """

    def __init__(
        self, name: str, graph: bytes, known_inputs: frozenset[str], *, optimise: bool = True
    ) -> None:
        """Loads a graph.

        Args:
            name: Of its file.
            graph: The ONNX model.
            known_inputs: Inputs that it may declare.
            optimise: Whether onnxruntime may rewrite the graph; off only to prove that it may.

        Raises:
            BundleError: If onnxruntime cannot load it, or it wants an input that nobody feeds.
        """
        options = ort.SessionOptions()
        # One thread: workers are processes, and pools of threads in each would fight for the cores.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        # A golden request must be answered as it was when it was recorded.
        options.use_deterministic_compute = True
        if not optimise:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = _LOG_ERRORS_ONLY
        # An idle pool spins by default: it takes a core away from those who answer.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except _LOAD_ERRORS as error:
            raise BundleError(
                f"{name} is no graph that onnxruntime can load ({error}); export again"
            ) from error
        self._options = ort.RunOptions()
        self.name = name
        self.inputs = tuple(node.name for node in self._session.get_inputs())
        self._outputs = [self._session.get_outputs()[0].name]
        unknown = sorted(set(self.inputs) - known_inputs)
        if unknown:
            raise BundleError(
                f"{name} wants inputs {unknown}, expected only {sorted(known_inputs)}; export again"
            )

    def stop(self) -> None:
        """Ends what runs in another thread, and every later run, with an error of onnxruntime.

        A graph may hold a loop that never comes to an end, and nothing else can stop it.
        """
        # Looked at by onnxruntime between two nodes of the graph, in whichever thread it runs.
        self._options.terminate = True

    def run(self, arrays: Mapping[str, npt.NDArray[np.generic]]) -> FloatArray:
        """Returns the first output; `arrays` must hold every declared input and may hold more."""
        output: FloatArray = self._session.run(
            # Only what it declares: onnxruntime refuses any other input.
            self._outputs,
            {name: arrays[name] for name in self.inputs},
            self._options,
        )[0]
        return output
