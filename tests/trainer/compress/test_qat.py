import copy
import math
from itertools import pairwise

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from trainer.compress.calibrate import calibrate
from trainer.compress.distill import DistillationLoss, distill
from trainer.compress.qat import CUTS, FLOAT, QuantizedDense, insert_quantization, quantize_weights
from trainer.compress.quantize import quantize_network
from trainer.compress.to_dense import to_dense
from trainer.export.onnx_graph import build_graph
from trainer.model import Model
from trainer.nn import (
    BatchNorm,
    Dense,
    Embedding,
    FeatureSelect,
    IntegerDense,
    MeanSquaredError,
    Network,
)

BENDS = {
    "identity": lambda z: z,
    "relu": lambda z: max(z, 0.0),
    "tanh": math.tanh,
    "swish": lambda z: z / (1 + math.exp(-z)),
}


def a_network(rng, *, activation="relu", widths=(6, 8, 3)):
    """One whose every number is drawn, its weights with far tails."""
    n_inputs, *hidden, last = widths
    layers = [*(Dense(units, activation) for units in hidden), Dense(last)]
    network = Network(n_inputs, layers, rng=rng)
    network.parameters[...] = rng.standard_t(3, size=network.n_parameters) / 2
    return network


def rows(rng, n=50, width=6):
    return rng.normal(size=(n, width)).astype(np.float32)


def set_ranges(network, x, share=1.0):
    """Each layer's range is that share of what comes in."""
    for layer in network.layers:
        if isinstance(layer, QuantizedDense):
            layer.range[...] = share * x.min(), share * x.max()
        x = layer.forward(x, training=False).copy()


def slow_rounding(layer):
    """Inputs and weights of a layer, rounded number by number in Python's floats."""
    low, high = (float(end) for end in layer.range)
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32((high - low) / 255))
    zero = min(max(round(-low / scale), 0), 255)
    most = 2 ** (layer.bits - 1) - 1

    def of_input(x):
        return (min(max(round(x / scale) + zero, 0), 255) - zero) * scale

    W = np.empty(layer.W.shape)
    for j, cut in enumerate(layer.cuts):
        column = [float(w) for w in layer.W[:, j]]
        step = max(abs(w) for w in column) * float(cut) / most
        W[:, j] = [min(max(round(w / step), -most), most) * step for w in column]
    return np.vectorize(of_input), W


@pytest.mark.parametrize("activation", BENDS)
@pytest.mark.parametrize("bits", [4, 7, 8])
def test_it_answers_as_a_slow_rounding_in_python_does(bits, activation, rng):
    network = insert_quantization(a_network(rng, activation=activation), [bits, 8])
    x = rows(rng)
    set_ranges(network, x, 0.7)  # so that some inputs are cut off
    values = x.astype(np.float64)
    for layer in network.layers:
        of_input, W = slow_rounding(layer)
        values = of_input(values) @ W + layer.b
        values = np.vectorize(BENDS[layer.activation.name])(values)
    got = network.logits(x)
    # A value between two bytes may go either way, in floats; none here does.
    np.testing.assert_allclose(got, values, atol=2e-5 * np.abs(values).max())


