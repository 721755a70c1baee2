"""The graph: a model as ONNX, node by node, raw features in and answers out.

features [N, F] → Sub, Div (standardise) → Gemm, f, … Gemm (logits)
  binary       → Sigmoid → Concat(1 − p, p)    = probabilities [N, 2] → p ≥ threshold → label [N]
  multiclass   → Softmax                       = probabilities [N, K] → ArgMax        → label [N]
  regression   → Mul, Add (original units)     = value [N, T]
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from trainer.model import Model

# The newest that the oldest supported ONNX Runtime loads with room to spare; onnx's own defaults
# run ahead of the runtime's.
OPSET = 17
IR_VERSION = 9

# nn's name for an activation → the ONNX operator.
OPERATORS = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh"}


def build_graph(model: Model) -> bytes:
    """The model as a serialized ONNX file, checked by onnx's own checker.

    Raises:
        onnx.checker.ValidationError: the graph is malformed.
    """
    graph = _Graph()
    logits = _logits(graph, model, _standardize(graph, model))
    if model.task == "regression":
        outputs = [_value(graph, model, logits)]
    else:
        choice, probabilities = (_binary if model.task == "binary" else _multiclass)(
            graph, model, logits
        )
        outputs = [_label(graph, model, choice), probabilities]
    proto = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "forwardpass",
            [_face("features", TensorProto.FLOAT, model.network.n_inputs)],
            outputs,
            initializer=graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="forwardpass",
    )
    onnx.checker.check_model(proto, full_check=True)
    return bytes(proto.SerializeToString(deterministic=True))


class _Graph:
    """Nodes and constants as they are added, each value under the name of what it holds."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, array: NDArray[Any]) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(
            helper.make_node(operator, inputs, [output], name=f"{operator}_{output}", **attributes)
        )
        return output


def _standardize(graph: _Graph, model: Model) -> str:
    # Two nodes, as NumPy does it: folded into the first weights, features of large mean and small
    # deviation would lose their digits.
    mean = graph.constant("mean", model.features.mean)
    scale = graph.constant("scale", model.features.scale)
    centred = graph.node("Sub", ["features", mean], "centred")
    return graph.node("Div", [centred, scale], "standardized")


def _logits(graph: _Graph, model: Model, value: str) -> str:
    for i, layer in enumerate(model.network.layers, start=1):
        W, b = graph.constant(f"W{i}", layer.W), graph.constant(f"b{i}", layer.b)
        value = graph.node("Gemm", [value, W, b], f"z{i}")
        if layer.activation.name != "identity":
            value = graph.node(OPERATORS[layer.activation.name], [value], f"a{i}")
    return value


def _binary(graph: _Graph, model: Model, logits: str) -> tuple[str, onnx.ValueInfoProto]:
    p = graph.node("Sigmoid", [logits], "p")
    one = graph.constant("one", np.ones((), np.float32))
    complement = graph.node("Sub", [one, p], "complement")
    graph.node("Concat", [complement, p], "probabilities", axis=1)
    threshold = graph.constant("threshold", np.asarray(model.threshold, np.float32))
    above = graph.node("GreaterOrEqual", [p, threshold], "above")
    flat = graph.node("Reshape", [above, graph.constant("flat", np.array([-1]))], "above_flat")
    choice = graph.node("Cast", [flat], "choice", to=TensorProto.INT64)
    return choice, _face("probabilities", TensorProto.FLOAT, 2)


def _multiclass(graph: _Graph, model: Model, logits: str) -> tuple[str, onnx.ValueInfoProto]:
    graph.node("Softmax", [logits], "probabilities", axis=1)
    choice = graph.node("ArgMax", ["probabilities"], "choice", axis=1, keepdims=0)
    return choice, _face("probabilities", TensorProto.FLOAT, model.network.n_outputs)


def _label(graph: _Graph, model: Model, choice: str) -> onnx.ValueInfoProto:
    classes = np.asarray(model.classes)
    text = classes.dtype.kind == "U"
    table = graph.constant("classes", classes.astype(object) if text else classes)
    graph.node("Gather", [table, choice], "label")
    kind = TensorProto.STRING if text else TensorProto.INT64
    return _face("label", kind)


def _value(graph: _Graph, model: Model, outputs: str) -> onnx.ValueInfoProto:
    if model.targets is None:
        raise ValueError("expected target statistics in a regression model; got none")
    scaled = graph.node(
        "Mul", [outputs, graph.constant("target_scale", model.targets.scale)], "scaled"
    )
    graph.node("Add", [scaled, graph.constant("target_mean", model.targets.mean)], "value")
    return _face("value", TensorProto.FLOAT, model.network.n_outputs)


def _face(name: str, kind: int, *columns: int) -> onnx.ValueInfoProto:
    """An input or output: any number of rows, and so many columns."""
    return helper.make_tensor_value_info(name, kind, ["N", *columns])
