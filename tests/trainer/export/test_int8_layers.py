import copy
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest

from serving.runtime import GraphSession, run_in_slices
from trainer.compress.int8_overflow import has_int8_overflow
from trainer.data.preprocess import Encoding
from trainer.data.records import Column, Records
from trainer.data.tables import make_table
from trainer.export.onnx_graph import build_graph
from trainer.export.parity import check_parity
from trainer.export.self_test import create_synthetic_records
from trainer.export.tolerances import compute_tolerances
from trainer.model import Model
from trainer.nn import (
    ACTIVATIONS,
    BatchNorm,
    Branches,
    CategoricalCrossEntropy,
    Dense,
    Dropout,
    FeatureSelect,
    IntegerDense,
    Network,
    Quantization,
)

KINDS = {"multiclass": "digits", "binary": "tumours", "regression": "diabetes"}
LASTS = ["integer", "float", "unrounded"]
COLUMNS = np.array([0, 1, 3, 4, 7, 9])


def list_operators(graph):
    return [node.op_type for node in graph.graph.node]


def create_distinct_records(model, rng, rows):
    """Return records near the training data and moderately outside, all with different answers."""
    scaler = model.encoder.numbers.scaler
    numbers = rng.normal(scaler.offset, 3 * scaler.scale, (rows, len(scaler.scale)))
    return Records(model.encoder.columns, numbers.astype(np.float32))


@pytest.fixture(scope="module", params=[False, True], ids=["scaled", "pbld"])
def mixed_model(request):
    """A model with numbers, one-hot and embedded categories, and its records.

    The numbers are as they are, or embedded.
    """
    rng = np.random.default_rng(5)
    n = 300
    columns = (
        Column("many", "category", tuple(f"w{i}" for i in range(50))),
        Column("a"),
        Column("few", "category", ("x", "y", "z")),
        Column("b"),
    )
    codes = np.column_stack([rng.integers(-1, 50, n), rng.integers(-1, 3, n)]).astype(np.int32)
    records = Records(columns, rng.normal(size=(n, 2)).astype("f4"), np.empty((n, 0)), codes)
    table = make_table(
        source="t", records=records, target=rng.choice(["a", "b", "c"], n), target_names=("y",)
    )
    model = Model.build(
        table,
        np.arange(n),
        layers=lambda k: [Dense(k)],
        loss=CategoricalCrossEntropy(),
        rng=rng,
        encoding=Encoding(rare=1),
        embeds_numbers=request.param,
    )
    # Initial embeddings are near 0, so that the answers of all rows would be nearly equal.
    model.network.parameters[...] = rng.normal(size=model.network.n_parameters)
    return model, records


# The graph after ONNX Runtime's optimizations


@pytest.mark.parametrize("last", LASTS)
@pytest.mark.parametrize("bits", [4, 7, 8])
@pytest.mark.parametrize("columns", [None, COLUMNS], ids=["all", "some"])
def test_int8_layer_in_onnx_runtime_becomes_one_qgemm(
    columns, bits, last, export, create_integer_model, optimize
):
    exported, rng = export("multiclass"), np.random.default_rng(1)
    model = create_integer_model(
        exported.model, exported.table.records, rng, bits=bits, last=last, columns=columns
    )
    operators = list_operators(optimize(build_graph(model)))
    layers = sum(isinstance(layer, IntegerDense) for layer in model.network.layers)
    assert layers == 2 + (last == "integer")
    assert operators.count("QGemm") == layers
    assert operators.count("Gemm") == (last != "integer")
    # The ReLU is the lower limit of the uint8 range; only the scaling comes before the layers.
    assert operators[:4] == ["Sub", "Div", "QuantizeLinear", "QGemm"]
    assert operators.count("QuantizeLinear") == 1
    assert operators.count("DequantizeLinear") == (
        last == "float"
    )  # of the input of the last layer
    assert operators.count("Max") == (last == "unrounded")
    assert not {"FusedGemm", "MatMul", "Relu"} & set(operators)


