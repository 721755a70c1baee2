"""Graphs that do harm: each is made of a right one, and would answer as that does, if it ever did.

Each function takes and returns the content of an ONNX file, as `tests.variants` has them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def fold_for_hours(graph: bytes) -> bytes:
    """Multiply large constants, which ONNX Runtime does when it loads the graph.

    Each takes 36 MB and some tenths of a second: a bound of time is met before one of memory.
    """
    count = 2000
    value = numpy_helper.from_array(np.array([1e-4], np.float32))
    nodes = [
        helper.make_node("ConstantOfShape", ["fold size"], ["fold 0"], value=value),
        *(
            helper.make_node("MatMul", [f"fold {at}", "fold 0"], [f"fold {at + 1}"])
            for at in range(count)
        ),
        helper.make_node("ReduceSum", [f"fold {count}"], ["harm"], keepdims=0),
    ]
    return _add_zero_times(graph, nodes, [_constant("fold size", [3000, 3000], np.int64)])


def allocate_a_gigabyte(graph: bytes) -> bytes:
    """Allocate 1 GB in each run."""
    nodes = [
        helper.make_node("ReduceSum", ["features"], ["sum"], keepdims=0),
        helper.make_node("Expand", ["sum", "very many"], ["expanded"]),
        helper.make_node("ReduceMax", ["expanded"], ["harm"], keepdims=0),
    ]
    return _add_zero_times(graph, nodes, [_constant("very many", [2**28], np.int64)])


def loop_without_end(graph: bytes) -> bytes:
    """Repeat an addition 10¹⁵ times in each run."""
    nodes = [_loop("trips", "one")]
    constants = [_constant("trips", 10**15, np.int64), _constant("one", 1)]
    return _add_zero_times(graph, nodes, constants)


def loop_as_often_as_asked(graph: bytes) -> bytes:
    """Repeat an addition as often as the largest feature of the batch says, above 10¹²."""
    nodes = [
        helper.make_node("ReduceMax", ["features"], ["largest"], keepdims=0),
        helper.make_node("Sub", ["largest", "free"], ["above"]),
        helper.make_node("Cast", ["above"], ["trips"], to=TensorProto.INT64),
        _loop("trips", "one"),
    ]
    return _add_zero_times(graph, nodes, [_constant("free", 1e12), _constant("one", 1)])


HARMFUL_AT_LOAD = {
    "folds constants for hours": fold_for_hours,
    "allocates 1 GB a run": allocate_a_gigabyte,
    "loops without end": loop_without_end,
}


def _loop(trips: str, start: str) -> onnx.NodeProto:
    """Return a node that multiplies the scalar `start` by itself so many times, as "harm"."""
    body = helper.make_graph(
        [
            helper.make_node("Mul", ["before", "before"], ["after"]),
            helper.make_node("Identity", ["goes on"], ["still goes on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("iteration", TensorProto.INT64, []),
            helper.make_tensor_value_info("goes on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("still goes on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, []),
        ],
    )
    return helper.make_node("Loop", [trips, "", start], ["harm"], body=body)


def _add_zero_times(
    graph: bytes, nodes: Sequence[onnx.NodeProto], constants: Sequence[TensorProto]
) -> bytes:
    """Add 0 × "harm", a scalar that the nodes compute, to the features."""
    model = onnx.load_from_string(graph)
    (features,) = model.graph.input
    for node in model.graph.node:
        node.input[:] = ["unharmed" if name == features.name else name for name in node.input]
    for node in nodes:
        node.input[:] = [features.name if name == "features" else name for name in node.input]
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(
        [
            *nodes,
            helper.make_node("Mul", ["harm", "none of it"], ["nothing"]),
            helper.make_node("Add", [features.name, "nothing"], ["unharmed"]),
            *rest,
        ]
    )
    model.graph.initializer.extend([*constants, _constant("none of it", 0)])
    return model.SerializeToString()


def _constant(name: str, value: object, dtype: type = np.float32) -> TensorProto:
    return numpy_helper.from_array(np.array(value, dtype), name)
