"""The nodes of INT8 layers, in the form that ONNX Runtime fuses into one QGemm per layer.

    QuantizeLinear → (DequantizeLinear → Gemm, f → QuantizeLinear)

The inner nodes describe in float32 what ONNX Runtime computes in INT8. A runtime without INT8
computes the same up to rounding. "QOperator" nodes, which would require INT8, are not used: with
signed weights and inputs, ONNX Runtime takes 35 times as long for them on x86.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from trainer.export.node_builder import NodeBuilder
from trainer.export.weight_layout import add_weights
from trainer.nn import Activation, FeatureSelect, IntegerDense, Quantization

# Adds an activation, given the graph, the activation, the name of its input and the suffix of
# names, and returns the name of its output.
AddActivation = Callable[[NodeBuilder, Activation, str, str], str]


def add_integer_dense(
    graph: NodeBuilder,
    layer: IntegerDense,
    value: str,
    suffix: str,
    *,
    is_quantized: bool,
    selection: FeatureSelect | None,
    feeds_int8_layer: bool,
    add_activation: AddActivation,
) -> str:
    """Add the nodes of one layer and return the name of its output.

    Args:
        graph: The graph under construction.
        layer: The layer. Its output is rounded to its target quantization, if it has one.
        value: Name of the layer's input.
        suffix: Suffix of the names of the added values.
        is_quantized: Whether the input is uint8, in the layer's source quantization.
        selection: The inputs that the layer has weights for; None if it has all.
        feeds_int8_layer: Whether the output stays uint8, since the next layer takes it as it is.
        add_activation: Function that adds the activation.
    """
    source = _add_quantization(graph, layer.source, f"{suffix}_in")
    if not is_quantized:
        value = graph.add_node("QuantizeLinear", [value, *source], f"q{suffix}")
    x = graph.add_node("DequantizeLinear", [value, *source], f"x{suffix}")
    scales = graph.add_constant(f"t{suffix}", layer.scales)
    integer_weights = add_weights(graph, suffix, layer.W, selection, bits=layer.bits)
    # Zero is the default zero point, but ONNX Runtime does not fuse nodes that leave it out.
    zero_points = graph.add_shared_constant(
        f"zeros_{len(layer.b)}", np.zeros(len(layer.b), np.int8)
    )
    W = graph.add_node(
        "DequantizeLinear", [integer_weights, scales, zero_points], f"W{suffix}_real", axis=1
    )
    bias_scales = graph.add_constant(f"st{suffix}", layer.source.scale * layer.scales)
    integer_bias = graph.add_constant(f"b{suffix}", layer.b)
    b = graph.add_node("DequantizeLinear", [integer_bias, bias_scales], f"b{suffix}_real", axis=0)
    z = graph.add_node("Gemm", [x, W, b], f"z{suffix}")
    if layer.target is None and layer.activation.name == "relu":
        # ONNX Runtime would fuse a Relu without a QuantizeLinear after it with the Gemm, which then
        # is computed in float32 and dequantizes its weights in every prediction.
        zero = graph.add_shared_constant("zero", np.array(0, np.float32))
        return graph.add_node("Max", [z, zero], f"a{suffix}")
    a = add_activation(graph, layer.activation, z, suffix)
    if layer.target is None:
        return a
    target = _add_quantization(graph, layer.target, suffix)
    quantized_output = graph.add_node("QuantizeLinear", [a, *target], f"r{suffix}")
    if feeds_int8_layer:
        return quantized_output
    return graph.add_node("DequantizeLinear", [quantized_output, *target], f"r{suffix}_real")


def _add_quantization(graph: NodeBuilder, quantization: Quantization, suffix: str) -> list[str]:
    """Add the scale and the zero point of a quantization and return their names."""
    scale, zero_point = quantization
    return [
        graph.add_constant(f"s{suffix}", np.array(scale, np.float32)),
        graph.add_constant(f"o{suffix}", np.array(zero_point, np.uint8)),
    ]
