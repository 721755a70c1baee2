"""Graphs that keep weights in other files, made with ONNX itself."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from serving.bundle import Bundle, BundleError, BundleLimits
from serving.bundle.outside import LOOPS, MalformedError, find_loop, outside_data
from serving.runtime import Session
from tests.variants import with_variants

WEIGHTS = np.arange(16, dtype=np.float32).reshape(4, 4)
X = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])
Y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])


def outside(location="w.bin", *, name="w", says_so=True):
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[4, 4])
    if says_so:
        tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    tensor.external_data.add(key="length", value="64")
    return tensor


def model(graph, *, training_info=(), **parts):
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ours", 1)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=9, **parts)
    made.training_info.extend(training_info)
    return made


def graph(nodes, initializers=(), **parts):
    return helper.make_graph(nodes, "g", [X], [Y], list(initializers), **parts)


PRODUCT = helper.make_node("MatMul", ["x", "w"], ["y"])


def branch(*initializers, nodes=()):
    return helper.make_graph([*nodes, PRODUCT], "branch", [], [Y], list(initializers))


def deeply(inner, times):
    for _ in range(times):
        node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=branch())
        inner = helper.make_graph([node], "branch", [], [Y])
    return graph([helper.make_node("If", ["c"], ["y"], then_branch=inner)])


def sparse(tensor):
    found = onnx.SparseTensorProto(dims=[4, 4])
    found.values.CopyFrom(tensor)
    found.indices.CopyFrom(numpy_helper.from_array(np.array([1]), "places"))
    return found


def function():
    constant = helper.make_node("Constant", [], ["w"], value=outside())
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_function("ours", "F", ["x"], ["y"], [constant, PRODUCT], opsets)


def training():
    found = onnx.TrainingInfoProto()
    found.algorithm.CopyFrom(branch(outside()))
    return found


HIDING = {
    "an initializer": model(graph([PRODUCT], [outside()])),
    "one that does not say so": model(graph([PRODUCT], [outside(says_so=False)])),
    "one among others": model(
        graph([PRODUCT], [numpy_helper.from_array(WEIGHTS, "v"), outside()])
    ),
    "a constant": model(graph([helper.make_node("Constant", [], ["w"], value=outside()), PRODUCT])),
    "a list": model(graph([helper.make_node("Odd", [], ["w"], values=[outside()]), PRODUCT])),
    "a branch": model(deeply(branch(outside()), 1)),
    "a branch of a branch": model(deeply(branch(outside()), 20)),
    "a constant of a branch": model(
        deeply(branch(nodes=[helper.make_node("Constant", [], ["w"], value=outside())]), 3)
    ),
    "a sparse one": model(graph([PRODUCT], sparse_initializer=[sparse(outside())])),
    "a function": model(graph([helper.make_node("F", ["x"], ["y"], domain="ours")]),
                        functions=[function()]),
    "what it is trained with": model(graph([PRODUCT], [numpy_helper.from_array(WEIGHTS, "w")]),
                                     training_info=[training()]),
}  # fmt: skip


@pytest.mark.parametrize("where", HIDING)
def test_weights_outside_are_found_wherever_they_are(where):
    assert outside_data(HIDING[where].SerializeToString()) == "w"


def test_the_runtime_would_read_them_below_the_folder_it_works_in(tmp_path, monkeypatch):
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "w.bin").write_bytes(WEIGHTS.tobytes())
    monkeypatch.chdir(tmp_path)
    content = model(graph([PRODUCT], [outside("below/w.bin")])).SerializeToString()
    got = Session(content).run({"x": np.eye(4, dtype=np.float32)})
    np.testing.assert_equal(got["y"], WEIGHTS)  # if it no longer does, the check may go
    assert outside_data(content) == "w"


def test_weights_inside_are_no_fault(shipped, adults, zoo):
    whole = model(deeply(branch(numpy_helper.from_array(WEIGHTS, "w")), 20))
    assert outside_data(whole.SerializeToString()) is None
    graphs = [*shipped.rglob("*.onnx"), *adults.rglob("*.onnx"), *zoo.rglob("*.onnx")]
    assert len(graphs) > 5
    assert all(outside_data(path.read_bytes()) is None for path in graphs)


def test_a_bundle_with_weights_outside_is_refused_before_a_session_is_made(only_digits):
    def move_out(content):
        found = onnx.load_from_string(content)
        for tensor in found.graph.initializer:
            if tensor.name == "W1":
                tensor.CopyFrom(outside(name="W1"))
        return found.SerializeToString()

    folder = with_variants(only_digits / "digits" / "1", fp32=move_out)
    with pytest.raises(BundleError, match=r"hold all of its weights; got 'W1' as external data"):
        Bundle.open(folder).graph("fp32")


def message(number, content):
    """A field of a protobuf message, by hand."""
    size, length = len(content), b""
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def test_graphs_in_graphs_without_end_are_refused():
    inner = b""
    for _ in range(40):
        inner = message(1, message(5, message(6, inner)))  # a graph's node's attribute's graph
    with pytest.raises(MalformedError, match="at most 100 deep"):
        outside_data(message(7, inner))


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"no graph", "wire type of protobuf; got 6"),
        (b"\x3a\xff\x01", "breaks off"),
        (b"\x3a", "breaks off"),
        (b"\x08\x80", "breaks off"),
        (b"\x08" + b"\xff" * 10 + b"\x01", "at most 64 bits"),
        (b"\x0d\x00", "breaks off"),
        (b"\x3a\x01\x0b", "wire type of protobuf; got 3"),
    ],
)
def test_what_is_no_protobuf_is_refused(content, fault):
    with pytest.raises(MalformedError, match=fault):
        outside_data(content)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_to_an_end(content):
    try:
        assert outside_data(content) is None or isinstance(outside_data(content), str)
    except MalformedError as error:
        assert str(error).startswith("expected ")


def repeating(operator, **attributes):
    body = helper.make_graph([PRODUCT], "body", [], [Y])
    return helper.make_node(operator, ["x"], ["y"], domain="", body=body, **attributes)


@pytest.mark.parametrize("operator", sorted(LOOPS))
@pytest.mark.parametrize("place", ["graph", "branch", "function"])
def test_find_loop_anywhere_in_a_model_is_found(operator, place):
    node = repeating(operator)
    if place == "graph":
        made = model(graph([node]))
    elif place == "branch":
        choice = helper.make_node(
            "If", ["c"], ["y"], then_branch=branch(nodes=[node]), else_branch=branch()
        )
        made = model(graph([choice]))
    else:
        function = helper.make_function("ours", "f", ["x"], ["y"], [node], [])
        made = model(graph([helper.make_node("f", ["x"], ["y"], domain="ours")]))
        made.functions.append(function)
    assert find_loop(made.SerializeToString()) == operator


def test_find_loop_other_operators_are_no_loop():
    names = ["Loops", "If", "MatMul", "LSTM"]
    nodes = [helper.make_node(name, ["x"], ["y"], name="Loop") for name in names]
    assert find_loop(model(graph(nodes)).SerializeToString()) is None


def test_graph_with_a_loop_is_refused_unless_it_is_allowed(only_digits):
    def add_loop(content):
        made = onnx.load_from_string(content)
        made.graph.node.append(repeating("Loop"))
        return made.SerializeToString()

    folder = with_variants(only_digits / "digits" / "1", fp32=add_loop)
    with pytest.raises(BundleError, match=r"repeat a part of the graph; got Loop.*--allow-loops"):
        Bundle.open(folder).graph("fp32")
    assert Bundle.open(folder, limits=BundleLimits(allow_loops=True)).graph("fp32")
