from dataclasses import replace

import numpy as np
import onnx
import pandas as pd
import pytest

from serving.runtime import GraphSession
from trainer.data.preprocess import Encoding, Scaler
from trainer.data.preprocess.dates import FIRST, LAST
from trainer.data.records import Column, Records, input_names
from trainer.data.tables import make_table
from trainer.export.onnx_graph import build_graph
from trainer.export.parity import check_parity
from trainer.export.tolerances import compute_tolerances
from trainer.model import Model
from trainer.nn import BinaryCrossEntropy, Dense

ROWS = 400


def create_records(rng, *, dates=None, name="x"):
    numbers = np.column_stack([rng.lognormal(3, 2, ROWS), rng.integers(0, 2, ROWS)])
    numbers[rng.random(numbers.shape) < 0.1] = np.nan
    if dates is None:
        dates = rng.integers(-9_000_000_000, 9_000_000_000, (ROWS, 1)).astype(np.float64)
        dates[rng.random(dates.shape) < 0.1] = np.nan
    columns = (
        Column("few", "category", ("é", "b,c", '"d"')),
        Column(name),
        Column("many", "category", tuple(f"w{i}" for i in range(60))),
        Column("yes", "boolean"),
        Column("when", "date"),
    )
    codes = np.column_stack([rng.integers(-1, 3, ROWS), rng.integers(-1, 60, ROWS)])
    return Records(columns, numbers.astype(np.float32), dates, codes.astype(np.int32))


def create_model(rows, rng, embeds_numbers=False, **encoding):
    target = np.where(rng.random(len(rows)) < 0.5, "a", "b")
    table = make_table(source="t", records=rows, target=target, target_names=("y",))
    return Model.build(
        table,
        np.arange(0, len(rows), 2),
        layers=lambda k: [Dense(16, "relu"), Dense(k)],
        loss=BinaryCrossEntropy(),
        rng=rng,
        encoding=Encoding(rare=1, **encoding),
        embeds_numbers=embeds_numbers,
    )


@pytest.mark.parametrize("scaling", ["standard", "minmax", "robust", "robust_clip", "quantile"])
@pytest.mark.parametrize("one_hot", [8, 100])
@pytest.mark.parametrize("embeds_numbers", [False, True])
def test_preprocessing_mixed_columns_equals_numpy(scaling, one_hot, embeds_numbers, rng):
    rows = create_records(rng)
    model = create_model(rows, rng, embeds_numbers, scaling=scaling, one_hot=one_hot)
    parity = check_parity(model, GraphSession(build_graph(model)), rows, rows.take(slice(0)))
    assert parity.max_abs < 1e-6
    assert parity.label_agreement == 1


@pytest.mark.parametrize(
    "offset, scale, nodes",
    [
        ([0, 0], [4, 4], {"Sub", "Div"}),
        ([0, 0], [1, 4], {"Sub", "Div"}),
        ([3, 0], [1, 1], {"Sub", "Div"}),
        ([0, 0], [1, 1], set()),
    ],
)
def test_preprocessing_neutral_scaling_is_left_out(offset, scale, nodes, rng):
    rows = Records.of_numbers(["a", "b"], rng.normal(2, 3, size=(ROWS, 2)))
    model = create_model(rows, rng)
    scaler = Scaler(np.array(offset, np.float32), np.array(scale, np.float32))
    numbers = replace(model.encoder.numbers, scaler=scaler)
    model = replace(model, encoder=replace(model.encoder, numbers=numbers))
    graph = build_graph(model)
    used_operators = {node.op_type for node in onnx.load_from_string(graph).graph.node}
    assert used_operators & {"Sub", "Div"} >= nodes
    assert any("offset" in i.name for i in onnx.load_from_string(graph).graph.initializer) == bool(
        nodes
    )
    # Computed by hand, since graph and model could have the same error.
    dense, last_layer = model.network.layers
    x = (rows.numbers.astype(np.float64) - offset) / scale
    z = np.maximum(x @ dense.W + dense.b, 0) @ last_layer.W + last_layer.b
    outputs = GraphSession(graph).run(rows.inputs())["probabilities"][:, 1]
    np.testing.assert_allclose(outputs, 1 / (1 + np.exp(-z[:, 0])), atol=1e-5)
    assert check_parity(model, GraphSession(graph), rows, rows.take(slice(0))).max_abs < 1e-6


def test_create_graph_inputs_mixed_columns_has_one_input_each(rng):
    rows = create_records(rng)
    proto = onnx.load_from_string(build_graph(create_model(rows, rng)))
    input_types = {i.name: i.type.tensor_type.elem_type for i in proto.graph.input}
    kinds = onnx.TensorProto
    assert input_types == {
        "few": kinds.STRING,
        "x": kinds.FLOAT,
        "many": kinds.STRING,
        "yes": kinds.FLOAT,
        "when": kinds.DOUBLE,
    }
    assert {(o.domain, o.version) for o in proto.opset_import} == {("", 17), ("ai.onnx.ml", 3)}