@pytest.mark.parametrize("last", LASTS)
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS.keys() - {"identity", "relu"}))
def test_int8_layer_activation_without_fusion_stands_between_qgemms(
    activation, last, export, create_integer_model, optimize
):
    exported, rng = export("regression"), np.random.default_rng(1)
    model = create_integer_model(
        exported.model, exported.table.records, rng, activation=activation, last=last
    )
    operators = list_operators(optimize(build_graph(model)))
    assert operators.count("QGemm") == 2 + (last == "integer")
    assert operators.count("QuantizeLinear") == 2 + (last != "unrounded")
    assert operators.count("DequantizeLinear") == (last == "float")
    assert operators.count("Gemm") == (last != "integer")
    assert not {"FusedGemm", "MatMul"} & set(operators)


def test_int8_layer_after_embedding_becomes_qgemm(mixed_model, create_integer_model, optimize, rng):
    model = create_integer_model(*mixed_model, rng)
    operators = list_operators(optimize(build_graph(model)))
    assert operators.count("QGemm") == 3
    assert not {"Gemm", "DequantizeLinear"} & set(operators)


def test_int8_layer_graph_uses_standard_operators_only(export, create_integer_model, rng):
    exported = export("multiclass")
    proto = onnx.load_from_string(
        build_graph(create_integer_model(exported.model, exported.table.records, rng, bits=4))
    )
    onnx.checker.check_model(proto, full_check=True)
    assert {o.domain for o in proto.opset_import} == {""}
    gemms = [node for node in proto.graph.node if node.op_type == "Gemm"]
    assert len(gemms) == 3  # they describe the INT8 layers in float32


def test_int8_layer_same_model_gives_same_bytes(export, create_integer_model, rng):
    exported = export("binary")
    model = create_integer_model(exported.model, exported.table.records, rng, bits=4)
    assert build_graph(model) == build_graph(model)


# The answers


@pytest.mark.parametrize("columns", [None, COLUMNS], ids=["all", "some"])
@pytest.mark.parametrize("last", LASTS)
@pytest.mark.parametrize("bits", [4, 7, 8])
@pytest.mark.parametrize("activation", ["relu", "tanh", "elu", "swish"])
def test_int8_layer_every_kind_equals_numpy(
    activation, bits, last, columns, export, create_integer_model
):
    for seed, kind in enumerate(KINDS):
        exported, rng = export(kind), np.random.default_rng(seed)
        model = create_integer_model(
            exported.model,
            exported.table.records,
            rng,
            activation=activation,
            bits=bits,
            last=last,
            columns=columns,
        )
        held_out = exported.table.records.take(slice(60))
        session = GraphSession(build_graph(model))
        parity = check_parity(model, session, held_out, create_synthetic_records(model, rng))
        if kind != "regression" and activation == "relu":
            assert parity.label_agreement == 1
            assert parity.max_abs <= 1e-6


def create_with_coarser_source(layer):
    """Return the layer with a source quantization whose steps are 1.5 times as large."""
    source = Quantization(layer.source.scale * np.float32(1.5), layer.source.zero_point)
    return IntegerDense(
        layer.W,
        layer.b,
        layer.scales,
        source=source,
        target=layer.target,
        activation=layer.activation.name,
        bits=layer.bits,
    )


def create_with_float_output(layer):
    """Return the layer with an output in float32."""
    return IntegerDense(
        layer.W,
        layer.b,
        layer.scales,
        source=layer.source,
        activation=layer.activation.name,
        bits=layer.bits,
    )


