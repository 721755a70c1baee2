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
OPERATORS = {  # of each activation, in ONNX's words
    "relu": ["Relu"],
    "tanh": ["Tanh"],
    "elu": ["Elu"],
    "sigmoid": ["Sigmoid"],
    "softplus": ["Softplus"],
    "swish": ["Sigmoid", "Mul"],
}


def evaluated(nodes, inputs):
    """What onnx's own reference implementation makes of a chain of nodes."""
    faces = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), None)
        for name, array in inputs.items()
    ]
    end = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.UNDEFINED, None)
    model = helper.make_model(
        helper.make_graph(nodes, "t", faces, [end]), opset_imports=[helper.make_opsetid("", 21)]
    )
    return ReferenceEvaluator(model).run(None, inputs)[0]


def quantized(x, quantization):
    scale, zero_point = quantization
    node = helper.make_node("QuantizeLinear", ["x", "s", "o"], ["q"])
    return evaluated([node], {"x": x, "s": np.asarray(scale), "o": np.array(zero_point, np.uint8)})


def made(rng, n_in=20, units=7, *, target=None, activation="identity", bits=8, source=SOURCE):
    most = largest_weight(bits)
    return IntegerDense(
        rng.integers(-most, most, (n_in, units), endpoint=True).astype(np.int8),
        rng.integers(-3000, 3000, units).astype(np.int32),
        rng.uniform(0.5, 2, units).astype(np.float32) * np.float32(0.3 / most),
        source=source,
        target=target,
        activation=activation,
        bits=bits,
    )


def rows(rng, n=60, n_in=20):
    return rng.normal(0.5, 2, (n, n_in)).astype(np.float32)  # some of them beyond the bytes


def answers(layer, x):
    return Network(x.shape[1], [layer], rng=np.random.default_rng(0)).logits(x)


def whole_sums(layer, x):
    """(q − o) W + b, term by term in whole numbers of 64 bits."""
    q = quantized(x, layer.source).astype(np.int64)
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
def test_its_bytes_cover_the_range_and_0_exactly(low, high):
    quantization = Quantization.from_range(low, high)
    scale, zero_point = quantization
    assert isinstance(scale, np.float32)
    assert 0 <= zero_point <= 255
    first, last = quantization.dequantize(np.array([0, 255], np.float32))
    assert first <= min(low, 0) + 0.51 * scale  # the zero point is a whole number
    assert last >= max(high, 0) - 0.51 * scale
    assert last - first == pytest.approx(max(high, 0) - min(low, 0), rel=1e-6)
    zero = quantization.quantize(np.zeros(1, np.float32))
    assert zero == zero_point
    assert quantization.dequantize(zero) == 0


@pytest.mark.parametrize("x", [0.0, 1e-30, -1.0, 7.0, 1e30])
def test_the_bytes_of_no_range_at_all_are_those_of_0_and_what_is_beyond(x):
    quantization = Quantization.from_range(0, 0)
    assert quantization.zero_point == 0
    q = quantization.quantize(np.array([x], np.float32))
    assert 0 <= q <= 255
    assert np.isfinite(quantization.dequantize(q)).all()


@pytest.mark.parametrize("low, high", [(-2, 3), (0, 63.75), (-31.75, 32), (-1e-3, 2e-3), (-5, 0)])
def test_bytes_are_those_of_onnxs_quantize_linear(low, high, rng):
    quantization = Quantization.from_range(low, high)
    scale = quantization.scale
    halves = (np.arange(-600, 600) + np.float32(0.5)) * scale
    spread = np.concatenate([rng.uniform(low, high, 5000), rng.normal(0, 9 * (high - low), 5000)])
    ends = [0.0, -0.0, low, high, 1e6 * scale, -1e6 * scale]
    x = np.concatenate([halves, spread, ends]).astype(np.float32)
    before = x.copy()
    q = quantization.quantize(x)
    np.testing.assert_array_equal(q, quantized(x, quantization))
    np.testing.assert_array_equal(x, before)
    assert (q.dtype, q.min(), q.max()) == (np.float32, 0, 255)


