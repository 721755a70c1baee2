"""The storage of weight matrices in the ONNX file, with the nodes that unpack them.

A matrix is packed if that makes the file smaller: 4-bit weights two to a byte, and without the rows
of inputs that are not used. The nodes that unpack it have constant inputs only. ONNX Runtime runs
them once when it loads the graph, so that they take no time in a prediction; every other runtime
computes the same values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import numpy_helper

from trainer.export.node_builder import INT8, INT64, NodeBuilder
from trainer.nn import FeatureSelect

# Approximate size in the file of the nodes that unpack a matrix. A matrix is packed if that saves
# more bytes than this.
UNPACKING_BYTES = 512
# A 4-bit weight w, -7 to 7, is stored as w + 8, and the second one in a byte times 16.
NIBBLE_FACTOR, NIBBLE_OFFSET = 16, 8


def add_weights(
    graph: NodeBuilder,
    suffix: str,
    W: NDArray[Any],
    selection: FeatureSelect | None = None,
    *,
    bits: int = 8,
) -> str:
    """Add a weight matrix and return the name of the unpacked matrix.

    Args:
        graph: The graph under construction.
        suffix: Suffix of the names of the added values.
        W: Weights, float32 or int8 `(n_used_inputs, n_units)`.
        selection: The inputs that the rows of W belong to; the unpacked matrix has a row of zeros
            for every other one. None if W has a row for every input.
        bits: Number of bits of an int8 weight; 4-bit weights are packed.
    """
    n_unused = 0 if selection is None else selection.n_in - len(W)
    weights_per_byte = 1 if _find_packing_axis(W, bits) is None else 2
    # A selection is stored as one byte for each used input.
    saved_bytes = n_unused * W[:1].nbytes // weights_per_byte - len(W)
    omits_unused = saved_bytes > UNPACKING_BYTES
    if selection is not None and not omits_unused:
        full = np.zeros((selection.n_in, W.shape[1]), W.dtype)
        full[selection.columns] = W
        W = full
    axis = _find_packing_axis(W, bits)
    if axis is None:
        matrix = graph.add_constant(f"W{suffix}", W)
    else:
        matrix = _add_packed_nibbles(graph, suffix, W, axis)
    if selection is None or not omits_unused:
        return matrix
    return _add_unused_rows(graph, suffix, matrix, W, selection)


def _find_packing_axis(W: NDArray[Any], bits: int) -> int | None:
    """Return the axis of even length along which two weights share a byte.

    None if no axis has an even length, or packing saves too little.
    """
    if bits != 4 or W.size // 2 <= UNPACKING_BYTES:
        return None
    return next((axis for axis, size in enumerate(W.shape) if size % 2 == 0), None)


def _add_packed_nibbles(graph: NodeBuilder, suffix: str, W: NDArray[np.int8], axis: int) -> str:
    """Add 4-bit weights: the first half of the axis in the lower nibbles, the second above."""
    low, high = np.split((W + NIBBLE_OFFSET).astype(np.uint8), 2, axis)
    packed_bytes = graph.add_constant(f"W{suffix}_packed", low + NIBBLE_FACTOR * high)
    factor = graph.add_shared_constant("sixteen", np.array(NIBBLE_FACTOR, np.uint8))
    offset = graph.add_shared_constant("eight", np.array(NIBBLE_OFFSET, np.int8))
    halves = [
        graph.add_node(operator, [packed_bytes, factor], f"{operator}{suffix}")
        for operator in ("Mod", "Div")
    ]
    nibbles = graph.add_node("Concat", halves, f"W{suffix}_halves", axis=axis)
    signed_nibbles = graph.add_node("Cast", [nibbles], f"W{suffix}_shifted", to=INT8)
    return graph.add_node("Sub", [signed_nibbles, offset], f"W{suffix}")


def _add_unused_rows(
    graph: NodeBuilder, suffix: str, matrix: str, W: NDArray[Any], selection: FeatureSelect
) -> str:
    """Scatter the rows of a matrix into one that has a row of zeros for each unused input.

    Multiplying unused inputs by zeros is faster in ONNX Runtime than gathering the used ones.
    """
    # The differences of neighbouring indices usually fit into bytes.
    steps = np.diff(selection.columns, prepend=0)
    steps = steps.astype(np.uint8 if steps.max() <= 255 else np.uint32)
    int64_steps = graph.add_node(
        "Cast", [graph.add_constant(f"steps{suffix}", steps)], f"steps{suffix}_whole", to=INT64
    )
    first_axis = graph.add_shared_constant("first_axis", np.array(0))
    last_axes = graph.add_shared_constant("last_axes", np.array([1]))
    indices = graph.add_node("CumSum", [int64_steps, first_axis], f"columns{suffix}")
    rows = graph.add_node("Unsqueeze", [indices, last_axes], f"rows{suffix}")
    shape = graph.add_constant(f"shape{suffix}", np.array([selection.n_in, W.shape[1]]))
    zero = numpy_helper.from_array(np.zeros(1, W.dtype))
    zeros = graph.add_node("ConstantOfShape", [shape], f"zeros{suffix}", value=zero)
    return graph.add_node("ScatterND", [zeros, rows, matrix], f"W{suffix}_spread")