@pytest.mark.slow
def test_calendar_equals_pandas_on_every_day_of_four_centuries(rng):
    model = create_model(create_records(rng), rng)
    proto = onnx.load_from_string(build_graph(model))
    days = pd.date_range("1850-01-01", "2250-01-01", freq="D")
    hours = days + pd.to_timedelta(np.arange(len(days)) % 24, unit="h")
    seconds = hours.to_numpy().astype("datetime64[s]").astype(np.float64)
    for part, expected in (
        ("when_day", days.day),
        ("when_month", days.month - 1),
        ("when_weekday", days.day_of_week),
        ("when_hour", hours.hour),
    ):
        kind = onnx.TensorProto.FLOAT
        output = onnx.helper.make_tensor_value_info(part, kind, None)
        probe = onnx.ModelProto()
        probe.CopyFrom(proto)
        del probe.graph.output[:]
        probe.graph.output.append(output)
        n = len(seconds)
        inputs = {
            "few": np.full((n, 1), ""),
            "many": np.full((n, 1), ""),
            "x": np.zeros((n, 1), np.float32),
            "yes": np.zeros((n, 1), np.float32),
            "when": seconds[:, None],
        }
        outputs = GraphSession(probe.SerializeToString()).run(inputs)[part]
        numbers = outputs[:, 0] if part == "when_day" else outputs.argmax(axis=1)
        np.testing.assert_array_equal(numbers, expected)


def test_preprocessing_dates_outside_calendar_equals_numpy(rng):
    rows = create_records(rng)
    model = create_model(rows, rng)
    extreme_records = create_records(
        rng, dates=np.resize([FIRST, LAST, np.nan, 0.0, -0.5], (ROWS, 1))
    )
    outputs, expected = (
        GraphSession(build_graph(model)).run(extreme_records.inputs()),
        model.answers(extreme_records),
    )
    delta = np.abs(outputs["probabilities"] - expected["probabilities"])
    assert (delta <= compute_tolerances(model, extreme_records)["probabilities"]).all()


@pytest.mark.parametrize("options", [{}, {"scaling": "robust_clip", "embeds_numbers": True}])
def test_preprocessing_missing_value_without_fill_gives_nan(options, rng):
    records_without_gaps = Records.of_numbers(["a", "b"], rng.normal(size=(50, 2)))
    model = create_model(records_without_gaps, rng, **options)
    record_with_gap = Records.of_numbers(["a", "b"], np.array([[np.nan, 1.0]]))
    assert np.isnan(
        GraphSession(build_graph(model)).run(record_with_gap.inputs())["probabilities"]
    ).all()


@pytest.mark.parametrize("name", ["W1", "encoded", "p", "pair", "few_place", "when_month"])
def test_preprocessing_column_named_like_inner_value_is_supported(name, rng):
    rows = create_records(rng, name=name)
    model = create_model(rows, rng)
    check_parity(model, GraphSession(build_graph(model)), rows, rows.take(slice(0)))


@pytest.mark.parametrize("name", ["label", "probabilities", "value"])
def test_create_graph_inputs_column_named_like_output_is_renamed(name, rng):
    rows = create_records(rng, name=name)
    model = create_model(rows, rng)
    graph = build_graph(model)
    inputs = [i.name for i in onnx.load_from_string(graph).graph.input]
    assert inputs == ["few", f"{name}_input", "many", "yes", "when"]
    check_parity(model, GraphSession(graph), rows, rows.take(slice(0)))


def test_input_names_are_distinct():
    names = ["label", "label_input", "label_input_", "value", "features", "probabilities", "x"]
    names_by_column = input_names([Column(name, "category") for name in names])
    assert names_by_column == {
        "label": "label_input__",
        "label_input": "label_input",
        "label_input_": "label_input_",
        "value": "value_input",
        "features": "features",
        "probabilities": "probabilities_input",
        "x": "x",
    }


def read_encoded(model, inputs):
    """Return the inputs of the network that the graph of a model computes, float32 `(n, width)`."""
    proto = onnx.load_from_string(build_graph(model))
    (name,) = {i for node in proto.graph.node if node.op_type == "Gemm" for i in node.input} & {
        node.output[0] for node in proto.graph.node if node.op_type in ("Div", "Concat")
    }
    del proto.graph.output[:]
    proto.graph.output.append(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
    )
    return GraphSession(proto.SerializeToString()).run(inputs)[name]


def test_preprocessing_smooth_limit_equals_numpy_to_the_bit(rng):
    rows = Records.of_numbers(["a", "b"], rng.lognormal(0, 3, size=(ROWS, 2)))
    model = create_model(rows, rng, scaling="robust_clip")
    extremes = np.array([3e38, -3e38, 1e-38, 0, 1e20, -1e7], np.float32)
    for values in (rows.numbers, np.column_stack([extremes, extremes])):
        records = Records.of_numbers(["a", "b"], values)
        encoded = read_encoded(model, records.inputs())
        np.testing.assert_array_equal(encoded, model.encoder.transform(records))
        assert np.abs(encoded).max() <= 3
