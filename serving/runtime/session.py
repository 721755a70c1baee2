"""A session of ONNX Runtime: a loaded graph that answers batches. Nothing else imports the library.

Create sessions after fork: one inherited from a parent process hangs or crashes in the child.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.bundle import Arrays, join, slices

# The element types a graph's input may have, in NumPy's words.
_DTYPES = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(string)": "str"}


@cache
def _onnxruntime() -> Any:
    """The library, loaded when a process makes its first session.

    So that one which forks can import all else for its children: the library has threads.
    """
    # Before the import: it looks up a telemetry host as it loads.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime  # noqa: PLC0415

    return onnxruntime


@cache
def _refusals() -> tuple[type[Exception], ...]:
    """What the library raises: its exceptions share no base class; wrong arrays end in Python's."""
    own = vars(_onnxruntime().capi.onnxruntime_pybind11_state).values()
    return (
        *(e for e in own if isinstance(e, type) and issubclass(e, Exception)),
        RuntimeError,
        TypeError,
        ValueError,
    )


class GraphError(Exception):
    """ONNX Runtime refuses the graph, or a run of it; the message is the runtime's."""


class Session:
    """A loaded graph. Safe to run from several threads at once.

    Args:
        graph: the ONNX file's content.
        threads: threads of one run.

    Attributes:
        inputs: the graph's inputs: of each name the dtype, `float32`, `float64` or `str`, or the
            runtime's own word for another.
        outputs: names of the graph's outputs.

    Raises:
        GraphError: the graph does not load.
    """

    def __init__(self, graph: bytes, *, threads: int = 1) -> None:
        onnxruntime = _onnxruntime()
        options = onnxruntime.SessionOptions()
        # Sized by us: the runtime's own pools follow the host's cores, not the container's share.
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3  # errors only
        try:
            self._session = onnxruntime.InferenceSession(
                graph, options, providers=["CPUExecutionProvider"]
            )
        except _refusals() as error:
            raise GraphError(f"ONNX Runtime does not load the graph: {error}") from error
        nodes = self._session.get_inputs()
        self.inputs = {node.name: _DTYPES.get(node.type, str(node.type)) for node in nodes}
        self.outputs = [node.name for node in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """The graph's outputs for a batch of inputs, by name.

        Raises:
            GraphError: the inputs do not fit the graph.
        """
        try:
            results = self._session.run(None, inputs)
        except _refusals() as error:
            raise GraphError(f"ONNX Runtime does not run the graph: {error}") from error
        # Text comes out as objects; as str it can be compared and gathered like any array.
        arrays = (r.astype(np.str_) if r.dtype == object else r for r in results)
        return dict(zip(self.outputs, arrays, strict=True))


def run_in_slices(session: Session, inputs: Arrays, size: int) -> Arrays:
    """The graph's outputs for all rows, given to it so many at a time; raises as `run` does.

    What the runtime once took for a large batch, it keeps.
    """
    return join([session.run(part) for part in slices(inputs, size)])