@pytest.mark.parametrize(
    "layers",
    [
        lambda a, b, c: [Dense(64, "relu"), a, b, c],
        lambda a, b, c: [a, b, BatchNorm("tanh"), Dense(10)],
        lambda a, b, c: [a, b, Branches((6, []), (7, [Dense(4)])), Dense(10)],
        lambda a, b, c: [a, Branches((24, [b])), c],
        lambda a, b, c: [Branches((64, [a]))],
        lambda a, b, c: [a],
        lambda a, b, c: [a, create_with_coarser_source(b), c],
        lambda a, b, c: [create_with_float_output(a), b, c],
        lambda a, b, c: [a, b, FeatureSelect(np.arange(2, 12)), Dense(10)],
        lambda a, b, c: [a, Dropout(0.5), b, c],
        lambda a, b, c: [Dense(80), FeatureSelect(np.arange(9, 73)), a, b, c],
        lambda a, b, c: [
            FeatureSelect(np.arange(9, 64)),
            FeatureSelect(np.arange(3, 53)),
            Dense(64),
            a,
            b,
            c,
        ],
        lambda a, b, c: [FeatureSelect(np.arange(40)), BatchNorm("relu"), Dense(64), a, b, c],
        lambda a, b, c: [
            FeatureSelect(np.arange(40)),
            Branches((30, []), (10, [Dense(34)])),
            a,
            b,
            c,
        ],
        lambda a, b, c: [a, FeatureSelect(np.arange(3, 23)), Dense(13, "relu"), c],
        lambda a, b, c: [a, b, c, FeatureSelect(np.arange(10))],
        lambda a, b, c: [a, Dense(13), c],
        lambda a, b, c: [a, Dense(13, "relu"), c],
        lambda a, b, c: [a, Dense(20, "relu"), FeatureSelect(np.arange(3, 16)), c],
    ],
    ids=[
        "dense first",
        "followed by batch norm",
        "followed by branches",
        "inside a branch",
        "alone inside a branch",
        "alone",
        "source differs from target",
        "float output between",
        "selection of integer outputs",
        "dropout between",
        "selection of dense outputs",
        "selection of a selection",
        "selection before batch norm",
        "selection before branches",
        "selection before dense",
        "selection last",
        "linear dense between",
        "relu dense between",
        "dense and selection between",
    ],
)
def test_int8_layer_beside_other_layers_equals_numpy(layers, export, create_integer_model, rng):
    exported = export("multiclass")
    integer_layers = create_integer_model(
        exported.model, exported.table.records, rng
    ).network.layers
    network = Network(64, layers(*copy.deepcopy(integer_layers)), rng=rng)
    if network.n_outputs != 10:
        network = Network(64, [*copy.deepcopy(network.layers), Dense(10)], rng=rng)
    model = replace(exported.model, network=network)
    rows, synthetic = exported.table.records.take(slice(60)), create_synthetic_records(model, rng)
    parity = check_parity(model, GraphSession(build_graph(model)), rows, synthetic)
    assert parity.label_agreement == 1


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("last", LASTS)
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("columns", [None, np.arange(1, 12, 2)], ids=["all", "some"])
def test_int8_layer_after_embedding_equals_numpy(
    columns, bits, last, activation, mixed_model, create_integer_model, rng
):
    model = create_integer_model(
        *mixed_model, rng, activation=activation, bits=bits, last=last, columns=columns
    )
    session = GraphSession(build_graph(model))
    parity = check_parity(model, session, mixed_model[1], create_synthetic_records(model, rng))
    if activation == "relu":
        assert parity.label_agreement == 1
        assert parity.max_abs <= 1e-6


