import numpy as np
import onnx
import pytest
from scipy.special import expit, softmax

from serving.runtime import GraphSession
from trainer.data.preprocess import Encoding
from trainer.data.records import Column, Records
from trainer.data.tables import make_table
from trainer.export.folding import Periodic, fold_network
from trainer.export.onnx_graph import build_graph
from trainer.export.parity import check_parity
from trainer.export.self_test import create_synthetic_records
from trainer.export.tolerances import compute_tolerances
from trainer.model import Model
from trainer.nn import CategoricalCrossEntropy, Dense

N_ROWS = 150


def create_model(rng, n_columns, *, scaling="robust_clip", columns=None):
    numbers = rng.normal(size=(N_ROWS, n_columns)).astype(np.float32)
    columns = columns or tuple(Column(f"c{i}") for i in range(n_columns))
    records = Records(columns, numbers)
    table = make_table(
        source="t",
        records=records,
        target=rng.choice(["a", "b", "c"], N_ROWS),
        target_names=("y",),
    )
    model = Model.build(
        table,
        np.arange(N_ROWS),
        layers=lambda k: [Dense(8, "swish"), Dense(k)],
        loss=CategoricalCrossEntropy(),
        rng=rng,
        encoding=Encoding(scaling),
        embeds_numbers=True,
    )
    return model, records


def compute_probabilities(model, x):
    """Return the probabilities for scaled numbers, float64, by the formulas of the layers."""
    layer, hidden, last = model.network.layers
    waves = np.cos(2 * np.pi * layer.frequencies.astype(float) * x[:, :, None] + layer.phases)
    vectors = np.einsum("nfk,fuk->nfu", waves, layer.W) + layer.b
    z = np.concatenate([vectors.reshape(len(x), -1), x], axis=1) @ hidden.W + hidden.b
    return softmax((z * expit(z)) @ last.W + last.b, axis=1)


@pytest.mark.parametrize("n_columns", [1, 16])
@pytest.mark.parametrize("scaling", ["robust_clip", "standard", "quantile"])
def test_periodic_nodes_equal_numpy_and_formulas(n_columns, scaling, rng):
    model, records = create_model(rng, n_columns, scaling=scaling)
    session = GraphSession(build_graph(model))
    parity = check_parity(model, session, records, create_synthetic_records(model, rng))
    assert parity.max_abs <= 1e-6
    expected = compute_probabilities(model, model.encoder.transform(records).astype(float))
    outputs = session.run(records.inputs())["probabilities"]
    np.testing.assert_allclose(outputs, expected, atol=1e-6)


def test_periodic_nodes_extreme_records_stay_within_tolerances(rng):
    model, _ = create_model(rng, 3)
    values = np.array([3e38, -3e38, 1e30, 0, 1e-38, 1e6], np.float32)
    records = Records(model.encoder.columns, np.stack([values, values[::-1], values], axis=1))
    outputs = GraphSession(build_graph(model)).run(records.inputs())["probabilities"]
    expected = model.answers(records)["probabilities"]
    assert np.isfinite(outputs).all()
    assert (np.abs(outputs - expected) <= compute_tolerances(model, records)["probabilities"]).all()
    assert np.abs(outputs - expected).max() <= 1e-6


def test_periodic_nodes_size_is_proportional_to_the_columns(rng):
    sizes = [len(build_graph(create_model(rng, n)[0])) for n in (100, 200, 800)]
    # Of 4 bytes: 83 parameters, 4 · 8 weights in the first layer, and the 2 numbers of the scaling.
    per_column = 4 * (83 + 32 + 2)
    assert sizes[1] - sizes[0] == pytest.approx(100 * per_column, rel=0.01)
    assert sizes[2] - sizes[1] == pytest.approx(600 * per_column, rel=0.01)


def test_periodic_nodes_use_standard_operators_of_opset_17(rng):
    proto = onnx.load_from_string(build_graph(create_model(rng, 4)[0]))
    assert {(o.domain, o.version) for o in proto.opset_import} == {("", 17)}
    assert [node.op_type for node in proto.graph.node].count("Cos") == 1


def test_fold_network_periodic_embedding_shares_its_parameters(rng):
    model, _ = create_model(rng, 2)
    operation, *_ = fold_network(model.network.layers)
    assert isinstance(operation, Periodic)
    assert [array.shape for array in (operation.frequencies, operation.W, operation.b)] == [
        (2, 16),
        (2, 3, 16),
        (2, 3),
    ]


def test_tolerances_of_far_outliers_cover_rounded_cosines(rng):
    # Without a limit, the angle of a cosine can be so large that a rounding error turns it.
    model, records = create_model(rng, 4, scaling="standard")
    model.network.layers[0].frequencies[...] *= 30
    for spread in (1, 1e3, 1e7):
        far = Records(records.columns, records.numbers * np.float32(spread))
        x = model.encoder.transform(far).astype(np.float64)
        errors = np.abs(model.answers(far)["probabilities"] - compute_probabilities(model, x))
        assert (errors <= compute_tolerances(model, far)["probabilities"]).all()
