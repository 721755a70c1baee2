"""Graphs that keep weights in other files, made with ONNX itself."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from serving.bundle import Bundle, BundleError, BundleLimits
from serving.bundle.external_data import (
    _FIELDS_TO_TENSORS,
    LOOP_OPERATORS,
    MalformedGraphError,
    find_external_data,
    find_loop_operator,
)
from serving.runtime import GraphSession
from tests.variants import write_variants

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


def message(number, content):
    """A field of a protobuf message, by hand."""

    def varint(value):
        return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)

    return varint(number << 3 | 2) + varint(len(content)) + content


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


def function(tensor):
    constant = helper.make_node("Constant", [], ["w"], value=tensor)
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_function("ours", "F", ["x"], ["y"], [constant, PRODUCT], opsets)


def training():
    found = onnx.TrainingInfoProto()
    found.algorithm.CopyFrom(branch(outside()))
    return found


HIDING = {
    "an initializer": model(graph([PRODUCT], [outside()])),
    "one that does not say so": model(graph([PRODUCT], [outside(says_so=False)])),
    "one among others": model(graph([PRODUCT], [numpy_helper.from_array(WEIGHTS, "v"), outside()])),
    "a constant": model(graph([helper.make_node("Constant", [], ["w"], value=outside()), PRODUCT])),
    "a list": model(graph([helper.make_node("Odd", [], ["w"], values=[outside()]), PRODUCT])),
    "a branch": model(deeply(branch(outside()), 1)),
    "a branch of a branch": model(deeply(branch(outside()), 20)),
    "a constant of a branch": model(
        deeply(branch(nodes=[helper.make_node("Constant", [], ["w"], value=outside())]), 3)
    ),
    "a sparse one": model(graph([PRODUCT], sparse_initializer=[sparse(outside())])),
    "a function": model(
        graph([helper.make_node("F", ["x"], ["y"], domain="ours")]), functions=[function(outside())]
    ),
    "what it is trained with": model(
        graph([PRODUCT], [numpy_helper.from_array(WEIGHTS, "w")]), training_info=[training()]
    ),
}


def fields_to_tensors():
    """The fields of ONNX's own messages that lead to a tensor: number and target, by message."""
    fields, waiting = {}, [onnx.ModelProto.DESCRIPTOR]
    while waiting:
        found = waiting.pop()
        if found.name not in fields:
            inner = [field for field in found.fields if field.message_type is not None]
            fields[found.name] = [(field.number, field.message_type.name) for field in inner]
            waiting += [field.message_type for field in inner]
    leading = {"TensorProto"}
    while (
        more := {name for name in fields if any(target in leading for _, target in fields[name])}
        - leading
    ):
        leading |= more
    return {name: {n: to for n, to in fields[name] if to in leading} for name in leading}


FIELDS = fields_to_tensors()


def shortest_way(start, end):
    """Numbers of the fields that lead from one message to another, the fewest there are."""
    ways = [(start, [])]
    for name, way in ways:
        if name == end:
            return way
        ways += [(target, [*way, number]) for number, target in FIELDS[name].items()]
    raise AssertionError(f"no way from {start} to {end}")


@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name in sorted(FIELDS) for number in FIELDS[name]]
)
def test_outside_data_behind_any_field_of_onnx_is_found(name, number):
    way = [
        *shortest_way("ModelProto", name),
        number,
        *shortest_way(FIELDS[name][number], "TensorProto"),
    ]
    content = outside().SerializeToString()
    for step in reversed(way):
        content = message(step, content)
    onnx.ModelProto.FromString(content)  # which ONNX reads as well
    assert find_external_data(content) == "w"


def test_outside_data_knows_the_fields_that_onnx_has():
    assert sum(map(len, FIELDS.values())) >= 19
    assert _FIELDS_TO_TENSORS == FIELDS


@pytest.mark.parametrize("sign", ["external_data", "data_location"])
def test_outside_data_either_sign_of_it_is_enough(sign):
    tensor = outside(says_so=sign == "data_location")
    if sign == "data_location":
        del tensor.external_data[:]
    assert find_external_data(model(graph([PRODUCT], [tensor])).SerializeToString()) == "w"


def test_outside_data_a_tensor_that_says_it_is_inside_is_no_fault():
    tensor = numpy_helper.from_array(WEIGHTS, "w")
    tensor.data_location = TensorProto.DEFAULT
    assert b"p\x00" in tensor.SerializeToString()  # written, though it is the default
    assert find_external_data(model(graph([PRODUCT], [tensor])).SerializeToString()) is None


@pytest.mark.parametrize("where", HIDING)
def test_weights_outside_are_found_wherever_they_are(where):
    assert find_external_data(HIDING[where].SerializeToString()) == "w"


def chosen(inner):
    """A graph that answers as its branch does."""
    always = helper.make_tensor("always", TensorProto.BOOL, [], [True])
    nodes = [
        helper.make_node("Constant", [], ["c"], value=always),
        helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner),
    ]
    return model(graph(nodes))