@pytest.mark.parametrize("bits", [4, 7, 8])
def test_rounding_is_that_of_the_standard(bits, rng):
    network = insert_quantization(a_network(rng, widths=(6, 3)), [bits])
    x, (layer,) = rows(rng), network.layers
    layer.range[...] = -1.3, 0.9
    source, most = layer.source, 2 ** (bits - 1) - 1
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "o"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "o"], ["rounded"]),
        helper.make_node("DequantizeLinear", ["whole", "t", "zeros"], ["real"], axis=1),
        helper.make_node("Gemm", ["rounded", "real", "b"], ["z"]),
    ]
    constants = {
        "s": np.float32(source.scale),
        "o": np.uint8(source.zero_point),
        "t": layer.scales(),
        "whole": layer.whole_weights(),
        "zeros": np.zeros(3, np.int8),
        "b": layer.b,
    }
    graph = helper.make_graph(
        nodes,
        "standard",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 6])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [None, 3])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    opset = [helper.make_opsetid("", 21)]  # the first whose reference onnx has
    (z,) = ReferenceEvaluator(helper.make_model(graph, opset_imports=opset)).run(None, {"x": x})
    np.testing.assert_allclose(network.logits(x), z, atol=1e-5)
    assert np.abs(layer.whole_weights()).max() == most


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("bits", [4, 8, FLOAT])
def test_gradients_are_those_of_a_network_without_rounding_at_that_point(bits, activation, rng):
    # Whatever rounding added is a constant; what was cut off does not move at all.
    network = a_network(rng, activation=activation, widths=(20, 8, 3))
    network = insert_quantization(network, [min(bits, 8), bits]).astype(np.float64)
    x, targets = rng.normal(size=(40, 20)), rng.normal(size=(40, 3))
    set_ranges(network, x, 0.6)
    network.loss_and_gradients(x, targets, MeanSquaredError())
    first, second = network.layers
    constants = []
    for layer, values in ((first, x), (second, first._a.copy())):
        low, high = layer.range
        inside = (values >= min(low, 0)) & (values <= max(high, 0))
        rounded = layer.source.numbers_of(layer.source.bytes_of(values))
        W = layer.W if layer.bits == FLOAT else layer.whole_weights() * layer.scales()
        most = 2 ** (layer.bits - 1) - 1
        free = (np.abs(layer.W) <= layer.scales() * (most + 0.5)) | (layer.bits == FLOAT)
        constants.append((inside, rounded, rounded - values, free, W.copy(), W - layer.W))
    assert all((~inside).any() for inside, *_ in constants)
    assert (~constants[0][3]).any() == (bits == 4)

    def loss(parameters):
        other, values = network.astype(np.float64), x
        other.parameters[...] = parameters
        for layer, (inside, rounded, moved, free, W, W_moved) in zip(
            other.layers, constants, strict=True
        ):
            values = np.where(inside, values + moved, rounded)
            values = values @ np.where(free, layer.W + W_moved, W) + layer.b
            if layer.activation.name == "tanh":
                values = np.tanh(values)
            elif layer.activation.name == "relu":
                values = np.maximum(values, 0)
        return np.mean((values - targets) ** 2)

    h, at = 1e-6, network.parameters.copy()
    wanted = [(loss(at + h * e) - loss(at - h * e)) / (2 * h) for e in np.eye(network.n_parameters)]
    np.testing.assert_allclose(network.gradients, wanted, atol=1e-7 * np.abs(wanted).max() + 1e-8)


def test_what_is_cut_off_has_no_slope_and_what_has_a_byte_has_one(rng):
    network = insert_quantization(a_network(rng, widths=(1, 2)), [8])
    (layer,) = network.layers
    for low, high, x, there in [
        (-1, 1, [-1.5, -0.9, 0, 0.9, 1.5], [0, 1, 1, 1, 0]),
        (2, 5, [-1, 0.5, 3, 6], [0, 1, 1, 0]),  # the bytes begin at 0
        (-5, -2, [-6, -3, -0.5, 1], [0, 1, 1, 0]),
    ]:
        layer.range[...] = low, high
        layer.forward(np.array(x, np.float32)[:, None], training=False)
        found = layer.backward(np.ones((len(x), 2), np.float32), to_inputs=True)
        assert (found[:, 0] != 0).astype(int).tolist() == there


def test_ranges_follow_the_batches(rng):
    layer = QuantizedDense(3, "relu")
    network = Network(4, [layer], rng=rng)
    batches = [rows(rng, width=4) * size for size in (1, 5, 0.1)]
    low, high = batches[0].min(), batches[0].max()
    for batch in batches:
        low, high = 0.99 * low + 0.01 * batch.min(), 0.99 * high + 0.01 * batch.max()
        network.training_loss(batch, batch[:, :3], MeanSquaredError())
        np.testing.assert_allclose(layer.range, [low, high], rtol=1e-6)
    before = layer.range.copy()
    network.logits(batches[1])  # to answer is not to learn
    np.testing.assert_array_equal(layer.range, before)


def test_cuts_are_where_the_squared_error_is_least(rng):
    network = insert_quantization(a_network(rng, widths=(40, 12, 3)), [4, 8])
    first, second = network.layers
    for unit in range(12):
        w = first.W[:, unit].astype(np.float64)
        errors = []
        for cut in CUTS:
            step = np.abs(w).max() * cut / 7
            errors.append(np.sum((np.rint(w / step).clip(-7, 7) * step - w) ** 2))
        assert first.cuts[unit] == pytest.approx(CUTS[int(np.argmin(errors))])
    assert (first.cuts < 1).any()
    np.testing.assert_array_equal(second.cuts, 1)


def test_cuts_are_looked_for_again_as_weights_learn(rng):
    network = insert_quantization(a_network(rng, widths=(40, 12)), [4])
    (layer,) = network.layers
    layer.cuts[...] = 0.5
    x = rows(rng, width=40)
    network.training_loss(x, np.zeros((50, 12), np.float32), MeanSquaredError())
    again = layer.cuts.copy()
    layer.find_cuts()
    np.testing.assert_array_equal(layer.cuts, again)
    assert (again != 0.5).any()


