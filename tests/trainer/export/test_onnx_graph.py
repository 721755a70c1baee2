import copy
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest

from serving.runtime import GraphSession
from trainer.data.preprocess import Scaler
from trainer.data.records import Column, Records
from trainer.export.onnx_graph import IR_VERSION, OPSET, build_graph
from trainer.export.tolerances import compute_tolerances
from trainer.nn import (
    ACTIVATIONS,
    ELU,
    BatchNorm,
    Branches,
    Dense,
    Dropout,
    LeakyReLU,
    Network,
)

KINDS = [
    "multiclass",
    "binary",
    "text classes",
    "regression",
    "several targets",
    "no hidden layer",
    "counts",
    "batch norm",
    "gelu batch norm",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [0, 1, 7, 20])
def test_build_graph_in_onnx_runtime_equals_numpy(kind, size, export):
    exported = export(kind)
    records = exported.table.records.take(slice(size))
    # ONNX Runtime alone, without this project's code
    session = onnxruntime.InferenceSession(exported.graph, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    outputs = dict(zip(names, session.run(None, records.inputs()), strict=True))
    expected = exported.model.answers(records)
    assert set(names) == set(expected)
    for name, tolerance in compute_tolerances(exported.model, records).items():
        assert outputs[name].shape == expected[name].shape
        assert outputs[name].dtype == np.float32
        assert (np.abs(outputs[name] - expected[name]) <= tolerance).all()
    if "label" in names:
        assert outputs["label"].tolist() == expected["label"].tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_build_graph_is_valid_with_pinned_versions(kind, export):
    proto = onnx.load_from_string(export(kind).graph)
    onnx.checker.check_model(proto, full_check=True)
    assert proto.ir_version == IR_VERSION
    assert [(o.domain, o.version) for o in proto.opset_import] == [("", OPSET)]
    assert not any(t.data_location == onnx.TensorProto.EXTERNAL for t in proto.graph.initializer)


@pytest.mark.parametrize(
    ("kind", "outputs"),
    [
        (
            "multiclass",
            {"label": ("tensor(int64)", ["N"]), "probabilities": ("tensor(float)", ["N", 10])},
        ),
        (
            "binary",
            {"label": ("tensor(int64)", ["N"]), "probabilities": ("tensor(float)", ["N", 2])},
        ),
        (
            "text classes",
            {"label": ("tensor(string)", ["N"]), "probabilities": ("tensor(float)", ["N", 3])},
        ),
        ("regression", {"value": ("tensor(float)", ["N", 1])}),
        ("several targets", {"value": ("tensor(float)", ["N", 3])}),
    ],
)
def test_build_graph_has_inputs_and_outputs_of_the_contract(kind, outputs, export):
    exported = export(kind)
    session = onnxruntime.InferenceSession(exported.graph, providers=["CPUExecutionProvider"])
    (features,) = session.get_inputs()
    width = len(exported.table.records.columns)
    assert (features.name, features.type, features.shape) == (
        "features",
        "tensor(float)",
        ["N", width],
    )
    assert {o.name: (o.type, o.shape) for o in session.get_outputs()} == outputs


def test_build_graph_contains_scaling(export):
    exported = export("multiclass")
    operators = [node.op_type for node in onnx.load_from_string(exported.graph).graph.node]
    assert operators[:3] == ["Sub", "Div", "Gemm"]


def test_build_graph_same_model_gives_same_bytes(export):
    exported = export("binary")
    assert build_graph(exported.model) == exported.graph


def assert_graph_equals_numpy(model, layers, rng, rows=200):
    """Compare ONNX Runtime with NumPy for a model with these layers and return the difference."""
    width = sum(layers[0].widths) if isinstance(layers[0], Branches) else model.network.n_inputs
    network = Network(width, [*layers, Dense(model.network.n_outputs)], rng=rng)
    unscaled = Scaler(np.zeros(width, np.float32), np.ones(width, np.float32))
    numbers = replace(model.encoder.numbers, fill=np.full(width, np.nan, "f4"), scaler=unscaled)
    columns = tuple(Column(f"x{i}") for i in range(width))
    encoder = replace(model.encoder, columns=columns, numbers=numbers)
    model = replace(model, network=network, encoder=encoder)
    x = 3 * rng.normal(size=(rows, width)).astype(np.float32)
    for _ in range(3):  # so that the running means are not their initial values
        network.chain.forward(2 * x + 1, training=True)
    outputs, expected = (
        GraphSession(build_graph(model)).run({"features": x}),
        model.answers(Records(columns, x)),
    )
    delta = np.abs(outputs["probabilities"] - expected["probabilities"])
    assert (delta <= compute_tolerances(model, Records(columns, x))["probabilities"]).all()
    return delta.max()


@pytest.mark.parametrize(
    "activation",
    [*ACTIVATIONS, LeakyReLU(0.3), ELU(0.5), ELU(2.0)],
    ids=str,
)
def test_build_graph_every_activation_equals_numpy(activation, export, rng):
    layers = [Dense(20, activation), Dense(20, copy.deepcopy(activation))]
    assert assert_graph_equals_numpy(export("multiclass").model, layers, rng) < 1e-5


@pytest.mark.parametrize(
    "layers",
    [
        [Dense(16), BatchNorm("relu"), Dropout(0.5), Dense(8), BatchNorm("tanh")],
        [BatchNorm(), Dense(16, "relu"), BatchNorm("swish")],
        [Branches((2, [Dense(8, "relu"), Dropout(0.2)]), (3, [])), Dense(8, "tanh")],
        [Branches((2, []), (3, [Branches((1, []), (2, [Dense(3), BatchNorm("elu")]))]))],
    ],
    ids=str,
)
def test_build_graph_every_kind_of_layer_equals_numpy(layers, export, rng):
    assert assert_graph_equals_numpy(export("multiclass").model, layers, rng) < 1e-5


def test_build_graph_batch_norm_is_merged_into_dense(export):
    operators = [n.op_type for n in onnx.load_from_string(export("batch norm").graph).graph.node]
    assert operators[:7] == ["Sub", "Div", "Gemm", "Relu", "Gemm", "Relu", "Gemm"]


@pytest.mark.parametrize("threshold", [0.5, 0.25])
def test_build_graph_probability_at_threshold_is_second_class(threshold, export):
    model = replace(export("binary").model, threshold=threshold)
    rows, last_layer = np.zeros((1, model.network.n_inputs), np.float32), model.network.layers[-1]
    records = Records(model.encoder.columns, rows)
    parameters = model.network.parameters.copy()
    try:
        # The logit of every row is the one whose sigmoid is the threshold.
        last_layer.W[...], last_layer.b[...] = 0, np.log(threshold / (1 - threshold))
        p = model.answers(records)["probabilities"][0, 1]
        exact = replace(model, threshold=float(p))
        above = replace(model, threshold=float(np.nextafter(p, np.float32(1))))
        for chosen, label in ((exact, 1), (above, 0)):
            assert chosen.answers(records)["label"].tolist() == [label]
            outputs = GraphSession(build_graph(chosen)).run({"features": rows})
            if threshold == 0.5:  # both sides compute it exactly
                assert outputs["label"].tolist() == [label]
    finally:
        model.network.parameters[...] = parameters


@pytest.mark.parametrize("kind", ["multiclass", "binary", "regression"])
def test_build_graph_answer_is_independent_of_batch(kind, export):
    exported = export(kind)
    rows = exported.table.records.numbers[:64]
    output = "value" if kind == "regression" else "probabilities"
    single_outputs = np.concatenate(
        [exported.session.run({"features": r[None]})[output] for r in rows]
    )
    outliers = np.concatenate([rows, rows * 1e6])
    for batch in (rows, outliers):
        batch_outputs = exported.session.run({"features": batch})[output][: len(rows)]
        np.testing.assert_array_equal(batch_outputs, single_outputs)