BELOW = outside("below/w.bin")
CONSTANT = helper.make_node("Constant", [], ["w"], value=BELOW)
READ_BY_THE_RUNTIME = {
    "an initializer": model(graph([PRODUCT], [BELOW])),
    "a constant": model(graph([CONSTANT, PRODUCT])),
    "an initializer of a branch": chosen(branch(BELOW)),
    "a constant of a branch": chosen(branch(nodes=[CONSTANT])),
    "a function": model(
        graph([helper.make_node("F", ["x"], ["y"], domain="ours")]), functions=[function(BELOW)]
    ),
}


@pytest.mark.parametrize("where", READ_BY_THE_RUNTIME)
def test_the_runtime_would_read_them_below_the_folder_it_works_in(where, tmp_path, monkeypatch):
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "w.bin").write_bytes(WEIGHTS.tobytes())
    monkeypatch.chdir(tmp_path)
    content = READ_BY_THE_RUNTIME[where].SerializeToString()
    got = GraphSession(content).run({"x": np.eye(4, dtype=np.float32)})
    np.testing.assert_equal(got["y"], WEIGHTS)  # if it no longer does, the check may go
    assert find_external_data(content) == "w"


def test_weights_inside_are_no_fault(shipped, adults, zoo):
    whole = model(deeply(branch(numpy_helper.from_array(WEIGHTS, "w")), 20))
    assert find_external_data(whole.SerializeToString()) is None
    graphs = [*shipped.rglob("*.onnx"), *adults.rglob("*.onnx"), *zoo.rglob("*.onnx")]
    assert len(graphs) > 5
    assert all(find_external_data(path.read_bytes()) is None for path in graphs)


def test_a_bundle_with_weights_outside_is_refused_before_a_session_is_made(only_digits):
    def move_out(content):
        found = onnx.load_from_string(content)
        for tensor in found.read_graph.initializer:
            if tensor.name == "W1":
                tensor.CopyFrom(outside(name="W1"))
        return found.SerializeToString()

    folder = write_variants(only_digits / "digits" / "1", fp32=move_out)
    with pytest.raises(BundleError, match=r"hold all of its weights; got 'W1' as external data"):
        Bundle.open(folder).read_graph("fp32")


@pytest.mark.parametrize(("innermost", "depth"), [(b"", 100), (message(1, b""), 101)])
def test_graphs_in_graphs_are_read_100_messages_deep_and_refused_beyond(innermost, depth):
    inner = innermost
    for _ in range(33):
        inner = message(1, message(5, message(6, inner)))  # a graph's node's attribute's graph
    content = message(7, inner)
    if depth > 100:
        with pytest.raises(MalformedGraphError, match="at most 100 deep"):
            find_external_data(content)
    else:
        assert find_external_data(content) is None


@pytest.mark.parametrize(
    "before",
    [b"\x08\x96\x01", b"\x09" + b"8 bytes ", b"\x0d" + b"four", b"\x12\x03abc"],
    ids=["an integer", "8 bytes", "4 bytes", "a length"],
)
def test_outside_data_fields_of_every_wire_type_are_passed_over(before):
    content = model(graph([PRODUCT], [outside()])).SerializeToString()
    assert find_external_data(before + content) == find_external_data(content + before) == "w"


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
    with pytest.raises(MalformedGraphError, match=fault):
        find_external_data(content)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_to_an_end(content):
    try:
        assert find_external_data(content) is None or isinstance(find_external_data(content), str)
    except MalformedGraphError as error:
        assert str(error).startswith("expected ")


def repeating(operator, **attributes):
    body = helper.make_graph([PRODUCT], "body", [], [Y])
    return helper.make_node(operator, ["x"], ["y"], domain="", body=body, **attributes)


# ONNX's operators whose body runs more than once, and ONNX Runtime's, which run a decoder a token.
REPEATING = [
    "Loop",
    "Scan",
    "SequenceMap",
    "BeamSearch",
    "GreedySearch",
    "Sampling",
    "WhisperBeamSearch",
]


def test_find_loop_knows_these_operators_and_no_others():
    assert sorted(REPEATING) == sorted(LOOP_OPERATORS)


@pytest.mark.parametrize("operator", REPEATING)
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
    assert find_loop_operator(made.SerializeToString()) == operator


def test_find_loop_other_operators_are_no_loop():
    names = ["Loops", "If", "MatMul", "LSTM"]
    nodes = [helper.make_node(name, ["x"], ["y"], name="Loop") for name in names]
    assert find_loop_operator(model(graph(nodes)).SerializeToString()) is None


def test_graph_that_is_no_protobuf_is_refused_though_its_sum_is_right(only_digits):
    folder = write_variants(only_digits / "digits" / "1", fp32=lambda _: b"no graph")
    with pytest.raises(BundleError, match=r"expected model.fp32.onnx as an ONNX graph; "):
        Bundle.open(folder).read_graph("fp32")


def test_graph_with_a_loop_is_refused_unless_it_is_allowed(only_digits):
    def add_loop(content):
        made = onnx.load_from_string(content)
        made.read_graph.node.append(repeating("Loop"))
        return made.SerializeToString()

    folder = write_variants(only_digits / "digits" / "1", fp32=add_loop)
    with pytest.raises(BundleError, match=r"repeat a part of the graph; got Loop.*--allow-loops"):
        Bundle.open(folder).read_graph("fp32")
    assert Bundle.open(folder, limits=BundleLimits(allow_loops=True)).graph("fp32")
