import numpy as np
import pytest

from trainer.compress import quantize
from trainer.compress.calibrate import CALIBRATION_METHODS, calibrate
from trainer.compress.qat import FLOAT_BITS, QuantizedDense, insert_quantization, quantize_weights
from trainer.compress.quantize import quantize_network
from trainer.nn import Dense, IntegerDense, Network


def make_network(rng, activation="relu", hidden=(12, 8)):
    network = Network(6, [*(Dense(units, activation) for units in hidden), Dense(3)], rng=rng)
    network.parameters[...] = rng.normal(0, 0.5, network.n_parameters)
    return network


def draw_rows(rng, n=400):
    return rng.standard_t(2, (n, 6)).astype(np.float32)


def get_bits(network):
    return [
        layer.bits if isinstance(layer, QuantizedDense) else FLOAT_BITS for layer in network.layers
    ]


def make_loss(network, x):
    """Return the mean squared difference from the network's logits, as a function."""
    expected = network.logits(x)
    return lambda other: float(np.square(other.logits(x) - expected).mean())


def test_quantize_returns_the_calibration_of_the_lowest_loss(rng):
    network, x = make_network(rng), draw_rows(rng)
    compute_loss, losses = make_loss(network, x), {}
    for last in (8, FLOAT_BITS):
        for method in CALIBRATION_METHODS:
            quantized = insert_quantization(network, [8, 8, last])
            calibrate(quantized, x, method)
            loss = compute_loss(quantize_weights(quantized))
            losses[method, last] = loss * (1.01 if last == FLOAT_BITS else 1)
    assert len(set(losses.values())) == 6
    chosen = quantize_network(network, x, compute_loss, bits=8)
    best = min(losses, key=losses.__getitem__)
    assert get_bits(chosen) == [8, 8, best[1]]
    loss = compute_loss(quantize_weights(chosen)) * (1.01 if best[1] == FLOAT_BITS else 1)
    assert loss == pytest.approx(losses[best])


@pytest.mark.parametrize("gain, last", [(0.5, 8), (5, FLOAT_BITS)])
def test_quantize_keeps_the_last_layer_in_float_for_a_large_gain_only(gain, last, rng):
    network, x = make_network(rng), draw_rows(rng)

    def compute_loss(integer_network):  # The gain is in percent of a loss of 2.
        has_float_layer = isinstance(integer_network.layers[-1], Dense)
        return 2 - 0.02 * gain * has_float_layer

    assert get_bits(quantize_network(network, x, compute_loss, bits=8))[-1] == last


@pytest.mark.parametrize("bits, last", [(4, 7), (7, 7), (8, 8)])
def test_quantize_last_layer_has_at_least_7_bits(bits, last, rng):
    network, x = make_network(rng), draw_rows(rng)
    quantized = quantize_network(
        network, x, lambda other: isinstance(other.layers[-1], Dense), bits=bits
    )
    assert get_bits(quantized) == [bits, bits, last]
    layers = quantize_weights(quantized).layers
    assert all(isinstance(layer, IntegerDense) for layer in layers)
    max_weights = [np.abs(layer.W.astype(int)).max() for layer in layers]
    assert max_weights == [2 ** (b - 1) - 1 for b in (bits, bits, last)]


def test_quantize_hidden_layer_without_activation_stays_float(rng):
    network, x = make_network(rng, "identity"), draw_rows(rng)
    quantized = quantize_network(network, x, make_loss(network, x), bits=8)
    assert get_bits(quantized) == [FLOAT_BITS, FLOAT_BITS, 8]
    types = [type(layer) for layer in quantize_weights(quantized).layers]
    assert types == [Dense, Dense, IntegerDense]


def test_quantize_single_layer_is_always_quantized(rng):
    network, x = make_network(rng, hidden=()), draw_rows(rng)
    quantized = quantize_network(network, x, make_loss(network, x), bits=8)
    assert get_bits(quantized) == [8]


def test_quantize_does_not_change_its_input(rng, monkeypatch):
    network, x = make_network(rng), draw_rows(rng)
    before = network.parameters.copy()
    monkeypatch.setattr(quantize, "CALIBRATION_METHODS", {"min-max": None})
    quantize_network(network, x, make_loss(network, x), bits=4)
    np.testing.assert_array_equal(network.parameters, before)
