"""A test of whether this processor adds products of 8-bit integers without overflow.

On x86 without VNNI, ONNX Runtime adds products of an unsigned and a signed byte in pairs, in 16
bits (the instruction `vpmaddubsw`). Since 2 · 255 · 127 > 32,767, such a sum can overflow. With
weights of 7 bits it cannot.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from onnx import helper

from serving.runtime import GraphSession
from trainer.export.int8_layers import add_integer_dense
from trainer.export.node_builder import FLOAT, NodeBuilder, create_value_info
from trainer.export.onnx_graph import IR_VERSION, OPSET
from trainer.nn import IntegerDense, Network, Quantization

N_INPUTS, N_UNITS = 64, 16
# ONNX Runtime has other loops for one row than for many.
BATCH_SIZES_ROWS = (1, 7, 64)


@cache
def has_int8_overflow() -> bool:
    """Return whether ONNX Runtime computes a layer of the largest 8-bit integers wrongly here.

    The layer has 64 inputs of 255 and weights of 127, so that every pair of products overflows 16
    bits. The reference is `IntegerDense`, whose sums are exact.
    """
    layer = IntegerDense(
        np.full((N_INPUTS, N_UNITS), 127, np.int8),
        np.zeros(N_UNITS, np.int32),
        np.ones(N_UNITS, np.float32),
        source=Quantization(np.float32(1), 0),
    )
    network = Network(N_INPUTS, [layer], rng=np.random.default_rng(0))
    session = GraphSession(_build_layer_graph(layer))
    for n_rows in BATCH_SIZES_ROWS:
        x = np.full((n_rows, N_INPUTS), 255, np.float32)
        if not np.array_equal(session.run({"x": x})["z"], network.logits(x)):
            return True
    return False


def _build_layer_graph(layer: IntegerDense) -> bytes:
    """Return the layer as a serialized ONNX graph from `x`, `[N, 64]`, to `z`, `[N, 16]`."""
    graph = NodeBuilder(["x", "z"])
    output = add_integer_dense(
        graph,
        layer,
        "x",
        "0",
        is_quantized=False,
        selection=None,
        feeds_int8_layer=False,
        add_activation=lambda _graph, _activation, value, _suffix: value,
    )
    graph.add_output_node("Identity", [output], "z")
    proto = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "bytes",
            [create_value_info("x", FLOAT, N_INPUTS)],
            [create_value_info("z", FLOAT, N_UNITS)],
            initializer=graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    return bytes(proto.SerializeToString(deterministic=True))
