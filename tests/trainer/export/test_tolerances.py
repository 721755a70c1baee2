from dataclasses import replace

import numpy as np
import pytest

from serving.runtime import GraphSession
from trainer.data.preprocess import Scaler
from trainer.data.records import Records
from trainer.export.onnx_graph import build_graph
from trainer.export.tolerances import compute_tolerances
from trainer.nn import Dense, IntegerDense, Members, Network, Quantization


@pytest.mark.parametrize("seed", range(20))
def test_compute_tolerances_random_networks_are_within(seed, export):
    # Random networks with rows thousands of standard deviations from the mean.
    rng = np.random.default_rng(seed)
    exported = export("multiclass" if seed % 2 else "regression")
    model = exported.model
    width = model.network.n_inputs
    depth = rng.integers(0, 4)
    layers = [Dense(int(rng.integers(1, 300)), "relu") for _ in range(depth)]
    network = Network(width, [*layers, Dense(model.network.n_outputs)], rng=rng)
    model = replace(model, network=network)
    spread = rng.choice([1, 10, 1000], size=(200, 1))
    scaler = model.encoder.numbers.scaler
    rows = rng.normal(scaler.offset, spread * scaler.scale, size=(200, width))
    records = Records(model.encoder.columns, rows.astype(np.float32))
    outputs, expected = (
        GraphSession(build_graph(model)).run(records.inputs()),
        model.answers(records),
    )
    for name, tolerance in compute_tolerances(model, records).items():
        assert (np.abs(outputs[name] - expected[name]) <= tolerance).all()


@pytest.mark.parametrize("seed", range(4))
def test_compute_tolerances_random_members_are_within(seed, export):
    rng = np.random.default_rng(seed)
    exported = export("regression")
    model, width = exported.model, exported.model.network.n_inputs
    n_members, units = int(rng.integers(2, 5)), int(rng.integers(1, 300))
    members = [[Dense(units, "relu"), Dense(1)] for _ in range(n_members)]
    model = replace(model, network=Network(width, [Members(*members)], rng=rng))
    scaler, spread = model.encoder.numbers.scaler, rng.choice([1, 10, 1000], size=(200, 1))
    rows = rng.normal(scaler.offset, spread * scaler.scale, size=(200, width))
    records = Records(model.encoder.columns, rows.astype(np.float32))
    output = GraphSession(build_graph(model)).run(records.inputs())["value"]
    tolerance = compute_tolerances(model, records)["value"]
    assert (np.abs(output - model.answers(records)["value"]) <= tolerance).all()


@pytest.mark.parametrize("kind", ["multiclass", "binary", "members"])
def test_compute_tolerances_ordinary_rows_are_tight(kind, export):
    exported = export(kind)
    tolerances = compute_tolerances(exported.model, exported.table.records)["probabilities"]
    assert np.median(tolerances) < 5e-6
    assert tolerances.max() < 2e-5


def remove_scaling(model):
    """Return the model without scaling of its numbers."""
    width, numbers = model.network.n_inputs, model.encoder.numbers
    scaler = Scaler(np.zeros(width, np.float32), np.ones(width, np.float32))
    return replace(model, encoder=replace(model.encoder, numbers=replace(numbers, scaler=scaler)))


def compute_distance_to_rounding_boundary(model, records):
    """Return the smallest distance of a value to a rounding boundary, in steps, `(n,)`.

    The network has integer layers and ReLU only.
    """
    a = model.encoder.transform(records).astype(np.float64)
    distances = np.full(len(a), np.inf)
    for layer in model.network.layers:
        scale, zero_point = layer.source
        steps = (a / np.float64(scale) + zero_point).clip(0, 255)
        distances = np.minimum(distances, np.abs(steps - np.floor(steps) - 0.5).min(axis=1))
        a = (np.rint(steps) - zero_point) @ layer.W.astype(np.float64) + layer.b
        a *= np.float64(scale) * layer.scales
        if layer.activation.name == "relu":
            a = np.maximum(a, 0)
    return distances


@pytest.mark.parametrize("bits", [4, 7, 8])
@pytest.mark.parametrize("kind", ["multiclass", "binary"])
def test_compute_tolerances_integer_layers_without_boundary_values_are_tight(
    kind, bits, export, create_integer_model, rng
):
    exported = export(kind)
    rows = exported.table.records
    model = create_integer_model(exported.model, rows, rng, bits=bits)
    is_clear = compute_distance_to_rounding_boundary(model, rows) > 1e-3
    assert is_clear.mean() > 0.5
    tolerances = compute_tolerances(model, rows)["probabilities"][is_clear]
    assert np.median(tolerances) < 5e-6  # rounding of the logits and of the softmax
    assert tolerances.max() < 2e-5


