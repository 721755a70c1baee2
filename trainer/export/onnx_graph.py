"""The ONNX graph of a model: it takes raw records and returns the model's answers.

    inputs → preprocessing → Gemm, f, …, Gemm (logits) → Div (temperature) → Add (bias)
    binary       → Mul (0, z) → Softmax = probabilities [N, 2]
                   probability of the positive class ≥ threshold → label [N]
    multiclass   → Softmax = probabilities [N, K] → ArgMax → label [N]
    regression   → Mul, Add (units of the target); of logarithms → Exp
    counts       → Exp
                   → Max, Min (range of the training targets) = value [N, T]

`preprocessing` adds the nodes before the network; `activation_nodes`, `int8_layers`,
`periodic_nodes` and `weight_layout` add parts of its layers. The names of values are part of the
exported file. Do not change them: `trainer compress` builds the graph of an older bundle again and
compares the bytes.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from serving.bundle import OUTPUT_NAMES
from trainer.export.activation_nodes import add_activation
from trainer.export.folding import (
    Affine,
    Average,
    Fork,
    Lookup,
    Operation,
    Periodic,
    Scale,
    fold_network,
)
from trainer.export.int8_layers import add_integer_dense
from trainer.export.node_builder import FLOAT, INT64, STRING, NodeBuilder, create_value_info
from trainer.export.periodic_nodes import add_periodic_embedding
from trainer.export.preprocessing import ML_OPSET, add_encoder_nodes, create_graph_inputs
from trainer.export.weight_layout import add_weights
from trainer.model import Model
from trainer.nn import FeatureSelect, IntegerDense

# Versions that the oldest supported ONNX Runtime loads. The defaults of the onnx package are newer
# than what a runtime of the same age loads.
OPSET = 17
IR_VERSION = 9


def build_graph(model: Model) -> bytes:
    """Return the model as a serialized ONNX file that has passed the ONNX checker.

    Raises:
        onnx.checker.ValidationError: If the graph is malformed.
    """
    inputs = create_graph_inputs(model.encoder.columns)
    graph = NodeBuilder({value.name for value in inputs}.union(OUTPUT_NAMES))
    features = add_encoder_nodes(graph, model.encoder)
    logits = _add_operations(graph, fold_network(model.network.layers), features, "")
    outputs = _add_outputs(graph, model, _add_calibration(graph, model, logits))
    opsets = [helper.make_opsetid("", OPSET)]
    if any(node.domain for node in graph.nodes):
        opsets.append(helper.make_opsetid("ai.onnx.ml", ML_OPSET))
    proto = helper.make_model(
        helper.make_graph(graph.nodes, "forwardpass", inputs, outputs, initializer=graph.constants),
        opset_imports=opsets,
        ir_version=IR_VERSION,
        producer_name="forwardpass",
    )
    onnx.checker.check_model(proto, full_check=True)
    return bytes(proto.SerializeToString(deterministic=True))


def _add_operations(
    graph: NodeBuilder, operations: list[Operation], value: str, prefix: str
) -> str:
    """Add operations one after the other and return the name of the last one's output.

    Args:
        graph: The graph under construction.
        operations: The operations.
        value: Name of the input of the first one.
        prefix: Prefix of the suffixes of names, which tells branches apart.
    """
    selection: FeatureSelect | None = None  # inputs that the next layer has weights for
    is_quantized = False  # whether the value is uint8, in the quantization of the next layer
    for i, operation in enumerate(operations, start=1):
        suffix = f"{prefix}{i}"
        following = operations[i] if i < len(operations) else None
        feeds_int8_layer = (
            isinstance(operation, IntegerDense)
            and isinstance(following, IntegerDense)
            and operation.target == following.source
        )
        match operation:
            case FeatureSelect(columns=columns) if not isinstance(following, Affine | IntegerDense):
                indices = graph.add_constant(f"columns{suffix}", columns)
                value = graph.add_node("Gather", [value, indices], f"x{suffix}", axis=1)
            case FeatureSelect():
                selection = operation
                continue
            case Affine(W, b, activation):
                weights = add_weights(graph, suffix, W, selection)
                bias = graph.add_constant(f"b{suffix}", b)
                z = graph.add_node("Gemm", [value, weights, bias], f"z{suffix}")
                value = add_activation(graph, activation, z, suffix)
            case IntegerDense():
                if not is_quantized and _follows_dense(operations[: i - 1]):
                    # ONNX Runtime would quantize float32 nodes between two quantized ones with
                    # scales of its own choice, but not across a Max. A Max of one value changes
                    # nothing.
                    value = graph.add_node("Max", [value], f"x{suffix}_real")
                value = add_integer_dense(
                    graph,
                    operation,
                    value,
                    suffix,
                    is_quantized=is_quantized,
                    selection=selection,
                    feeds_int8_layer=feeds_int8_layer,
                    add_activation=add_activation,
                )
            case Scale():
                value = _add_scale(graph, operation, value, suffix)
            case Fork():
                value = _add_fork(graph, operation, value, suffix)
            case Average():
                value = _add_average(graph, operation, value, suffix)
            case Lookup():
                value = _add_lookup(graph, operation, value, suffix)
            case Periodic():
                value = add_periodic_embedding(graph, operation, value, suffix)
        selection, is_quantized = None, feeds_int8_layer
    return value


def _follows_dense(operations: list[Operation]) -> bool:
    """Return whether the last of these operations, without selections, is a dense layer."""
    computing = [o for o in operations if not isinstance(o, FeatureSelect)]
    return bool(computing) and isinstance(computing[-1], Affine | IntegerDense)


def _add_scale(graph: NodeBuilder, operation: Scale, value: str, suffix: str) -> str:
    scale = graph.add_constant(f"s{suffix}", operation.scale)
    shift = graph.add_constant(f"t{suffix}", operation.shift)
    scaled = graph.add_node("Mul", [value, scale], f"scaled{suffix}")
    shifted = graph.add_node("Add", [scaled, shift], f"z{suffix}")
    return add_activation(graph, operation.activation, shifted, suffix)


def _add_fork(graph: NodeBuilder, fork: Fork, value: str, suffix: str) -> str:
    sizes = [columns.stop - columns.start for columns, _ in fork.branches]
    widths = graph.add_constant(f"widths{suffix}", np.array(sizes))
    names = [f"x{suffix}_{n}_0" for n in range(len(sizes))]
    inputs = graph.add_multi_output_node("Split", [value, widths], names, axis=1)
    outputs = [
        _add_operations(graph, operations, branch_input, f"{suffix}_{n}_")
        for n, ((_, operations), branch_input) in enumerate(zip(fork.branches, inputs, strict=True))
    ]
    return graph.add_node("Concat", outputs, f"joined{suffix}", axis=1)


def _add_average(graph: NodeBuilder, average: Average, value: str, suffix: str) -> str:
    # One chain of nodes for each member. Joined into one chain, whose weight matrices would be
    # block-diagonal, two members of 3 × 128 units take 1.4 times as long for 64 rows or more, and
    # four members 2.5 times.
    outputs = [
        _add_operations(graph, operations, value, f"{suffix}_{n}_")
        for n, operations in enumerate(average.members)
    ]
    return graph.add_node("Mean", outputs, f"mean{suffix}")


def _add_lookup(graph: NodeBuilder, lookup: Lookup, value: str, suffix: str) -> str:
    has_passed = bool(lookup.n_passed)
    sizes = [lookup.n_passed] * has_passed + [1] * len(lookup.tables)
    widths = graph.add_constant(f"widths{suffix}", np.array(sizes))
    names = [f"x{suffix}_{n}" for n in range(len(sizes))]
    columns = graph.add_multi_output_node("Split", [value, widths], names, axis=1)
    parts = columns[:1] if has_passed else []
    for n, (column, rows) in enumerate(zip(columns[has_passed:], lookup.tables, strict=True)):
        table = graph.add_constant(f"E{suffix}_{n}", rows)
        index = graph.add_node("Cast", [graph.flatten(column)], f"i{suffix}_{n}", to=INT64)
        parts.append(graph.add_node("Gather", [table, index], f"e{suffix}_{n}"))
    return graph.concatenate(parts, f"looked_up{suffix}")


def _add_calibration(graph: NodeBuilder, model: Model, logits: str) -> str:
    if model.temperature != 1:
        temperature = graph.add_constant("temperature", np.asarray(model.temperature, np.float32))
        logits = graph.add_node("Div", [logits, temperature], "cooled")
    if model.logit_bias is not None:
        bias = graph.add_constant("logit_bias", model.logit_bias)
        logits = graph.add_node("Add", [logits, bias], "calibrated")
    return logits


def _add_outputs(graph: NodeBuilder, model: Model, logits: str) -> list[onnx.ValueInfoProto]:
    """Add the outputs of the graph and return their descriptions."""
    if model.task == "regression":
        _add_value(graph, model, logits)
        return [create_value_info("value", FLOAT, model.network.n_outputs)]
    if model.task == "binary":
        class_index, n_classes = _add_binary_probabilities(graph, model, logits), 2
    else:
        class_index, n_classes = _add_softmax(graph, logits), model.network.n_outputs
    classes = np.asarray(model.classes)
    are_texts = classes.dtype.kind == "U"
    table = graph.add_constant("classes", classes.astype(object) if are_texts else classes)
    graph.add_output_node("Gather", [table, class_index], "label")
    return [
        create_value_info("label", STRING if are_texts else INT64),
        create_value_info("probabilities", FLOAT, n_classes),
    ]


def _add_binary_probabilities(graph: NodeBuilder, model: Model, logit: str) -> str:
    """Add the probabilities of two classes and return the name of the predicted class's index."""
    # The softmax of 0 and z is sigmoid(-z) and sigmoid(z). It keeps the relative precision of small
    # probabilities, which ONNX Runtime's Sigmoid does not.
    sides = graph.add_constant("sides", np.array([[0, 1]], np.float32))
    pair = graph.add_node("Mul", [logit, sides], "pair")
    graph.add_output_node("Softmax", [pair], "probabilities", axis=1)
    # The name "second" is the one of graphs from before the positive class could be chosen.
    name = "second" if model.positive_index else "first"
    column = graph.add_constant(name, np.array(model.positive_index))
    p = graph.add_node("Gather", ["probabilities", column], "p", axis=1)
    threshold = graph.add_constant("threshold", np.asarray(model.threshold, np.float32))
    is_second = graph.add_node("GreaterOrEqual", [p, threshold], "above")
    if not model.positive_index:
        is_second = graph.add_node("Not", [is_second], "below")
    return graph.add_node("Cast", [is_second], "choice", to=INT64)


