from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from trainer.export.node_builder import NodeBuilder
from trainer.export.onnx_graph import IR_VERSION, OPSET, build_graph
from trainer.export.weight_layout import add_weights
from trainer.nn import Dense, FeatureSelect, Network

DTYPES = [("int8", 4), ("int8", 8), ("float32", 8)]
UNPACKING = {
    "Mod",
    "Div",
    "Concat",
    "Cast",
    "Sub",
    "CumSum",
    "Unsqueeze",
    "ConstantOfShape",
    "ScatterND",
}


def drawn(rng, shape, dtype, bits):
    if dtype == "float32":
        return rng.normal(size=shape).astype(np.float32)
    most = 2 ** (bits - 1) - 1
    W = rng.integers(-most, most, shape, endpoint=True).astype(np.int8)
    W.flat[:2] = -most, most
    return W


def laid_out(W, looked_at=None, bits=8):
    """A graph that answers with the matrix and nothing else, as a file."""
    graph = NodeBuilder(["answer"])
    name = add_weights(graph, "1", W, looked_at, bits=bits)
    graph.add_output_node("Identity", [name], "answer")
    kind = helper.np_dtype_to_tensor_dtype(W.dtype)
    proto = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "t",
            [],
            [helper.make_tensor_value_info("answer", kind, [None, None])],
            initializer=graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(proto, full_check=True)
    return proto


def as_the_runtime_takes_it(proto):
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {})[0]


def looking_at(columns, n_in):
    layer = FeatureSelect(np.asarray(columns))
    Network(n_in, [layer], rng=np.random.default_rng(0))
    return layer


def spread(W, columns, n_in):
    """A row for every input, zeros but for those that are looked at."""
    full = np.zeros((n_in, W.shape[1]), W.dtype)
    for row, column in enumerate(columns):
        full[column] = W[row]
    return full


@pytest.mark.parametrize(
    "shape",
    [(1, 1), (2, 3), (3, 2), (4, 4), (5, 7), (60, 40), (61, 40), (60, 41), (61, 41), (784, 3)],
    ids=str,
)
@pytest.mark.parametrize("dtype, bits", DTYPES)
def test_a_matrix_is_what_went_in(shape, dtype, bits, rng):
    W = drawn(rng, shape, dtype, bits) if np.prod(shape) > 1 else np.full(shape, -7, dtype)
    got = as_the_runtime_takes_it(laid_out(W, bits=bits))
    assert got.dtype == W.dtype
    np.testing.assert_array_equal(got, W)


@pytest.mark.parametrize(
    "n_in, n, units",
    [
        (6, 3, 2),
        (7, 4, 5),
        (300, 140, 20),
        (300, 140, 21),
        (300, 141, 20),
        (301, 141, 21),
        (300, 299, 20),
        (300, 300, 20),
        (301, 300, 40),
        (784, 1, 64),
    ],
)
@pytest.mark.parametrize("dtype, bits", DTYPES)
def test_inputs_that_are_not_looked_at_have_rows_of_zeros(n_in, n, units, dtype, bits, rng):
    W, columns = drawn(rng, (n, units), dtype, bits), np.sort(rng.permutation(n_in)[:n])
    got = as_the_runtime_takes_it(laid_out(W, looking_at(columns, n_in), bits))
    assert got.dtype == W.dtype
    np.testing.assert_array_equal(got, spread(W, columns, n_in))


@pytest.mark.parametrize("columns", [[0, 255, 510], [0, 256, 257], [256], [0, 999], [900, 999]])
def test_columns_may_lie_far_apart(columns, rng):
    W = drawn(rng, (len(columns), 40), "int8", 4)
    proto = laid_out(W, looking_at(columns, 1000), 4)
    assert any(node.op_type == "ScatterND" for node in proto.graph.node)
    np.testing.assert_array_equal(as_the_runtime_takes_it(proto), spread(W, columns, 1000))


