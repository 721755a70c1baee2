import copy
import pickle

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from trainer.nn import (
    Dense,
    FeatureSelect,
    IntegerDense,
    MeanSquaredError,
    Network,
    Quantization,
    largest_weight,
)

SOURCE = Quantization.from_range(-2, 3)
OPERATORS = {  # ONNX operators of each activation
    "relu": ["Relu"],
    "tanh": ["Tanh"],
    "elu": ["Elu"],
    "sigmoid": ["Sigmoid"],
    "softplus": ["Softplus"],
    "swish": ["Sigmoid", "Mul"],
}


def run_reference(nodes, inputs):
    """Return the result of ONNX's reference implementation for a chain of nodes."""
    value_infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), None)
        for name, array in inputs.items()
    ]
    end = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.UNDEFINED, None)
    model = helper.make_model(
        helper.make_graph(nodes, "t", value_infos, [end]),
        opset_imports=[helper.make_opsetid("", 21)],
    )
    return ReferenceEvaluator(model).run(None, inputs)[0]


def quantize_by_onnx(x, quantization):
    scale, zero_point = quantization
    node = helper.make_node("QuantizeLinear", ["x", "s", "o"], ["q"])
    return run_reference(
        [node], {"x": x, "s": np.asarray(scale), "o": np.array(zero_point, np.uint8)}
    )


def make_layer(rng, n_in=20, units=7, *, target=None, activation="identity", bits=8, source=SOURCE):
    limit = largest_weight(bits)
    return IntegerDense(
        rng.integers(-limit, limit, (n_in, units), endpoint=True).astype(np.int8),
        rng.integers(-3000, 3000, units).astype(np.int32),
        rng.uniform(0.5, 2, units).astype(np.float32) * np.float32(0.3 / limit),
        source=source,
        target=target,
        activation=activation,
        bits=bits,
    )


def make_rows(rng, n=60, n_in=20):
    return rng.normal(0.5, 2, (n, n_in)).astype(np.float32)  # some outside of the byte range


def compute_outputs(layer, x):
    return Network(x.shape[1], [layer], rng=np.random.default_rng(0)).logits(x)


def sum_integers(layer, x):
    """Return (q − o) W + b, computed term by term in 64-bit integers."""
    q = quantize_by_onnx(x, layer.source).astype(np.int64)
    sums = np.empty((len(x), len(layer.b)), np.int64)
    for row in range(len(x)):
        for unit in range(len(layer.b)):
            total = int(layer.b[unit])
            for k in range(x.shape[1]):
                total += (int(q[row, k]) - layer.source.zero_point) * int(layer.W[k, unit])
            sums[row, unit] = total
    return sums


# Quantization


@pytest.mark.parametrize("low, high", [(-2, 3), (0, 6), (0.5, 6), (-6, -1), (-1e-6, 40), (-7, 1e5)])
def test_quantization_from_range_covers_range_and_zero(low, high):
    quantization = Quantization.from_range(low, high)
    scale, zero_point = quantization
    assert isinstance(scale, np.float32)
    assert 0 <= zero_point <= 255
    first, last = quantization.dequantize(np.array([0, 255], np.float32))
    assert first <= min(low, 0) + 0.51 * scale  # the zero point is rounded
    assert last >= max(high, 0) - 0.51 * scale
    assert last - first == pytest.approx(max(high, 0) - min(low, 0), rel=1e-6)
    zero = quantization.quantize(np.zeros(1, np.float32))
    assert zero == zero_point
    assert quantization.dequantize(zero) == 0


@pytest.mark.parametrize("x", [0.0, 1e-30, -1.0, 7.0, 1e30])
def test_quantization_from_range_zero_range_stays_finite(x):
    quantization = Quantization.from_range(0, 0)
    assert quantization.zero_point == 0
    q = quantization.quantize(np.array([x], np.float32))
    assert 0 <= q <= 255
    assert np.isfinite(quantization.dequantize(q)).all()


