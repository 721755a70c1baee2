import numpy as np
import pytest

from trainer.compress import quantize
from trainer.compress.calibrate import CALIBRATIONS, calibrate
from trainer.compress.qat import FLOAT, QuantizedDense, insert_quantization, quantize_weights
from trainer.compress.quantize import quantize_network
from trainer.nn import Dense, IntegerDense, Network


def a_network(rng, activation="relu", hidden=(12, 8)):
    network = Network(6, [*(Dense(units, activation) for units in hidden), Dense(3)], rng=rng)
    network.parameters[...] = rng.normal(0, 0.5, network.n_parameters)
    return network


def rows(rng, n=400):
    return rng.standard_t(2, (n, 6)).astype(np.float32)


def bits_of(network):
    return [layer.bits if isinstance(layer, QuantizedDense) else FLOAT for layer in network.layers]


def off(network, x):
    wanted = network.logits(x)
    return lambda other: float(np.square(other.logits(x) - wanted).mean())


def test_what_it_returns_is_the_best_of_every_calibration(rng):
    network, x = a_network(rng), rows(rng)
    score, scores = off(network, x), {}
    for last in (8, FLOAT):
        for method in CALIBRATIONS:
            rounds = insert_quantization(network, [8, 8, last])
            calibrate(rounds, x, method)
            scores[method, last] = score(quantize_weights(rounds)) * (1.01 if last == FLOAT else 1)
    assert len(set(scores.values())) == 6
    found = quantize_network(network, x, score, bits=8)
    best = min(scores, key=scores.__getitem__)
    assert bits_of(found) == [8, 8, best[1]]
    reached = score(quantize_weights(found)) * (1.01 if best[1] == FLOAT else 1)
    assert reached == pytest.approx(scores[best])


@pytest.mark.parametrize("saved, last", [(0.5, 8), (5, FLOAT)])
def test_a_last_layer_in_floats_has_to_be_worth_it(saved, last, rng):
    network, x = a_network(rng), rows(rng)

    def score(whole):  # in percent of 200
        in_floats = isinstance(whole.layers[-1], Dense)
        return 2 - 0.02 * saved * in_floats

    assert bits_of(quantize_network(network, x, score, bits=8))[-1] == last


@pytest.mark.parametrize("bits, last", [(4, 7), (7, 7), (8, 8)])
def test_the_last_layer_has_7_bits_at_least(bits, last, rng):
    network, x = a_network(rng), rows(rng)
    found = quantize_network(
        network, x, lambda whole: isinstance(whole.layers[-1], Dense), bits=bits
    )
    assert bits_of(found) == [bits, bits, last]
    whole = quantize_weights(found).layers
    assert all(isinstance(layer, IntegerDense) for layer in whole)
    most = [np.abs(layer.W.astype(int)).max() for layer in whole]
    assert most == [2 ** (b - 1) - 1 for b in (bits, bits, last)]


def test_a_hidden_layer_that_does_not_bend_stays_in_floats(rng):
    network, x = a_network(rng, "identity"), rows(rng)
    found = quantize_network(network, x, off(network, x), bits=8)
    assert bits_of(found) == [FLOAT, FLOAT, 8]
    assert [type(layer) for layer in quantize_weights(found).layers] == [Dense, Dense, IntegerDense]


def test_a_single_layer_is_in_bytes_however_exact_floats_would_be(rng):
    network, x = a_network(rng, hidden=()), rows(rng)
    found = quantize_network(network, x, off(network, x), bits=8)
    assert bits_of(found) == [8]


def test_the_network_is_left_as_it_is(rng, monkeypatch):
    network, x = a_network(rng), rows(rng)
    before = network.parameters.copy()
    monkeypatch.setattr(quantize, "CALIBRATIONS", {"min-max": None})
    quantize_network(network, x, off(network, x), bits=4)
    np.testing.assert_array_equal(network.parameters, before)
