"""Weights in other files, and loops, are found in graphs that the ONNX package created."""

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


def make_external_tensor(location="w.bin", *, name="w", has_location=True):
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[4, 4])
    if has_location:
        tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    tensor.external_data.add(key="length", value="64")
    return tensor


def make_model(graph, *, training_info=(), **parts):
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ours", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9, **parts)
    model.training_info.extend(training_info)
    return model


def make_graph(nodes, initializers=(), **parts):
    return helper.make_graph(nodes, "g", [X], [Y], list(initializers), **parts)


def encode_message(number, content):
    """Return a protobuf message with one field, which contains another message."""

    def varint(value):
        return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)

    return varint(number << 3 | 2) + varint(len(content)) + content


PRODUCT = helper.make_node("MatMul", ["x", "w"], ["y"])


def make_branch(*initializers, nodes=()):
    return helper.make_graph([*nodes, PRODUCT], "branch", [], [Y], list(initializers))


def nest_branch(inner, times):
    for _ in range(times):
        node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=make_branch())
        inner = helper.make_graph([node], "branch", [], [Y])
    return make_graph([helper.make_node("If", ["c"], ["y"], then_branch=inner)])


def make_sparse_tensor(tensor):
    sparse = onnx.SparseTensorProto(dims=[4, 4])
    sparse.values.CopyFrom(tensor)
    sparse.indices.CopyFrom(numpy_helper.from_array(np.array([1]), "indices"))
    return sparse


def make_function(tensor):
    constant = helper.make_node("Constant", [], ["w"], value=tensor)
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_function("ours", "F", ["x"], ["y"], [constant, PRODUCT], opsets)


def make_training_info():
    info = onnx.TrainingInfoProto()
    info.algorithm.CopyFrom(make_branch(make_external_tensor()))
    return info


MODELS_WITH_EXTERNAL_DATA = {
    "an initializer": make_model(make_graph([PRODUCT], [make_external_tensor()])),
    "an initializer without a location": make_model(
        make_graph([PRODUCT], [make_external_tensor(has_location=False)])
    ),
    "one of two initializers": make_model(
        make_graph([PRODUCT], [numpy_helper.from_array(WEIGHTS, "v"), make_external_tensor()])
    ),
    "a constant": make_model(
        make_graph([helper.make_node("Constant", [], ["w"], value=make_external_tensor()), PRODUCT])
    ),
    "a list": make_model(
        make_graph([helper.make_node("Odd", [], ["w"], values=[make_external_tensor()]), PRODUCT])
    ),
    "a branch": make_model(nest_branch(make_branch(make_external_tensor()), 1)),
    "a branch of a branch": make_model(nest_branch(make_branch(make_external_tensor()), 20)),
    "a constant of a branch": make_model(
        nest_branch(
            make_branch(
                nodes=[helper.make_node("Constant", [], ["w"], value=make_external_tensor())]
            ),
            3,
        )
    ),
    "a sparse initializer": make_model(
        make_graph([PRODUCT], sparse_initializer=[make_sparse_tensor(make_external_tensor())])
    ),
    "a function": make_model(
        make_graph([helper.make_node("F", ["x"], ["y"], domain="ours")]),
        functions=[make_function(make_external_tensor())],
    ),
    "the training part": make_model(
        make_graph([PRODUCT], [numpy_helper.from_array(WEIGHTS, "w")]),
        training_info=[make_training_info()],
    ),
}


def find_fields_to_tensors():
    """Return ONNX's fields that can lead to a tensor: `{message: {field number: its message}}`."""
    fields, pending = {}, [onnx.ModelProto.DESCRIPTOR]
    while pending:
        message = pending.pop()
        if message.name not in fields:
            inner = [field for field in message.fields if field.message_type is not None]
            fields[message.name] = [(field.number, field.message_type.name) for field in inner]
            pending += [field.message_type for field in inner]
    reaching = {"TensorProto"}
    while (
        more := {name for name in fields if any(target in reaching for _, target in fields[name])}
        - reaching
    ):
        reaching |= more
    return {
        name: {number: target for number, target in fields[name] if target in reaching}
        for name in reaching
    }


FIELDS = find_fields_to_tensors()


def find_shortest_path(start, end):
    """Return the shortest list of field numbers that leads from one message to another."""
    paths = [(start, [])]
    for name, path in paths:
        if name == end:
            return path
        paths += [(target, [*path, number]) for number, target in FIELDS[name].items()]
    raise AssertionError(f"no path from {start} to {end}")