@pytest.mark.parametrize("bits", [4, 7, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_int8_layer_relu_equals_numpy_on_every_row(kind, bits, export, create_integer_model, rng):
    exported = export(kind)
    model = create_integer_model(exported.model, exported.table.records, rng, bits=bits)
    rows = create_distinct_records(model, rng, 5000)
    outputs, expected = GraphSession(build_graph(model)).run(rows.inputs()), model.answers(rows)
    name = "value" if kind == "regression" else "probabilities"
    unit = model.target_scaler.scale if kind == "regression" else 1
    assert (np.abs(outputs[name] - expected[name]) <= 1e-6 * unit).all()


@pytest.mark.parametrize("activation", ["tanh", "elu", "swish"])
@pytest.mark.parametrize("kind", KINDS)
def test_int8_layer_other_activations_are_within_tolerances(
    kind, activation, export, create_integer_model, rng
):
    exported = export(kind)
    model = create_integer_model(exported.model, exported.table.records, rng, activation=activation)
    rows = create_distinct_records(model, rng, 5000)
    outputs, expected = GraphSession(build_graph(model)).run(rows.inputs()), model.answers(rows)
    ((name, tolerances),) = compute_tolerances(model, rows).items()
    delta = np.abs(outputs[name] - expected[name])
    assert (delta <= tolerances).all()
    # Hardly any value lies midway between two integers, where rounding can change it by a step.
    unit = model.target_scaler.scale if kind == "regression" else 1
    assert np.mean(delta.max(axis=1) > 1e-6 * unit) < 0.01


@pytest.mark.parametrize("columns", [None, COLUMNS], ids=["all", "some"])
@pytest.mark.parametrize("last", LASTS)
@pytest.mark.parametrize("activation", ["relu", "swish"])
def test_int8_layer_without_fusion_nearly_equals_numpy(
    activation, last, columns, export, create_integer_model, rng
):
    exported = export("multiclass")
    model = create_integer_model(
        exported.model,
        exported.table.records,
        rng,
        activation=activation,
        bits=4,
        last=last,
        columns=columns,
        hidden=(80, 40),
    )
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    unfused = onnxruntime.InferenceSession(
        build_graph(model), options, providers=["CPUExecutionProvider"]
    )
    rows = create_distinct_records(model, rng, 2000)
    label, probabilities = unfused.run(["label", "probabilities"], rows.inputs())
    expected = model.answers(rows)
    delta = np.abs(probabilities - expected["probabilities"]).max(axis=1)
    # It adds in float32, so that values near the middle of two integers may be rounded differently.
    assert np.mean(delta > 1e-5) < 0.01
    assert delta.max() < 0.1
    assert np.mean(label == expected["label"]) > 0.998


@pytest.mark.parametrize("activation", ["relu", "tanh", "swish"])
@pytest.mark.parametrize("bits", [4, 8])
def test_int8_layer_answer_is_independent_of_batch(
    bits, activation, export, create_integer_model, rng
):
    exported = export("multiclass")
    model = create_integer_model(
        exported.model, exported.table.records, rng, activation=activation, bits=bits, hidden=(67,)
    )
    session, rows = GraphSession(build_graph(model)), create_distinct_records(model, rng, 5000)
    single_outputs = run_in_slices(session, rows.inputs(), 1)
    for size in (7, 256, 5000):
        # Each row among the others, and among others a thousand times as large.
        features = rows.inputs()["features"]
        mixed_rows = np.stack([features, 1000 * features[::-1]], axis=1).reshape(
            -1, features.shape[1]
        )
        for batch, own_rows in ((features, slice(None)), (mixed_rows, slice(0, None, 2))):
            outputs = run_in_slices(session, {"features": batch}, size)
            assert (outputs["label"][own_rows] == single_outputs["label"]).all()
            delta = np.abs(outputs["probabilities"][own_rows] - single_outputs["probabilities"])
            assert delta.max() <= (0 if activation == "relu" else 1e-6)


def test_int8_overflow_is_detected_if_8_bit_layers_differ(export, create_integer_model):
    exported = export("multiclass")
    records = exported.table.records.take(slice(200))
    agrees = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        model = create_integer_model(exported.model, records, rng, runs_here=False)
        outputs, expected = (
            GraphSession(build_graph(model)).run(records.inputs()),
            model.answers(records),
        )
        delta = np.abs(outputs["probabilities"] - expected["probabilities"])
        agrees.append(bool((delta <= compute_tolerances(model, records)["probabilities"]).all()))
    assert all(agrees) is not has_int8_overflow()
