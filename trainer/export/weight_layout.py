"""Weights: how they lie in the file, and the nodes that lay them out for the runtime.

A matrix that fits into fewer bytes than it takes in memory is stored so, and unpacked by nodes of
nothing but constants. ONNX Runtime runs those once, when it loads the graph, so that they cost
nothing when it answers; any other runtime answers the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import numpy_helper

from trainer.export.node_builder import INT8, INT64, NodeBuilder
from trainer.nn import FeatureSelect

# Bytes that the nodes of an unpacking take in the file, roughly; to save fewer is to save none.
NODES = 512
SIXTEEN, EIGHT = 16, 8  # values of half a byte; and what makes −7 … 7 of 1 … 15


def weights(
    graph: NodeBuilder,
    at: str,
    W: NDArray[Any],
    looked_at: FeatureSelect | None = None,
    *,
    bits: int = 8,
) -> str:
    """Add a matrix of weights.

    Args:
        graph: added to.
        at: ends the names of what is added.
        W: float32 or int8, `(n_in, units)`.
        looked_at: of which inputs W has rows; the others' are zeros. None where it has all.
        bits: of an int8 weight; those of 4 lie two to a byte.

    Returns:
        The name of the matrix as the runtime takes it, with a row for every input.
    """
    dropped = 0 if looked_at is None else looked_at.n_in - len(W)
    # Beside the nodes, a byte for each row that is left says where it belongs.
    saved = dropped * W[:1].nbytes // (1 + (_axis(W, bits) is not None)) - len(W)
    scatters = saved > NODES
    if looked_at is not None and not scatters:
        full = np.zeros((looked_at.n_in, W.shape[1]), W.dtype)
        full[looked_at.columns] = W
        W = full
    axis = _axis(W, bits)
    value = graph.constant(f"W{at}", W) if axis is None else _unpacked(graph, at, W, axis)
    return value if looked_at is None or not scatters else _spread(graph, at, value, W, looked_at)


def _axis(W: NDArray[Any], bits: int) -> int | None:
    """Along which two weights go into a byte; None where that saves nothing, or none is even."""
    if bits != 4 or W.size // 2 <= NODES:
        return None
    return next((axis for axis, size in enumerate(W.shape) if size % 2 == 0), None)


def _unpacked(graph: NodeBuilder, at: str, W: NDArray[np.int8], axis: int) -> str:
    """Whole weights of 4 bits: one half of them in the lower half of each byte, the other above."""
    low, high = np.split((W + EIGHT).astype(np.uint8), 2, axis)
    packed = graph.constant(f"W{at}_packed", low + SIXTEEN * high)
    sixteen = graph.shared("sixteen", np.array(SIXTEEN, np.uint8))
    eight = graph.shared("eight", np.array(EIGHT, np.int8))
    halves = [
        graph.node(operator, [packed, sixteen], f"{operator}{at}") for operator in ("Mod", "Div")
    ]
    joined = graph.node("Concat", halves, f"W{at}_halves", axis=axis)
    signed = graph.node("Cast", [joined], f"W{at}_shifted", to=INT8)
    return graph.node("Sub", [signed, eight], f"W{at}")


def _spread(
    graph: NodeBuilder, at: str, value: str, W: NDArray[Any], looked_at: FeatureSelect
) -> str:
    """A row for every input, of zeros for those that are not looked at.

    To gather the inputs instead would take the runtime longer than to multiply them by zeros.
    """
    # As steps from one to the next, which fit into bytes.
    steps = np.diff(looked_at.columns, prepend=0)
    narrow = steps.astype(np.uint8 if steps.max() <= 255 else np.uint32)
    columns = graph.node(
        "Cast", [graph.constant(f"steps{at}", narrow)], f"steps{at}_whole", to=INT64
    )
    first = graph.shared("first_axis", np.array(0))
    last = graph.shared("last_axes", np.array([1]))
    places = graph.node("CumSum", [columns, first], f"columns{at}")
    rows = graph.node("Unsqueeze", [places, last], f"rows{at}")
    shape = graph.constant(f"shape{at}", np.array([looked_at.n_in, W.shape[1]]))
    zero = numpy_helper.from_array(np.zeros(1, W.dtype))
    zeros = graph.node("ConstantOfShape", [shape], f"zeros{at}", value=zero)
    return graph.node("ScatterND", [zeros, rows, value], f"W{at}_spread")
