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
from trainer.compress.qat import (
    CLIP_RATIOS,
    FLOAT_BITS,
    QuantizedDense,
    insert_quantization,
    quantize_weights,
)
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
    PeriodicEmbedding,
)

FUNCTIONS = {
    "identity": lambda z: z,
    "relu": lambda z: max(z, 0.0),
    "tanh": math.tanh,
    "swish": lambda z: z / (1 + math.exp(-z)),
}


def make_network(rng, *, activation="relu", widths=(6, 8, 3)):
    """Return a network of random weights and biases with heavy tails."""
    n_inputs, *hidden, last = widths
    layers = [*(Dense(units, activation) for units in hidden), Dense(last)]
    network = Network(n_inputs, layers, rng=rng)
    network.parameters[...] = rng.standard_t(3, size=network.n_parameters) / 2
    return network


def draw_rows(rng, n=50, width=6):
    return rng.normal(size=(n, width)).astype(np.float32)


def set_ranges(network, x, share=1.0):
    """Set each input range to a share of the range of the inputs."""
    for layer in network.layers:
        if isinstance(layer, QuantizedDense):
            layer.input_range[...] = share * x.min(), share * x.max()
        x = layer.forward(x, training=False).copy()


def round_slowly(layer):
    """Return the rounding of a layer's inputs, as a function, and its rounded weights.

    Both are computed number by number in Python's floats.
    """
    low, high = (float(end) for end in layer.input_range)
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32((high - low) / 255))
    zero = min(max(round(-low / scale), 0), 255)
    max_integer = 2 ** (layer.bits - 1) - 1

    def round_input(x):
        return (min(max(round(x / scale) + zero, 0), 255) - zero) * scale

    W = np.empty(layer.W.shape)
    for j, ratio in enumerate(layer.clip_ratios):
        column = [float(w) for w in layer.W[:, j]]
        step = max(abs(w) for w in column) * float(ratio) / max_integer
        W[:, j] = [min(max(round(w / step), -max_integer), max_integer) * step for w in column]
    return np.vectorize(round_input), W


@pytest.mark.parametrize("activation", FUNCTIONS)
@pytest.mark.parametrize("bits", [4, 7, 8])
def test_quantized_dense_equals_slow_rounding_in_python(bits, activation, rng):
    network = insert_quantization(make_network(rng, activation=activation), [bits, 8])
    x = draw_rows(rng)
    set_ranges(network, x, 0.7)  # Some inputs are clipped.
    values = x.astype(np.float64)
    for layer in network.layers:
        round_input, W = round_slowly(layer)
        values = round_input(values) @ W + layer.b
        values = np.vectorize(FUNCTIONS[layer.activation.name])(values)
    logits = network.logits(x)
    # A value between two integers could round either way. There is none here.
    np.testing.assert_allclose(logits, values, atol=2e-5 * np.abs(values).max())