def test_a_unit_without_weights_and_a_layer_without_inputs_are_answered(rng):
    network = insert_quantization(a_network(rng), [4, 8])
    network.layers[0].W[:, 2] = 0
    x = np.zeros((5, 6), np.float32)
    set_ranges(network, x)
    for made in (network, quantize_weights(network)):
        assert np.isfinite(made.logits(x)).all()
    assert not network.layers[0].whole_weights()[:, 2].any()


@pytest.mark.parametrize("bits", [4, 7, 8])
def test_one_layer_in_whole_numbers_is_the_same_but_for_its_biases_rounding(bits, rng):
    network = insert_quantization(a_network(rng, widths=(6, 5)), [bits])
    x, (layer,) = rows(rng, 300), network.layers
    set_ranges(network, x, 0.8)
    (whole,) = quantize_weights(network).layers
    assert isinstance(whole, IntegerDense)
    delta = np.abs(quantize_weights(network).logits(x) - network.logits(x))
    step = float(layer.source.scale) * layer.scales()
    assert (delta <= 0.5 * step + 1e-5).all()
    np.testing.assert_array_equal(whole.scales, layer.scales())
    assert whole.source == layer.source
    np.testing.assert_array_equal(whole.W, layer.whole_weights())


@pytest.mark.parametrize("activation", ["relu", "tanh", "swish"])
@pytest.mark.parametrize("last", [8, FLOAT])
def test_layers_in_whole_numbers_are_the_same_within_a_byte(last, activation, rng):
    network = insert_quantization(a_network(rng, activation=activation), [8, last])
    x, (_, second) = rows(rng, 300), network.layers
    set_ranges(network, x)
    whole = quantize_weights(network)
    assert [type(layer) for layer in whole.layers] == [
        IntegerDense,
        Dense if last == FLOAT else IntegerDense,
    ]
    assert whole.layers[0].target == second.source
    delta = np.abs(whole.logits(x) - network.logits(x))
    W = second.W if last == FLOAT else second.whole_weights() * second.scales()
    byte = float(second.source.scale)
    assert (delta <= byte * np.abs(W).sum(axis=0) + byte * second.scales() / 2 + 1e-5).all()
    assert np.mean(delta) < 0.1 * np.mean(np.abs(network.logits(x)))


@pytest.mark.parametrize(
    "bits, activations",
    [
        ([FLOAT, 8], ["identity"]),
        ([FLOAT, FLOAT, 8], ["identity", "identity"]),
        ([8, FLOAT, FLOAT], ["relu", "identity"]),
        ([8, FLOAT, 8, FLOAT], ["relu", "identity", "tanh"]),
    ],
)
def test_layers_in_floats_learn_with_the_rounding_they_answer_with(bits, activations, rng):
    layers = [*(Dense(7, activation) for activation in activations), Dense(3)]
    network = Network(6, layers, rng=rng)
    network.parameters[...] = rng.normal(0, 0.5, network.n_parameters)
    rounds, x = insert_quantization(network, bits), rows(rng, 200)
    calibrate(rounds, x, "min-max")
    whole = quantize_weights(rounds)
    delta = np.abs(whole.logits(x) - rounds.logits(x))
    assert np.median(delta) < 2e-3 * np.abs(rounds.logits(x)).max()
    assert [isinstance(layer, IntegerDense) for layer in whole.layers] == [b != FLOAT for b in bits]
    # A layer in floats between bytes ONNX Runtime would put in bytes itself.
    for layer, after in pairwise(whole.layers):
        if isinstance(layer, IntegerDense) and isinstance(after, Dense):
            assert (layer.target is None) == (after is not whole.layers[-1])


def test_what_is_not_dense_stays(rng):
    network = Network(
        4,
        [Embedding([5], [2]), FeatureSelect(np.array([0, 2, 4])), Dense(3, "relu"), Dense(2)],
        rng=rng,
    )
    network.parameters[...] = rng.normal(size=network.n_parameters)
    rounds = insert_quantization(network, [8, 8])
    x = np.column_stack([rows(rng, 60, 3), rng.integers(0, 5, 60)]).astype(np.float32)
    calibrate(rounds, x, "min-max")
    whole = quantize_weights(rounds)
    np.testing.assert_array_equal(whole.layers[0].tables[0], network.layers[0].tables[0])
    np.testing.assert_array_equal(whole.layers[1].columns, [0, 2, 4])
    for made in (rounds, whole):
        assert np.abs(made.logits(x) - network.logits(x)).max() < 0.1


