"""The graph: a model as ONNX, node by node, raw features in and answers out.

features [N, F] → Sub, Div (scale) → Gemm, f, … Gemm (logits)
  binary       → Sigmoid → Concat(1 − p, p)    = probabilities [N, 2] → p ≥ threshold → label [N]
  multiclass   → Softmax                       = probabilities [N, K] → ArgMax        → label [N]
  regression   → Mul, Add (original units)     = value [N, T]
  counts       → Exp                           = value [N, T]
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from trainer.export.folding import Affine, Fork, Operation, Scale, fold
from trainer.model import Model
from trainer.nn import (
    ELU,
    GELU,
    SELU,
    Activation,
    Identity,
    LeakyReLU,
    ReLU,
    Sigmoid,
    Softplus,
    Swish,
    Tanh,
)

# The newest that the oldest supported ONNX Runtime loads with room to spare; onnx's own defaults
# run ahead of the runtime's.
OPSET = 17
IR_VERSION = 9


def build_graph(model: Model) -> bytes:
    """The model as a serialized ONNX file, checked by onnx's own checker.

    Raises:
        onnx.checker.ValidationError: the graph is malformed.
    """
    graph = _Graph()
    logits = _operations(graph, fold(model.network.layers), _scale(graph, model), "")
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


def _scale(graph: _Graph, model: Model) -> str:
    # Two nodes, as NumPy does it: folded into the first weights, features of large mean and small
    # deviation would lose their digits.
    offset = graph.constant("offset", model.features.offset)
    scale = graph.constant("scale", model.features.scale)
    moved = graph.node("Sub", ["features", offset], "moved")
    return graph.node("Div", [moved, scale], "scaled_features")


def _operations(graph: _Graph, operations: list[Operation], value: str, branch: str) -> str:
    """Add operations one after the other; names of values end in `branch` and a number."""
    for i, operation in enumerate(operations, start=1):
        at = f"{branch}{i}"
        match operation:
            case Affine(W, b, activation):
                inputs = [value, graph.constant(f"W{at}", W), graph.constant(f"b{at}", b)]
                value = _activate(graph, activation, graph.node("Gemm", inputs, f"z{at}"), at)
            case Scale(scale, shift, activation):
                factor, offset = graph.constant(f"s{at}", scale), graph.constant(f"t{at}", shift)
                scaled = graph.node("Mul", [value, factor], f"scaled{at}")
                shifted = graph.node("Add", [scaled, offset], f"z{at}")
                value = _activate(graph, activation, shifted, at)
            case Fork(parts):
                value = _fork(graph, parts, value, at)
    return value


def _fork(graph: _Graph, parts: list[tuple[slice, list[Operation]]], value: str, at: str) -> str:
    widths = graph.constant(f"widths{at}", np.array([p.stop - p.start for p, _ in parts]))
    inputs = [f"x{at}_{n}_0" for n in range(len(parts))]
    graph.nodes.append(
        helper.make_node("Split", [value, widths], inputs, name=f"Split_{at}", axis=1)
    )
    ends = [
        _operations(graph, operations, taken, f"{at}_{n}_")
        for n, ((_, operations), taken) in enumerate(zip(parts, inputs, strict=True))
    ]
    return graph.node("Concat", ends, f"joined{at}", axis=1)


def _activate(graph: _Graph, activation: Activation, z: str, at: str) -> str:
    """Each activation's ONNX form; what has no operator at this opset is put together."""
    a, kind = f"a{at}", type(activation)
    match activation:
        case Identity():
            a = z
        case Sigmoid() | Tanh() | Softplus():
            graph.node(kind.__name__, [z], a)
        case ReLU():
            graph.node("Relu", [z], a)
        case LeakyReLU():
            graph.node("LeakyRelu", [z], a, alpha=activation.alpha)
        case SELU():
            graph.node("Selu", [z], a, alpha=activation.alpha, gamma=activation.scale)
        case ELU():
            graph.node("Elu", [z], a, alpha=activation.alpha)
        case Swish():
            graph.node("Mul", [z, graph.node("Sigmoid", [z], f"gate{at}")], a)
        case GELU():  # an operator of its own from opset 20 on
            root, one, half = (
                graph.constant(f"{name}{at}", np.asarray(number, np.float32))
                for name, number in (("root", math.sqrt(0.5)), ("one", 1), ("half", 0.5))
            )
            erf = graph.node("Erf", [graph.node("Mul", [z, root], f"x{at}")], f"erf{at}")
            twice = graph.node("Mul", [z, graph.node("Add", [erf, one], f"phi{at}")], f"twice{at}")
            graph.node("Mul", [twice, half], a)
        case _:
            raise TypeError(f"expected an activation with an ONNX form; got {activation!r}")
    return a


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
    face = _face("value", TensorProto.FLOAT, model.network.n_outputs)
    if model.loss.link == "exp":
        graph.node("Exp", [outputs], "value")
        return face
    if model.targets is None:
        raise ValueError("expected target statistics in a regression model; got none")
    scaled = graph.node(
        "Mul", [outputs, graph.constant("target_scale", model.targets.scale)], "scaled"
    )
    graph.node("Add", [scaled, graph.constant("target_offset", model.targets.offset)], "value")
    return face


def _face(name: str, kind: int, *columns: int) -> onnx.ValueInfoProto:
    """An input or output: any number of rows, and so many columns."""
    return helper.make_tensor_value_info(name, kind, ["N", *columns])
