import numpy as np
import pytest
from scipy.stats import spearmanr

from tests.trainer.compress.networks import draw_rows, get_columns, make_dense_network
from trainer.compress.idle_units import remove_idle_units
from trainer.compress.to_dense import list_dense_layers
from trainer.compress.unit_importance import compute_importances
from trainer.nn import (
    Adam,
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Dense,
    MeanSquaredError,
    Network,
    Tanh,
)
from trainer.training.batches import TrainingRows
from trainer.training.loop import TrainingRun
from trainer.training.update import UpdateRule

CLASS_LOSS = CategoricalCrossEntropy()
FUNCTIONS = {"tanh": np.tanh, "relu": lambda z: np.maximum(z, 0), "identity": lambda z: z}


def run_layers(layers, a):
    """Return the outputs of some layers `(W, b, f)`, in float64."""
    for W, b, f in layers:
        a = f(a @ W + b)
    return a


def compute_row_losses(z, y):
    z = z - z.max(axis=1, keepdims=True)
    return np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), y]


def list_layers(network):
    """Return `(W, b, f)` of each dense layer, in float64."""
    return [
        (layer.W.astype(float), layer.b.astype(float), FUNCTIONS[layer.activation.name])
        for layer in list_dense_layers(network)
    ]


def test_importances_equal_finite_differences_and_the_formula(rng):
    network = make_dense_network(6, [5, 4, 3], Tanh, rng)
    x, y = draw_rows(rng, 40, 6), rng.integers(0, 3, 40)
    importances, layers, h = (
        compute_importances(network, x, y, CLASS_LOSS),
        list_layers(network),
        1e-5,
    )
    for index, (magnitude, taylor) in enumerate(zip(*importances, strict=True)):
        a = run_layers(layers[:index], x.astype(float))
        variances = np.zeros(a.shape[1])
        for unit in range(a.shape[1]):
            up, down = a.copy(), a.copy()
            up[:, unit] += h
            down[:, unit] -= h
            slope = (
                compute_row_losses(run_layers(layers[index:], up), y)
                - compute_row_losses(run_layers(layers[index:], down), y)
            ) / (2 * h)
            deviation = a[:, unit] - a[:, unit].mean()
            assert taylor[unit] == pytest.approx(np.mean((deviation * slope) ** 2) / 2, rel=1e-4)
            W = layers[index][0]
            variances[unit] = a[:, unit].std() ** 2 * np.linalg.norm(W[unit]) ** 2
        np.testing.assert_allclose(magnitude, variances / variances.sum(), rtol=1e-5)


def test_importances_rank_units_like_actual_removals(trained_digits, rng):
    x, y = trained_digits.rows.features, trained_digits.rows.targets
    network = Network(64, [Dense(24, "relu"), Dense(12, "relu"), Dense(10)], rng=rng)
    TrainingRun(
        network,
        CLASS_LOSS,
        UpdateRule(Adam(0.005)),
        TrainingRows(x, y),
        epochs=10,
        batch_size=64,
        rng=rng,
    ).run()
    network = remove_idle_units(network, x)
    layers, inputs = list_layers(network), x[:, get_columns(network)].astype(float)
    loss_before = compute_row_losses(run_layers(layers, inputs), y).mean()
    importances = compute_importances(network, x, y, CLASS_LOSS)
    for index, estimates in enumerate(zip(*importances, strict=True)):
        a = run_layers(layers[:index], inputs)
        increases = []
        for unit in range(a.shape[1]):
            removed = a.copy()
            removed[:, unit] = a[:, unit].mean()
            loss = compute_row_losses(run_layers(layers[index:], removed), y).mean()
            increases.append(loss - loss_before)
        for estimate in estimates:
            assert spearmanr(estimate, increases).statistic > 0.6


@pytest.mark.parametrize("loss", [MeanSquaredError(), BinaryCrossEntropy()])
def test_importances_other_losses_are_finite_and_positive(loss, rng):
    network = make_dense_network(6, [5, 3], Tanh, rng)
    x = draw_rows(rng, 40, 6)
    targets = (rng.random((40, 3)) > 0.5).astype(np.float32)
    for estimate in compute_importances(network, x, targets, loss):
        for importances in estimate:
            assert np.isfinite(importances).all()
            assert (importances > 0).all()