def test_what_is_infinite_is_cut_like_all_that_is_beyond():
    assert SOURCE.quantize(np.array([np.inf, -np.inf], np.float32)).tolist() == [255, 0]


def test_halves_go_to_the_even_whole_number():
    quantization = Quantization(np.float32(0.25), 3)  # a scale that float32 divides by exactly
    x = np.array([0.125, 0.375, 0.625, -0.125, -0.375, -0.625], np.float32)
    assert quantization.quantize(x).tolist() == [3, 5, 5, 3, 1, 1]


@pytest.mark.parametrize("low, high", [(-2, 3), (0, 6), (-1e-3, 2e-3)])
def test_numbers_are_those_of_onnxs_dequantize_linear(low, high):
    scale, zero_point = quantization = Quantization.from_range(low, high)
    q = np.arange(256, dtype=np.uint8)
    node = helper.make_node("DequantizeLinear", ["q", "s", "o"], ["x"])
    inputs = {"q": q, "s": np.asarray(scale), "o": np.array(zero_point, np.uint8)}
    x = quantization.dequantize(q.astype(np.float32))
    np.testing.assert_array_equal(x, evaluated([node], inputs))
    assert x.dtype == np.float32
    np.testing.assert_array_equal(quantization.quantize(x), q)  # there and back


@pytest.mark.parametrize("low, high", [(-2, 3), (0, 6)])
def test_what_is_within_the_range_moves_by_half_a_step_at_most(low, high, rng):
    quantization = Quantization.from_range(low, high)
    x = rng.uniform(low, high, 5000).astype(np.float32)
    moved = np.abs(quantization.dequantize(quantization.quantize(x)) - x)
    # One end may lie half a step further in, for the zero point's sake.
    assert moved.max() <= 1.01 * quantization.scale
    assert np.quantile(moved, 0.99) <= 0.5 * quantization.scale * (1 + 1e-5)


@pytest.mark.parametrize("bits, most", [(4, 7), (7, 63), (8, 127)])
def test_weights_are_as_many_below_0_as_above(bits, most):
    assert largest_weight(bits) == most


# The layer


@pytest.mark.parametrize("bits", [4, 7, 8])
@pytest.mark.parametrize("n", [0, 1, 60])
def test_without_a_target_it_is_whole_sums_times_their_step(bits, n, rng):
    layer, x = made(rng, bits=bits), rows(rng, n)
    step = layer.source.scale * layer.scales
    expected = whole_sums(layer, x).astype(np.float32) * step
    np.testing.assert_array_equal(answers(layer, x), expected)


@pytest.mark.parametrize("bits", [4, 7, 8])
def test_a_relu_of_bytes_rounds_whole_sums_once(bits, rng):
    target = Quantization.from_range(0, 2)
    layer, x = made(rng, bits=bits, target=target, activation="relu"), rows(rng)
    # In float64, where a product of two float32 is exact; no sum here is so near a half.
    steps = whole_sums(layer, x) * (layer.source.scale * layer.scales / target.scale).astype("f8")
    assert np.abs(steps - np.floor(steps) - 0.5).min() > 1e-6
    expected = np.rint(steps).clip(0, 255).astype(np.float32)
    assert {0, 255} < set(expected.ravel())  # some are cut at either end
    np.testing.assert_array_equal(answers(layer, x), expected * target.scale)


@pytest.mark.parametrize("activation", OPERATORS)
@pytest.mark.parametrize("rounds", [True, False])
def test_it_answers_as_onnxs_reference_of_the_nodes_it_is_exported_as(activation, rounds, rng):
    target = Quantization.from_range(0 if activation == "relu" else -1, 3) if rounds else None
    layer, x = made(rng, target=target, activation=activation), rows(rng)
    chain = [
        helper.make_node("QuantizeLinear", ["x", "s", "o"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "o"], ["x_"]),
        helper.make_node("DequantizeLinear", ["W", "t", "zeros"], ["W_"], axis=1),
        helper.make_node("DequantizeLinear", ["b", "st"], ["b_"], axis=0),
        helper.make_node("Gemm", ["x_", "W_", "b_"], ["z"]),
    ]
    last = "z"
    for operator in OPERATORS[activation]:
        taken = ["z", last] if operator == "Mul" else [last]
        chain.append(helper.make_node(operator, taken, [f"a_{operator}"]))
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
    expected, got = evaluated(chain, inputs), answers(layer, x)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)  # no value is between two bytes
    assert got.dtype == np.float32