@pytest.mark.parametrize("low, high", [(-2, 3), (0, 63.75), (-31.75, 32), (-1e-3, 2e-3), (-5, 0)])
def test_quantize_matches_onnx_quantize_linear(low, high, rng):
    quantization = Quantization.from_range(low, high)
    scale = quantization.scale
    halves = (np.arange(-600, 600) + np.float32(0.5)) * scale
    spread = np.concatenate([rng.uniform(low, high, 5000), rng.normal(0, 9 * (high - low), 5000)])
    ends = [0.0, -0.0, low, high, 1e6 * scale, -1e6 * scale]
    x = np.concatenate([halves, spread, ends]).astype(np.float32)
    before = x.copy()
    q = quantization.quantize(x)
    np.testing.assert_array_equal(q, quantize_by_onnx(x, quantization))
    np.testing.assert_array_equal(x, before)
    assert (q.dtype, q.min(), q.max()) == (np.float32, 0, 255)


def test_quantize_infinity_is_clipped():
    assert SOURCE.quantize(np.array([np.inf, -np.inf], np.float32)).tolist() == [255, 0]


def test_quantize_halves_are_rounded_to_even():
    quantization = Quantization(
        np.float32(0.25), 3
    )  # a power of two, so that the division is exact
    x = np.array([0.125, 0.375, 0.625, -0.125, -0.375, -0.625], np.float32)
    assert quantization.quantize(x).tolist() == [3, 5, 5, 3, 1, 1]


@pytest.mark.parametrize("low, high", [(-2, 3), (0, 6), (-1e-3, 2e-3)])
def test_dequantize_matches_onnx_dequantize_linear(low, high):
    scale, zero_point = quantization = Quantization.from_range(low, high)
    q = np.arange(256, dtype=np.uint8)
    node = helper.make_node("DequantizeLinear", ["q", "s", "o"], ["x"])
    inputs = {"q": q, "s": np.asarray(scale), "o": np.array(zero_point, np.uint8)}
    x = quantization.dequantize(q.astype(np.float32))
    np.testing.assert_array_equal(x, run_reference([node], inputs))
    assert x.dtype == np.float32
    np.testing.assert_array_equal(quantization.quantize(x), q)  # round trip


@pytest.mark.parametrize("low, high", [(-2, 3), (0, 6)])
def test_quantize_error_is_at_most_half_a_step(low, high, rng):
    quantization = Quantization.from_range(low, high)
    x = rng.uniform(low, high, 5000).astype(np.float32)
    error = np.abs(quantization.dequantize(quantization.quantize(x)) - x)
    # Rounding the zero point may move one end of the range by half a step.
    assert error.max() <= 1.01 * quantization.scale
    assert np.quantile(error, 0.99) <= 0.5 * quantization.scale * (1 + 1e-5)


@pytest.mark.parametrize("bits, limit", [(4, 7), (7, 63), (8, 127)])
def test_largest_weight_depends_on_bits(bits, limit):
    assert largest_weight(bits) == limit


# The layer


@pytest.mark.parametrize("bits", [4, 7, 8])
@pytest.mark.parametrize("n", [0, 1, 60])
def test_integer_dense_float_output_is_scaled_integer_sum(bits, n, rng):
    layer, x = make_layer(rng, bits=bits), make_rows(rng, n)
    step = layer.source.scale * layer.scales
    expected = sum_integers(layer, x).astype(np.float32) * step
    np.testing.assert_array_equal(compute_outputs(layer, x), expected)


