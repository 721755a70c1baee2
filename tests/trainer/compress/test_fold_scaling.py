from dataclasses import replace

import numpy as np
import onnx
import pytest

from serving.runtime import GraphSession
from trainer.compress.calibrate import calibrate
from trainer.compress.fold_scaling import fold_scaling
from trainer.compress.int8_overflow import has_int8_overflow
from trainer.compress.qat import insert_quantization, quantize_weights
from trainer.compress.to_dense import build_dense_network
from trainer.data.preprocess import Encoding
from trainer.data.records import Column, Records
from trainer.data.tables import make_table
from trainer.export.onnx_graph import build_graph
from trainer.model import Model
from trainer.nn import CategoricalCrossEntropy, Dense, Identity, ReLU

PIXELS = 20


def a_model(rng, *, low=0.0, scaling="range", columns=None, codes=None, gaps=False):
    """Of pixels from `low` to 16, or of other columns."""
    n = 300
    numbers = rng.uniform(low, 16, (n, PIXELS)).astype(np.float32)
    numbers[0, :2] = low, 16
    if gaps:
        numbers[5:50, 3] = np.nan
    columns = columns or tuple(Column(f"p{place}") for place in range(PIXELS))
    dates = np.empty((n, 0))
    if any(column.kind == "date" for column in columns):
        dates = np.linspace(0, 1e9, n)[:, None]
    records = Records(
        columns,
        numbers,
        dates,
        np.empty((n, 0), np.int32)
        if codes is None
        else rng.integers(0, 2, (n, 1)).astype(np.int32),
    )
    table = make_table(
        source="t", records=records, target=rng.choice(["a", "b", "c"], n), target_names=("y",)
    )
    model = Model.untrained(
        table,
        np.arange(n),
        layers=lambda k: [Dense(16, "relu"), Dense(k)],
        loss=CategoricalCrossEntropy(),
        rng=rng,
        encoding=Encoding(scaling),
    )
    model.network.parameters[...] = rng.normal(0, 0.5, model.network.n_parameters)
    return model, records


def operators(model):
    return {node.op_type for node in onnx.load_from_string(build_graph(model)).graph.node}


def looking_at(network, columns):
    first, second = network.layers
    return build_dense_network(
        PIXELS,
        None,
        columns,
        [(first.W[columns], first.b, ReLU()), (second.W, second.b, Identity())],
    )


def in_bytes(model, records):
    bits = 7 if has_int8_overflow() else 8  # what ONNX Runtime answers rightly here
    rounds = insert_quantization(model.network, [bits, bits])
    calibrate(rounds, model.encoder.transform(records), "min-max")
    return replace(model, network=quantize_weights(rounds))


@pytest.mark.parametrize("columns", [None, np.array([1, 4, 5, 19])], ids=["all", "some"])
def test_one_scale_without_an_offset_goes_into_the_weights(columns, rng):
    model, records = a_model(rng)
    if columns is not None:
        model = replace(model, network=looking_at(model.network, columns))
    assert {"Sub", "Div"} <= operators(model)
    before = model.network.parameters.copy()
    found = fold_scaling(model)
    assert not {"Sub", "Div"} & operators(found)
    np.testing.assert_allclose(found.logits(records), model.logits(records), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(model.network.parameters, before)
    got = GraphSession(build_graph(found)).run(records.inputs())
    np.testing.assert_allclose(
        got["probabilities"], model.answers(records)["probabilities"], atol=1e-6
    )
    assert (got["label"] == model.answers(records)["label"]).all()


@pytest.mark.parametrize("columns", [None, np.array([1, 4, 5, 19])], ids=["all", "some"])
def test_of_whole_numbers_it_goes_into_the_step_of_the_bytes(columns, rng):
    model, records = a_model(rng)
    if columns is not None:
        model = replace(model, network=looking_at(model.network, columns))
    model = in_bytes(model, records)
    found = fold_scaling(model)
    assert not {"Sub", "Div"} & operators(found)
    for ours, theirs in zip(
        found.network.layers[-2:], model.network.layers[-2:], strict=True
    ):  # what is whole stays so
        np.testing.assert_array_equal(ours.W, theirs.W)
        np.testing.assert_array_equal(ours.b, theirs.b)
    delta = np.abs(found.logits(records) - model.logits(records)).max(axis=1)
    assert np.median(delta) < 1e-5
    assert np.mean(delta > 1e-4) < 0.05  # what lies between two bytes may become the other
    got = GraphSession(build_graph(found)).run(records.inputs())["probabilities"]
    np.testing.assert_allclose(got, found.answers(records)["probabilities"], atol=1e-6)


def test_columns_of_different_scales_keep_them_though_none_has_an_offset(rng):
    model, _ = a_model(rng)
    numbers, scaler = model.encoder.numbers, model.encoder.numbers.scaler
    scale = scaler.scale.copy()
    scale[3] *= 2
    numbers = replace(numbers, scaler=replace(scaler, scale=scale))
    model = replace(model, encoder=replace(model.encoder, numbers=numbers))
    assert fold_scaling(model) is model


def test_gaps_that_are_flagged_keep_their_scaling(rng):
    model, _ = a_model(rng, gaps=True)
    assert fold_scaling(model) is model


NUMBERS = tuple(Column(f"p{place}") for place in range(PIXELS))


@pytest.mark.parametrize(
    "choices",
    [
        {"scaling": "standard"},
        {"scaling": "minmax"},
        {"scaling": "robust"},
        {"scaling": "quantile"},
        {"low": 0.5},
        {"columns": (*NUMBERS, Column("c", "category", ("x", "y"))), "codes": 2},
        {"columns": (*NUMBERS, Column("d", "date"))},
    ],
)
def test_other_scalings_and_columns_stay_as_they_are(choices, rng):
    model, _ = a_model(rng, **choices)
    assert fold_scaling(model) is model