@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name in sorted(FIELDS) for number in FIELDS[name]]
)
def test_find_external_data_in_any_onnx_field_is_found(name, number):
    path = [
        *find_shortest_path("ModelProto", name),
        number,
        *find_shortest_path(FIELDS[name][number], "TensorProto"),
    ]
    content = make_external_tensor().SerializeToString()
    for field_number in reversed(path):
        content = encode_message(field_number, content)
    onnx.ModelProto.FromString(content)  # raises if ONNX cannot parse it
    assert find_external_data(content) == "w"


def test_find_external_data_knows_all_fields_of_onnx():
    assert sum(map(len, FIELDS.values())) >= 19
    assert _FIELDS_TO_TENSORS == FIELDS


@pytest.mark.parametrize("field", ["external_data", "data_location"])
def test_find_external_data_only_location_or_only_data_location_is_found(field):
    tensor = make_external_tensor(has_location=field == "data_location")
    if field == "data_location":
        del tensor.external_data[:]
    assert (
        find_external_data(make_model(make_graph([PRODUCT], [tensor])).SerializeToString()) == "w"
    )


def test_find_external_data_explicit_default_location_returns_none():
    tensor = numpy_helper.from_array(WEIGHTS, "w")
    tensor.data_location = TensorProto.DEFAULT
    assert b"p\x00" in tensor.SerializeToString()  # the field is present, though it is the default
    assert (
        find_external_data(make_model(make_graph([PRODUCT], [tensor])).SerializeToString()) is None
    )


@pytest.mark.parametrize("where", MODELS_WITH_EXTERNAL_DATA)
def test_find_external_data_anywhere_in_a_model_is_found(where):
    assert find_external_data(MODELS_WITH_EXTERNAL_DATA[where].SerializeToString()) == "w"


def run_branch(inner):
    """Return a graph whose output is that of its branch."""
    always = helper.make_tensor("always", TensorProto.BOOL, [], [True])
    nodes = [
        helper.make_node("Constant", [], ["c"], value=always),
        helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner),
    ]
    return make_model(make_graph(nodes))


EXTERNAL_TENSOR = make_external_tensor("below/w.bin")
CONSTANT = helper.make_node("Constant", [], ["w"], value=EXTERNAL_TENSOR)
MODELS_THAT_ONNX_RUNTIME_READS = {
    "an initializer": make_model(make_graph([PRODUCT], [EXTERNAL_TENSOR])),
    "a constant": make_model(make_graph([CONSTANT, PRODUCT])),
    "an initializer of a branch": run_branch(make_branch(EXTERNAL_TENSOR)),
    "a constant of a branch": run_branch(make_branch(nodes=[CONSTANT])),
    "a function": make_model(
        make_graph([helper.make_node("F", ["x"], ["y"], domain="ours")]),
        functions=[make_function(EXTERNAL_TENSOR)],
    ),
}


@pytest.mark.parametrize("where", MODELS_THAT_ONNX_RUNTIME_READS)
def test_find_external_data_that_onnx_runtime_would_read_is_found(where, tmp_path, monkeypatch):
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "w.bin").write_bytes(WEIGHTS.tobytes())
    monkeypatch.chdir(tmp_path)
    content = MODELS_THAT_ONNX_RUNTIME_READS[where].SerializeToString()
    got = GraphSession(content).run({"x": np.eye(4, dtype=np.float32)})
    # When ONNX Runtime stops reading these files, `find_external_data` is no longer needed.
    np.testing.assert_equal(got["y"], WEIGHTS)
    assert find_external_data(content) == "w"


def test_find_external_data_weights_in_the_file_returns_none(shipped, adults, zoo):
    whole = make_model(nest_branch(make_branch(numpy_helper.from_array(WEIGHTS, "w")), 20))
    assert find_external_data(whole.SerializeToString()) is None
    graphs = [*shipped.rglob("*.onnx"), *adults.rglob("*.onnx"), *zoo.rglob("*.onnx")]
    assert len(graphs) > 5
    assert all(find_external_data(path.read_bytes()) is None for path in graphs)


def test_read_graph_with_external_data_is_refused(only_digits):
    def move_weights_out(content):
        model = onnx.load_from_string(content)
        for tensor in model.graph.initializer:
            if tensor.name == "W1":
                tensor.CopyFrom(make_external_tensor(name="W1"))
        return model.SerializeToString()

    folder = write_variants(only_digits / "digits" / "1", fp32=move_weights_out)
    with pytest.raises(BundleError, match=r"contain all of its weights; got 'W1' as external data"):
        Bundle.open(folder).read_graph("fp32")