@pytest.mark.parametrize("bits", [4, 7, 8])
def test_integer_dense_quantized_relu_rounds_once(bits, rng):
    target = Quantization.from_range(0, 2)
    layer, x = make_layer(rng, bits=bits, target=target, activation="relu"), make_rows(rng)
    # Exact in float64; no sum here is that close to a half.
    steps = sum_integers(layer, x) * (layer.source.scale * layer.scales / target.scale).astype("f8")
    assert np.abs(steps - np.floor(steps) - 0.5).min() > 1e-6
    expected = np.rint(steps).clip(0, 255).astype(np.float32)
    assert {0, 255} < set(expected.ravel())  # some are clipped at both ends
    np.testing.assert_array_equal(compute_outputs(layer, x), expected * target.scale)


@pytest.mark.parametrize("activation", OPERATORS)
@pytest.mark.parametrize("rounds", [True, False])
def test_integer_dense_matches_onnx_reference(activation, rounds, rng):
    target = Quantization.from_range(0 if activation == "relu" else -1, 3) if rounds else None
    layer, x = make_layer(rng, target=target, activation=activation), make_rows(rng)
    chain = [
        helper.make_node("QuantizeLinear", ["x", "s", "o"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "o"], ["x_"]),
        helper.make_node("DequantizeLinear", ["W", "t", "zeros"], ["W_"], axis=1),
        helper.make_node("DequantizeLinear", ["b", "st"], ["b_"], axis=0),
        helper.make_node("Gemm", ["x_", "W_", "b_"], ["z"]),
    ]
    last = "z"
    for operator in OPERATORS[activation]:
        inputs_ = ["z", last] if operator == "Mul" else [last]
        chain.append(helper.make_node(operator, inputs_, [f"a_{operator}"]))
        last = f"a_{operator}"
    inputs = {
        "x": x,
        "s": np.asarray(layer.source.scale),
        "o": np.array(layer.source.zero_point, np.uint8),
        "W": layer.W,
        "t": layer.scales,
        "zeros": np.zeros(len(layer.b), np.int8),
        "b": layer.b,
        "st": layer.source.scale * layer.scales,
    }
    if target is not None:
        chain.append(helper.make_node("QuantizeLinear", [last, "r", "u"], ["rounded"]))
        chain.append(helper.make_node("DequantizeLinear", ["rounded", "r", "u"], ["end"]))
        inputs |= {"r": np.asarray(target.scale), "u": np.array(target.zero_point, np.uint8)}
    expected, got = run_reference(chain, inputs), compute_outputs(layer, x)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)  # no value is close to a half
    assert got.dtype == np.float32


@pytest.mark.parametrize("bits", [4, 7, 8])
def test_integer_dense_two_layers_match_onnx_qlinear_matmul(bits, rng):
    first, middle = Quantization.from_range(-3, 4), Quantization.from_range(0, 5)
    one = make_layer(rng, 20, 9, source=first, target=middle, activation="relu", bits=bits)
    two = make_layer(rng, 9, 4, source=middle, bits=bits)
    one.b[...] = two.b[...] = 0  # QLinearMatMul has no bias
    x = make_rows(rng)
    node = helper.make_node(
        "QLinearMatMul", ["q", "s", "o", "W", "t", "zeros", "r", "u"], ["bytes"]
    )
    q = quantize_by_onnx(x, first)
    inputs = {
        "q": q,
        "s": np.asarray(first.scale),
        "o": np.array(first.zero_point, np.uint8),
        "W": one.W,
        "t": one.scales,
        "zeros": np.zeros(9, np.int8),
        "r": np.asarray(middle.scale),
        "u": np.array(0, np.uint8),
    }
    hidden = run_reference([node], inputs)
    assert hidden.dtype == np.uint8
    expected = (hidden.astype(np.int64) @ two.W.astype(np.int64)) * (
        middle.scale.astype(np.float64) * two.scales
    )
    net = Network(20, [one, two], rng=rng)
    np.testing.assert_allclose(net.logits(x), expected, rtol=1e-6, atol=1e-9)