def test_compute_tolerances_boundary_value_allows_one_step(export):
    model = remove_scaling(export("regression").model)
    width = model.network.n_inputs
    even = Quantization(np.float32(2), 0)
    first = np.zeros((width, 1), np.int8)
    first[0] = 1
    layers = [  # round the first input to an integer, and that to an even integer
        IntegerDense(
            first,
            np.zeros(1, np.int32),
            np.ones(1, np.float32),
            source=Quantization(np.float32(1), 0),
            target=even,
            activation="relu",
        ),
        IntegerDense(
            np.ones((1, 1), np.int8), np.zeros(1, np.int32), np.ones(1, np.float32), source=even
        ),
    ]
    model = replace(model, network=Network(width, layers, rng=np.random.default_rng(0)))
    x = np.zeros((8, width), np.float32)
    x[:, 0] = 4, 4.25, 254.4, -9, 3, 2.5, 5, 400  # the last one is clipped to 255
    records = Records(model.encoder.columns, x)
    values = model.answers(records)["value"][:, 0]
    tolerances = compute_tolerances(model, records)["value"][:, 0]
    scale, offset = model.target_scaler.scale[0], model.target_scaler.offset[0]
    np.testing.assert_allclose((values - offset) / scale, [4, 4, 254, 0, 4, 2, 4, 256], atol=1e-5)
    step = 2 * scale
    is_boundary = np.repeat([False, True], 4)
    assert (tolerances[~is_boundary] <= 1e-5 * (step + np.abs(values[~is_boundary]))).all()
    assert (tolerances[is_boundary] >= step).all()
    assert (tolerances[is_boundary] <= 10 * step).all()  # the safety factor is 8


@pytest.mark.parametrize("activation", ["tanh", "swish"])
@pytest.mark.parametrize("seed", range(5))
def test_compute_tolerances_step_in_narrow_network_is_within(
    seed, activation, export, create_integer_model
):
    rng = np.random.default_rng(seed)
    model = remove_scaling(export("regression").model)
    columns, width = model.encoder.columns, model.network.n_inputs
    model = create_integer_model(
        model,
        Records(columns, rng.normal(size=(50, width)).astype(np.float32)),
        rng,
        hidden=(2, 3, 2),
        activation=activation,
    )
    x = rng.normal(size=(1000, width)).astype(np.float32)
    # Each row has one number at a rounding boundary, and is answered on both sides of it.
    scale = model.network.layers[0].source.scale
    rows, columns_to_change = np.arange(len(x)), rng.integers(0, width, len(x))
    x[rows, columns_to_change] = (
        np.floor(x[rows, columns_to_change] / scale) + np.float32(0.5)
    ) * scale
    values = []
    for factor in (1 - 1e-5, 1 + 1e-5):
        side = x.copy()
        side[rows, columns_to_change] *= np.float32(factor)
        values.append(model.answers(Records(columns, side))["value"])
    tolerances = compute_tolerances(model, Records(columns, x))["value"]
    assert np.mean(values[0] != values[1]) > 0.1
    assert (np.abs(values[0] - values[1]) <= tolerances).all()


@pytest.mark.parametrize("b", [0, -100])
def test_compute_tolerances_one_step_may_become_many(b, export):
    model = remove_scaling(export("regression").model)
    width, ones = model.network.n_inputs, np.ones(1, np.float32)
    unit = Quantization(np.float32(1), 0)
    first = np.zeros((width, 1), np.int8)
    first[0] = 127
    layers = [
        IntegerDense(
            first, np.array([b], np.int32), ones, source=unit, target=unit, activation="relu"
        ),
        IntegerDense(np.ones((1, 1), np.int8), np.zeros(1, np.int32), ones, source=unit),
    ]
    model = replace(model, network=Network(width, layers, rng=np.random.default_rng(0)))
    x = np.zeros((3, width), np.float32)
    x[:, 0] = 0.5, 0.499, 0.501
    records = Records(model.encoder.columns, x)
    values = model.answers(records)["value"]
    assert abs(values[1] - values[2]) / model.target_scaler.scale == pytest.approx(
        127 + b, rel=1e-4
    )
    assert compute_tolerances(model, records)["value"][0] >= abs(values[1] - values[2])
