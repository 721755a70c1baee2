"""Graphs that block a process or fill its memory.

Each function takes the content of a correct ONNX file and returns that of a harmful one, which
would give the same answers if it ever ended. `tests.variants` has functions of the same signature.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def fold_for_hours(graph: bytes) -> bytes:
    """Multiply large constants, which ONNX Runtime does when it loads the graph.

    Each product takes 36 MB and some tenths of a second, so the time limit is reached before the
    memory limit.
    """
    count = 2000
    value = numpy_helper.from_array(np.array([1e-4], np.float32))
    nodes = [
        helper.make_node("ConstantOfShape", ["fold size"], ["fold 0"], value=value),
        *(
            helper.make_node("MatMul", [f"fold {index}", "fold 0"], [f"fold {index + 1}"])
            for index in range(count)
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


def loop_endlessly(graph: bytes) -> bytes:
    """Loop 10¹⁵ times in each run."""
    nodes = [_loop("trips", "one")]
    constants = [_constant("trips", 10**15, np.int64), _constant("one", 1)]
    return _add_zero_times(graph, nodes, constants)


def loop_as_often_as_asked(graph: bytes) -> bytes:
    """Loop as many times as the largest feature of the batch exceeds 10¹²."""
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
    "loops without end": loop_endlessly,
}


def _loop(trips: str, start: str) -> onnx.NodeProto:
    """Return a Loop node that squares the scalar `start` repeatedly. Its output is "harm".

    Args:
        trips: Name of the tensor with the number of repetitions.
        start: Name of the scalar.
    """
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
    """Return a graph in which nodes run but do not change the answers.

    0 times the scalar "harm", which the nodes compute, is added to the features.

    Args:
        graph: Content of the ONNX file.
        nodes: Nodes to add; one of them outputs "harm".
        constants: Constants of the nodes.
    """
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