def test_batch_normalisation_is_part_of_the_weights_before_they_are_rounded(rng):
    network = Network(6, [Dense(8), BatchNorm("relu"), Dense(3)], rng=rng)
    for layer in network.layers:
        for array in layer.state().values():
            array[...] = rng.uniform(0.5, 2, size=array.shape)
    rounds, x = insert_quantization(to_dense(network), [8, 8]), rows(rng, 200)
    calibrate(rounds, x, "min-max")
    largest = np.abs(network.logits(x)).max()
    assert np.abs(quantize_weights(rounds).logits(x) - network.logits(x)).max() < 0.03 * largest


def test_copies_and_snapshots_keep_ranges_and_cuts(rng):
    network = insert_quantization(a_network(rng), [4, 8])
    x = rows(rng)
    set_ranges(network, x, 0.9)
    expected, before = network.logits(x), network.snapshot()
    copies = [network.astype(np.float32), copy.deepcopy(network)]
    fresh = insert_quantization(a_network(np.random.default_rng(9)), [4, 8])
    fresh.restore(before)
    network.training_loss(100 * x, np.zeros((50, 3), np.float32), MeanSquaredError())
    network.layers[0].cuts[...] = 0.4
    assert (network.logits(x) != expected).any()
    for other in (*copies, fresh):
        np.testing.assert_array_equal(other.logits(x), expected)
    network.restore(before)
    np.testing.assert_array_equal(network.logits(x), expected)


@pytest.fixture(scope="module")
def few_bits(reopened):
    """Digits in 4 bits: the network that rounds, before and after it learned with its rounding."""
    opened = reopened("digits")
    model, rows = opened.model, opened.model.rows(opened.table, opened.parts.train)
    before = quantize_network(
        model.network,
        rows.features,
        lambda network: DistillationLoss("softmax").value(
            network.logits(rows.features), model.network.logits(rows.features)
        ),
        bits=4,
    )
    after = before.astype(np.float32)
    distill(
        after,
        model.network,
        "softmax",
        rows.features,
        epochs=8,
        batch_size=64,
        learning_rate=0.003,
        whole=0,
        rng=np.random.default_rng(0),
    )
    return before, after


def test_who_learns_with_4_bits_answers_better_with_4_bits(few_bits, reopened):
    opened = reopened("digits")
    held_out = opened.model.rows(opened.table, opened.parts.test)
    teacher = opened.model.network.logits(held_out.features)
    off, right = [], []
    for network in few_bits:
        logits = quantize_weights(network).logits(held_out.features)
        off.append(DistillationLoss("softmax").value(logits, teacher))
        right.append(np.mean(logits.argmax(axis=1) == teacher.argmax(axis=1)))
    assert off[1] < 0.6 * off[0]
    assert right[1] > right[0]


def test_the_file_has_the_very_scales_that_were_learned_with(few_bits, reopened):
    network = few_bits[1]
    made = Model(**{**vars(reopened("digits").model), "network": quantize_weights(network)})
    graph = onnx.load_from_string(build_graph(made)).graph
    constants = {c.name: numpy_helper.to_array(c) for c in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    gemms = [node for node in graph.node if node.op_type == "Gemm"]
    whole = [layer for layer in network.layers if layer.bits != FLOAT]
    assert len(whole) >= 2
    for gemm, layer in zip(gemms, whole, strict=False):
        x, W, b = (makers[name] for name in gemm.input)
        assert x.op_type == W.op_type == b.op_type == "DequantizeLinear"
        assert constants[x.input[1]] == layer.source.scale
        assert constants[x.input[2]] == layer.source.zero_point
        np.testing.assert_array_equal(constants[W.input[1]], layer.scales())
        step = layer.source.scale * layer.scales()
        np.testing.assert_array_equal(constants[b.input[1]], step)
        real = constants[b.input[0]] * step.astype(np.float64)
        assert (np.abs(real - layer.b) <= 0.5001 * step).all()
        if W.input[0] in constants:  # else its halves lie in bytes
            np.testing.assert_array_equal(constants[W.input[0]], layer.whole_weights())
    low, high = network.layers[0].range
    assert network.layers[0].source.scale == np.float32((max(high, 0) - min(low, 0)) / 255)


@pytest.mark.parametrize("size", [1.0, 1e-5, 1e-12, 0.0])
def test_a_bias_is_kept_however_small_the_weights_are(size, rng):
    network = Network(3, [Dense(2)], rng=rng)
    network.layers[0].W[...] = size * np.array([[1, -1], [0.5, 0.25], [0, 1]])
    network.layers[0].b[...] = [5, -7]
    rounds = insert_quantization(network, [8])
    x = rng.normal(size=(50, 3)).astype(np.float32)
    calibrate(rounds, x, "min-max")
    found, wanted = quantize_weights(rounds).logits(x), network.logits(x)
    np.testing.assert_allclose(found, wanted, atol=0.05 * size + 1e-6)