def test_integer_dense_largest_sums_are_exact(rng):
    n = 60_000
    W = np.full((n, 2), 127, np.int8)
    W[:, 1] = -127
    b = np.array([2**31 - 1 - 255 * 127 * n, -5], np.int32)
    layer = IntegerDense(
        W, b, np.ones(2, np.float32), source=Quantization(np.float32(1), 0), activation="identity"
    )
    got = compute_outputs(layer, np.full((1, n), 300, np.float32))
    np.testing.assert_array_equal(got[0], np.array([2**31 - 1, -255 * 127 * n - 5], np.float32))


@pytest.mark.parametrize("n, b", [(60_000, 2**31 - 255 * 127 * 60_000), (66_400, 0)])
def test_integer_dense_possible_overflow_raises(n, b):
    with pytest.raises(ValueError, match="expected sums within 32 bits; got one of up to 21"):
        IntegerDense(
            np.full((n, 1), -127, np.int8),
            np.array([b], np.int32),
            np.ones(1, np.float32),
            source=SOURCE,
        )


@pytest.mark.parametrize("bits", [4, 7, 8])
@pytest.mark.parametrize("sign", [1, -1])
def test_integer_dense_weight_too_large_raises(bits, sign):
    limit = largest_weight(bits)
    b, scales = np.zeros(1, np.int32), np.ones(1, np.float32)
    IntegerDense(np.full((2, 1), sign * limit, np.int8), b, scales, source=SOURCE, bits=bits)
    beyond = -128 if bits == 8 else sign * (limit + 1)
    with pytest.raises(ValueError, match=rf"within ±{limit} for {bits}; got .*{abs(beyond)}"):
        IntegerDense(np.full((2, 1), beyond, np.int8), b, scales, source=SOURCE, bits=bits)


@pytest.mark.parametrize("bits", [0, 3, 5, 9])
def test_integer_dense_invalid_bits_raises(bits):
    with pytest.raises(ValueError, match="expected weights of 4 or 7 or 8 bits"):
        IntegerDense(
            np.zeros((2, 1), np.int8),
            np.zeros(1, np.int32),
            np.ones(1, np.float32),
            source=SOURCE,
            bits=bits,
        )


@pytest.mark.parametrize(
    "W, b, scales",
    [
        (("i2", (3, 2)), ("i4", (2,)), ("f4", (2,))),
        (("i1", (3, 2)), ("i8", (2,)), ("f4", (2,))),
        (("i1", (3, 2)), ("i4", (2,)), ("f8", (2,))),
        (("i1", (3, 2)), ("i4", (3,)), ("f4", (2,))),
        (("i1", (3, 2)), ("i4", (2,)), ("f4", (1,))),
        (("i1", (3, 2)), ("i4", (2,)), ("f4", ())),
        (("i1", (2,)), ("i4", (2,)), ("f4", (2,))),
        (("i1", (1, 3, 2)), ("i4", (2,)), ("f4", (2,))),
    ],
)
def test_integer_dense_invalid_shapes_or_dtypes_raises(W, b, scales):
    arrays = [np.ones(shape, dtype) for dtype, shape in (W, b, scales)]
    with pytest.raises(ValueError, match=r"expected int8 weights \(n_in, units\), int32 biases"):
        IntegerDense(*arrays, source=SOURCE)


@pytest.mark.parametrize(
    "activation, target, words",
    [
        ("identity", Quantization.from_range(-1, 1), "identity and the zero point 127"),
        ("identity", Quantization.from_range(0, 1), "identity and the zero point 0"),
        ("relu", Quantization.from_range(-1, 1), "relu and the zero point 127"),
    ],
)
def test_integer_dense_invalid_output_quantization_raises(activation, target, words, rng):
    with pytest.raises(ValueError, match=f"after a nonlinear activation.*got {words}"):
        make_layer(rng, activation=activation, target=target)


def test_integer_dense_wrong_number_of_inputs_raises(rng):
    with pytest.raises(ValueError, match="expected 20 inputs; got 19"):
        Network(19, [make_layer(rng)], rng=rng)