@pytest.mark.parametrize("bits", [4, 7, 8])
def test_quantized_dense_equals_the_onnx_reference(bits, rng):
    network = insert_quantization(make_network(rng, widths=(6, 3)), [bits])
    x, (layer,) = draw_rows(rng), network.layers
    layer.input_range[...] = -1.3, 0.9
    source, max_integer = layer.input_quantization, 2 ** (bits - 1) - 1
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "o"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "o"], ["rounded"]),
        helper.make_node("DequantizeLinear", ["integers", "t", "zeros"], ["weights"], axis=1),
        helper.make_node("Gemm", ["rounded", "weights", "b"], ["z"]),
    ]
    constants = {
        "s": np.float32(source.scale),
        "o": np.uint8(source.zero_point),
        "t": layer.compute_scales(),
        "integers": layer.compute_integer_weights(),
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
    # The oldest opset with a reference implementation in onnx.
    opset = [helper.make_opsetid("", 21)]
    (z,) = ReferenceEvaluator(helper.make_model(graph, opset_imports=opset)).run(None, {"x": x})
    np.testing.assert_allclose(network.logits(x), z, atol=1e-5)
    assert np.abs(layer.compute_integer_weights()).max() == max_integer


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("bits", [4, 8, FLOAT_BITS])
def test_quantized_dense_gradient_is_the_straight_through_estimate(bits, activation, rng):
    # In the finite differences, the rounding errors are constants, and so are clipped values.
    network = make_network(rng, activation=activation, widths=(20, 8, 3))
    network = insert_quantization(network, [min(bits, 8), bits]).astype(np.float64)
    x, targets = rng.normal(size=(40, 20)), rng.normal(size=(40, 3))
    set_ranges(network, x, 0.6)
    network.loss_and_gradients(x, targets, MeanSquaredError())
    first, second = network.layers
    constants = []
    for layer, values in ((first, x), (second, first._a.copy())):
        low, high = layer.input_range
        in_range = (values >= min(low, 0)) & (values <= max(high, 0))
        rounded = layer.input_quantization.dequantize(layer.input_quantization.quantize(values))
        W = (
            layer.W
            if layer.bits == FLOAT_BITS
            else layer.compute_integer_weights() * layer.compute_scales()
        )
        max_integer = 2 ** (layer.bits - 1) - 1
        unclipped = (np.abs(layer.W) <= layer.compute_scales() * (max_integer + 0.5)) | (
            layer.bits == FLOAT_BITS
        )
        constants.append((in_range, rounded, rounded - values, unclipped, W.copy(), W - layer.W))
    assert all((~in_range).any() for in_range, *_ in constants)
    assert (~constants[0][3]).any() == (bits == 4)

    def compute_loss(parameters):
        other, values = network.astype(np.float64), x
        other.parameters[...] = parameters
        for layer, (in_range, rounded, x_error, unclipped, W, W_error) in zip(
            other.layers, constants, strict=True
        ):
            values = np.where(in_range, values + x_error, rounded)
            values = values @ np.where(unclipped, layer.W + W_error, W) + layer.b
            if layer.activation.name == "tanh":
                values = np.tanh(values)
            elif layer.activation.name == "relu":
                values = np.maximum(values, 0)
        return np.mean((values - targets) ** 2)

    h, parameters = 1e-6, network.parameters.copy()
    expected = [
        (compute_loss(parameters + h * e) - compute_loss(parameters - h * e)) / (2 * h)
        for e in np.eye(network.n_parameters)
    ]
    atol = 1e-7 * np.abs(expected).max() + 1e-8
    np.testing.assert_allclose(network.gradients, expected, atol=atol)


def test_quantized_dense_clipped_inputs_have_no_gradient(rng):
    network = insert_quantization(make_network(rng, widths=(1, 2)), [8])
    (layer,) = network.layers
    for low, high, x, has_gradient in [
        (-1, 1, [-1.5, -0.9, 0, 0.9, 1.5], [0, 1, 1, 1, 0]),
        (2, 5, [-1, 0.5, 3, 6], [0, 1, 1, 0]),  # The range is extended to 0.
        (-5, -2, [-6, -3, -0.5, 1], [0, 1, 1, 0]),
    ]:
        layer.input_range[...] = low, high
        layer.forward(np.array(x, np.float32)[:, None], training=False)
        result = layer.backward(np.ones((len(x), 2), np.float32), to_inputs=True)
        assert (result[:, 0] != 0).astype(int).tolist() == has_gradient


def test_quantized_dense_input_range_is_a_moving_average_in_training(rng):
    layer = QuantizedDense(3, "relu")
    network = Network(4, [layer], rng=rng)
    batches = [draw_rows(rng, width=4) * size for size in (1, 5, 0.1)]
    low, high = batches[0].min(), batches[0].max()
    for batch in batches:
        low, high = 0.99 * low + 0.01 * batch.min(), 0.99 * high + 0.01 * batch.max()
        network.training_loss(batch, batch[:, :3], MeanSquaredError())
        np.testing.assert_allclose(layer.input_range, [low, high], rtol=1e-6)
    before = layer.input_range.copy()
    network.logits(batches[1])
    np.testing.assert_array_equal(layer.input_range, before)


def test_clip_ratios_have_the_smallest_squared_error(rng):
    network = insert_quantization(make_network(rng, widths=(40, 12, 3)), [4, 8])
    first, second = network.layers
    for unit in range(12):
        w = first.W[:, unit].astype(np.float64)
        errors = []
        for ratio in CLIP_RATIOS:
            step = np.abs(w).max() * ratio / 7
            errors.append(np.sum((np.rint(w / step).clip(-7, 7) * step - w) ** 2))
        assert first.clip_ratios[unit] == pytest.approx(CLIP_RATIOS[int(np.argmin(errors))])
    assert (first.clip_ratios < 1).any()
    np.testing.assert_array_equal(second.clip_ratios, 1)


def test_clip_ratios_are_fitted_again_in_training(rng):
    network = insert_quantization(make_network(rng, widths=(40, 12)), [4])
    (layer,) = network.layers
    layer.clip_ratios[...] = 0.5
    x = draw_rows(rng, width=40)
    network.training_loss(x, np.zeros((50, 12), np.float32), MeanSquaredError())
    fitted = layer.clip_ratios.copy()
    layer.fit_clip_ratios()
    np.testing.assert_array_equal(layer.clip_ratios, fitted)
    assert (fitted != 0.5).any()


def test_quantized_dense_zero_weights_and_zero_inputs_give_finite_answers(rng):
    network = insert_quantization(make_network(rng), [4, 8])
    network.layers[0].W[:, 2] = 0
    x = np.zeros((5, 6), np.float32)
    set_ranges(network, x)
    for other in (network, quantize_weights(network)):
        assert np.isfinite(other.logits(x)).all()
    assert not network.layers[0].compute_integer_weights()[:, 2].any()


@pytest.mark.parametrize("bits", [4, 7, 8])
def test_quantize_weights_one_layer_differs_by_the_rounding_of_the_bias(bits, rng):
    network = insert_quantization(make_network(rng, widths=(6, 5)), [bits])
    x, (layer,) = draw_rows(rng, 300), network.layers
    set_ranges(network, x, 0.8)
    (integer_layer,) = quantize_weights(network).layers
    assert isinstance(integer_layer, IntegerDense)
    difference = np.abs(quantize_weights(network).logits(x) - network.logits(x))
    step = float(layer.input_quantization.scale) * layer.compute_scales()
    assert (difference <= 0.5 * step + 1e-5).all()
    np.testing.assert_array_equal(integer_layer.scales, layer.compute_scales())
    assert integer_layer.source == layer.input_quantization
    np.testing.assert_array_equal(integer_layer.W, layer.compute_integer_weights())


@pytest.mark.parametrize("activation", ["relu", "tanh", "swish"])
@pytest.mark.parametrize("last", [8, FLOAT_BITS])
def test_quantize_weights_several_layers_differ_by_one_step(last, activation, rng):
    network = insert_quantization(make_network(rng, activation=activation), [8, last])
    x, (_, second) = draw_rows(rng, 300), network.layers
    set_ranges(network, x)
    integer_network = quantize_weights(network)
    assert [type(layer) for layer in integer_network.layers] == [
        IntegerDense,
        Dense if last == FLOAT_BITS else IntegerDense,
    ]
    assert integer_network.layers[0].target == second.input_quantization
    difference = np.abs(integer_network.logits(x) - network.logits(x))
    W = (
        second.W
        if last == FLOAT_BITS
        else second.compute_integer_weights() * second.compute_scales()
    )
    step = float(second.input_quantization.scale)
    assert (
        difference <= step * np.abs(W).sum(axis=0) + step * second.compute_scales() / 2 + 1e-5
    ).all()
    assert np.mean(difference) < 0.1 * np.mean(np.abs(network.logits(x)))


@pytest.mark.parametrize(
    "bits, activations",
    [
        ([FLOAT_BITS, 8], ["identity"]),
        ([FLOAT_BITS, FLOAT_BITS, 8], ["identity", "identity"]),
        ([8, FLOAT_BITS, FLOAT_BITS], ["relu", "identity"]),
        ([8, FLOAT_BITS, 8, FLOAT_BITS], ["relu", "identity", "tanh"]),
    ],
)
def test_quantize_weights_float_layers_have_the_rounding_of_their_training(bits, activations, rng):
    layers = [*(Dense(7, activation) for activation in activations), Dense(3)]
    network = Network(6, layers, rng=rng)
    network.parameters[...] = rng.normal(0, 0.5, network.n_parameters)
    quantized, x = insert_quantization(network, bits), draw_rows(rng, 200)
    calibrate(quantized, x, "min-max")
    integer_network = quantize_weights(quantized)
    difference = np.abs(integer_network.logits(x) - quantized.logits(x))
    assert np.median(difference) < 2e-3 * np.abs(quantized.logits(x)).max()
    assert [isinstance(layer, IntegerDense) for layer in integer_network.layers] == [
        b != FLOAT_BITS for b in bits
    ]
    # ONNX Runtime would quantize a float layer between two integer layers by itself.
    for layer, after in pairwise(integer_network.layers):
        if isinstance(layer, IntegerDense) and isinstance(after, Dense):
            assert (layer.target is None) == (after is not integer_network.layers[-1])


def test_quantize_weights_other_layers_stay(rng):
    network = Network(
        4,
        [Embedding([5], [2]), FeatureSelect(np.array([0, 2, 4])), Dense(3, "relu"), Dense(2)],
        rng=rng,
    )
    network.parameters[...] = rng.normal(size=network.n_parameters)
    quantized = insert_quantization(network, [8, 8])
    x = np.column_stack([draw_rows(rng, 60, 3), rng.integers(0, 5, 60)]).astype(np.float32)
    calibrate(quantized, x, "min-max")
    integer_network = quantize_weights(quantized)
    np.testing.assert_array_equal(integer_network.layers[0].tables[0], network.layers[0].tables[0])
    np.testing.assert_array_equal(integer_network.layers[1].columns, [0, 2, 4])
    for other in (quantized, integer_network):
        assert np.abs(other.logits(x) - network.logits(x)).max() < 0.1


def test_quantize_weights_periodic_embedding_stays_in_float32(rng):
    layers = [PeriodicEmbedding(3), Dense(8, "relu"), Dense(2)]
    network = Network(4, layers, rng=rng)
    quantized, x = insert_quantization(network, [8, 8]), draw_rows(rng, 60, 4)
    calibrate(quantized, x, "min-max")
    integer_network = quantize_weights(quantized)
    assert [type(layer) for layer in integer_network.layers] == [
        PeriodicEmbedding,
        IntegerDense,
        IntegerDense,
    ]
    np.testing.assert_array_equal(
        integer_network.parameters, network.parameters[: network.layers[0].size(4)]
    )
    assert np.abs(integer_network.logits(x) - network.logits(x)).max() < 0.2


def test_quantize_weights_batch_norm_is_folded_before_the_rounding(rng):
    network = Network(6, [Dense(8), BatchNorm("relu"), Dense(3)], rng=rng)
    for layer in network.layers:
        for array in layer.state().values():
            array[...] = rng.uniform(0.5, 2, size=array.shape)
    quantized, x = insert_quantization(to_dense(network), [8, 8]), draw_rows(rng, 200)
    calibrate(quantized, x, "min-max")
    largest = np.abs(network.logits(x)).max()
    assert np.abs(quantize_weights(quantized).logits(x) - network.logits(x)).max() < 0.03 * largest


def test_quantized_dense_copies_and_snapshots_have_ranges_and_clip_ratios(rng):
    network = insert_quantization(make_network(rng), [4, 8])
    x = draw_rows(rng)
    set_ranges(network, x, 0.9)
    expected, before = network.logits(x), network.snapshot()
    copies = [network.astype(np.float32), copy.deepcopy(network)]
    fresh = insert_quantization(make_network(np.random.default_rng(9)), [4, 8])
    fresh.restore(before)
    network.training_loss(100 * x, np.zeros((50, 3), np.float32), MeanSquaredError())
    network.layers[0].clip_ratios[...] = 0.4
    assert (network.logits(x) != expected).any()
    for other in (*copies, fresh):
        np.testing.assert_array_equal(other.logits(x), expected)
    network.restore(before)
    np.testing.assert_array_equal(network.logits(x), expected)


@pytest.fixture(scope="module")
def int4_networks(load_model):
    """Return a quantized network of the digits with 4 bits, before and after QAT."""
    trained = load_model("digits")
    model, rows = trained.model, trained.model.encode_rows(trained.table, trained.split.train)
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
        n_categories=0,
        rng=np.random.default_rng(0),
    )
    return before, after


