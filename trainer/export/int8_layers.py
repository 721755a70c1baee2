"""Whole numbers in a graph: QuantizeLinear, and what ONNX Runtime fuses into one QGemm a layer.

    QuantizeLinear → (DequantizeLinear → Gemm, f → QuantizeLinear)

The inner nodes say in floats what is computed in bytes: a runtime without INT8 answers as they say,
but for rounding. ("QOperator" nodes would force it: with signed bytes on both sides ONNX Runtime
takes 35 times as long for those on x86.)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from trainer.export.node_builder import NodeBuilder
from trainer.export.weight_layout import weights
from trainer.nn import Activation, FeatureSelect, IntegerDense, Quantization

Activate = Callable[[NodeBuilder, Activation, str, str], str]


def add_integer_dense(
    graph: NodeBuilder,
    layer: IntegerDense,
    value: str,
    at: str,
    *,
    quantized: bool,
    looked_at: FeatureSelect | None,
    feeds_bytes: bool,
    activate: Activate,
) -> str:
    """Add the nodes of one layer.

    Args:
        graph: added to.
        layer: of which bytes come out if it has a target, else floats.
        value: its input.
        at: ends the names of what is added.
        quantized: whether the input is bytes already, of the layer's own source.
        looked_at: of which inputs it has weights; None where it has all.
        feeds_bytes: whether what comes next takes bytes, too.
        activate: adds an activation.

    Returns:
        The name of its output.
    """
    source = _quantization(graph, layer.source, f"{at}_in")
    if not quantized:
        value = graph.node("QuantizeLinear", [value, *source], f"q{at}")
    x = graph.node("DequantizeLinear", [value, *source], f"x{at}")
    scales = graph.constant(f"t{at}", layer.scales)
    whole = weights(graph, at, layer.W, looked_at, bits=layer.bits)
    # Zeros are what an absent zero point stands for, but then ONNX Runtime fuses nothing.
    zeros = graph.shared(f"zeros_{len(layer.b)}", np.zeros(len(layer.b), np.int8))
    W = graph.node("DequantizeLinear", [whole, scales, zeros], f"W{at}_real", axis=1)
    steps = graph.constant(f"st{at}", layer.source.scale * layer.scales)
    b = graph.node(
        "DequantizeLinear", [graph.constant(f"b{at}", layer.b), steps], f"b{at}_real", axis=0
    )
    z = graph.node("Gemm", [x, W, b], f"z{at}")
    if layer.target is None and layer.activation.name == "relu":
        # A Relu that no QuantizeLinear follows ONNX Runtime joins to the Gemm, which then stays in
        # floats and has its weights made anew with every answer.
        zero = graph.shared("zero", np.array(0, np.float32))
        return graph.node("Max", [z, zero], f"a{at}")
    a = activate(graph, layer.activation, z, at)
    if layer.target is None:
        return a
    target = _quantization(graph, layer.target, at)
    rounded = graph.node("QuantizeLinear", [a, *target], f"r{at}")
    if feeds_bytes:
        return rounded
    return graph.node("DequantizeLinear", [rounded, *target], f"r{at}_real")


def _quantization(graph: NodeBuilder, quantization: Quantization, at: str) -> list[str]:
    scale, zero_point = quantization
    return [
        graph.constant(f"s{at}", np.array(scale, np.float32)),
        graph.constant(f"o{at}", np.array(zero_point, np.uint8)),
    ]