@pytest.mark.parametrize("dtype, bits", DTYPES)
def test_what_is_small_is_stored_plain(dtype, bits, rng):
    W = drawn(rng, (10, 8), dtype, bits)
    for looked_at, expected in (
        (None, W),
        (looking_at(range(10), 12), spread(W, range(10), 12)),
    ):
        proto = laid_out(W, looked_at, bits)
        assert [node.op_type for node in proto.graph.node] == ["Identity"]
        (stored,) = proto.graph.initializer
        np.testing.assert_array_equal(numpy_helper.to_array(stored), expected)


@pytest.mark.parametrize("shape", [(300, 64), (301, 64), (300, 63)])
def test_a_large_matrix_of_4_bits_takes_half_its_bytes(shape, rng):
    proto = laid_out(drawn(rng, shape, "int8", 4), bits=4)
    assert proto.ByteSize() < np.prod(shape) / 2 + 1000
    assert laid_out(drawn(rng, shape, "int8", 8), bits=8).ByteSize() > np.prod(shape)


@pytest.mark.parametrize("dtype, bits, size", [("int8", 4, 0.5), ("int8", 8, 1), ("float32", 8, 4)])
def test_inputs_that_are_not_looked_at_take_next_to_nothing(dtype, bits, size, rng):
    W, columns = drawn(rng, (100, 64), dtype, bits), np.sort(rng.permutation(784)[:100])
    proto = laid_out(W, looking_at(columns, 784), bits)
    assert proto.ByteSize() < 100 * 64 * size + 100 + 1500  # a byte a row says where it belongs


@pytest.mark.parametrize("units", [1, 2, 3, 4, 8, 13, 20, 26, 33, 50])
@pytest.mark.parametrize("dtype, bits", DTYPES)
def test_no_file_is_larger_than_one_of_plain_matrices(dtype, bits, units, rng):
    # Of whatever size, next to where unpacking begins to pay too.
    for n, n_in in ((40, 40), (40, 64), (2000, 2600)):
        W, columns = drawn(rng, (n, units), dtype, bits), np.sort(rng.permutation(n_in)[:n])
        looked_at = None if n == n_in else looking_at(columns, n_in)
        plain = laid_out(spread(W, columns, n_in) if looked_at else W)
        assert laid_out(W, looked_at, bits).ByteSize() <= plain.ByteSize()


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("some", [True, False])
def test_it_is_unpacked_once_when_the_graph_is_loaded(some, bits, export, in_bytes, optimized, rng):
    exported = export("multiclass")
    columns = np.sort(rng.permutation(64)[:40]) if some else None
    model = in_bytes(
        exported.model, exported.table.records, rng, bits=bits, hidden=(80, 40), columns=columns
    )
    graph = build_graph(model)
    before = [node.op_type for node in onnx.load_from_string(graph).graph.node]
    assert ("Mod" in before) == (bits == 4)
    assert ("ScatterND" in before) == some
    after = [node.op_type for node in optimized(graph).graph.node]
    # What is left of them is the scaling of the features.
    assert UNPACKING.intersection(after[2:]) == set()
    assert after[:2] == ["Sub", "Div"]
    assert len(after) == 2 + 1 + 3 + 3  # QuantizeLinear, QGemm, and the head


def test_layers_in_floats_look_at_some_inputs_only_too(export, optimized, rng):
    exported = export("multiclass")
    columns = np.sort(rng.permutation(64)[:20])
    network = Network(64, [FeatureSelect(columns), Dense(50, "relu"), Dense(10)], rng=rng)
    model = replace(exported.model, network=network)
    graph, records = build_graph(model), exported.table.records
    after = [node.op_type for node in optimized(graph).graph.node]
    assert UNPACKING.intersection(after[2:]) == set()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    got = session.run(["probabilities"], records.inputs())[0]
    np.testing.assert_allclose(got, model.answers(records)["probabilities"], atol=1e-6)
