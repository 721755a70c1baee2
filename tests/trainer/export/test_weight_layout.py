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


def draw_weights(rng, shape, dtype, bits):
    if dtype == "float32":
        return rng.normal(size=shape).astype(np.float32)
    limit = 2 ** (bits - 1) - 1
    W = rng.integers(-limit, limit, shape, endpoint=True).astype(np.int8)
    W.flat[:2] = -limit, limit
    return W


def build_weight_graph(W, selection=None, bits=8):
    """Return a graph whose only output is the matrix."""
    graph = NodeBuilder(["answer"])
    name = add_weights(graph, "1", W, selection, bits=bits)
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


def run_in_onnx_runtime(proto):
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {})[0]


def create_selection(columns, n_in):
    layer = FeatureSelect(np.asarray(columns))
    Network(n_in, [layer], rng=np.random.default_rng(0))
    return layer


def add_zero_rows(W, columns, n_in):
    """Return the matrix with a row of zeros for every unused input."""
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
def test_add_weights_runtime_gets_the_same_matrix(shape, dtype, bits, rng):
    W = draw_weights(rng, shape, dtype, bits) if np.prod(shape) > 1 else np.full(shape, -7, dtype)
    output = run_in_onnx_runtime(build_weight_graph(W, bits=bits))
    assert output.dtype == W.dtype
    np.testing.assert_array_equal(output, W)


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
def test_add_weights_unused_inputs_have_rows_of_zeros(n_in, n, units, dtype, bits, rng):
    W, columns = draw_weights(rng, (n, units), dtype, bits), np.sort(rng.permutation(n_in)[:n])
    output = run_in_onnx_runtime(build_weight_graph(W, create_selection(columns, n_in), bits))
    assert output.dtype == W.dtype
    np.testing.assert_array_equal(output, add_zero_rows(W, columns, n_in))


@pytest.mark.parametrize("columns", [[0, 255, 510], [0, 256, 257], [256], [0, 999], [900, 999]])
def test_add_weights_distant_columns_are_restored(columns, rng):
    W = draw_weights(rng, (len(columns), 40), "int8", 4)
    proto = build_weight_graph(W, create_selection(columns, 1000), 4)
    assert any(node.op_type == "ScatterND" for node in proto.graph.node)
    np.testing.assert_array_equal(run_in_onnx_runtime(proto), add_zero_rows(W, columns, 1000))


@pytest.mark.parametrize("dtype, bits", DTYPES)
def test_add_weights_small_matrix_is_not_packed(dtype, bits, rng):
    W = draw_weights(rng, (10, 8), dtype, bits)
    for selection, expected in (
        (None, W),
        (create_selection(range(10), 12), add_zero_rows(W, range(10), 12)),
    ):
        proto = build_weight_graph(W, selection, bits)
        assert [node.op_type for node in proto.graph.node] == ["Identity"]
        (stored,) = proto.graph.initializer
        np.testing.assert_array_equal(numpy_helper.to_array(stored), expected)


@pytest.mark.parametrize("shape", [(300, 64), (301, 64), (300, 63)])
def test_add_weights_large_4_bit_matrix_takes_half_the_bytes(shape, rng):
    proto = build_weight_graph(draw_weights(rng, shape, "int8", 4), bits=4)
    assert proto.ByteSize() < np.prod(shape) / 2 + 1000
    assert build_weight_graph(draw_weights(rng, shape, "int8", 8), bits=8).ByteSize() > np.prod(
        shape
    )


@pytest.mark.parametrize("dtype, bits, size", [("int8", 4, 0.5), ("int8", 8, 1), ("float32", 8, 4)])
def test_add_weights_unused_inputs_take_one_byte_per_row(dtype, bits, size, rng):
    W, columns = draw_weights(rng, (100, 64), dtype, bits), np.sort(rng.permutation(784)[:100])
    proto = build_weight_graph(W, create_selection(columns, 784), bits)
    assert proto.ByteSize() < 100 * 64 * size + 100 + 1500  # one byte per row for its index


@pytest.mark.parametrize("units", [1, 2, 3, 4, 8, 13, 20, 26, 33, 50])
@pytest.mark.parametrize("dtype, bits", DTYPES)
def test_add_weights_packing_never_enlarges_the_file(dtype, bits, units, rng):
    # Also for sizes at which packing just begins to save bytes.
    for n, n_in in ((40, 40), (40, 64), (2000, 2600)):
        W, columns = draw_weights(rng, (n, units), dtype, bits), np.sort(rng.permutation(n_in)[:n])
        selection = None if n == n_in else create_selection(columns, n_in)
        unpacked = build_weight_graph(add_zero_rows(W, columns, n_in) if selection else W)
        assert build_weight_graph(W, selection, bits).ByteSize() <= unpacked.ByteSize()


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("has_selection", [True, False])
def test_add_weights_runtime_unpacks_when_loading(
    has_selection, bits, export, create_integer_model, optimize, rng
):
    exported = export("multiclass")
    columns = np.sort(rng.permutation(64)[:40]) if has_selection else None
    model = create_integer_model(
        exported.model, exported.table.records, rng, bits=bits, hidden=(80, 40), columns=columns
    )
    graph = build_graph(model)
    before = [node.op_type for node in onnx.load_from_string(graph).graph.node]
    assert ("Mod" in before) == (bits == 4)
    assert ("ScatterND" in before) == has_selection
    after = [node.op_type for node in optimize(graph).graph.node]
    # The remaining Sub and Div scale the features.
    assert UNPACKING.intersection(after[2:]) == set()
    assert after[:2] == ["Sub", "Div"]
    assert len(after) == 2 + 1 + 3 + 3  # QuantizeLinear, QGemm, and the head


def test_add_weights_float_layer_with_selection_equals_numpy(export, optimize, rng):
    exported = export("multiclass")
    columns = np.sort(rng.permutation(64)[:20])
    network = Network(64, [FeatureSelect(columns), Dense(50, "relu"), Dense(10)], rng=rng)
    model = replace(exported.model, network=network)
    graph, records = build_graph(model), exported.table.records
    after = [node.op_type for node in optimize(graph).graph.node]
    assert UNPACKING.intersection(after[2:]) == set()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    output = session.run(["probabilities"], records.inputs())[0]
    np.testing.assert_allclose(output, model.answers(records)["probabilities"], atol=1e-6)