@pytest.mark.parametrize("bits", [4, 7, 8])
def test_a_chain_of_layers_answers_as_a_chain_of_onnxs_matmuls_of_bytes(bits, rng):
    first, middle = Quantization.from_range(-3, 4), Quantization.from_range(0, 5)
    one = made(rng, 20, 9, source=first, target=middle, activation="relu", bits=bits)
    two = made(rng, 9, 4, source=middle, bits=bits)
    one.b[...] = two.b[...] = 0  # which QLinearMatMul has none of
    x = rows(rng)
    node = helper.make_node(
        "QLinearMatMul", ["q", "s", "o", "W", "t", "zeros", "r", "u"], ["bytes"]
    )
    q = quantized(x, first)
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
    hidden = evaluated([node], inputs)
    assert hidden.dtype == np.uint8
    expected = (hidden.astype(np.int64) @ two.W.astype(np.int64)) * (
        middle.scale.astype(np.float64) * two.scales
    )
    net = Network(20, [one, two], rng=rng)
    np.testing.assert_allclose(net.logits(x), expected, rtol=1e-6, atol=1e-9)


def test_sums_are_exact_up_to_the_last_that_fits(rng):
    n = 60_000
    W = np.full((n, 2), 127, np.int8)
    W[:, 1] = -127
    b = np.array([2**31 - 1 - 255 * 127 * n, -5], np.int32)
    layer = IntegerDense(
        W, b, np.ones(2, np.float32), source=Quantization(np.float32(1), 0), activation="identity"
    )
    got = answers(layer, np.full((1, n), 300, np.float32))
    np.testing.assert_array_equal(got[0], np.array([2**31 - 1, -255 * 127 * n - 5], np.float32))


@pytest.mark.parametrize("n, b", [(60_000, 2**31 - 255 * 127 * 60_000), (66_400, 0)])
def test_a_sum_that_could_overflow_is_refused(n, b):
    with pytest.raises(ValueError, match="expected sums within 32 bits; got one of up to 21"):
        IntegerDense(
            np.full((n, 1), -127, np.int8),
            np.array([b], np.int32),
            np.ones(1, np.float32),
            source=SOURCE,
        )


@pytest.mark.parametrize("bits", [4, 7, 8])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_weight_of_more_bits_is_refused_and_the_largest_is_not(bits, sign):
    most = largest_weight(bits)
    b, scales = np.zeros(1, np.int32), np.ones(1, np.float32)
    IntegerDense(np.full((2, 1), sign * most, np.int8), b, scales, source=SOURCE, bits=bits)
    beyond = -128 if bits == 8 else sign * (most + 1)
    with pytest.raises(ValueError, match=rf"within ±{most} for {bits}; got .*{abs(beyond)}"):
        IntegerDense(np.full((2, 1), beyond, np.int8), b, scales, source=SOURCE, bits=bits)


@pytest.mark.parametrize("bits", [0, 3, 5, 9])
def test_other_numbers_of_bits_are_refused(bits):
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
def test_arrays_that_do_not_fit_are_refused(W, b, scales):
    arrays = [np.ones(shape, dtype) for dtype, shape in (W, b, scales)]
    with pytest.raises(ValueError, match=r"expected weights int8 \(n_in, units\), biases int32"):
        IntegerDense(*arrays, source=SOURCE)


@pytest.mark.parametrize(
    "activation, target, words",
    [
        ("identity", Quantization.from_range(-1, 1), "identity and the zero point 127"),
        ("identity", Quantization.from_range(0, 1), "identity and the zero point 0"),
        ("relu", Quantization.from_range(-1, 1), "relu and the zero point 127"),
    ],
)
def test_an_output_that_no_graph_could_say_is_refused(activation, target, words, rng):
    with pytest.raises(ValueError, match=f"bends before it is rounded.*got {words}"):
        made(rng, activation=activation, target=target)