def test_qat_4_bits_improves_the_answers(int4_networks, load_model):
    trained = load_model("digits")
    held_out = trained.model.encode_rows(trained.table, trained.split.test)
    teacher = trained.model.network.logits(held_out.features)
    losses, agreements = [], []
    for network in int4_networks:
        logits = quantize_weights(network).logits(held_out.features)
        losses.append(DistillationLoss("softmax").value(logits, teacher))
        agreements.append(np.mean(logits.argmax(axis=1) == teacher.argmax(axis=1)))
    assert losses[1] < 0.6 * losses[0]
    assert agreements[1] > agreements[0]


def test_qat_exported_graph_has_the_scales_of_the_training(int4_networks, load_model):
    network = int4_networks[1]
    model = Model(**{**vars(load_model("digits").model), "network": quantize_weights(network)})
    graph = onnx.load_from_string(build_graph(model)).graph
    constants = {c.name: numpy_helper.to_array(c) for c in graph.initializer}
    producers = {output: node for node in graph.node for output in node.output}
    gemms = [node for node in graph.node if node.op_type == "Gemm"]
    layers = [layer for layer in network.layers if layer.bits != FLOAT_BITS]
    assert len(layers) >= 2
    for gemm, layer in zip(gemms, layers, strict=False):
        x, W, b = (producers[name] for name in gemm.input)
        assert x.op_type == W.op_type == b.op_type == "DequantizeLinear"
        assert constants[x.input[1]] == layer.input_quantization.scale
        assert constants[x.input[2]] == layer.input_quantization.zero_point
        np.testing.assert_array_equal(constants[W.input[1]], layer.compute_scales())
        step = layer.input_quantization.scale * layer.compute_scales()
        np.testing.assert_array_equal(constants[b.input[1]], step)
        bias = constants[b.input[0]] * step.astype(np.float64)
        assert (np.abs(bias - layer.b) <= 0.5001 * step).all()
        if W.input[0] in constants:  # Packed INT4 weights are stored under another name.
            np.testing.assert_array_equal(constants[W.input[0]], layer.compute_integer_weights())
    low, high = network.layers[0].input_range
    assert network.layers[0].input_quantization.scale == np.float32(
        (max(high, 0) - min(low, 0)) / 255
    )


@pytest.mark.parametrize("size", [1.0, 1e-5, 1e-12, 0.0])
def test_quantize_weights_tiny_weights_keep_the_bias(size, rng):
    network = Network(3, [Dense(2)], rng=rng)
    network.layers[0].W[...] = size * np.array([[1, -1], [0.5, 0.25], [0, 1]])
    network.layers[0].b[...] = [5, -7]
    quantized = insert_quantization(network, [8])
    x = rng.normal(size=(50, 3)).astype(np.float32)
    calibrate(quantized, x, "min-max")
    result, expected = quantize_weights(quantized).logits(x), network.logits(x)
    np.testing.assert_allclose(result, expected, atol=0.05 * size + 1e-6)