def test_integer_dense_float64_network_raises(rng):
    with pytest.raises(ValueError, match="expected a network of float32; got float64"):
        Network(20, [make_layer(rng)], rng=rng, dtype=np.float64)
    net = Network(20, [make_layer(rng)], rng=rng)
    with pytest.raises(ValueError, match="expected a network of float32; got float64"):
        net.astype(np.float64)


def test_integer_dense_backward_raises(rng):
    net = Network(20, [make_layer(rng, activation="tanh", target=SOURCE), Dense(2)], rng=rng)
    with pytest.raises(RuntimeError, match="expected layers that can be trained; got IntegerDense"):
        net.loss_and_gradients(make_rows(rng, 5), np.zeros((5, 2)), MeanSquaredError())
    assert net.layers[0].parameters() == []


@pytest.mark.parametrize(
    "copy_network",
    [
        copy.deepcopy,
        lambda net: pickle.loads(pickle.dumps(net)),  # noqa: S301 - written just now
        lambda net: net.astype(np.float32),
    ],
    ids=["deepcopy", "pickle", "astype"],
)
def test_integer_dense_copy_is_equal_and_independent(copy_network, rng):
    middle = Quantization.from_range(-1, 3)
    hidden = make_layer(rng, 12, 6, target=middle, activation="swish", bits=4)
    layers = [FeatureSelect(np.arange(3, 15)), hidden, make_layer(rng, 6, 3, source=middle)]
    net, x = Network(20, layers, rng=rng), make_rows(rng)
    expected = net.logits(x)
    other = copy_network(net)
    np.testing.assert_array_equal(other.logits(x), expected)
    assert repr(other) == repr(net)
    for layer in other.layers[1:]:
        layer.W[...] = layer.b[...] = 0
    np.testing.assert_array_equal(net.logits(x), expected)


def test_integer_dense_snapshot_contains_trained_arrays_only(rng):
    net, x = Network(20, [make_layer(rng), Dense(3)], rng=rng), make_rows(rng)
    expected, before = net.snapshot(), net.logits(x)
    assert {name: a.shape for name, a in expected.items()} == {"parameters": (7 * 3 + 3,)}
    net.parameters += 1
    net.restore(expected)
    np.testing.assert_array_equal(net.logits(x), before)


def test_integer_dense_answer_does_not_depend_on_batch(rng):
    middle = Quantization.from_range(0, 2)
    layers = [
        make_layer(rng, target=middle, activation="relu"),
        make_layer(rng, 7, 3, source=middle),
    ]
    net, x = Network(20, layers, rng=rng), make_rows(rng, 500)
    batched = net.logits(np.concatenate([x, 1000 * x]))[:500]
    single = np.concatenate([net.logits(row[None]) for row in x])
    np.testing.assert_array_equal(single, batched)


def test_integer_dense_forward_leaves_input_unchanged(rng):
    layer, x = make_layer(rng, target=SOURCE, activation="tanh"), make_rows(rng)
    before = x.copy()
    compute_outputs(layer, x)
    np.testing.assert_array_equal(x, before)


def test_integer_dense_zero_range_quantization_stays_finite(rng):
    zero_range = Quantization.from_range(0, 0)
    scales = np.full(3, 10, np.float32)
    hidden = IntegerDense(
        np.full((20, 3), -127, np.int8),
        np.zeros(3, np.int32),
        scales,
        source=SOURCE,
        target=zero_range,
        activation="relu",
    )
    net = Network(20, [hidden, make_layer(rng, 3, 2, source=zero_range)], rng=rng)
    assert np.isfinite(net.logits(make_rows(rng))).all()


def test_integer_dense_repr_shows_activation_and_bits(rng):
    assert repr(make_layer(rng, target=SOURCE, activation="tanh", bits=4)) == (
        "IntegerDense(7, 'tanh', bits=4)"
    )
