"""Graphs whose outputs depend on the batch fail, even if they reproduce all golden outputs."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from serving.bundle import Bundle, ExpectedAnswers, SelfTest
from serving.runtime import GraphError, GraphSession, ProofLimits, run_self_test
from serving.runtime.batch_invariance import find_batch_dependence
from tests.variants import compute_sha256, write_selftest


def constant(name, values, dtype=np.float32):
    return numpy_helper.from_array(np.array(values, dtype), name)


SHARE = constant("share", 0.2)

# Each part reads the features from "x", and writes "changed", which the rest of the graph reads.
DEPENDENT = {
    "mean of the batch": (
        [
            helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
            helper.make_node("Mul", ["mean", "share"], ["shift"]),
            helper.make_node("Add", ["x", "shift"], ["changed"]),
        ],
        [SHARE],
    ),
    "earlier rows": (
        [
            helper.make_node("CumSum", ["x", "first"], ["sums"]),
            helper.make_node("Mul", ["sums", "share"], ["shift"]),
            helper.make_node("Add", ["x", "shift"], ["changed"]),
        ],
        [SHARE, constant("first", 0, np.int64)],
    ),
    "number of rows": (
        [
            helper.make_node("Shape", ["x"], ["shape"]),
            helper.make_node("Gather", ["shape", "first"], ["rows"]),
            helper.make_node("Cast", ["rows"], ["count"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Mul", ["count", "share"], ["shift"]),
            helper.make_node("Add", ["x", "shift"], ["changed"]),
        ],
        [SHARE, constant("first", 0, np.int64)],
    ),
    # Dynamic INT8 quantization works like this: the range of the batch determines the rounding.
    "range of the batch": (
        [
            helper.make_node("DynamicQuantizeLinear", ["x"], ["bytes", "byte_scale", "byte_zero"]),
            helper.make_node("DequantizeLinear", ["bytes", "byte_scale", "byte_zero"], ["changed"]),
        ],
        [],
    ),
    "rows far larger than the golden ones": (
        [
            helper.make_node("ReduceMax", ["x"], ["maximum"], keepdims=0),
            helper.make_node("Greater", ["maximum", "far"], ["is_far"]),
            helper.make_node("Where", ["is_far", "zero", "one"], ["factor"]),
            helper.make_node("Mul", ["x", "factor"], ["changed"]),
        ],
        [constant("far", 1000), constant("zero", 0), constant("one", 1)],
    ),
    "batches above the golden rows' number": (
        [
            helper.make_node("Shape", ["x"], ["shape"]),
            helper.make_node("Gather", ["shape", "first"], ["rows"]),
            helper.make_node("Greater", ["rows", "golden"], ["is_large"]),
            helper.make_node("Where", ["is_large", "zero", "one"], ["factor"]),
            helper.make_node("Mul", ["x", "factor"], ["changed"]),
        ],
        [
            constant("first", 0, np.int64),
            constant("golden", 200, np.int64),
            constant("zero", 0),
            constant("one", 1),
        ],
    ),
}


def insert_after_features(graph: bytes, nodes, constants) -> bytes:
    model = onnx.load_from_string(graph)
    (features,) = model.graph.input
    for node in model.graph.node:
        node.input[:] = ["changed" if name == features.name else name for name in node.input]
    inserted = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    for node in inserted:
        node.input[:] = [features.name if name == "x" else name for name in node.input]
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*inserted, *rest])
    model.graph.initializer.extend(constants)
    return model.SerializeToString()


def replace_graph(folder, graph: bytes) -> Bundle:
    """Replace the graph of a bundle, and expect its own answers to all golden rows at once."""
    bundle = Bundle.open(folder)
    old = bundle.read_selftest()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    outputs = dict(zip(names, session.run(None, old.inputs), strict=True))
    (folder / "model.onnx").write_bytes(graph)
    updates = {"sha256": compute_sha256(graph), "size_bytes": len(graph)}
    fp32 = bundle.manifest.variants["fp32"].model_copy(update=updates)
    manifest = bundle.manifest.model_copy(update={"variants": {"fp32": fp32}})
    (folder / "bundle.json").write_text(manifest.model_dump_json())
    tolerances = old.expected["fp32"].tolerances
    write_selftest(folder, SelfTest(old.inputs, {"fp32": ExpectedAnswers(outputs, tolerances)}))
    return Bundle.open(folder)


@pytest.mark.parametrize("dependence", DEPENDENT)
def test_run_self_test_outputs_depend_on_batch_fails(dependence, only_digits):
    folder = only_digits / "digits" / "1"
    graph = insert_after_features(Bundle.open(folder).read_graph("fp32"), *DEPENDENT[dependence])
    result = run_self_test(replace_graph(folder, graph), "fp32")
    assert not result.passed
    assert result.difference.is_within_tolerance  # all golden rows at once are answered as expected
    assert "expected fp32 to answer a row the same in every batch" in result.failure


def test_run_self_test_row_wise_graph_passes(only_digits):
    folder = only_digits / "digits" / "1"
    nodes = [helper.make_node("Mul", ["x", "share"], ["changed"])]
    graph = insert_after_features(Bundle.open(folder).read_graph("fp32"), nodes, [SHARE])
    assert run_self_test(replace_graph(folder, graph), "fp32").passed


def test_run_self_test_larger_batches_allowed_checks_the_largest(only_digits):
    """A dependence that begins above 256 rows is found if batches may have 512 rows."""
    nodes, constants = DEPENDENT["batches above the golden rows' number"]
    constants = [*constants[:1], constant("golden", 300, np.int64), *constants[2:]]
    folder = only_digits / "digits" / "1"
    graph = insert_after_features(Bundle.open(folder).read_graph("fp32"), nodes, constants)
    bundle = replace_graph(folder, graph)
    limits = ProofLimits(max_batch_rows=512)
    assert run_self_test(bundle, "fp32").passed
    assert "in a batch of 512 rows" in run_self_test(bundle, "fp32", limits=limits).failure


def test_run_self_test_mixed_columns_with_gaps_pass(adults):
    assert run_self_test(Bundle.open(adults / "adults" / "1"), "fp32").passed


@pytest.mark.parametrize("rows", [1, 7, 8, 300])
def test_find_batch_dependence_outputs_have_fewer_rows_is_refused(rows, shipped):
    bundle = Bundle.open(shipped / "digits" / "1")
    selftest, session = bundle.read_selftest(), GraphSession(bundle.read_graph("fp32"))

    class ShorteningSession:
        def run(self, inputs):
            outputs = session.run(inputs)
            kept = slice(-1) if len(inputs["features"]) == rows else slice(None)
            return {name: array[kept] for name, array in outputs.items()}

    arguments = bundle.manifest.inputs, selftest.inputs, selftest.expected["fp32"], 300
    assert find_batch_dependence(session, *arguments) is None
    with pytest.raises(
        GraphError, match=f"each of the {rows} input rows; got the shape .{rows - 1},"
    ):
        find_batch_dependence(ShorteningSession(), *arguments)
