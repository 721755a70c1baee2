import copy
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest

from serving.runtime import GraphSession, run_in_slices
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


def operators(graph):
    return [node.op_type for node in graph.graph.node]


def crowd(model, rng, rows):
    """Records around the training data and somewhat outside it, with no two answers alike."""
    scaler = model.encoder.numbers.scaler
    numbers = rng.normal(scaler.offset, 3 * scaler.scale, (rows, len(scaler.scale)))
    return Records(model.encoder.columns, numbers.astype(np.float32))


@pytest.fixture(scope="module")
def mixed():
    """A model of numbers, a category that is spread out and one that is embedded, and its rows."""
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
    model = Model.untrained(
        table,
        np.arange(n),
        layers=lambda k: [Dense(k)],
        loss=CategoricalCrossEntropy(),
        rng=rng,
        encoding=Encoding(rare=1),
    )
    # At first they are next to 0, as is what a network makes of them.
    model.network.parameters[...] = rng.normal(size=model.network.n_parameters)
    return model, records


# What ONNX Runtime makes of it


@pytest.mark.parametrize("last", LASTS)
@pytest.mark.parametrize("bits", [4, 7, 8])
@pytest.mark.parametrize("columns", [None, COLUMNS], ids=["all", "some"])
def test_a_layer_becomes_one_operator_on_bytes(columns, bits, last, export, in_bytes, optimized):
    exported, rng = export("multiclass"), np.random.default_rng(1)
    model = in_bytes(
        exported.model, exported.table.records, rng, bits=bits, last=last, columns=columns
    )
    found = operators(optimized(build_graph(model)))
    layers = sum(isinstance(layer, IntegerDense) for layer in model.network.layers)
    assert layers == 2 + (last == "integer")
    assert found.count("QGemm") == layers
    assert found.count("Gemm") == (last != "integer")
    # Its ReLU is the lower end of its bytes; nothing but the scaling comes before.
    assert found[:4] == ["Sub", "Div", "QuantizeLinear", "QGemm"]
    assert found.count("QuantizeLinear") == 1
    assert found.count("DequantizeLinear") == (last == "float")  # of what the last layer is fed
    assert found.count("Max") == (last == "unrounded")
    assert not {"FusedGemm", "MatMul", "Relu"} & set(found)


@pytest.mark.parametrize("last", LASTS)
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS.keys() - {"identity", "relu"}))
def test_another_activation_stands_between_two_of_them(
    activation, last, export, in_bytes, optimized
):
    exported, rng = export("regression"), np.random.default_rng(1)
    model = in_bytes(exported.model, exported.table.records, rng, activation=activation, last=last)
    found = operators(optimized(build_graph(model)))
    assert found.count("QGemm") == 2 + (last == "integer")
    assert found.count("QuantizeLinear") == 2 + (last != "unrounded")
    assert found.count("DequantizeLinear") == (last == "float")
    assert found.count("Gemm") == (last != "integer")
    assert not {"FusedGemm", "MatMul"} & set(found)


def test_layers_after_an_embedding_are_fused_too(mixed, in_bytes, optimized, rng):
    model = in_bytes(*mixed, rng)
    found = operators(optimized(build_graph(model)))
    assert found.count("QGemm") == 3
    assert not {"Gemm", "DequantizeLinear"} & set(found)


def test_the_file_is_of_what_every_runtime_knows(export, in_bytes, rng):
    exported = export("multiclass")
    proto = onnx.load_from_string(
        build_graph(in_bytes(exported.model, exported.table.records, rng, bits=4))
    )
    onnx.checker.check_model(proto, full_check=True)
    assert {o.domain for o in proto.opset_import} == {""}
    gemms = [node for node in proto.graph.node if node.op_type == "Gemm"]
    assert len(gemms) == 3  # which say in floats what is computed in bytes


def test_the_same_model_gives_the_same_bytes(export, in_bytes, rng):
    exported = export("binary")
    model = in_bytes(exported.model, exported.table.records, rng, bits=4)
    assert build_graph(model) == build_graph(model)


# Its answers


