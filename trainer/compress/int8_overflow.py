"""Whether this processor adds up products of bytes without overflow.

Where x86 has no VNNI, ONNX Runtime adds products of an unsigned and a signed byte in pairs, in 16
bits (the instruction `vpmaddubsw`), and 2 · 255 · 127 > 32,767. Weights of 7 bits fit.
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

INPUTS, UNITS = 64, 16
BATCHES = (1, 7, 64)  # rows; ONNX Runtime has other loops for one row than for many


@cache
def has_int8_overflow() -> bool:
    """Return whether a layer of the largest bytes is answered wrongly by ONNX Runtime here.

    The layer has 64 inputs of byte 255 and weights of 127, so that every pair of products overflows
    16 bits. The reference is `IntegerDense`, whose sums are exact.
    """
    layer = IntegerDense(
        np.full((INPUTS, UNITS), 127, np.int8),
        np.zeros(UNITS, np.int32),
        np.ones(UNITS, np.float32),
        source=Quantization(np.float32(1), 0),
    )
    network = Network(INPUTS, [layer], rng=np.random.default_rng(0))
    session = GraphSession(_graph(layer))
    for rows in BATCHES:
        x = np.full((rows, INPUTS), 255, np.float32)
        if not np.array_equal(session.run({"x": x})["z"], network.logits(x)):
            return True
    return False


def _graph(layer: IntegerDense) -> bytes:
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
            [create_value_info("x", FLOAT, INPUTS)],
            [create_value_info("z", FLOAT, UNITS)],
            initializer=graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    return bytes(proto.SerializeToString(deterministic=True))