def _add_softmax(graph: NodeBuilder, logits: str) -> str:
    """Add the probabilities of many classes and return the name of the predicted class's index."""
    graph.add_output_node("Softmax", [logits], "probabilities", axis=1)
    return graph.add_node("ArgMax", ["probabilities"], "choice", axis=1, keepdims=0)


def _add_value(graph: NodeBuilder, model: Model, outputs: str) -> None:
    operator, inputs = _add_unscaling(graph, model, outputs)
    if model.value_range is None:
        graph.add_output_node(operator, inputs, "value")
        return
    unclipped = graph.add_node(operator, inputs, "unclipped")
    low, high = (
        graph.add_constant(name, limit)
        for name, limit in zip(("lowest", "highest"), model.value_range, strict=True)
    )
    raised = graph.add_node("Max", [unclipped, low], "raised")
    graph.add_output_node("Min", [raised, high], "value")


def _add_unscaling(graph: NodeBuilder, model: Model, outputs: str) -> tuple[str, list[str]]:
    """Add the nodes from outputs to the units of the target, except the last.

    Returns:
        Operator and inputs of the last node.
    """
    if model.loss.link == "exp":
        return "Exp", [outputs]
    if model.target_scaler is None:
        raise ValueError("expected target statistics in a regression model; got none")
    scale = graph.add_constant("target_scale", model.target_scaler.scale)
    offset = graph.add_constant("target_offset", model.target_scaler.offset)
    scaled = graph.add_node("Mul", [outputs, scale], "scaled")
    if not model.has_log_target:
        return "Add", [scaled, offset]
    return "Exp", [graph.add_node("Add", [scaled, offset], "logarithm")]