@pytest.mark.parametrize("columns", [None, COLUMNS], ids=["all", "some"])
@pytest.mark.parametrize("last", LASTS)
@pytest.mark.parametrize("bits", [4, 7, 8])
@pytest.mark.parametrize("activation", ["relu", "tanh", "elu", "swish"])
def test_every_kind_of_layer_answers_as_numpy_does(
    activation, bits, last, columns, export, in_bytes
):
    for seed, kind in enumerate(KINDS):
        exported, rng = export(kind), np.random.default_rng(seed)
        model = in_bytes(
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
        found = check_parity(model, session, held_out, create_synthetic_records(model, rng))
        if kind != "regression" and activation == "relu":
            assert found.label_agreement == 1
            assert found.max_abs <= 1e-6


def coarser(layer):
    """The layer with an input of steps half as large again."""
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


def unrounded(layer):
    """The layer with an output in float32."""
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
        lambda a, b, c: [a, coarser(b), c],
        lambda a, b, c: [unrounded(a), b, c],
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
        "then a norm",
        "then branches",
        "in a branch",
        "alone in a branch",
        "alone",
        "another source",
        "floats between",
        "some bytes",
        "dropout between",
        "some of a dense",
        "some of some",
        "some to a norm",
        "some to branches",
        "some bytes to a dense",
        "some ends",
        "a line between",
        "a dense between",
        "some of a dense between",
    ],
)
def test_layers_of_every_kind_may_stand_beside_them(layers, export, in_bytes, rng):
    exported = export("multiclass")
    whole = in_bytes(exported.model, exported.table.records, rng).network.layers
    network = Network(64, layers(*copy.deepcopy(whole)), rng=rng)
    if network.n_outputs != 10:
        network = Network(64, [*copy.deepcopy(network.layers), Dense(10)], rng=rng)
    model = replace(exported.model, network=network)
    rows, synthetic = exported.table.records.take(slice(60)), create_synthetic_records(model, rng)
    found = check_parity(model, GraphSession(build_graph(model)), rows, synthetic)
    assert found.label_agreement == 1


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("last", LASTS)
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("columns", [None, np.arange(1, 12, 2)], ids=["all", "some"])
def test_layers_after_an_embedding_answer_as_numpy_does(
    columns, bits, last, activation, mixed, in_bytes, rng
):
    model = in_bytes(*mixed, rng, activation=activation, bits=bits, last=last, columns=columns)
    session = GraphSession(build_graph(model))
    found = check_parity(model, session, mixed[1], create_synthetic_records(model, rng))
    if activation == "relu":
        assert found.label_agreement == 1
        assert found.max_abs <= 1e-6


@pytest.mark.parametrize("bits", [4, 7, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_relu_networks_answer_to_the_last_digits_on_every_row(kind, bits, export, in_bytes, rng):
    exported = export(kind)
    model = in_bytes(exported.model, exported.table.records, rng, bits=bits)
    rows = crowd(model, rng, 5000)
    got, expected = GraphSession(build_graph(model)).run(rows.inputs()), model.answers(rows)
    name = "value" if kind == "regression" else "probabilities"
    unit = model.targets.scale if kind == "regression" else 1
    assert (np.abs(got[name] - expected[name]) <= 1e-6 * unit).all()


@pytest.mark.parametrize("activation", ["tanh", "elu", "swish"])
@pytest.mark.parametrize("kind", KINDS)
def test_other_networks_answer_within_what_rounding_explains(
    kind, activation, export, in_bytes, rng
):
    exported = export(kind)
    model = in_bytes(exported.model, exported.table.records, rng, activation=activation)
    rows = crowd(model, rng, 5000)
    got, expected = GraphSession(build_graph(model)).run(rows.inputs()), model.answers(rows)
    ((name, allowed),) = compute_tolerances(model, rows).items()
    delta = np.abs(got[name] - expected[name])
    assert (delta <= allowed).all()
    # And hardly a value lies between two bytes, where that is a step.
    unit = model.targets.scale if kind == "regression" else 1
    assert np.mean(delta.max(axis=1) > 1e-6 * unit) < 0.01


@pytest.mark.parametrize("columns", [None, COLUMNS], ids=["all", "some"])
@pytest.mark.parametrize("last", LASTS)
@pytest.mark.parametrize("activation", ["relu", "swish"])
def test_a_runtime_that_fuses_nothing_answers_alike(
    activation, last, columns, export, in_bytes, rng
):
    exported = export("multiclass")
    model = in_bytes(
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
    plain = onnxruntime.InferenceSession(
        build_graph(model), options, providers=["CPUExecutionProvider"]
    )
    rows = crowd(model, rng, 2000)
    label, probabilities = plain.run(["label", "probabilities"], rows.inputs())
    expected = model.answers(rows)
    delta = np.abs(probabilities - expected["probabilities"]).max(axis=1)
    # It adds up in floats, so that what is next to the middle of two bytes may become the other.
    assert np.mean(delta > 1e-5) < 0.01
    assert delta.max() < 0.1
    assert np.mean(label == expected["label"]) > 0.998


@pytest.mark.parametrize("activation", ["relu", "tanh", "swish"])
@pytest.mark.parametrize("bits", [4, 8])
def test_a_row_has_the_same_answer_whatever_its_batch_mates(
    bits, activation, export, in_bytes, rng
):
    exported = export("multiclass")
    model = in_bytes(
        exported.model, exported.table.records, rng, activation=activation, bits=bits, hidden=(67,)
    )
    session, rows = GraphSession(build_graph(model)), crowd(model, rng, 5000)
    alone = run_in_slices(session, rows.inputs(), 1)
    for size in (7, 256, 5000):
        # Each row among others, and among others a thousand times as large.
        features = rows.inputs()["features"]
        among = np.stack([features, 1000 * features[::-1]], axis=1).reshape(-1, features.shape[1])
        for batch, mine in ((features, slice(None)), (among, slice(0, None, 2))):
            got = run_in_slices(session, {"features": batch}, size)
            assert (got["label"][mine] == alone["label"]).all()
            delta = np.abs(got["probabilities"][mine] - alone["probabilities"])
            assert delta.max() <= (0 if activation == "relu" else 1e-6)
