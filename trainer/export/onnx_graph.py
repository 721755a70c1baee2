"""The graph: a model as ONNX, records in and answers out.

records (`encoding` says how) → Gemm, f, … Gemm (logits) → Div (temperature) → Add (bias)
  binary       → Mul (0, z) → Softmax          = probabilities [N, 2]
                 p of the positive class ≥ threshold                  → label [N]
  multiclass   → Softmax                       = probabilities [N, K] → ArgMax        → label [N]
  regression   → Mul, Add (original units)     = value [N, T], of logarithms → Exp
  counts       → Exp                           = value [N, T]
"""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import helper

from serving.bundle import OUTPUT_NAMES
from trainer.export.folding import Affine, Fork, Lookup, Matrix, Operation, Scale, fold_network
from trainer.export.int8_layers import add_integer_dense
from trainer.export.node_builder import FLOAT, INT64, STRING, NodeBuilder, create_value_info
from trainer.export.preprocessing import ML_OPSET, add_encoder_nodes, create_graph_inputs
from trainer.export.weight_layout import weights
from trainer.model import Model
from trainer.nn import (
    ELU,
    GELU,
    SELU,
    Activation,
    FeatureSelect,
    Identity,
    IntegerDense,
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
    faces = create_graph_inputs(model.encoder.columns)
    names = {value.name for value in faces}
    graph = NodeBuilder(names.union(OUTPUT_NAMES))
    logits = _operations(
        graph, fold_network(model.network.layers), add_encoder_nodes(graph, model.encoder), ""
    )
    if model.temperature != 1:
        temperature = graph.constant("temperature", np.asarray(model.temperature, np.float32))
        logits = graph.node("Div", [logits, temperature], "cooled")
    if model.logit_bias is not None:
        bias = graph.constant("logit_bias", model.logit_bias)
        logits = graph.node("Add", [logits, bias], "calibrated")
    if model.task == "regression":
        outputs = [_value(graph, model, logits)]
    else:
        choice, probabilities = (_binary if model.task == "binary" else _multiclass)(
            graph, model, logits
        )
        outputs = [_label(graph, model, choice), probabilities]
    opsets = [helper.make_opsetid("", OPSET)]
    if any(node.domain for node in graph.nodes):
        opsets.append(helper.make_opsetid("ai.onnx.ml", ML_OPSET))
    proto = helper.make_model(
        helper.make_graph(graph.nodes, "forwardpass", faces, outputs, initializer=graph.constants),
        opset_imports=opsets,
        ir_version=IR_VERSION,
        producer_name="forwardpass",
    )
    onnx.checker.check_model(proto, full_check=True)
    return bytes(proto.SerializeToString(deterministic=True))


def _operations(graph: NodeBuilder, operations: list[Operation], value: str, branch: str) -> str:
    """Add operations one after the other; names of values end in `branch` and a number."""
    looked_at: FeatureSelect | None = None  # by the operation that comes next
    quantized = False
    for i, operation in enumerate(operations, start=1):
        at = f"{branch}{i}"
        after = operations[i] if i < len(operations) else None
        feeds_bytes = (
            isinstance(operation, IntegerDense)
            and isinstance(after, IntegerDense)
            and operation.target == after.source
        )
        match operation:
            case FeatureSelect(columns=columns) if not isinstance(after, Affine | IntegerDense):
                places = graph.constant(f"columns{at}", columns)
                value = graph.node("Gather", [value, places], f"x{at}", axis=1)
            case FeatureSelect():
                looked_at = operation
                continue
            case Affine(W, b, activation):
                inputs = [value, weights(graph, at, W, looked_at), graph.constant(f"b{at}", b)]
                value = _activate(graph, activation, graph.node("Gemm", inputs, f"z{at}"), at)
            case IntegerDense():
                before = [o for o in operations[: i - 1] if not isinstance(o, FeatureSelect)]
                if before and isinstance(before[-1], Affine | IntegerDense) and not quantized:
                    # What is in floats between bytes and bytes the runtime would round to bytes
                    # itself, as it thinks best; it does not look past a Max, of one value here.
                    value = graph.node("Max", [value], f"x{at}_real")
                value = add_integer_dense(
                    graph,
                    operation,
                    value,
                    at,
                    quantized=quantized,
                    looked_at=looked_at,
                    feeds_bytes=feeds_bytes,
                    activate=_activate,
                )
            case Scale(scale, shift, activation):
                factor, offset = graph.constant(f"s{at}", scale), graph.constant(f"t{at}", shift)
                scaled = graph.node("Mul", [value, factor], f"scaled{at}")
                shifted = graph.node("Add", [scaled, offset], f"z{at}")
                value = _activate(graph, activation, shifted, at)
            case Fork(parts):
                value = _fork(graph, parts, value, at)
            case Lookup(passed, tables):
                value = _lookup(graph, passed, tables, value, at)
        looked_at = None
        quantized = feeds_bytes
    return value


def _fork(
    graph: NodeBuilder, parts: list[tuple[slice, list[Operation]]], value: str, at: str
) -> str:
    widths = graph.constant(f"widths{at}", np.array([p.stop - p.start for p, _ in parts]))
    inputs = graph.split(
        "Split", [value, widths], [f"x{at}_{n}_0" for n in range(len(parts))], axis=1
    )
    ends = [
        _operations(graph, operations, taken, f"{at}_{n}_")
        for n, ((_, operations), taken) in enumerate(zip(parts, inputs, strict=True))
    ]
    return graph.node("Concat", ends, f"joined{at}", axis=1)


def _lookup(graph: NodeBuilder, passed: int, tables: list[Matrix], value: str, at: str) -> str:
    sizes = [passed] * bool(passed) + [1] * len(tables)
    widths = graph.constant(f"widths{at}", np.array(sizes))
    taken = graph.split("Split", [value, widths], [f"x{at}_{n}" for n in range(len(sizes))], axis=1)
    parts = taken[:1] if passed else []
    for n, (place, rows) in enumerate(zip(taken[bool(passed) :], tables, strict=True)):
        table = graph.constant(f"E{at}_{n}", rows)
        index = graph.node("Cast", [graph.as_vector(place)], f"i{at}_{n}", to=INT64)
        parts.append(graph.node("Gather", [table, index], f"e{at}_{n}"))
    return graph.joined(parts, f"looked_up{at}")


def _activate(  # noqa: PLR0911  one form each
    graph: NodeBuilder, activation: Activation, z: str, at: str
) -> str:
    """Each activation's ONNX form; what has no operator at this opset is put together."""
    a, kind = f"a{at}", type(activation)
    match activation:
        case Identity():
            return z
        case Sigmoid() | Tanh() | Softplus():
            return graph.node(kind.__name__, [z], a)
        case ReLU():
            return graph.node("Relu", [z], a)
        case LeakyReLU():
            return graph.node("LeakyRelu", [z], a, alpha=activation.alpha)
        case SELU():
            return graph.node("Selu", [z], a, alpha=activation.alpha, gamma=activation.scale)
        case ELU():
            return graph.node("Elu", [z], a, alpha=activation.alpha)
        case Swish():
            return graph.node("Mul", [z, graph.node("Sigmoid", [z], f"gate{at}")], a)
        case GELU():  # an operator of its own from opset 20 on
            root, one, half = (
                graph.constant(f"{name}{at}", np.asarray(number, np.float32))
                for name, number in (("root", math.sqrt(0.5)), ("one", 1), ("half", 0.5))
            )
            erf = graph.node("Erf", [graph.node("Mul", [z, root], f"x{at}")], f"erf{at}")
            twice = graph.node("Mul", [z, graph.node("Add", [erf, one], f"phi{at}")], f"twice{at}")
            return graph.node("Mul", [twice, half], a)
        case _:
            raise TypeError(f"expected an activation with an ONNX form; got {activation!r}")


def _binary(graph: NodeBuilder, model: Model, logits: str) -> tuple[str, onnx.ValueInfoProto]:
    # The softmax of 0 and z is σ(−z) and σ(z), to the last digit even of small ones; the runtime's
    # Sigmoid keeps absolute precision only.
    sides = graph.constant("sides", np.array([[0, 1]], np.float32))
    graph.answer("Softmax", [graph.node("Mul", [logits, sides], "pair")], "probabilities", axis=1)
    # "second" where it is, as in all graphs before there was a choice: compression compares bytes.
    name = "second" if model.positive else "first"
    column = graph.constant(name, np.array(model.positive))
    p = graph.node("Gather", ["probabilities", column], "p", axis=1)
    threshold = graph.constant("threshold", np.asarray(model.threshold, np.float32))
    above = graph.node("GreaterOrEqual", [p, threshold], "above")
    if not model.positive:  # the label is then the first class where p is above
        above = graph.node("Not", [above], "below")
    choice = graph.node("Cast", [above], "choice", to=INT64)
    return choice, create_value_info("probabilities", FLOAT, 2)


def _multiclass(graph: NodeBuilder, model: Model, logits: str) -> tuple[str, onnx.ValueInfoProto]:
    graph.answer("Softmax", [logits], "probabilities", axis=1)
    choice = graph.node("ArgMax", ["probabilities"], "choice", axis=1, keepdims=0)
    return choice, create_value_info("probabilities", FLOAT, model.network.n_outputs)


def _label(graph: NodeBuilder, model: Model, choice: str) -> onnx.ValueInfoProto:
    classes = np.asarray(model.classes)
    text = classes.dtype.kind == "U"
    table = graph.constant("classes", classes.astype(object) if text else classes)
    graph.answer("Gather", [table, choice], "label")
    kind = STRING if text else INT64
    return create_value_info("label", kind)


def _value(graph: NodeBuilder, model: Model, outputs: str) -> onnx.ValueInfoProto:
    value = create_value_info("value", FLOAT, model.network.n_outputs)
    if model.loss.link == "exp":
        graph.answer("Exp", [outputs], "value")
        return value
    if model.targets is None:
        raise ValueError("expected target statistics in a regression model; got none")
    scale = graph.constant("target_scale", model.targets.scale)
    offset = graph.constant("target_offset", model.targets.offset)
    scaled = graph.node("Mul", [outputs, scale], "scaled")
    if model.logarithmic:
        graph.answer("Exp", [graph.node("Add", [scaled, offset], "logarithm")], "value")
    else:
        graph.answer("Add", [scaled, offset], "value")
    return value
