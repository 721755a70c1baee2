"""The nodes of a periodic embedding.

    numbers → Mul (2π) → Transpose → Reshape [n, 1, N] → Mul (frequencies) → Add (phases) → Cos
            → MatMul, Add (a linear layer for each number) → Reshape → Transpose [N, n · units]
            → Concat with the inputs

The rows are the last axis in between, so that ONNX Runtime computes one product of a small matrix
and a long one for each number, at any batch size. The size of the constants is proportional to the
number of embedded columns.
"""

from __future__ import annotations

import numpy as np

from trainer.export.folding import Periodic
from trainer.export.node_builder import NodeBuilder


def add_periodic_embedding(graph: NodeBuilder, operation: Periodic, value: str, suffix: str) -> str:
    """Add an operation and return the name of its output, `[N, n · units + n_in]`.

    Args:
        graph: The graph under construction.
        operation: Embeddings of the first n columns.
        value: Name of the input, float32 `[N, n_in]`.
        suffix: Suffix of the names of the added values.
    """
    n, units, _ = operation.W.shape
    numbers = _add_first_columns(graph, value, n, suffix)
    tau = graph.add_constant(f"tau{suffix}", np.array(2 * np.pi, np.float32))
    angles = graph.add_node("Mul", [numbers, tau], f"angles{suffix}")
    by_number = graph.add_node("Transpose", [angles], f"angles{suffix}_t", perm=[1, 0])
    shape = graph.add_constant(f"angles{suffix}_shape", np.array([n, 1, -1]))
    columns = graph.add_node("Reshape", [by_number, shape], f"angles{suffix}_columns")
    frequencies = graph.add_constant(f"F{suffix}", operation.frequencies[:, :, None])
    turned = graph.add_node("Mul", [columns, frequencies], f"turned{suffix}")
    phases = graph.add_constant(f"P{suffix}", operation.phases[:, :, None])
    z = graph.add_node("Add", [turned, phases], f"z{suffix}")
    waves = graph.add_node("Cos", [z], f"waves{suffix}")
    weights = graph.add_constant(f"W{suffix}", operation.W)
    products = graph.add_node("MatMul", [weights, waves], f"products{suffix}")
    biases = graph.add_constant(f"b{suffix}", operation.b[:, :, None])
    embedded = graph.add_node("Add", [products, biases], f"embedded{suffix}")
    flat_shape = graph.add_constant(f"embedded{suffix}_shape", np.array([n * units, -1]))
    flat = graph.add_node("Reshape", [embedded, flat_shape], f"embedded{suffix}_flat")
    rows = graph.add_node("Transpose", [flat], f"embedded{suffix}_rows", perm=[1, 0])
    return graph.add_node("Concat", [rows, value], f"periodic{suffix}", axis=1)


def _add_first_columns(graph: NodeBuilder, value: str, n: int, suffix: str) -> str:
    start, stop, axis = (
        graph.add_constant(f"numbers{suffix}_{name}", np.array([number]))
        for name, number in (("start", 0), ("stop", n), ("axis", 1))
    )
    return graph.add_node("Slice", [value, start, stop, axis], f"numbers{suffix}")
