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
from trainer.nn import CategoricalCrossEntropy, Dense, Identity, Network, PeriodicEmbedding, ReLU

N_PIXELS = 20


def make_model(rng, *, low=0.0, scaling="range", columns=None, codes=None, gaps=False):
    """Return a model of pixels from `low` to 16, or of other columns, and its rows."""
    n = 300
    numbers = rng.uniform(low, 16, (n, N_PIXELS)).astype(np.float32)
    numbers[0, :2] = low, 16
    if gaps:
        numbers[5:50, 3] = np.nan
    columns = columns or tuple(Column(f"p{i}") for i in range(N_PIXELS))
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
    model = Model.build(
        table,
        np.arange(n),
        layers=lambda k: [Dense(16, "relu"), Dense(k)],
        loss=CategoricalCrossEntropy(),
        rng=rng,
        encoding=Encoding(scaling),
    )
    model.network.parameters[...] = rng.normal(0, 0.5, model.network.n_parameters)
    return model, records


def list_operators(model):
    return {node.op_type for node in onnx.load_from_string(build_graph(model)).graph.node}


def select_columns(network, columns):
    first, second = network.layers
    return build_dense_network(
        N_PIXELS,
        (),
        columns,
        [(first.W[columns], first.b, ReLU()), (second.W, second.b, Identity())],
    )


def quantize_model(model, records):
    bits = 7 if has_int8_overflow() else 8  # ONNX Runtime computes these correctly here.
    quantized = insert_quantization(model.network, [bits, bits])
    calibrate(quantized, model.encoder.transform(records), "min-max")
    return replace(model, network=quantize_weights(quantized))


@pytest.mark.parametrize("columns", [None, np.array([1, 4, 5, 19])], ids=["all", "selection"])
def test_fold_scaling_one_scale_without_offset_changes_the_weights(columns, rng):
    model, records = make_model(rng)
    if columns is not None:
        model = replace(model, network=select_columns(model.network, columns))
    assert {"Sub", "Div"} <= list_operators(model)
    before = model.network.parameters.copy()
    folded = fold_scaling(model)
    assert not {"Sub", "Div"} & list_operators(folded)
    np.testing.assert_allclose(folded.logits(records), model.logits(records), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(model.network.parameters, before)
    got = GraphSession(build_graph(folded)).run(records.inputs())
    np.testing.assert_allclose(
        got["probabilities"], model.answers(records)["probabilities"], atol=1e-6
    )
    assert (got["label"] == model.answers(records)["label"]).all()


@pytest.mark.parametrize("columns", [None, np.array([1, 4, 5, 19])], ids=["all", "selection"])
def test_fold_scaling_integer_network_changes_the_input_scale(columns, rng):
    model, records = make_model(rng)
    if columns is not None:
        model = replace(model, network=select_columns(model.network, columns))
    model = quantize_model(model, records)
    folded = fold_scaling(model)
    assert not {"Sub", "Div"} & list_operators(folded)
    # The integers do not change.
    for after, before in zip(folded.network.layers[-2:], model.network.layers[-2:], strict=True):
        np.testing.assert_array_equal(after.W, before.W)
        np.testing.assert_array_equal(after.b, before.b)
    delta = np.abs(folded.logits(records) - model.logits(records)).max(axis=1)
    assert np.median(delta) < 1e-5
    assert np.mean(delta > 1e-4) < 0.05  # A value between two integers may round either way.
    got = GraphSession(build_graph(folded)).run(records.inputs())["probabilities"]
    np.testing.assert_allclose(got, folded.answers(records)["probabilities"], atol=1e-6)


def test_fold_scaling_different_scales_are_kept(rng):
    model, _ = make_model(rng)
    numbers, scaler = model.encoder.numbers, model.encoder.numbers.scaler
    scale = scaler.scale.copy()
    scale[3] *= 2
    numbers = replace(numbers, scaler=replace(scaler, scale=scale))
    model = replace(model, encoder=replace(model.encoder, numbers=numbers))
    assert fold_scaling(model) is model


def test_fold_scaling_missing_value_flags_keep_the_scaling(rng):
    model, _ = make_model(rng, gaps=True)
    assert fold_scaling(model) is model


def test_fold_scaling_embedded_numbers_keep_their_scaling(rng):
    model, _ = make_model(rng)
    layers = [PeriodicEmbedding(N_PIXELS), Dense(2)]
    embedded = replace(model, network=Network(N_PIXELS, layers, rng=rng))
    assert fold_scaling(model) is not model
    assert fold_scaling(embedded) is embedded


NUMBER_COLUMNS = tuple(Column(f"p{i}") for i in range(N_PIXELS))


@pytest.mark.parametrize(
    "options",
    [
        {"scaling": "standard"},
        {"scaling": "minmax"},
        {"scaling": "robust"},
        {"scaling": "robust_clip"},
        {"scaling": "quantile"},
        {"low": 0.5},
        {"columns": (*NUMBER_COLUMNS, Column("c", "category", ("x", "y"))), "codes": 2},
        {"columns": (*NUMBER_COLUMNS, Column("d", "date"))},
    ],
)
def test_fold_scaling_other_scalings_and_columns_are_kept(options, rng):
    model, _ = make_model(rng, **options)
    assert fold_scaling(model) is model