@pytest.mark.parametrize(("inner_message", "depth"), [(b"", 100), (encode_message(1, b""), 101)])
def test_find_external_data_more_than_100_nested_messages_is_refused(inner_message, depth):
    inner = inner_message
    for _ in range(33):
        # A graph contains a node, which contains an attribute, which contains a graph.
        inner = encode_message(1, encode_message(5, encode_message(6, inner)))
    content = encode_message(7, inner)
    if depth > 100:
        with pytest.raises(MalformedGraphError, match="at most 100 levels deep"):
            find_external_data(content)
    else:
        assert find_external_data(content) is None


@pytest.mark.parametrize(
    "before",
    [b"\x08\x96\x01", b"\x09" + b"8 bytes ", b"\x0d" + b"four", b"\x12\x03abc"],
    ids=["an integer", "8 bytes", "4 bytes", "a length"],
)
def test_find_external_data_fields_of_every_wire_type_are_skipped(before):
    content = make_model(make_graph([PRODUCT], [make_external_tensor()])).SerializeToString()
    assert find_external_data(before + content) == find_external_data(content + before) == "w"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"no graph", "protobuf wire type; got 6"),
        (b"\x3a\xff\x01", "truncated"),
        (b"\x3a", "truncated"),
        (b"\x08\x80", "truncated"),
        (b"\x08" + b"\xff" * 10 + b"\x01", "at most 64 bits"),
        (b"\x0d\x00", "truncated"),
        (b"\x3a\x01\x0b", "protobuf wire type; got 3"),
    ],
)
def test_find_external_data_not_protobuf_is_refused(content, fault):
    with pytest.raises(MalformedGraphError, match=fault):
        find_external_data(content)


@given(st.binary(max_size=200))
def test_find_external_data_any_bytes_returns_or_refuses(content):
    try:
        assert find_external_data(content) is None or isinstance(find_external_data(content), str)
    except MalformedGraphError as error:
        assert str(error).startswith("expected ")


def make_loop(operator, **attributes):
    body = helper.make_graph([PRODUCT], "body", [], [Y])
    return helper.make_node(operator, ["x"], ["y"], domain="", body=body, **attributes)


# ONNX operators whose body runs more than once, and those of ONNX Runtime that run a decoder once
# for each token.
LOOPS = [
    "Loop",
    "Scan",
    "SequenceMap",
    "BeamSearch",
    "GreedySearch",
    "Sampling",
    "WhisperBeamSearch",
]


def test_loop_operators_equal_the_expected_list():
    assert sorted(LOOPS) == sorted(LOOP_OPERATORS)


@pytest.mark.parametrize("operator", LOOPS)
@pytest.mark.parametrize("place", ["graph", "branch", "function"])
def test_find_loop_operator_anywhere_in_a_model_is_found(operator, place):
    node = make_loop(operator)
    if place == "graph":
        model = make_model(make_graph([node]))
    elif place == "branch":
        choice = helper.make_node(
            "If", ["c"], ["y"], then_branch=make_branch(nodes=[node]), else_branch=make_branch()
        )
        model = make_model(make_graph([choice]))
    else:
        function = helper.make_function("ours", "f", ["x"], ["y"], [node], [])
        model = make_model(make_graph([helper.make_node("f", ["x"], ["y"], domain="ours")]))
        model.functions.append(function)
    assert find_loop_operator(model.SerializeToString()) == operator


def test_find_loop_operator_other_operators_returns_none():
    names = ["Loops", "If", "MatMul", "LSTM"]
    nodes = [helper.make_node(name, ["x"], ["y"], name="Loop") for name in names]
    assert find_loop_operator(make_model(make_graph(nodes)).SerializeToString()) is None


def test_read_graph_not_protobuf_with_correct_checksum_is_refused(only_digits):
    folder = write_variants(only_digits / "digits" / "1", fp32=lambda _: b"no graph")
    with pytest.raises(BundleError, match=r"expected model.fp32.onnx as an ONNX graph; "):
        Bundle.open(folder).read_graph("fp32")


def test_read_graph_with_a_loop_is_refused_unless_allowed(only_digits):
    def add_loop(content):
        model = onnx.load_from_string(content)
        model.graph.node.append(make_loop("Loop"))
        return model.SerializeToString()

    folder = write_variants(only_digits / "digits" / "1", fp32=add_loop)
    with pytest.raises(BundleError, match=r"repeat a part of the graph; got Loop.*--allow-loops"):
        Bundle.open(folder).read_graph("fp32")
    assert Bundle.open(folder, limits=BundleLimits(allow_loops=True)).read_graph("fp32")