def test_another_number_of_inputs_is_refused(rng):
    with pytest.raises(ValueError, match="expected 20 inputs; got 19"):
        Network(19, [made(rng)], rng=rng)


def test_a_network_of_float64_is_refused(rng):
    with pytest.raises(ValueError, match="expected a network of float32; got float64"):
        Network(20, [made(rng)], rng=rng, dtype=np.float64)
    net = Network(20, [made(rng)], rng=rng)
    with pytest.raises(ValueError, match="expected a network of float32; got float64"):
        net.astype(np.float64)


def test_it_cannot_learn(rng):
    net = Network(20, [made(rng, activation="tanh", target=SOURCE), Dense(2)], rng=rng)
    with pytest.raises(RuntimeError, match="expected layers that can be trained; got IntegerDense"):
        net.loss_and_gradients(rows(rng, 5), np.zeros((5, 2)), MeanSquaredError())
    assert net.layers[0].parameters() == []


@pytest.mark.parametrize(
    "way",
    [
        copy.deepcopy,
        lambda net: pickle.loads(pickle.dumps(net)),  # noqa: S301 - of our own making
        lambda net: net.astype(np.float32),
    ],
    ids=["deepcopy", "pickle", "astype"],
)
def test_a_copy_answers_alike_and_apart(way, rng):
    middle = Quantization.from_range(-1, 3)
    hidden = made(rng, 12, 6, target=middle, activation="swish", bits=4)
    layers = [FeatureSelect(np.arange(3, 15)), hidden, made(rng, 6, 3, source=middle)]
    net, x = Network(20, layers, rng=rng), rows(rng)
    kept = net.logits(x)
    other = way(net)
    np.testing.assert_array_equal(other.logits(x), kept)
    assert repr(other) == repr(net)
    for layer in other.layers[1:]:
        layer.W[...] = layer.b[...] = 0
    np.testing.assert_array_equal(net.logits(x), kept)


def test_a_snapshot_holds_what_learns_and_leaves_the_rest(rng):
    net, x = Network(20, [made(rng), Dense(3)], rng=rng), rows(rng)
    kept, before = net.snapshot(), net.logits(x)
    assert {name: a.shape for name, a in kept.items()} == {"parameters": (7 * 3 + 3,)}
    net.parameters += 1
    net.restore(kept)
    np.testing.assert_array_equal(net.logits(x), before)


def test_a_row_has_the_same_answer_whatever_its_batch_mates(rng):
    middle = Quantization.from_range(0, 2)
    layers = [made(rng, target=middle, activation="relu"), made(rng, 7, 3, source=middle)]
    net, x = Network(20, layers, rng=rng), rows(rng, 500)
    together = net.logits(np.concatenate([x, 1000 * x]))[:500]
    alone = np.concatenate([net.logits(row[None]) for row in x])
    np.testing.assert_array_equal(alone, together)


def test_it_leaves_its_input_as_it_was(rng):
    layer, x = made(rng, target=SOURCE, activation="tanh"), rows(rng)
    before = x.copy()
    answers(layer, x)
    np.testing.assert_array_equal(x, before)


def test_a_layer_that_was_silent_on_every_row_it_was_measured_on_answers_others(rng):
    silent = Quantization.from_range(0, 0)
    scales = np.full(3, 10, np.float32)
    hidden = IntegerDense(
        np.full((20, 3), -127, np.int8),
        np.zeros(3, np.int32),
        scales,
        source=SOURCE,
        target=silent,
        activation="relu",
    )
    net = Network(20, [hidden, made(rng, 3, 2, source=silent)], rng=rng)
    assert np.isfinite(net.logits(rows(rng))).all()


def test_it_is_shown_as_one_would_say_it(rng):
    assert repr(made(rng, target=SOURCE, activation="tanh", bits=4)) == (
        "IntegerDense(7, 'tanh', bits=4)"
    )
